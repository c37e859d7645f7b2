use serde_json::{Value, json};

use super::{ApplyError, apply};
use crate::{
    reconcile::build::build,
    test_support::{SMALLEST, api_server, status, validated},
};

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
            let error = apply(&client, "default", &build(&validated(SMALLEST))).await.expect_err("taken");
            assert_eq!(error.reason(), "NameTaken", "{owners}");
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
    apply(&client, "default", &build(&validated(SMALLEST))).await.expect("its own");
    assert_eq!(seen.lock().expect("no poison").iter().filter(|(method, ..)| method == "PATCH").count(), 13);
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
        assert_eq!(error.reason(), reason, "{message}");
    }
}
