use std::sync::Arc;

use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::{Watched, reconcile};
use crate::{
    kind::Kind,
    live::Knowledge,
    test_support::{RELAY, SMALLEST, Seen, api_server, context, pipeline, status},
};

fn watched(object: Value) -> Arc<Watched> {
    Arc::new(serde_json::from_value(object).expect("anything with metadata"))
}

fn undecodable() -> Value {
    json!({
        "apiVersion": "veneur.dev/v1alpha1",
        "kind": "VeneurPipeline",
        "metadata": {"name": "old", "namespace": "metrics", "generation": 7},
        "spec": {"sinks": "written under another definition"},
    })
}

fn written(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|(method, ..)| method != "GET").collect()
}

#[tokio::test]
async fn an_undecodable_object_is_told_so_and_harms_no_other() {
    let (client, seen) = api_server(|method, path, _| {
        (method == "GET" && path.ends_with("/veneurpipelines/old")).then(|| (200, undecodable()))
    });
    let context = context(client);
    let action = reconcile(watched(undecodable()), Arc::clone(&context)).await.expect("answered in its status");
    assert_eq!(action, Action::await_change());
    {
        let seen = seen.lock().expect("no poison");
        let writes = written(&seen);
        assert_eq!(writes.len(), 1, "only its status is written: {writes:?}");
        let (_, path, body) = writes[0];
        assert!(path.contains("/namespaces/metrics/veneurpipelines/old/status"), "{path}");
        assert_eq!(body["status"]["conditions"][1]["type"], "Accepted");
        assert_eq!(body["status"]["conditions"][1]["reason"], "Undecodable");
        assert_eq!(body["status"]["observedGeneration"], 7);
    }

    let good = watched(json!(pipeline("default", SMALLEST)));
    let action = reconcile(good, context).await.expect("the neighbour is applied");
    assert_ne!(action, Action::await_change());
}

#[tokio::test]
async fn an_undecodable_object_is_told_only_once() {
    let (client, seen) = api_server(|method, _, _| (method == "GET").then(|| (200, undecodable())));
    reconcile(watched(undecodable()), context(client)).await.expect("answered in its status");
    let told = seen.lock().expect("no poison").last().expect("the status").2["status"].clone();
    let message = told["conditions"][1]["message"].as_str().expect("a message");
    assert!(message.starts_with("spec.sinks: invalid type: string"), "{message}");

    let mut object = undecodable();
    object["status"] = told;
    let (client, seen) = api_server(move |method, _, _| (method == "GET").then(|| (200, object.clone())));
    reconcile(watched(undecodable()), context(client)).await.expect("nothing to do");
    assert!(written(&seen.lock().expect("no poison")).is_empty());
}

#[tokio::test]
async fn every_object_is_applied_under_one_manager_before_the_status() {
    let (client, seen) = api_server(|_, _, _| None);
    reconcile(watched(json!(pipeline("default", SMALLEST))), context(client)).await.expect("applied");
    let seen = seen.lock().expect("no poison");
    let paths: Vec<&str> = written(&seen).iter().map(|(_, path, _)| path.split('?').next().unwrap_or(path)).collect();
    assert_eq!(
        paths,
        [
            "/api/v1/namespaces/metrics/configmaps/default-veneur",
            "/api/v1/namespaces/metrics/serviceaccounts/default-proxy",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/metrics/roles/default-proxy",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/metrics/rolebindings/default-proxy",
            "/api/v1/namespaces/metrics/services/default-proxy",
            "/api/v1/namespaces/metrics/services/default-global",
            "/apis/networking.k8s.io/v1/namespaces/metrics/networkpolicies/default-proxy",
            "/apis/networking.k8s.io/v1/namespaces/metrics/networkpolicies/default-global",
            "/apis/policy/v1/namespaces/metrics/poddisruptionbudgets/default-proxy",
            "/apis/policy/v1/namespaces/metrics/poddisruptionbudgets/default-global",
            "/apis/apps/v1/namespaces/metrics/deployments/default-global",
            "/apis/apps/v1/namespaces/metrics/deployments/default-proxy",
            "/apis/monitoring.coreos.com/v1/namespaces/metrics/podmonitors/default",
            "/apis/veneur.dev/v1alpha1/namespaces/metrics/veneurpipelines/default/status",
        ]
    );
    for (_, path, body) in written(&seen) {
        let manager = if path.contains("/status") { "veneur-operator-status" } else { "veneur-operator" };
        assert!(path.contains(&format!("fieldManager={manager}")) && path.contains("force=true"), "{path}");
        let owner = &body["metadata"]["ownerReferences"][0];
        assert!(path.contains("/status") || owner["uid"] == "0b6f1c3e", "{path}: {owner}");
    }
}

