//! Delivery between real peers on loopback: what was answered, what was not, and what there was no room for.

mod ledger;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use veneur_forward::{
    Account, Batch, Facts,
    client::{Client, Outcome},
    import::{Importer, Settings, Stopping, serve},
    lane::{Lane, Limits},
    router::Router,
};
use veneur_metric::{Check, Context, Kind, Partial, PartialValue, Scope, Stamp, Status, Tags};
use veneur_ring::Member;
use veneur_wire::{encode_check, encode_partial, metricpb::Metric};

use ledger::until;

const LIMITS: Limits = Limits { max_bytes: 1024 * 1024, max_age: Duration::from_mins(1) };
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Seen(Mutex<Vec<(Facts, Metric)>>);

impl Importer for Seen {
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        let mut seen = self.0.lock().expect("no test panics here");
        seen.extend(metrics.into_iter().map(|metric| (facts.clone(), metric)));
        Ok(())
    }
}

struct Peer {
    address: String,
    seen: Arc<Seen>,
    _serving: JoinSet<()>,
}

async fn peer() -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let seen = Arc::new(Seen::default());
    let mut serving = JoinSet::new();
    let importer = Arc::clone(&seen);
    serving.spawn(async move {
        serve(listener, Settings::default(), importer, std::future::pending()).await.expect("serves");
    });
    Peer { address, seen, _serving: serving }
}

fn counter(name: &str, stamp: Option<Stamp>) -> Metric {
    let context =
        Context { name: name.into(), tags: Tags::new(["b:2", "a:1"]), kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp })
}

fn produce(account: &Account, lane: &Lane, metrics: Vec<Metric>) {
    for batch in Batch::split(metrics, || Facts { sender: "pod-0".into(), sequence: 7, ..Facts::default() }) {
        account.record(|ledger| {
            ledger.produced += batch.len();
            ledger.held += batch.len();
        });
        lane.offer(batch);
    }
}

#[tokio::test]
async fn what_a_peer_answered_is_acknowledged_and_carries_its_facts() {
    let peer = peer().await;
    let account = Arc::new(Account::default());
    let lane = Lane::new(&peer.address, LIMITS, Arc::clone(&account));
    let mut tasks = JoinSet::new();
    tasks.spawn(lane.clone().run());
    produce(&account, &lane, (0..500).map(|n| counter(&format!("c{n}"), None)).collect());
    lane.close();
    tokio::time::timeout(PATIENCE, tasks.join_next()).await.expect("a closed lane ends once it is empty");
    let ledger = account.snapshot();
    assert_eq!((ledger.produced, ledger.acknowledged, ledger.held), (500, 500, 0), "{ledger:?}");
    let seen = peer.seen.0.lock().expect("not poisoned");
    assert_eq!(seen.len(), 500);
    assert!(seen.iter().all(|(facts, _)| *facts == Facts { sender: "pod-0".into(), sequence: 7, ..Facts::default() }));
}

#[tokio::test]
async fn what_was_refused_comes_back_whole_and_can_be_sent_again() {
    // A port that nobody listens on yet: connections are refused until the peer starts.
    let reserved = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = reserved.local_addr().expect("bound");
    drop(reserved);
    let mut client = Client::new(address.to_string());
    let batch = Batch::split([counter("c", None)], Facts::default).remove(0);
    let Outcome::NotSent(batch, _) = client.send(batch).await.outcome else { panic!("nobody was there") };
    assert_eq!(batch.len(), 1);

    let seen = Arc::new(Seen::default());
    let (importer, mut serving) = (Arc::clone(&seen), JoinSet::new());
    let listener = TcpListener::bind(address).await.expect("the port is free again");
    serving.spawn(async move {
        serve(listener, Settings::default(), importer, std::future::pending()).await.expect("serves");
    });
    assert!(matches!(client.send(batch).await.outcome, Outcome::Acknowledged(1)));
    assert_eq!(seen.0.lock().expect("not poisoned").len(), 1);
}

