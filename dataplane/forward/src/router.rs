//! The proxy's heart: each metric to the lane of the member that owns it.
//!
//! Who owns a metric follows from the ring that governs its stamp. A member that does not answer is passed over: what is
//! its own goes to the member that a ring without it would name, until the boundary after it answers again.

mod absent;
mod address;
mod group;
mod leaving;
mod rehome;
mod view;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use veneur_metric::Stamp;
use veneur_ring::{Algorithm, Change, Hashing, Member, SETTLE_MS, Timeline};
use veneur_wire::metricpb::Metric;

use crate::{
    Account, Batch, Facts,
    clock::{millis, now_ms},
    connect::{Manner, Target},
    import::{Importer, Stopping},
    lane::{Health, Lane, Limits},
    packed::{Arrived, Packing},
};
use absent::{Absent, Turn};
use address::{Addressed, address};
use group::Group;
pub use view::{MemberView, RingView};

/// Routes imported metrics over the ring that governs their stamp.
#[derive(Debug)]
pub struct Router {
    name: String,
    interval: Duration,
    limits: Limits,
    hashing: Hashing,
    manner: Arc<Manner>,
    account: Arc<Account>,
    sequence: AtomicU64,
    /// Told when a member's health changes.
    noticed: Arc<Notify>,
    routes: Mutex<Routes>,
}

#[derive(Debug)]
struct Routes {
    timeline: Timeline,
    lanes: HashMap<Member, Lane>,
    /// Members that are passed over.
    absent: Absent,
    /// Lanes of members that are in no ring any more, until they are empty.
    retiring: Vec<(Member, Lane)>,
    /// Set once, when what is held is being delivered for the last time.
    draining: bool,
    tasks: JoinSet<()>,
    /// When every proxy has the first membership, as it came and was written, in Unix milliseconds.
    since_ms: Option<u64>,
    ready: bool,
    /// Why members are not known any more, while that is so.
    blind: Option<String>,
    /// Whether the newest membership has no member: those of the ring are on their way out, as far as anybody knows.
    deserted: bool,
}

impl Router {
    /// A router without members. `name` is what it calls itself to its members; `interval` is the tiers'.
    pub fn new(name: impl Into<String>, interval: Duration, limits: Limits, account: Arc<Account>) -> Self {
        Self {
            name: name.into(),
            interval,
            limits,
            hashing: Hashing::default(),
            manner: Arc::default(),
            account,
            sequence: AtomicU64::new(0),
            noticed: Arc::default(),
            routes: Mutex::new(Routes {
                timeline: Timeline::new(Algorithm::default(), millis(interval)),
                lanes: HashMap::new(),
                absent: Absent::default(),
                retiring: Vec::new(),
                draining: false,
                tasks: JoinSet::new(),
                since_ms: None,
                ready: false,
                blind: None,
                deserted: false,
            }),
        }
    }

    /// The same with keys made in another way, and rings to match. Before the first membership.
    #[must_use]
    pub fn with_hashing(mut self, hashing: Hashing) -> Self {
        let timeline = Timeline::new(hashing.algorithm, millis(self.interval));
        self.routes.get_mut().unwrap_or_else(PoisonError::into_inner).timeline = timeline;
        self.hashing = hashing;
        self
    }

    /// The same, speaking to its members in a certain manner. Before the first membership.
    #[must_use]
    pub fn with_manner(mut self, manner: Manner) -> Self {
        self.manner = Arc::new(manner);
        self
    }

    /// Takes a membership that was written at `written_ms`.
    pub fn change(&self, written_ms: u64, members: Vec<Member>) {
        let mut routes = self.routes();
        routes.deserted = members.is_empty();
        members.iter().for_each(|member| routes.absent.listed(member));
        match routes.timeline.change(written_ms, members) {
            Change::First => {
                routes.since_ms = Some(settled_ms(now_ms(), written_ms));
                tracing::info!(members = ?names(&routes), "Ring has its first members");
            }
            Change::Scheduled { effective_ms, joined, left } => {
                tracing::info!(effective_ms, ?joined, ?left, "Ring changes at the boundary");
            }
            Change::Readdressed => tracing::info!("A member has a new address"),
            Change::RefusedEmpty if routes.timeline.latest().is_none() => tracing::info!("No member yet"),
            Change::RefusedEmpty => tracing::debug!("Membership is empty: keeping the last good ring"),
            Change::Unchanged => {}
        }
        self.retire(&mut routes);
    }

