//! The admin port: health, status and metrics over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/healthcheck`, `/healthcheck/tracing` | 200 `ok`: the process serves; says nothing about others |
//! | `/ready` | 200 when this instance can do its part, else 503 |
//! | `/status` | the ledgers and what explains them, as JSON |
//! | `/ring` | a proxy's members, as JSON |
//! | `/metrics` | the same counts for Prometheus |
//! | `/version` | the version, as text |
//! | `/config/json`, `/config/yaml` | the configuration without secrets, where that is allowed |
//! | `/debug/pprof/profile?seconds=N` | CPU time by thread, where that is allowed |
//! | `POST /import` | takes what instances up to 14.2.0 forward, where this one imports |
//! | `POST /quitquitquit` | ends the process as SIGTERM does, where that is allowed |

mod import;
mod profile;

pub(crate) use import::Import;

use std::{convert::Infallible, future::Future, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use veneur_config::UnixName;

use crate::{
    clock,
    listen::{inherited, unix},
    telemetry::{Snapshot, prometheus_text},
};

/// Connections served at once; beyond, new ones wait in the kernel.
const CONNECTIONS: usize = 64;

/// The same where senders keep theirs open between two imports: they must not shut out who asks for health.
const IMPORT_CONNECTIONS: usize = import::AT_ONCE + 256;

/// A client that has not sent its headers by then is not a client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who can reach the file may ask: only this process's own user, and root.
const MODE: u32 = 0o600;

/// How long a profile takes where nothing is said, as in the original, and at the most.
const PROFILE_SECONDS: u64 = 30;
const LONGEST_PROFILE_SECONDS: u64 = 300;

/// What an instance shows.
pub(crate) trait View: Send + Sync + 'static {
    /// Whether it can do its part.
    fn ready(&self) -> bool;
    /// Its ledgers.
    fn snapshot(&self) -> Snapshot;
    /// What explains them, for people.
    fn status(&self) -> serde_json::Value;
    /// Its configuration without secrets, if it may be shown.
    fn config(&self, form: Form) -> Option<String>;
}

/// How a configuration is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
}

impl Form {
    /// A configuration in this form.
    pub(crate) fn of<T: veneur_config::Role>(self, config: &T) -> String {
        match self {
            Self::Json => veneur_config::redacted_json(config),
            Self::Yaml => veneur_config::redacted_yaml(config),
        }
    }
}

/// What the admin port may do.
pub(crate) struct Admin {
    pub(crate) view: Arc<dyn View>,
    /// Cancelled by `POST /quitquitquit`; `None`: nobody may ask for that.
    pub(crate) quit: Option<CancellationToken>,
    /// Whether profiles may be taken.
    pub(crate) profiling: bool,
    /// Who takes `POST /import`; `None`: nobody does.
    pub(crate) import: Option<Import>,
}

/// Serves the admin port in `tasks` until `stop`, and says where, if that has a host and port.
pub(crate) async fn start(
    address: &str,
    admin: Admin,
    stop: CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Option<SocketAddr>> {
    let listener = bind(address).await.with_context(|| format!("cannot listen on http_address {address}"))?;
    let bound = listener.address()?;
    tasks.spawn(async move {
        match listener {
            Listener::Tcp(listener) => {
                let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
                stop.run_until_cancelled(serve(accept, Arc::new(admin))).await;
            }
            Listener::Unix(listener, _held) => {
                let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
                stop.run_until_cancelled(serve(accept, Arc::new(admin))).await;
            }
        }
        Ok(())
    });
    Ok(bound)
}

enum Listener {
    Tcp(TcpListener),
    /// With the file that is removed at the end, where it is not inherited.
    Unix(UnixListener, Option<unix::Held>),
}

impl Listener {
    fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(..) => Ok(None),
        }
    }
}

/// Binds a host and port, or a path; `fd@N` is a socket that was open when the process started.
async fn bind(address: &str) -> anyhow::Result<Listener> {
    if address.starts_with(['/', '.']) {
        let name = UnixName::File(Path::new(address).to_owned());
        let (listener, held) = unix::bind(&name, MODE, std::os::unix::net::UnixListener::bind_addr)?;
        return unix_listener(listener, held);
    }
    let Some(descriptor) = address.strip_prefix("fd@") else {
        return Ok(Listener::Tcp(TcpListener::bind(address).await?));
    };
    match inherited::take(descriptor.parse()?)? {
        inherited::Socket::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(TcpListener::from_std(listener)?))
        }
        inherited::Socket::Unix(listener) => unix_listener(listener, None),
        inherited::Socket::Udp(_) | inherited::Socket::Unixgram(_) => {
            anyhow::bail!("descriptor {descriptor} is no TCP or Unix socket that listens")
        }
    }
}

