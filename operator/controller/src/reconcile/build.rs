//! Validated values become Kubernetes objects. Pure: the same values give the same objects, byte for byte.

mod config_map;
mod global;
mod proxy;
mod rbac;
mod service;
mod tier;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::api::ObjectMeta;

use super::validate::Validated;
use crate::labels;

/// Every object of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// Configuration of both tiers.
    pub config_map: ConfigMap,
    /// Identity of the proxies.
    pub service_account: ServiceAccount,
    /// What it may do.
    pub role: Role,
    /// Gives it to them.
    pub role_binding: RoleBinding,
    /// Where sidecars forward to.
    pub proxy_service: Service,
    /// Whose slices list the members of the ring.
    pub global_service: Service,
    /// The globals.
    pub global: Deployment,
    /// The proxies.
    pub proxy: Deployment,
}

/// Every object of a pipeline.
pub fn build(pipeline: &Validated) -> Resources {
    let configuration = config_map::Configuration::of(pipeline);
    Resources {
        service_account: rbac::service_account(pipeline),
        role: rbac::role(pipeline),
        role_binding: rbac::role_binding(pipeline),
        proxy_service: service::proxy(pipeline),
        global_service: service::global(pipeline),
        global: global::deployment(pipeline, &configuration.global),
        proxy: proxy::deployment(pipeline, &configuration.proxy),
        config_map: config_map::config_map(pipeline, configuration),
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

#[cfg(test)]
mod tests;
