//! Laws of injection, for any pod.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use veneur_operator::{
    context::Defaults,
    injection::{Namespace, decide},
};
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
    patch_in(pod, &Namespace { name: "shop".to_owned(), ..Namespace::default() })
}

fn patch_in(pod: &Value, namespace: &Namespace) -> Value {
    let pipelines = pipelines();
    let defaults = Defaults::of_image("veneur:1");
    decide(pod, namespace, &pipelines.iter().collect::<Vec<_>>(), &defaults, "").patch().to_json()
}

fn apply(pod: &Value, patch: Value) -> Result<Value, json_patch::PatchError> {
    let mut after = pod.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch).expect("RFC 6902");
    json_patch::patch(&mut after, &patch).map(|()| after)
}

/// Namespaces that say nothing, name a pipeline, name none that exists, or mean all of their pods.
fn namespace() -> impl Strategy<Value = Namespace> {
    let label = prop_oneof![Just(None), Just(Some("enabled")), Just(Some("strict")), Just(Some("other"))];
    let pipeline = prop_oneof![Just(None), Just(Some("metrics/default")), Just(Some("metrics/none")), Just(Some("/"))];
    (label, pipeline).prop_map(|(label, pipeline)| Namespace {
        name: "shop".to_owned(),
        labels: label.map(|label| ("veneur.dev/injection".to_owned(), label.to_owned())).into_iter().collect(),
        pipeline: pipeline.map(str::to_owned),
    })
}

fn wish() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("metrics/default".to_owned()),
        2 => Just("one".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("metrics/defalt".to_owned()),
        1 => "[a-z/~ ]{0,12}",
    ]
}

/// One of our annotations, with a value that fits, does not fit, or is none at all.
fn annotation() -> impl Strategy<Value = (String, String)> {
    let some = [
        ("veneur.dev/containers", "app,web"),
        ("veneur.dev/containers", "none-such"),
        ("veneur.dev/exclude-containers", "app"),
        ("veneur.dev/init-containers", "none"),
        ("veneur.dev/mode", "classic"),
        ("veneur.dev/mode", "native"),
        ("veneur.dev/mode", "env-only"),
        ("veneur.dev/transport", "uds"),
        ("veneur.dev/transport", "udp"),
        ("veneur.dev/port", "9125"),
        ("veneur.dev/tags", "team:a,tier:b"),
        ("veneur.dev/memory-limit", "128Mi"),
        ("veneur.dev/cpu-limit", "1"),
        ("veneur.dev/memory-request", "1Gi"),
        ("veneur.dev/log-level", "debug"),
        ("veneur.dev/env-skip", "STATSD_ADDR"),
        ("veneur.dev/transprot", "uds"),
        ("cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes", "v, veneur-socket"),
    ];
    let fits = (0..some.len()).prop_map(move |index| (some[index].0.to_owned(), some[index].1.to_owned()));
    let any = (0..some.len(), "[ -~]{0,10}").prop_map(move |(index, value)| (some[index].0.to_owned(), value));
    prop_oneof![4 => fits, 1 => any]
}

fn variable() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just("STATSD_ADDR"), Just("DD_AGENT_HOST"), Just("DD_DOGSTATSD_URL"), Just("OTHER")];
    (name, any::<bool>()).prop_map(
        |(name, ours)| json!({"name": name, "value": if ours { "127.0.0.1" } else { "x" }, "futureOfVariables": 1}),
    )
}

fn mount() -> impl Strategy<Value = Value> {
    prop_oneof![Just("/data"), Just("/var/run/veneur")]
        .prop_map(|path| json!({"name": "v", "mountPath": path, "future": {}}))
}

