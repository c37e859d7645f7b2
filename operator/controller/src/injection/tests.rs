mod spec;

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
fn a_label_asks_too_and_the_annotation_wins_but_one_false_is_enough() {
    let pipeline = |annotation: Option<&str>, label: &str| {
        let mut pod = asking("");
        pod["metadata"]["annotations"] = json!({"veneur.dev/inject": annotation});
        pod["metadata"]["labels"] = json!({"veneur.dev/inject": label});
        match decided(&pod, "shop") {
            Outcome::Injected { stamp, .. } => Some(stamp.pipeline),
            Outcome::Untouched => None,
            skipped @ Outcome::Skipped { .. } => panic!("{skipped:?}"),
        }
    };
    assert_eq!(pipeline(None, "true").as_deref(), Some("shop/checkout"));
    assert_eq!(pipeline(Some("metrics/default"), "true").as_deref(), Some("metrics/default"));
    for (annotation, label) in [(Some("false"), "true"), (Some("metrics/default"), "False"), (None, "false")] {
        assert_eq!(pipeline(annotation, label), None, "{annotation:?} {label}");
    }
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
    assert_eq!(with("nodeSelector", json!({"beta.kubernetes.io/os": "windows"})), SkipReason::UnsupportedOS);
    assert_eq!(with("affinity", nodes_of(&[&["windows"]])), SkipReason::UnsupportedOS);
    assert_eq!(with("initContainers", json!([{"name": "veneur"}, {"name": "veneur"}])), SkipReason::AlreadyInjected);
    assert_eq!(with("containers", json!([{"name": "veneur"}])), SkipReason::AlreadyInjected);
    assert_eq!(with("resources", json!({"requests": {"cpu": "1"}})), SkipReason::PodLevelResources);
    let taken = json!([{"name": "statsd", "ports": [{"containerPort": 8125, "protocol": "UDP"}]}]);
    assert_eq!(with("containers", taken), SkipReason::PortInUse);
}

/// An affinity with one term for each list of systems.
fn nodes_of(terms: &[&[&str]]) -> Value {
    let term = |systems: &&[&str]| {
        let os = json!({"key": "kubernetes.io/os", "operator": "In", "values": systems});
        json!({"matchExpressions": [{"key": "disk", "operator": "Exists"}, os]})
    };
    let terms: Vec<Value> = terms.iter().map(term).collect();
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

#[test]
fn a_pod_that_may_run_on_linux_gets_a_sidecar_whatever_else_it_may_run_on() {
    let mut not_windows = nodes_of(&[&["windows"]]);
    let os = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/1";
    not_windows.pointer_mut(os).expect("an expression")["operator"] = json!("NotIn");
    for affinity in [
        nodes_of(&[&["linux"]]),
        nodes_of(&[&["windows", "linux"]]),
        nodes_of(&[&["windows"], &["linux"]]),
        not_windows,
        json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
    ] {
        let mut pod = asking("true");
        pod["spec"]["affinity"] = affinity.clone();
        assert!(matches!(decided(&pod, "shop"), Outcome::Injected { .. }), "{affinity}");
    }
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
fn while_tiers_are_upgraded_pods_get_the_image_that_these_run() {
    let sidecar = |spec: &str, running: Option<&str>| {
        let mut pipeline = pipeline("default", &format!("{{version: '2', {spec}}}"));
        let status = json!({"observedGeneration": 1, "image": running});
        pipeline.status = Some(serde_json::from_value(status).expect("a status"));
        let pod = asking("metrics/default");
        let outcome = decide(&pod, &named("shop"), &[&pipeline], &defaults(), "");
        let after = patched(&pod, &outcome);
        assert_eq!(after["spec"]["initContainers"][0]["image"], stamp(&after)["image"]);
        after["spec"]["initContainers"][0]["image"].as_str().expect("an image").to_owned()
    };
    let (asked, running) = ("registry.example/veneur:2", "registry.example/veneur:1.2.3");
    let no_tiers = "proxy: {enabled: false}, global: {enabled: false, forwardTo: 'veneur.other:8128'}";
    assert_eq!(sidecar(SMALLEST, Some(running)), running, "whatever the spec asks for may not exist");
    assert_eq!(sidecar(SMALLEST, None), asked, "they have never run");
    assert_eq!(sidecar(no_tiers, Some(running)), asked, "there is nothing to be newer than");
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
