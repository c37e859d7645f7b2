//! Members that refuse, die, fall silent, leave and come back, on loopback.

mod ledger;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use veneur_forward::{
    Account, Batch, Facts, Leaver, Ledger,
    import::{Importer, Settings, Stopping, serve},
    lane::{Lane, Limits},
    router::Router,
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_ring::Member;
use veneur_wire::{encode_partial, metricpb::Metric};

use ledger::until;

const LIMITS: Limits = Limits { max_bytes: 1024 * 1024, max_age: Duration::from_mins(1) };
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Seen(Mutex<Vec<Facts>>);

impl Importer for Seen {
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        let mut seen = self.0.lock().expect("no test panics here");
        seen.extend(metrics.iter().map(|_| facts.clone()));
        Ok(())
    }
}

/// A member behind a wire that can be cut.
struct Peer {
    address: String,
    seen: Arc<Seen>,
    wires: JoinSet<()>,
    serving: JoinSet<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl Peer {
    async fn start() -> Self {
        let inner = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let to = inner.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let seen = Arc::new(Seen::default());
        let (importer, mut serving) = (Arc::clone(&seen), JoinSet::new());
        let stopped = async move { drop(stopped.await) };
        serving.spawn(async move { serve(inner, Settings::default(), importer, stopped).await.expect("serves") });
        let outer = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = outer.local_addr().expect("bound").to_string();
        let mut wires = JoinSet::new();
        wires.spawn(async move {
            let mut wires = JoinSet::new();
            loop {
                let (mut near, _) = outer.accept().await.expect("loopback");
                // A peer that has stopped takes nothing more, and so its wire ends.
                if let Ok(mut far) = TcpStream::connect(to).await {
                    wires.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
                }
            }
        });
        Self { address, seen, wires, serving, stop: Some(stop) }
    }

    /// As `kill -9` would: connections break and nobody listens any more.
    async fn kill(&mut self) {
        self.wires.shutdown().await;
    }

    /// As SIGTERM does: calls are answered, clients told, and then nobody listens.
    async fn leave(&mut self) {
        drop(self.stop.take());
        self.serving.join_next().await.expect("it was serving").expect("no panic");
        self.wires.shutdown().await;
    }

    fn member(&self, name: &str) -> Member {
        Member { name: name.into(), address: self.address.clone() }
    }

    fn seen(&self) -> Vec<Facts> {
        self.seen.0.lock().expect("not poisoned").clone()
    }
}

struct Proxy {
    router: Arc<Router>,
    account: Arc<Account>,
    _tending: JoinSet<()>,
}

fn proxy(interval: Duration, members: Vec<Member>) -> Proxy {
    let account = Arc::new(Account::default());
    let router = Arc::new(Router::new("proxy-0", interval, LIMITS, Arc::clone(&account)));
    router.change(0, members);
    let mut tending = JoinSet::new();
    let tended = Arc::clone(&router);
    tending.spawn(async move { tended.tend(CancellationToken::new()).await });
    Proxy { router, account, _tending: tending }
}

impl Proxy {
    fn import(&self, facts: &Facts, count: u64) {
        let metrics = (0..count).map(|n| counter(&format!("c{n}"))).collect();
        self.router.import(facts, metrics).expect("it is running");
    }

    async fn until(&self, what: &str, met: impl Fn(&Ledger) -> bool) -> Ledger {
        until(&self.account, what, met).await
    }

