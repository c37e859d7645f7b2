//! Every wrong input gets its one sentence from the rules in the schema.
//!
//! The objects are those of `e2e/tests/wrong`, where the same sentences are asked of a real API server.

use kube::core::cel::Validator;
use serde_json::Value;
use std::{fs, path::Path, sync::LazyLock};

/// Checked by the API server's own code, which only a cluster test can ask.
const BUILT_IN: [&str; 8] = [
    "two-sinks-of-one-name",
    "unknown-field",
    "unknown-aggregate",
    "unknown-management",
    "mistyped-affinity",
    "quantity-not-a-number",
    "no-replicas",
    "port-below-1024",
];

fn sentences(object: &Value) -> Vec<String> {
    sentences_of_update(object, None)
}

fn sentences_of_update(object: &Value, old: Option<&Value>) -> Vec<String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let crd = serde_json::to_value(veneur_operator_api::crd()).expect("plain JSON");
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    });
    match Validator::new().validate_with_defaults(&SCHEMA, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

#[test]
fn every_wrong_object_gets_its_one_sentence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/tests/wrong");
    let mut asked = 0;
    for entry in fs::read_dir(folder).expect("the folder of wrong objects") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("text");
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: ")).expect("# expect: first");
        let sentences = sentences(&read(&text));
        if BUILT_IN.contains(&name.as_str()) {
            assert_eq!(sentences, Vec::<String>::new(), "{name}: no rule of ours may add a second sentence");
        } else {
            assert_eq!(sentences, [expected], "{name}");
        }
        asked += 1;
    }
    assert!(asked > 10, "only {asked} wrong objects were found");
}

#[test]
fn the_smallest_object_is_accepted() {
    let object = read(
        "{apiVersion: veneur.dev/v1alpha1, kind: VeneurPipeline, metadata: {name: default}, \
         spec: {sinks: [{name: debug, debug: {}}]}}",
    );
    assert_eq!(sentences(&object), Vec::<String>::new());
}

#[test]
fn everything_at_once_is_accepted() {
    let object = read(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: { name: full }
spec:
  version: 1.2.3
  management: Paused
  image:
    repository: registry.example:5000/team/veneur
    digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    pullPolicy: Never
    pullSecrets: [registry]
  flush: { interval: 5m }
  aggregation:
    percentiles: [p1, p99.999]
    aggregates: [Min, Max, Median, Avg, Count, Sum, HMean]
    scopes: [{ match: { namePrefix: billing. }, types: [Counter], scope: Global }, { scope: Fleet }]
    relativeError: [size.]
  tags:
    add: { cluster: prod-eu1, app.kubernetes.io/name: 'a=b' }
    exclude: [nonce]
    fromPodLabels: { app.kubernetes.io/name: service }
    cardinalityLimit: { perPod: 500, perGlobal: 2000000 }
  sidecar:
    enabled: true
    delivery: Direct
    mode: Auto
    transport: UDS
    ports: []
    uds: { path: /run/dsd/dsd.sock }
    env: { statsdAddr: false, datadog: true, initContainers: false }
    resources: { requests: { cpu: 10m, memory: 32Mi }, limits: { cpu: 1, memory: 32Mi } }
    preserveQoS: false
    securityContext: { runAsUser: 1000650000, runAsGroup: 1 }
    startupProbe: false
    allowOverrides: [Tags]
    upgrade: { image: OnRecreate, maxConcurrent: 1 }
  node:
    enabled: true
    exposure: HostPort
    podTags: Orchestrator
    tolerations: [{ operator: Exists }]
    resources: { requests: { cpu: 10m } }
    drain: { preStopSeconds: 1, shutdownSeconds: 8, terminationGracePeriodSeconds: 10 }
  proxy:
    autoscaling: { minReplicas: 2, maxReplicas: 20, cpuUtilization: 70 }
    resources: { requests: { cpu: 200m }, limits: { memory: 1Gi } }
    maxConnectionAge: 90s
    trafficDistribution: PreferClose
    buffer: { maxBytes: 64Mi, maxAge: 30s }
    priorityClassName: high
  global:
    replicas: 1000
    resources: { requests: { cpu: 1 } }
    ring: { hash: Veneur, allowRehash: true, rollout: { strategy: Rolling } }
    drainPolicy: FlushToSinks
    buffer: { maxAge: 5m }
    nodeSelector: { disk: ssd }
    podLabels: { team: metrics }
    podAnnotations: { note: kept }
    disruptionBudget: { maxUnavailable: 2 }
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{ matchExpressions: [{ key: arch, operator: In, values: [amd64] }] }]
    topologySpreadConstraints: [{ maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule }]
  routing:
    - { name: billing, match: { namePrefix: billing., tags: ['env:prod'] }, sinks: [eu, debug] }
    - { name: rest, sinks: [debug] }
  injection:
    from: Selector
    selector: { matchLabels: { team: shop }, matchExpressions: [{ key: env, operator: NotIn, values: [dev] }] }
    clusterDefault: true
    onMissed: Evict
  tls: { mode: CertManager, issuerRef: { name: ca, kind: ClusterIssuer }, caBundle: '-----BEGIN CERTIFICATE-----' }
  networkPolicy: { enabled: true, extraEgress: [{ cidr: 10.0.0.0/8, ports: [443] }, { cidr: 'fd00::/8' }] }
  monitoring: { podMonitor: Disabled, labels: { release: prometheus } }
  sinks:
    - name: eu
      tagsExclude: [pod]
      datadog:
        site: datadoghq.eu
        apiKeySecret: { name: datadog, key: api-key }
        maxPerRequest: 10000
        dropNamePrefixes: [debug.]
    - { name: fake, datadog: { url: 'http://intake.test:8080', apiKeySecret: { name: datadog, key: api-key } } }
    - { name: nowhere, blackhole: {} }
    - { name: debug, debug: {} }",
    );
    assert_eq!(sentences(&object), Vec::<String>::new());
    let pipeline: veneur_operator_api::VeneurPipeline =
        serde_json::from_value(object).expect("what the schema accepts is readable");
    assert_eq!(pipeline.spec.sidecar.resources.clone().expect("given").limits["cpu"].0, "1");
    let again = serde_json::to_value(&pipeline).expect("plain JSON");
    assert_eq!(sentences(&again), Vec::<String>::new(), "and is written as it was read: {again:#}");
}

