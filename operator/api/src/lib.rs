//! The `VeneurPipeline` resource: what a user may ask for, and what the operator answers.
//!
//! One object describes one pipeline: sidecars (locals), a proxy tier and a global tier. The smallest one is a name and
//! a sink; everything else has a default. Only fields that work are here.
//!
//! Laws: every wrong input gets one sentence from the API server, before anything is stored (`tests/wrong.rs`);
//! `crds/` and `docs/pipeline.md` are printed from these types (`tests/drift.rs`).
//!
//! Not here: what the data plane makes of a value (`veneur-config`), how objects are built (`veneur-operator`).

#![allow(unreachable_pub, reason = "KubeSchema expands to public items inside functions")]

mod aggregation;
mod crd;
mod duration;
mod image;
mod injection;
mod pipeline;
mod placement;
mod quantity;
mod reference;
mod resources;
mod routing;
mod sidecar;
mod sinks;
mod status;
mod surroundings;
mod tags;
mod tiers;

pub use aggregation::{Aggregate, Aggregation, MetricType, Scope, ScopeMatch, ScopeRule};
pub use crd::{chart_crd_yaml, crd, crd_yaml};
pub use duration::Duration;
pub use image::{Image, PullPolicy};
pub use injection::{From, Injection, NamespaceSelector, OnMissed, SelectorOperator, SelectorTest};
pub use pipeline::{Flush, Management, VeneurPipeline, VeneurPipelineSpec};
pub use placement::{Autoscaling, DisruptionBudget, Drain, Placement, Scaling};
pub use quantity::Quantity;
pub use reference::reference_md;
pub use resources::Resources;
pub use routing::{Route, RouteMatch};
pub use sidecar::{
    Delivery, ImageUpgrade, Override, Sidecar, SidecarEnv, SidecarMode, SidecarSecurity, SidecarUpgrade, Transport, Uds,
};
pub use sinks::{BlackholeSink, DatadogSink, DebugSink, SecretKey, Sink};
pub use status::{
    AcceptedReason, AccountStatus, ConditionType, InjectionReason, InjectionStatus, ReadyReason, ReconciledReason,
    RingReason, RingStatus, SinkStatus, SinksReason, TierReason, TierStatus, VeneurPipelineStatus, WebhookReason,
    all_reasons,
};
pub use surroundings::{ExtraEgress, IssuerRef, Monitoring, NetworkPolicy, PodMonitor, Tls, TlsMode};
pub use tags::{CardinalityLimit, Tags};
pub use tiers::{
    Buffer, DrainPolicy, Exposure, Global, Node, PodTags, Proxy, Ring, RingHash, Rollout, RolloutStrategy,
    TrafficDistribution,
};

/// Domain of the API group and of every label and annotation of ours.
pub const GROUP: &str = "veneur.dev";

/// Default of what is on unless it is turned off.
const fn yes() -> bool {
    true
}
