use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use http::StatusCode;
use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration, WebhookClientConfig},
};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

use super::*;
use crate::{
    certificates::{bundle::Seen, certificate::Authority, keyring::Lifetimes},
    probe::{Probe, probe},
    serve::{serve, text},
};

const SUBJECT: &str = "test authority";

#[tokio::test(start_paused = true)]
async fn files_that_are_replaced_are_shown_and_broken_ones_are_not() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let authority = Authority::generate(SUBJECT, SystemTime::now(), Duration::from_hours(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = || {
        let purpose = Purpose { names: vec!["localhost".to_owned()], client: false, life: Duration::from_hours(1) };
        let leaf = authority.sign(&purpose, SystemTime::now()).unwrap();
        fs::write(folder.path().join("tls.key"), &leaf.key_pem).unwrap();
        fs::write(folder.path().join("tls.crt"), &leaf.certificate.pem).unwrap();
        leaf.certificate.pem
    };
    let first = write();
    let shown = Shown::first(Source::Files(folder.path().to_owned())).unwrap();
    let (mut certificate, stop) = (shown.certificate(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(shown.keep(stop.clone()));
    fs::write(folder.path().join("tls.crt"), "no certificate").unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(certificate.borrow_and_update().pem, first);
    let second = write();
    certificate.changed().await.unwrap();
    assert_eq!(certificate.borrow().pem, second);
    stop.cancel();
    tasks.join_all().await;
}

/// The Secret of a keyring, behind an API server that checks versions and never tells of changes: the safe learns of its
/// own writes without.
fn secrets() -> Client {
    let (stored, versions) = (Arc::new(std::sync::Mutex::new(None::<Value>)), Arc::new(AtomicU64::new(1)));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (stored, versions) = (Arc::clone(&stored), Arc::clone(&versions));
        async move {
            use http_body_util::BodyExt as _;
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("in memory").to_bytes();
            let mut stored = stored.lock().expect("no poison");
            let (code, answer) = match (parts.method.as_str(), &*stored) {
                ("GET", None) => (404, crate::test_support::status(404, "not found")),
                ("GET", Some(secret)) => (200, secret.clone()),
                _ => {
                    let mut secret: Value = serde_json::from_slice(&body).expect("JSON");
                    secret["metadata"]["resourceVersion"] = json!(versions.fetch_add(1, Ordering::SeqCst).to_string());
                    *stored = Some(secret.clone());
                    (200, secret)
                }
            };
            let mut response = http::Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code).expect("a code");
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    Client::new(service, "veneur-system")
}

#[tokio::test]
async fn rotation_under_load_fails_no_admission() {
    drop(rustls::crypto::ring::default_provider().install_default());
    // An authority of three seconds: nine lives of it go by, each with its handshakes by a client that reads the
    // published bundle late.
    let lifetimes = Lifetimes {
        authority: Duration::from_secs(3),
        leaf: Duration::from_millis(1500),
        settle: Duration::from_millis(250),
    };
    let safe = Safe::open(secrets(), "veneur-system", "ca", SUBJECT, lifetimes).await.unwrap();
    let shown = Shown::first(Source::signed(&safe, vec!["localhost".to_owned()])).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(serve(listener, Some(shown.acceptor()), stop.clone(), |_| async { text(StatusCode::OK, "{}") }));
    tasks.spawn(shown.keep(stop.clone()));

    let (begin, mut admitted, mut authorities) = (Instant::now(), 0, std::collections::BTreeSet::new());
    while begin.elapsed() < Duration::from_secs(9) {
        let keyring = Arc::clone(&safe.keyring().borrow().keyring);
        authorities.insert(keyring.current.certificate().pem.clone());
        let published = keyring.bundle();
        safe.advance(Some(true)).await.unwrap();
        let webhook = MutatingWebhook {
            name: "pod.inject.veneur.dev".to_owned(),
            client_config: WebhookClientConfig {
                url: Some(format!("https://localhost:{port}/inject")),
                ca_bundle: Some(ByteString(published.into_bytes())),
                service: None,
            },
            ..MutatingWebhook::default()
        };
        let seen = Seen::Present(Arc::new(MutatingWebhookConfiguration {
            webhooks: Some(vec![webhook]),
            ..MutatingWebhookConfiguration::default()
        }));
        let found = probe(&seen, "veneur-operator").await;
        assert!(matches!(found, Probe::Reachable { .. }), "after {admitted}: {found:?}");
        admitted += 1;
    }
    assert!(admitted > 100 && authorities.len() >= 4, "{admitted} under {} authorities", authorities.len());
    stop.cancel();
    tasks.join_all().await;
}
