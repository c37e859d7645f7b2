//! Fixtures that walk the real ways: pipelines from YAML, values from `validate`, golden files, a stand-in for the API
//! server.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::watch;
use veneur_operator_api::VeneurPipeline;

use crate::{
    context::{Context, Defaults},
    events::Events,
    feeds::Feeds,
    live::Live,
    reconcile::validate::{Validated, validate},
};

/// What a reconciliation shares, with nothing seen yet.
pub(crate) fn context(client: Client) -> Arc<Context> {
    Arc::new(Context {
        client: client.clone(),
        defaults: defaults(),
        failures: <_>::default(),
        live: Arc::new(Live::new()),
        contests: <_>::default(),
        fleet: <_>::default(),
        feeds: feeds(),
        events: Events::new(client, None),
        telemetry: <_>::default(),
        accounts: <_>::default(),
        certificates: None,
    })
}

/// What other tasks tell, before any of them has spoken.
pub(crate) fn feeds() -> Feeds {
    Feeds {
        pods: watch::Sender::default().subscribe(),
        webhook: watch::Sender::default().subscribe(),
        evicting: watch::Sender::default().subscribe(),
        pipelines: crate::pipelines::pipelines().0,
        watches: Vec::new(),
        configuration: <_>::default(),
    }
}

pub(crate) fn defaults() -> Defaults {
    Defaults::of_image("registry.example/veneur:1.2.3")
}

/// The pipeline `metrics/<name>` with this spec.
pub(crate) fn pipeline(name: &str, spec: &str) -> VeneurPipeline {
    let spec: Value = serde_saphyr::from_str(spec).expect("YAML");
    let object = json!({
        "apiVersion": "veneur.dev/v1alpha1",
        "kind": "VeneurPipeline",
        "metadata": {"name": name, "namespace": "metrics", "uid": "0b6f1c3e", "generation": 3},
        "spec": spec,
    });
    serde_json::from_value(object).expect("a pipeline")
}

pub(crate) const SMALLEST: &str = "sinks: [{name: debug, debug: {}}]";

pub(crate) const FULL: &str = "
version: 2.0.0
image: { repository: mirror.example/veneur, pullPolicy: Always, pullSecrets: [registry] }
flush: { interval: 1m }
aggregation:
  percentiles: [p50, p99.9]
  aggregates: [Median, HMean]
  scopes: [{ match: { namePrefix: billing. }, types: [Counter, Timer], scope: Global }, { scope: Fleet }]
  relativeError: [size.]
tags:
  add: { cluster: eu1, price: 5$ }
  exclude: [nonce]
  fromPodLabels: { app.kubernetes.io/name: service }
  cardinalityLimit: { perPod: 500, perGlobal: 2000000 }
sidecar: { resources: { requests: { cpu: 50m, memory: 48Mi }, limits: { memory: 96Mi } } }
node:
  enabled: true
  exposure: HostPort
  podTags: Orchestrator
  kubeletInsecure: true
  tolerations: [{ operator: Exists }]
  drain: { preStopSeconds: 0, shutdownSeconds: 8, terminationGracePeriodSeconds: 10 }
proxy:
  autoscaling: { minReplicas: 4, maxReplicas: 20 }
  resources: { requests: { cpu: 1 } }
  maxConnectionAge: 90s
  trafficDistribution: PreferClose
  buffer: { maxBytes: 128Mi, maxAge: 30s }
  drain: { preStopSeconds: 5, shutdownSeconds: 30, terminationGracePeriodSeconds: 45 }
  disruptionBudget: { maxUnavailable: 2 }
global:
  replicas: 5
  resources: { limits: { memory: 1Gi } }
  ring: { hash: Veneur, rollout: { strategy: Rolling } }
  drainPolicy: FlushToSinks
  buffer: { maxBytes: 32Mi }
  nodeSelector: { disk: ssd }
  priorityClassName: high
  podLabels: { team: metrics }
  podAnnotations: { note: kept }
  topologySpreadConstraints: [{ maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule }]
  affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: rack, labelSelector: {} }] } }
sinks:
  - name: eu-main
    tagsExclude: ['pod:']
    datadog:
      site: datadoghq.eu
      apiKeySecret: { name: datadog, key: api-key }
      maxPerRequest: 1000
      dropNamePrefixes: [debug.]
  - { name: fake, datadog: { url: 'http://intake.test.svc:8080', apiKeySecret: { name: other, key: k } } }
  - { name: debug, debug: {} }
