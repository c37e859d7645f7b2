//! Where the application's client finds the sidecar: the variables that the common clients read.
//!
//! A variable that the container already has is left as it is. `DD_ENTITY_ID` is never set: clients send it as a tag,
//! and every context would be one of its pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    patch::Patch,
    pod::{Pod, is_mesh, name},
    sidecar,
};

/// Variables and values. In front of the application's own, so that those may refer to them as `$(STATSD_ADDR)`.
const VARIABLES: [(&str, &str); 4] = [
    ("STATSD_ADDR", "127.0.0.1:8125"),
    ("DD_AGENT_HOST", "127.0.0.1"),
    ("DD_DOGSTATSD_PORT", "8125"),
    ("DD_DOGSTATSD_URL", "udp://127.0.0.1:8125"),
];

/// Who got variables and which were there before.
#[derive(Default)]
pub(super) struct Environment {
    /// Names of the containers, init containers first.
    pub(super) containers: Vec<String>,
    /// Variables that some container already had with another value.
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
    for (variable, value) in VARIABLES {
        match current(variable) {
            None => missing.push(json!({"name": variable, "value": value})),
            Some(other) if other.get("value").and_then(Value::as_str) == Some(value) => {}
            Some(_) => {
                environment.kept.insert(variable.to_owned());
            }
        }
    }
    if !missing.is_empty() {
        patch.prepend_env(list, index, present.is_some(), missing);
    }
    environment.containers.push(name(container).to_owned());
}
