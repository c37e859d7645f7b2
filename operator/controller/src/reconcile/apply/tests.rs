use serde_json::{Value, json};

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;

use super::{Applier, ApplyError, Mode, Object, Sight};
use crate::{
    feeds::Key,
    kind::Kind,
    live::{Knowledge, Live},
    reconcile::{build::build, validate::Validated},
    test_support::{RELAY, SMALLEST, api_server, status, validated},
};

fn key() -> Key {
    Key::new("metrics", "default")
}

fn applier(client: &kube::Client, live: Live) -> Applier {
    let (contests, telemetry) = <_>::default();
    Applier { client: client.clone(), live: Arc::new(live), contests, telemetry, generation: None }
}

/// An object as the API server has it after it was applied.
fn stored(object: &Object) -> Value {
    let mut json = object.json.clone();
    json["metadata"]["managedFields"] = json!([{"manager": "veneur-operator", "operation": "Apply"}]);
    json["metadata"]["uid"] = json!(format!("uid-{}", object.name));
    json["metadata"]["resourceVersion"] = json!("1");
    if object.kind == Kind::Deployment {
        let replicas = json["spec"]["replicas"].as_i64().unwrap_or(1);
        json["metadata"]["generation"] = json!(1);
        json["status"] = json!({
            "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas,
            "availableReplicas": replicas,
        });
    }
    json
}

/// Everything of this spec in place, with `change` made to each object.
fn in_place(pipeline: &Validated, change: impl Fn(&Object, &mut Value)) -> Live {
    let live = Live::new();
    for object in Object::all_of(&build(pipeline)) {
        let mut json = stored(&object);
        change(&object, &mut json);
        live.wrote(object.kind, &json);
    }
    live
}

async fn writes(live: Live, pipeline: &Validated, mode: Mode) -> (Vec<String>, super::Applied) {
    let (client, seen) = api_server(|_, _, _| None);
    let applied = applier(&client, live).apply(&key(), &build(pipeline), mode).await.expect("applied");
    let seen = seen.lock().expect("no poison");
    let requests = seen.iter().map(|(method, path, _)| {
        format!("{method} {}", path.split('?').next().and_then(|path| path.split("/metrics/").nth(1)).unwrap_or(path))
    });
    (requests.collect(), applied)
}

/// What is there under one name, with these owners.
fn present(owners: &Value) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": {"name": "default-proxy", "namespace": "metrics", "ownerReferences": owners},
    })
}

fn owner(api_version: &str, kind: &str, name: &str, controller: bool) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": "other", "controller": controller})
}

#[tokio::test]
async fn an_object_of_someone_else_is_left_alone_and_nothing_is_written() {
    let foreign = [
        json!(null),
        json!([owner("veneur.dev/v1alpha1", "VeneurPipeline", "another", true)]),
        json!([owner("veneur.dev/v1alpha1", "VeneurPipeline", "default", false)]),
        json!([owner("elsewhere.dev/v1", "VeneurPipeline", "default", true)]),
        json!([owner("kafka.example/v1", "Kafka", "default", true)]),
    ];
    let places = [
        ("/deployments/default-proxy", "Deployment default-proxy"),
        ("/services/default-global", "Service default-global"),
        ("/configmaps/default-veneur", "ConfigMap default-veneur"),
        ("/rolebindings/default-proxy", "RoleBinding default-proxy"),
    ];
    for owners in &foreign {
        for (place, what) in places {
            let there = present(owners);
            let (client, seen) = api_server(move |method, path, _| {
                (method == "GET" && path.ends_with(place)).then(|| (200, there.clone()))
            });
            let error = applier(&client, Live::new()).apply(&key(), &build(&validated(SMALLEST)), Mode::Managed).await;
            let error = error.expect_err("taken");
            assert_eq!(error.reason().as_str(), "NameTaken", "{owners}");
            let message = format!("{what} exists and is not this pipeline's: rename the pipeline or remove it");
            assert_eq!(error.message(), message);
            assert!(seen.lock().expect("no poison").iter().all(|(method, ..)| method == "GET"));
        }
    }
}

#[tokio::test]
async fn an_object_of_the_pipeline_is_applied_again() {
    let there = present(&json!([owner("veneur.dev/v1alpha1", "VeneurPipeline", "default", true)]));
    let (client, seen) = api_server(move |method, _, _| (method == "GET").then(|| (200, there.clone())));
    let applier = applier(&client, Live::new());
    applier.apply(&key(), &build(&validated(SMALLEST)), Mode::Managed).await.expect("its own");
    assert_eq!(seen.lock().expect("no poison").iter().filter(|(method, ..)| method == "PATCH").count(), 13);
}