#[tokio::test]
async fn a_refused_object_is_named_in_the_status_and_tried_again() {
    let (client, seen) = api_server(|method, path, _| {
        (method == "PATCH" && path.contains("/roles/")).then(|| (403, status(403, "a policy says no")))
    });
    let error = reconcile(watched(json!(pipeline("default", SMALLEST))), context(client)).await.expect_err("refused");
    assert!(matches!(error, super::ReconcileError::Apply(_)), "{error}");
    let seen = seen.lock().expect("no poison");
    let (_, path, body) = seen.last().expect("requests");
    assert!(path.contains("/status"));
    let ready = &body["status"]["conditions"][0];
    assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("False"), Some("AdmissionDenied")));
    assert_eq!(ready["message"], "cannot apply Role metrics/default-proxy: a policy says no");
}

#[tokio::test]
async fn without_cert_manager_the_pipeline_says_what_it_lacks() {
    let (client, seen) = api_server(|_, _, _| None);
    let context = context(client);
    context.live.learnt(Kind::Certificate, Knowledge::NotInstalled);
    reconcile(watched(json!(pipeline("default", RELAY))), context).await.expect("all else is applied");
    let seen = seen.lock().expect("no poison");
    assert!(written(&seen).iter().any(|(_, path, _)| path.contains("/deployments/default-proxy")));
    let reconciled = &seen.last().expect("requests").2["status"]["conditions"][2];
    assert_eq!((reconciled["type"].as_str(), reconciled["status"].as_str()), (Some("Reconciled"), Some("False")));
    assert_eq!(reconciled["reason"], "PermissionMissing");
    let message = reconciled["message"].as_str().expect("a message");
    assert!(
        message.starts_with("Certificate default-tls is not applied, as this cluster has no such kind"),
        "{message}"
    );
}

#[tokio::test]
async fn a_taken_name_is_told_in_the_status_and_tried_again() {
    let foreign = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "default-proxy"}});
    let (client, seen) = api_server(move |method, path, _| {
        (method == "GET" && path.ends_with("/services/default-proxy")).then(|| (200, foreign.clone()))
    });
    reconcile(watched(json!(pipeline("default", SMALLEST))), context(client)).await.expect_err("taken");
    let seen = seen.lock().expect("no poison");
    let writes = written(&seen);
    assert_eq!(writes.len(), 1, "only its status is written: {writes:?}");
    let ready = &writes[0].2["status"]["conditions"][0];
    assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("False"), Some("NameTaken")));
}

#[tokio::test]
async fn a_status_that_already_says_it_is_not_written_again() {
    let (client, seen) = api_server(|_, _, _| None);
    reconcile(watched(json!(pipeline("default", SMALLEST))), context(client)).await.expect("applied");
    let told = seen.lock().expect("no poison").last().expect("the status").2["status"].clone();

    let mut object = json!(pipeline("default", SMALLEST));
    object["status"] = told;
    let (client, seen) = api_server(|_, _, _| None);
    reconcile(watched(object), context(client)).await.expect("applied");
    assert!(seen.lock().expect("no poison").iter().all(|(_, path, _)| !path.contains("/status")));
}

#[tokio::test]
async fn a_pipeline_that_is_being_deleted_is_left_alone() {
    let mut object = json!(pipeline("default", SMALLEST));
    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T10:00:00Z");
    let (client, seen) = api_server(|_, _, _| None);
    reconcile(watched(object), context(client)).await.expect("nothing to do");
    assert!(seen.lock().expect("no poison").is_empty());
}

#[test]
fn of_two_defaults_of_the_cluster_the_younger_names_the_older_and_both_run() {
    let spec = "{sinks: [{name: debug, debug: {}}], injection: {clusterDefault: true}}";
    let (older, younger) = (pipeline("alpha", spec), pipeline("beta", spec));
    assert_eq!(
        crate::injection::cluster_default(&[&younger, &older]).map(crate::injection::id),
        Some(("metrics", "alpha"))
    );
    let around = super::status::Around {
        older_default: Some(crate::feeds::Key::new("metrics", "alpha")),
        ..super::status::Around::default()
    };
    let outcome = super::status::Outcome::Accepted {
        reconciled: (veneur_operator_api::ReconciledReason::Applied, "applied".to_owned()),
        tiers: None,
    };
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time("2026-11-26T10:00:00Z".parse().expect("a time"));
    let told = super::status::status(None, Some(1), &outcome, &around, &now);
    let accepted = told.conditions.iter().find(|condition| condition.type_ == "Accepted").expect("is set");
    assert_eq!((accepted.status.as_str(), accepted.reason.as_str()), ("False", "DuplicateClusterDefault"));
    assert!(accepted.message.contains("metrics/alpha is older"), "{}", accepted.message);
    let ready = told.conditions.iter().find(|condition| condition.type_ == "Ready").expect("is set");
    assert_ne!(ready.status, "False", "it runs on: {}", ready.message);
}