fn with(spec: &str) -> Value {
    read(&format!("{{apiVersion: veneur.dev/v1alpha1, kind: VeneurPipeline, metadata: {{name: it}}, spec: {spec}}}"))
}

#[test]
fn a_ring_changes_its_hash_only_where_that_is_accepted() {
    let ring = |ring: &str| with(&format!("{{sinks: [{{name: debug, debug: {{}}}}], global: {{ring: {ring}}}}}"));
    let update = |old: &str, new: &str| sentences_of_update(&ring(new), Some(&ring(old)));
    let refused =
        ["ring.hash moves every key when changed; set ring.allowRehash: true to accept one interval of split series"];
    assert_eq!(update("{hash: Rendezvous}", "{hash: Veneur}"), refused);
    assert_eq!(update("{hash: Rendezvous}", "{hash: Veneur, allowRehash: true}"), Vec::<String>::new());
    assert_eq!(update("{hash: Veneur}", "{hash: Veneur}"), Vec::<String>::new());
}

#[test]
fn the_simpler_topologies_are_accepted() {
    for spec in [
        "{sinks: [{name: debug, debug: {}}], proxy: {enabled: false}}",
        "{sinks: [{name: debug, debug: {}}], proxy: {enabled: false}, global: {replicas: 1}}",
        "{global: {enabled: false, forwardTo: 'veneur.eu.example:8128'}}",
        "{global: {enabled: false, forwardTo: 'veneur.eu.example:8128'}, proxy: {enabled: false}}",
        "{global: {forwardTo: '[fd00::1]:8128'}}",
        "{sinks: [{name: debug, debug: {}}], sidecar: {enabled: false}, node: {enabled: true}}",
    ] {
        assert_eq!(sentences(&with(spec)), Vec::<String>::new(), "{spec}");
    }
}

#[test]
fn what_is_left_out_is_what_the_types_say() {
    let smallest = with("{sinks: [{name: debug, debug: {}}]}");
    let pipeline: veneur_operator_api::VeneurPipeline = serde_json::from_value(smallest).expect("readable");
    assert_eq!(pipeline.spec.proxy, veneur_operator_api::Proxy::default());
    assert_eq!(pipeline.spec.global, veneur_operator_api::Global::default());
    let partly = with("{sinks: [{name: debug, debug: {}}], sidecar: {mode: Auto}, proxy: {replicas: 2}}");
    let pipeline: veneur_operator_api::VeneurPipeline = serde_json::from_value(partly).expect("readable");
    assert!(pipeline.spec.sidecar.enabled && pipeline.spec.sidecar.env.datadog && pipeline.spec.proxy.enabled);
    assert_eq!(pipeline.spec.sidecar.ports, [8126, 8125]);
}
