//! How a tier is doing, and if badly, the first real cause.
//!
//! A Deployment only counts; why a pod does not start is said by the pod. Pods are looked at only for a tier that lacks
//! some. The operator reads no Secret: that one is missing is what the kubelet says.

mod cause;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client, api::ListParams};
use veneur_operator_api::{Exposure, TierReason, TierStatus};

use super::{apply::revision_of, validate::Validated};
use crate::{
    feeds::Key,
    kind::Kind,
    labels::{self, DOGSTATSD_PORT, Role},
    live::{Knowledge, Live},
};

/// A tier as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReport {
    /// Counts, for the status; none where the spec has no such tier.
    pub status: Option<TierStatus>,
    /// Whether every pod wanted is available.
    pub available: bool,
    /// Whether all of them are of the newest revision, and no other pod exists.
    pub complete: bool,
    /// Reason in its condition.
    pub reason: TierReason,
    /// Message in its condition.
    pub message: String,
}

impl TierReport {
    /// Of a tier that the spec has not.
    pub fn disabled() -> Self {
        Self {
            status: None,
            available: true,
            complete: true,
            reason: TierReason::Disabled,
            message: "the spec has no such tier".to_owned(),
        }
    }
}

/// Looks at a tier, and at its pods where the Deployment lacks some.
pub async fn observe(
    client: &Client,
    live: &Live,
    pipeline: &Validated,
    role: Role,
    deployment: &Deployment,
) -> Result<TierReport, kube::Error> {
    let pods = if complete(deployment) {
        Vec::new()
    } else if live.knowledge(Kind::Pod) == Knowledge::Listed {
        let pods = live.of_pipeline(Kind::Pod, &Key::new(&*pipeline.namespace, &*pipeline.name));
        let pods = pods.iter().filter_map(crate::live::Stored::read::<Pod>);
        pods.filter(|pod| labels::role_of(&pod.metadata) == Some(role)).collect()
    } else {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pipeline.namespace);
        pods.list(&ListParams::default().labels(&labels::selector_text(&pipeline.name, role))).await?.items
    };
    Ok(report(pipeline, role, deployment, &pods))
}

/// What the counts and the pods say together. Pure.
pub fn report(pipeline: &Validated, role: Role, deployment: &Deployment, pods: &[Pod]) -> TierReport {
    let counts = Counts::of(deployment);
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = template.and_then(|pod| pod.containers.first()).and_then(|container| container.image.clone());
    let status = TierStatus {
        summary: format!("{}/{}", counts.ready, counts.desired),
        desired: counts.desired,
        replicas: counts.existing,
        ready: counts.ready,
        updated: counts.updated,
        unavailable: counts.unavailable,
        image: image.unwrap_or_else(|| pipeline.image.clone()),
        revision: revision_of(deployment),
        service: sent_to(pipeline, role),
        selector: labels::selector_text(&pipeline.name, role),
    };
    let complete = complete(deployment);
    let said = |available, reason: TierReason, message: String| TierReport {
        status: Some(status.clone()),
        available,
        complete,
        reason,
        message,
    };
    if counts.desired == 0 && role == Role::Node {
        let message = "no node is to have one: see node.nodeSelector".to_owned();
        return said(true, TierReason::MinimumReplicasAvailable, message);
    }
    if counts.desired == 0 {
        let message = format!(
            "someone set the replicas to 0: kubectl scale or the autoscaler of {}",
            labels::tier_name(&pipeline.name, role)
        );
        return said(false, TierReason::ScaledToZero, message);
    }
    if complete {
        let message = format!("{} of {} available", counts.available, counts.desired);
        return said(true, TierReason::MinimumReplicasAvailable, message);
    }
    // A cause is reported even while pods of the revision before still serve: the change that was asked for is stuck.
    if let Some(cause) = cause::first(pipeline, deployment, pods) {
        return said(false, cause.reason, cause.message);
    }
    if counts.current && counts.available >= counts.desired {
        let message =
            format!("{} of {} on the newest revision, the others still serve", counts.updated, counts.desired);
        return said(true, TierReason::Progressing, message);
    }
    let message = format!("{} of {} available", counts.available, counts.desired);
    if role == Role::Node && counts.current && counts.existing < counts.desired {
        // Its controller says nowhere but in events why it creates none.
        let agents = labels::tier_name(&pipeline.name, role);
        let hint = format!("{message}; kubectl -n {} describe daemonset {agents} says more", pipeline.namespace);
        return said(false, TierReason::Progressing, hint);
    }
    said(false, TierReason::Progressing, message)
}

/// Where a tier is sent to; for agents behind a port of each node, that node's address.
fn sent_to(pipeline: &Validated, role: Role) -> String {
    let host = labels::tier_host(&pipeline.name, &pipeline.namespace, role);
    match (&pipeline.node, role) {
        (_, Role::Proxy | Role::Global) => labels::import_address(&pipeline.name, &pipeline.namespace, role),
        (Some(node), Role::Node) if node.exposure == Exposure::HostPort => format!("NODE:{DOGSTATSD_PORT}"),
        (_, Role::Node) => format!("{host}:{DOGSTATSD_PORT}"),
    }
}

struct Counts {
    desired: i32,
    /// Of every revision.
    existing: i32,
    ready: i32,
    updated: i32,
    available: i32,
    unavailable: i32,
    /// Whether the counts describe the Deployment's newest spec.
    current: bool,
}

impl Counts {
    fn of(deployment: &Deployment) -> Self {
        let status = deployment.status.as_ref();
        let count = |field: fn(&k8s_openapi::api::apps::v1::DeploymentStatus) -> Option<i32>| {
            status.and_then(field).unwrap_or(0)
        };
        Self {
            desired: deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            existing: count(|status| status.replicas),
            ready: count(|status| status.ready_replicas),
            updated: count(|status| status.updated_replicas),
            available: count(|status| status.available_replicas),
            unavailable: count(|status| status.unavailable_replicas),
            current: status.and_then(|status| status.observed_generation) >= deployment.metadata.generation
                && status.is_some(),
        }
    }
}

/// Whether every pod wanted is available and of the newest revision, as `kubectl rollout status` has it. While a pod of
/// another revision exists, those that are available may be the old ones, and all of the new ones stuck.
pub(super) fn complete(deployment: &Deployment) -> bool {
    let counts = Counts::of(deployment);
    counts.current
        && counts.updated >= counts.desired
        && counts.existing == counts.updated
        && counts.available >= counts.desired
        && counts.unavailable == 0
}

#[cfg(test)]
mod tests;
