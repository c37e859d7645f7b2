//! Reviews of pods, posted straight to a webhook over TLS at a fixed rate, as an API server posts them: over one
//! connection of HTTP/2. What is late counts from when it was due, not from when it could be sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};
use tokio_rustls::TlsConnector;

/// Reviews before those that count: caches fill, and the webhook lists its pipelines.
const WARMING: u64 = 100;
/// How long the webhook may take to come up, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where to, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Address of the webhook.
    pub to: SocketAddr,
    /// Name in its certificate.
    pub name: String,
    /// Whom to trust, in PEM.
    pub authority: Vec<u8>,
    /// Value of the annotation by which pods ask.
    pub inject: String,
    /// Reviews a second.
    pub rate: u32,
    /// How many.
    pub reviews: u64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Admitted {
    /// Reviews answered.
    pub answered: usize,
    /// Of them, those with a patch.
    pub patched: usize,
    /// Milliseconds from when a review was due to its answer.
    pub p50_ms: f64,
    /// The same.
    pub p99_ms: f64,
    /// The same.
    pub max_ms: f64,
}

/// Posts the reviews and waits for every answer.
pub async fn admission(plan: &Plan) -> Result<Admitted> {
    let mut connections = JoinSet::new();
    let sender = connect(plan, &mut connections).await?;
    for number in 0..WARMING {
        review(sender.clone(), plan.name.clone(), body(plan, number), Instant::now()).await?;
    }
    let mut answers = JoinSet::new();
    let mut due = interval(Duration::from_secs(1) / plan.rate);
    for number in 0..plan.reviews {
        let since = due.tick().await;
        answers.spawn(review(sender.clone(), plan.name.clone(), body(plan, number), since));
    }
    let mut times = Vec::new();
    let mut patched = 0;
    while let Some(answer) = answers.join_next().await {
        let (took, has_patch) = answer.context("a review panicked")??;
        times.push(took.as_secs_f64() * 1_000.0);
        patched += usize::from(has_patch);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    };
    Ok(Admitted { answered: times.len(), patched, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) })
}

async fn connect(plan: &Plan, connections: &mut JoinSet<()>) -> Result<SendRequest<Full<Bytes>>> {
    // Fails where another provider was chosen before, which is as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&plan.authority) {
        roots.add(certificate.context("the authority is no PEM")?).context("the authority cannot be used")?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let begin = Instant::now();
    let stream = loop {
        match TcpStream::connect(plan.to).await {
            Ok(stream) => break stream,
            Err(error) if begin.elapsed() > PATIENCE => bail!("nothing answers at {}: {error}", plan.to),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(plan.name.clone()).context("no name of a server")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.context("no TLS")?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    connections.spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn review(
    mut sender: SendRequest<Full<Bytes>>,
    name: String,
    body: Bytes,
    since: Instant,
) -> Result<(Duration, bool)> {
    let request = Request::post(format!("https://{name}/inject"))
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let asking = async {
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, body))
    };
    let (status, body) = timeout(PATIENCE, asking).await.context("no answer")??;
    let took = since.elapsed();
    ensure!(status == StatusCode::OK, "the webhook answers {status}");
    let review: Value = serde_json::from_slice(&body).context("the answer is no JSON")?;
    ensure!(review["response"]["allowed"] == true, "a pod was refused: {review}");
    Ok((took, review["response"]["patch"].is_string()))
}

/// A review of a pod of a Deployment, as long as they usually are.
fn body(plan: &Plan, number: u64) -> Bytes {
    let environment: Vec<Value> = (0..20)
        .map(|number| json!({"name": format!("SETTING_{number}"), "value": "some value of the application"}))
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8000}, "periodSeconds": 10});
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example/shop/{name}:1.2.3"), "env": environment,
            "ports": [{"containerPort": 8000}], "readinessProbe": probe, "livenessProbe": probe,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "web-7d9f8c6b5-", "namespace": "shop",
            "labels": {"app": "web", "pod-template-hash": "7d9f8c6b5"},
            "annotations": {"veneur.dev/inject": plan.inject},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8c6b5",
                "uid": "6b1f2c3d-0000-4000-8000-000000000000", "controller": true}],
        },
        "spec": {"containers": [container("web"), container("helper")], "serviceAccountName": "web"},
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": format!("00000000-0000-4000-8000-{number:012}"), "operation": "CREATE", "namespace": "shop",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": pod, "dryRun": true,
        },
    });
    Bytes::from(review.to_string())
}
