//! Where the application's client finds the sidecar: the variables that the common clients read.
//!
//! A variable in the container's `env` is left as it is, and so are the others of its client. What comes from `envFrom`
//! or the image cannot be seen here, and `env` wins over it. `DD_ENTITY_ID` is never set: clients send it as a tag, and
//! every context would be one of its pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    patch::Patch,
    pod::{Pod, is_mesh, name},
    sidecar,
};

/// Variables and values, by client. In front of the application's own, so that those may refer to them as
/// `$(STATSD_ADDR)`.
///
/// Those of one client are one address: where the application sets one, another of ours beside it would point the
/// client half here and half there, and `DD_DOGSTATSD_URL` would win over its `DD_AGENT_HOST`.
const GROUPS: [&[(&str, &str)]; 2] = [
    &[("STATSD_ADDR", "127.0.0.1:8125")],
    &[("DD_AGENT_HOST", "127.0.0.1"), ("DD_DOGSTATSD_PORT", "8125"), ("DD_DOGSTATSD_URL", "udp://127.0.0.1:8125")],
];

/// Who got variables and which were there before.
#[derive(Default)]
pub(super) struct Environment {
    /// Names of the containers, init containers first.
    pub(super) containers: Vec<String>,
    /// Variables that some container already had, and that kept others from being added.
    pub(super) kept: BTreeSet<String>,
}

/// Adds the variables to the application's containers and to the init containers that start after the sidecar. The
/// patch refers to positions before the sidecar is placed.
pub(super) fn add(pod: &Pod<'_>, patch: &mut Patch) -> Environment {
    let mut environment = Environment::default();
    let before_sidecar = pod.sidecar_position();
    let init = pod.init().iter().enumerate().filter(|(_, container)| name(container) != sidecar::NAME);
    for (_, (index, container)) in init.enumerate().skip(before_sidecar) {
        of_container("initContainers", index, container, &mut environment, patch);
    }
    for (index, container) in pod.containers.iter().enumerate().filter(|(_, container)| !is_mesh(container)) {
        of_container("containers", index, container, &mut environment, patch);
    }
    environment
}

fn of_container(list: &str, index: usize, container: &Value, environment: &mut Environment, patch: &mut Patch) {
    let present = container.get("env").and_then(Value::as_array);
    let current = |wanted: &str| present.into_iter().flatten().find(|variable| name(variable) == wanted);
    let mut missing = Vec::new();
    for group in GROUPS {
        let had: Vec<&str> =
            group.iter().map(|(variable, _)| *variable).filter(|variable| current(variable).is_some()).collect();
        let is_ours = |(variable, value): &(&str, &str)| {
            current(variable).is_some_and(|present| present.get("value").and_then(Value::as_str) == Some(value))
        };
        if had.is_empty() {
            missing.extend(group.iter().map(|(variable, value)| json!({"name": variable, "value": value})));
        } else if !group.iter().all(is_ours) {
            environment.kept.extend(had.into_iter().map(str::to_owned));
        }
    }
    if !missing.is_empty() {
        patch.prepend_env(list, index, present.is_some(), missing);
    }
    environment.containers.push(name(container).to_owned());
}
