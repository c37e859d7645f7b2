use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use super::{Webhook, decision, notices};
use crate::{
    certificates::certificate::{Authority, CurrentLeaf, Purpose},
    events::Events,
    injection::{Namespace, SkipReason, failed},
    namespaces::Namespaces,
    pipelines::pipelines,
    serve::serve,
    telemetry::{Decision, Telemetry},
    test_support::{SMALLEST, Seen, api_server, defaults, pipeline},
};

const HOST: &str = "veneur-operator-webhook.veneur-system.svc";

const LIFE: Duration = Duration::from_hours(1);

fn purpose() -> Purpose {
    Purpose { names: vec![HOST.to_owned()], client: false, life: LIFE }
}

/// A webhook on loopback, behind TLS, over one pipeline as the stand-in lists it.
struct Running {
    address: std::net::SocketAddr,
    tls: TlsConnector,
    leaf: Arc<CurrentLeaf>,
    authority: Authority,
    seen: Arc<Mutex<Vec<Seen>>>,
    telemetry: Telemetry,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

async fn running() -> Running {
    let (client, seen) = api_server(|method, path, body| {
        if path.contains("/events") {
            return Some((201, body.clone()));
        }
        let listed = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"},
            "items": [pipeline("default", SMALLEST)]});
        // The watch that follows the list ends at once and is tried again later.
        (method == "GET" && !path.contains("watch=true")).then_some((200, listed))
    });
    let (view, watch) = pipelines();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(watch.run(client.clone(), stop.clone()));
    let (notices, writer) = notices();
    tasks.spawn(writer.run(Events::new(client, None), stop.clone()));
    assert!(view.wait_until_listed(Duration::from_secs(10)).await, "the pipelines are listed");

    // Another test of this process may have come first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let now = SystemTime::now();
    let authority = Authority::generate("test", now, LIFE).expect("an authority");
    // As another replica reads it from the Secret.
    let authority = Authority::from_pem("test", &authority.key_pem(), &authority.certificate().pem).expect("the same");
    let leaf = authority.sign(&purpose(), now).expect("a leaf");
    let leaf = Arc::new(CurrentLeaf::new(&leaf.certificate.pem, &leaf.key_pem).expect("a usable one"));
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::clone(&leaf) as _);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let known = ["shop", "elsewhere"].map(|name| Namespace { name: name.to_owned(), ..Namespace::default() });
    let telemetry = Telemetry::new();
    let webhook = Webhook::new(view, Namespaces::of(known), defaults(), notices).counted(telemetry.clone());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tasks.spawn(serve(listener, Some(acceptor), stop.clone(), move |request| {
        let webhook = webhook.clone();
        async move { webhook.answer(request).await }
    }));

    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(authority.certificate().pem.as_bytes()).expect("a certificate");
    roots.add(trusted).expect("an authority's certificate");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Running { address, tls: TlsConnector::from(Arc::new(client)), leaf, authority, seen, telemetry, stop, tasks }
}

impl Running {
    async fn post(&self, path: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::try_from(HOST).expect("a name");
        let stream = self.tls.connect(name, stream).await.expect("a handshake that trusts the authority");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let request = Request::post(path).header("host", HOST).body(Full::new(Bytes::from(body))).expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    }

    async fn review(&self, pod: Value) -> Value {
        self.review_as(pod, false).await
    }

    async fn review_as(&self, pod: Value, dry_run: bool) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": "705ab4f5", "namespace": "shop", "operation": "CREATE", "object": pod,
                "dryRun": dry_run},
        });
        let (status, body) = self.post("/inject", review.to_string().into_bytes()).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).expect("a review")
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no task panics");
        }
    }
}

