//! Where a flush goes: partials to the next tier, points there or to this instance's own sinks.

mod routes;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use veneur_aggregate::Flush;
use veneur_config::Server;
use veneur_forward::{Account, Batch, Facts, lane::Lane};
use veneur_metric::{Check, Event, Point, Stamp, Tags};
use veneur_sinks::{Delivery, Items};
use veneur_wire::{encode_check, encode_event, encode_partial, encode_point, metricpb::Metric};

pub(crate) use routes::Routes;

/// The ways out of an instance.
#[derive(Debug)]
pub(crate) struct Output {
    /// Name of this instance: sender of its batches, origin of its points.
    pub(crate) name: String,
    /// To the next tier.
    pub(crate) lane: Option<Lane>,
    /// Whether points take that way too.
    pub(crate) forward_points: bool,
    /// To backends.
    pub(crate) sinks: Vec<Delivery>,
    /// Which of them a point goes to, as the configuration says now.
    pub(crate) routes: RwLock<Arc<Routes>>,
    /// What every sink of this instance adds to what it publishes, and what leaves finished for those of another.
    tags: Vec<String>,
    /// The ledger of everything but what is in the sinks' own.
    pub(crate) account: Arc<Account>,
    sequence: AtomicU64,
}

impl Output {
    pub(crate) fn new(config: &Server, lane: Option<Lane>, sinks: Vec<Delivery>, account: Arc<Account>) -> Self {
        let output = Self {
            name: config.hostname.clone(),
            lane,
            forward_points: config.forward_points,
            sinks,
            routes: RwLock::default(),
            tags: config.tags.clone(),
            account,
            sequence: AtomicU64::new(0),
        };
        output.route(config);
        output
    }

