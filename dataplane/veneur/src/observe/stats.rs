//! Self-metrics to `stats_address`, as UDP or Unix datagrams of DogStatsD.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{UdpSocket, UnixDatagram},
    time::timeout,
};
use veneur_metric::{Condition, Turn};

/// Longest datagram, in bytes: fits an Ethernet frame, and every reader's `metric_max_length`.
const LONGEST: usize = 1_400;

/// How long finding the address and sending may hold up the next flush.
const PATIENCE: Duration = Duration::from_millis(500);

/// Reports in a row that have to leave before the way counts as mended: to a port where nobody listens, every other
/// datagram seems to.
const QUIET: u32 = 3;

/// The way to `stats_address`.
#[derive(Debug)]
pub(super) struct Stats {
    address: String,
    waiting: Mutex<String>,
    socket: tokio::sync::Mutex<Option<Socket>>,
    failing: Mutex<Condition>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Stats {
    /// An address that is not there yet is asked for again at the next flush.
    pub(super) async fn new(address: &str) -> Self {
        let stats = Self {
            address: address.to_owned(),
            waiting: Mutex::default(),
            socket: tokio::sync::Mutex::default(),
            failing: Mutex::new(Condition::new(QUIET)),
        };
        stats.try_and_tell("").await;
        stats
    }

    /// Replaces what waits: a report that could not be sent in its interval is no news.
    pub(super) fn offer(&self, lines: String) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// Sends what waits.
    pub(super) async fn send(&self) {
        let lines = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if !lines.is_empty() {
            self.try_and_tell(&lines).await;
        }
    }

    async fn try_and_tell(&self, lines: &str) {
        let sent = timeout(PATIENCE, self.try_send(lines)).await;
        let sent = sent.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
        let turn = {
            let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
            failing.look(u64::from(sent.is_err()))
        };
        let stats_address = &self.address;
        match (turn, sent) {
            (Some(Turn::Begun), Err(problem)) => {
                tracing::warn!(stats_address, %problem, "Self-metrics cannot be sent");
            }
            (Some(Turn::Over { times }), _) => tracing::info!(stats_address, times, "Self-metrics are sent again"),
            _ => {}
        }
    }

    async fn try_send(&self, lines: &str) -> io::Result<()> {
        let mut socket = self.socket.lock().await;
        let connected = match socket.take() {
            Some(connected) => connected,
            None => Socket::connect(&self.address).await?,
        };
        let mut refused = Ok(());
        for packet in packets(lines) {
            match connected.send(packet.as_bytes()).await {
                Ok(()) => {}
                // Said of an earlier datagram: this one has not been sent yet, and whoever reads may be back.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    refused = Err(error);
                    connected.send(packet.as_bytes()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // One that failed otherwise is gone, and made anew at the next flush: the address may have moved.
        *socket = Some(connected);
        refused
    }
}

impl Socket {
    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(packet).await?,
            Self::Unix(socket) => socket.send(packet).await?,
        };
        Ok(())
    }

    async fn connect(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix://") {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            return Ok(Self::Unix(socket));
        }
        // As the original's client reads an address without a host.
        let address = if address.starts_with(':') { format!("127.0.0.1{address}") } else { address.to_owned() };
        let mut found: Vec<_> = tokio::net::lookup_host(&address).await?.collect();
        // As listeners choose: nobody says that nothing is heard at `::1`.
        found.sort_by_key(SocketAddr::is_ipv6);
        let mut failed = None;
        for found in found {
            let any = if found.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let connected = async {
                let socket = UdpSocket::bind(any).await?;
                socket.connect(found).await?;
                Ok(socket)
            };
            match connected.await {
                Ok(socket) => return Ok(Self::Udp(socket)),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
}

/// Whole lines, as many in a packet as fit.
fn packets(mut lines: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if lines.is_empty() {
            return None;
        }
        let end = if lines.len() <= LONGEST {
            lines.len()
        } else {
            let within = lines.as_bytes()[..LONGEST].iter().rposition(|byte| *byte == b'\n');
            // A line that is longer goes alone.
            within.or_else(|| lines.find('\n')).map_or(lines.len(), |at| at + 1)
        };
        let (packet, rest) = lines.split_at(end);
        lines = rest;
        Some(packet.trim_end_matches('\n'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_hold_whole_lines() {
        let long = "x".repeat(LONGEST + 5);
        let lines: Vec<String> = (0..300).map(|n| format!("veneur.name.{n}:1|c")).chain([long]).collect();
        let text = lines.join("\n") + "\n";
        let sent: Vec<&str> = packets(&text).collect();
        assert!(sent[..sent.len() - 1].iter().all(|packet| packet.len() <= LONGEST));
        assert_eq!(sent.join("\n").lines().collect::<Vec<_>>(), lines);
    }
}
