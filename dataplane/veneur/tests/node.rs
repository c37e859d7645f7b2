//! Node mode over real sockets: a kubelet that speaks TLS, and what is published of samples that say who they are.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    net::UdpSocket,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use veneur::server::{self, Running};
use veneur_config::{Datadog, Every, Node, Server, Sink, SinkKind};
use veneur_intake::Intake;

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// As kubelet 1.34 answered, with ids that a reader can tell apart.
const PODS: &str = include_str!("kubelet/pods.json");
const NOBODY: &str = r#"{"kind":"PodList","items":null}"#;

const APP: &str = "4f2a000000000000000000000000000000000000000000000000000000000000";
const DB: &str = "db00000000000000000000000000000000000000000000000000000000000000";

/// What the kubelet lists, and how often it was asked.
#[derive(Default)]
struct Listed {
    pods: Mutex<&'static str>,
    requests: AtomicU64,
}

/// A kubelet and the files that a pod needs to speak to it.
struct Kubelet {
    listed: Arc<Listed>,
    node: Node,
    _folder: tempfile::TempDir,
    _serving: JoinSet<()>,
}

async fn kubelet(pods: &'static str) -> Kubelet {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).expect("an address");
    let certificate = certificate.signed_by(&key, &authority).expect("signed");
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("PEM");
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("fit together");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let listed = Arc::new(Listed { pods: Mutex::new(pods), ..Listed::default() });
    let (acceptor, shown) = (TlsAcceptor::from(Arc::new(tls)), Arc::clone(&listed));
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let shown = Arc::clone(&shown);
            let service = service_fn(move |request| {
                let answer = answer(&request, &shown);
                async move { Ok::<_, Infallible>(answer) }
            });
            // One request a connection; a client that breaks off is not this one's matter.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        }
    });

    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let node = Node {
        kubelet_url: format!("https://{address}"),
        kubelet_certificate_authority: file("ca.crt", &authority.pem()),
        token_file: file("token", "let me in\n"),
        refresh: Every::seconds(1),
        labels_as_tags: vec!["team=squad".into()],
        cgroup_root: folder.path().to_str().expect("UTF-8").to_owned(),
        ..Node::default()
    };
    Kubelet { listed, node, _folder: folder, _serving: serving }
}

