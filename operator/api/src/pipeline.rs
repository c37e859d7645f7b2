//! The root of the resource.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{Aggregation, Image, Sidecar, Sink, Tier, VeneurPipelineStatus};

/// What the pipeline should be. Only `sinks` has no default.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "veneur.dev",
    version = "v1alpha1",
    kind = "VeneurPipeline",
    plural = "veneurpipelines",
    shortname = "vnr",
    category = "veneur",
    namespaced,
    derive = "PartialEq",
    status = "VeneurPipelineStatus",
    doc = "A metrics pipeline: sidecars that read DogStatsD, proxies that find the owner of each series, globals that \
           aggregate over all pods and publish to sinks.",
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name must be at most 40 characters: child objects append suffixes such as -global"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must start with a letter and hold only a-z, 0-9 and '-': Services are named after it"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether metrics are accepted and delivered"),
    printcolumn(name = "Proxy", type_ = "string", json_path = ".status.proxy.summary",
        description = "Ready proxies of those wanted"),
    printcolumn(name = "Global", type_ = "string", json_path = ".status.global.summary",
        description = "Ready globals of those wanted"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.summaryReason",
        description = "Reason of the worst condition"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sinks) && self.sinks.size() > 0")
    .message("spec.sinks needs at least one entry, or nothing is published: {name: debug, debug: {}} writes to the log"))]
pub struct VeneurPipelineSpec {
    /// Version of the data plane: the tag of `image.repository`. Empty: the version of the operator, so that pipelines
    /// are upgraded with it. Sidecars take a new version when their pod is created anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128), regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$"))]
    pub version: String,
    /// Image of all tiers.
    #[serde(default)]
    pub image: Image,
    /// When intervals end.
    #[serde(default)]
    pub flush: Flush,
    /// What is published of histograms and timers, and by which tier.
    #[serde(default)]
    pub aggregation: Aggregation,
    /// Tags of every metric.
    #[serde(default)]
    pub tags: Tags,
    /// The container added to pods annotated with `veneur.dev/inject`.
    #[serde(default)]
    pub sidecar: Sidecar,
    /// The tier that forwards each series to its owner. Default: 2 replicas.
    #[serde(default)]
    pub proxy: Tier,
    /// The tier that aggregates over all pods and publishes. Default: 3 replicas.
    #[serde(default)]
    pub global: Tier,
    /// Where metrics end, 1 to 16 entries with unique names. Each entry gets every metric.
    // Neither required nor given a least length: the rule on the spec says it better than both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<Sink>,
}

/// When intervals end.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flush {
    /// Length of an interval on all tiers, whole seconds or minutes from `1s` to `5m`. Default `10s`. Percentiles and
    /// rates cover one interval; a change re-bases rates in the backend and restarts proxies and globals, and reaches
    /// a sidecar when its pod is created anew.
    #[serde(default = "Flush::default_interval")]
    #[schemars(length(max = 8))]
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9]{1,6}(s|m)$')")
            .message("flush.interval must be whole seconds or minutes, as 10s or 1m"),
        validation = Rule::new("!self.matches('^[0-9]{1,6}(s|m)$') || (duration(self) >= duration('1s') && duration(self) <= duration('5m'))")
            .message("flush.interval must be between 1s and 5m")
    )]
    pub interval: String,
}

impl Flush {
    fn default_interval() -> String {
        "10s".to_owned()
    }
}

impl Default for Flush {
    fn default() -> Self {
        Self { interval: Self::default_interval() }
    }
}

/// Tags of every metric.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tags {
    /// Constant tags, `key: value`, added where samples are read; at most 32. They replace an application's tag of the
    /// same key. No scope tags (`veneurglobalonly`, `veneurlocalonly`): `aggregation.scopes` gives scopes. Default: none.
    /// Reaches a sidecar when its pod is created anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 200}))]
    #[x_kube(
        validation = Rule::new("self.all(key, key.matches('^[a-zA-Z][-a-zA-Z0-9_./]{0,199}$') && !self[key].matches('[,|\\n]'))")
            .message("tags.add keys start with a letter and hold letters, digits and _-./; values hold no comma, no | and no line break"),
        validation = Rule::new("!self.exists(key, key.matches('^veneur(global|local)only'))")
            .message("tags.add keys cannot start with veneurglobalonly or veneurlocalonly, which set the scope of a metric: use aggregation.scopes")
    )]
    pub add: BTreeMap<String, String>,
}
