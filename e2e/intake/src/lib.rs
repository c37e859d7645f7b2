//! A strict stand-in for Datadog's intake, for tests: refuses what the real one would, and shows what it took.
//!
//! | request | answer |
//! |---|---|
//! | `POST /api/v1/series?api_key=…` | 202, or 400/403/415 with the reason |
//! | `POST /intake?api_key=…` | the same, for events |
//! | `POST /api/v1/check_run?api_key=…` | the same, for outcomes of service checks |
//! | `GET /received` | every point taken, as a JSON array of [`Received`] |
//! | `GET /received/events`, `/received/checks` | every [`ReceivedEvent`], [`ReceivedCheck`] taken |
//! | `GET /problems` | every request refused, with its reason |
//! | `GET /ready` | 200 |

mod notices;
mod series;

use std::{
    convert::Infallible,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};

pub use notices::{AlertType, ApiEvent, CheckRun, Priority, ReceivedCheck, ReceivedEvent};

/// Largest request body, compressed: the real intake's 3.2 MB.
const LARGEST_BODY: usize = 3_200_000;

/// Largest request body, decompressed: the real intake's 62 MB.
const LARGEST_SERIES: u64 = 62_914_560;

/// A point as it was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the intake's")]
pub struct Received {
    /// Who sent it.
    pub sender: IpAddr,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    pub metric: String,
    pub timestamp: i64,
    pub value: f64,
    /// `rate` or `gauge`.
    pub kind: String,
    /// Seconds that a rate covers.
    pub interval: Option<u64>,
    pub tags: Vec<String>,
    pub host: Option<String>,
}

impl Received {
    /// The total behind a rate, a whole number again where it was one.
    pub fn total(&self) -> f64 {
        let total = self.value * self.interval.unwrap_or(1) as f64;
        if (total - total.round()).abs() < 1e-6 { total.round() } else { total }
    }
}

/// What an intake has seen.
#[derive(Debug, Default)]
pub struct Intake {
    received: Mutex<Vec<Received>>,
    events: Mutex<Vec<ReceivedEvent>>,
    checks: Mutex<Vec<ReceivedCheck>>,
    problems: Mutex<Vec<String>>,
}

impl Intake {
    /// Every point taken so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every event taken so far.
    pub fn events(&self) -> Vec<ReceivedEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every outcome of a check taken so far.
    pub fn checks(&self) -> Vec<ReceivedCheck> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why requests were refused.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves connections of `listener` for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, peer) = listener.accept().await?;
            let intake = Arc::clone(&self);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let intake = Arc::clone(&intake);
                    async move { Ok::<_, Infallible>(intake.answer(request, peer).await) }
                });
                // A client that goes away ends its connection; there is nobody to tell.
                drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
            });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        match (request.method().clone(), path.as_str()) {
            (Method::POST, "/api/v1/series" | "/intake" | "/api/v1/check_run") => {
                match self.take(request, peer.ip()).await {
                    Ok(()) => respond(StatusCode::ACCEPTED, r#"{"status": "ok"}"#.to_owned()),
                    Err((status, problem)) => {
                        let line = format!("{status} from {}: {problem}", peer.ip());
                        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                        respond(status, serde_json::json!({ "errors": [problem] }).to_string())
                    }
                }
            }
            (Method::GET, "/received") => respond(StatusCode::OK, serde_json::json!(self.received()).to_string()),
            (Method::GET, "/received/events") => respond(StatusCode::OK, serde_json::json!(self.events()).to_string()),
            (Method::GET, "/received/checks") => respond(StatusCode::OK, serde_json::json!(self.checks()).to_string()),
            (Method::GET, "/problems") => respond(StatusCode::OK, serde_json::json!(self.problems()).to_string()),
            (Method::GET, "/ready") => respond(StatusCode::OK, "ok\n".to_owned()),
            (method, path) => {
                let problem = format!("nothing answers {method} {path}");
                self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem.clone());
                respond(StatusCode::NOT_FOUND, problem)
            }
        }
    }

    async fn take(&self, request: Request<Incoming>, sender: IpAddr) -> Result<(), (StatusCode, String)> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let keys: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("api_key=")).collect();
        if keys.len() != 1 || keys[0].is_empty() {
            return Err((StatusCode::FORBIDDEN, "one api_key is needed".to_owned()));
        }
        if keys[0] == "wrong" {
            return Err((StatusCode::FORBIDDEN, "Forbidden".to_owned()));
        }
        let headers = request.headers();
        if headers.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/json") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json".to_owned()));
        }
        let path = request.uri().path().to_owned();
        let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_vec());
        match (path.as_str(), encoding.as_deref()) {
            (_, Some(b"deflate")) | ("/api/v1/check_run", None) => {}
            _ => return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be deflate".to_owned())),
        }
        let bad = |problem: String| (StatusCode::BAD_REQUEST, problem);
        let body = Limited::new(request.into_body(), LARGEST_BODY)
            .collect()
            .await
            .map_err(|error| (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?
            .to_bytes();
        let mut text = String::new();
        if encoding.is_some() {
            flate2::read::ZlibDecoder::new(body.as_ref())
                .take(LARGEST_SERIES)
                .read_to_string(&mut text)
                .map_err(|error| bad(format!("the body is not zlib: {error}")))?;
        } else {
            text = String::from_utf8(body.into()).map_err(|error| bad(format!("the body is not text: {error}")))?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match path.as_str() {
            "/intake" => {
                let events = notices::read_events(&text, sender, now).map_err(bad)?;
                self.events.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
            }
            "/api/v1/check_run" => {
                let checks = notices::read_checks(&text, sender, now).map_err(bad)?;
                self.checks.lock().unwrap_or_else(PoisonError::into_inner).extend(checks);
            }
            _ => {
                let points = series::read(&text, sender, now).map_err(bad)?;
                self.received.lock().unwrap_or_else(PoisonError::into_inner).extend(points);
            }
        }
        Ok(())
    }
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
