//! Validated values become Kubernetes objects. Pure: the same values give the same objects, byte for byte.

mod autoscaler;
mod budget;
mod certificate;
mod config_map;
pub mod configuration;
mod global;
mod monitoring;
mod network;
mod node;
mod pod;
mod proxy;
mod rbac;
mod service;
mod tier;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::{DynamicObject, ObjectMeta, TypeMeta};
use serde_json::Value;

use super::validate::Validated;
use crate::labels;

pub use certificate::names as certificate_names;

/// Every object of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// Configuration of all tiers.
    pub config_map: ConfigMap,
    /// Identities of proxies and node agents.
    pub service_accounts: Vec<ServiceAccount>,
    /// What proxies may do, where they look for globals.
    pub role: Option<Role>,
    /// Gives it to them.
    pub role_binding: Option<RoleBinding>,
    /// Where each tier is found.
    pub services: Vec<Service>,
    /// cert-manager's order for the tiers' certificate, where it makes them.
    pub certificate: Option<DynamicObject>,
    /// Who may speak to each tier.
    pub network_policies: Vec<NetworkPolicy>,
    /// How many pods of a tier drains may take away.
    pub budgets: Vec<PodDisruptionBudget>,
    /// The globals.
    pub global: Option<Deployment>,
    /// The proxies.
    pub proxy: Option<Deployment>,
    /// The agents of nodes.
    pub node: Option<DaemonSet>,
    /// Who says how many pods a tier has.
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    /// How Prometheus finds the tiers, if the cluster knows the kind.
    pub pod_monitor: Option<DynamicObject>,
}

/// Every object of a pipeline.
pub fn build(pipeline: &Validated) -> Resources {
    Resources {
        config_map: config_map::config_map(pipeline),
        service_accounts: rbac::service_accounts(pipeline),
        role: rbac::role(pipeline),
        role_binding: rbac::role_binding(pipeline),
        services: service::services(pipeline),
        certificate: certificate::certificate(pipeline),
        network_policies: network::policies(pipeline),
        budgets: budget::budgets(pipeline),
        global: global::deployment(pipeline),
        proxy: proxy::deployment(pipeline),
        node: node::daemon_set(pipeline),
        autoscalers: autoscaler::autoscalers(pipeline),
        pod_monitor: monitoring::pod_monitor(pipeline),
    }
}

/// Metadata of an object of the pipeline: owned by it, so that both go together.
fn metadata(pipeline: &Validated, name: String, role: Option<labels::Role>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pipeline.namespace.clone()),
        labels: Some(labels::labels(&pipeline.name, role)),
        owner_references: pipeline.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object of a tier that is named after it.
fn tier_metadata(pipeline: &Validated, role: labels::Role) -> ObjectMeta {
    metadata(pipeline, labels::tier_name(&pipeline.name, role), Some(role))
}

/// An object of a kind that only some clusters know.
fn foreign(api_version: &str, kind: &str, metadata: ObjectMeta, spec: &Value) -> DynamicObject {
    DynamicObject {
        types: Some(TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() }),
        metadata,
        data: serde_json::json!({ "spec": spec }),
    }
}

#[cfg(test)]
mod tests;
