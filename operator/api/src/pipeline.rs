//! The root of the resource.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Aggregation, Global, Image, Injection, Monitoring, NetworkPolicy, Node, Proxy, Route, Sidecar, Sink, Tags, Tls,
    VeneurPipelineStatus,
};

/// What the pipeline should be. Only `sinks` has no default. Running globals take changes of `aggregation`, `routing` and
/// `tags.cardinalityLimit.perGlobal` within a minute; any other change of a tier replaces its pods, globals first.
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
    selectable = ".spec.management",
    scale(spec_replicas_path = ".spec.global.replicas", status_replicas_path = ".status.global.replicas",
        label_selector_path = ".status.global.selector"),
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
    printcolumn(name = "Sidecars", type_ = "string", json_path = ".status.injection.summary",
        description = "Pods with a sidecar of those that ask"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.summaryReason",
        description = "Reason of the worst condition"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Sinks", type_ = "string", json_path = ".status.sinksSummary", priority = 1,
        description = "Sinks that deliver"),
    printcolumn(name = "Ring", type_ = "string", json_path = ".status.ring.hash", priority = 1,
        description = "Hash of the members on which all proxies agree"),
    printcolumn(name = "Outdated", type_ = "integer", json_path = ".status.injection.outdated", priority = 1,
        description = "Pods whose sidecar is of an older revision"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1,
        description = "Version that both tiers run in full"),
    printcolumn(name = "Management", type_ = "string", json_path = ".spec.management", priority = 1,
        description = "Whether the operator changes anything")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.sinks) && self.sinks.size() > 0) || has(self.global.forwardTo)")
        .message("spec.sinks needs at least one entry, or nothing is published: {name: debug, debug: {}} writes to the log"),
    validation = Rule::new("!has(self.global.forwardTo) || !has(self.sinks) || self.sinks.size() == 0 || self.sidecar.delivery == 'Direct'")
        .message("global.forwardTo and spec.sinks exclude each other: the pipeline at that address publishes, and has the sinks"),
    validation = Rule::new("self.sidecar.delivery != 'Direct' || (has(self.sinks) && self.sinks.size() > 0)")
        .message("sidecar.delivery: Direct needs spec.sinks, which the sidecars post to"),
    validation = Rule::new("self.sidecar.enabled || self.node.enabled")
        .message("at least one of spec.sidecar.enabled or spec.node.enabled must be true, or nothing can receive metrics"),
    validation = Rule::new("self.proxy.enabled || !self.global.enabled || (!has(self.global.autoscaling) && (!has(self.global.replicas) || self.global.replicas == 1))")
        .message("proxy.enabled: false allows one global only, as proxies share the series among several: set global.replicas: 1"),
    validation = Rule::new("!has(self.routing) || self.routing.all(r, r.sinks.all(s, has(self.sinks) && self.sinks.exists(sink, sink.name == s)))")
        .message("spec.routing[].sinks must name entries of spec.sinks")
)]
pub struct VeneurPipelineSpec {
    /// `Managed`: the operator keeps every object as this spec says. `Paused`: it writes nothing but status and certificates
    /// that are about to end, so that you can change objects by hand; sidecars are still injected, as the spec says by
    /// then. Default `Managed`.
    #[serde(default)]
    pub management: Management,
    /// Version of the data plane: the tag of `image.repository`. Empty: the version of the operator, so that pipelines
    /// are upgraded with it. Set, it is pinned. Globals are replaced first, then proxies, and then sidecars take it as
    /// `sidecar.upgrade` says.
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
    /// One local on each node, for pods without a sidecar. Default: none.
    #[serde(default)]
    pub node: Node,
    /// The tier that gives each series to the global that owns it.
    #[serde(default)]
    pub proxy: Proxy,
    /// The tier that aggregates over all pods and publishes.
    #[serde(default)]
    pub global: Global,
    /// Where metrics end, 1 to 16 entries with unique names; none with `global.forwardTo`. Each gets every metric, unless
    /// `routing` says otherwise.
    // Neither required nor given a least length: the rule on the spec says it better than both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<Sink>,
    /// Which sinks some metrics go to; at most 32 entries with unique names. The first whose `match` holds decides; what
    /// none matches goes to every sink. Events and service checks always do. Default: none.
    // A plain list for the API server: in one keyed by name the order would be lost where two managers apply parts of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub routing: Vec<Route>,
    /// Whose pods may use this pipeline.
    #[serde(default)]
    pub injection: Injection,
    /// Encryption between sidecars, proxies and globals.
    #[serde(default)]
    pub tls: Tls,
    /// Who may speak to the tiers, and to whom they may speak.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// How Prometheus finds the tiers.
    #[serde(default)]
    pub monitoring: Monitoring,
}

/// Whether the operator changes anything.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum Management {
    #[default]
    Managed,
    Paused,
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
