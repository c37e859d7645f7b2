//! The loop that ends intervals.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use veneur_aggregate::{Flush, Interval, Joined, Publishing, Rules, Top};
use veneur_forward::Batch;
use veneur_metric::{Point, Stamp, Tags};
use veneur_wire::decode;

use crate::{
    aside::Aside,
    clock,
    handover::Handover,
    import::{Shared, Sorted, lock},
    kubelet::Kubelet,
    listen::{Listener, intake::Taken},
    observe::{Flushed, Observer},
    output::Output,
};

/// Names that `/status` shows of each ranking.
const TOP: usize = 10;

/// Collects the listeners' tables at each boundary, and publishes each interval when it is due.
#[derive(Debug)]
pub(crate) struct Flusher {
    pub(crate) interval: Duration,
    pub(crate) aligned: bool,
    /// What is published, as the configuration says now.
    pub(crate) publishing: RwLock<Arc<Publishing>>,
    /// What contexts are formed by from the next boundary on.
    pub(crate) rules: RwLock<Arc<Rules>>,
    pub(crate) listeners: Arc<Vec<Listener>>,
    /// In node mode, who is who there.
    pub(crate) kubelet: Option<Arc<Kubelet>>,
    pub(crate) open: Shared,
    pub(crate) output: Arc<Output>,
    /// When and what was flushed last, for `/status`.
    pub(crate) last: Arc<Mutex<LastFlush>>,
    /// Boundary of the newest interval whose points and partials are on their way, in Unix milliseconds.
    pub(crate) published_ms: watch::Sender<u64>,
    pub(crate) observer: Observer,
    /// Flushes begun so far, for the watchdog.
    pub(crate) begun: AtomicU64,
}

/// The last flush.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(crate) struct LastFlush {
    /// Unix seconds of the interval's end.
    pub(crate) interval_end: i64,
    pub(crate) contexts: usize,
    pub(crate) points: usize,
    pub(crate) partials: usize,
    /// The heaviest names.
    #[serde(serialize_with = "show_top")]
    pub(crate) top: Top,
}

fn show_top<S: serde::Serializer>(top: &Top, serializer: S) -> Result<S::Ok, S::Error> {
    let named = |names: &[(Box<str>, u64)]| -> Vec<serde_json::Value> {
        names.iter().map(|(name, count)| serde_json::json!({ "name": name, "count": count })).collect()
    };
    let Top { samples, contexts, folded } = top;
    let shown = serde_json::json!({
        "by_samples": named(samples), "by_contexts": named(contexts), "by_samples_without_room": named(folded),
    });
    serde::Serialize::serialize(&shown, serializer)
}

impl Flusher {
    /// Runs until `stop`; a flush that has begun is ended first. What takes long is done `aside`.
    pub(crate) async fn run(self: &Arc<Self>, aside: &Aside, stop: &CancellationToken) {
        let mut boundary = Stamp::under_way(clock::now_ms(), self.interval);
        let (mut formed_by, mut rules) = (self.generation(), self.rules());
        loop {
            let due_ms = lock(&self.open).intervals.next_due_ms();
            let wake_ms = due_ms.min(boundary.boundary_ms);
            if stop.run_until_cancelled(clock::sleep_until(wake_ms)).await.is_none() {
                return;
            }
            let under_way = Stamp::under_way(clock::now_ms(), self.interval);
            if boundary > under_way.next() {
                // The clock was set back.
                boundary = under_way;
            }
            if clock::now_ms() >= boundary.boundary_ms {
                self.collect(boundary);
                // Now, when the tables are empty: within an interval each context would be there twice.
                let (generation, next_rules) = (self.generation(), self.rules());
                if !Arc::ptr_eq(&rules, &next_rules) {
                    self.listeners.iter().for_each(|listener| listener.follow(&next_rules));
                    self.observer.follow(&next_rules);
                } else if generation != formed_by {
                    self.listeners.iter().for_each(Listener::form_anew);
                }
                (formed_by, rules) = (generation, next_rules);
                boundary = boundary.next().max(Stamp::under_way(clock::now_ms(), self.interval));
            }
            loop {
                let due = lock(&self.open).intervals.due(clock::now_ms());
                let Some((stamp, table)) = due else { break };
                let flusher = Arc::clone(self);
                aside.run(move || flusher.publish(stamp, stamp.timestamp(), table)).await;
                self.published_ms.send_replace(stamp.boundary_ms);
            }
            self.observer.send().await;
        }
    }

