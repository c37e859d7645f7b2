//! The admin port: health, status and metrics over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/healthcheck` | 200 `ok`: the process serves; says nothing about others |
//! | `/ready` | 200 when this instance can do its part, else 503 |
//! | `/status` | the ledgers and what explains them, as JSON |
//! | `/ring` | a proxy's members, as JSON |
//! | `/metrics` | the same counts for Prometheus |
//! | `/version` | the version, as text |

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    listen::inherited,
    telemetry::{Snapshot, prometheus_text},
};

/// Connections served at once; beyond, new ones wait in the kernel.
const CONNECTIONS: usize = 64;

/// A client that has not sent its headers by then is not a client.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What an instance shows.
pub(crate) trait View: Send + Sync + 'static {
    /// Whether it can do its part.
    fn ready(&self) -> bool;
    /// Its ledgers.
    fn snapshot(&self) -> Snapshot;
    /// What explains them, for people.
    fn status(&self) -> serde_json::Value;
}

/// Serves the admin port in `tasks` until `stop`, and says where.
pub(crate) async fn start(
    address: &str,
    view: Arc<dyn View>,
    stop: CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<SocketAddr> {
    let listener = bind(address).await.with_context(|| format!("cannot listen on http_address {address}"))?;
    let bound = listener.local_addr()?;
    tasks.spawn(async move {
        stop.run_until_cancelled(accept(listener, view)).await;
        Ok(())
    });
    Ok(bound)
}

/// Binds a host and port; `fd@N` is a socket that was open when the process started.
async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let Some(descriptor) = address.strip_prefix("fd@") else { return Ok(TcpListener::bind(address).await?) };
    let inherited::Socket::Tcp(listener) = inherited::take(descriptor.parse()?)? else {
        anyhow::bail!("descriptor {descriptor} is no TCP socket that listens");
    };
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

async fn accept(listener: TcpListener, view: Arc<dyn View>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: give others time to close some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let view = Arc::clone(&view);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &*view);
                async move { Ok::<_, Infallible>(response) }
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

fn answer(request: &Request<Incoming>, view: &dyn View) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    match request.uri().path() {
        "/healthcheck" => text(StatusCode::OK, "ok\n"),
        "/ready" if view.ready() => text(StatusCode::OK, "ok\n"),
        "/ready" => {
            text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the ring has not had members for a boundary yet\n")
        }
        "/version" => text(StatusCode::OK, concat!(env!("CARGO_PKG_VERSION"), "\n")),
        "/metrics" => with_type(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            prometheus_text(view.snapshot()),
        ),
        "/status" => json(&view.snapshot().status(view.status())),
        "/ring" => view.snapshot().ring.map_or_else(
            || text(StatusCode::NOT_FOUND, "only a proxy has a ring\n"),
            |ring| json(&serde_json::json!(ring)),
        ),
        _ => text(StatusCode::NOT_FOUND, "there are /healthcheck /ready /status /ring /metrics /version\n"),
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    with_type(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
