//! Laws of injection, for any pod.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use veneur_operator::{context::Defaults, injection::decide};
use veneur_operator_api::VeneurPipeline;

fn pipelines() -> Vec<VeneurPipeline> {
    let of = |namespace: &str, name: &str| {
        let object = json!({
            "apiVersion": "veneur.dev/v1alpha1",
            "kind": "VeneurPipeline",
            "metadata": {"name": name, "namespace": namespace, "uid": "u"},
            "spec": {"sinks": [{"name": "debug", "debug": {}}]},
        });
        serde_json::from_value(object).expect("a pipeline")
    };
    vec![of("metrics", "default"), of("shop", "one"), of("shop", "two")]
}

fn patch(pod: &Value) -> Value {
    let pipelines = pipelines();
    let defaults = Defaults::of_image("veneur:1");
    decide(pod, "shop", &pipelines.iter().collect::<Vec<_>>(), &defaults).patch().to_json()
}

fn apply(pod: &Value, patch: Value) -> Result<Value, json_patch::PatchError> {
    let mut after = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch).expect("RFC 6902");
    json_patch::patch(&mut after, &patch).map(|()| after)
}

fn wish() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("metrics/default".to_owned()),
        Just("one".to_owned()),
        Just("true".to_owned()),
        Just("metrics/defalt".to_owned()),
        "[a-z/~ ]{0,12}",
    ]
}

fn variable() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("STATSD_ADDR"), Just("DD_AGENT_HOST"), Just("DD_DOGSTATSD_URL"), Just("OTHER")];
    (name, any::<bool>()).prop_map(|(name, ours)| json!({"name": name, "value": if ours { "127.0.0.1" } else { "x" }}))
}

fn container() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("app"), Just("web"), Just("istio-proxy"), Just("istio-init"), Just("veneur")];
    (name, proptest::option::of(proptest::collection::vec(variable(), 0..4))).prop_map(|(name, env)| {
        let mut container = json!({"name": name, "image": "i"});
        if let Some(env) = env {
            container["env"] = json!(env);
        }
        container
    })
}

fn pod() -> impl Strategy<Value = Value> {
    (
        wish(),
        proptest::option::of(Just(json!({"app": "a"}))),
        proptest::collection::vec(container(), 1..4),
        proptest::option::of(proptest::collection::vec(container(), 0..4)),
        proptest::option::of(Just(json!([{"name": "v", "emptyDir": {}}]))),
    )
        .prop_map(|(wish, labels, containers, init, volumes)| {
            let mut pod = json!({
                "metadata": {"name": "p", "annotations": {"veneur.dev/inject": wish}},
                "spec": {"containers": containers},
            });
            // `null` stands for missing.
            pod["metadata"]["labels"] = json!(labels);
            pod["spec"]["initContainers"] = json!(init);
            pod["spec"]["volumes"] = json!(volumes);
            pod
        })
}

/// Any JSON, with the keys that are read here more often than chance would have it.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/]{0,8}".prop_map(Value::from),
        Just(Value::from("metrics/default")),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("annotations"),
        Just("labels"),
        Just("veneur.dev/inject"),
        Just("veneur.dev/status"),
        Just("containers"),
        Just("initContainers"),
        Just("volumes"),
        Just("env"),
        Just("ports"),
        Just("name"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 96, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn deciding_again_on_a_patched_pod_changes_nothing(pod in pod()) {
        let after = apply(&pod, patch(&pod)).expect("a patch that applies");
        prop_assert_eq!(patch(&after), json!([]), "{}", after);
    }

    #[test]
    fn containers_and_their_own_variables_stay_in_order(pod in pod()) {
        let after = apply(&pod, patch(&pod)).expect("a patch that applies");
        let names = |pod: &Value, list: &str| -> Vec<Value> {
            let containers = pod["spec"][list].as_array().cloned().unwrap_or_default();
            containers.iter().map(|c| c["name"].clone()).filter(|name| name != "veneur").collect()
        };
        prop_assert_eq!(names(&pod, "containers"), names(&after, "containers"));
        prop_assert_eq!(names(&pod, "initContainers"), names(&after, "initContainers"));
        for (index, container) in pod["spec"]["containers"].as_array().expect("a list").iter().enumerate() {
            let before = container["env"].as_array().cloned().unwrap_or_default();
            let now = after["spec"]["containers"][index]["env"].as_array().cloned().unwrap_or_default();
            prop_assert!(now.ends_with(&before));
        }
    }

    #[test]
    fn whatever_is_sent_there_is_no_panic_and_every_patch_applies(value in anything()) {
        prop_assert!(apply(&value, patch(&value)).is_ok());
    }

    #[test]
    fn a_pod_that_asked_leaves_with_a_stamp(pod in pod()) {
        prop_assume!(pod["metadata"]["annotations"]["veneur.dev/inject"].as_str().is_some_and(|wish| wish.trim() != "false"));
        let after = apply(&pod, patch(&pod)).expect("a patch that applies");
        let annotations = &after["metadata"]["annotations"];
        prop_assert!(annotations["veneur.dev/status"].is_string() != annotations["veneur.dev/skipped"].is_string());
    }
}
