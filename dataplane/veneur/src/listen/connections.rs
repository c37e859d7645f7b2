//! The counts of a listener's connections.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

/// Connections of one listener since the process started.
#[derive(Debug, Default)]
pub struct Connections {
    connects: AtomicU64,
    disconnects: AtomicU64,
    tls_handshake_failures: AtomicU64,
    idle: AtomicU64,
}

/// The counts at one moment. `connects - disconnects` are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionCounts {
    /// Accepted.
    pub connects: u64,
    /// Ended, whoever ended them.
    pub disconnects: u64,
    /// Ended before TLS was agreed on; also one of the disconnects.
    pub tls_handshake_failures: u64,
    /// Closed because no line came for too long; also one of the disconnects.
    pub idle: u64,
}

impl Connections {
    /// The counts now. Disconnects are read first, so that no more of them than connects are seen.
    pub fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            disconnects: self.disconnects.load(SeqCst),
            tls_handshake_failures: self.tls_handshake_failures.load(SeqCst),
            idle: self.idle.load(SeqCst),
            connects: self.connects.load(SeqCst),
        }
    }

    /// Counts a connection that is closed when the result is dropped.
    pub(super) fn connected(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Connected {
        self.connects.fetch_add(1, SeqCst);
        Connected { connections: Arc::clone(self), _permit: permit }
    }
}

impl std::iter::Sum for ConnectionCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |total, more| Self {
            connects: total.connects + more.connects,
            disconnects: total.disconnects + more.disconnects,
            tls_handshake_failures: total.tls_handshake_failures + more.tls_handshake_failures,
            idle: total.idle + more.idle,
        })
    }
}

/// An open connection: one of those counted, and one of those allowed.
#[derive(Debug)]
pub(super) struct Connected {
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Connected {
    pub(super) fn handshake_failed(&self) {
        self.connections.tls_handshake_failures.fetch_add(1, SeqCst);
    }

    pub(super) fn was_idle(&self) {
        self.connections.idle.fetch_add(1, SeqCst);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.connections.disconnects.fetch_add(1, SeqCst);
    }
}
