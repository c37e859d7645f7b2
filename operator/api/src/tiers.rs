//! The tiers: proxies, globals, node agents.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Placement, Quantity, Scaling, yes};

/// The tier that gives each series to the global that owns it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxConnectionAge) || !self.maxConnectionAge.matches('^[0-9]{1,6}(s|m|h)$') || (duration(self.maxConnectionAge) >= duration('10s') && duration(self.maxConnectionAge) <= duration('24h'))")
    .message("proxy.maxConnectionAge must be between 10s and 24h"))]
pub struct Proxy {
    /// Whether there are proxies. Default true. Without them sidecars send straight to the one global, or to
    /// `global.forwardTo`.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How many pods: default 2.
    #[serde(flatten)]
    pub scaling: Scaling,
    /// The pods.
    #[serde(flatten)]
    pub placement: Placement,
    /// Age at which a proxy closes a sidecar's connection, so that sidecars find proxies that are new; 10s to 24h. Default
    /// `2m`. Nothing is lost by it: what is under way is answered first.
    #[serde(default = "Proxy::default_age")]
    pub max_connection_age: Duration,
    /// Which proxies a sidecar is sent to: `PreferClose` or `PreferSameZone` those of its zone (Kubernetes 1.31 and 1.35),
    /// `PreferSameNode` one of its node (1.35). An API server that does not know the word refuses the Service, and the
    /// condition says so. Default: all of them evenly, since with few proxies a zone may have one or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<TrafficDistribution>,
    /// What a proxy holds while a global does not take it. Default: 64Mi for each global, for 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
}

impl Proxy {
    fn default_age() -> Duration {
        "2m".into()
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            enabled: true,
            scaling: Scaling::default(),
            placement: Placement::default(),
            max_connection_age: Self::default_age(),
            traffic_distribution: None,
            buffer: None,
        }
    }
}

/// Which endpoints of a Service are preferred.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own words; doc comments on variants would change the schema's shape")]
pub enum TrafficDistribution {
    PreferClose,
    PreferSameZone,
    PreferSameNode,
}

impl TrafficDistribution {
    /// The word as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreferClose => "PreferClose",
            Self::PreferSameZone => "PreferSameZone",
            Self::PreferSameNode => "PreferSameNode",
        }
    }
}

/// What waits in memory for the next tier or a sink. What is over is dropped, the oldest first, and counted.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxBytes) || !isQuantity(string(self.maxBytes)) || (quantity(string(self.maxBytes)).compareTo(quantity('64Ki')) >= 0 && quantity(string(self.maxBytes)).compareTo(quantity('64Gi')) <= 0)")
    .message("buffer.maxBytes must be between 64Ki and 64Gi"))]
pub struct Buffer {
    /// Most bytes for each destination, as `64Mi`; 64Ki to 64Gi. Absent: the tier's default. The pod's memory has to hold
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    /// How long data waits. Default `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// The tier that aggregates over all pods and publishes.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.enabled || has(self.forwardTo)")
    .message("global.enabled: false needs global.forwardTo, the address that takes what this pipeline's pods send"))]
pub struct Global {
    /// Whether there are globals. Default true. Without them `forwardTo` says who aggregates and publishes.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How many pods: default 3, or 1 where there are no proxies.
    #[serde(flatten)]
    pub scaling: Scaling,
    /// The pods.
    #[serde(flatten)]
    pub placement: Placement,
    /// `HOST:PORT` where another pipeline imports, of this cluster or of another: its proxies' Service. Globals send there
    /// what they merged, and that pipeline alone publishes, an interval later; without globals, proxies send there what
    /// they get. Excludes `sinks`. Default: none, the globals publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 300))]
    #[x_kube(validation = Rule::new("self.matches('^([a-zA-Z0-9][-a-zA-Z0-9.]*|\\\\[[0-9a-fA-F:.]+\\\\]):[0-9]{1,5}$')")
        .message("global.forwardTo is HOST:PORT, as veneur-proxy.metrics.svc:8128"))]
    pub forward_to: Option<String>,
    /// How series are shared among the globals.
    #[serde(default)]
    pub ring: Ring,
    /// What a leaving global does with an interval whose end it cannot wait for (`drain.shutdownSeconds`): `Handoff` gives
    /// its sketches to the new owners, which publish one point; `FlushToSinks` publishes what it has, so that the series
    /// gets two points for that interval. Default `Handoff`; without proxies it is always `FlushToSinks`.
    #[serde(default)]
    pub drain_policy: DrainPolicy,
    /// What a global holds while a sink does not take it. Default: 16Mi for each sink, for 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            enabled: true,
            scaling: Scaling::default(),
            placement: Placement::default(),
            forward_to: None,
            ring: Ring::default(),
            drain_policy: DrainPolicy::default(),
            buffer: None,
        }
    }
}

/// How series are shared among the globals.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.hash == oldSelf.hash || self.allowRehash")
    .message("ring.hash moves every key when changed; set ring.allowRehash: true to accept one interval of split series"))]
pub struct Ring {
    /// `Rendezvous` shares series evenly and moves the fewest when globals come and go. `Veneur` is the original's ring of
    /// addresses, for fleets in which its proxies send to the same globals. Default `Rendezvous`. A change needs
    /// `allowRehash`.
    #[serde(default)]
    pub hash: RingHash,
    /// Accept that a change of `hash` splits series for an interval. Default false.
    #[serde(default)]
    pub allow_rehash: bool,
    /// How new globals take the place of old ones.
    #[serde(default)]
    pub rollout: Rollout,
}

/// An algorithm of the ring.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum RingHash {
    #[default]
    Rendezvous,
    Veneur,
}

/// How new globals take the place of old ones.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// `Surge` starts all new globals, then ends all old ones: every series moves once, and for a minute there are twice
    /// as many pods. `Rolling` replaces one at a time: series move about 1.8 times. Default `Surge`.
    #[serde(default)]
    pub strategy: RolloutStrategy,
}

/// A way of replacing globals.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum RolloutStrategy {
    #[default]
    Surge,
    Rolling,
}

/// What a leaving global does with its interval.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum DrainPolicy {
    #[default]
    Handoff,
    FlushToSinks,
}

/// One local on each node, for pods without a sidecar.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Whether each node has an agent that reads DogStatsD. Default false. Pods that use it need no webhook.
    #[serde(default)]
    pub enabled: bool,
    /// How pods reach it on port 8125: `Service` by the name `NAME-node.NAMESPACE.svc`, which leads to the agent of the
    /// pod's own node; `HostPort` by the node's address, and only where the namespace allows host ports. Default `Service`.
    #[serde(default)]
    pub exposure: Exposure,
    /// Which tags a sample gets of the pod that sent it, as far as the client says who it is: `None`; `Low` (namespace,
    /// workload, container, image); `Orchestrator` (and pod); `High` (and container id). All but `None` ask the node's
    /// kubelet, for which a cluster's administrator has to bind the `ClusterRole` `veneur-node-agent` to the `ServiceAccount`
    /// `NAME-node`. Default `None`.
    #[serde(default)]
    pub pod_tags: PodTags,
    /// Ask the kubelet without checking its certificate, for `podTags`. Many kubelets sign their own; but who can take the
    /// node's address then gets the agent's token. Default false.
    #[serde(default)]
    pub kubelet_insecure: bool,
    /// The pods.
    #[serde(flatten)]
    pub placement: Placement,
}

/// How pods reach their node's agent.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum Exposure {
    #[default]
    Service,
    HostPort,
}

/// Which tags a sample gets of its sender.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum PodTags {
    #[default]
    None,
    Low,
    Orchestrator,
    High,
}