fn unix_listener(listener: std::os::unix::net::UnixListener, held: Option<unix::Held>) -> anyhow::Result<Listener> {
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(UnixListener::from_std(listener)?, held))
}

async fn serve<S, F>(accept: impl Fn() -> F, admin: Arc<Admin>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let mut connections = JoinSet::new();
    let most = if admin.import.is_some() { IMPORT_CONNECTIONS } else { CONNECTIONS };
    loop {
        while connections.len() >= most {
            connections.join_next().await;
        }
        let Ok(stream) = accept().await else {
            // Out of descriptors, most likely: give others time to close some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(answer(request, &admin).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "Admin connection broke off");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, admin: &Admin) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/import" {
        return match &admin.import {
            None => text(StatusCode::NOT_FOUND, "this instance does not import over HTTP\n"),
            Some(_) if request.method() != Method::POST => {
                text(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered here\n")
            }
            Some(import) => import.take(request).await,
        };
    }
    if path == "/quitquitquit" {
        return quit(request.method(), admin.quit.as_ref());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    if let Some(what) = path.strip_prefix("/debug/pprof") {
        return pprof(what, request.uri().query(), admin.profiling).await;
    }
    let view = &*admin.view;
    match path {
        "/healthcheck" | "/healthcheck/tracing" => text(StatusCode::OK, "ok\n"),
        "/ready" if view.ready() => match view.snapshot().ring.and_then(|ring| ring.blind) {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::OK, format!("ok, but the ring stays as it is: {why}\n")),
        },
        "/ready" => {
            text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the ring has not had members for a boundary yet\n")
        }
        "/version" => text(StatusCode::OK, concat!(env!("CARGO_PKG_VERSION"), "\n")),
        "/metrics" => with_type(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            prometheus_text(view.snapshot()).into_bytes(),
        ),
        "/status" => json(&view.snapshot().status(view.status())),
        "/ring" => view.snapshot().ring.map_or_else(
            || text(StatusCode::NOT_FOUND, "only a proxy has a ring\n"),
            |ring| json(&serde_json::json!(ring)),
        ),
        "/config/json" => config(view, Form::Json, "application/json"),
        "/config/yaml" => config(view, Form::Yaml, "application/x-yaml"),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /healthcheck /ready /status /ring /metrics /version /config/json /config/yaml /debug/pprof/ /import\n",
        ),
    }
}

fn config(view: &dyn View, form: Form, content_type: &'static str) -> Response<Full<Bytes>> {
    view.config(form).map_or_else(
        || text(StatusCode::NOT_FOUND, "not shown: http.config (of a proxy http.enable_config) is false\n"),
        |config| with_type(content_type, config.into_bytes()),
    )
}

fn quit(method: &Method, quit: Option<&CancellationToken>) -> Response<Full<Bytes>> {
    match quit {
        None => text(StatusCode::NOT_FOUND, "not allowed: http_quit is false\n"),
        Some(_) if method != Method::POST => text(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered here\n"),
        Some(quit) => {
            quit.cancel();
            text(StatusCode::OK, "Beginning graceful shutdown....\n")
        }
    }
}

async fn pprof(what: &str, query: Option<&str>, allowed: bool) -> Response<Full<Bytes>> {
    if !allowed {
        return text(StatusCode::NOT_FOUND, "not allowed: enable_profiling is false\n");
    }
    match what {
        "/profile" => {
            let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("seconds="));
            let Ok(seconds) = asked.map_or(Ok(PROFILE_SECONDS), str::parse) else {
                return text(StatusCode::BAD_REQUEST, "seconds must be a whole number, as in ?seconds=5\n");
            };
            let took = Duration::from_secs(seconds.clamp(1, LONGEST_PROFILE_SECONDS));
            let (before, began_ms) = (profile::threads(), clock::now_ms());
            tokio::time::sleep(took).await;
            let profile = profile::encode(&before, &profile::threads(), began_ms * 1_000_000, took);
            with_type("application/octet-stream", profile)
        }
        "/cmdline" => {
            let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            with_type("text/plain; charset=utf-8", words.join("\0").into_bytes())
        }
        "" | "/" => text(
            StatusCode::OK,
            "profile?seconds=N  CPU time by thread, for go tool pprof\ncmdline  how the process was called\n",
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /debug/pprof/profile and /debug/pprof/cmdline: this is no Go runtime\n",
        ),
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    with_type("application/json", format!("{value:#}\n").into_bytes())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = with_type("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

fn with_type(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
