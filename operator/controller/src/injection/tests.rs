use std::fs;

use serde_json::{Value, json};
use veneur_config::{NameMatch, Server, parse};
use veneur_operator_api::VeneurPipeline;

use super::{Namespace, Outcome, SKIPPED, SkipReason, annotations, decide};
use crate::test_support::{FULL, SMALLEST, defaults, golden, golden_path, pipeline, yaml};

/// `metrics/default`, `metrics/full` and `shop/checkout`.
fn pipelines() -> Vec<VeneurPipeline> {
    let mut checkout = pipeline("checkout", SMALLEST);
    checkout.metadata.namespace = Some("shop".to_owned());
    vec![pipeline("default", SMALLEST), pipeline("full", FULL), checkout]
}

fn decided(pod: &Value, namespace: &str) -> Outcome {
    decided_in(pod, &named(namespace))
}

fn decided_in(pod: &Value, namespace: &Namespace) -> Outcome {
    let pipelines = pipelines();
    decide(pod, namespace, &pipelines.iter().collect::<Vec<_>>(), &defaults(), "AUTHORITY")
}

fn named(namespace: &str) -> Namespace {
    Namespace { name: namespace.to_owned(), ..Namespace::default() }
}

fn patched(pod: &Value, outcome: &Outcome) -> Value {
    let mut after = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(outcome.patch().to_json()).expect("a patch");
    json_patch::patch(&mut after, &patch).expect("a patch that applies");
    after
}

