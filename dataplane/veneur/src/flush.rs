//! The loop that ends intervals.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use veneur_aggregate::{Intervals, Publishing, Table};
use veneur_metric::Stamp;

use crate::{clock, listen::Reader, output::Output};

/// Collects the readers' tables at each boundary, and publishes each interval when it is due.
#[derive(Debug)]
pub(crate) struct Flusher {
    pub(crate) interval: Duration,
    pub(crate) aligned: bool,
    pub(crate) publishing: Publishing,
    pub(crate) readers: Arc<Vec<Reader>>,
    pub(crate) intervals: Arc<Mutex<Intervals>>,
    pub(crate) output: Arc<Output>,
    /// When and what was flushed last, for `/status`.
    pub(crate) last: Arc<Mutex<LastFlush>>,
}

/// The last flush.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(crate) struct LastFlush {
    /// Unix seconds of the interval's end.
    pub(crate) interval_end: i64,
    pub(crate) contexts: usize,
    pub(crate) points: usize,
    pub(crate) partials: usize,
}

impl Flusher {
    /// Runs until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut boundary = Stamp::under_way(clock::now_ms(), self.interval);
        loop {
            let due_ms = self.intervals().next_due_ms();
            let wake_ms = due_ms.min(boundary.boundary_ms);
            if stop.run_until_cancelled(clock::sleep_until(wake_ms)).await.is_none() {
                return;
            }
            if clock::now_ms() >= boundary.boundary_ms {
                self.collect(boundary).await;
                boundary = boundary.next().max(Stamp::under_way(clock::now_ms(), self.interval));
            }
            loop {
                let due = self.intervals().due(clock::now_ms());
                let Some((stamp, table)) = due else { break };
                self.publish(stamp, stamp.timestamp(), table);
            }
        }
    }

    /// Waits until the interval that ends at `boundary_ms` is published, however long that takes.
    pub(crate) async fn published(&self, boundary_ms: u64) {
        loop {
            let due_ms = self.intervals().next_due_ms();
            let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
            if due_ms > boundary_ms.saturating_add(interval_ms) {
                return;
            }
            clock::sleep_until(due_ms).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last flush: what the sockets still hold, and every unpublished interval.
    pub(crate) async fn finish(&self) {
        let under_way = Stamp::under_way(clock::now_ms(), self.interval);
        for reader in self.readers.iter() {
            let table = reader.finish().await;
            self.intervals().own(under_way).absorb(table);
        }
        let unpublished = self.intervals().drain();
        for (stamp, table) in unpublished {
            // An interval that is not over yet must not claim its boundary: another instance may publish there.
            let now = i64::try_from(clock::now_ms() / 1_000).unwrap_or(i64::MAX);
            self.publish(stamp, stamp.timestamp().min(now), table);
        }
    }

    async fn collect(&self, boundary: Stamp) {
        for reader in self.readers.iter() {
            let table = reader.collect().await;
            self.intervals().own(boundary).absorb(table);
        }
    }

    fn publish(&self, stamp: Stamp, timestamp: i64, table: Table) {
        let contexts = table.len();
        let flush = table.flush(&self.publishing, self.aligned.then_some(stamp), timestamp, self.interval);
        tracing::debug!(
            interval_end = timestamp,
            contexts,
            points = flush.points.len(),
            partials = flush.partials.len(),
            "Interval flushed"
        );
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            LastFlush { interval_end: timestamp, contexts, points: flush.points.len(), partials: flush.partials.len() };
        self.output.send(flush, stamp);
    }

    fn intervals(&self) -> MutexGuard<'_, Intervals> {
        self.intervals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
