//! The Datadog sink against a strict reading of the API.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use veneur_intake::Intake;
use veneur_metric::{AlertType, Check, Event, Point, PointKind, Priority, Status, Tags};
use veneur_sinks::{DatadogSettings, DatadogSink, Delivery, Items, Limits, Part, Payload, SendError, Sink};

const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_age: Duration::from_mins(1) };

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

async fn intake() -> (Arc<Intake>, String, JoinSet<()>) {
    let intake = Arc::new(Intake::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    let served = Arc::clone(&intake);
    serving.spawn(async move { served.serve(listener).await.unwrap() });
    (intake, url, serving)
}

fn datadog(url: &str) -> DatadogSink {
    let (api_key, api_hostname) = ("00c0ffee".to_owned(), url.to_owned());
    DatadogSink::new("datadog", DatadogSettings { api_key, api_hostname, ..DatadogSettings::default() }).unwrap()
}

fn items() -> Items {
    let point = Point {
        name: "a.b".into(),
        tags: Tags::none(),
        kind: PointKind::Gauge,
        value: 1.0,
        timestamp: now(),
        interval: Duration::from_secs(10),
    };
    let mut event = Event {
        title: "deploy".into(),
        text: "of\napi".into(),
        timestamp: None,
        host: None,
        aggregation_key: None,
        priority: Priority::Low,
        source_type: Some("ci".into()),
        alert_type: AlertType::Error,
        tags: Tags::new(["env:prod"]),
    };
    let mut check = Check {
        name: "db.up".into(),
        status: Status::Unknown,
        timestamp: None,
        host: None,
        message: None,
        tags: Tags::none(),
    };
    let bare = event.clone();
    event.complete(now(), "pod-0");
    check.complete(now(), "pod-0");
    Items { points: vec![point], events: vec![event, bare], checks: vec![check] }
}

#[tokio::test]
async fn the_intake_takes_points_events_and_checks_as_they_were() {
    let (intake, url, _serving) = intake().await;
    let delivery = Delivery::new(datadog(&url), LIMITS);
    delivery.offer(items());
    let ledger = delivery.drain(Instant::now() + Duration::from_secs(20)).await;
    assert_eq!(intake.problems(), Vec::<String>::new());
    assert_eq!((ledger.produced, ledger.published), (4, 4), "{ledger:?}");
    assert_eq!(intake.received().len(), 1);
    let [event, bare] = intake.events().try_into().unwrap();
    assert_eq!((event.event.msg_title.as_str(), event.event.msg_text.as_str()), ("deploy", "of\napi"));
    assert_eq!(event.event.host.as_deref(), Some("pod-0"));
    assert_eq!((event.event.tags, bare.event.timestamp), (vec!["env:prod".to_owned()], None));
    let [check] = intake.checks().try_into().unwrap();
    assert_eq!((check.run.status, check.run.host_name.as_str()), (3, "pod-0"));
}

#[tokio::test]
async fn the_intake_is_strict() {
    let (_intake, url, _serving) = intake().await;
    let sink = datadog(&url);
    let seconds = now();
    for body in [
        r#"[{"check":"a","status":0,"host_name":"h","tags":[],"extra":1}]"#.to_owned(),
        r#"[{"check":"a","status":4,"host_name":"h","tags":[]}]"#.to_owned(),
        r#"[{"check":"a","status":"0","host_name":"h","tags":[]}]"#.to_owned(),
        r#"[{"check":"a","status":0,"tags":[]}]"#.to_owned(),
        r#"[{"check":"a","status":0,"host_name":"h"}]"#.to_owned(),
        format!(r#"[{{"check":"a","status":0,"host_name":"h","tags":[],"timestamp":{}}}]"#, seconds - 700),
        "[]".to_owned(),
    ] {
        let payload = Payload { part: Part::Checks, items: 1, body: Bytes::from(body.clone()) };
        let refused = sink.send(&payload).await.unwrap_err();
        assert!(matches!(refused, SendError::Rejected { status: 400, .. }), "{body}: {refused}");
    }
    let payload = Payload { part: Part::Events, items: 1, body: Bytes::from_static(b"{}") };
    assert!(matches!(sink.send(&payload).await, Err(SendError::Rejected { status: 400, .. })), "not deflated");
}