    /// Follows the routes of a configuration. Sinks stay as they are.
    pub(crate) fn route(&self, config: &Server) {
        let names: Vec<&str> = self.sinks.iter().map(Delivery::name).collect();
        let routes = Arc::new(Routes::new(&config.sink_routes, &names));
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// Sends one interval's flush on its ways. `stamp` is the interval it was flushed in.
    pub(crate) fn send(&self, flush: Flush, stamp: Stamp) {
        let Flush { points, partials, overflowed } = flush;
        self.account.record(|ledger| {
            ledger.produced += overflowed;
            ledger.drop_new("overflow", overflowed);
        });
        // A local's points are its own, whichever way they leave; what a global computes is the fleet's.
        let points: Vec<Point> = match &self.lane {
            Some(_) => points.into_iter().map(|point| self.with_origin(point)).collect(),
            None => points,
        };
        if let Some(lane) = &self.lane {
            self.offer(lane, partials.into_iter().map(encode_partial), || self.next_facts());
        }
        match &self.lane {
            Some(lane) if self.forward_points => {
                let Items { points, .. } = self.tagged(points.into());
                let points = points.into_iter().map(|point| encode_point(point, stamp));
                self.offer(lane, points, || self.next_facts());
            }
            _ => {
                self.count_without_sink(points.len());
                self.publish(points);
            }
        }
    }

    /// Sends events and service checks on their way: with the points.
    pub(crate) fn notify(&self, mut events: Vec<Event>, mut checks: Vec<Check>, stamp: Stamp, now_ms: u64) {
        let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        events.iter_mut().for_each(|event| event.complete(now_s, &self.name));
        checks.iter_mut().for_each(|check| check.complete(now_s, &self.name));
        if let Some(lane) = self.lane.as_ref().filter(|_| self.forward_points) {
            let Items { events, checks, .. } = self.tagged(Items { points: Vec::new(), events, checks });
            let events = events.into_iter().map(|event| encode_event(event, stamp));
            let checks = checks.into_iter().map(|check| encode_check(check, stamp));
            self.offer(lane, events.chain(checks), || self.next_facts());
            return;
        }
        self.count_without_sink(events.len() + checks.len());
        self.publish(Items { points: Vec::new(), events, checks });
    }

    /// Whether points of others go on to the next tier, as this instance's own do.
    pub(crate) fn passes_points(&self) -> bool {
        self.forward_points && self.lane.is_some()
    }

    /// Sends on, in the name of who sent it, what is finished and on the ledger as held.
    pub(crate) fn pass_on(&self, facts: &Facts, metrics: Vec<Metric>) {
        let Some(lane) = &self.lane else { return };
        let named = || Facts { sender: facts.sender.clone(), ..self.next_facts() };
        Batch::split(metrics, named).into_iter().for_each(|batch| lane.offer(batch));
    }

    /// Counts what was made here as lost, if no sink takes it over.
    fn count_without_sink(&self, items: usize) {
        if self.sinks.is_empty() {
            self.account.record(|ledger| {
                ledger.produced += items as u64;
                ledger.drop_new("no_sink", items as u64);
            });
        }
    }

    /// Hands points to the sinks that their routes name; events and checks to every sink.
    pub(crate) fn publish(&self, items: impl Into<Items>) {
        let items = self.tagged(items.into());
        let routes = Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner));
        if routes.is_empty() {
            let Some((last, others)) = self.sinks.split_last() else { return };
            others.iter().for_each(|sink| sink.offer(items.clone()));
            last.offer(items);
            return;
        }
        for (sink, points) in self.sinks.iter().zip(routes.share(&items.points, self.sinks.len())) {
            sink.offer(Items { points, events: items.events.clone(), checks: items.checks.clone() });
        }
    }

    /// Delivers what is held, for as long as `budget` lasts. What is left is dropped and counted.
    pub(crate) async fn drain(&self, budget: Duration) {
        let deadline = tokio::time::Instant::now() + budget;
        for sink in &self.sinks {
            sink.drain(deadline).await;
        }
    }

    fn offer(&self, lane: &Lane, metrics: impl Iterator<Item = Metric>, facts: impl FnMut() -> Facts) {
        for batch in Batch::split(metrics, facts) {
            self.account.record(|ledger| {
                ledger.produced += batch.len();
                ledger.held += batch.len();
            });
            lane.offer(batch);
        }
    }

    fn next_facts(&self) -> Facts {
        Facts { sender: self.name.clone(), sequence: self.sequence.fetch_add(1, Ordering::Relaxed), ..Facts::default() }
    }

    fn tagged(&self, mut items: Items) -> Items {
        if !self.tags.is_empty() {
            let tagged = |tags: &Tags| Tags::new(tags.iter().chain(self.tags.iter().map(String::as_str)));
            items.points.iter_mut().for_each(|point| point.tags = tagged(&point.tags));
            items.checks.iter_mut().for_each(|check| check.tags = tagged(&check.tags));
            items.events.iter_mut().for_each(|event| event.tags = event.tags.extended_unique(&self.tags));
        }
        items
    }

    /// A point of this instance's own, told apart from the same series of others: `host:` names the instance, or
    /// `pod:` where the application already says `host:`. Who has no name tells nothing apart.
    fn with_origin(&self, point: Point) -> Point {
        if self.name.is_empty() {
            return point;
        }
        let key = if point.tags.value("host").is_some_and(|host| !host.is_empty()) { "pod" } else { "host" };
        let origin = format!("{key}:{}", self.name);
        let tags = Tags::new(point.tags.iter().chain([origin.as_str()]));
        Point { tags, ..point }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veneur_metric::PointKind;

    #[test]
    fn tags_of_the_sinks_are_added_to_points_and_an_instance_without_a_name_adds_no_origin() {
        let config = Server { tags: vec!["az:1".into(), String::new()], ..Server::default() };
        let output = Output::new(&config, None, Vec::new(), Arc::default());
        let point = Point {
            name: "a".into(),
            tags: Tags::new(["az:2"]),
            kind: PointKind::Count,
            value: 1.0,
            timestamp: 1,
            interval: Duration::from_secs(10),
        };
        let Items { points, .. } = output.tagged(vec![output.with_origin(point)].into());
        assert_eq!(points[0].tags.joined(), "az:1,az:2");
    }
}
