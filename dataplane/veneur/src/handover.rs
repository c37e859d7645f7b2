//! What a global gives away when it has to stop before the others stop taking it for the owner of anything.
//!
//! Partials go through a proxy, marked with the leaver's name: the proxy gives each to whoever owns it without the leaver.
//! What others still send here takes the same way, until they know. What no proxy takes, because nobody else is left or
//! none is reached, comes back and is published here.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::net::{UdpSocket, lookup_host};
use veneur_forward::{Account, Batch, Facts, dialect::Dialect, import::Stopping, lane::Lane};
use veneur_metric::Partial;
use veneur_wire::{encode_partial, metricpb::Metric};

/// The way out, once it is needed.
pub(crate) type Way = Arc<OnceLock<Handover>>;

/// A way through a proxy.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The leaver.
    name: String,
    /// Where it imports, as far as it knows.
    address: String,
    /// To the proxy.
    lane: Lane,
    account: Arc<Account>,
    sequence: AtomicU64,
    /// Set under the lock under which things are relayed: what is answered OK is given away or published.
    ended: Mutex<bool>,
}

impl Handover {
    pub(crate) fn new(name: String, address: String, lane: Lane, account: Arc<Account>) -> Self {
        Self { name, address, lane, account, sequence: AtomicU64::new(0), ended: Mutex::new(false) }
    }

    /// Gives away what was merged here.
    pub(crate) fn give(&self, partials: Vec<Partial>) {
        let metrics = partials.into_iter().map(encode_partial);
        for batch in Batch::split(metrics, || self.facts(self.name.clone())) {
            self.account.record(|ledger| {
                ledger.produced += batch.len();
                ledger.held += batch.len();
            });
            self.lane.offer(batch);
        }
    }

    /// Passes on what another instance sent here.
    pub(crate) fn relay(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if *ended {
            return Err(Stopping);
        }
        for batch in Batch::split(metrics, || self.facts(facts.sender.clone())) {
            self.account.record(|ledger| {
                ledger.imported += batch.len();
                ledger.held += batch.len();
            });
            self.lane.offer(batch);
        }
        Ok(())
    }

    /// Relays nothing more.
    pub(crate) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.lane.close();
    }

    /// Takes back what no proxy took, once the lane runs no more. It is on the ledger as held.
    pub(crate) fn take_back(&self) -> Vec<Batch> {
        let left = self.lane.take_waiting().into_iter().map(|(batch, _)| batch).collect();
        self.lane.abandon();
        left
    }

    fn facts(&self, sender: String) -> Facts {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let (leaver, leaver_address) = (self.name.clone(), self.address.clone());
        Facts { sender, sequence, failover: false, leaver, leaver_address }
    }
}

/// Where others reach an instance that imports at `bound`: on any of its addresses, at the one on the way to `proxy`.
pub(crate) async fn reached_at(bound: SocketAddr, proxy: &str) -> io::Result<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return Ok(bound);
    }
    let (_, proxy) = Dialect::of(proxy);
    let proxy = lookup_host(proxy).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let any = if proxy.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    // Sends nothing: it asks the kernel for a way.
    socket.connect(proxy).await?;
    Ok(SocketAddr::new(socket.local_addr()?.ip(), bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_instance_on_any_address_is_reached_at_the_one_on_the_way_to_its_proxy() {
        let to = |bound: &str| bound.parse::<SocketAddr>().expect("an address");
        let reached = reached_at(to("0.0.0.0:8128"), "127.0.0.1:9").await.expect("loopback");
        assert_eq!(reached, to("127.0.0.1:8128"));
        let reached = reached_at(to("10.0.0.1:8128"), "grpc+unary://127.0.0.1:9").await.expect("bound to one");
        assert_eq!(reached, to("10.0.0.1:8128"));
    }
}
