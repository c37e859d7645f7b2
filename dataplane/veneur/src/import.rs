//! What a global does with imports: partials into their interval's table, finished points to the sinks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use veneur_aggregate::{Filed, Intervals};
use veneur_forward::{
    Facts,
    import::{Importer, Stopping},
};
use veneur_metric::{Partial, Point};
use veneur_wire::{Item, decode, metricpb::Metric};

use crate::{clock, output::Output};

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
}

impl Importer for Merger {
    fn import(&self, _facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        let imported = metrics.len() as u64;
        let mut refused: HashMap<&'static str, u64> = HashMap::new();
        let (mut partials, mut points): (Vec<Partial>, Vec<Point>) = (Vec::new(), Vec::new());
        // Decoding is the long part, and needs no lock.
        for metric in &metrics {
            match decode(metric) {
                Ok(Item::Partial(partial)) => partials.push(partial),
                Ok(Item::Point(point, _)) => points.push(point),
                Err(reason) => *refused.entry(reason.reason()).or_default() += 1,
            }
        }
        drop(metrics);

        let now_ms = clock::now_ms();
        let (mut merged, mut late, mut skewed) = (0, 0, 0);
        // Held until the points are offered too: what this answers OK is published before the process ends.
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
        let nowhere = if self.output.sinks.is_empty() { points.len() as u64 } else { 0 };
        self.output.account.record(|ledger| {
            ledger.imported += imported;
            // A point that the sinks take over is theirs to account for from here on.
            ledger.merged += merged + points.len() as u64 - nowhere;
            ledger.late += late;
            ledger.skewed += skewed;
            ledger.drop_new("no_sink", nowhere);
            for (reason, count) in refused {
                ledger.drop_new(reason, count);
            }
        });
        self.output.publish(&points);
        Ok(())
    }
}
