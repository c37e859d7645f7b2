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
    injection::{SIDECAR, STATUS, Stamp},
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

/// Exchanges the image, and returns when the sidecar runs again. Where it does not, the old image is put back.
pub(super) async fn exchange(client: &Client, pod: &Outdated) -> Result<(), ExchangeError> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace);
    let before = api.get(&pod.name).await?;
    // The count that named it may be of a moment before.
    if before.annotations().get(STATUS).and_then(|text| Stamp::parse(text)?.image).as_ref() == Some(&pod.wanted) {
        return Ok(());
    }
    let ran = status(&before).and_then(|status| status.container_id.clone());
    put(&api, &before, &pod.wanted).await?;
    let again = |pod: Option<&Pod>| pod.is_none_or(|pod| ended(pod) || runs_anew(pod, ran.as_deref()));
    match timeout(PATIENCE, await_condition(api.clone(), &pod.name, again)).await {
        Ok(Ok(Some(now))) if runs_anew(&now, ran.as_deref()) => Ok(()),
        Ok(Ok(_)) => Err(ExchangeError::Gone),
        Ok(Err(_)) | Err(_) => {
            let now = api.get(&pod.name).await?;
            if runs_anew(&now, ran.as_deref()) {
                return Ok(());
            }
            put(&api, &now, &pod.image).await?;
            Err(ExchangeError::NotRunning(why(&now)))
        }
    }
}

/// Writes the image, and the stamp that says so. Not, if either is not as it was seen.
async fn put(api: &Api<Pod>, pod: &Pod, image: &str) -> Result<(), ExchangeError> {
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
    let mut stamp = Stamp::parse(text).ok_or(ExchangeError::Gone)?;
    stamp.image = Some(image.to_owned());
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
    use serde_json::json;

    use super::*;
    use crate::test_support::api_server;

    #[tokio::test]
    async fn an_exchange_writes_the_image_and_the_stamp_and_nothing_else() {
        let stamp = r#"{"pipeline":"m/d","revision":"r","image":"v:1","mode":"native","containers":["app"],"kept":[]}"#;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop", "annotations": {STATUS: stamp}},
            "spec": {"containers": [{"name": "app"}],
                "initContainers": [{"name": "istio-init"}, {"name": "veneur", "image": "v:1"}]},
        }))
        .expect("a pod");
        let stored = pod.clone();
        let (client, seen) = api_server(move |_, _, _| Some((200, json!(stored))));
        put(&Api::namespaced(client, "shop"), &pod, "v:2").await.expect("written");
        let seen = seen.lock().expect("no poison");
        let (method, path, body) = &seen[0];
        assert_eq!(method, "PATCH");
        assert!(path.starts_with("/api/v1/namespaces/shop/pods/p?"), "{path}");
        assert_eq!(body[2], json!({"op": "replace", "path": "/spec/initContainers/1/image", "value": "v:2"}));
        assert_eq!(body[3]["value"], json!(stamp.replace("v:1", "v:2")));
        assert_eq!(body.as_array().map(Vec::len), Some(4));
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
