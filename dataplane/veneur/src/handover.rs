//! What a global gives away when it has to stop before the others stop taking it for the owner of anything.
//!
//! Partials go through a proxy, marked with the leaver's name: the proxy gives each to whoever owns it without the leaver.
//! What others still send here takes the same way, until they know.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use veneur_forward::{Account, Batch, Facts, lane::Lane};
use veneur_metric::Partial;
use veneur_wire::{encode_partial, metricpb::Metric};

/// The way out, once it is needed.
pub(crate) type Way = Arc<OnceLock<Handover>>;

/// A way through a proxy.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The leaver.
    pub(crate) name: String,
    /// To the proxy.
    pub(crate) lane: Lane,
    pub(crate) account: Arc<Account>,
    pub(crate) sequence: AtomicU64,
}

impl Handover {
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
    pub(crate) fn relay(&self, facts: &Facts, metrics: Vec<Metric>) {
        for batch in Batch::split(metrics, || self.facts(facts.sender.clone())) {
            self.account.record(|ledger| {
                ledger.imported += batch.len();
                ledger.held += batch.len();
            });
            self.lane.offer(batch);
        }
    }

    fn facts(&self, sender: String) -> Facts {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        Facts { sender, sequence, failover: false, leaver: self.name.clone() }
    }
}
