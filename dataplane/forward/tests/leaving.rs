//! Proxies that stop, and members that leave, with something under way.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use veneur_forward::{
    Account, Facts, Ledger,
    import::{Importer, Settings, Stopping, serve},
    lane::Limits,
    router::Router,
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_ring::Member;
use veneur_wire::{encode_partial, metricpb::Metric};

const LIMITS: Limits = Limits { max_bytes: 1024 * 1024, max_age: Duration::from_mins(1) };
const PATIENCE: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_mins(10);

/// Takes everything.
struct Stays;

impl Importer for Stays {
    fn import(&self, _: &Facts, _: Vec<Metric>) -> Result<(), Stopping> {
        Ok(())
    }
}

/// Says that something has come, and takes nothing of it once the test lets go.
struct Leaves {
    entered: mpsc::SyncSender<()>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Importer for Leaves {
    fn import(&self, _: &Facts, _: Vec<Metric>) -> Result<(), Stopping> {
        self.entered.send(()).expect("the test waits for this");
        let released = self.released.lock().expect("not poisoned").recv();
        assert!(released.is_err(), "nothing is ever sent: the test drops its end");
        Err(Stopping)
    }
}

async fn member(name: &str, importer: Arc<dyn Importer>, tasks: &mut JoinSet<()>) -> Member {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let never = std::future::pending();
    tasks.spawn(async move { serve(listener, Settings::default(), importer, never).await.expect("serves") });
    Member { name: name.into(), address }
}

fn import(router: &Router, count: u32) {
    let metrics = (0..count).map(|n| {
        let name = format!("c{n}").as_str().into();
        let context = Context { name, tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
        encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
    });
    router.import(&Facts::default(), metrics.collect()).expect("it is running");
}

/// Drains a router whose other member is at `address`, and says what became of everything.
async fn drained(address: String, budget: Duration) -> Ledger {
    let (account, mut tasks) = (Arc::new(Account::default()), JoinSet::new());
    let router = Router::new("proxy-0", LONG, LIMITS, Arc::clone(&account));
    let stays = member("stays", Arc::new(Stays), &mut tasks).await;
    router.change(0, vec![stays, Member { name: "other".into(), address }]);
    import(&router, 200);
    let begun = tokio::time::Instant::now();
    router.drain(budget).await;
    assert!(begun.elapsed() < budget, "it ends once nothing is held");
    account.snapshot()
}

#[tokio::test]
async fn a_proxy_that_stops_gives_what_a_dead_member_owns_to_its_second_choice() {
    // Port 1 refuses connections.
    let ledger = drained("127.0.0.1:1".into(), PATIENCE).await;
    assert_eq!((ledger.acknowledged, ledger.held, ledger.unaccounted()), (200, 0, 0), "{ledger:?}");
    assert!(ledger.rehomed > 0, "{ledger:?}");
}

#[tokio::test]
async fn a_proxy_that_stops_does_not_wait_for_a_silent_member_to_the_end() {
    // The kernel takes its connections, and nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let ledger = drained(silent.local_addr().expect("bound").to_string(), Duration::from_secs(10)).await;
    assert_eq!((ledger.acknowledged, ledger.held, ledger.unaccounted()), (200, 0, 0), "{ledger:?}");
    assert!(ledger.rehomed > 0, "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_did_not_take_when_it_left_goes_to_one_that_stays() {
    let (account, mut tasks) = (Arc::new(Account::default()), JoinSet::new());
    let router = Arc::new(Router::new("proxy-0", Duration::from_secs(1), LIMITS, Arc::clone(&account)));
    let tended = Arc::clone(&router);
    tasks.spawn(async move { tended.tend(CancellationToken::new()).await });
    let ((entered, enters), (release, released)) = (mpsc::sync_channel(8), mpsc::channel::<()>());
    let leaves = Leaves { entered, released: Mutex::new(released) };
    let left = member("left", Arc::new(leaves), &mut tasks).await;
    let stays = member("stays", Arc::new(Stays), &mut tasks).await;
    router.change(0, vec![left]);
    import(&router, 1);
    let enters = tokio::task::spawn_blocking(move || enters.recv().map(|()| enters)).await.expect("no panic");
    let _enters = enters.expect("it is under way");
    router.change(1, vec![stays]);
    let view = router.view();
    let names: Vec<&str> = view.left.iter().map(|member| member.name.as_str()).collect();
    assert_eq!((names, view.members.len()), (vec!["left"], 1), "it is shown while something is on its way to it");
    assert!(router.take_counts().contains_key(&view.left[0].address));
    drop(release);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let ledger = account.snapshot();
        assert_eq!(ledger.unaccounted(), 0, "{ledger:?}");
        if ledger.acknowledged == 1 {
            assert_eq!((ledger.rehomed, ledger.uncertain), (1, 0), "{ledger:?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited until it has arrived: {ledger:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
