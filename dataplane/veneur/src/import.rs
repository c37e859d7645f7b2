//! What a global does with imports: partials into their interval's table, finished points to the sinks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use veneur_aggregate::{Filed, Intervals};
use veneur_forward::{Facts, import::Importer};
use veneur_metric::Point;
use veneur_wire::{Item, decode, metricpb::Metric};

use crate::{clock, output::Output};

/// Merges imports into an instance's intervals.
#[derive(Debug)]
pub(crate) struct Merger {
    pub(crate) intervals: Arc<Mutex<Intervals>>,
    pub(crate) output: Arc<Output>,
}

impl Importer for Merger {
    fn import(&self, _facts: &Facts, metrics: Vec<Metric>) {
        let now_ms = clock::now_ms();
        let (mut merged, mut late, mut skewed) = (0, 0, 0);
        let mut refused: HashMap<&'static str, u64> = HashMap::new();
        let mut points: Vec<Point> = Vec::new();
        let imported = metrics.len() as u64;
        {
            let mut intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
            for metric in &metrics {
                match decode(metric) {
                    Ok(Item::Partial(partial)) => {
                        let (table, filed) = intervals.file(now_ms, partial.stamp);
                        match table.merge(partial, filed == Filed::Late) {
                            Ok(()) => {
                                merged += 1;
                                late += u64::from(filed == Filed::Late);
                                skewed += u64::from(filed == Filed::Skewed);
                            }
                            Err(_) => *refused.entry("type_mismatch").or_default() += 1,
                        }
                    }
                    Ok(Item::Point(point, _)) => points.push(point),
                    Err(reason) => *refused.entry(reason.reason()).or_default() += 1,
                }
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
    }
}
