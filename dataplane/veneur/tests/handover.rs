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
            shutdown_timeout: Every::seconds(6),
            self_metrics: false,
            handover_address: if name == "leaver" { proxy.grpc.to_string() } else { String::new() },
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

/// That what was sent, of which half are counters of 1 and half timings, is published once.
fn assert_published(intake: &Intake, metrics: u64) {
    let received = intake.received();
    let total = |name: &str, statistic: &str| -> f64 {
        let is = |point: &&Received| point.metric.starts_with(name) && point.metric.ends_with(statistic);
        received.iter().filter(is).map(Received::total).sum()
    };
    let sent = metrics as f64 / 2.0;
    let (requests, timings) = (total("fleet.requests.", ""), total("fleet.latency.", ".count"));
    assert!((requests - sent).abs() < 1e-6 && (timings - sent).abs() < 1e-6, "{requests} and {timings} of {sent}");
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
