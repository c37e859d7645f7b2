//! Where the application's client finds the sidecar: the variables that the common clients read, and the folder with the
//! socket.
//!
//! A variable in the container's `env` is left as it is, and so are the others of its client. What comes from `envFrom`
//! or the image cannot be seen here, and `env` wins over it. `DD_ENTITY_ID` is never set: clients send it as a tag, and
//! every context would be one of its pod.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    annotations::Wishes,
    patch::Patch,
    pod::{Pod, is_mesh, name},
    settings::{Mode, NodeAgent, Settings, variable},
    sidecar,
};

/// Port of a node's agent.
const NODE_PORT: u16 = 8125;

/// Who got variables and which were there before.
#[derive(Default)]
pub(super) struct Environment {
    /// Names of the containers, init containers first.
    pub(super) containers: Vec<String>,
    /// Variables that some container already had, and that kept others from being added.
    pub(super) kept: BTreeSet<String>,
    /// What a container did not get, and why.
    pub(super) notes: Vec<String>,
}

/// Adds the variables to the application's containers and to the init containers that start after the sidecar. The
/// patch refers to positions before the sidecar is placed.
pub(super) fn add(pod: &Pod<'_>, settings: &Settings, wishes: &Wishes, patch: &mut Patch) -> Environment {
    let mut environment = Environment::default();
    let chosen = |container: &Value, only: Option<&BTreeSet<String>>| {
        let called = name(container);
        called != sidecar::NAME
            && !is_mesh(container)
            && only.is_none_or(|only| only.contains(called))
            && !wishes.exclude_containers.contains(called)
    };
    // An init container that runs before the sidecar has nobody to send to; one of a classic sidecar always does.
    let init_from = if settings.mode == Mode::Native { pod.sidecar_position() } else { 0 };
    let init_wanted =
        settings.mode != Mode::Classic && (settings.sidecar.env.init_containers || wishes.init_containers.is_some());
    let init = pod.init().iter().enumerate().filter(|(_, container)| name(container) != sidecar::NAME);
    for (_, (index, container)) in init.enumerate().skip(init_from).filter(|_| init_wanted) {
        if chosen(container, wishes.init_containers.as_ref()) {
            of_container("initContainers", index, container, settings, wishes, &mut environment, patch);
        }
    }
    for (index, container) in pod.containers.iter().enumerate() {
        if chosen(container, wishes.containers.as_ref()) {
            of_container("containers", index, container, settings, wishes, &mut environment, patch);
        }
    }
    environment
}

fn of_container(
    list: &str,
    index: usize,
    container: &Value,
    settings: &Settings,
    wishes: &Wishes,
    environment: &mut Environment,
    patch: &mut Patch,
) {
    let called = name(container);
    let mut socket = settings.mode != Mode::EnvOnly && settings.has_uds();
    if socket {
        let folder = settings.folder();
        let mounts = container.get("volumeMounts").and_then(Value::as_array);
        let at = |mount: &&Value| mount.get("mountPath").and_then(Value::as_str) == Some(folder.as_str());
        match mounts.into_iter().flatten().find(at) {
            None => {
                let mount = json!({"name": sidecar::SOCKET_VOLUME, "mountPath": folder, "readOnly": true});
                patch.append_mount(list, index, mounts.is_some(), mount);
            }
            Some(mount) if name(mount) == sidecar::SOCKET_VOLUME => {}
            Some(_) => {
                socket = false;
                environment.notes.push(format!("{called}: mounts something else at {folder}, so it gets no socket"));
            }
        }
    }
    let present = container.get("env").and_then(Value::as_array);
    let current = |wanted: &Value| present.into_iter().flatten().find(|variable| name(variable) == name(wanted));
    let mut missing = Vec::new();
    for mut group in groups(settings, socket) {
        group.retain(|variable| !wishes.env_skip.contains(name(variable)));
        let had: Vec<&Value> = group.iter().filter_map(current).collect();
        if had.is_empty() {
            missing.extend(group);
        } else if !group.iter().all(|wanted| current(wanted) == Some(wanted)) {
            environment.kept.extend(had.into_iter().map(|variable| name(variable).to_owned()));
        }
    }
    if !missing.is_empty() {
        patch.prepend_env(list, index, present.is_some(), missing);
    }
    environment.containers.push(called.to_owned());
}

/// Variables by client. In front of the application's own, so that those may refer to them as `$(STATSD_ADDR)`.
///
/// Those of one client are one address: where the application sets one, another of ours beside it would point the
/// client half here and half there, and `DD_DOGSTATSD_URL` would win over its `DD_AGENT_HOST`.
fn groups(settings: &Settings, socket: bool) -> Vec<Vec<Value>> {
    let mut groups = Vec::new();
    let mut host = variable("DD_AGENT_HOST", "127.0.0.1");
    let (mut address, mut udp) = ("127.0.0.1".to_owned(), settings.client_port());
    if settings.mode == Mode::EnvOnly {
        udp = Some(NODE_PORT);
        match &settings.node {
            Some(NodeAgent::Service(service)) => {
                host = variable("DD_AGENT_HOST", service.as_str());
                address.clone_from(service);
            }
            Some(NodeAgent::HostPort) => {
                host = json!({"name": "DD_AGENT_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}});
                // The node's address is known to the kubelet alone, which puts it into what follows.
                groups.push(vec![json!({
                    "name": NODE_ADDRESS,
                    "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}},
                })]);
                address = format!("$({NODE_ADDRESS})");
            }
            None => return groups,
        }
    }
    let clients = &settings.sidecar.env;
    if let Some(port) = udp.filter(|_| clients.statsd_addr) {
        groups.push(vec![variable("STATSD_ADDR", format!("{address}:{port}"))]);
    }
    if !clients.datadog {
        return groups;
    }
    let mut datadog = Vec::new();
    if let Some(port) = udp {
        datadog.extend([host, variable("DD_DOGSTATSD_PORT", port.to_string())]);
    }
    let socket = socket.then(|| format!("unix://{}", settings.socket()));
    let url = socket.or_else(|| udp.map(|port| format!("udp://{address}:{port}")));
    datadog.extend(url.map(|url| variable("DD_DOGSTATSD_URL", url)));
    groups.push(datadog);
    groups
}

/// Address of the pod's node.
const NODE_ADDRESS: &str = "VENEUR_NODE_ADDRESS";
