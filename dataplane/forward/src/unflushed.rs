//! What a peer has answered for and can still lose: it has not published it yet.

use std::collections::BTreeMap;

use veneur_metric::Stamp;

use crate::{Batch, packed::Head};

/// How long a global takes to hand finished points to its sinks, in milliseconds.
const PASSED_ON_MS: u64 = 1_000;

/// What a publisher waits for latecomers if nothing else is configured, at the most, in milliseconds.
const LATENESS_MS: u64 = 2_000;

/// Metrics by when they are published, in Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unflushed(BTreeMap<u64, u64>);

impl Unflushed {
    /// When the metrics of a batch will have been published, if it arrives now.
    pub(crate) fn due(batch: &Batch, now_ms: u64) -> Self {
        let mut due = Self::default();
        for head in batch.metrics.heads() {
            *due.0.entry(due_ms(head, now_ms)).or_default() += 1;
        }
        due
    }

    pub(crate) fn add(&mut self, due: Self, now_ms: u64) {
        self.forget_before(now_ms);
        for (due_ms, metrics) in due.0 {
            *self.0.entry(due_ms).or_default() += metrics;
        }
    }

    /// Takes out everything, and says how many metrics were not published at that time.
    pub(crate) fn take(&mut self, at_ms: u64) -> u64 {
        std::mem::take(&mut self.0).split_off(&at_ms).values().sum()
    }

    fn forget_before(&mut self, now_ms: u64) {
        self.0 = self.0.split_off(&now_ms);
    }
}

fn due_ms(head: &Head, now_ms: u64) -> u64 {
    let Some(stamp) = head.stamp.filter(|_| !head.finished) else { return now_ms + PASSED_ON_MS };
    let lateness_ms = LATENESS_MS.min(stamp.interval_ms / 4);
    let due_ms = stamp.boundary_ms + lateness_ms;
    // What comes late joins the next interval to be published.
    if due_ms > now_ms { due_ms } else { Stamp::under_way(now_ms, stamp.interval()).boundary_ms + lateness_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use veneur_wire::metricpb::{self, Metric};

    fn metric(boundary_ms: u64, pass_through: bool) -> Metric {
        let stamp = Some(metricpb::Stamp { boundary_ms, interval_ms: 10_000 });
        Metric { stamp, pass_through, ..Metric::default() }
    }

    #[test]
    fn what_was_published_is_no_longer_lost() {
        let batch = |metrics: Vec<Metric>| Batch::split(metrics, Facts::default).remove(0);
        let mut unflushed = Unflushed::default();
        let first = batch(vec![metric(20_000, false), metric(20_000, false), metric(20_000, true)]);
        unflushed.add(Unflushed::due(&first, 20_100), 20_100);
        let late = batch(vec![metric(10_000, false)]);
        unflushed.add(Unflushed::due(&late, 21_500), 21_500);
        assert_eq!(unflushed.clone().take(21_500), 3, "the point was passed on");
        assert_eq!(unflushed.clone().take(22_001), 1, "the late one is of the next interval");
        assert_eq!(unflushed.take(32_001), 0);
    }
}
