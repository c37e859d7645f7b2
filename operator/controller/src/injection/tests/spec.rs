//! What a pipeline's spec says of injection, and what a pod may change.

use serde_json::{Value, json};
use veneur_config::{Server, parse};
use veneur_operator_api::VeneurPipeline;

use super::{asking, decided_in, named, patched, stamp};
use crate::{
    injection::{Namespace, Outcome, decide},
    test_support::{SMALLEST, defaults, pipeline},
};

fn with_spec(spec: &str) -> VeneurPipeline {
    pipeline("default", &format!("{{{SMALLEST}, {spec}}}"))
}

fn decided_by(pod: &Value, pipeline: &VeneurPipeline, namespace: &Namespace) -> Result<Value, String> {
    match decide(pod, namespace, &[pipeline], &defaults(), "") {
        Outcome::Skipped { skip, .. } => Err(skip.to_string()),
        outcome => Ok(patched(pod, &outcome)),
    }
}

#[test]
fn a_pipeline_admits_whom_its_spec_says() {
    let labelled = |team: &str| Namespace {
        name: "shop".to_owned(),
        labels: [("team".to_owned(), team.to_owned())].into(),
        ..Namespace::default()
    };
    let pod = asking("metrics/default");
    let same = with_spec("injection: {from: Same}");
    assert_eq!(
        decided_by(&pod, &same, &named("shop")),
        Err("NotAllowed: pipeline metrics/default admits pods of namespace metrics only; this one is of shop. Its \
             injection.from decides"
            .to_owned())
    );
    assert!(decided_by(&pod, &same, &named("metrics")).is_ok());
    let selector = "matchLabels: {team: shop}, matchExpressions: [{key: env, operator: NotIn, values: [dev]}]";
    let some = with_spec(&format!("injection: {{from: Selector, selector: {{{selector}}}}}"));
    assert!(decided_by(&pod, &some, &labelled("shop")).is_ok());
    assert_eq!(
        decided_by(&pod, &some, &labelled("web")),
        Err("NotAllowed: pipeline metrics/default admits namespaces with team=shop,env notin (dev); namespace shop has \
             not. Its injection.from decides"
            .to_owned())
    );
}

#[test]
fn true_is_what_the_namespace_names_then_its_only_pipeline_then_the_oldest_default() {
    let mut own = with_spec("injection: {}");
    (own.metadata.namespace, own.metadata.name) = (Some("shop".to_owned()), Some("own".to_owned()));
    let default = |name: &str, created: &str| {
        let mut default = with_spec("injection: {clusterDefault: true}");
        default.metadata.name = Some(name.to_owned());
        default.metadata.creation_timestamp = serde_json::from_value(json!(created)).expect("a time");
        default
    };
    let (young, old) = (default("a", "2026-02-02T00:00:00Z"), default("b", "2026-01-01T00:00:00Z"));
    let chosen = |namespace: &Namespace, pipelines: &[&VeneurPipeline]| match decide(
        &asking("true"),
        namespace,
        pipelines,
        &defaults(),
        "",
    ) {
        Outcome::Injected { stamp, .. } => stamp.pipeline,
        outcome => format!("{outcome:?}"),
    };
    let says = Namespace { pipeline: Some("metrics/a".to_owned()), ..named("shop") };
    assert_eq!(chosen(&says, &[&own, &young, &old]), "metrics/a");
    assert_eq!(chosen(&named("shop"), &[&own, &young, &old]), "shop/own");
    assert_eq!(chosen(&named("shop"), &[&young, &old]), "metrics/b");
    let wrong = Namespace { pipeline: Some("metrics/".to_owned()), ..named("shop") };
    assert!(chosen(&wrong, &[&own]).contains("InvalidAnnotation"), "{}", chosen(&wrong, &[&own]));
}

