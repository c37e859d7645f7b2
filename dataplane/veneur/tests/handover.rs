//! A global that has to stop long before its boundary: what it merged is published by the others.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};
use veneur::{proxy, server};
use veneur_config::{Datadog, Every, Proxy, Server, Sink, SinkKind};
use veneur_forward::{
    Batch, Facts, Ledger,
    client::{Client, Outcome},
};
use veneur_intake::{Intake, Received};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_ring::Member;
use veneur_sketch::TDigest;
use veneur_wire::{encode_partial, metricpb::Metric};

const CONTEXTS: u64 = 100;

/// So long that no boundary comes while the test runs, but for one run in some hundred; which ends as well.
const INTERVAL: Duration = Duration::from_hours(1);

/// Time that a global has to stop in.
const SHUTDOWN: Duration = Duration::from_secs(6);

/// Globals of these names that publish to one intake, and a proxy whose members they are.
struct Fleet {
    intake: Arc<Intake>,
    proxy: proxy::Running,
    globals: Vec<server::Running>,
    _serving: JoinSet<std::io::Result<()>>,
}

/// `named` says how the proxy knows a global: by its name, and by its address.
async fn fleet(names: &[&str], named: fn(&str, &str) -> Member) -> Fleet {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let intake_address = listener.local_addr().expect("bound");
    let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
    serving.spawn(Arc::clone(&intake).serve(listener));

    // The proxy's address has to be known before the proxy knows its members.
    let proxy = proxy::start(&Proxy {
        grpc_address: "127.0.0.1:0".into(),
        interval: Every(INTERVAL),
        self_metrics: false,
        shutdown_timeout: Every::seconds(2),
        forward_addresses: vec!["127.0.0.1:1".into()],
        ..Proxy::default()
    })
    .await
    .expect("a proxy starts");
    let config = |name: &str| {
        let sink =
            Datadog { api_key: "key".into(), api_hostname: format!("http://{intake_address}"), ..Datadog::default() };
        Server {
            hostname: name.into(),
            interval: Every(INTERVAL),
            synchronize_with_interval: true,
            grpc_address: "127.0.0.1:0".into(),
            shutdown_timeout: Every(SHUTDOWN),
            self_metrics: false,
            handover_address: if name.starts_with("leaver") { proxy.grpc.to_string() } else { String::new() },
            metric_sinks: vec![Sink { name: "datadog".into(), kind: SinkKind::Datadog(sink) }],
            ..Server::default()
        }
    };
    let (mut globals, mut members) = (Vec::new(), Vec::new());
    for name in names {
        let global = server::start(&config(name)).await.expect("a global starts");
        members.push(named(name, &global.grpc.expect("imports").to_string()));
        globals.push(global);
    }
    proxy.change(1, members);
    Fleet { intake, proxy, globals, _serving: serving }
}

fn by_name(name: &str, address: &str) -> Member {
    Member { name: name.into(), address: address.into() }
}

fn by_address(_: &str, address: &str) -> Member {
    by_name(address, address)
}

/// As neither its name nor an address that it knows of.
fn by_another_name(_: &str, address: &str) -> Member {
    let address = address.replace("127.0.0.1", "localhost");
    by_name(&address, &address)
}

/// That what was sent, of which half are counters of 1 and half timings, is published once.
fn assert_published(intake: &Intake, metrics: u64) {
    let (requests, timings) = published(intake);
    let sent = metrics as f64 / 2.0;
    assert!((requests - sent).abs() < 1e-6 && (timings - sent).abs() < 1e-6, "{requests} and {timings} of {sent}");
}

/// The sum of all counters, and the count of all timings.
fn published(intake: &Intake) -> (f64, f64) {
    let received = intake.received();
    let total = |name: &str, statistic: &str| -> f64 {
        let is = |point: &&Received| point.metric.starts_with(name) && point.metric.ends_with(statistic);
        received.iter().filter(is).map(Received::total).sum()
    };
    (total("fleet.requests.", ""), total("fleet.latency.", ".count"))
}

