//! The exchange of one pod's image.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    injection::{Former, SIDECAR, STATUS, Stamp},
    labels::FIELD_MANAGER,
    pods::Outdated,
};

/// How long a kubelet may take to pull the image and to start the container.
const PATIENCE: Duration = Duration::from_mins(2);

/// Why a sidecar did not get its image.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The pod is gone, or is not what it was.
    #[error("the pod is gone")]
    Gone,
    /// The API server refused.
    #[error("the API server did not take it: {0}")]
    Api(#[source] Box<kube::Error>),
    /// It does not run.
    #[error("it does not run within {PATIENCE:?}: {0}")]
    NotRunning(String),
}

impl From<kube::Error> for ExchangeError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 404 => Self::Gone,
            _ => Self::Api(Box::new(error)),
        }
    }
}

/// Exchanges the image, and returns when the sidecar runs again. Where it does not, the old image is put back. What another
/// leader has begun is ended in the same way: the stamp says from what, until it is.
pub(super) async fn exchange(client: &Client, pod: &Outdated) -> Result<(), ExchangeError> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace);
    let seen = api.get(&pod.name).await?;
    let stamp = stamp(&seen)?;
    let has_it = stamp.image.as_ref() == Some(&pod.wanted);
    let former = match stamp.before {
        // The count that named it may be of a moment before.
        None if has_it => return Ok(()),
        Some(former) if has_it => former,
        begun => {
            let image = match begun {
                // Of two exchanges the first has not ended.
                Some(former) if !runs_anew(&seen, former.container.as_deref()) => former.image,
                _ => stamp.image.ok_or(ExchangeError::Gone)?,
            };
            let container = status(&seen).and_then(|status| status.container_id.clone());
            let former = Former { image, container };
            put(&api, &seen, &pod.wanted, Some(&former)).await?;
            former
        }
    };
    let ran = former.container.as_deref();
    let again = |pod: Option<&Pod>| pod.is_none_or(|pod| ended(pod) || runs_anew(pod, ran));
    match timeout(PATIENCE, await_condition(api.clone(), &pod.name, again)).await {
        Ok(Ok(Some(now))) if runs_anew(&now, ran) => put(&api, &now, &pod.wanted, None).await,
        Ok(Ok(_)) => Err(ExchangeError::Gone),
        Ok(Err(_)) | Err(_) => {
            let now = api.get(&pod.name).await?;
            if runs_anew(&now, ran) {
                return put(&api, &now, &pod.wanted, None).await;
            }
            put(&api, &now, &former.image, None).await?;
            Err(ExchangeError::NotRunning(why(&now)))
        }
    }
}

fn stamp(pod: &Pod) -> Result<Stamp, ExchangeError> {
    pod.annotations().get(STATUS).and_then(|text| Stamp::parse(text)).ok_or(ExchangeError::Gone)
}

/// Writes the image, and the stamp that says so and what it may go back to. Not, if either is not as it was seen.
async fn put(api: &Api<Pod>, pod: &Pod, image: &str, before: Option<&Former>) -> Result<(), ExchangeError> {
    let spec = pod.spec.as_ref().ok_or(ExchangeError::Gone)?;
    let of = |containers: &[k8s_openapi::api::core::v1::Container]| {
        containers.iter().position(|container| container.name == SIDECAR)
    };
    let path = match (of(spec.init_containers.as_deref().unwrap_or_default()), of(&spec.containers)) {
        (Some(index), _) => format!("/spec/initContainers/{index}"),
        (None, Some(index)) => format!("/spec/containers/{index}"),
        (None, None) => return Err(ExchangeError::Gone),
    };
    let text = pod.annotations().get(STATUS).ok_or(ExchangeError::Gone)?;
    let stamp = Stamp { image: Some(image.to_owned()), before: before.cloned(), ..stamp(pod)? };
    let annotation = format!("/metadata/annotations/{}", STATUS.replace('/', "~1"));
    let operations = json!([
        {"op": "test", "path": format!("{path}/name"), "value": SIDECAR},
        {"op": "test", "path": annotation, "value": text},
        {"op": "replace", "path": format!("{path}/image"), "value": image},
        {"op": "replace", "path": annotation, "value": stamp.to_text()},
    ]);
    let patch: json_patch::Patch = serde_json::from_value(operations).expect("four operations");
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&pod.name_any(), &parameters, &Patch::Json::<()>(patch)).await?;
    Ok(())
}

fn status(pod: &Pod) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.init_container_statuses, &status.container_statuses];
    all.into_iter().flatten().flatten().find(|status| status.name == SIDECAR)
}

/// Whether the sidecar runs in another container than before.
fn runs_anew(pod: &Pod, before: Option<&str>) -> bool {
    status(pod).is_some_and(|status| {
        let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
        running && status.started == Some(true) && status.container_id.as_deref() != before
    })
}

/// Whether the pod has ended, or is about to.
fn ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