#[tokio::test]
async fn what_is_in_place_is_not_even_asked_for() {
    let pipeline = validated(SMALLEST);
    let (requests, applied) = writes(in_place(&pipeline, |_, _| ()), &pipeline, Mode::Managed).await;
    assert!(requests.is_empty(), "{requests:?}");
    assert!(matches!(applied.global, Sight::There(_)) && matches!(applied.proxy, Sight::There(_)));
}

#[tokio::test]
async fn drift_is_corrected_and_nothing_else_is_written() {
    let pipeline = validated(SMALLEST);
    let live = in_place(&pipeline, |object, json| {
        if object.to_string() == "Service default-proxy" {
            json["spec"]["ports"][0]["port"] = json!(1);
        }
    });
    let (requests, applied) = writes(live, &pipeline, Mode::Managed).await;
    assert_eq!(requests, ["PATCH services/default-proxy"]);
    assert_eq!(applied.written, ["corrected Service default-proxy"]);
}

#[tokio::test]
async fn what_others_add_is_no_drift() {
    let pipeline = validated(SMALLEST);
    let live = in_place(&pipeline, |_, json| {
        json["metadata"]["annotations"]["someone.example/note"] = json!("here");
        json["spec"]["defaulted"] = json!(true);
    });
    assert!(writes(live, &pipeline, Mode::Managed).await.0.is_empty());
}

#[tokio::test]
async fn paused_writes_nothing_and_names_what_differs() {
    let pipeline = validated(SMALLEST);
    let live = in_place(&pipeline, |object, json| {
        if object.kind == Kind::Role {
            json["rules"] = json!([]);
        }
    });
    let (requests, applied) = writes(live, &pipeline, Mode::Paused).await;
    assert!(requests.is_empty(), "{requests:?}");
    assert_eq!(applied.held, ["Role default-proxy"]);
}

#[tokio::test]
async fn proxies_wait_until_the_globals_new_revision_is_rolled_out() {
    let (old, new) = (validated(SMALLEST), validated(&format!("{{version: '2', {}}}", &SMALLEST)));
    let (requests, applied) = writes(in_place(&old, |_, _| ()), &new, Mode::Managed).await;
    // The answer of the stand-in has no status, as a Deployment has none before its controller has seen it.
    assert_eq!(requests, ["PATCH deployments/default-global"]);
    assert!(applied.waits.expect("the proxies").starts_with("proxies wait until the globals' new revision"));

    let live = in_place(&new, |object, json| {
        if object.to_string() == "Deployment default-proxy" {
            *json = Object::all_of(&build(&old))
                .iter()
                .find(|old| old.to_string() == object.to_string())
                .map(stored)
                .expect("it");
        }
    });
    let (requests, applied) = writes(live, &new, Mode::Managed).await;
    assert_eq!(requests, ["PATCH deployments/default-proxy"], "the globals are rolled out");
    assert_eq!(applied.waits, None);
}

/// The new spec in place, but for these objects, which are of the old one.
fn but(old: &Validated, new: &Validated, behind: &[&str]) -> Live {
    let before = Object::all_of(&build(old));
    in_place(new, |object, json| {
        if behind.contains(&object.to_string().as_str()) {
            *json = before.iter().find(|old| old.to_string() == object.to_string()).map(stored).expect("it");
        }
    })
}

#[tokio::test]
async fn agents_of_nodes_wait_until_both_tiers_that_take_what_they_send_are_rolled_out() {
    const ALL: [&str; 3] = ["Deployment default-global", "Deployment default-proxy", "DaemonSet default-node"];
    let with_agents = |more: &str| validated(&format!("{{node: {{enabled: true}}, {more} {SMALLEST}}}"));
    let (old, new) = (with_agents(""), with_agents("version: '2',"));
    let (requests, applied) = writes(but(&old, &new, &ALL), &new, Mode::Managed).await;
    assert_eq!(requests, ["PATCH deployments/default-global"]);
    assert!(applied.waits.expect("proxies and agents").starts_with("proxies wait"));

    let (requests, applied) = writes(but(&old, &new, &ALL[1..]), &new, Mode::Managed).await;
    assert_eq!(requests, ["PATCH deployments/default-proxy"], "the globals are rolled out, the proxies not yet");
    let waits = applied.waits.expect("the agents");
    assert!(waits.starts_with("agents of nodes wait until the proxies' new revision"), "{waits}");

    let (requests, applied) = writes(but(&old, &new, &ALL[2..]), &new, Mode::Managed).await;
    assert_eq!((requests, applied.waits), (vec!["PATCH daemonsets/default-node".to_owned()], None));

    // Proxies that wait are complete, in what they were.
    let live = but(&old, &new, &ALL[1..]);
    let mut scaled = live.get(Kind::Deployment, &key(), "default-global").expect("globals").json();
    scaled["status"]["availableReplicas"] = json!(0);
    scaled["metadata"]["resourceVersion"] = json!("2");
    live.wrote(Kind::Deployment, &scaled);
    let (requests, applied) = writes(live, &new, Mode::Managed).await;
    assert!(requests.is_empty() && applied.waits.is_some(), "{requests:?}");
}

