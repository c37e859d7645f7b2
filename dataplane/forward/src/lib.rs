//! Moves partials and points between tiers: client, import server, routing and discovery of members.
//!
//! The way of a batch: [`import`] reads and validates it; a global merges it, a proxy hands each of its metrics to the
//! [`lane`] of the member that the [`router`] names; the lane's [`client`] delivers it. [`discovery`] tells the router
//! who the members are. The [`account`] counts each step.
//!
//! Delivery is at most once, because a partial that is merged twice counts twice: what was answered OK is done, what
//! certainly did not arrive is tried again, and everything else is counted `uncertain` and left alone.
//!
//! Laws: a lane never holds more than its bytes; produced + imported = acknowledged + merged + held + dropped +
//! uncertain, in every snapshot.
//!
//! Not here: what a metric means, and how it is encoded.

mod accept;
pub mod account;
pub mod batch;
pub mod client;
mod clock;
mod codec;
pub mod connect;
pub mod dialect;
pub mod discovery;
pub mod import;
pub mod lane;
mod legacy;
pub mod offer;
mod packed;
pub mod router;
pub mod tls;
mod unflushed;
mod watched;

#[expect(
    unreachable_pub,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from dataplane/wire/proto by cargo xtask gen"
)]
#[path = "gen/forwardrpc.rs"]
#[rustfmt::skip]
mod forwardrpc;

pub use account::{Account, Ledger};
pub use batch::{Batch, Facts, Leaver};
