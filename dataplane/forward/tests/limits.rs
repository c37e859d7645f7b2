//! What an importer allows its clients, and that keeping to it costs them nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use veneur_forward::{
    Account, Batch, Facts,
    client::{Client, Outcome},
    import::{Importer, Settings, Stopping, serve},
    lane::{Lane, Limits},
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_wire::{encode_partial, metricpb::Metric};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Seen(Mutex<u64>);

impl Importer for Seen {
    fn import(&self, _: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        *self.0.lock().expect("no test panics here") += metrics.len() as u64;
        Ok(())
    }
}

async fn server(settings: Settings) -> (String, Arc<Seen>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let (seen, mut serving) = (Arc::new(Seen::default()), JoinSet::new());
    let importer = Arc::clone(&seen);
    serving.spawn(async move { serve(listener, settings, importer, std::future::pending()).await.expect("serves") });
    (address, seen, serving)
}

fn batch(count: u32) -> Batch {
    let metrics = (0..count).map(|n| {
        let context = Context {
            name: format!("c{n}").as_str().into(),
            tags: Tags::none(),
            kind: Kind::Counter,
            scope: Scope::Global,
        };
        encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
    });
    Batch::split(metrics, Facts::default).remove(0)
}

#[tokio::test]
async fn a_metric_of_too_many_fields_costs_its_neighbours_nothing() {
    let (address, seen, _serving) = server(Settings::default()).await;
    let metric =
        |name: &str, tags: usize| Metric { name: name.into(), tags: vec!["t".into(); tags], ..Metric::default() };
    let metrics = [metric("before", 1), metric("hostile", 140_000), metric("after", 1)];
    let mut client = Client::new(&address);
    for batch in Batch::split(metrics, Facts::default) {
        let outcome = client.send(batch).await.outcome;
        assert!(matches!(outcome, Outcome::Acknowledged(_)), "{outcome:?}");
    }
    assert_eq!(*seen.0.lock().expect("not poisoned"), 3, "it counts as one that says nothing");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_until_one_ends() {
    let (address, _, _serving) = server(Settings { max_connections: 2, ..Settings::default() }).await;
    let mut clients = [Client::new(&address), Client::new(&address)];
    for client in &mut clients {
        assert!(matches!(client.send(batch(1)).await.outcome, Outcome::Acknowledged(1)));
    }
    let mut third = Client::new(&address);
    assert!(matches!(third.send(batch(1)).await.outcome, Outcome::NotSent(..)), "nothing of it was read");
    drop(clients);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !matches!(third.send(batch(1)).await.outcome, Outcome::Acknowledged(1)) {
        assert!(tokio::time::Instant::now() < deadline, "there is room, and it is not given");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_connection_that_has_come_of_age_is_replaced_and_nothing_is_lost() {
    let settings = Settings {
        max_connection_age: Duration::from_millis(200),
        max_connection_age_grace: Duration::from_secs(5),
        ..Settings::default()
    };
    let (address, seen, _serving) = server(settings).await;
    let account = Arc::new(Account::default());
    let limits = Limits { max_bytes: 16 * 1024 * 1024, max_age: Duration::from_mins(1) };
    let lane = Lane::new(&address, limits, Arc::clone(&account));
    let mut tasks = JoinSet::new();
    tasks.spawn(lane.clone().run());
    let mut sent = 0;
    // Some ten connections' worth.
    for _ in 0..100 {
        let batch = batch(50);
        sent += batch.len();
        account.record(|ledger| {
            ledger.produced += batch.len();
            ledger.held += batch.len();
        });
        lane.offer(batch);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lane.close();
    tokio::time::timeout(PATIENCE, tasks.join_next()).await.expect("delivers all");
    let ledger = account.snapshot();
    assert_eq!((ledger.acknowledged, ledger.uncertain, ledger.held), (sent, 0, 0), "{ledger:?}");
    assert_eq!(ledger.lost_with_member, 0, "a connection's age is no death: {ledger:?}");
    assert_eq!(*seen.0.lock().expect("not poisoned"), sent);
}

#[tokio::test]
async fn a_connection_that_has_come_of_age_is_told_so_before_its_grace_is_over() {
    for grace in [Duration::from_secs(2), Duration::ZERO] {
        let age = Duration::from_millis(200);
        let settings = Settings { max_connection_age: age, max_connection_age_grace: grace, ..Settings::default() };
        let (address, _, _serving) = server(settings).await;
        let mut client = Client::new(&address);
        client.connect().await.expect("is there");
        let announced = tokio::time::timeout(PATIENCE, client.ended()).await.expect("has come of age");
        assert!(announced, "cut, with a grace of {grace:?}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_end_by_itself_is_cut_after_its_grace() {
    let settings = Settings {
        max_connection_age: Duration::from_millis(100),
        max_connection_age_grace: Duration::from_millis(200),
        ..Settings::default()
    };
    let (address, _, _serving) = server(settings).await;
    let mut stream = TcpStream::connect(address).await.expect("is there");
    // The beginning of a connection and an empty frame of settings; nothing is answered after that.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("is taken");
    let mut all = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    // A connection that is reset has ended too.
    drop(ended.expect("is cut"));
    assert!(!all.is_empty(), "was a connection");
}