fn answer(request: &Request<Incoming>, listed: &Listed) -> Response<Full<Bytes>> {
    listed.requests.fetch_add(1, Relaxed);
    let allowed = request.headers().get(AUTHORIZATION).is_some_and(|token| token == "Bearer let me in");
    let (status, body) = match (allowed, request.uri().path()) {
        (false, _) => (StatusCode::FORBIDDEN, "who is it?"),
        (true, "/pods") => (StatusCode::OK, *listed.pods.lock().expect("no panic")),
        (true, _) => (StatusCode::NOT_FOUND, "what is it?"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}

/// An instance in node mode and where it publishes to.
struct Instance {
    running: Running,
    intake: Arc<Intake>,
    _serving: JoinSet<std::io::Result<()>>,
}

async fn instance(node: Node, listen: &str) -> Instance {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let api_hostname = format!("http://{}", listener.local_addr().expect("bound"));
    let intake = Arc::new(Intake::default());
    let mut serving = JoinSet::new();
    serving.spawn(Arc::clone(&intake).serve(listener));
    let sink = Datadog { api_key: "key".into(), api_hostname, ..Datadog::default() };
    let config = Server {
        interval: Every::seconds(1),
        statsd_listen_addresses: vec![listen.into()],
        http_address: "127.0.0.1:0".into(),
        node,
        metric_sinks: vec![Sink { name: "datadog".into(), kind: SinkKind::Datadog(sink) }],
        ..Server::default()
    };
    Instance { running: server::start(&config).await.expect("starts"), intake, _serving: serving }
}

impl Instance {
    fn emit(&self, lines: &str) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket.send_to(lines.as_bytes(), self.running.dogstatsd[0]).expect("loopback takes it");
    }

    /// Emits until a point of this name has these tags.
    async fn until_tagged(&self, lines: &str, metric: &str, wanted: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.emit(lines);
            let seen = self.tags(metric);
            if seen.iter().any(|tags| wanted.iter().all(|tag| tags.contains(*tag))) {
                return;
            }
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {metric} with {wanted:?}: {seen:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The tag sets that points of a name were published with.
    fn tags(&self, metric: &str) -> BTreeSet<BTreeSet<String>> {
        let received = self.intake.received().into_iter().filter(|point| point.metric == metric);
        received.map(|point| point.tags.into_iter().collect()).collect()
    }

    async fn page(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let http = self.running.http.expect("has an admin port");
        let mut stream = tokio::net::TcpStream::connect(http).await.expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answers");
        answer.split_once("\r\n\r\n").expect("has a body").1.to_owned()
    }

    async fn status(&self) -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&self.page("/status").await).expect("is JSON")["node"].take()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_containers_that_emit_one_series_publish_two() {
    let kubelet = kubelet(PODS).await;
    let instance = instance(kubelet.node.clone(), "udp://127.0.0.1:0").await;
    let lines = format!("calls:1|c|#env:prod|c:ci-{APP}\ncalls:1|c|#env:prod|c:{DB}|card:orchestrator\ncalls:1|c");
    let web = ["env:prod", "kube_deployment:web", "kube_namespace:shop", "kube_container_name:app", "squad:checkout"];
    instance.until_tagged(&lines, "calls", &web).await;
    let db = ["env:prod", "kube_stateful_set:db", "pod_name:db-0"];
    instance.until_tagged(&lines, "calls", &db).await;
    instance.until_tagged(&lines, "calls", &[]).await;
    let tags = instance.tags("calls");
    let low = tags.iter().find(|tags| tags.contains("kube_deployment:web")).expect("seen above");
    assert!(!low.iter().any(|tag| tag.starts_with("pod_name") || tag.starts_with("container_id")), "{low:?}");
    assert!(tags.iter().any(BTreeSet::is_empty), "who says nothing gets nothing: {tags:?}");

    let status = instance.status().await;
    assert_eq!((&status["pods"], &status["containers"]), (&2.into(), &4.into()), "{status:#}");
    assert_eq!(status["last_error"], serde_json::Value::Null);
    let metrics = instance.page("/metrics").await;
    assert!(metrics.contains("veneur_node_contexts_formed_total{origin=\"resolved\"}"), "{metrics}");
    instance.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_yet_gets_tags_as_soon_as_the_kubelet_names_it() {
    let kubelet = kubelet(NOBODY).await;
    let instance = instance(kubelet.node.clone(), "udp://127.0.0.1:0").await;
    let lines = format!("calls:1|c|c:ci-{APP}");
    instance.until_tagged(&lines, "calls", &[]).await;
    let status = instance.status().await;
    assert_eq!(status["unknown"][0]["origin"], format!("container {APP}"), "{status:#}");
    assert_ne!(status["contexts_unresolved"], 0, "{status:#}");

    *kubelet.listed.pods.lock().expect("no panic") = PODS;
    instance.until_tagged(&lines, "calls", &["kube_deployment:web"]).await;
    let status = instance.status().await;
    assert_eq!(status["unknown_origins"], 0, "{status:#}");
    instance.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_is_asked_once_a_refresh_whatever_clients_claim() {
    let kubelet = kubelet(PODS).await;
    let begun = Instant::now();
    let instance = instance(kubelet.node.clone(), "udp://127.0.0.1:0").await;
    let mut sent = 0_u64;
    while begun.elapsed() < 3 * kubelet.node.refresh.0 {
        let lines: Vec<String> = (0..20).map(|line| format!("calls:1|c|c:ci-{}", sent + line)).collect();
        instance.emit(&lines.join("\n"));
        sent += 20;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = kubelet.listed.requests.load(Relaxed);
    let most = begun.elapsed().as_secs() / kubelet.node.refresh.0.as_secs() + 1;
    assert!((2..=most).contains(&asked), "{asked} requests for {sent} claims, at most {most} are allowed");
    let status = instance.status().await;
    assert!(status["unknown_origins"].as_u64() <= Some(1_024), "{status:#}");
    instance.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_that_refuses_or_is_not_who_it_should_be_is_told_and_costs_no_sample() {
    let kubelet = kubelet(PODS).await;
    let others = tempfile::NamedTempFile::new().expect("a file");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let other = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    fs::write(others.path(), other.pem()).expect("written");
    let others = others.path().to_str().expect("UTF-8").to_owned();
    let stranger = Node { kubelet_certificate_authority: others.clone(), ..kubelet.node.clone() };
    let no_token = Node { token_file: String::new(), ..kubelet.node.clone() };
    let no_file = Node { token_file: "/nonexistent/token".into(), ..kubelet.node.clone() };
    for (node, expected) in [
        (stranger, "invalid peer certificate"),
        (no_token, "status 403): let this pod's service account get nodes/pods"),
        (no_file, "cannot read node.token_file /nonexistent/token"),
    ] {
        let instance = instance(node, "udp://127.0.0.1:0").await;
        instance.until_tagged(&format!("calls:1|c|c:ci-{APP}"), "calls", &[]).await;
        let status = instance.status().await;
        let said = status["last_error"].as_str().unwrap_or_default();
        assert!(said.contains(expected), "{expected}: {status:#}");
        assert_eq!(instance.tags("calls"), BTreeSet::from([BTreeSet::new()]));
        instance.running.stop().await;
    }
    let insecure = Node { kubelet_certificate_authority: others, kubelet_insecure: true, ..kubelet.node.clone() };
    let instance = instance(insecure, "udp://127.0.0.1:0").await;
    instance.until_tagged(&format!("calls:1|c|c:ci-{APP}"), "calls", &["kube_deployment:web"]).await;
    instance.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_found_by_the_inode_of_its_cgroup_and_a_pod_by_its_uid() {
    use std::os::unix::fs::MetadataExt as _;

    let kubelet = kubelet(PODS).await;
    let cgroup = Path::new(&kubelet.node.cgroup_root).join("memory/kubepods/pod7d1c").join(DB);
    fs::create_dir_all(&cgroup).expect("made");
    let inode = fs::metadata(&cgroup).expect("there").ino();
    let instance = instance(kubelet.node.clone(), "udp://127.0.0.1:0").await;
    instance
        .until_tagged(&format!("a:1|g|c:in-{inode}"), "a", &["kube_stateful_set:db", "kube_container_name:db"])
        .await;
    let uid = "9b1d0000-0000-4000-8000-000000000001";
    let external = format!("b:1|g|e:it-false,cn-app,pu-{uid}|card:high");
    instance.until_tagged(&external, "b", &["kube_container_name:app", &format!("container_id:{APP}")]).await;
    instance.until_tagged(&format!("c:1|g|#dd.internal.entity_id:{uid}"), "c", &["kube_deployment:web"]).await;

    instance.emit(&format!("_e{{1,1}}:a|b|#kube_namespace:mine|c:ci-{APP}|card:orchestrator"));
    let deadline = Instant::now() + PATIENCE;
    while instance.intake.events().is_empty() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for the event");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tags = instance.intake.events()[0].event.tags.clone();
    assert!(tags.contains(&"pod_name:web-5f9c-x1".to_owned()), "{tags:?}");
    assert!(tags.contains(&"kube_namespace:mine".to_owned()), "what a client says of its event stays: {tags:?}");
    assert_eq!(instance.intake.problems(), Vec::<String>::new());
    instance.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_node_mode_nobody_is_asked_and_no_tag_is_added() {
    let instance = instance(Node::default(), "udp://127.0.0.1:0").await;
    let lines = format!("calls:1|c|c:ci-{APP}|card:high\ncalls:1|c|c:ci-{DB}|e:pu-1");
    instance.until_tagged(&lines, "calls", &[]).await;
    assert_eq!(instance.tags("calls"), BTreeSet::from([BTreeSet::new()]));
    assert_eq!(instance.status().await, serde_json::Value::Null);
    instance.running.stop().await;
}
