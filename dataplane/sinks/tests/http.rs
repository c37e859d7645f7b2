//! The Datadog sink against a real listener.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use veneur_metric::{Point, PointKind, Tags};
use veneur_sinks::{DatadogSettings, DatadogSink, Delivery, Limits, SendError, Sink};

const KEY: &str = "00c0ffee";
const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_age: Duration::from_mins(1) };

/// An intake that answers with these statuses, then 202; and what it was asked.
struct Intake {
    url: String,
    asked: Arc<Mutex<Vec<(String, http::HeaderMap, Bytes)>>>,
    _tasks: JoinSet<()>,
}

async fn intake(statuses: &[u16]) -> Intake {
    let statuses = Arc::new(Mutex::new(VecDeque::from(statuses.to_vec())));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let log = Arc::clone(&asked);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (statuses, log) = (Arc::clone(&statuses), Arc::clone(&log));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (statuses, log) = (Arc::clone(&statuses), Arc::clone(&log));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    log.lock().unwrap().push((format!("{} {}", head.method, head.uri), head.headers, body));
                    let status = statuses.lock().unwrap().pop_front().unwrap_or(202);
                    let text = format!("key {KEY} and status {status}");
                    Ok::<_, Infallible>(Response::builder().status(status).body(Full::<Bytes>::from(text)).unwrap())
                }
            });
            connections.spawn(async move {
                let served = hyper::server::conn::http1::Builder::new();
                served.serve_connection(TokioIo::new(stream), answer).await.unwrap();
            });
        }
    });
    Intake { url, asked, _tasks: tasks }
}

fn datadog(url: &str) -> DatadogSink {
    let settings = DatadogSettings {
        api_key: KEY.to_owned(),
        api_hostname: url.to_owned(),
        timeout: Duration::from_secs(2),
        ..DatadogSettings::default()
    };
    DatadogSink::new("datadog", settings).unwrap()
}

fn points(count: usize) -> Vec<Point> {
    let (tags, kind, interval) = (Tags::none(), PointKind::Gauge, Duration::from_secs(10));
    vec![Point { name: "a.b".into(), tags, kind, value: 1.0, timestamp: 1_700_000_000, interval }; count]
}

async fn send(url: &str) -> Result<(), SendError> {
    let sink = datadog(url);
    sink.send(&sink.encode(&points(1).into()).payloads[0]).await
}

#[tokio::test]
async fn a_payload_goes_to_the_series_path_with_its_headers() {
    let intake = intake(&[202, 200]).await;
    assert_eq!(send(&intake.url).await, Ok(()));
    assert_eq!(send(&format!("{}/", intake.url)).await, Ok(()));
    let asked = intake.asked.lock().unwrap();
    for (line, headers, body) in asked.iter() {
        assert_eq!(line, "POST /api/v1/series?api_key=00c0ffee");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["content-encoding"], "deflate");
        assert!(headers["user-agent"].to_str().unwrap().starts_with("veneur/"));
        assert_eq!(body[0], 0x78, "a zlib stream, not a raw one");
    }
}

#[tokio::test]
async fn statuses_decide_between_refused_and_unavailable() {
    for status in [301, 400, 403, 413] {
        let refused = send(&intake(&[status]).await.url).await.unwrap_err();
        let body_start = format!("key REDACTED and status {status}");
        assert_eq!(refused, SendError::Rejected { status, body_start });
    }
    for status in [408, 429, 500, 503] {
        let away = send(&intake(&[status]).await.url).await.unwrap_err();
        assert!(matches!(&away, SendError::Unavailable(cause) if cause.contains("REDACTED")), "{away}");
    }
}

#[tokio::test]
async fn a_refused_connection_and_a_silent_backend_are_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = send(&url).await.unwrap_err();
    assert!(matches!(&silent, SendError::Unavailable(cause) if cause.contains("2s")), "{silent}");
    drop(listener);
    let refused = send(&url).await.unwrap_err();
    assert!(refused.to_string().contains("refused") && !refused.to_string().contains(KEY), "{refused}");
}

#[tokio::test]
async fn plain_http_at_a_tls_url_is_unavailable() {
    let intake = intake(&[]).await;
    let error = send(&intake.url.replace("http:", "https:")).await.unwrap_err();
    assert!(matches!(error, SendError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_a_refusal_is_not() {
    let intake = intake(&[500, 202, 403]).await;
    let delivery = Delivery::new(datadog(&intake.url), LIMITS);
    for published_and_rejected in [(2, 0), (2, 2)] {
        delivery.offer(points(2));
        let settled = async {
            while delivery.ledger().held > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), settled).await.unwrap();
        let ledger = delivery.ledger();
        assert_eq!((ledger.published, ledger.dropped["rejected"]), published_and_rejected);
    }
    let ledger = delivery.drain(Instant::now() + Duration::from_secs(1)).await;
    assert_eq!((ledger.produced, intake.asked.lock().unwrap().len()), (4, 3));
}
