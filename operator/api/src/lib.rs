//! The `VeneurPipeline` resource: what a user may ask for, and what the operator answers.
//!
//! One object describes one pipeline: sidecars (locals), a proxy tier and a global tier. The smallest one is a name and
//! a sink; everything else has a default. Only fields that work are here.
//!
//! Laws: every wrong input gets one sentence from the API server, before anything is stored (`tests/wrong.rs`);
//! `crds/` is printed from these types (`tests/drift.rs`).
//!
//! Not here: what the data plane makes of a value (`veneur-config`), how objects are built (`veneur-operator`).

#![allow(unreachable_pub, reason = "KubeSchema expands to public items inside functions")]

mod aggregation;
mod crd;
mod pipeline;
mod quantity;
mod sinks;
mod status;
mod tiers;

pub use aggregation::{Aggregate, Aggregation, MetricType, Scope, ScopeMatch, ScopeRule};
pub use crd::{chart_crd_yaml, crd, crd_yaml};
pub use pipeline::{Flush, Tags, VeneurPipeline, VeneurPipelineSpec};
pub use quantity::Quantity;
pub use sinks::{DatadogSink, DebugSink, SecretKey, Sink};
pub use status::{ConditionType, TierStatus, VeneurPipelineStatus};
pub use tiers::{Image, PullPolicy, Resources, Sidecar, Tier};

/// Domain of the API group and of every label and annotation of ours.
pub const GROUP: &str = "veneur.dev";
