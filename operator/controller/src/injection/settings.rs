//! How the pods of a pipeline are injected, before a pod's own wishes.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veneur_operator_api::{Delivery, Exposure, Override, Sidecar, SidecarMode, Transport, VeneurPipeline};

use super::id;

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
    /// The spec's, with a pod's wishes for transport and ports put into it.
    pub(super) sidecar: Sidecar,
    pub(super) mode: Mode,
    pub(super) node: Option<NodeAgent>,
    /// Labels of the pod and the tags that are made of them.
    pub(super) from_pod_labels: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn of(pipeline: &VeneurPipeline) -> Self {
        let (spec, (namespace, name)) = (&pipeline.spec, id(pipeline));
        let node = spec.node.enabled.then(|| match spec.node.exposure {
            Exposure::Service => NodeAgent::Service(format!("{name}-node.{namespace}.svc")),
            Exposure::HostPort => NodeAgent::HostPort,
        });
        let mode = match spec.sidecar.mode {
            _ if !spec.sidecar.enabled => Mode::EnvOnly,
            // Every kubelet that this operator runs with knows native sidecars.
            SidecarMode::Native | SidecarMode::Auto => Mode::Native,
            SidecarMode::Classic => Mode::Classic,
        };
        Self { sidecar: spec.sidecar.clone(), mode, node, from_pod_labels: spec.tags.from_pod_labels.clone() }
    }

    pub(super) fn allows(&self, which: Override) -> bool {
        self.sidecar.allow_overrides.contains(&which)
    }

    pub(super) fn has_udp(&self) -> bool {
        self.sidecar.transport != Transport::Uds
    }

    pub(super) fn has_uds(&self) -> bool {
        self.sidecar.transport != Transport::Udp
    }

    pub(super) fn is_direct(&self) -> bool {
        self.sidecar.delivery == Delivery::Direct
    }

    /// Ports for `DogStatsD` over UDP.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        let ports = self.sidecar.ports.iter().filter(|_| self.has_udp());
        ports.filter_map(|port| u16::try_from(*port).ok())
    }

    /// The port that clients are pointed at: the last, which is their own default unless someone said otherwise.
    pub(super) fn client_port(&self) -> Option<u16> {
        self.ports().last()
    }

    pub(super) fn socket(&self) -> &str {
        &self.sidecar.uds.path
    }

    /// The folder of the socket, which the containers share.
    pub(super) fn folder(&self) -> String {
        let folder = Path::new(self.socket()).parent().and_then(Path::to_str);
        folder.filter(|folder| !folder.is_empty()).unwrap_or("/").to_owned()
    }
}

/// A variable with its value.
pub(super) fn variable(name: &str, value: impl Into<String>) -> Value {
    json!({"name": name, "value": value.into()})
}
