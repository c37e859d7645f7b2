//! The first real cause that a tier lacks pods: the API server's refusal, the scheduler's, the kubelet's, the process's.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt as _;

use veneur_operator_api::TierReason;

use crate::{
    container::{self, lacks_its_image, last_line},
    reconcile::validate::Validated,
};

/// Longest text of a foreign message that is passed on, in characters.
const LONGEST: usize = 400;

/// Why a tier lacks pods.
pub(super) struct Cause {
    pub(super) reason: TierReason,
    pub(super) message: String,
}

/// The first cause found: a refusal to create pods at all, then the newest pod that has one.
pub(super) fn first(pipeline: &Validated, deployment: &Deployment, pods: &[Pod]) -> Option<Cause> {
    refused(deployment).or_else(|| {
        let mut pods: Vec<&Pod> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        pods.sort_by_key(|pod| std::cmp::Reverse((pod.creation_timestamp(), pod.name_any())));
        pods.iter().find_map(|pod| of_pod(pipeline, pod)).or_else(|| stalled(deployment, &pods))
    })
}

/// No pod exists to ask: a quota or an admission rule refused it, and the `ReplicaSet` says so.
fn refused(deployment: &Deployment) -> Option<Cause> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = failure.message.clone().unwrap_or_default();
    let reason =
        if message.contains("exceeded quota") { TierReason::QuotaExceeded } else { TierReason::AdmissionDenied };
    Some(Cause { reason, message: shorten(&message) })
}

/// Kubernetes has waited for the rollout as long as it does, and nobody said why it does not end.
fn stalled(deployment: &Deployment, pods: &[&Pod]) -> Option<Cause> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let late = conditions.iter().find(|condition| condition.type_ == "Progressing" && condition.status == "False")?;
    let unready = pods.iter().find(|pod| {
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        containers.into_iter().flatten().any(|container| !container.ready && container.started == Some(true))
    });
    Some(match unready {
        Some(pod) => Cause {
            reason: TierReason::NotReady,
            message: format!(
                "pod {0} runs and is not ready: kubectl logs {0}, and its /ready on port 8127",
                pod.name_any()
            ),
        },
        None => Cause {
            reason: TierReason::RolloutStalled,
            message: shorten(late.message.as_deref().unwrap_or("the rollout does not end")),
        },
    })
}

fn of_pod(pipeline: &Validated, pod: &Pod) -> Option<Cause> {
    let status = pod.status.as_ref()?;
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        let message = condition.message.as_deref().unwrap_or("no node fits");
        return Some(Cause { reason: TierReason::Unschedulable, message: shorten(message) });
    }
    status.container_statuses.iter().flatten().find_map(|container| of_container(pipeline, pod, container))
}

fn of_container(pipeline: &Validated, pod: &Pod, container: &ContainerStatus) -> Option<Cause> {
    if container.ready {
        return None;
    }
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    match reason {
        "CreateContainerConfigError" => Some(missing_secret(pipeline, message).unwrap_or_else(|| Cause {
            reason: TierReason::ConfigRejected,
            message: format!("pod {}: {}", pod.name_any(), shorten(message)),
        })),
        _ if lacks_its_image(reason) => {
            let text = if message.is_empty() { reason } else { message };
            Some(Cause {
                reason: TierReason::ImagePullFailed,
                message: format!("image {}: {}", container.image, shorten(text)),
            })
        }
        "CreateContainerError" | "RunContainerError" => Some(Cause {
            reason: TierReason::CrashLoop,
            message: format!("pod {}: {}", pod.name_any(), shorten(message)),
        }),
        _ => crashed(pod, container),
    }
}

/// The kubelet says `secret "NAME" not found` or `couldn't find key KEY in Secret NAMESPACE/NAME`; which sink needs it
/// is ours to add.
fn missing_secret(pipeline: &Validated, message: &str) -> Option<Cause> {
    let namespace = &pipeline.namespace;
    pipeline.sinks.iter().enumerate().find_map(|(index, sink)| {
        let secret = sink.api_key.as_ref()?;
        let missing = if message.contains(&format!("secret \"{}\" not found", secret.name)) {
            format!("secret {:?} not found in namespace {namespace}", secret.name)
        } else if message.contains(&format!("couldn't find key {} in Secret {namespace}/{}", secret.key, secret.name)) {
            format!("secret {:?} in namespace {namespace} has no key {:?}", secret.name, secret.key)
        } else {
            return None;
        };
        Some(Cause { reason: TierReason::SecretNotFound, message: format!("{missing} (needed by sinks[{index}])") })
    })
}

/// A process that ended, with what it said last.
fn crashed(pod: &Pod, container: &ContainerStatus) -> Option<Cause> {
    let ended =
        |state: Option<&k8s_openapi::api::core::v1::ContainerState>| state.and_then(|state| state.terminated.clone());
    let terminated = ended(container.state.as_ref()).or_else(|| ended(container.last_state.as_ref()))?;
    let last_line = last_line(&terminated).unwrap_or("no message");
    let why = terminated.reason.as_deref().unwrap_or("Error");
    if why == "OOMKilled" {
        let message = format!(
            "pod {} needs more memory than its limit: raise resources.limits.memory of its tier",
            pod.name_any()
        );
        return Some(Cause { reason: TierReason::CrashLoop, message });
    }
    let message = format!("pod {} ended with {} ({why}): {}", pod.name_any(), terminated.exit_code, shorten(last_line));
    Some(Cause { reason: TierReason::CrashLoop, message })
}

fn shorten(text: &str) -> String {
    container::shorten(text, LONGEST)
}
