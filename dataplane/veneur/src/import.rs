//! What an instance does with imports: partials into their interval's table, what is finished to the sinks, or on to the
//! next tier.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message as _;
use veneur_aggregate::{Filed, Intervals, Joined};
use veneur_forward::{
    Facts,
    import::{Importer, Stopping},
};
use veneur_metric::Partial;
use veneur_sinks::Items;
use veneur_wire::{Item, Refused, decode, encode_check, encode_event, encode_point, metricpb::Metric, read};

use crate::{clock, handover::Way, output::Output};

/// The unpublished intervals, and whether something may still be filed in them.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) intervals: Intervals,
    /// Set under the lock under which the last interval is taken out: nothing is filed after that.
    pub(crate) closed: bool,
}

/// Shared by whoever files and whoever publishes.
pub(crate) type Shared = Arc<Mutex<Open>>;

/// The intervals, for one step.
pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Open> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Merges imports into an instance's intervals.
#[derive(Debug)]
pub(crate) struct Merger {
    pub(crate) open: Shared,
    pub(crate) output: Arc<Output>,
    pub(crate) handover: Way,
}

impl Importer for Merger {
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        if let Some(handover) = self.handover.get() {
            return handover.relay(facts, metrics);
        }
        self.file(facts, metrics.iter().map(decode))
    }

    fn import_messages(&self, facts: &Facts, messages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), Stopping> {
        if let Some(handover) = self.handover.get() {
            let metrics = messages.map(|message| Metric::decode(message).unwrap_or_default());
            return handover.relay(facts, metrics.collect());
        }
        self.file(facts, messages.map(read))
    }
}

/// What was read, by what becomes of it.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// To merge.
    pub(crate) partials: Vec<Partial>,
    /// Finished, and to be passed on.
    pub(crate) passed: Vec<Metric>,
    /// Finished, and for the sinks here.
    pub(crate) items: Items,
    /// How many of the rest are refused, by reason.
    pub(crate) refused: HashMap<&'static str, u64>,
}

impl Sorted {
    /// Adds what was read of one metric. `passes`: what is finished is not for the sinks here.
    pub(crate) fn add(&mut self, read: Result<Item, Refused>, passes: bool) {
        match read {
            Ok(Item::Partial(partial)) => self.partials.push(partial),
            Ok(Item::Point(point, stamp)) if passes => self.passed.push(encode_point(point, stamp)),
            Ok(Item::Event(event, stamp)) if passes => self.passed.push(encode_event(event, stamp)),
            Ok(Item::Check(check, stamp)) if passes => self.passed.push(encode_check(check, stamp)),
            Ok(Item::Point(point, _)) => self.items.points.push(point),
            Ok(Item::Event(event, _)) => self.items.events.push(event),
            Ok(Item::Check(check, _)) => self.items.checks.push(check),
            Err(reason) => *self.refused.entry(reason.reason()).or_default() += 1,
        }
    }
}

impl Merger {
    /// Files what was read, and counts what could not be.
    fn file(&self, facts: &Facts, read: impl Iterator<Item = Result<Item, Refused>>) -> Result<(), Stopping> {
        let passes = self.output.passes_points();
        let mut sorted = Sorted { partials: Vec::with_capacity(read.size_hint().0), ..Sorted::default() };
        // Reading is the long part, and needs no lock.
        let mut imported = 0;
        for item in read {
            imported += 1;
            sorted.add(item, passes);
        }
        let Sorted { partials, passed, items, mut refused } = sorted;

        let now_ms = clock::now_ms();
        let (mut merged, mut late, mut skewed, mut folded) = (0, 0, 0, 0);
        // Held until the sinks are offered the rest too: what this answers OK is published before the process ends.
        let mut open = lock(&self.open);
        if open.closed {
            return Err(Stopping);
        }
        for partial in partials {
            let (table, filed) = open.intervals.file(now_ms, partial.stamp);
            match table.merge(partial, filed == Filed::Late) {
                Ok(joined) => {
                    merged += 1;
                    folded += u64::from(joined == Joined::Overflow);
                    late += u64::from(filed == Filed::Late);
                    skewed += u64::from(filed == Filed::Skewed);
                }
                Err(_) => *refused.entry("type_mismatch").or_default() += 1,
            }
        }
        let finished = items.len() as u64;
        let nowhere = if self.output.sinks.is_empty() { finished } else { 0 };
        self.output.account.record(|ledger| {
            ledger.imported += imported;
            ledger.held += passed.len() as u64;
            // What the sinks take over is theirs to account for from here on.
            ledger.merged += merged + finished - nowhere;
            ledger.late += late;
            ledger.failover_merged += if facts.failover { merged } else { 0 };
            ledger.skewed += skewed;
            ledger.folded += folded;
            ledger.drop_new("no_sink", nowhere);
            for (reason, count) in refused {
                ledger.drop_new(reason, count);
            }
        });
        self.output.publish(items);
        self.output.pass_on(facts, passed);
        Ok(())
    }
}
