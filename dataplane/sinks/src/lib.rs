//! Where points, events and checks end: one file per backend, a pure encode and then a send.
//!
//! A [`Sink`] knows one backend's format and one way to hand it over. [`Delivery`] is the same for all: it owns a
//! bounded queue and one task per sink, tries again while the backend is away, and keeps the account.
//!
//! Laws: the payloads of some items carry exactly these items; produced = published + held + dropped at any time,
//! whatever the backend does; no secret appears in an error, a log or a `Debug` output.
//!
//! Not here: which sinks there are (the configuration says), which items there are (the aggregator's).

mod blackhole;
mod datadog;
mod debug;
mod delivery;
mod exclude;
mod http;
mod items;
mod queue;
mod sink;

pub use blackhole::BlackholeSink;
pub use datadog::{DatadogError, DatadogSettings, DatadogSink, PrefixTags};
pub use debug::DebugSink;
pub use delivery::{Delivery, SinkState};
pub use exclude::TagsExclude;
pub use items::Items;
pub use queue::{Limits, Reason, SinkLedger};
pub use sink::{Encoded, Part, Payload, SendError, Sink};
