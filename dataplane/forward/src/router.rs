//! The proxy's heart: each metric to the lane of the member that owns it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use veneur_metric::Stamp;
use veneur_ring::{Change, Key, Member, Timeline};
use veneur_wire::{Item, Refused, decode, metricpb, metricpb::Metric};

use crate::{
    Account, Batch, Facts,
    import::{Importer, Stopping},
    lane::{Lane, Limits},
};

/// Routes imported metrics over the ring that governs their stamp.
#[derive(Debug)]
pub struct Router {
    name: String,
    interval: Duration,
    limits: Limits,
    account: Arc<Account>,
    sequence: AtomicU64,
    routes: Mutex<Routes>,
}

#[derive(Debug)]
struct Routes {
    timeline: Timeline,
    lanes: HashMap<Member, Lane>,
    /// Lanes of members that are in no ring any more, until they are empty.
    retiring: Vec<Lane>,
    /// Set once, when what is held is being delivered for the last time.
    draining: bool,
    tasks: JoinSet<()>,
    /// When the first membership came, in Unix milliseconds.
    since_ms: Option<u64>,
    ready: bool,
}

/// What a router shows of itself.
#[derive(Debug, Serialize)]
pub struct RingView {
    /// Hash of the newest ring's members: equal on proxies that agree.
    pub hash: String,
    /// Members of the newest ring, by name and address, and what waits for each.
    pub members: Vec<MemberView>,
}

/// One member as a router sees it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MemberView {
    pub name: String,
    pub address: String,
    pub waiting_batches: usize,
    pub waiting_bytes: usize,
}