#[tokio::test]
async fn a_change_of_replicas_waits_for_nobody() {
    let (old, new) = (validated(SMALLEST), validated(&format!("{{proxy: {{replicas: 7}}, {}}}", &SMALLEST)));
    let live = in_place(&old, |object, json| {
        if object.to_string() == "Deployment default-global" {
            json["status"]["availableReplicas"] = json!(1);
        }
    });
    assert_eq!(writes(live, &new, Mode::Managed).await.0, ["PATCH deployments/default-proxy"]);
}

#[tokio::test]
async fn orphans_go_and_nothing_else_does() {
    let pipeline = validated(SMALLEST);
    let orphan = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut json = stored(&Object::all_of(&build(&pipeline))[4]);
        json["metadata"]["name"] = json!(name);
        json["metadata"]["uid"] = json!(format!("uid-{name}"));
        change(&mut json);
        json
    };
    let live = in_place(&pipeline, |_, _| ());
    live.wrote(Kind::Service, &orphan("default-old", &|_| ()));
    live.wrote(Kind::Service, &orphan("of-nobody", &|json| json["metadata"]["ownerReferences"] = json!([])));
    live.wrote(
        Kind::Service,
        &orphan("of-another", &|json| json["metadata"]["ownerReferences"][0]["name"] = json!("b")),
    );
    live.wrote(Kind::Service, &orphan("by-hand", &|json| json["metadata"]["managedFields"] = json!([])));
    live.wrote(
        Kind::Service,
        &orphan("gone", &|json| json["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z")),
    );
    let (client, seen) = api_server(|method, _, _| {
        (method == "DELETE").then(|| (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})))
    });
    let applied = applier(&client, live).apply(&key(), &build(&pipeline), Mode::Managed).await.expect("applied");
    let seen = seen.lock().expect("no poison");
    assert_eq!(seen.len(), 1, "{seen:?}");
    let (method, path, body) = &seen[0];
    assert!(method == "DELETE" && path.ends_with("/services/default-old?"), "{method} {path}");
    assert_eq!(body["preconditions"]["uid"], "uid-default-old");
    assert_eq!(applied.written, ["removed Service default-old"]);
}

const MAY_NOT_LIST: &str = "certificates.cert-manager.io is forbidden: User \"system:serviceaccount:veneur-system:veneur-operator\" \
                            cannot list resource \"certificates\" in API group \"cert-manager.io\" at the cluster scope";

#[tokio::test]
async fn a_certificate_that_cannot_be_ordered_is_told_and_left_alone_and_a_monitor_is_dispensable() {
    let pipeline = validated(RELAY);
    for (knowledge, next_step) in [
        (Knowledge::NotInstalled, "install cert-manager"),
        (Knowledge::Refused(MAY_NOT_LIST.to_owned()), "verbs: [\"list\"]"),
    ] {
        for mode in [Mode::Managed, Mode::Paused] {
            // Both were seen before, and are no orphans now.
            let live = in_place(&pipeline, |_, _| ());
            live.learnt(Kind::Certificate, knowledge.clone());
            live.learnt(Kind::PodMonitor, Knowledge::NotInstalled);
            let (requests, applied) = writes(live, &pipeline, mode).await;
            assert!(requests.is_empty(), "{requests:?}");
            let [lacking] = applied.lacking.as_slice() else { panic!("{:?}", applied.lacking) };
            assert!(lacking.to_string().starts_with("Certificate default-tls is not applied"), "{lacking}");
            assert!(lacking.to_string().contains(next_step), "{lacking}");
            assert_eq!(applied.held.len(), usize::from(mode == Mode::Paused), "{:?}", applied.held);
        }
    }
}

