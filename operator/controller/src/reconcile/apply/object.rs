//! A desired object, whatever its kind.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentSpec, DeploymentStatus};
use kube::{
    Resource,
    api::{DynamicObject, ObjectMeta},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    kind::Kind,
    labels::ROLE,
    reconcile::{build::Resources, revision},
};

/// Annotation: hash of the object as it was applied. Another one means that another spec, or another version of the
/// operator, made it.
const APPLIED: &str = "veneur.dev/applied";
/// The same as a JSON pointer.
pub(super) const APPLIED_POINTER: &str = "/metadata/annotations/veneur.dev~1applied";
/// Annotation of a Deployment: hash of its pod template.
const REVISION: &str = "veneur.dev/revision";
/// The same as a JSON pointer.
pub(super) const REVISION_POINTER: &str = "/metadata/annotations/veneur.dev~1revision";

/// An object as the spec wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Hash of it, without the annotations that are added here.
    pub hash: String,
    /// Hash of its pod template, where it has one.
    pub revision: Option<String>,
    /// The whole object, with `apiVersion` and `kind`.
    pub json: Value,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

impl Object {
    /// Every object of a pipeline, those that others refer to first: configuration and identity before pods, so that no
    /// pod waits for them; globals before proxies, so that a new proxy finds its members.
    pub fn all_of(resources: &Resources) -> Vec<Self> {
        // Without `..`, so that a new kind cannot be forgotten here.
        let Resources {
            config_map,
            service_accounts,
            role,
            role_binding,
            services,
            certificate,
            network_policies,
            budgets,
            global,
            proxy,
            node,
            autoscalers,
            pod_monitor,
        } = resources;
        let mut objects = vec![Self::of(config_map)];
        objects.extend(service_accounts.iter().map(Self::of));
        objects.extend(role.iter().map(Self::of));
        objects.extend(role_binding.iter().map(Self::of));
        objects.extend(services.iter().map(Self::of));
        objects.extend(certificate.iter().filter_map(Self::of_others));
        objects.extend(network_policies.iter().map(Self::of));
        objects.extend(budgets.iter().map(Self::of));
        objects.extend(global.iter().map(Self::of));
        objects.extend(proxy.iter().map(Self::of));
        objects.extend(node.iter().map(Self::of));
        objects.extend(autoscalers.iter().map(Self::of));
        objects.extend(pod_monitor.iter().filter_map(Self::of_others));
        objects
    }

    /// One object.
    pub fn of<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        let kind = Kind::of(&K::kind(&())).expect("`build` makes only kinds that are watched");
        Self::marked(kind, object.meta(), serde_json::to_value(object).expect("Kubernetes' types are plain JSON"))
    }

    /// One object of a kind that is not Kubernetes' own.
    fn of_others(object: &DynamicObject) -> Option<Self> {
        let kind = Kind::of(&object.types.as_ref()?.kind)?;
        Some(Self::marked(kind, &object.metadata, serde_json::to_value(object).expect("it is JSON already")))
    }

    fn marked(kind: Kind, meta: &ObjectMeta, mut json: Value) -> Self {
        let hash = revision::of(&json.to_string());
        let revision = json.pointer("/spec/template").map(|template| revision::of(&template.to_string()));
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let annotations = &mut json["metadata"]["annotations"];
        if annotations.is_null() {
            *annotations = json!({});
        }
        annotations[APPLIED] = json!(hash);
        if let Some(revision) = &revision {
            annotations[REVISION] = json!(revision);
        }
        Self { kind, namespace, name, hash, revision, json }
    }

    /// The tier it belongs to.
    pub(super) fn role(&self) -> Option<&str> {
        self.json["metadata"]["labels"][ROLE].as_str()
    }
}

/// A Deployment with the counts of a `DaemonSet`: whoever looks at tiers looks at all of them alike.
pub(in crate::reconcile) fn counted_alike(daemon_set: DaemonSet) -> Deployment {
    let DaemonSet { metadata, spec, status } = daemon_set;
    let status = status.filter(|status| status.observed_generation.is_some());
    Deployment {
        metadata,
        spec: spec.map(|spec| DeploymentSpec {
            replicas: status.as_ref().map(|status| status.desired_number_scheduled),
            selector: spec.selector,
            template: spec.template,
            ..DeploymentSpec::default()
        }),
        status: status.map(|status| DeploymentStatus {
            observed_generation: status.observed_generation,
            replicas: Some(status.current_number_scheduled),
            ready_replicas: Some(status.number_ready),
            updated_replicas: status.updated_number_scheduled,
            available_replicas: status.number_available,
            unavailable_replicas: status.number_unavailable,
            ..DeploymentStatus::default()
        }),
    }
}

/// The revision of a Deployment that was seen.
pub(in crate::reconcile) fn revision_of(deployment: &Deployment) -> String {
    let annotations = deployment.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(REVISION)).cloned().unwrap_or_default()
}

/// The least number of pods that an autoscaler among `objects` gives to this Deployment, which has no number itself.
pub(super) fn least_replicas(objects: &[Object], deployment: &Object) -> Option<i64> {
    if deployment.json.pointer("/spec/replicas").is_some() {
        return None;
    }
    let scaled = |object: &&Object| {
        let target = &object.json["spec"]["scaleTargetRef"];
        target["kind"] == "Deployment" && target["name"] == deployment.name.as_str()
    };
    objects.iter().find(scaled).map(|object| object.json["spec"]["minReplicas"].as_i64().unwrap_or(1))
}
