//! A pod as the API server sent it, read in place.

use serde_json::{Map, Value};

use super::{Skip, SkipReason, sidecar};

/// Containers of service meshes: they start before the sidecar and stop after it.
const MESH: [&str; 6] =
    ["istio-init", "istio-validation", "istio-proxy", "linkerd-init", "linkerd-network-validator", "linkerd-proxy"];

/// The value is no pod that the API server would accept.
pub(super) struct NoPod;

/// The parts of a pod that injection reads. Missing and `null` are the same.
pub(super) struct Pod<'a> {
    pub(super) labels: Option<&'a Map<String, Value>>,
    pub(super) annotations: Option<&'a Map<String, Value>>,
    pub(super) containers: &'a Vec<Value>,
    pub(super) init_containers: Option<&'a Vec<Value>>,
    pub(super) volumes: Option<&'a Vec<Value>>,
    spec: &'a Map<String, Value>,
}

impl<'a> Pod<'a> {
    /// Reads a pod whose parts that a patch would touch have the shape of a pod's.
    pub(super) fn read(pod: &'a Value) -> Result<Self, NoPod> {
        let metadata = pod.get("metadata").and_then(Value::as_object).ok_or(NoPod)?;
        let spec = pod.get("spec").and_then(Value::as_object).ok_or(NoPod)?;
        let read = Self {
            labels: map(metadata, "labels")?,
            annotations: map(metadata, "annotations")?,
            containers: list(spec, "containers")?.ok_or(NoPod)?,
            init_containers: list(spec, "initContainers")?,
            volumes: list(spec, "volumes")?,
            spec,
        };
        for container in read.all_containers() {
            list(container.as_object().ok_or(NoPod)?, "env")?;
        }
        Ok(read)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations?.get(key)?.as_str()
    }

    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        self.labels?.get(key)?.as_str()
    }

    /// Init containers; none where there is no list.
    pub(super) fn init(&self) -> &'a [Value] {
        self.init_containers.map_or(&[], Vec::as_slice)
    }

    /// Where the sidecar is among the init containers.
    pub(super) fn sidecar(&self) -> Option<usize> {
        self.init().iter().position(|container| name(container) == sidecar::NAME)
    }

    /// Where it belongs, counted without it.
    pub(super) fn sidecar_position(&self) -> usize {
        let others = self.init().iter().filter(|container| name(container) != sidecar::NAME);
        others.enumerate().filter(|(_, container)| is_mesh(container)).map(|(index, _)| index + 1).last().unwrap_or(0)
    }

    /// Whether a container bears our name without being ours.
    pub(super) fn has_foreign_sidecar(&self, stamped: bool) -> bool {
        let in_containers = self.containers.iter().any(|container| name(container) == sidecar::NAME);
        in_containers || (!stamped && self.sidecar().is_some())
    }

    pub(super) fn has_volume(&self, wanted: &str) -> bool {
        self.volumes.into_iter().flatten().any(|volume| name(volume) == wanted)
    }

    /// Whether a sidecar can work in this pod at all.
    pub(super) fn fits(&self) -> Result<(), Skip> {
        let os = self.spec.get("os").and_then(|os| os.get("name")).and_then(Value::as_str);
        let node_os = self.spec.get("nodeSelector").and_then(|nodes| nodes.get("kubernetes.io/os"));
        if let Some(os) = os.or_else(|| node_os.and_then(Value::as_str)).filter(|os| *os != "linux") {
            return Err(SkipReason::UnsupportedOS.because(format!("the pod runs on {os}, the sidecar on linux only")));
        }
        if self.spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
            let detail = "the pod uses the node's network, where two sidecars cannot share a port";
            return Err(SkipReason::HostNetworkPortConflict.because(detail));
        }
        if self.spec.get("resources").and_then(Value::as_object).is_some_and(|resources| !resources.is_empty()) {
            let detail = "the pod sets spec.resources, which would have to hold the sidecar's too";
            return Err(SkipReason::PodLevelResources.because(detail));
        }
        match self.all_containers().filter(|container| name(container) != sidecar::NAME).find_map(taken_port) {
            Some((container, port)) => {
                let detail = format!("container {container:?} declares port {port}, which the sidecar listens on");
                Err(SkipReason::PortInUse.because(detail))
            }
            None => Ok(()),
        }
    }

    fn all_containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.containers.iter().chain(self.init())
    }
}

/// Name of a container or volume; empty where it has none.
pub(super) fn name(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is_mesh(container: &Value) -> bool {
    MESH.contains(&name(container))
}

fn taken_port(container: &Value) -> Option<(&str, String)> {
    let ports = container.get("ports")?.as_array()?;
    ports.iter().find_map(|port| {
        let number = port.get("containerPort")?.as_u64()?;
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        sidecar::listens_on(number, protocol).then(|| (name(container), format!("{number}/{protocol}")))
    })
}

/// A map, or nothing where it is missing.
fn map<'a>(parent: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>, NoPod> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_object().map(Some).ok_or(NoPod),
    }
}

/// A list, or nothing where it is missing.
fn list<'a>(parent: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Vec<Value>>, NoPod> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_array().map(Some).ok_or(NoPod),
    }
}
