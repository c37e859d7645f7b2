//! What a peer had answered for when it died: counted once, however its end is met, and not if it said that it leaves.

mod ledger;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use veneur_forward::{
    Account, Batch, Facts, Ledger,
    connect::{Manner, Target},
    import::{Importer, Settings, Stopping, serve},
    lane::{Lane, Limits},
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Stamp, Tags};
use veneur_wire::{encode_partial, metricpb::Metric};

use ledger::until;

const LIMITS: Limits = Limits { max_bytes: 1024 * 1024, max_age: Duration::from_mins(1) };

/// Takes everything, until it stops.
#[derive(Default)]
struct Process {
    stopping: AtomicBool,
}

impl Importer for Process {
    fn import(&self, _: &Facts, _: Vec<Metric>) -> Result<(), Stopping> {
        if self.stopping.load(Ordering::SeqCst) { Err(Stopping) } else { Ok(()) }
    }
}

async fn start(tasks: &mut JoinSet<()>) -> (Arc<Process>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let process = Arc::new(Process::default());
    let importer = Arc::clone(&process);
    tasks.spawn(async move {
        serve(listener, Settings::default(), importer, std::future::pending()).await.expect("serves");
    });
    (process, address)
}

/// The way to an address behind which processes come and go.
struct Way {
    address: String,
    to: Arc<Mutex<SocketAddr>>,
    /// Lets nothing through from then on, and closes nothing.
    frozen: CancellationToken,
    wires: JoinSet<()>,
}

impl Way {
    async fn to(to: SocketAddr) -> Self {
        let outer = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = outer.local_addr().expect("bound").to_string();
        let (to, frozen) = (Arc::new(Mutex::new(to)), CancellationToken::new());
        let (goal, cold, mut wires) = (Arc::clone(&to), frozen.clone(), JoinSet::new());
        wires.spawn(async move {
            let mut wires = JoinSet::new();
            loop {
                let (mut near, _) = outer.accept().await.expect("loopback");
                let to = *goal.lock().expect("not poisoned");
                let mut far = TcpStream::connect(to).await.expect("is there");
                let cold = cold.clone();
                wires.spawn(async move {
                    let copying = tokio::io::copy_bidirectional(&mut near, &mut far);
                    if cold.run_until_cancelled(copying).await.is_none() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, to, frozen, wires }
    }
}

struct Sender {
    account: Arc<Account>,
    lane: Lane,
    _running: JoinSet<()>,
}

impl Sender {
    fn to(address: &str, manner: Manner) -> Self {
        let account = Arc::new(Account::default());
        let target = Target { address: address.to_owned(), manner: Arc::new(manner) };
        let lane = Lane::new(target, LIMITS, Arc::clone(&account));
        let mut running = JoinSet::new();
        running.spawn(lane.clone().run());
        Self { account, lane, _running: running }
    }

    fn offer(&self, count: u32, stamp: Stamp) {
        let metrics = (0..count).map(|n| {
            let name = format!("c{n}").as_str().into();
            let context = Context { name, tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
            encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: Some(stamp) })
        });
        for batch in Batch::split(metrics, Facts::default) {
            self.account.record(|ledger| {
                ledger.produced += batch.len();
                ledger.held += batch.len();
            });
            self.lane.offer(batch);
        }
    }

    async fn until(&self, what: &str, met: impl Fn(&Ledger) -> bool) -> Ledger {
        until(&self.account, what, met).await
    }
}

/// A stamp of the interval that ends so many milliseconds from now.
fn soon(interval_ms: u64) -> Stamp {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let now_ms = u64::try_from(now.as_millis()).expect("before the year 500,000,000");
    Stamp { boundary_ms: now_ms + interval_ms, interval_ms }
}

const LONG: u64 = 600_000;

#[tokio::test]
async fn a_death_is_counted_whether_it_is_met_by_looking_or_by_sending() {
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (_, process) = start(&mut tasks).await;
        let mut way = Way::to(process).await;
        let sender = Sender::to(&way.address, Manner::default());
        sender.offer(20, soon(LONG));
        sender.until("it is answered", |ledger| ledger.acknowledged == 20).await;
        // Both are there at once: that the connection is gone, and something to send.
        way.wires.shutdown().await;
        sender.offer(1, soon(LONG));
        let ledger = sender.until("the death is counted", |ledger| ledger.lost_with_member > 0).await;
        assert_eq!((ledger.lost_with_member, ledger.acknowledged), (20, 20), "{ledger:?}");
    }
}

#[tokio::test]
async fn who_refused_before_another_took_its_place_has_lost_nothing() {
    let mut tasks = JoinSet::new();
    let ((process, first), (_, second)) = (start(&mut tasks).await, start(&mut tasks).await);
    let way = Way::to(first).await;
    let sender = Sender::to(&way.address, Manner::default());
    sender.offer(20, soon(LONG));
    sender.until("it is answered", |ledger| ledger.acknowledged == 20).await;
    *way.to.lock().expect("not poisoned") = second;
    process.stopping.store(true, Ordering::SeqCst);
    sender.offer(1, soon(LONG));
    let ledger = sender.until("the other answers", |ledger| ledger.acknowledged == 21).await;
    assert_eq!((ledger.lost_with_member, ledger.uncertain), (0, 0), "{ledger:?}");
}

#[tokio::test]
async fn what_a_peer_had_that_fell_silent_is_lost_however_late_that_is_noticed() {
    let mut tasks = JoinSet::new();
    let (_, process) = start(&mut tasks).await;
    let way = Way::to(process).await;
    let keep_alive = (Duration::from_millis(500), Duration::from_millis(1_500));
    let manner = Manner { keep_alive, connect_timeout: Duration::from_millis(300), ..Manner::default() };
    let sender = Sender::to(&way.address, manner);
    let stamp = soon(600);
    sender.offer(20, stamp);
    sender.until("it is answered", |ledger| ledger.acknowledged == 20).await;
    // Noticed long after all of it would have been published, had its peer lived.
    way.frozen.cancel();
    let ledger = sender.until("the death is counted", |ledger| ledger.lost_with_member > 0).await;
    assert_eq!(ledger.lost_with_member, 20, "{ledger:?}");
    assert!(soon(0).boundary_ms > stamp.boundary_ms + stamp.interval_ms / 4, "noticed at once");
}