    /// Waits until the interval that ends at `boundary_ms` is on its way, however long that takes.
    pub(crate) async fn published(&self, boundary_ms: u64) {
        let mut published = self.published_ms.subscribe();
        // The sender is this very object, so it is not gone while this runs.
        drop(published.wait_for(|newest_ms| *newest_ms >= boundary_ms).await);
    }

    /// The last flush, after [`run`](Self::run) has ended: what the sockets still hold, and every unpublished interval,
    /// which is published or handed over. From here on imports are refused, or relayed.
    pub(crate) async fn finish(&self, handover: Option<&Handover>) {
        let under_way = Stamp::under_way(clock::now_ms(), self.interval);
        self.listeners.iter().for_each(Listener::stop);
        for listener in self.listeners.iter() {
            let taken = listener.finish().await;
            self.absorb(under_way, taken);
        }
        self.observe(under_way);
        let unpublished = {
            let mut open = lock(&self.open);
            open.closed = true;
            open.intervals.drain()
        };
        for (stamp, table) in unpublished {
            let timestamp = last_second(stamp, clock::now_ms());
            match handover {
                Some(handover) => self.hand_over(stamp, timestamp, table, handover),
                None => self.publish(stamp, timestamp, table),
            }
        }
        self.observer.send().await;
    }

    /// Forms contexts by these rules from the next boundary on, if they are others.
    pub(crate) fn follow(&self, rules: Rules) {
        let mut now = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if **now != rules {
            *now = Arc::new(rules);
        }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known of who sends; counts up when that changes.
    fn generation(&self) -> u64 {
        self.kubelet.as_ref().map_or(0, |kubelet| kubelet.generation())
    }

    fn collect(&self, boundary: Stamp) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        for listener in self.listeners.iter() {
            self.absorb(boundary, listener.collect());
        }
        self.observe(boundary);
    }

    /// Lets what this instance says of itself join what its listeners took in.
    fn observe(&self, boundary: Stamp) {
        if let Some(taken) = self.observer.look(boundary, &self.listeners, &self.output) {
            lock(&self.open).intervals.own(boundary).absorb(taken.cells);
        }
    }

    /// Events and checks are not of an interval: they are sent at once.
    fn absorb(&self, boundary: Stamp, Taken { cells, events, checks }: Taken) {
        lock(&self.open).intervals.own(boundary).absorb(cells);
        self.observer.flushed(Flushed { events: events.len(), checks: checks.len(), ..Flushed::default() });
        self.output.notify(events, checks, boundary, clock::now_ms());
    }

    /// Publishes what is this instance's own, and gives the rest away.
    fn hand_over(&self, stamp: Stamp, timestamp: i64, interval: Interval, handover: &Handover) {
        let publishing = Arc::clone(&self.publishing.read().unwrap_or_else(PoisonError::into_inner));
        let publishing = Publishing { forwards: true, ..Publishing::clone(&publishing) };
        interval.flush(&publishing, Some(stamp), timestamp, self.interval, |part| {
            handover.give(part.partials);
            self.output.send(Flush { partials: Vec::new(), ..part }, stamp);
        });
    }

