//! Tags of every metric, and how many series they may make.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Tags of every metric.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tags {
    /// Constant tags, `key: value`, added where samples are read; at most 32. They replace an application's tag of the
    /// same key. No scope tags (`veneurglobalonly`, `veneurlocalonly`): `aggregation.scopes` gives scopes. Default:
    /// none. Running sidecars take a change within two minutes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 200}))]
    #[x_kube(
        validation = Rule::new("self.all(key, key.matches('^[a-zA-Z][-a-zA-Z0-9_./]{0,199}$') && !self[key].matches('[,|\\n]'))")
            .message("tags.add keys start with a letter and hold letters, digits and _-./; values hold no comma, no | and no line break"),
        validation = Rule::new("!self.exists(key, key.matches('^veneur(global|local)only'))")
            .message("tags.add keys cannot start with veneurglobalonly or veneurlocalonly, which set the scope of a metric: use aggregation.scopes")
    )]
    pub add: BTreeMap<String, String>,
    /// Keys of tags that are taken off where samples are read, so that what differs in them alone becomes one series;
    /// at most 32. Constant tags (`add`) stay. Default: none. Running sidecars take a change within two minutes. To
    /// keep a tag from one sink only, use that sink's `tagsExclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(key, !key.matches('[:,|\\n]'))")
            .message("tags.exclude are keys of tags: no colon and no value, no comma, no | and no line break"))]
    pub exclude: Vec<String>,
    /// Labels of pods that become tags: `LABEL: TAG`, as `{app.kubernetes.io/name: service}`; at most 16. Sidecars get them
    /// at injection, as they are in the pod then; node agents from the kubelet, with `node.podTags`. A pod without the
    /// label gets no tag. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 200}))]
    #[x_kube(validation = Rule::new("self.all(label, label.size() <= 317 && self[label].matches('^[a-zA-Z][-a-zA-Z0-9_./]{0,199}$') && !self[label].matches('^veneur(global|local)only'))")
        .message("tags.fromPodLabels gives each label a tag's key, as {app.kubernetes.io/name: service}: letters, digits and _-./, and no scope tag"))]
    pub from_pod_labels: BTreeMap<String, String>,
    /// How many series one pod or one global may have in an interval.
    #[serde(default)]
    pub cardinality_limit: CardinalityLimit,
}

/// How many series may be in an interval. What is over is not lost: it folds into one overflow series for each type, tagged
/// `veneur_overflow:true`, and is counted.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CardinalityLimit {
    /// Most series of one pod's sidecar in an interval, 1 to 1000000. Default 10000. Their values take at most half of
    /// `sidecar.resources.limits.memory`. Running sidecars take a change within two minutes.
    #[serde(default = "CardinalityLimit::default_per_pod")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_pod: i32,
    /// Most series of one global, or of one node's agent, in an interval, 1 to 100000000. Default 1000000. Taken by running
    /// ones. Their values take at most half of the tier's `resources.limits.memory`, or 512Mi without one; what is over
    /// folds too.
    #[serde(default = "CardinalityLimit::default_per_global")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub per_global: i32,
}

impl CardinalityLimit {
    const fn default_per_pod() -> i32 {
        10_000
    }

    const fn default_per_global() -> i32 {
        1_000_000
    }
}

impl Default for CardinalityLimit {
    fn default() -> Self {
        Self { per_pod: Self::default_per_pod(), per_global: Self::default_per_global() }
    }
}