fn asking(wish: &str) -> Value {
    json!({
        "metadata": {"generateName": "app-", "annotations": {"veneur.dev/inject": wish}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    })
}

#[tokio::test]
async fn a_review_is_answered_over_tls_with_a_patch() {
    let running = running().await;
    let review = running.review(asking("metrics/default")).await;
    let response = &review["response"];
    assert_eq!(response["uid"], "705ab4f5");
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
    let patch: Value = serde_json::from_slice(&patch).expect("JSON");
    assert!(patch.to_string().contains("default-proxy.metrics.svc:8128"));
    running.end().await;
}

fn of_a_replica_set(wish: &str, uid: &str) -> Value {
    let mut pod = asking(wish);
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": uid, "controller": true}]);
    pod
}

#[tokio::test]
async fn an_owner_is_told_once_what_became_of_its_pods_and_a_dry_run_tells_nobody() {
    let running = running().await;
    running.review_as(of_a_replica_set("metrics/defalt", "dry"), true).await;
    for _ in 0..3 {
        running.review(of_a_replica_set("metrics/defalt", "a")).await;
    }
    running.review(of_a_replica_set("metrics/default", "b")).await;
    let events = || -> Vec<Value> {
        let seen = running.seen.lock().expect("no poison");
        seen.iter().filter(|(_, path, _)| path.contains("/events")).map(|(_, _, body)| body.clone()).collect()
    };
    // Events are written in their order, so that the last one ends the wait.
    let deadline = Duration::from_secs(10);
    let told = tokio::time::timeout(deadline, async {
        while !events().iter().any(|event| event["reason"] == "VeneurInjected") {
            tokio::task::yield_now().await;
        }
    });
    told.await.expect("events are written");
    let told: Vec<(Value, Value, Value)> = events()
        .into_iter()
        .map(|event| (event["regarding"]["uid"].clone(), event["type"].clone(), event["note"].clone()))
        .collect();
    let skipped = json!("PipelineNotFound: metrics/defalt; did you mean metrics/default?");
    let injected = json!("Pods send to pipeline metrics/default");
    assert_eq!(told, [(json!("a"), json!("Warning"), skipped), (json!("b"), json!("Normal"), injected)]);
    running.end().await;
}

#[tokio::test]
async fn who_creates_a_pod_by_hand_is_warned() {
    let running = running().await;
    let warnings = running.review(asking("metrics/defalt")).await["response"]["warnings"].clone();
    assert_eq!(
        warnings,
        json!(["veneur: not injected: PipelineNotFound: metrics/defalt; did you mean metrics/default?"])
    );
    assert_eq!(running.review(asking("metrics/default")).await["response"]["warnings"], Value::Null);
    running.end().await;
}

#[tokio::test]
async fn a_pod_is_never_refused() {
    let running = running().await;
    for pod in [asking("metrics/nothing-like-it"), asking("???"), json!({}), Value::Null, json!([1])] {
        assert_eq!(running.review(pod).await["response"]["allowed"], true);
    }
    running.end().await;
}

/// It may be one whose pods are all meant, which must not be admitted as if nobody had asked.
#[tokio::test]
async fn a_pod_of_an_unknown_namespace_is_left_to_the_failure_policy() {
    let running = running().await;
    let review = json!({"request": {"uid": "1", "namespace": "unseen", "object": asking("metrics/default")}});
    let (status, body) = running.post("/inject", review.to_string().into_bytes()).await;
    assert_eq!((status, &*body), (StatusCode::INTERNAL_SERVER_ERROR, &b"namespace \"unseen\" was not seen yet\n"[..]));
    running.end().await;
}

#[test]
fn a_mistake_of_ours_is_counted_as_failed() {
    let mistake = failed(&asking("metrics/default"));
    assert_eq!(decision(&mistake), (Decision::Failed, Some(SkipReason::InternalError)));
}

#[tokio::test]
async fn only_pods_are_counted_and_not_the_probe() {
    let running = running().await;
    let (status, body) = running.post("/inject", crate::probe::EMPTY_REVIEW.to_vec()).await;
    let answer: Value = serde_json::from_slice(&body).expect("a review");
    assert_eq!((status, &answer["response"]["allowed"]), (StatusCode::OK, &json!(true)));
    let counted = || running.telemetry.text().lines().filter(|line| line.contains("admissions_total{")).count();
    assert_eq!(counted(), 0, "{}", running.telemetry.text());
    running.review(asking("metrics/default")).await;
    assert_eq!(counted(), 1, "{}", running.telemetry.text());
    running.end().await;
}

#[tokio::test]
async fn what_is_no_review_gets_an_answer_that_says_so() {
    let running = running().await;
    assert_eq!(running.post("/inject", b"{".to_vec()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(running.post("/other", Vec::new()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(running.post("/inject", vec![b' '; 4 * 1024 * 1024]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    running.end().await;
}

#[tokio::test]
async fn a_leaf_is_exchanged_while_the_webhook_serves() {
    let running = running().await;
    assert_eq!(running.review(asking("false")).await["response"]["allowed"], true);
    let new = running.authority.sign(&purpose(), SystemTime::now()).expect("a leaf");
    running.leaf.exchange(&new.certificate.pem, &new.key_pem).expect("a usable one");
    assert_eq!(running.review(asking("false")).await["response"]["allowed"], true);
    running.end().await;
}