#[tokio::test]
async fn a_lane_never_holds_more_than_its_bytes_and_drops_the_oldest() {
    let account = Arc::new(Account::default());
    // Nobody runs the lane, so nothing leaves it.
    let lane = Lane::new("127.0.0.1:1", Limits { max_bytes: 20_000, ..LIMITS }, Arc::clone(&account));
    for n in 0..100 {
        produce(&account, &lane, (0..10).map(|m| counter(&format!("metric.{n}.{m}"), None)).collect());
        let (_, bytes) = lane.waiting();
        assert!(bytes <= 20_000, "{bytes} bytes wait");
        let ledger = account.snapshot();
        assert_eq!(ledger.unaccounted(), 0);
        assert_eq!(ledger.held + ledger.dropped.get("queue_full").copied().unwrap_or_default(), ledger.produced);
    }
    let left = lane.take_waiting();
    let names: Vec<String> =
        left.iter().flat_map(|(batch, _)| batch.clone().into_metrics()).map(|metric| metric.name).collect();
    let all: Vec<String> = (0..100).flat_map(|n| (0..10).map(move |m| format!("metric.{n}.{m}"))).collect();
    assert!(!names.is_empty() && names.len() < all.len() && all.ends_with(&names), "the newest are left: {names:?}");
    left.into_iter().for_each(|(batch, since)| lane.offer_waiting(batch, since));
    lane.abandon();
    let ledger = account.snapshot();
    assert_eq!((ledger.held, ledger.unaccounted()), (0, 0));
    assert_eq!(ledger.dropped["shutdown"], names.len() as u64, "{ledger:?}");
}