routing: [{ name: billing, match: { namePrefix: billing., tags: ['env:prod'] }, sinks: [eu-main] }]
tls: { mode: SelfSigned }
networkPolicy: { extraEgress: [{ cidr: 10.0.0.0/8, ports: [443] }, { cidr: 'fd00::/8' }] }
monitoring: { labels: { release: prometheus } }
";

/// Proxies alone, which send to another cluster.
pub(crate) const RELAY: &str = "
global: { enabled: false, forwardTo: 'veneur.eu.example:8128' }
tls:
  mode: CertManager
  issuerRef: { name: ca, kind: ClusterIssuer }
  caBundle: |
    -----BEGIN CERTIFICATE-----
    MIIBrDCCAVOgAwIBAgIUbqSgHm0IVLJL6cpWEs00dTFouucwCgYIKoZIzj0EAwIw
    IzEhMB8GA1UEAwwYdmVuZXVyIGV4YW1wbGUgYXV0aG9yaXR5MCAXDTI2MTEyNzAw
    MjU0NVoYDzIxMjYxMTAzMDAyNTQ1WjAjMSEwHwYDVQQDDBh2ZW5ldXIgZXhhbXBs
    ZSBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARmByPdurq3RloV
    OLs7pPsB5+rjLMgLPeITVwrZ1BL8sG8/Wo+6aYxUEdsb8px0lNRwTVuK3r+DI3B6
    hNOT5Uclo2MwYTAdBgNVHQ4EFgQUjQ72qZzwCcULGoFSKnjLP3B2EEcwHwYDVR0j
    BBgwFoAUjQ72qZzwCcULGoFSKnjLP3B2EEcwDwYDVR0TAQH/BAUwAwEB/zAOBgNV
    HQ8BAf8EBAMCAQYwCgYIKoZIzj0EAwIDRwAwRAIgEDbFRDtPycXdGO9oUz9iuY3V
    xPP0DYWoa31OQK0hZo4CIGZQBakR5qj4E36qSxpjSQbbwrM7/9PEwbXvzsXKlNty
    -----END CERTIFICATE-----
";

/// One global and no proxy, for agents of nodes.
pub(crate) const LONE: &str = "
sinks: [{ name: debug, debug: {} }]
sidecar: { enabled: false }
proxy: { enabled: false }
node: { enabled: true }
networkPolicy: { enabled: false }
monitoring: { podMonitor: Disabled }
";

pub(crate) fn validated(spec: &str) -> Validated {
    validate(&pipeline("default", spec), &defaults()).expect("a valid spec")
}

pub(crate) fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).expect("plain YAML")
}

/// Compares with `tests/golden/<file>`; `UPDATE_GOLDEN=1` writes it.
pub(crate) fn golden(file: &str, text: &str) {
    let path = golden_path(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("the file can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{file} differs; UPDATE_GOLDEN=1 rewrites it. Now it is:\n{text}");
}

pub(crate) fn golden_path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

/// One request as the stand-in saw it: method, path with query, body.
pub(crate) type Seen = (String, String, Value);

/// A stand-in for the API server, and what it saw. `answer` gets method, path and body; without an opinion a patch is
/// answered with its own body, there are no pods, and anything else is not found.
pub(crate) fn api_server(
    answer: impl Fn(&str, &str, &Value) -> Option<(u16, Value)> + Clone + Send + 'static,
) -> (Client, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, log) = (answer.clone(), Arc::clone(&log));
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.expect("a body in memory").to_bytes();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let (method, path) = (parts.method.to_string(), parts.uri.to_string());
            let (code, reply) = answer(&method, &path, &body).unwrap_or_else(|| match method.as_str() {
                "PATCH" => (200, body.clone()),
                "GET" if path.contains("/pods") => {
                    (200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []}))
                }
                _ => (404, status(404, "not found")),
            });
            log.lock().expect("no poison").push((method, path, body));
            let mut response = Response::new(Body::from(reply.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(code).expect("a status code");
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    (Client::new(service, "metrics"), seen)
}

/// The API server's way to say no.
pub(crate) fn status(code: u16, message: &str) -> Value {
    let reason = if code == 404 { "NotFound" } else { "" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": reason})
}