/// What the kubelet says.
fn why(pod: &Pod) -> String {
    let waiting = status(pod).and_then(|status| status.state.as_ref()?.waiting.clone());
    waiting.map_or_else(
        || "the kubelet has not restarted it".to_owned(),
        |waiting| {
            let words = [waiting.reason, waiting.message].into_iter().flatten();
            words.collect::<Vec<_>>().join(": ")
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::test_support::api_server;

    const STAMP: &str =
        r#"{"pipeline":"m/d","revision":"r","image":"v:1","mode":"native","containers":["app"],"kept":[]}"#;
    /// The same while an exchange is under way.
    const UNSETTLED: &str = r#"{"pipeline":"m/d","revision":"r","image":"v:2","before":{"image":"v:1","container":"a"},"mode":"native","containers":["app"],"kept":[]}"#;

    fn pod(stamp: &str, image: &str, container: &str, state: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop", "annotations": {STATUS: stamp}},
            "spec": {"containers": [{"name": "app"}],
                "initContainers": [{"name": "istio-init"}, {"name": "veneur", "image": image}]},
            "status": {"initContainerStatuses": [{
                "name": "veneur", "containerID": container, "started": state == "running", "state": {state: {}},
                "image": "", "imageID": "", "ready": true, "restartCount": 1,
            }]},
        }))
        .expect("a pod")
    }

    /// What is written while the pod is `stored`, and how it ends.
    async fn exchanged(stored: Pod, wanted: &str) -> (Vec<(Value, Stamp)>, Result<(), ExchangeError>) {
        let (client, seen) = api_server(move |method, path, _| match method {
            "GET" if path.contains("watch=true") => None,
            "GET" if path.contains("/pods?") => Some((
                200,
                json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": [stored]}),
            )),
            _ => Some((200, json!(stored))),
        });
        let outdated = Outdated {
            namespace: "shop".into(),
            workload: "Pod/p".into(),
            name: "p".into(),
            pipeline: "m/d".to_owned(),
            image: "v:1".into(),
            wanted: wanted.to_owned(),
        };
        let result = Box::pin(exchange(&client, &outdated)).await;
        let seen = seen.lock().expect("no poison");
        let patches = seen.iter().filter(|(method, ..)| method == "PATCH");
        let written = patches.map(|(_, path, body)| {
            assert!(path.starts_with("/api/v1/namespaces/shop/pods/p?"), "{path}");
            assert_eq!(body.as_array().map(Vec::len), Some(4), "image and stamp, and nothing else");
            assert_eq!(body[2]["path"], "/spec/initContainers/1/image");
            let stamp = Stamp::parse(body[3]["value"].as_str().expect("a text")).expect("a stamp");
            assert_eq!(body[2]["value"].as_str(), stamp.image.as_deref());
            (body[2]["value"].clone(), stamp)
        });
        (written.collect(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_run_is_taken_back_and_the_stamp_says_meanwhile_to_what() {
        let (written, result) = exchanged(pod(STAMP, "v:1", "a", "running"), "v:2").await;
        assert!(matches!(result, Err(ExchangeError::NotRunning(_))), "{result:?}");
        let [(new, meanwhile), (old, _)] = written.as_slice() else { panic!("{written:?}") };
        assert_eq!((new, old), (&json!("v:2"), &json!("v:1")));
        assert_eq!(meanwhile.before, Some(Former { image: "v:1".to_owned(), container: Some("a".to_owned()) }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_leader_began_is_taken_back_where_it_does_not_run_and_settled_where_it_does() {
        let (written, result) = exchanged(pod(UNSETTLED, "v:2", "b", "waiting"), "v:2").await;
        assert!(matches!(result, Err(ExchangeError::NotRunning(_))), "{result:?}");
        let [(old, stamp)] = written.as_slice() else { panic!("{written:?}") };
        assert_eq!((old, &stamp.before), (&json!("v:1"), &None));

        let (written, result) = exchanged(pod(UNSETTLED, "v:2", "b", "running"), "v:2").await;
        let [(new, stamp)] = written.as_slice() else { panic!("{written:?}") };
        assert!(result.is_ok() && *new == json!("v:2") && stamp.before.is_none(), "{result:?} {written:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_way_back_is_to_what_ran_last() {
        for (state, image) in [("waiting", "v:1"), ("running", "v:2")] {
            let (written, _) = exchanged(pod(UNSETTLED, "v:2", "b", state), "v:3").await;
            let (new, stamp) = &written[0];
            assert_eq!(*new, json!("v:3"));
            assert_eq!(stamp.before, Some(Former { image: image.to_owned(), container: Some("b".to_owned()) }));
        }
    }

    #[tokio::test]
    async fn what_has_its_image_and_runs_is_left_alone() {
        let (written, result) = exchanged(pod(&STAMP.replace("v:1", "v:2"), "v:2", "a", "running"), "v:2").await;
        assert!(written.is_empty() && result.is_ok(), "{written:?} {result:?}");
    }

    #[test]
    fn a_sidecar_runs_anew_when_another_container_has_started() {
        let pod = |id: &str, started: bool| -> Pod {
            serde_json::from_value(json!({"status": {"initContainerStatuses": [
                {"name": "veneur", "containerID": id, "started": started, "state": {"running": {}},
                 "image": "", "imageID": "", "ready": true, "restartCount": 1},
            ]}}))
            .expect("a pod")
        };
        assert!(!runs_anew(&pod("a", true), Some("a")));
        assert!(!runs_anew(&pod("b", false), Some("a")));
        assert!(runs_anew(&pod("b", true), Some("a")));
    }
}