    /// Passes over a member at once, because it is not there any more and did not say that it would leave.
    pub fn vanished(&self, name: &str) {
        let mut routes = self.routes();
        // Also where nothing has gone to it yet.
        let members = routes.timeline.rings().flat_map(|ring| ring.members()).chain(routes.lanes.keys());
        let gone: HashSet<Member> = members.filter(|member| member.name == name).cloned().collect();
        for member in gone {
            tracing::warn!(member = name, "Member vanished: what is its own goes to its second choice");
            routes.absent.leave(member.clone());
            self.rehome(&mut routes, &member);
        }
    }

    /// Says why changes of members are not seen, or that they are seen again.
    pub fn blind(&self, why: Option<String>) {
        self.routes().blind = why;
    }

    /// Sends finished points of the proxy itself.
    pub fn produce(&self, metrics: &[Metric]) {
        let facts = self.next_facts();
        let arrived = self.arrived();
        let count = metrics.len() as u64;
        let messages: Vec<Vec<u8>> = metrics.iter().map(Metric::encode_to_vec).collect();
        let addressed = |message| address(message, &facts, &arrived, &self.hashing).ok();
        let addressed: Vec<Addressed<'_>> = messages.iter().filter_map(|message| addressed(message)).collect();
        let mut routes = self.routes();
        // What nobody could take is not made, rather than lost.
        if routes.draining || routes.timeline.latest().is_none() {
            return;
        }
        let good = addressed.len() as u64;
        self.account.record(|ledger| {
            ledger.produced += count;
            ledger.held += good;
            ledger.drop_new("incomplete", count - good);
        });
        self.route(&mut routes, &facts, &arrived, addressed, Instant::now());
    }

    /// Ready one boundary after the first members, and not before these have taken effect on proxies that knew others:
    /// from then on every proxy routes a stamp alike.
    pub fn ready(&self) -> bool {
        let mut routes = self.routes();
        let over = |since| now_ms() >= Stamp::under_way(since, self.interval).boundary_ms;
        // Once is for ever: a clock that is set back does not take a proxy out of service.
        routes.ready |= routes.since_ms.is_some_and(over);
        routes.ready
    }

    /// Passes over members that do not answer, and ends lanes whose member has left every ring, as they empty. At each
    /// boundary, gives away what waits for members that are passed over. Runs until `stop`.
    pub async fn tend(&self, stop: CancellationToken) {
        loop {
            let now_ms = now_ms();
            let boundary_ms = Stamp::under_way(now_ms, self.interval).boundary_ms;
            let boundary = tokio::time::sleep(Duration::from_millis(boundary_ms.saturating_sub(now_ms).max(1)));
            let at_boundary = tokio::select! {
                () = stop.cancelled() => return,
                () = self.noticed.notified() => false,
                () = boundary => true,
            };
            let mut routes = self.routes();
            self.look(&mut routes, false);
            self.retire(&mut routes);
            if at_boundary {
                self.rehome_stranded(&mut routes);
            }
        }
    }

    /// Looks how all members do. `impatient`: one that is silent is as good as dead.
    fn look(&self, routes: &mut Routes, impatient: bool) {
        let now_ms = now_ms();
        for (member, lane) in routes.lanes.clone() {
            let health = match lane.health() {
                Health::Silent(_) if impatient => Health::Dead,
                health => health,
            };
            match routes.absent.look(&member, health, now_ms, self.interval) {
                Turn::Left => {
                    tracing::warn!(member = member.name, "Member does not answer: passed over");
                    self.rehome(routes, &member);
                }
                Turn::Returns { boundary_ms } => {
                    tracing::info!(
                        member = member.name,
                        boundary_ms,
                        "Member answers again: back from this boundary on"
                    );
                }
                Turn::Stays => {}
            }
        }
    }

