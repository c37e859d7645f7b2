//! How many pods of a tier drains of nodes may take away.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Validated, tier::selector, tier_metadata};
use crate::labels::Role;

/// One for proxies and one for globals. An agent of a node goes with its node.
pub(super) fn budgets(pipeline: &Validated) -> Vec<PodDisruptionBudget> {
    let proxy = pipeline.proxy.as_ref().map(|proxy| (Role::Proxy, proxy.tier.max_unavailable));
    let global = pipeline.global.as_ref().map(|global| (Role::Global, global.tier.max_unavailable));
    let budget = |(role, most)| PodDisruptionBudget {
        metadata: tier_metadata(pipeline, role),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(selector(pipeline, role)),
            max_unavailable: Some(IntOrString::Int(most)),
            // A pod that does not work is no reason to keep its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    };
    proxy.into_iter().chain(global).map(budget).collect()
}
