//! What a backend has to offer.

use bytes::Bytes;
use thiserror::Error;
use veneur_metric::Point;

/// One backend.
pub trait Sink: Send + Sync + 'static {
    /// The configured name: unique, labels the sink in metrics and logs.
    fn name(&self) -> &str;

    /// Points as the backend reads them, in as many payloads as its limits ask for. Pure; may take long, and is called
    /// where blocking is allowed.
    fn encode(&self, points: &[Point]) -> Vec<Payload>;

    /// One attempt to hand over a payload. Returns within a time of its own.
    fn send(&self, payload: &Payload) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// A request's body and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// How many points the body carries.
    pub points: usize,
    /// Encoded and compressed.
    pub body: Bytes,
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
