//! A sink that discards: what a benchmark or a test needs of one.

use bytes::Bytes;

use crate::{Encoded, Items, Part, Payload, SendError, Sink};

/// Takes everything at once and keeps nothing; what it took counts as published.
#[derive(Debug)]
pub struct BlackholeSink {
    name: String,
}

impl BlackholeSink {
    /// A sink of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Sink for BlackholeSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, items: &Items) -> Encoded {
        vec![Payload { part: Part::Points, items: items.len(), body: Bytes::new() }].into()
    }

    async fn send(&self, _payload: &Payload) -> Result<(), SendError> {
        Ok(())
    }
}