/// Stops the leaver, and gives its ledger and how much it took while it left.
async fn leaves(leaver: server::Running, client: &mut Client) -> (Ledger, u64) {
    let mut leaving = JoinSet::new();
    leaving.spawn(leaver.stop());
    let mut relayed = 0;
    loop {
        if let Some(left) = leaving.try_join_next() {
            return (left.expect("no panic"), relayed);
        }
        if let Outcome::Acknowledged(metrics) = client.send(batch()).await.outcome {
            relayed += metrics;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn is_published_by_the_others(named: fn(&str, &str) -> Member) {
    let mut fleet = fleet(&["leaver", "stays"], named).await;
    let leaver = fleet.globals.remove(0);
    let mut client = Client::new(leaver.grpc.expect("imports").to_string());
    assert_eq!(send(&mut client).await, 2 * CONTEXTS);
    let (left, relayed) = leaves(leaver, &mut client).await;
    assert_eq!((left.unaccounted(), left.uncertain), (0, 0), "{left:?}");
    assert!(left.dropped.is_empty(), "{left:?}");
    assert_eq!(left.imported, 2 * CONTEXTS + relayed, "what it relays does not come back: {left:?}");
    assert_eq!(fleet.intake.received().len(), 0, "a leaver publishes nothing that others own");
    let at_proxy = fleet.proxy.stop().await;
    assert_eq!((at_proxy.acknowledged, at_proxy.unaccounted()), (at_proxy.imported, 0), "{at_proxy:?}");
    let at_other = fleet.globals.remove(0).stop().await;
    assert_eq!(at_other.merged, at_proxy.acknowledged, "{at_other:?}");
    assert!(relayed > 0, "nothing came while it left");
    assert_published(&fleet.intake, 2 * CONTEXTS + relayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leaver_merged_is_published_by_the_others_and_what_still_comes_too() {
    is_published_by_the_others(by_name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaver_that_is_known_by_its_address_gets_nothing_back() {
    is_published_by_the_others(by_address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaver_that_the_proxy_does_not_know_publishes_what_comes_back_and_sends_it_no_more() {
    let mut fleet = fleet(&["leaver", "stays"], by_another_name).await;
    let leaver = fleet.globals.remove(0);
    let mut client = Client::new(leaver.grpc.expect("imports").to_string());
    assert_eq!(send(&mut client).await, 2 * CONTEXTS);
    let (left, relayed) = leaves(leaver, &mut client).await;
    assert_eq!((left.unaccounted(), left.uncertain), (0, 0), "{left:?}");
    assert!(left.dropped.is_empty() && left.merged > 0, "{left:?}");
    let at_proxy = fleet.proxy.stop().await;
    assert_eq!((at_proxy.imported, at_proxy.unaccounted()), (2 * CONTEXTS + relayed, 0), "{at_proxy:?}, {left:?}");
    assert_eq!(fleet.globals.remove(0).stop().await.unaccounted(), 0);
    assert_published(&fleet.intake, 2 * CONTEXTS + relayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_member_publishes_what_it_merged_and_what_still_comes() {
    let mut fleet = fleet(&["leaver"], by_name).await;
    let leaver = fleet.globals.remove(0);
    let mut client = Client::new(leaver.grpc.expect("imports").to_string());
    assert_eq!(send(&mut client).await, 2 * CONTEXTS);
    let (left, relayed) = leaves(leaver, &mut client).await;
    assert_eq!((left.unaccounted(), left.uncertain, left.acknowledged), (0, 0, 0), "{left:?}");
    assert!(left.dropped.is_empty(), "{left:?}");
    let at_proxy = fleet.proxy.stop().await;
    assert_eq!(
        (at_proxy.imported, at_proxy.unaccounted()),
        (0, 0),
        "a proxy takes nothing back to the last: {at_proxy:?}"
    );
    assert!(relayed > 0, "nothing came while it left");
    assert_published(&fleet.intake, 2 * CONTEXTS + relayed);
}

/// Two of the globals are told to stop in the same moment, while metrics go on coming through the proxy. Each has merged a
/// batch before. Gives how many came through the proxy, and both ledgers.
async fn both_leave(fleet: &mut Fleet) -> (u64, Vec<Ledger>) {
    let mut leaving = JoinSet::new();
    for leaver in fleet.globals.drain(..2) {
        let mut client = Client::new(leaver.grpc.expect("imports").to_string());
        assert_eq!(send(&mut client).await, 2 * CONTEXTS);
        leaving.spawn(leaver.stop());
    }
    let (mut client, mut ledgers, mut sent) = (Client::new(fleet.proxy.grpc.to_string()), Vec::new(), 0);
    let deadline = tokio::time::Instant::now() + SHUTDOWN * 3 / 2;
    while !leaving.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "they go on and on");
        if let Some(left) = leaving.try_join_next() {
            ledgers.push(left.expect("no panic"));
        }
        sent += send(&mut client).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for left in &ledgers {
        assert_eq!((left.unaccounted(), left.uncertain), (0, 0), "{left:?}");
        assert!(left.dropped.is_empty(), "{left:?}");
    }
    (sent, ledgers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_leave_at_once_publish_all_and_pass_nothing_to_and_fro() {
    let mut fleet = fleet(&["leaver-0", "leaver-1"], by_address).await;
    let (sent, ledgers) = both_leave(&mut fleet).await;
    let at_proxy = fleet.proxy.stop().await;
    assert_eq!((at_proxy.unaccounted(), at_proxy.uncertain), (0, 0), "{at_proxy:?}");
    // What came after both had ended, and still waits for one of them.
    let waits = at_proxy.dropped.get("shutdown").copied().unwrap_or(0);
    let ((requests, timings), expected) = (published(&fleet.intake), (4 * CONTEXTS + sent - waits) as f64);
    assert!((requests + timings - expected).abs() < 1e-6, "{requests} and {timings} of {expected}, {ledgers:?}");
    assert!(waits < sent, "they took nothing while they left: {at_proxy:?}, {ledgers:?}");
    // From each to the other and no farther; what came through the proxy is there once more before.
    assert!(at_proxy.imported <= 4 * CONTEXTS + 2 * sent, "{at_proxy:?} of {sent}, {ledgers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_that_leave_at_once_give_all_to_the_third() {
    let mut fleet = fleet(&["leaver-0", "leaver-1", "stays"], by_address).await;
    let (sent, ledgers) = both_leave(&mut fleet).await;
    assert_eq!(fleet.intake.received().len(), 0, "leavers publish nothing that another owns: {ledgers:?}");
    let at_proxy = fleet.proxy.stop().await;
    assert_eq!((at_proxy.unaccounted(), at_proxy.uncertain), (0, 0), "{at_proxy:?}");
    assert!(at_proxy.dropped.is_empty(), "{at_proxy:?}");
    assert!(at_proxy.imported <= 8 * CONTEXTS + 3 * sent, "{at_proxy:?} of {sent}, {ledgers:?}");
    assert_eq!(fleet.globals.remove(0).stop().await.unaccounted(), 0);
    assert_published(&fleet.intake, 4 * CONTEXTS + sent);
}

async fn send(client: &mut Client) -> u64 {
    match client.send(batch()).await.outcome {
        Outcome::Acknowledged(metrics) => metrics,
        other => unreachable!("it runs: {other:?}"),
    }
}

fn batch() -> Batch {
    let metrics = (0..CONTEXTS).flat_map(|n| {
        let mut digest = TDigest::new();
        assert!(digest.insert(7.0, 1.0));
        [
            metric(&format!("fleet.requests.{n}"), Kind::Counter, PartialValue::Counter(1.0)),
            metric(&format!("fleet.latency.{n}"), Kind::Timer, PartialValue::Digest(digest)),
        ]
    });
    Batch::split(metrics, Facts::default).remove(0)
}

fn metric(name: &str, kind: Kind, value: PartialValue) -> Metric {
    let context = Context { name: name.into(), tags: Tags::none(), kind, scope: Scope::Global };
    encode_partial(Partial { context, value, stamp: None })
}