#[test]
fn a_labelled_namespace_means_all_of_its_pods_but_those_that_opt_out() {
    let pod = json!({"metadata": {"name": "app"}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
    for (label, meant) in [("enabled", true), ("strict", true), ("disabled", false), ("Enabled", false)] {
        let labels = [("veneur.dev/injection".to_owned(), label.to_owned())].into();
        let namespace = Namespace { labels, pipeline: Some("metrics/default".to_owned()), ..named("shop") };
        assert_eq!(decided_in(&pod, &namespace) != Outcome::Untouched, meant, "{label}");
        assert_eq!(decided_in(&asking("False"), &namespace), Outcome::Untouched, "{label}");
    }
}

#[test]
fn a_pod_changes_only_what_its_pipeline_allows() {
    let strict = with_spec("sidecar: {allowOverrides: [Tags]}");
    let mut pod = asking("metrics/default");
    for (key, value) in
        [("transport", "udp"), ("port", "9000"), ("containers", "x"), ("memory-limit", "1Gi"), ("log-level", "trace")]
    {
        pod["metadata"]["annotations"][format!("veneur.dev/{key}")] = json!(value);
    }
    pod["metadata"]["annotations"]["veneur.dev/tags"] = json!("team:shop");
    let after = decided_by(&pod, &strict, &named("shop")).expect("injected");
    let notes = stamp(&after)["notes"].as_array().expect("notes").len();
    assert_eq!(notes, 5, "{}", stamp(&after));
    let mut plain = asking("metrics/default");
    plain["metadata"]["annotations"]["veneur.dev/tags"] = json!("team:shop");
    let mut same = decided_by(&plain, &with_spec("injection: {}"), &named("shop")).expect("injected");
    for part in ["initContainers", "containers"] {
        assert_eq!(after["spec"][part], same["spec"][part].take(), "{part}");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_its_annotation_and_value() {
    for (key, value) in [
        ("mode", "sidecar"),
        ("transport", "tcp"),
        ("port", "80"),
        ("port", "8127"),
        ("port", "65536"),
        ("tags", "team"),
        ("tags", "a:b|c"),
        ("tags", "veneurglobalonly:true"),
        ("log-level", "loud"),
        ("containers", "a,,b"),
    ] {
        let mut pod = asking("metrics/default");
        pod["metadata"]["annotations"][format!("veneur.dev/{key}")] = json!(value);
        let why = decided_by(&pod, &with_spec("injection: {}"), &named("shop")).expect_err("it is wrong");
        assert!(why.starts_with(&format!("InvalidAnnotation: veneur.dev/{key}={value:?} is ")), "{why}");
    }
}

#[test]
fn labels_of_a_pod_become_tags_and_its_own_tags_win() {
    let pipeline =
        with_spec("tags: {add: {team: all, zone: a}, fromPodLabels: {app: service, team: team, none: none}}");
    let mut pod = asking("metrics/default");
    pod["metadata"]["labels"] = json!({"app": "web", "team": "shop"});
    let config = |pod: &Value| {
        let after = decided_by(pod, &pipeline, &named("shop")).expect("injected");
        let text = after["spec"]["initContainers"][0]["env"][0]["value"].as_str().expect("VENEUR_CONFIG").to_owned();
        let config = parse::<Server>("VENEUR_CONFIG", &text).expect("a valid configuration").config;
        (config.extend_tags, config.instance_tags)
    };
    let expected = |all: [&str; 3], own: [&str; 2]| (all.map(str::to_owned).to_vec(), own.map(str::to_owned).to_vec());
    // Those of the pipeline may change while it runs, its own stay.
    assert_eq!(config(&pod), expected(["service:web", "team:shop", "zone:a"], ["service:web", "team:shop"]));
    pod["metadata"]["annotations"]["veneur.dev/tags"] = json!("team:own");
    assert_eq!(config(&pod), expected(["service:web", "team:own", "zone:a"], ["service:web", "team:own"]));
}

#[test]
fn a_pod_without_a_sidecar_is_pointed_at_its_nodes_agent() {
    let mut pod = asking("metrics/default");
    let no_agent = with_spec("injection: {}");
    pod["metadata"]["annotations"]["veneur.dev/mode"] = json!("env-only");
    let why = decided_by(&pod, &no_agent, &named("shop")).expect_err("there is no agent");
    assert!(why.starts_with("NoNodeAgent: "), "{why}");
    let env = |exposure: &str| {
        let pipeline = with_spec(&format!("node: {{enabled: true, exposure: {exposure}}}"));
        let after = decided_by(&pod, &pipeline, &named("shop")).expect("injected");
        assert_eq!(after["spec"]["initContainers"], Value::Null);
        after["spec"]["containers"][0]["env"].clone()
    };
    assert_eq!(env("Service")[0], json!({"name": "STATSD_ADDR", "value": "default-node.metrics.svc:8125"}));
    assert_eq!(env("HostPort")[1], json!({"name": "STATSD_ADDR", "value": "$(VENEUR_NODE_ADDRESS):8125"}));
    // Where the pipeline has no sidecars, so it is for every pod.
    let only_agents = with_spec("sidecar: {enabled: false}, node: {enabled: true}");
    let after = decided_by(&asking("metrics/default"), &only_agents, &named("shop")).expect("injected");
    assert_eq!(stamp(&after)["mode"], "env-only");
}

#[test]
fn a_sidecar_that_posts_itself_gets_the_keys_of_its_own_namespace() {
    let sinks = "sinks: [{name: dd, datadog: {apiKeySecret: {name: datadog, key: k}}}]";
    let pipeline = pipeline("default", &format!("{{{sinks}, sidecar: {{delivery: Direct}}}}"));
    let after = decided_by(&asking("metrics/default"), &pipeline, &named("shop")).expect("injected");
    let env = &after["spec"]["initContainers"][0]["env"];
    assert_eq!(env[2]["valueFrom"]["secretKeyRef"], json!({"name": "datadog", "key": "k"}));
    let server = parse::<Server>("VENEUR_CONFIG", env[0]["value"].as_str().expect("text")).expect("valid").config;
    assert!(!server.forward_points && server.metric_sinks.len() == 1);
}

#[test]
fn a_sidecar_trusts_the_authority_of_its_proxies_and_a_new_one_makes_no_pod_outdated() {
    let pipeline = with_spec("tls: {mode: SelfSigned}");
    let stamped = |authority: &str| match decide(
        &asking("metrics/default"),
        &named("shop"),
        &[&pipeline],
        &defaults(),
        authority,
    ) {
        Outcome::Injected { stamp, patch } => (stamp.revision, patch.to_json().to_string()),
        outcome => panic!("{outcome:?}"),
    };
    let ((before, patch), (after, _)) = (stamped("CERTIFICATE A"), stamped("CERTIFICATE B"));
    assert!(patch.contains("ca: CERTIFICATE A"), "{patch}");
    assert_eq!(before, after);
    let why = decided_by(&asking("metrics/default"), &pipeline, &named("shop")).expect_err("there is no authority");
    assert!(why.starts_with("PipelineNotAccepted: spec.tls.mode"), "{why}");
}
