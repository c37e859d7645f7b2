use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::{Value, json};

use super::{TierReport, observe, report};
use crate::{
    labels::Role,
    test_support::{FULL, api_server, validated},
};

fn deployment(status: &Value) -> Deployment {
    let object = json!({
        "metadata": {"name": "default-global", "generation": 2},
        "spec": {"replicas": 3, "selector": {}, "template": {}},
        "status": status,
    });
    serde_json::from_value(object).expect("a deployment")
}

fn pod(name: &str, created: &str, status: &Value) -> Pod {
    let object = json!({"metadata": {"name": name, "creationTimestamp": created}, "status": status});
    serde_json::from_value(object).expect("a pod")
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"containerStatuses": [{
        "name": "veneur", "image": "registry.example/veneur:typo", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    }]})
}

fn of(status: &Value, pods: &[Pod]) -> TierReport {
    report(&validated(FULL), Role::Global, &deployment(status), pods)
}

fn starting() -> Value {
    json!({"observedGeneration": 2, "replicas": 3})
}

#[test]
fn a_complete_tier_is_available() {
    let status = json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    let report = of(&status, &[]);
    assert!(report.available);
    assert_eq!(
        (report.reason.as_str(), report.status.expect("counts").summary.as_str()),
        ("MinimumReplicasAvailable", "3/3")
    );
}

#[test]
fn counts_of_an_older_generation_prove_nothing() {
    let status = json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    let report = of(&status, &[]);
    assert!(!report.available);
    assert_eq!(report.reason.as_str(), "Progressing");
}

#[test]
fn a_rollout_that_works_keeps_the_tier_available() {
    let status = json!({"observedGeneration": 2, "replicas": 4, "readyReplicas": 3, "updatedReplicas": 1, "availableReplicas": 3});
    let report = of(&status, &[]);
    assert!(report.available);
    assert_eq!(report.reason.as_str(), "Progressing");
}

/// Every new pod exists beside every old one: only the old ones are available.
fn all_new_ones_stuck(desired: i32) -> Value {
    json!({
        "observedGeneration": 2, "replicas": 2 * desired, "readyReplicas": desired, "updatedReplicas": desired,
        "availableReplicas": desired, "unavailableReplicas": desired,
    })
}

#[test]
fn a_rollout_is_not_complete_while_old_pods_exist() {
    for desired in [3, 1] {
        let mut deployment = deployment(&all_new_ones_stuck(desired));
        deployment.spec.as_mut().expect("a spec").replicas = Some(desired);
        let report = |pods: &[Pod]| report(&validated(FULL), Role::Global, &deployment, pods);
        let working = report(&[]);
        assert!(working.available);
        assert_eq!(working.reason.as_str(), "Progressing", "{desired} wanted");
        let causes = [
            ("SecretNotFound", waiting("CreateContainerConfigError", "secret \"datadog\" not found")),
            ("ImagePullFailed", waiting("ImagePullBackOff", "no such host")),
        ];
        for (reason, status) in causes {
            let stuck = report(&[pod("new", "2026-11-22T11:00:00Z", &status)]);
            assert!(!stuck.available, "{desired} wanted");
            assert_eq!(stuck.reason.as_str(), reason, "{desired} wanted");
        }
    }
}

#[test]
fn a_rollout_is_not_complete_while_a_pod_is_unavailable() {
    let status = json!({
        "observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
        "unavailableReplicas": 1,
    });
    assert_eq!(of(&status, &[]).reason.as_str(), "Progressing");
}

#[tokio::test]
async fn the_pods_are_asked_while_old_ones_serve() {
    let new = json!({"metadata": {"name": "new"}, "status": waiting("ErrImagePull", "no such host")});
    let pods = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": [new]});
    let (client, _) = api_server(move |_, path, _| path.contains("/pods").then(|| (200, pods.clone())));
    let live = crate::live::Live::new();
    let report = observe(&client, &live, &validated(FULL), Role::Global, &deployment(&all_new_ones_stuck(3))).await;
    assert_eq!(report.expect("observed").reason.as_str(), "ImagePullFailed");
}

#[test]
fn a_new_deployment_is_progressing() {
    let report = of(&json!({}), &[]);
    assert!(!report.available);
    assert_eq!((report.reason.as_str(), report.message.as_str()), ("Progressing", "0 of 3 available"));
}

#[test]
fn each_cause_has_its_reason_and_says_what_it_is_about() {
    let crashed = json!({"containerStatuses": [{
        "name": "veneur", "image": "veneur:1", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "starting\nglobal.yaml: interval: wrong\n\n"}},
    }]});
    let oom = json!({"containerStatuses": [{
        "name": "veneur", "image": "veneur:1", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }]});
    let unschedulable = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory.",
    }]});
    let table = [
        (
            waiting("CreateContainerConfigError", "secret \"datadog\" not found"),
            "SecretNotFound",
            "secret \"datadog\" not found in namespace metrics (needed by sinks[0])",
        ),
        (
            waiting("CreateContainerConfigError", "couldn't find key k in Secret metrics/other"),
            "SecretNotFound",
            "secret \"other\" in namespace metrics has no key \"k\" (needed by sinks[1])",
        ),
        (waiting("CreateContainerConfigError", "odd"), "ConfigRejected", "pod a: odd"),
        (
            waiting("ImagePullBackOff", "Back-off pulling image"),
            "ImagePullFailed",
            "image registry.example/veneur:typo: Back-off pulling image",
        ),
        (waiting("ErrImageNeverPull", ""), "ImagePullFailed", "image registry.example/veneur:typo: ErrImageNeverPull"),
        (crashed, "CrashLoop", "pod a ended with 1 (Error): global.yaml: interval: wrong"),
        (oom, "CrashLoop", "pod a needs more memory than its limit: raise resources.limits.memory of its tier"),
        (unschedulable, "Unschedulable", "0/3 nodes are available: 3 Insufficient memory."),
        (waiting("ContainerCreating", ""), "Progressing", "0 of 3 available"),
    ];
    for (status, reason, message) in table {
        let report = of(&starting(), &[pod("a", "2026-11-22T10:00:00Z", &status)]);
        assert!(!report.available, "{reason}");
        assert_eq!((report.reason.as_str(), report.message.as_str()), (reason, message));
    }
}

