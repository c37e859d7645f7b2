//! The data-plane executable: sockets, clock, tasks, roles and the admin port.
//!
//! This room wires the others and holds what must not be in them: it binds sockets, reads the clock and the
//! environment, and owns every task. Logic worth a unit test lives in the pure rooms.
//!
//! A local and a global are the same [`server`], told apart by whether they forward; a [`proxy`] is another thing.

pub mod account;
pub mod admin;
mod aside;
pub mod cli;
pub mod clock;
#[expect(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    reason = "generated from proto/ by cargo xtask gen"
)]
#[path = "gen/dogstatsd.rs"]
#[rustfmt::skip]
pub mod dogstatsd;
mod flush;
mod handover;
mod import;
pub mod kubelet;
pub mod listen;
pub mod log;
mod observe;
mod output;
pub mod proxy;
pub mod reload;
pub mod server;
pub mod settings;
mod telemetry;
mod tiers;
pub mod watchdog;