/// The globals without a number of their own, beside what the API server has.
async fn handed_over(managers: &Value, live: bool) -> Vec<(String, Value)> {
    let pipeline = validated(SMALLEST);
    let mut resources = build(&pipeline);
    let there = in_place(&pipeline, |_, _| ());
    resources.global.as_mut().expect("globals").spec.as_mut().expect("a spec").replicas = None;
    let mut present = stored(&Object::of(resources.global.as_ref().expect("globals")));
    present["metadata"]["managedFields"] = managers.clone();
    present["spec"]["replicas"] = json!(8);
    let (client, seen) = api_server(move |method, path, _| {
        (live && method == "GET" && path.contains("/deployments/default-global")).then(|| (200, present.clone()))
    });
    applier(&client, there).apply(&key(), &resources, Mode::Managed).await.expect("applied");
    let seen = seen.lock().expect("no poison");
    let patches = seen.iter().filter(|(method, ..)| method == "PATCH");
    patches.map(|(_, path, body)| (path.clone(), body["spec"]["replicas"].clone())).collect()
}

#[tokio::test]
async fn an_autoscaler_takes_over_the_number_that_is_there() {
    let ours =
        json!([{"manager": "veneur-operator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let patches = handed_over(&ours, true).await;
    assert!(patches[0].0.contains("fieldManager=veneur-operator-handover") && patches[0].1 == 8, "{patches:?}");
    assert!(patches[1].0.ends_with("fieldManager=veneur-operator") && patches[1].1.is_null(), "{patches:?}");

    let autoscaler = json!([{"manager": "kube-controller-manager", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let patches = handed_over(&autoscaler, true).await;
    assert_eq!(patches.len(), 1, "it has it already: {patches:?}");
}

#[test]
fn the_revision_is_that_of_the_pods() {
    let object = |spec: &str| Object::of(&build(&validated(spec)).proxy.expect("proxies"));
    let (one, more) = (object(SMALLEST), object(&format!("{{proxy: {{replicas: 7}}, {}}}", &SMALLEST)));
    assert_ne!(one.hash, more.hash);
    assert_eq!(one.revision, more.revision);
    let deployment: Deployment = serde_json::from_value(one.json).expect("a Deployment");
    assert_eq!(Some(super::revision_of(&deployment)), one.revision);
}

#[test]
fn a_missing_permission_says_what_to_grant_to_whom() {
    let said = "services \"default-proxy\" is forbidden: User \"system:serviceaccount:veneur-system:veneur-operator\" cannot \
                patch resource \"services\" in API group \"\" in the namespace \"metrics\"";
    let permission = super::Permission::missing_in(said).expect("it is");
    assert_eq!(
        permission.to_string(),
        "service account veneur-system/veneur-operator may not patch services in namespace metrics: install the chart's \
         roles of this version, or grant apiGroups: [\"\"], resources: [\"services\"], verbs: [\"patch\"]"
    );
    let all = "deployments.apps is forbidden: User \"a\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope";
    assert!(
        super::Permission::missing_in(all).expect("it is").to_string().contains("list deployments in all namespaces")
    );
    assert_eq!(super::Permission::missing_in("exceeded quota"), None);
}

#[test]
fn a_refusal_is_told_apart_by_who_refused() {
    let table = [
        (
            403,
            "services \"default-proxy\" is forbidden: User \"system:serviceaccount:veneur-system:veneur-operator\" cannot \
             patch resource \"services\" in API group \"\" in the namespace \"metrics\"",
            "PermissionMissing",
        ),
        (
            403,
            "roles.rbac.authorization.k8s.io \"default-proxy\" is forbidden: user \"u\" (groups=[\"g\"]) is attempting to \
             grant RBAC permissions not currently held:",
            "PermissionMissing",
        ),
        (403, "services \"default-proxy\" is forbidden: exceeded quota: small", "QuotaExceeded"),
        (
            403,
            "deployments.apps \"default-proxy\" is forbidden: ValidatingAdmissionPolicy 'owners' denied request: no team",
            "AdmissionDenied",
        ),
        (400, "admission webhook \"policy.example\" denied the request: no", "AdmissionDenied"),
        (500, "etcdserver: leader changed", "ApplyFailed"),
    ];
    for (code, message, reason) in table {
        let answer = serde_json::from_value(status(code, message)).expect("a status");
        let error = ApplyError::Refused {
            verb: "apply",
            kind: "Service".to_owned(),
            namespace: "metrics".to_owned(),
            name: "default-proxy".to_owned(),
            source: Box::new(kube::Error::Api(answer)),
        };
        assert_eq!(error.reason().as_str(), reason, "{message}");
    }
}