#[test]
fn a_refusal_to_create_pods_is_found_without_a_pod() {
    let refused = |message: &str| {
        let condition =
            json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message});
        of(&json!({"observedGeneration": 2, "conditions": [condition]}), &[]).reason.as_str()
    };
    assert_eq!(refused("pods \"x\" is forbidden: exceeded quota: small"), "QuotaExceeded");
    assert_eq!(refused("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\""), "AdmissionDenied");
}

#[test]
fn a_cause_is_reported_while_the_revision_before_still_serves() {
    let status = json!({"observedGeneration": 2, "replicas": 4, "readyReplicas": 3, "updatedReplicas": 1, "availableReplicas": 3});
    let good = json!({"containerStatuses": [{"name": "veneur", "image": "", "imageID": "", "ready": true, "restartCount": 0}]});
    let pods = [
        pod("old", "2026-11-22T10:00:00Z", &good),
        pod("new", "2026-11-22T11:00:00Z", &waiting("ErrImagePull", "no such host")),
    ];
    let report = of(&status, &pods);
    assert!(!report.available);
    assert_eq!((report.reason.as_str(), report.status.expect("counts").summary.as_str()), ("ImagePullFailed", "3/3"));
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let report = of(&starting(), &[pod("a", "2026-11-22T10:00:00Z", &waiting("ErrImagePull", &"é".repeat(5000)))]);
    assert!(report.message.chars().count() < 500 && report.message.ends_with('…'));
}

#[test]
fn a_rollout_that_nobody_can_explain_is_told_when_kubernetes_gives_up() {
    let late =
        json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"});
    let status = json!({"observedGeneration": 2, "replicas": 3, "conditions": [late]});
    assert_eq!(of(&status, &[]).reason.as_str(), "RolloutStalled");
    let unready = json!({"containerStatuses": [{
        "name": "veneur", "image": "", "imageID": "", "ready": false, "started": true, "restartCount": 0,
        "state": {"running": {}},
    }]});
    let report = of(&status, &[pod("a", "2026-11-22T10:00:00Z", &unready)]);
    assert_eq!(report.reason.as_str(), "NotReady");
    assert_eq!(report.message, "pod a runs and is not ready: kubectl logs a, and its /ready on port 8127");
}

#[test]
fn a_tier_that_someone_scaled_away_says_so() {
    let mut deployment = deployment(&json!({"observedGeneration": 2}));
    deployment.spec.as_mut().expect("a spec").replicas = Some(0);
    let report = report(&validated(FULL), Role::Global, &deployment, &[]);
    assert_eq!((report.available, report.reason.as_str()), (false, "ScaledToZero"));
}

#[test]
fn agents_of_nodes_are_counted_by_their_daemon_set() {
    let agents = |status: &Value| {
        let object = json!({
            "metadata": {"name": "default-node", "generation": 2},
            "spec": {"selector": {}, "template": {}},
            "status": status,
        });
        crate::reconcile::apply::counted_alike(serde_json::from_value(object).expect("a daemon set"))
    };
    let of = |status: &Value, pods: &[Pod]| report(&validated(FULL), Role::Node, &agents(status), pods);
    let counts = |desired: i32, ready: i32, updated: i32| {
        json!({
            "observedGeneration": 2, "desiredNumberScheduled": desired, "currentNumberScheduled": desired,
            "numberMisscheduled": 0, "numberReady": ready, "updatedNumberScheduled": updated, "numberAvailable": ready,
            "numberUnavailable": desired - ready,
        })
    };
    let pulling = pod("a", "2026-01-01T00:00:00Z", &waiting("ErrImagePull", "no such image"));
    for (status, pods, available, reason, summary) in [
        (counts(3, 3, 3), vec![], true, "MinimumReplicasAvailable", "3/3"),
        (counts(3, 2, 1), vec![], false, "Progressing", "2/3"),
        (counts(3, 2, 1), vec![pulling], false, "ImagePullFailed", "2/3"),
        // Before its controller has looked nothing is known of it, not even how many it wants.
        (
            json!({"desiredNumberScheduled": 0, "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
            vec![],
            false,
            "Progressing",
            "0/1",
        ),
        (counts(0, 0, 0), vec![], true, "MinimumReplicasAvailable", "0/0"),
    ] {
        let report = of(&status, &pods);
        let summary_now = report.status.expect("counts").summary;
        assert_eq!((report.available, report.reason.as_str(), &*summary_now), (available, reason, summary), "{status}");
    }
}
