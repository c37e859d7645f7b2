//! What the operator answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

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
    /// `Ready`, `Accepted`, `ProxyAvailable`, `GlobalAvailable`; `True` is good.
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
}

/// A tier's pods.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TierStatus {
    /// Ready pods of those wanted, as `2/3`.
    pub summary: String,
    /// Pods wanted.
    pub desired: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods of the newest revision.
    pub updated: i32,
    /// Image of the newest revision.
    pub image: String,
    /// Where the tier imports, as `NAME-proxy.NAMESPACE.svc:8128`.
    pub service: String,
    /// Label selector of its pods.
    pub selector: String,
}

/// Types of conditions; `True` is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The pipeline accepts and delivers metrics.
    Ready,
    /// The spec can be used.
    Accepted,
    /// Every proxy wanted is available.
    ProxyAvailable,
    /// Every global wanted is available.
    GlobalAvailable,
}

impl ConditionType {
    /// In the order in which they are written.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Accepted, Self::ProxyAvailable, Self::GlobalAvailable];

    /// The word in `status.conditions[].type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Accepted => "Accepted",
            Self::ProxyAvailable => "ProxyAvailable",
            Self::GlobalAvailable => "GlobalAvailable",
        }
    }
}