fn asking(wish: &str) -> Value {
    json!({
        "metadata": {"name": "app", "annotations": {"veneur.dev/inject": wish}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    })
}

/// A revision is a hash of what stands beside it.
fn without_revision(mut pod: Value) -> Value {
    if let Some(stamp) = pod.pointer_mut("/metadata/annotations/veneur.dev~1status") {
        let text = stamp.as_str().expect("text");
        let revision = text.find("\"revision\":\"").expect("a revision") + "\"revision\":\"".len();
        *stamp = Value::from(format!("{}…{}", &text[..revision], &text[revision + 16..]));
    }
    pod
}

#[test]
fn pods_become_the_golden_ones() {
    let mut seen = 0;
    for entry in fs::read_dir(golden_path("injection")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(scenario) = name.strip_suffix(".in.yaml") else { continue };
        let text = fs::read_to_string(&path).expect("text");
        let pod: Value = serde_saphyr::from_str(&text).expect("YAML");
        let mut namespace = named("shop");
        if scenario == "labelled-namespace" {
            namespace.labels.insert("veneur.dev/injection".to_owned(), "enabled".to_owned());
            namespace.pipeline = Some("metrics/default".to_owned());
        }
        let outcome = decided_in(&pod, &namespace);
        let after = patched(&pod, &outcome);
        assert!(decided_in(&after, &namespace).patch().is_empty(), "{scenario} changes on a second look");
        golden(&format!("injection/{scenario}.out.yaml"), &yaml(&without_revision(after)));
        seen += 1;
    }
    assert!(seen >= 16, "only {seen} scenarios were found");
}

#[test]
fn a_wish_is_answered_with_a_pipeline_or_a_reason() {
    let table = [
        ("metrics/default", Ok("metrics/default")),
        ("checkout", Ok("shop/checkout")),
        ("true", Ok("shop/checkout")),
        (" TRUE ", Ok("shop/checkout")),
        ("metrics/defalt", Err("PipelineNotFound: metrics/defalt; did you mean metrics/default?")),
        ("default", Err("PipelineNotFound: shop/default; did you mean metrics/default?")),
        (
            "elsewhere/unlike",
            Err("PipelineNotFound: elsewhere/unlike; `kubectl get veneurpipelines -A` lists those that exist"),
        ),
        (
            "a/b/c",
            Err("InvalidAnnotation: veneur.dev/inject=\"a/b/c\" is none of true, false, NAME and NAMESPACE/NAME"),
        ),
        ("", Err("InvalidAnnotation: veneur.dev/inject=\"\" is none of true, false, NAME and NAMESPACE/NAME")),
    ];
    for (wish, expected) in table {
        let pod = asking(wish);
        match (decided(&pod, "shop"), expected) {
            (Outcome::Injected { stamp, .. }, Ok(expected)) => assert_eq!(stamp.pipeline, expected, "{wish}"),
            (outcome @ Outcome::Skipped { .. }, Err(expected)) => {
                assert_eq!(patched(&pod, &outcome)["metadata"]["annotations"][SKIPPED], expected, "{wish}");
            }
            (outcome, _) => panic!("{wish}: {outcome:?}"),
        }
    }
}

#[test]
fn true_means_the_only_pipeline_of_the_namespace() {
    let reason = |namespace: &str| match decided(&asking("true"), namespace) {
        Outcome::Skipped { skip, .. } => skip.to_string(),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(reason("metrics"), "AmbiguousPipeline: namespace metrics has default, full: name one of them");
    assert_eq!(
        reason("elsewhere"),
        "NoPipeline: namespace elsewhere has no pipeline, and none is the cluster's default: name one, as \
         veneur.dev/inject: metrics/default"
    );
}

#[test]
fn who_does_not_ask_is_left_alone() {
    for wish in ["false", "False"] {
        assert_eq!(decided(&asking(wish), "shop"), Outcome::Untouched);
    }
    assert_eq!(decided(&json!({"metadata": {}, "spec": {"containers": []}}), "shop"), Outcome::Untouched);
}

#[test]
fn a_label_asks_too_and_the_annotation_wins() {
    let mut pod = asking("false");
    pod["metadata"]["labels"] = json!({"veneur.dev/inject": "true"});
    assert_eq!(decided(&pod, "shop"), Outcome::Untouched);
    pod["metadata"]["annotations"] = Value::Null;
    assert!(matches!(decided(&pod, "shop"), Outcome::Injected { .. }));
}

#[test]
fn a_pod_that_cannot_take_a_sidecar_says_why() {
    let with = |path: &str, value: Value| {
        let mut pod = asking("true");
        pod["spec"][path] = value;
        match decided(&pod, "shop") {
            Outcome::Skipped { skip, .. } => skip.reason,
            outcome => panic!("{path}: {outcome:?}"),
        }
    };
    assert_eq!(with("hostNetwork", json!(true)), SkipReason::HostNetworkPortConflict);
    assert_eq!(with("os", json!({"name": "windows"})), SkipReason::UnsupportedOS);
    assert_eq!(with("nodeSelector", json!({"kubernetes.io/os": "windows"})), SkipReason::UnsupportedOS);
    assert_eq!(with("initContainers", json!([{"name": "veneur"}, {"name": "veneur"}])), SkipReason::AlreadyInjected);
    assert_eq!(with("containers", json!([{"name": "veneur"}])), SkipReason::AlreadyInjected);
    assert_eq!(with("resources", json!({"requests": {"cpu": "1"}})), SkipReason::PodLevelResources);
    let taken = json!([{"name": "statsd", "ports": [{"containerPort": 8125, "protocol": "UDP"}]}]);
    assert_eq!(with("containers", taken), SkipReason::PortInUse);
}

#[test]
fn a_configuration_that_does_not_fit_is_a_reason() {
    let scopes: Vec<String> =
        (0..64).map(|i| format!("{{match: {{namePrefix: {}{i}}}, scope: Global}}", "n".repeat(190))).collect();
    let large = pipeline("large", &format!("{{{SMALLEST}, aggregation: {{scopes: [{}]}}}}", scopes.join(", ")));
    let Outcome::Skipped { skip, .. } = decide(&asking("metrics/large"), &named("shop"), &[&large], &defaults(), "")
    else {
        panic!("it does not fit")
    };
    assert_eq!(skip.reason, SkipReason::ConfigTooLarge);
}

fn sidecar_config(wish: &str) -> String {
    let pod = asking(wish);
    let after = patched(&pod, &decided(&pod, "shop"));
    after["spec"]["initContainers"][0]["env"][0]["value"].as_str().expect("VENEUR_CONFIG").to_owned()
}

#[test]
fn a_sidecar_is_told_what_the_spec_says() {
    let text = sidecar_config("metrics/full").replace("$$", "$");
    let parsed = parse::<Server>("VENEUR_CONFIG", &text).expect("a valid configuration");
    assert!(parsed.unknown.is_empty(), "{:?}", parsed.unknown);
    let server = parsed.config;
    assert_eq!(server.forward_address, "full-proxy.metrics.svc:8128");
    assert!(server.forward_points && server.synchronize_with_interval);
    assert_eq!(server.extend_tags, ["cluster:eu1", "price:5$"]);
    assert_eq!(server.metric_scopes[0].name, NameMatch::Prefix("billing.".to_owned()));
    assert_eq!(server.statsd_listen_addresses[0], "udp://127.0.0.1:8126");
    assert!(server.metric_sinks.is_empty(), "a sidecar knows no sink and holds no secret");
}

#[test]
fn the_variables_of_one_client_come_together_or_not_at_all() {
    let table = [
        (json!([]), json!([]), 4),
        (json!([{"name": "DD_AGENT_HOST", "value": "10.0.0.1"}]), json!(["DD_AGENT_HOST"]), 2),
        (json!([{"name": "DD_AGENT_HOST", "value": "127.0.0.1"}]), json!(["DD_AGENT_HOST"]), 2),
        (
            json!([{"name": "DD_DOGSTATSD_URL", "value": "unix:///s"}, {"name": "DD_DOGSTATSD_PORT", "value": "8125"}]),
            json!(["DD_DOGSTATSD_PORT", "DD_DOGSTATSD_URL"]),
            3,
        ),
        (json!([{"name": "STATSD_ADDR", "value": "elsewhere:8125"}]), json!(["STATSD_ADDR"]), 4),
    ];
    for (env, kept, variables) in table {
        let mut pod = asking("metrics/default");
        pod["spec"]["containers"][0]["env"] = env.clone();
        let after = patched(&pod, &decided(&pod, "shop"));
        assert_eq!(stamp(&after)["kept"], kept, "{env}");
        assert_eq!(after["spec"]["containers"][0]["env"].as_array().expect("a list").len(), variables, "{env}");
    }
}

fn stamp(pod: &Value) -> Value {
    let text = pod["metadata"]["annotations"]["veneur.dev/status"].as_str().expect("a stamp");
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_sidecar_of_another_pipeline_is_replaced_and_the_stamp_tells_what_is_there() {
    let pod = asking("metrics/full");
    let mut copied = patched(&pod, &decided(&pod, "shop"));
    copied["metadata"]["annotations"]["veneur.dev/inject"] = json!("metrics/default");
    copied["spec"]["initContainers"].as_array_mut().expect("a list").push(json!({"name": "istio-init"}));
    let again = patched(&copied, &decided(&copied, "shop"));
    let fresh = asking("metrics/default");
    let fresh = patched(&fresh, &decided(&fresh, "shop"));
    assert_eq!(again["spec"]["initContainers"][1], fresh["spec"]["initContainers"][0]);
    assert_eq!(stamp(&again), stamp(&fresh));
    assert_eq!(again["metadata"]["labels"]["veneur.dev/pipeline"], "default");
    assert!(decided(&again, "shop").patch().is_empty());
}

#[test]
fn kubernetes_expands_nothing_in_a_configuration() {
    assert!(sidecar_config("metrics/full").contains("price:5$$"));
}

#[test]
fn no_pod_is_given_an_entity_id() {
    let pod = asking("metrics/default");
    assert!(!patched(&pod, &decided(&pod, "shop")).to_string().contains("DD_ENTITY_ID"));
}

#[test]
fn a_container_added_by_another_webhook_gets_its_environment_on_the_second_look() {
    let pod = asking("metrics/default");
    let mut after = patched(&pod, &decided(&pod, "shop"));
    after["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": "late"}));
    after["spec"]["initContainers"].as_array_mut().expect("a list").push(json!({"name": "istio-init"}));
    let again = patched(&after, &decided(&after, "shop"));
    assert_eq!(again["spec"]["containers"][1]["env"][0]["name"], "STATSD_ADDR");
    let order: Vec<&str> =
        again["spec"]["initContainers"].as_array().expect("a list").iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(order, ["istio-init", "veneur"]);
    assert!(decided(&again, "shop").patch().is_empty());
}

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
    let plain = asking("metrics/default");
    let mut same = decided_by(&plain, &with_spec("tags: {add: {team: shop}}"), &named("shop")).expect("injected");
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
        parse::<Server>("VENEUR_CONFIG", &text).expect("a valid configuration").config
    };
    assert_eq!(config(&pod).extend_tags, ["service:web", "team:shop", "zone:a"]);
    pod["metadata"]["annotations"]["veneur.dev/tags"] = json!("team:own");
    assert_eq!(config(&pod).extend_tags, ["service:web", "team:own", "zone:a"]);
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

#[test]
fn every_reason_and_every_annotation_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/injection.md");
    let text = fs::read_to_string(path).expect("docs/injection.md");
    for reason in SkipReason::ALL {
        assert!(text.contains(&format!("| `{reason:?}` |")), "{reason:?} has no row");
    }
    for key in annotations::KNOWN {
        let short = key.trim_start_matches("veneur.dev/");
        assert!(text.contains(&format!("`{key}`")) || text.contains(&format!("`{short}`")), "{key} has no row");
    }
}
