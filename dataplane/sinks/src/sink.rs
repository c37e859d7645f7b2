//! What a backend has to offer.

use bytes::Bytes;
use thiserror::Error;

use crate::Items;

/// One backend.
pub trait Sink: Send + Sync + 'static {
    /// The configured name: unique, labels the sink in metrics and logs.
    fn name(&self) -> &str;

    /// Items as the backend reads them, in as many payloads as its limits ask for. What is in no payload and was not
    /// filtered is counted as `unencodable`. Pure; may take long, and is called where blocking is allowed.
    fn encode(&self, items: &Items) -> Encoded;

    /// One attempt to hand over a payload. Returns within a time of its own.
    fn send(&self, payload: &Payload) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// What items became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// To be sent, in order.
    pub payloads: Vec<Payload>,
    /// How many items the configuration of this sink leaves out.
    pub filtered: usize,
}

/// A request's body and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What it carries, for sinks that send each to another place.
    pub part: Part,
    /// How many items the body carries.
    pub items: usize,
    /// Encoded and compressed.
    pub body: Bytes,
}

/// The three sorts of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Points,
    Events,
    Checks,
}

impl From<Vec<Payload>> for Encoded {
    fn from(payloads: Vec<Payload>) -> Self {
        Self { payloads, filtered: 0 }
    }
}

/// Why a payload was not taken. The text never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// The backend understood and said no: the same payload would be refused again.
    #[error("the backend refused with status {status}: {body_start}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// Start of what the backend said about it.
        body_start: String,
    },
    /// The backend was not reached, or could not take anything now: worth another try.
    #[error("the backend is not available: {0}")]
    Unavailable(String),
}
