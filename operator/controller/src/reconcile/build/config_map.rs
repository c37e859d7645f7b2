//! The tiers' configuration files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use veneur_config::{followed, to_yaml};

use super::{Validated, configuration, metadata};
use crate::{
    labels::{Role, config_name},
    reconcile::revision,
};

/// A file for each tier there is.
pub(super) fn config_map(pipeline: &Validated) -> ConfigMap {
    let proxy = pipeline.proxy.as_ref().map(|proxy| to_yaml(&configuration::proxy(pipeline, proxy)));
    let global = pipeline.global.as_ref().map(|global| to_yaml(&configuration::global(pipeline, global)));
    let node = pipeline.node.as_ref().map(|node| to_yaml(&configuration::node(pipeline, node)));
    let files = [(Role::Proxy, proxy), (Role::Global, global), (Role::Node, node)];
    let data: BTreeMap<String, String> =
        files.into_iter().filter_map(|(role, text)| Some((file(role), text?))).collect();
    ConfigMap {
        metadata: metadata(pipeline, config_name(&pipeline.name), None),
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// Name of a tier's file in the `ConfigMap`.
pub(super) fn file(role: Role) -> String {
    format!("{}.yaml", role.as_str())
}

/// Hash of what running pods cannot take: a change of it replaces them. What they can take, by the data plane's own word,
/// they read from the changed `ConfigMap` within a minute.
pub(super) fn restart_hash<T: veneur_config::Role>(configuration: &T) -> String {
    revision::of(&to_yaml(&followed(configuration, &T::default())))
}
