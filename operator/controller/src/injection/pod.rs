//! A pod as the API server sent it, read in place.

use serde_json::{Map, Value};

use super::sidecar;

/// Containers of service meshes: they start before the sidecar and stop after it.
const MESH: [&str; 6] =
    ["istio-init", "istio-validation", "istio-proxy", "linkerd-init", "linkerd-network-validator", "linkerd-proxy"];

/// Labels of nodes with their system: today's, and the one that older manifests use.
const OS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];

/// The value is no pod that the API server would accept.
pub(super) struct NoPod;

/// The parts of a pod that injection reads. Missing and `null` are the same.
pub(super) struct Pod<'a> {
    pub(super) labels: Option<&'a Map<String, Value>>,
    pub(super) annotations: Option<&'a Map<String, Value>>,
    pub(super) containers: &'a Vec<Value>,
    pub(super) init_containers: Option<&'a Vec<Value>>,
    pub(super) volumes: Option<&'a Vec<Value>>,
    metadata: &'a Map<String, Value>,
    spec: &'a Map<String, Value>,
}

/// Where a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// `containers` or `initContainers`.
    pub(super) list: &'static str,
    pub(super) index: usize,
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
            metadata,
            spec,
        };
        for container in read.all_containers() {
            let container = container.as_object().ok_or(NoPod)?;
            list(container, "env")?;
            list(container, "volumeMounts")?;
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

    /// The containers named as ours.
    pub(super) fn sidecars(&self) -> Vec<Spot> {
        let within = |list: &'static str, containers: &'a [Value]| {
            let ours = containers.iter().enumerate().filter(|(_, container)| name(container) == sidecar::NAME);
            ours.map(move |(index, _)| Spot { list, index })
        };
        within("initContainers", self.init()).chain(within("containers", self.containers)).collect()
    }

    pub(super) fn at(&self, spot: Spot) -> &'a Value {
        let list = if spot.list == "containers" { self.containers.as_slice() } else { self.init() };
        &list[spot.index]
    }

    /// Where it belongs among the init containers, counted without it.
    pub(super) fn sidecar_position(&self) -> usize {
        let others = self.init().iter().filter(|container| name(container) != sidecar::NAME);
        others.enumerate().filter(|(_, container)| is_mesh(container)).map(|(index, _)| index + 1).last().unwrap_or(0)
    }

    pub(super) fn has_volume(&self, wanted: &str) -> bool {
        self.volumes.into_iter().flatten().any(|volume| name(volume) == wanted)
    }

    /// The system the pod asks for, where it is not Linux: by itself, or by the nodes that it may run on.
    pub(super) fn other_os(&self) -> Option<&'a str> {
        let os = self.spec.get("os").and_then(|os| os.get("name"));
        let selected = OS.iter().filter_map(|label| self.spec.get("nodeSelector")?.get(label));
        let said = os.into_iter().chain(selected).filter_map(Value::as_str);
        said.chain(self.required_os()).find(|os| *os != "linux")
    }

    /// The system of the nodes that the pod's affinity requires, where none of these runs Linux.
    fn required_os(&self) -> Option<&'a str> {
        let affinity = self.spec.get("affinity")?.get("nodeAffinity")?;
        let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")?;
        // A node has to match one of the terms, and of that every expression.
        let terms = required.get("nodeSelectorTerms")?.as_array()?;
        let systems: Option<Vec<&str>> = terms.iter().map(other_os_of_term).collect();
        systems?.first().copied()
    }

    pub(super) fn on_host_network(&self) -> bool {
        self.spec.get("hostNetwork").and_then(Value::as_bool) == Some(true)
    }

    /// Whether its containers run as root unless they say otherwise.
    pub(super) fn runs_as_root(&self) -> bool {
        let user = self.spec.get("securityContext").and_then(|context| context.get("runAsUser"));
        user.and_then(Value::as_i64) == Some(0)
    }

    pub(super) fn dns_policy(&self) -> &'a str {
        self.text("dnsPolicy").unwrap_or("ClusterFirst")
    }

    /// Whether its containers' resources are bounded together.
    pub(super) fn has_own_resources(&self) -> bool {
        self.spec.get("resources").and_then(Value::as_object).is_some_and(|resources| !resources.is_empty())
    }

    /// What makes the pod one that is to end, if it is.
    pub(super) fn ends(&self) -> Option<&'static str> {
        let owners = self.metadata.get("ownerReferences").and_then(Value::as_array);
        let of_job = |owner: &Value| owner.get("kind").and_then(Value::as_str) == Some("Job");
        if owners.is_some_and(|owners| owners.iter().any(of_job)) {
            return Some("belongs to a Job");
        }
        match self.text("restartPolicy") {
            Some("Never") => Some("has restartPolicy Never"),
            Some("OnFailure") => Some("has restartPolicy OnFailure"),
            _ => None,
        }
    }

    /// The first container, ours aside, that declares one of these ports, and the port.
    pub(super) fn taken(&self, ports: &[(u16, &'static str)]) -> Option<(&'a str, String)> {
        let others = self.all_containers().filter(|container| name(container) != sidecar::NAME);
        others.into_iter().find_map(|container| {
            let declared = container.get("ports")?.as_array()?;
            declared.iter().find_map(|port| {
                let number = port.get("containerPort")?.as_u64()?;
                let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                let taken = ports.iter().any(|(own, of)| u64::from(*own) == number && *of == protocol);
                taken.then(|| (name(container), format!("{number}/{protocol}")))
            })
        })
    }

    pub(super) fn grace_seconds(&self) -> u64 {
        self.spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.spec.get(key).and_then(Value::as_str)
    }

    pub(super) fn all_containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.containers.iter().chain(self.init())
    }
}

/// The system that a term of an affinity asks for by name, where Linux is none of those that it names.
fn other_os_of_term(term: &Value) -> Option<&str> {
    term.get("matchExpressions")?.as_array()?.iter().find_map(|expression| {
        let text = |key: &str| expression.get(key).and_then(Value::as_str);
        text("key").filter(|key| OS.contains(key))?;
        text("operator").filter(|operator| *operator == "In")?;
        let systems: Vec<&str> = expression.get("values")?.as_array()?.iter().filter_map(Value::as_str).collect();
        systems.first().copied().filter(|_| !systems.contains(&"linux"))
    })
}

/// Name of a container or volume; empty where it has none.
pub(super) fn name(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn is_mesh(container: &Value) -> bool {
    MESH.contains(&name(container))
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