impl Router {
    /// A router without members. `name` is what it calls itself to its members; `interval` is the tiers'.
    pub fn new(name: impl Into<String>, interval: Duration, limits: Limits, account: Arc<Account>) -> Self {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: name.into(),
            interval,
            limits,
            account,
            sequence: AtomicU64::new(0),
            routes: Mutex::new(Routes {
                timeline: Timeline::new(interval_ms),
                lanes: HashMap::new(),
                retiring: Vec::new(),
                draining: false,
                tasks: JoinSet::new(),
                since_ms: None,
                ready: false,
            }),
        }
    }

    /// Takes a membership that was written at `written_ms`.
    pub fn change(&self, written_ms: u64, members: Vec<Member>) {
        let mut routes = self.routes();
        match routes.timeline.change(written_ms, members) {
            Change::First => {
                routes.since_ms = Some(now_ms());
                tracing::info!(members = ?names(&routes), "Ring has its first members");
            }
            Change::Scheduled { effective_ms, joined, left } => {
                tracing::info!(effective_ms, ?joined, ?left, "Ring changes at the boundary");
            }
            Change::Readdressed => tracing::info!("A member has a new address"),
            Change::RefusedEmpty if routes.timeline.latest().is_none() => tracing::info!("No member yet"),
            Change::RefusedEmpty => tracing::warn!("Membership is empty: keeping the last good ring"),
            Change::Unchanged => {}
        }
        routes.retire(now_ms().saturating_sub(2 * millis(self.interval)));
    }

    /// Ready one boundary after the first members: from then on every proxy routes a stamp alike.
    pub fn ready(&self) -> bool {
        let mut routes = self.routes();
        let over = |since| now_ms() >= Stamp::under_way(since, self.interval).boundary_ms;
        // Once is for ever: a clock that is set back does not take a proxy out of service.
        routes.ready |= routes.since_ms.is_some_and(over);
        routes.ready
    }

    /// The newest ring.
    pub fn view(&self) -> RingView {
        let routes = self.routes();
        let Some(ring) = routes.timeline.latest() else {
            return RingView { hash: String::new(), members: Vec::new() };
        };
        let members = ring.members().iter().map(|member| {
            let (waiting_batches, waiting_bytes) = routes.lanes.get(member).map(Lane::waiting).unwrap_or_default();
            MemberView { name: member.name.clone(), address: member.address.clone(), waiting_batches, waiting_bytes }
        });
        RingView { hash: format!("{:016x}", ring.hash()), members: members.collect() }
    }

    /// Takes nothing more, and delivers what is held, for as long as `budget` lasts; the rest is dropped and counted.
    pub async fn drain(&self, budget: Duration) {
        let (lanes, mut tasks) = {
            let mut routes = self.routes();
            routes.draining = true;
            let mut lanes: Vec<Lane> = std::mem::take(&mut routes.lanes).into_values().collect();
            lanes.append(&mut routes.retiring);
            (lanes, std::mem::take(&mut routes.tasks))
        };
        lanes.iter().for_each(Lane::close);
        let delivered = tokio::time::timeout(budget, async { while tasks.join_next().await.is_some() {} }).await;
        if delivered.is_err() {
            tasks.shutdown().await;
        }
        lanes.iter().for_each(Lane::abandon);
    }

    /// Ends lanes whose member has left every ring, as they empty. Runs until `stop`.
    pub async fn tend(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(self.interval)).await.is_some() {
            self.routes().retire(now_ms().saturating_sub(2 * millis(self.interval)));
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_facts(&self) -> Facts {
        Facts { sender: self.name.clone(), sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Importer for Router {
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        let arrived = Stamp::under_way(now_ms(), self.interval);
        let count = metrics.len() as u64;
        let mut refused: HashMap<&'static str, u64> = HashMap::new();
        // Decoding is the long part, and needs no lock.
        let mut addressed: Vec<Addressed> = Vec::with_capacity(metrics.len());
        for metric in metrics {
            match address(metric, facts, arrived) {
                Ok(metric) => addressed.push(metric),
                Err(reason) => *refused.entry(reason.reason()).or_default() += 1,
            }
        }

        let mut routes = self.routes();
        if routes.draining {
            return Err(Stopping);
        }
        let mut unrouted = 0;
        let mut partials: HashMap<Member, Vec<Metric>> = HashMap::new();
        let mut points: HashMap<Member, Vec<Metric>> = HashMap::new();
        for Addressed { metric, key, stamp, finished } in addressed {
            let group = if finished { &mut points } else { &mut partials };
            match routes.timeline.at(stamp.boundary_ms).and_then(|ring| ring.owner(key)) {
                Some(owner) => match group.get_mut(owner) {
                    Some(metrics) => metrics.push(metric),
                    None => {
                        group.insert(owner.clone(), vec![metric]);
                    }
                },
                None => unrouted += 1,
            }
        }

        self.account.record(|ledger| {
            ledger.imported += count;
            ledger.held += count - unrouted - refused.values().sum::<u64>();
            ledger.drop_new("no_member", unrouted);
            refused.iter().for_each(|(reason, count)| ledger.drop_new(reason, *count));
        });
        for (member, metrics) in partials {
            let batches = Batch::split(metrics, || self.next_facts());
            self.offer(&mut routes, member, batches);
        }
        // Points keep the facts of their origin, by which a global can tell whose they are.
        for (member, metrics) in points {
            let batches = Batch::split(metrics, || facts.clone());
            self.offer(&mut routes, member, batches);
        }
        Ok(())
    }
}

/// A metric and what decides its way.
struct Addressed {
    metric: Metric,
    key: Key,
    stamp: Stamp,
    /// Whether it is a point, event or check: these go where all of their origin go.
    finished: bool,
}

/// Checks a metric, stamps it if nobody has, and sorts its tags.
fn address(mut metric: Metric, facts: &Facts, arrived: Stamp) -> Result<Addressed, Refused> {
    match decode(&metric)? {
        Item::Partial(partial) => {
            let stamp = partial.stamp.unwrap_or(arrived);
            metric.stamp = Some(metricpb::Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms });
            let context = &partial.context;
            metric.tags = context.tags.iter().map(str::to_owned).collect();
            let key = Key::new(&context.name, context.kind.as_str(), context.tags.joined());
            Ok(Addressed { metric, key, stamp, finished: false })
        }
        Item::Point(_, stamp) | Item::Event(_, stamp) | Item::Check(_, stamp) => {
            Ok(Addressed { metric, key: Key::origin(&facts.sender), stamp, finished: true })
        }
    }
}

impl Router {
    fn offer(&self, routes: &mut Routes, member: Member, batches: Vec<Batch>) {
        let Routes { lanes, tasks, .. } = routes;
        let lane = lanes.entry(member).or_insert_with_key(|member| {
            let lane = Lane::new(&member.address, self.limits, Arc::clone(&self.account));
            tasks.spawn(lane.clone().run());
            lane
        });
        batches.into_iter().for_each(|batch| lane.offer(batch));
    }
}

impl Routes {
    /// Forgets rings that no stamp from `before_ms` on can need, closes the lanes of members in none of the rest, and
    /// reaps those that are empty.
    fn retire(&mut self, before_ms: u64) {
        self.timeline.forget_before(before_ms);
        let Self { timeline, lanes, retiring, tasks, .. } = self;
        let gone = |member: &Member| !timeline.rings().any(|ring| ring.members().contains(member));
        let left: Vec<Member> = lanes.keys().filter(|member| gone(member)).cloned().collect();
        for lane in left.iter().filter_map(|member| lanes.remove(member)) {
            lane.close();
            retiring.push(lane);
        }
        retiring.retain(|lane| !lane.is_empty());
        while let Some(ended) = tasks.try_join_next() {
            if let Err(panicked) = ended {
                tracing::error!(%panicked, "A lane's task failed: what it held waits until the process ends");
            }
        }
    }
}

fn names(routes: &Routes) -> Vec<String> {
    let ring = routes.timeline.latest();
    ring.map(|ring| ring.members().iter().map(|member| member.name.clone()).collect()).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default()
}
