//! Compute resources.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

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