    /// Publishes what was to be given away and nobody took. It is on the ledger as held.
    pub(crate) fn take_back(&self, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        tracing::info!(batches = batches.len(), "Nobody else took what was handed over: publishing it");
        let (under_way, published_ms) = (Stamp::under_way(clock::now_ms(), self.interval), *self.published_ms.borrow());
        let (mut tables, mut sorted) = (BTreeMap::new(), Sorted::default());
        let (mut merged, mut folded, passes) = (0, 0, self.output.passes_points());
        for batch in batches {
            let facts = batch.facts.clone();
            batch.into_metrics().iter().for_each(|metric| sorted.add(decode(metric), passes));
            self.output.pass_on(&facts, std::mem::take(&mut sorted.passed));
            for partial in sorted.partials.drain(..) {
                let own = partial.stamp.map(|stamp| stamp.on_grid(self.interval));
                // What is late joins what is published last.
                let stamp = own.filter(|stamp| stamp.boundary_ms > published_ms).unwrap_or(under_way);
                let table = tables.entry(stamp).or_insert_with(|| lock(&self.open).intervals.aside());
                match table.merge(partial, false) {
                    Ok(joined) => {
                        merged += 1;
                        folded += u64::from(joined == Joined::Overflow);
                    }
                    Err(_) => *sorted.refused.entry("type_mismatch").or_default() += 1,
                }
            }
        }
        let Sorted { items, refused, .. } = sorted;
        let finished = items.len() as u64;
        let nowhere = if self.output.sinks.is_empty() { finished } else { 0 };
        self.output.account.record(|ledger| {
            let taken = merged + finished - nowhere;
            ledger.held -= taken.min(ledger.held);
            ledger.merged += taken;
            ledger.folded += folded;
            ledger.drop_held("no_sink", nowhere);
            refused.into_iter().for_each(|(reason, count)| ledger.drop_held(reason, count));
        });
        self.output.publish(items);
        for (stamp, table) in tables {
            self.publish(stamp, last_second(stamp, clock::now_ms()), table);
        }
    }

    fn publish(&self, stamp: Stamp, timestamp: i64, interval: Interval) {
        let began = Instant::now();
        let contexts = interval.len();
        let top = interval.top(TOP);
        let publishing = Arc::clone(&self.publishing.read().unwrap_or_else(PoisonError::into_inner));
        let (mut points, mut partials) = (0, 0);
        let mut series = self.observer.counts_series().then(|| Series::new(timestamp));
        interval.flush(&publishing, self.aligned.then_some(stamp), timestamp, self.interval, |part| {
            points += part.points.len();
            partials += part.partials.len();
            series.iter_mut().for_each(|series| series.count(&part.points));
            self.output.send(part, stamp);
        });
        tracing::debug!(interval_end = timestamp, contexts, points, partials, "Interval flushed");
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            LastFlush { interval_end: timestamp, contexts, points, partials, top };
        let series = series.map_or(0, |series| series.len());
        let took = began.elapsed().into();
        self.observer.flushed(Flushed { contexts, partials, series, took, ..Flushed::default() });
    }
}

/// Counts the series that an interval publishes: one for each name and tags.
#[derive(Debug)]
struct Series {
    timestamp: i64,
    /// Points with the interval's own time: each is another series.
    timely: usize,
    /// Series with a time that a client chose, which may have several points.
    timed: HashSet<(Arc<str>, Tags)>,
}

impl Series {
    fn new(timestamp: i64) -> Self {
        Self { timestamp, timely: 0, timed: HashSet::new() }
    }

    fn count(&mut self, points: &[Point]) {
        for point in points {
            if point.timestamp == self.timestamp {
                self.timely += 1;
            } else {
                self.timed.insert((Arc::clone(&point.name), point.tags.clone()));
            }
        }
    }

    fn len(&self) -> usize {
        self.timely + self.timed.len()
    }
}

/// Unix second of the points of an interval that a stop ends early: its own, never a boundary's, at which this instance
/// or another may have published. With intervals of one second there is no other, and the boundary to come is taken.
fn last_second(stamp: Stamp, now_ms: u64) -> i64 {
    let over = stamp.boundary_ms <= now_ms;
    if over || stamp.interval_ms <= 1_000 {
        return stamp.timestamp();
    }
    let second = now_ms / 1_000;
    let on_boundary = (second * 1_000).is_multiple_of(stamp.interval_ms);
    i64::try_from(second + u64::from(on_boundary)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_flush_never_takes_the_second_of_a_boundary() {
        let under_way = Stamp { boundary_ms: 30_000, interval_ms: 10_000 };
        assert_eq!(last_second(under_way, 20_400), 21);
        assert_eq!(last_second(under_way, 25_999), 25);
        assert_eq!(last_second(under_way, 29_999), 29);
        let over = Stamp { boundary_ms: 20_000, interval_ms: 10_000 };
        assert_eq!(last_second(over, 20_400), 20, "an interval that is over keeps its time");
    }
}
