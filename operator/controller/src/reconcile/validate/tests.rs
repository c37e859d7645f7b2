use super::*;
use crate::test_support::{RELAY, defaults, pipeline, validated};

fn problems(spec: &str) -> Vec<String> {
    validate(&pipeline("default", spec), &defaults()).expect_err(spec).0
}

/// One sentence for each thing that an older definition may have let through.
#[test]
fn what_an_older_definition_let_through_gets_one_sentence_each() {
    let sinks = "sinks: [{name: debug, debug: {}}]";
    let grace = "terminationGracePeriodSeconds (30) must be larger than preStopSeconds + shutdownSeconds (41), or the last \
                 flush is killed";
    for (spec, sentence) in [
        ("flush: {interval: 10m}", "spec.flush.interval: must be between 1s and 5m"),
        ("flush: {interval: abc}", "spec.flush.interval: \"abc\" is not like 10s or 1m"),
        (
            "aggregation: {percentiles: [p50, p100]}",
            "spec.aggregation.percentiles[1]: \"p100\" is not like p99 or p99.9",
        ),
        (
            "routing: [{name: all, sinks: [prom]}]",
            "spec.routing[0].sinks: \"prom\" is not the name of an entry of spec.sinks",
        ),
        (
            "proxy: {replicas: 2, autoscaling: {maxReplicas: 3}}",
            "spec.proxy: replicas and autoscaling are mutually exclusive: remove replicas",
        ),
        (
            "global: {autoscaling: {minReplicas: 5, maxReplicas: 3}}",
            "spec.global.autoscaling.minReplicas must not exceed autoscaling.maxReplicas",
        ),
        (
            "global: {drain: {preStopSeconds: 5, terminationGracePeriodSeconds: 30}}",
            &format!("spec.global.drain: {grace}"),
        ),
        (
            "node: {enabled: true, drain: {preStopSeconds: 5, terminationGracePeriodSeconds: 30}}",
            &format!("spec.node.drain: {grace}"),
        ),
        (
            "sidecar: {enabled: false}",
            "spec.sidecar.enabled: nothing can receive metrics, unless spec.node.enabled is true",
        ),
        (
            "global: {enabled: false}",
            "spec.global.enabled: false needs global.forwardTo, the address that takes what is sent",
        ),
        (
            "{proxy: {enabled: false}, global: {replicas: 2}}",
            "spec.global.replicas: must be 1 without proxies, which share the series among several",
        ),
        ("proxy: {maxConnectionAge: 1s}", "spec.proxy.maxConnectionAge: must be between 10s and 24h"),
        ("proxy: {buffer: {maxBytes: 1}}", "spec.proxy.buffer.maxBytes: must be between 64Ki and 64Gi"),
        (
            "global: {buffer: {maxAge: long}}",
            "spec.global.buffer.maxAge: is whole seconds, minutes or hours, as 30s, 2m or 1h",
        ),
    ] {
        let inner = spec.trim_start_matches('{');
        let inner = if inner.len() < spec.len() { inner.strip_suffix('}').expect("both braces") } else { spec };
        assert_eq!(problems(&format!("{{{sinks}, {inner}}}")), [sentence], "{spec}");
    }
    assert_eq!(problems("{}"), ["spec.sinks: needs at least one entry"]);
    assert_eq!(
        problems("sinks: [{name: both, debug: {}, blackhole: {}}]"),
        ["spec.sinks[0]: each sink needs exactly one of datadog, debug, blackhole"]
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let told = problems("{flush: {interval: 1h}, sidecar: {enabled: false}, global: {enabled: false}}");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn amounts_that_no_pod_could_have_are_refused() {
    let resources = "{requests: {cpu: -1, 'example.com/gpu': 1}, limits: {memory: 1Gi, ephemeral-storage: 1Gi}}";
    assert_eq!(
        problems(&format!("{{sinks: [{{name: debug, debug: {{}}}}], sidecar: {{resources: {resources}}}}}")),
        [
            "spec.sidecar.resources.requests.cpu: -1 must not be negative",
            "spec.sidecar.resources.requests.example.com/gpu: only cpu, memory, ephemeral-storage can be given",
        ]
    );
}

#[test]
fn intervals_are_whole_seconds_within_five_minutes() {
    assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
    assert_eq!(interval("5m"), Ok(Duration::from_mins(5)));
    assert_eq!(interval("10m"), Err("must be between 1s and 5m".to_owned()));
    for text in ["", "s", "abc", "10", "1500ms", "-1s", "1é"] {
        assert!(interval(text).is_err(), "{text}");
    }
}

#[test]
fn a_digest_wins_over_a_version() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let image = |image: &str| validated(&format!("{{sinks: [{{name: debug, debug: {{}}}}], {image}}}")).image;
    assert_eq!(image("version: ''"), "registry.example/veneur:1.2.3");
    assert_eq!(image("version: 2.0.0, image: {repository: mirror/veneur}"), "mirror/veneur:2.0.0");
    assert_eq!(
        image(&format!("version: 2.0.0, image: {{digest: '{digest}'}}")),
        format!("registry.example/veneur@{digest}")
    );
}

#[test]
fn sidecars_send_to_the_nearest_tier_that_there_is() {
    let entry = |spec: &str| validated(spec).entry();
    assert_eq!(entry("sinks: [{name: debug, debug: {}}]"), "default-proxy.metrics.svc:8128");
    assert_eq!(
        entry("{sinks: [{name: debug, debug: {}}], proxy: {enabled: false}}"),
        "default-global.metrics.svc:8128"
    );
    let away = "{global: {enabled: false, forwardTo: 'eu.example:8128'}, proxy: {enabled: false}}";
    assert_eq!(entry(away), "eu.example:8128");
}

/// The schema's rule sees where one begins, and no more.
#[test]
fn an_authority_that_no_sidecar_could_read_is_refused() {
    let whole = pipeline("default", RELAY).spec.tls.ca_bundle.expect("a bundle");
    let problems = |bundle: &str| {
        let mut pipeline = pipeline("default", RELAY);
        pipeline.spec.tls.ca_bundle = Some(bundle.to_owned());
        validate(&pipeline, &defaults()).err().map(|invalid| invalid.0)
    };
    assert_eq!(problems(&whole.repeat(2)), None);
    let unreadable = |number: usize| {
        Some(vec![format!(
            "spec.tls.caBundle: certificate {number} cannot be read: paste it whole, from -----BEGIN CERTIFICATE----- to \
             -----END CERTIFICATE-----"
        )])
    };
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let shortened = whole.replace(&format!("\n{end}"), "").trim_end().rsplit_once('\n').expect("lines").0.to_owned();
    for bundle in [begin.to_owned(), shortened.clone(), format!("{shortened}\n{end}\n"), format!("{begin}\n?\n{end}\n")]
    {
        assert_eq!(problems(&bundle), unreadable(1), "{bundle}");
        assert_eq!(problems(&format!("{whole}{bundle}")), unreadable(2), "{bundle}");
    }
    assert_eq!(problems("ca.crt"), Some(vec!["spec.tls.caBundle: holds no certificate in PEM".to_owned()]));
}
