//! What the operator answers.

mod reasons;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

pub use reasons::{
    AcceptedReason, InjectionReason, ReadyReason, ReconciledReason, RingReason, SinksReason, TierReason, WebhookReason,
    all_reasons,
};

/// What the operator saw and did. Written only by the operator.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VeneurPipelineStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Reason of the worst condition; `AllTiersReady` when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_reason: Option<String>,
    /// Version of `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Image that both tiers run in full. Sidecars are upgraded to it, never beyond: globals come first, then proxies,
    /// then sidecars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `Ready`, `Accepted`, `Reconciled`, `ProxyAvailable`, `GlobalAvailable`, `NodeAvailable`, `RingConverged`,
    /// `InjectionHealthy`, `SinksHealthy`, `WebhookReachable`; `True` is good.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<TierStatus>,
    /// The globals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global: Option<TierStatus>,
    /// The agents of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<TierStatus>,
    /// The members that share the series, as all proxies see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingStatus>,
    /// The pods that ask for a sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injection: Option<InjectionStatus>,
    /// Sinks that deliver of those in the spec, as `1/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sinks_summary: Option<String>,
    /// How each sink is doing, over all globals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sinks: Vec<SinkStatus>,
    /// What became of the metrics, summed over proxies and globals. Written when something else changes, and at most
    /// every ten minutes otherwise; the operator's `/metrics` has it to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountStatus>,
}

/// A tier's pods.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TierStatus {
    /// Ready pods of those wanted, as `2/3`.
    pub summary: String,
    /// Pods wanted.
    pub desired: i32,
    /// Pods that exist, of any revision.
    #[serde(default)]
    pub replicas: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods of the newest revision.
    pub updated: i32,
    /// Pods that are not available, of any revision.
    #[serde(default)]
    pub unavailable: i32,
    /// Image of the newest revision.
    pub image: String,
    /// Hash of what needs a new pod.
    #[serde(default)]
    pub revision: String,
    /// Where the tier is sent to, as `NAME-proxy.NAMESPACE.svc:8128`.
    pub service: String,
    /// Label selector of its pods.
    pub selector: String,
}

/// The members that share the series.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingStatus {
    /// Hash of the members, where all proxies that answered have the same; empty where they do not.
    pub hash: String,
    /// How many members there are.
    pub size: i32,
    /// Proxies that have this hash, of those that answered, as `2/2`.
    pub agreement: String,
    /// Names of the members, the first 50.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub members: Vec<String>,
}

/// The pods that ask for a sidecar of this pipeline.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InjectionStatus {
    /// Pods with a sidecar of those that ask, as `118/120`.
    pub summary: String,
    /// Pods that ask.
    pub wanted: i32,
    /// Those that have a sidecar.
    pub injected: i32,
    /// Those whose sidecar is of an older revision.
    #[serde(default)]
    pub outdated: i32,
    /// Those that the webhook has not seen: they were created while it was away.
    #[serde(default)]
    pub missed: i32,
    /// Those whose sidecar does not run.
    #[serde(default)]
    pub failing: i32,
    /// Those that got none, by the reason in their annotation `veneur.dev/skipped`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub skipped: BTreeMap<String, i32>,
    /// Whose pods were missed, as `NAMESPACE/Deployment/NAME`, the first 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub missed_workloads: Vec<String>,
    /// Whose pods are outdated, as `NAMESPACE/Deployment/NAME`, the first 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub outdated_workloads: Vec<String>,
}

/// How one sink is doing, over all globals.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    /// Its name in the spec.
    pub name: String,
    /// `Delivering`, `Idle` where nothing was sent yet, or a reason of the condition `SinksHealthy`.
    pub state: String,
    /// Globals where it fails, as `1/3`; absent where it fails nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// What the backend said last, where it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of the metrics since the processes that run now have started. See `docs/losses.md`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// Partials and points that proxies read from sidecars.
    pub imported: i64,
    /// Points that sinks took, summed over sinks.
    pub published: i64,
    /// Lost for a listed reason, in any tier.
    pub dropped: i64,
    /// Sent, neither answered nor certainly unread.
    pub uncertain: i64,
    /// What came in and is nowhere: 0, or a defect.
    pub unaccounted: i64,
}

/// Types of conditions; `True` is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The pipeline accepts and delivers metrics.
    Ready,
    /// The spec can be used.
    Accepted,
    /// The objects are as the spec asks.
    Reconciled,
    /// Every proxy wanted is available.
    ProxyAvailable,
    /// Every global wanted is available.
    GlobalAvailable,
    /// Every node that should has a working agent.
    NodeAvailable,
    /// All proxies agree on who owns each series.
    RingConverged,
    /// Every pod that asks has a working sidecar.
    InjectionHealthy,
    /// Every sink takes what it is sent.
    SinksHealthy,
    /// Pods that ask reach the operator.
    WebhookReachable,
}

impl ConditionType {
    /// In the order in which they are written.
    pub const ALL: [Self; 10] = [
        Self::Ready,
        Self::Accepted,
        Self::Reconciled,
        Self::ProxyAvailable,
        Self::GlobalAvailable,
        Self::NodeAvailable,
        Self::RingConverged,
        Self::InjectionHealthy,
        Self::SinksHealthy,
        Self::WebhookReachable,
    ];

    /// The word in `status.conditions[].type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Accepted => "Accepted",
            Self::Reconciled => "Reconciled",
            Self::ProxyAvailable => "ProxyAvailable",
            Self::GlobalAvailable => "GlobalAvailable",
            Self::NodeAvailable => "NodeAvailable",
            Self::RingConverged => "RingConverged",
            Self::InjectionHealthy => "InjectionHealthy",
            Self::SinksHealthy => "SinksHealthy",
            Self::WebhookReachable => "WebhookReachable",
        }
    }
}
