//! The Deployments of proxies and globals.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::TopologySpreadConstraint,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Validated, pod::Pods, tier_metadata};
use crate::labels::{self, Role};

/// How new pods take the place of old ones.
pub(super) enum Replacement {
    /// So many more than wanted, and never one fewer.
    Surge(IntOrString),
    /// Old ones first.
    Recreate,
}

/// A Deployment of these pods. Where an autoscaler says how many, the number is not the operator's to write.
pub(super) fn deployment(pipeline: &Validated, mut pods: Pods<'_>, replacement: Replacement) -> Deployment {
    let role = pods.role;
    let selector = selector(pipeline, role);
    let settings = pods.settings;
    pods.pod.topology_spread_constraints = Some(match settings.spread.as_slice() {
        [] => spread(&selector),
        given => given.iter().map(|constraint| of_tier(constraint, &selector)).collect(),
    });
    Deployment {
        metadata: tier_metadata(pipeline, role),
        spec: Some(DeploymentSpec {
            replicas: settings.replicas,
            min_ready_seconds: Some(2),
            strategy: Some(match replacement {
                Replacement::Surge(surge) => DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_unavailable: Some(IntOrString::Int(0)),
                        max_surge: Some(surge),
                    }),
                },
                Replacement::Recreate => {
                    DeploymentStrategy { type_: Some("Recreate".to_owned()), ..DeploymentStrategy::default() }
                }
            }),
            selector,
            template: pods.template(pipeline),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// Selects the pods of a tier.
pub(super) fn selector(pipeline: &Validated, role: Role) -> LabelSelector {
    LabelSelector { match_labels: Some(labels::selector(&pipeline.name, role)), ..LabelSelector::default() }
}

fn of_tier(constraint: &TopologySpreadConstraint, selector: &LabelSelector) -> TopologySpreadConstraint {
    let label_selector = constraint.label_selector.clone().or_else(|| Some(selector.clone()));
    TopologySpreadConstraint { label_selector, ..constraint.clone() }
}

/// Over zones and nodes where that is possible; a full cluster still gets its pods.
fn spread(selector: &LabelSelector) -> Vec<TopologySpreadConstraint> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector.clone()),
            ..TopologySpreadConstraint::default()
        })
        .to_vec()
}