    /// Hands metrics that are on the ledger as held to the lanes of their owners; those that have none are lost.
    fn route(
        &self,
        routes: &mut Routes,
        facts: &Facts,
        arrived: &Arrived,
        addressed: Vec<Addressed<'_>>,
        since: Instant,
    ) {
        let Routes { timeline, absent, lanes, tasks, .. } = routes;
        let mut unrouted = 0;
        let mut groups: HashMap<Group<'_>, Packing> = HashMap::new();
        // Members own nearly equal shares.
        let share = addressed.iter().map(Addressed::packed_len).sum::<usize>() / lanes.len().max(1) * 9 / 8;
        for metric in addressed {
            let Addressed { key, stamp, .. } = metric;
            let Some(ring) = timeline.at(stamp.boundary_ms) else {
                unrouted += 1;
                continue;
            };
            let stays = |member: &Member| !facts.is_left_by(member);
            // What the leaver had for itself is of whoever comes next.
            let next = || timeline.latest().and_then(|ring| ring.owner_among(key, stays));
            let Some(owner) = ring.owner_among(key, stays).or_else(next) else {
                unrouted += 1;
                continue;
            };
            let second = absent
                .contains(owner)
                .then(|| ring.owner_among(key, |member| stays(member) && absent.admits(member, stamp)))
                .flatten()
                .filter(|second| *second != owner);
            let member = second.unwrap_or(owner);
            let group = Group { member, failover: second.is_some(), finished: metric.head.finished };
            metric.pack(groups.entry(group).or_insert_with(|| Packing::with_capacity(share)), arrived);
        }
        for (Group { member, failover, finished }, packing) in groups {
            let batches = Batch::of(packing, || {
                // Finished points keep the facts of their origin, by which a global can tell whose they are.
                let own = if finished { facts.clone() } else { self.next_facts() };
                // A member that leaves as well adds itself, so that it does not come back to the first.
                Facts { failover, leavers: facts.leavers.clone(), ..own }
            });
            let lane = lanes.entry(member.clone()).or_insert_with_key(|member| self.start_lane(member, tasks));
            batches.into_iter().for_each(|batch| lane.offer_waiting(batch, since));
        }
        self.account.record(|ledger| ledger.drop_held("no_member", unrouted));
    }

    /// What is unstamped belongs to the interval under way.
    fn arrived(&self) -> Arrived {
        Arrived::new(Stamp::under_way(now_ms(), self.interval))
    }

    fn start_lane(&self, member: &Member, tasks: &mut JoinSet<()>) -> Lane {
        let target = Target { address: member.address.clone(), manner: Arc::clone(&self.manner) };
        let lane = Lane::noticed_by(target, self.limits, Arc::clone(&self.account), Arc::clone(&self.noticed));
        tasks.spawn(lane.clone().run());
        lane
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_facts(&self) -> Facts {
        Facts { sender: self.name.clone(), sequence: self.sequence.fetch_add(1, Ordering::Relaxed), ..Facts::default() }
    }
}

impl Importer for Router {
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        let messages: Vec<Vec<u8>> = metrics.iter().map(Metric::encode_to_vec).collect();
        self.import_messages(facts, &mut messages.iter().map(Vec::as_slice))
    }

    fn import_messages(&self, facts: &Facts, messages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), Stopping> {
        let arrived = self.arrived();
        let mut refused: HashMap<&'static str, u64> = HashMap::new();
        // Reading is the long part, and needs no lock.
        let mut addressed: Vec<Addressed<'_>> = Vec::with_capacity(messages.size_hint().0);
        for message in messages {
            match address(message, facts, &arrived, &self.hashing) {
                Ok(metric) => addressed.push(metric),
                Err(reason) => *refused.entry(reason.reason()).or_default() += 1,
            }
        }

        let mut routes = self.routes();
        // Who does not know yet to whom things go does not answer for them.
        if routes.draining || routes.timeline.latest().is_none() || routes.is_last(facts) {
            return Err(Stopping);
        }
        let good = addressed.len() as u64;
        self.account.record(|ledger| {
            ledger.imported += good + refused.values().sum::<u64>();
            ledger.held += good;
            refused.iter().for_each(|(reason, count)| ledger.drop_new(reason, *count));
        });
        self.route(&mut routes, facts, &arrived, addressed, Instant::now());
        Ok(())
    }
}

impl Routes {
    /// Whether nobody could take what a leaver gives away: it has to publish that itself.
    fn is_last(&self, facts: &Facts) -> bool {
        let takes = |member: &Member| !facts.is_left_by(member) && !self.absent.is_away(member);
        let others = || self.timeline.latest().is_some_and(|ring| ring.members().iter().any(takes));
        !facts.leavers.is_empty() && (self.deserted || !others())
    }
}

/// When a membership that came now has reached every proxy. One whose writer's clock is ahead was not written later than
/// now.
fn settled_ms(now_ms: u64, written_ms: u64) -> u64 {
    now_ms.max(written_ms.min(now_ms) + SETTLE_MS)
}

fn names(routes: &Routes) -> Vec<String> {
    let ring = routes.timeline.latest();
    ring.map(|ring| ring.members().iter().map(|member| member.name.clone()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_starts_with_a_new_membership_waits_until_the_others_follow_it() {
        assert_eq!(settled_ms(50_000, 0), 50_000, "an old one");
        assert_eq!(settled_ms(50_000, 49_500), 51_500, "others may follow the one before up to then");
        assert_eq!(settled_ms(50_000, 99_000), 52_000, "a clock that is ahead keeps no proxy out of service");
    }
}
