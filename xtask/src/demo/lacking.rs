//! Whether what was applied has come about, and what is lacking, from the objects' own words.

use serde_json::Value;

/// What keeps a pipeline from being ready with this image; `None` when it is.
pub(super) fn pipeline_lacks(pipeline: &Value, image: &str) -> Option<String> {
    let status = &pipeline["status"];
    let tier = |role: &str| {
        let tier = &status[role];
        let all = tier["updated"] == tier["desired"] && tier["ready"] == tier["desired"];
        let summary = tier["summary"].as_str().unwrap_or("0");
        (tier["image"] == image && all, format!("{role} {summary}"))
    };
    let ((proxies, proxy), (globals, global)) = (tier("proxy"), tier("global"));
    let ready = condition(status, "Ready");
    let current = status["observedGeneration"] == pipeline["metadata"]["generation"];
    // `True` with another reason is a rollout on its way: old pods serve, beside what was asked for.
    if current && proxies && globals && ready["status"] == "True" && ready["reason"] == "AllTiersReady" {
        return None;
    }
    let said = if ready["status"] == "False" { ready["message"].as_str() } else { None };
    Some([Some(proxy.as_str()), Some(&global), said].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What keeps a Deployment from running as it was applied; `None` when it does. `pods` are those of it that are not
/// ending.
pub(super) fn deployment_lacks(deployment: &Value, pods: &[Value]) -> Option<String> {
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    let all = ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|count| status[count] == *wanted);
    let current = status["observedGeneration"] == deployment["metadata"]["generation"];
    if current && all && Some(pods.len()) == wanted.as_u64().and_then(|wanted| usize::try_from(wanted).ok()) {
        return None;
    }
    let ready = pods.iter().filter(|pod| condition(&pod["status"], "Ready")["status"] == "True").count();
    let why = pods.iter().find_map(cause).map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("{ready} of {wanted} ready{why}"))
}

/// The container that injection has added to a pod.
pub(super) fn sidecar(pod: &Value) -> Option<&Value> {
    pod["spec"]["initContainers"].as_array()?.iter().find(|container| container["name"] == "veneur")
}

/// Why a pod is not ready, where something of it has ended or cannot begin.
fn cause(pod: &Value) -> Option<String> {
    ["initContainerStatuses", "containerStatuses"].into_iter().find_map(|list| {
        pod["status"][list].as_array()?.iter().filter(|container| container["ready"] != true).find_map(|container| {
            // `PodInitializing` and `ContainerCreating` come without a message, and are no cause.
            let ended = container["lastState"]["terminated"]["message"].as_str();
            let message = ended.or_else(|| container["state"]["waiting"]["message"].as_str())?;
            Some(message.trim().lines().last()?.to_owned())
        })
    })
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipeline_is_ready_only_with_the_image_that_was_asked_for() {
        let tier = json!({"summary": "2/2", "desired": 2, "ready": 2, "updated": 2, "image": "veneur:1"});
        let mut pipeline = json!({
            "metadata": {"generation": 3},
            "status": {
                "observedGeneration": 3, "proxy": tier, "global": tier,
                "conditions": [{"type": "Ready", "status": "True", "reason": "AllTiersReady", "message": "all well"}],
            },
        });
        assert_eq!(pipeline_lacks(&pipeline, "veneur:1"), None);
        assert_eq!(pipeline_lacks(&pipeline, "veneur:2").as_deref(), Some("proxy 2/2, global 2/2"));
        pipeline["status"]["conditions"][0] = json!({"type": "Ready", "status": "False", "message": "no image"});
        assert_eq!(pipeline_lacks(&pipeline, "veneur:1").as_deref(), Some("proxy 2/2, global 2/2, no image"));
        assert_eq!(pipeline_lacks(&json!({"metadata": {"generation": 1}}), "x").as_deref(), Some("proxy 0, global 0"));
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let deployment = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let lacks = |container: Value| {
            let containers = [json!({"ready": true, "state": {"running": {}}}), container];
            deployment_lacks(&deployment, &[json!({"status": {"containerStatuses": containers}})]).unwrap()
        };
        let waiting = json!({"waiting": {"reason": "ErrImageNeverPull", "message": "image x is not present"}});
        assert_eq!(lacks(json!({"ready": false, "state": waiting})), "0 of 1 ready: image x is not present");
        let starting = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(lacks(json!({"ready": false, "state": starting})), "0 of 1 ready");
        let ended = json!({"terminated": {"message": "starting\nerror: no such option\n"}});
        assert_eq!(lacks(json!({"ready": false, "lastState": ended})), "0 of 1 ready: error: no such option");
    }
}