fn container() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        6 => Just("app"), 4 => Just("web"), 2 => Just("istio-proxy"), 2 => Just("istio-init"), 1 => Just("veneur")
    ];
    let resources = prop_oneof![
        Just(Value::Null),
        Just(json!({"limits": {"cpu": "1", "memory": "1Gi"}})),
        Just(json!({"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "1000m"}, "claims": [{"name": "c"}]})),
        Just(json!({"requests": {"cpu": "1"}})),
    ];
    let ports = prop_oneof![4 => Just(json!([])), 1 => Just(json!([{"containerPort": 8125, "protocol": "UDP"}]))];
    let env = proptest::option::of(proptest::collection::vec(variable(), 0..4));
    let mounts = proptest::option::of(proptest::collection::vec(mount(), 0..3));
    (name, env, mounts, resources, ports).prop_map(|(name, env, mounts, resources, ports)| {
        let mut container = json!({"name": name, "image": "i", "ports": ports, "futureOfContainers": [null, {"a": 1}]});
        // `null` stands for missing.
        container["env"] = json!(env);
        container["volumeMounts"] = json!(mounts);
        container["resources"] = resources;
        container
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let metadata = (
        proptest::option::weighted(0.9, wish()),
        proptest::collection::btree_map(annotation().prop_map(|(key, _)| key), annotation(), 0..4),
        proptest::option::of(Just(json!({"app": "a"}))),
        any::<bool>(),
    );
    let spec = (
        proptest::collection::vec(container(), 1..4),
        proptest::option::of(proptest::collection::vec(container(), 0..4)),
        proptest::option::of(Just(json!([{"name": "v", "emptyDir": {}, "futureOfVolumes": true}]))),
        proptest::option::weighted(0.1, any::<bool>()),
        prop_oneof![Just(Value::Null), Just(json!("Never"))],
    );
    (metadata, spec).prop_map(|((wish, ours, labels, of_job), (containers, init, volumes, host, restart))| {
        let mut annotations: Map<String, Value> = ours.into_values().map(|(key, value)| (key, json!(value))).collect();
        annotations.extend(wish.map(|wish| ("veneur.dev/inject".to_owned(), json!(wish))));
        let owners = if of_job { json!([{"kind": "Job", "name": "j", "controller": true}]) } else { Value::Null };
        json!({
            "metadata": {"name": "p", "annotations": annotations, "labels": labels, "ownerReferences": owners, "future": 1},
            "spec": {
                "containers": containers, "initContainers": init, "volumes": volumes, "hostNetwork": host,
                "restartPolicy": restart, "dnsPolicy": "ClusterFirstWithHostNet", "futureOfPods": {"deep": [1, 2]},
            },
            "futureOfObjects": {"x": [null]},
        })
    })
}

/// What a pod has lost or changed by a patch, by path; nothing, where only we were added.
fn lost(before: &Value, after: &Value, path: &str) -> Vec<String> {
    let lost_in = |before: &[Value], after: &[Value]| -> Vec<String> {
        if before.len() != after.len() {
            return vec![path.to_owned()];
        }
        before.iter().zip(after).enumerate().flat_map(|(i, (b, a))| lost(b, a, &format!("{path}/{i}"))).collect()
    };
    match (before, after) {
        // Missing and `null` are the same: a list or map may take the place of `null`.
        (Value::Null, _) => Vec::new(),
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .filter(|(key, _)| !key.ends_with("safe-to-evict-local-volumes"))
            .flat_map(|(key, value)| lost(value, after.get(key).unwrap_or(&Value::Null), &format!("{path}/{key}")))
            .collect(),
        (Value::Array(before), Value::Array(after)) => {
            let others = |list: &[Value]| -> Vec<Value> {
                let ours = |item: &&Value| item["name"] != "veneur";
                list.iter().filter(ours).cloned().collect()
            };
            match path.rsplit('/').next() {
                Some("containers" | "initContainers") => lost_in(&others(before), &others(after)),
                Some("env") if after.ends_with(before) => {
                    let added = &after[..after.len() - before.len()];
                    let double = added.iter().filter(|ours| before.iter().any(|own| own["name"] == ours["name"]));
                    double.map(|variable| format!("{path}: {variable}")).collect()
                }
                Some("volumes" | "volumeMounts") if after.starts_with(before) => Vec::new(),
                _ => lost_in(before, after),
            }
        }
        (before, after) if before == after => Vec::new(),
        _ => vec![path.to_owned()],
    }
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
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn deciding_again_on_a_patched_pod_changes_nothing(pod in pod(), namespace in namespace()) {
        let after = apply(&pod, patch_in(&pod, &namespace)).expect("a patch that applies");
        prop_assert_eq!(patch_in(&after, &namespace), json!([]), "{}", after);
    }

    #[test]
    fn nothing_of_a_pod_is_lost_or_overwritten(pod in pod(), namespace in namespace()) {
        let after = apply(&pod, patch_in(&pod, &namespace)).expect("a patch that applies");
        prop_assert_eq!(lost(&pod, &after, ""), Vec::<String>::new(), "{}", after);
    }

    #[test]
    fn whatever_is_sent_there_is_no_panic_and_every_patch_applies(value in anything(), namespace in namespace()) {
        prop_assert!(apply(&value, patch(&value)).is_ok());
        prop_assert!(apply(&value, patch_in(&value, &namespace)).is_ok());
    }

    #[test]
    fn a_pod_that_asked_leaves_with_a_stamp(pod in pod(), namespace in namespace()) {
        let wish = pod["metadata"]["annotations"]["veneur.dev/inject"].as_str().map(str::trim);
        prop_assume!(wish.map_or_else(|| namespace.is_enabled(), |wish| !wish.eq_ignore_ascii_case("false")));
        let after = apply(&pod, patch_in(&pod, &namespace)).expect("a patch that applies");
        let annotations = &after["metadata"]["annotations"];
        prop_assert!(annotations["veneur.dev/status"].is_string() != annotations["veneur.dev/skipped"].is_string());
    }
}