    async fn until_absent(&self, name: &str, absent: bool) {
        let is = |_: &Ledger| self.router.view().members.iter().any(|m| m.name == name && m.absent == absent);
        self.until(&format!("{name} is absent: {absent}"), is).await;
    }
}

fn counter(name: &str) -> Metric {
    let context = Context { name: name.into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
}

const LONG: Duration = Duration::from_mins(10);

#[tokio::test]
async fn what_a_refusing_member_owns_goes_to_its_second_choice_at_once() {
    let alive = Peer::start().await;
    let dead = Member { name: "dead".into(), address: "127.0.0.1:1".into() };
    let proxy = proxy(LONG, vec![alive.member("alive"), dead]);
    proxy.import(&Facts::default(), 200);
    let ledger = proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    assert!((50..150).contains(&ledger.rehomed), "{ledger:?}");
    let failed_over = alive.seen().iter().filter(|facts| facts.failover).count() as u64;
    assert_eq!(failed_over, ledger.rehomed, "the receiver can tell");
    proxy.import(&Facts::default(), 200);
    proxy.until("what comes later takes the same way", |ledger| ledger.acknowledged == 400).await;
}

#[tokio::test]
async fn a_killed_member_is_noticed_without_traffic_and_what_it_had_is_counted() {
    let (mut killed, other) = (Peer::start().await, Peer::start().await);
    let proxy = proxy(LONG, vec![killed.member("killed"), other.member("other")]);
    proxy.import(&Facts::default(), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    let had = killed.seen().len() as u64;
    killed.kill().await;
    proxy.until_absent("killed", true).await;
    let ledger = proxy.account.snapshot();
    assert_eq!(ledger.lost_with_member, had, "{ledger:?}");
    assert_eq!(ledger.uncertain, 0, "{ledger:?}");
    proxy.import(&Facts::default(), 200);
    proxy.until("the other takes all", |ledger| ledger.acknowledged == 400).await;
    assert_eq!(other.seen().len() as u64, 400 - had);
}

#[tokio::test]
async fn a_member_that_leaves_takes_nothing_with_it() {
    let (mut leaver, other) = (Peer::start().await, Peer::start().await);
    let proxy = proxy(LONG, vec![leaver.member("leaver"), other.member("other")]);
    proxy.import(&Facts::default(), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    leaver.leave().await;
    proxy.until_absent("leaver", true).await;
    proxy.import(&Facts::default(), 200);
    let ledger = proxy.until("the other takes all", |ledger| ledger.acknowledged == 400).await;
    assert_eq!((ledger.lost_with_member, ledger.uncertain), (0, 0), "{ledger:?}");
}

#[tokio::test]
async fn a_silent_member_keeps_its_own_to_the_boundary_and_then_loses_it() {
    let alive = Peer::start().await;
    // The kernel takes its connections, and nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = silent.local_addr().expect("bound").to_string();
    let proxy = proxy(Duration::from_secs(1), vec![alive.member("alive"), Member { name: "silent".into(), address }]);
    proxy.import(&Facts::default(), 200);
    let ledger = proxy.until("the living member has its share", |ledger| ledger.acknowledged > 0).await;
    assert!(ledger.held > 0 && ledger.rehomed == 0, "{ledger:?}");
    let ledger = proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    assert!(ledger.rehomed > 0, "{ledger:?}");
}

#[tokio::test]
async fn a_member_that_comes_back_gets_its_own_again_after_a_boundary() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let alive = Peer::start().await;
    let late = Member { name: "late".into(), address: address.to_string() };
    let proxy = proxy(Duration::from_secs(1), vec![alive.member("alive"), late]);
    proxy.import(&Facts::default(), 200);
    proxy.until_absent("late", true).await;

    let seen = Arc::new(Seen::default());
    let (importer, mut serving) = (Arc::clone(&seen), JoinSet::new());
    let listener = TcpListener::bind(address).await.expect("the port is free still");
    let never = std::future::pending();
    serving.spawn(async move { serve(listener, Settings::default(), importer, never).await.expect("serves") });
    proxy.until_absent("late", false).await;
    proxy.import(&Facts::default(), 200);
    proxy.until("all are delivered", |ledger| ledger.acknowledged == 400).await;
    let seen = seen.0.lock().expect("not poisoned").clone();
    assert!(!seen.is_empty() && seen.iter().all(|facts| !facts.failover), "{}", seen.len());
}

#[tokio::test]
async fn what_waits_for_a_dead_member_goes_to_a_second_choice_that_came_back_later() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let late = Member { name: "late".into(), address: address.to_string() };
    let dead = Member { name: "dead".into(), address: "127.0.0.1:1".into() };
    let proxy = proxy(Duration::from_secs(1), vec![late, dead]);
    proxy.import(&Facts::default(), 200);
    proxy.until_absent("late", true).await;
    proxy.until_absent("dead", true).await;
    let ledger = proxy.account.snapshot();
    assert_eq!(ledger.held, 200, "nobody takes it: {ledger:?}");

    let (seen, mut serving) = (Arc::new(Seen::default()), JoinSet::new());
    let (importer, never) = (Arc::clone(&seen), std::future::pending());
    let listener = TcpListener::bind(address).await.expect("the port is free still");
    serving.spawn(async move { serve(listener, Settings::default(), importer, never).await.expect("serves") });
    let ledger = proxy.until("the share of the dead one has arrived", |ledger| ledger.acknowledged == 200).await;
    assert!(ledger.dropped.is_empty() && ledger.uncertain == 0, "{ledger:?}");
}

fn left_by(name: &str) -> Facts {
    left_by_all(&[name])
}

fn left_by_all(names: &[&str]) -> Facts {
    let leaver = |name: &&str| Leaver { name: (*name).into(), ..Leaver::default() };
    Facts { leavers: names.iter().map(leaver).collect(), ..Facts::default() }
}

#[tokio::test]
async fn what_a_leaver_gives_away_never_comes_back_to_it() {
    let (leaver, other) = (Peer::start().await, Peer::start().await);
    let proxy = proxy(LONG, vec![leaver.member("leaver"), other.member("other")]);
    proxy.import(&left_by("leaver"), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    assert_eq!((leaver.seen().len(), other.seen().len()), (0, 200));
}

#[tokio::test]
async fn what_the_last_member_gives_away_is_refused_unread() {
    let last = Peer::start().await;
    let proxy = proxy(LONG, vec![last.member("last")]);
    let facts = left_by("last");
    assert_eq!(proxy.router.import(&facts, vec![counter("c")]), Err(Stopping));
    assert_eq!(proxy.account.snapshot(), Ledger::default(), "it is the leaver's still");
    let other = left_by("other");
    proxy.import(&other, 1);
    proxy.router.change(1, Vec::new());
    assert_eq!(proxy.router.import(&other, vec![counter("c")]), Err(Stopping), "the last one leaves as well");
}

#[tokio::test]
async fn what_several_gave_away_one_after_the_other_goes_to_none_of_them() {
    let (first, second, stays) = (Peer::start().await, Peer::start().await, Peer::start().await);
    let members = vec![first.member("first"), second.member("second"), stays.member("stays")];
    let proxy = proxy(LONG, members);
    proxy.import(&left_by("first"), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    let had = second.seen();
    assert!(!had.is_empty() && had.iter().all(|facts| facts.leavers == left_by("first").leavers), "{had:?}");
    proxy.import(&left_by_all(&["first", "second"]), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 400).await;
    assert_eq!((first.seen().len(), second.seen().len(), stays.seen().len()), (0, had.len(), 400 - had.len()));
    let all = left_by_all(&["first", "second", "stays"]);
    assert_eq!(proxy.router.import(&all, vec![counter("c")]), Err(Stopping));
}

#[tokio::test]
async fn what_a_leaver_gives_away_is_refused_while_all_others_are_dead() {
    let leaver = Peer::start().await;
    let dead = Member { name: "dead".into(), address: "127.0.0.1:1".into() };
    let proxy = proxy(LONG, vec![leaver.member("leaver"), dead]);
    proxy.import(&Facts::default(), 200);
    proxy.until_absent("dead", true).await;
    assert_eq!(proxy.router.import(&left_by("leaver"), vec![counter("c")]), Err(Stopping));
}

#[tokio::test]
async fn what_a_leaver_had_alone_goes_to_the_member_that_comes_next() {
    let (leaver, next) = (Peer::start().await, Peer::start().await);
    let proxy = proxy(LONG, vec![leaver.member("leaver")]);
    // Written just now, so that it governs no stamp of the interval under way.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let now_ms = u64::try_from(now.as_millis()).expect("before the year 500,000,000");
    proxy.router.change(now_ms, vec![next.member("next")]);
    proxy.import(&left_by("leaver"), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    assert_eq!((leaver.seen().len(), next.seen().len()), (0, 200));
}

#[tokio::test]
async fn a_vanished_member_is_out_although_it_answers() {
    let (vanished, other) = (Peer::start().await, Peer::start().await);
    let proxy = proxy(LONG, vec![vanished.member("vanished"), other.member("other")]);
    proxy.import(&Facts::default(), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    let had = vanished.seen().len();
    proxy.router.vanished("vanished");
    proxy.import(&Facts::default(), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 400).await;
    assert_eq!(vanished.seen().len(), had);
}

#[tokio::test]
async fn a_member_that_vanishes_before_it_got_anything_gets_nothing() {
    let (vanished, other) = (Peer::start().await, Peer::start().await);
    let proxy = proxy(LONG, vec![vanished.member("vanished"), other.member("other")]);
    proxy.router.vanished("vanished");
    proxy.import(&Facts::default(), 200);
    proxy.until("everything is delivered", |ledger| ledger.acknowledged == 200).await;
    assert_eq!((vanished.seen().len(), other.seen().len()), (0, 200));
}

#[tokio::test]
async fn what_comes_before_any_member_is_known_waits_at_its_sender() {
    let member = Peer::start().await;
    let proxy = proxy(LONG, Vec::new());
    assert_eq!(proxy.router.import(&Facts::default(), vec![counter("c")]), Err(Stopping));
    assert_eq!(proxy.account.snapshot(), Ledger::default(), "it is the sender's still");

    let (router, mut tasks) = (Arc::clone(&proxy.router), JoinSet::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let never = std::future::pending();
    tasks.spawn(async move { serve(listener, Settings::default(), router, never).await.expect("serves") });
    let account = Arc::new(Account::default());
    let lane = Lane::new(address, LIMITS, Arc::clone(&account));
    tasks.spawn(lane.clone().run());
    account.record(|ledger| (ledger.produced, ledger.held) = (1, 1));
    Batch::split([counter("c")], Facts::default).into_iter().for_each(|batch| lane.offer(batch));
    let tried = || lane.take_durations().len();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tried() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it is tried");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.router.change(0, vec![member.member("member")]);
    proxy.until("it has arrived", |ledger| ledger.acknowledged == 1).await;
    let ledger = account.snapshot();
    assert_eq!((ledger.uncertain, ledger.dropped.len()), (0, 0), "{ledger:?}");
}
