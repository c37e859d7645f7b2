//! The operator: what a `VeneurPipeline` asks for becomes objects; what a pod asks for becomes a sidecar.
//!
//! A spec walks `validate → build → apply → observe → status` ([`reconcile`]); a pod walks
//! `choose → decide → patch` ([`injection`]). Everything but `apply`, `observe` and the web server is a pure function of
//! its arguments. There is no step that reads what a pipeline refers to: the kubelet resolves Secrets, the operator
//! never sees one outside its own namespace.
//!
//! Laws: one bad pipeline delays no other; applying twice writes nothing; a pod is never refused.
//!
//! Not here: the resource itself (`veneur-operator-api`), the tiers' configuration keys (`veneur-config`).

pub mod certificates;
mod container;
pub mod context;
pub mod controller;
pub mod election;
pub mod events;
pub mod evict;
pub mod feeds;
pub mod fleet;
pub mod gauges;
pub mod health;
pub mod injection;
pub mod kind;
pub mod labels;
pub mod live;
pub mod namespaces;
pub mod pipelines;
pub mod pods;
pub mod probe;
pub mod reconcile;
pub mod rivals;
pub mod selftest;
pub mod serve;
pub mod telemetry;
pub mod upgrade;
pub mod watching;
pub mod webhook;

#[cfg(test)]
mod test_support;
