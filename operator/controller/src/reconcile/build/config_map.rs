//! Configuration of the tiers: the data plane's own types, serialised.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use veneur_config::{Endpoints, Proxy, Server, to_yaml};

use super::{Validated, metadata};
use crate::labels::{ADMIN_PORT, IMPORT_PORT, IMPORT_PORT_NAME, Role, config_name, import_address, tier_name};

/// The tiers' configuration files.
pub(super) struct Configuration {
    /// `proxy.yaml`.
    pub(super) proxy: String,
    /// `global.yaml`.
    pub(super) global: String,
}

impl Configuration {
    pub(super) fn of(pipeline: &Validated) -> Self {
        Self { proxy: to_yaml(&proxy(pipeline)), global: to_yaml(&global(pipeline)) }
    }
}

pub(super) fn config_map(pipeline: &Validated, configuration: Configuration) -> ConfigMap {
    let Configuration { proxy, global } = configuration;
    ConfigMap {
        metadata: metadata(pipeline, config_name(&pipeline.name), None),
        data: Some(BTreeMap::from([(file(Role::Proxy), proxy), (file(Role::Global), global)])),
        ..ConfigMap::default()
    }
}

/// Name of a tier's file in the `ConfigMap`.
pub(super) fn file(role: Role) -> String {
    format!("{}.yaml", role.as_str())
}

fn proxy(pipeline: &Validated) -> Proxy {
    Proxy {
        grpc_address: format!("0.0.0.0:{IMPORT_PORT}"),
        http_address: format!("0.0.0.0:{ADMIN_PORT}"),
        endpoints: Some(Endpoints {
            namespace: pipeline.namespace.clone(),
            service: tier_name(&pipeline.name, Role::Global),
            port: IMPORT_PORT_NAME.to_owned(),
        }),
        interval: pipeline.interval,
        ..Proxy::default()
    }
}

/// Scope rules and constant tags are left out: they apply where contexts are formed from samples, in the sidecars.
fn global(pipeline: &Validated) -> Server {
    Server {
        interval: pipeline.interval,
        synchronize_with_interval: true,
        percentiles: pipeline.percentiles.clone(),
        aggregates: pipeline.aggregates.clone(),
        grpc_address: format!("0.0.0.0:{IMPORT_PORT}"),
        http_address: format!("0.0.0.0:{ADMIN_PORT}"),
        handover_address: import_address(&pipeline.name, &pipeline.namespace, Role::Proxy),
        metric_sinks: pipeline.sinks.iter().map(|sink| sink.sink.clone()).collect(),
        ..Server::default()
    }
}
