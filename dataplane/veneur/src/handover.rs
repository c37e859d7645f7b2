//! What a global gives away when it has to stop before the others stop taking it for the owner of anything.
//!
//! Partials go through a proxy, marked with the leaver's name: the proxy gives each to whoever owns it without the leaver.
//! What others still send here takes the same way, until they know. What no proxy takes, because nobody else is left or
//! none is reached, comes back and is published here.
//!
//! Where several leave at once, each adds itself to what it relays, so that a batch sees each of them once at the most and
//! then goes to one that stays, or is published by the last.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::net::{UdpSocket, lookup_host};
use veneur_forward::{
    Account, Batch, Facts, Leaver,
    connect::Target,
    dialect::Dialect,
    import::Stopping,
    lane::{Lane, Limits},
};
use veneur_metric::Partial;
use veneur_wire::{encode_partial, metricpb::Metric};

/// Leavers that a batch may have seen: with more, it has come round often enough.
const MOST_LEAVERS: usize = 16;

/// The way out, once it is needed.
pub(crate) type Way = Arc<OnceLock<Handover>>;

/// A way through a proxy.
#[derive(Debug)]
pub(crate) struct Handover {
    /// This instance, as others may know it.
    leaver: Leaver,
    /// To the proxy.
    lane: Lane,
    /// What was here before, and is not sent again: nobody runs it.
    back: Lane,
    account: Arc<Account>,
    sequence: AtomicU64,
    /// Set under the lock under which things are relayed: what is answered OK is given away or published.
    ended: Mutex<bool>,
}

impl Handover {
    /// To `target`, as far as `limits` allow.
    pub(crate) fn new(leaver: Leaver, target: &Target, limits: Limits, account: Arc<Account>) -> Self {
        let [lane, back] = [(); 2].map(|()| Lane::new(target.clone(), limits, Arc::clone(&account)));
        Self { leaver, lane, back, account, sequence: AtomicU64::new(0), ended: Mutex::new(false) }
    }

    /// Delivers what is given away, until there is nothing more and [`end`](Self::end) was called.
    pub(crate) fn run(&self) -> impl Future<Output = ()> + use<> {
        self.lane.clone().run()
    }

    /// Gives away what was merged here.
    pub(crate) fn give(&self, partials: Vec<Partial>) {
        let metrics = partials.into_iter().map(encode_partial);
        for batch in Batch::split(metrics, || self.facts(self.leaver.name.clone(), &[])) {
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
        let before = &facts.leavers;
        let lane = if before.contains(&self.leaver) || before.len() >= MOST_LEAVERS { &self.back } else { &self.lane };
        for batch in Batch::split(metrics, || self.facts(facts.sender.clone(), before)) {
            self.account.record(|ledger| {
                ledger.imported += batch.len();
                ledger.held += batch.len();
            });
            lane.offer(batch);
        }
        Ok(())
    }

    /// Relays nothing more.
    pub(crate) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.lane.close();
    }

    /// Sends nothing more, but waits for the answer to what was sent.
    pub(crate) fn give_up(&self) {
        self.lane.give_up();
    }

    /// Takes back what no proxy took, once nothing runs any more. It is on the ledger as held.
    pub(crate) fn take_back(&self) -> Vec<Batch> {
        let left = [&self.lane, &self.back].into_iter().flat_map(Lane::take_waiting).map(|(batch, _)| batch).collect();
        self.lane.abandon();
        left
    }

    fn facts(&self, sender: String, before: &[Leaver]) -> Facts {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let leavers = before.iter().chain([&self.leaver]).cloned().collect();
        Facts { sender, sequence, failover: false, leavers }
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
