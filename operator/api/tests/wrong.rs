//! Every wrong input gets its one sentence from the rules in the schema.
//!
//! The objects are those of `e2e/tests/wrong`, where the same sentences are asked of a real API server.

use kube::core::cel::Validator;
use serde_json::Value;
use std::{fs, path::Path};

/// Checked by the API server's own code, which only a cluster test can ask.
const BUILT_IN: [&str; 5] =
    ["two-sinks-of-one-name", "unknown-field", "unknown-aggregate", "quantity-not-a-number", "no-replicas"];

fn sentences(object: &Value) -> Vec<String> {
    let crd = serde_json::to_value(veneur_operator_api::crd()).expect("plain JSON");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate_with_defaults(schema, object, None) {
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
  image: { repository: registry.example:5000/team/veneur, pullPolicy: Never }
  flush: { interval: 5m }
  aggregation:
    percentiles: [p1, p99.999]
    aggregates: [Min, Max, Median, Avg, Count, Sum, HMean]
    scopes: [{ match: { namePrefix: billing. }, types: [Counter], scope: Global }, { scope: Mixed }]
  tags: { add: { cluster: prod-eu1, app.kubernetes.io/name: 'a=b' } }
  sidecar: { resources: { requests: { cpu: 10m, memory: 32Mi }, limits: { cpu: 1, memory: 32Mi } } }
  proxy: { replicas: 1, resources: { limits: { memory: 1Gi } } }
  global: { replicas: 1000, resources: { requests: { cpu: 1 } } }
  sinks:
    - { name: eu, datadog: { site: datadoghq.eu, apiKeySecret: { name: datadog, key: api-key } } }
    - { name: fake, datadog: { url: 'http://intake.test:8080', apiKeySecret: { name: datadog, key: api-key } } }
    - { name: debug, debug: {} }",
    );
    assert_eq!(sentences(&object), Vec::<String>::new());
    let pipeline: veneur_operator_api::VeneurPipeline =
        serde_json::from_value(object).expect("what the schema accepts is readable");
    assert_eq!(pipeline.spec.sidecar.resources.expect("given").limits["cpu"].0, "1");
}
