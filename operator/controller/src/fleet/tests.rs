use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{poll, targets};
use crate::{feeds::Key, kind::Kind, labels::Role, live::Live};

fn pod(name: &str, change: &dyn Fn(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "metrics", "uid": name, "resourceVersion": "1",
            "labels": {"veneur.dev/pipeline": "default", "veneur.dev/role": "proxy"},
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    });
    change(&mut pod);
    pod
}

#[test]
fn only_pods_that_run_and_stay_are_asked() {
    let live = Live::new();
    live.wrote(Kind::Pod, &pod("runs", &|_| ()));
    live.wrote(Kind::Pod, &pod("pends", &|pod| pod["status"]["phase"] = json!("Pending")));
    live.wrote(Kind::Pod, &pod("leaves", &|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z")));
    let all = targets(&live);
    let of_pipeline = &all[&Key::new("metrics", "default")];
    assert_eq!(of_pipeline.len(), 1);
    assert_eq!((of_pipeline[0].pod.as_str(), of_pipeline[0].role), ("runs", Role::Proxy));
}

/// Answers one request with these bytes, then stays silent if `keep`.
async fn serves(answer: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener.into_std().expect("a socket")).expect("a socket");
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /status HTTP/1.1\r\n"));
            // Whoever has read enough hangs up.
            drop(stream.write_all(&answer).await);
        });
    });
    address
}

fn http(code: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_pod_is_asked_for_its_status() {
    let page = poll::status(serves(http("200 OK", "{\"unaccounted\": 0, \"new\": 1}")).await).await;
    assert_eq!(page.expect("an answer"), super::StatusPage::default());
}

#[tokio::test]
async fn whatever_a_pod_answers_is_one_error_and_bounded() {
    let long = "x".repeat(2 << 20);
    for (answer, expected) in [
        (http("503 Service Unavailable", ""), "its /status answered 503 Service Unavailable"),
        (http("200 OK", "no account"), "its /status is no account of ours"),
        (http("200 OK", &long), "its /status is longer than 1 MiB or broke off"),
        (b"nonsense\r\n\r\n".to_vec(), "the exchange broke off"),
    ] {
        let address = serves(answer).await;
        let error = tokio::time::timeout(Duration::from_secs(10), poll::status(address)).await.expect("in time");
        assert_eq!(error.expect_err("no page").to_string(), expected);
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    assert!(poll::status(closed).await.expect_err("nobody").to_string().starts_with("cannot connect"));
}
