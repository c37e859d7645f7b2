//! Listeners: sockets to samples to tables.
//!
//! Each listener has an intake: a table and its ledgers. A UDP or Unix datagram socket has one for
//! each of its readers; the connections of a stream listener share one. At a flush the tables are taken from under the
//! readers, which go on with empty ones. A listener that is stopped accepts nothing more, reads what its sockets hold,
//! and closes them.
//!
//! | address | protocol | framing |
//! |---|---|---|
//! | `udp://host:port` | `dogstatsd-udp` | a datagram holds lines |
//! | `tcp://host:port` | `dogstatsd-tcp` | lines; TLS where keys are set |
//! | `unixgram://path`, `unixgram:@name` | `dogstatsd-unix` | a datagram holds lines |
//! | `unix://path`, `unix:@name` | `dogstatsd-unix` | packets of lines, each after its length (4 bytes, lowest first) |
//! | `fd://N` | by its kind | a socket that was open at the start, from 3 on |
//! | `tcp://host:port` in `grpc_listen_addresses` | `dogstatsd-grpc` | `dogstatsd.DogstatsdGRPC/SendPacket` |

mod address;
mod connections;
mod drops;
mod grpc;
pub(crate) mod inherited;
pub mod intake;
pub mod origin;
mod start;
mod stream;
mod tcp;
pub mod tls;
mod udp;
pub(crate) mod unix;
mod unixgram;

pub use connections::{ConnectionCounts, Connections};
pub use start::start;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use veneur_aggregate::Rules;

use self::{
    intake::{Intake, Taken},
    tls::Pem,
};
use crate::account::IngestAccount;

/// What is listened on, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of DogStatsD.
    pub addresses: Vec<String>,
    /// Addresses of DogStatsD over gRPC.
    pub grpc_addresses: Vec<String>,
    /// Readers of each UDP and Unix datagram address.
    pub readers: usize,
    /// Receive buffer of each datagram socket.
    pub read_buffer_bytes: usize,
    /// Longest datagram.
    pub max_length: usize,
    /// For TCP and gRPC.
    pub tls: Pem,
    /// A TCP connection is closed when no line came for so long.
    pub idle_timeout: Duration,
    /// Connections of each stream address; beyond, new ones wait.
    pub max_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            grpc_addresses: Vec::new(),
            readers: 1,
            read_buffer_bytes: 2 * 1024 * 1024,
            max_length: 4_096,
            tls: Pem::default(),
            idle_timeout: Duration::from_mins(10),
            max_connections: 4_096,
        }
    }
}

/// A listener that runs, or one of its readers.
#[derive(Debug)]
pub struct Listener {
    /// The original's name for what is spoken there, such as `dogstatsd-udp`.
    pub protocol: &'static str,
    /// Where it listens, as a URL; a port that the kernel chose is filled in.
    pub address: String,
    /// The same, where there is a host and port.
    pub socket: Option<SocketAddr>,
    /// What was read.
    pub account: Arc<IngestAccount>,
    /// Its connections: none ever, where it has no such.
    pub connections: Arc<Connections>,
    pub(crate) intake: Arc<Intake>,
    /// The socket whose drops the kernel counts.
    inode: Option<u64>,
    stop: CancellationToken,
    /// Closed when the reader has ended.
    ended: watch::Receiver<()>,
}

impl Listener {
    /// The table so far, without waiting for the reader; it goes on with an empty one.
    pub(crate) fn collect(&self) -> Taken {
        if let Some(inode) = self.inode {
            drops::count(inode, &self.account);
        }
        self.intake.take()
    }

    /// Forms contexts by other rules from now on.
    pub(crate) fn follow(&self, rules: &Arc<Rules>) {
        self.intake.follow(rules);
    }

    /// Forms all contexts anew, by the same rules.
    pub(crate) fn form_anew(&self) {
        self.intake.form_anew();
    }

    /// Says that it is to end: accept nothing more, read what the sockets hold, close them.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has ended, and takes what it read last.
    pub(crate) async fn finish(&self) -> Taken {
        self.stop();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
        self.intake.take()
    }

    /// Who sent how many values, as far as sockets tell, the busiest first.
    pub fn origins(&self) -> Vec<(String, u64)> {
        let counts = self.intake.origins().into_iter();
        let mut named: Vec<_> = counts.filter_map(|(origin, count)| Some((origin.name()?, count))).collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        named
    }
}

/// A reader has a thread of its own, which must not outlive its listener.
impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
