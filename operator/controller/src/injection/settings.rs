//! How the pods of a pipeline are injected, before a pod's own wishes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veneur_operator_api::VeneurPipeline;

/// How a pod takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// An init container that runs on: it starts before the application and ends after it.
    Native,
    /// A container beside the application's.
    Classic,
    /// No container: the variables point at the agent of the pod's node.
    EnvOnly,
}

/// What a sidecar listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Uds,
    Both,
}

impl Transport {
    pub(super) fn has_udp(self) -> bool {
        self != Self::Uds
    }

    pub(super) fn has_uds(self) -> bool {
        self != Self::Udp
    }
}

/// Which of a pod's annotations are heeded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) resources: bool,
    pub(super) tags: bool,
    pub(super) transport: bool,
    pub(super) containers: bool,
    pub(super) log_level: bool,
}

/// Where pods without a sidecar send.
#[derive(Debug, Clone)]
pub(super) enum NodeAgent {
    /// To a Service that leads to the agent of the same node.
    Service(String),
    /// To a port of the node.
    HostPort,
}

/// How the pods of a pipeline are injected.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) transport: Transport,
    /// `DogStatsD` over UDP; clients are pointed at the last one.
    pub(super) ports: Vec<u16>,
    pub(super) socket: String,
    pub(super) statsd_addr: bool,
    pub(super) datadog: bool,
    pub(super) init_containers: bool,
    pub(super) preserve_qos: bool,
    pub(super) allowed: Allowed,
    pub(super) node: Option<NodeAgent>,
    /// Labels of the pod and the tags that are made of them.
    pub(super) from_pod_labels: Vec<(String, String)>,
}

impl Settings {
    pub(super) fn of(_pipeline: &VeneurPipeline) -> Self {
        Self {
            mode: Mode::Native,
            transport: Transport::Both,
            ports: vec![8126, 8125],
            socket: "/var/run/veneur/dsd.sock".to_owned(),
            statsd_addr: true,
            datadog: true,
            init_containers: true,
            preserve_qos: true,
            allowed: Allowed { resources: true, tags: true, transport: true, containers: true, log_level: true },
            node: None,
            from_pod_labels: Vec::new(),
        }
    }

    /// The folder of the socket, which the containers share.
    pub(super) fn folder(&self) -> String {
        let folder = Path::new(&self.socket).parent().and_then(Path::to_str);
        folder.filter(|folder| !folder.is_empty()).unwrap_or("/").to_owned()
    }

    /// The port that clients are pointed at: the last, which is their own default unless the pod says otherwise.
    pub(super) fn client_port(&self) -> u16 {
        self.ports.last().copied().unwrap_or(8125)
    }
}

/// A variable with its value.
pub(super) fn variable(name: &str, value: impl Into<String>) -> Value {
    json!({"name": name, "value": value.into()})
}
