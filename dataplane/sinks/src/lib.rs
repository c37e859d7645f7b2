//! Where points end: one file per backend, a pure encode and then a send.
//!
//! A [`Sink`] knows one backend's format and one way to hand it over. [`Delivery`] is the same for all: it owns a
//! bounded queue and one task per sink, tries again while the backend is away, and keeps the account.
//!
//! Laws: the payloads of some points carry exactly these points; produced = published + held + dropped at any time,
//! whatever the backend does; no secret appears in an error, a log or a `Debug` output.
//!
//! Not here: which sinks there are (the configuration says), which points there are (the aggregator's).

mod datadog;
mod debug;
mod delivery;
mod http;
mod queue;
mod sink;

pub use datadog::{DatadogError, DatadogSettings, DatadogSink};
pub use debug::DebugSink;
pub use delivery::{Delivery, SinkState};
pub use queue::{Limits, Reason, SinkLedger};
pub use sink::{Payload, SendError, Sink};
