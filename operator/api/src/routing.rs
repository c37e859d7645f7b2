//! Which sinks a metric goes to.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Which sinks get some metrics.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Unique name, for people.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Which metrics. Absent: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#match: Option<RouteMatch>,
    /// Names of `sinks` that get them, 1 to 16; no other does.
    #[schemars(length(min = 1, max = 16), inner(length(max = 40)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub sinks: Vec<String>,
}

/// A test on what is published; all of it must hold.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// The published name starts with this: `api.` matches `api.latency.99percentile`. Default: any name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 200))]
    pub name_prefix: String,
    /// Tags it has, each whole, as `env:prod`; at most 16. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tags: Vec<String>,
}