/// Takes a batch and does not answer until the test lets it.
struct Hung {
    entered: mpsc::SyncSender<()>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Importer for Hung {
    fn import(&self, _: &Facts, _: Vec<Metric>) -> Result<(), Stopping> {
        self.entered.send(()).expect("the test waits for this");
        let released = self.released.lock().expect("not poisoned").recv();
        assert!(released.is_err(), "nothing is ever sent: the test drops its end");
        Ok(())
    }
}

/// A lane, and a peer that has got a metric and does not answer yet, while another waits.
struct Sending {
    account: Arc<Account>,
    lane: Lane,
    running: JoinSet<()>,
    /// Lets the peer answer.
    release: mpsc::Sender<()>,
    _serving: JoinSet<()>,
}

async fn sending() -> Sending {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let ((entered, enters), (release, released)) = (mpsc::sync_channel(1), mpsc::channel::<()>());
    let mut serving = JoinSet::new();
    let importer = Arc::new(Hung { entered, released: Mutex::new(released) });
    serving.spawn(async move {
        serve(listener, Settings::default(), importer, std::future::pending()).await.expect("serves");
    });

    let account = Arc::new(Account::default());
    let lane = Lane::new(address, LIMITS, Arc::clone(&account));
    let mut running = JoinSet::new();
    running.spawn(lane.clone().run());
    produce(&account, &lane, vec![counter("on its way", None)]);
    tokio::task::spawn_blocking(move || enters.recv()).await.expect("no panic").expect("the peer has it");
    produce(&account, &lane, vec![counter("waiting", None)]);
    Sending { account, lane, running, release, _serving: serving }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_given_up_waits_for_the_answer_and_keeps_the_rest() {
    let Sending { account, lane, mut running, release, _serving } = sending().await;
    lane.give_up();
    drop(release);
    tokio::time::timeout(PATIENCE, running.join_next()).await.expect("it ends by itself");
    assert_eq!(lane.take_waiting().len(), 1);
    lane.abandon();
    let ledger = account.snapshot();
    assert_eq!((ledger.acknowledged, ledger.held, ledger.uncertain), (1, 1, 0), "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_being_sent_when_time_ran_out_is_uncertain() {
    let Sending { account, lane, running: mut tasks, release, _serving } = sending().await;
    tasks.shutdown().await;
    lane.abandon();
    let ledger = account.snapshot();
    assert_eq!((ledger.uncertain, ledger.dropped["shutdown"], ledger.held), (1, 1, 0), "{ledger:?}");
    assert_eq!(ledger.unaccounted(), 0);
    drop(release);
}

#[tokio::test]
async fn one_dead_member_does_not_delay_the_others() {
    let (alive, account) = (peer().await, Arc::new(Account::default()));
    let router = Router::new("proxy-0", Duration::from_secs(10), LIMITS, Arc::clone(&account));
    let member = |name: &str, address: &str| Member { name: name.into(), address: address.into() };
    // Port 1 refuses connections.
    router.change(0, vec![member("alive", &alive.address), member("dead", "127.0.0.1:1")]);
    let sent = 200;
    router
        .import(&Facts::default(), (0..sent).map(|n| counter(&format!("c{n}"), None)).collect())
        .expect("it is running");
    let ledger = until(&account, "the living member has its share", |ledger| ledger.acknowledged > 0).await;
    assert_eq!(ledger.acknowledged + ledger.held, sent, "{ledger:?}");
    assert!(ledger.held > 0, "the dead member's share waits: {ledger:?}");

    let seen = alive.seen.0.lock().expect("not poisoned").clone();
    assert!(seen.iter().all(|(_, metric)| metric.stamp.is_some()), "the first of our tiers stamps what is unstamped");
    assert!(seen.iter().all(|(_, metric)| metric.tags == ["a:1", "b:2"]), "tags leave a proxy sorted");
    drop(seen);
    router.drain(Duration::from_millis(200)).await;
    let ledger = account.snapshot();
    assert_eq!((ledger.held, ledger.unaccounted()), (0, 0), "{ledger:?}");
}

#[tokio::test]
async fn events_and_checks_go_where_all_of_their_sender_goes() {
    let (peers, account) = ([peer().await, peer().await], Arc::new(Account::default()));
    let router = Router::new("proxy-0", Duration::from_secs(10), LIMITS, Arc::clone(&account));
    let member = |(name, peer): (&str, &Peer)| Member { name: name.into(), address: peer.address.clone() };
    router.change(0, ["a", "b"].into_iter().zip(&peers).map(member).collect());
    let stamp = Stamp { boundary_ms: 1_700_000_000_000, interval_ms: 10_000 };
    let check = |name: String| Check {
        name: name.into(),
        status: Status::Ok,
        timestamp: None,
        host: None,
        message: None,
        tags: Tags::new(["z", "a"]),
    };
    for pod in 0..20 {
        let facts = Facts { sender: format!("pod-{pod}"), sequence: 3, ..Facts::default() };
        let checks = (0..10).map(|n| encode_check(check(format!("check{n}")), stamp)).collect();
        router.import(&facts, checks).expect("it is running");
    }
    until(&account, "all are through", |ledger| ledger.acknowledged == 200).await;
    let of = |peer: &Peer| -> BTreeSet<String> {
        let seen = peer.seen.0.lock().expect("not poisoned");
        assert!(seen.iter().all(|(facts, metric)| facts.sequence == 3 && metric.check.is_some()), "as they were");
        seen.iter().map(|(facts, _)| facts.sender.clone()).collect()
    };
    let senders = peers.each_ref().map(of);
    assert_eq!(senders.iter().map(BTreeSet::len).sum::<usize>(), 20, "each sender at one member: {senders:?}");
    assert!(senders.iter().all(|senders| !senders.is_empty()), "{senders:?}");
}

#[tokio::test]
async fn a_bad_metric_is_refused_alone() {
    let (peer, account) = (peer().await, Arc::new(Account::default()));
    let router = Router::new("proxy-0", Duration::from_secs(10), LIMITS, Arc::clone(&account));
    router.change(0, vec![Member { name: "a".into(), address: peer.address.clone() }]);
    let nameless = Metric { name: String::new(), ..counter("x", None) };
    router
        .import(&Facts::default(), vec![counter("good", None), nameless, counter("better", None)])
        .expect("it is running");
    let ledger = until(&account, "the good ones are through", |ledger| ledger.acknowledged == 2).await;
    assert_eq!(ledger.imported, 3);
    assert_eq!(ledger.dropped["incomplete"], 1, "{ledger:?}");
}

#[tokio::test]
async fn what_waits_for_a_member_that_left_goes_to_one_that_stays() {
    let (stays, account) = (peer().await, Arc::new(Account::default()));
    let router = Router::new("proxy-0", Duration::from_secs(1), LIMITS, Arc::clone(&account));
    // Port 1 refuses connections.
    router.change(0, vec![Member { name: "left".into(), address: "127.0.0.1:1".into() }]);
    router.import(&Facts::default(), vec![counter("c", None)]).expect("it is running");
    router.change(1, vec![Member { name: "stays".into(), address: stays.address.clone() }]);
    let ledger = until(&account, "it has arrived", |ledger| ledger.acknowledged == 1).await;
    assert_eq!((ledger.rehomed, ledger.uncertain, ledger.held), (1, 0, 0), "{ledger:?}");
    let seen = stays.seen.0.lock().expect("not poisoned").clone();
    let [(facts, metric)] = seen.as_slice() else { panic!("one metric: {seen:?}") };
    assert_eq!((facts.failover, metric.name.as_str()), (false, "c"), "it is the owner now");
}

#[tokio::test]
async fn who_has_stopped_refuses_what_still_comes() {
    let account = Arc::new(Account::default());
    let router = Router::new("proxy-0", Duration::from_secs(1), LIMITS, Arc::clone(&account));
    // Port 1 refuses connections.
    router.change(0, vec![Member { name: "dead".into(), address: "127.0.0.1:1".into() }]);
    router.import(&Facts::default(), vec![counter("c", None)]).expect("it is running");
    router.drain(Duration::from_millis(200)).await;
    let ledger = account.snapshot();
    assert_eq!((ledger.held, ledger.dropped["shutdown"], ledger.unaccounted()), (0, 1, 0), "{ledger:?}");

    let refused = router.import(&Facts::default(), vec![counter("too late", None)]);
    assert_eq!(refused, Err(Stopping), "nobody would deliver it");
    assert_eq!(account.snapshot().imported, 1, "what was refused whole is the sender's still");
}
