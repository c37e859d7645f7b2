//! Image, replicas and resources.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// Image of all tiers.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Registry and name without tag, as `registry.example/veneur`. Empty: the operator's default. Sidecars pull it in
    /// their own namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300), regex(pattern = r"^([a-z0-9]+([._:/-]+[a-z0-9]+)*)?$"))]
    pub repository: String,
    /// When a node pulls the image. Default `IfNotPresent`.
    #[serde(default)]
    pub pull_policy: PullPolicy,
}

/// When a node pulls an image.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own words; doc comments on variants would change the schema's shape")]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The word as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// A tier of pods in the pipeline's namespace.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tier {
    /// How many pods, 1 to 1000. Absent: the tier's default. With one pod, an upgrade still starts the new one first.
    // No schema default: it would make this field always present, and a later `autoscaling` excludes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Resources of each pod. Default: none requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// The container added to pods annotated with `veneur.dev/inject`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Resources of the sidecar. Default: requests of 10m CPU and 32Mi memory, a limit of 64Mi memory. What is given
    /// replaces the default whole. A CPU limit throttles, and a throttled sidecar drops datagrams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Compute resources of a container.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.requests) ? self.requests : {}, has(self.limits) ? self.limits : {}].all(amounts, \
    amounts.all(r, r in ['cpu', 'memory', 'ephemeral-storage']))")
    .message("resources.requests and resources.limits hold cpu, memory and ephemeral-storage only"),
    validation = Rule::new("[has(self.requests) ? self.requests : {}, has(self.limits) ? self.limits : {}].all(amounts, \
    amounts.all(r, !string(amounts[r]).startsWith('-')))")
    .message("resources.requests and resources.limits hold no negative amount"),
    validation = Rule::new("!has(self.requests) || !has(self.limits) || self.requests.all(r, !(r in self.limits) \
    || !isQuantity(string(self.requests[r])) || !isQuantity(string(self.limits[r])) \
    || quantity(string(self.requests[r])).compareTo(quantity(string(self.limits[r]))) <= 0)")
    .message("resources.requests must not exceed resources.limits, or no pod is admitted")
)]
pub struct Resources {
    /// What is reserved of `cpu`, `memory` and `ephemeral-storage`, as `{cpu: 10m, memory: 32Mi}`. Default: the limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: BTreeMap<String, Quantity>,
    /// What is allowed of the same, as `{memory: 64Mi}`. Default: no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: BTreeMap<String, Quantity>,
}
