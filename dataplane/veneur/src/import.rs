//! What an instance does with imports: partials into their interval's table, what is finished to the sinks, or on to the
//! next tier.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use veneur_aggregate::{Filed, Intervals};
use veneur_forward::{
    Facts,
    import::{Importer, Stopping},
};
use veneur_sinks::Items;
use veneur_wire::{Item, decode, metricpb::Metric};

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
            handover.relay(facts, metrics);
            return Ok(());
        }
        let imported = metrics.len() as u64;
        let mut refused: HashMap<&'static str, u64> = HashMap::new();
        let (mut partials, mut items, mut passed) = (Vec::new(), Items::default(), Vec::new());
        let passes = self.output.passes_points();
        // Decoding is the long part, and needs no lock.
        for metric in metrics {
            match decode(&metric) {
                Ok(Item::Partial(partial)) => partials.push(partial),
                Ok(_) if passes => passed.push(metric),
                Ok(Item::Point(point, _)) => items.points.push(point),
                Ok(Item::Event(event, _)) => items.events.push(event),
                Ok(Item::Check(check, _)) => items.checks.push(check),
                Err(reason) => *refused.entry(reason.reason()).or_default() += 1,
            }
        }

        let now_ms = clock::now_ms();
        let (mut merged, mut late, mut skewed) = (0, 0, 0);
        // Held until the sinks are offered the rest too: what this answers OK is published before the process ends.
        let mut open = lock(&self.open);
        if open.closed {
            return Err(Stopping);
        }
        for partial in partials {
            let (table, filed) = open.intervals.file(now_ms, partial.stamp);
            match table.merge(partial, filed == Filed::Late) {
                Ok(()) => {
                    merged += 1;
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
            ledger.drop_new("no_sink", nowhere);
            for (reason, count) in refused {
                ledger.drop_new(reason, count);
            }
        });
        self.output.sinks.iter().for_each(|sink| sink.offer(items.clone()));
        self.output.pass_on(facts, passed);
        Ok(())
    }
}
