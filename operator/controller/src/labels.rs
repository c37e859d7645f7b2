//! Names, labels and ports that tie the operator's objects together.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

/// Manager of every field of the objects that the operator applies.
pub const FIELD_MANAGER: &str = "veneur-operator";
/// Manager of the fields of a pipeline's status.
pub const STATUS_MANAGER: &str = "veneur-operator-status";
/// Manager of the CA bundle in the webhook configuration, whose other fields are the chart's.
pub const CA_MANAGER: &str = "veneur-operator-ca";

/// Label: whose an object is; on the operator's own Lease too.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: name of the pipeline a pod belongs to or is injected for.
pub const PIPELINE: &str = "veneur.dev/pipeline";
/// Label: namespace of that pipeline, on injected pods.
pub const PIPELINE_NAMESPACE: &str = "veneur.dev/pipeline-ns";
/// Label: tier of a pod, `proxy`, `global` or `node`.
pub const ROLE: &str = "veneur.dev/role";

/// Port where a tier imports over gRPC.
pub const IMPORT_PORT: u16 = 8128;
/// Name of that port.
pub const IMPORT_PORT_NAME: &str = "import";
/// Where agents of nodes read `DogStatsD`, over UDP and TCP.
pub const DOGSTATSD_PORT: u16 = 8125;
/// Name of that port.
pub const DOGSTATSD_PORT_NAME: &str = "dogstatsd";
/// Admin port of every role: probes, metrics, status.
pub const ADMIN_PORT: u16 = 8127;

/// The tiers that run in the pipeline's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Forwards each series to its owner.
    Proxy,
    /// Aggregates and publishes.
    Global,
    /// Reads what the pods of its node send.
    Node,
}

impl Role {
    /// The word in names, labels and on the data plane's command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Global => "global",
            Self::Node => "node",
        }
    }
}

/// Name of a tier's Deployment and Service.
pub fn tier_name(pipeline: &str, role: Role) -> String {
    format!("{pipeline}-{}", role.as_str())
}

/// Name of the `ConfigMap` with the tiers' configuration.
pub fn config_name(pipeline: &str) -> String {
    format!("{pipeline}-veneur")
}

/// Name of the Secret with the tiers' certificate, of type `kubernetes.io/tls`, with `ca.crt` besides.
pub fn tls_name(pipeline: &str) -> String {
    format!("{pipeline}-tls")
}

/// Name of the Service's host, as a pod of any namespace resolves it.
pub fn tier_host(pipeline: &str, namespace: &str, role: Role) -> String {
    format!("{}.{namespace}.svc", tier_name(pipeline, role))
}

/// Where a tier imports, as a pod of any namespace resolves it. Without the cluster's domain, which pods find through
/// their search path and the operator does not know.
pub fn import_address(pipeline: &str, namespace: &str, role: Role) -> String {
    format!("{}:{IMPORT_PORT}", tier_host(pipeline, namespace, role))
}

/// Labels of a pipeline's objects; `role` for those of one tier.
pub fn labels(pipeline: &str, role: Option<Role>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from(
        [
            ("app.kubernetes.io/name", "veneur"),
            ("app.kubernetes.io/instance", pipeline),
            (MANAGED_BY, FIELD_MANAGER),
            (PIPELINE, pipeline),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if let Some(role) = role {
        labels.insert("app.kubernetes.io/component".to_owned(), role.as_str().to_owned());
        labels.insert(ROLE.to_owned(), role.as_str().to_owned());
    }
    labels
}

/// The tier that an object's label names.
pub fn role_of(metadata: &ObjectMeta) -> Option<Role> {
    let word = metadata.labels.as_ref()?.get(ROLE)?;
    [Role::Proxy, Role::Global, Role::Node].into_iter().find(|role| role.as_str() == word)
}

/// Labels that select a tier's pods: never changed, as a Deployment's selector cannot be.
pub fn selector(pipeline: &str, role: Role) -> BTreeMap<String, String> {
    BTreeMap::from([(PIPELINE.to_owned(), pipeline.to_owned()), (ROLE.to_owned(), role.as_str().to_owned())])
}

/// The same as text, as `kubectl -l` takes it.
pub fn selector_text(pipeline: &str, role: Role) -> String {
    format!("{PIPELINE}={pipeline},{ROLE}={}", role.as_str())
}
