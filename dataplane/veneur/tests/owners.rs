//! Who publishes a series while the members change: one global for each interval.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};
use veneur::{clock::now_ms, proxy, server};
use veneur_config::{Datadog, Every, Proxy, Server, Sink, SinkKind};
use veneur_forward::{
    Batch, Facts,
    client::{Client, Outcome},
};
use veneur_intake::Intake;
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Stamp, Tags};
use veneur_ring::Member;
use veneur_wire::{encode_partial, metricpb::Metric};

const INTERVAL_MS: u64 = 1_000;
const INTERVALS: u64 = 14;
const CONTEXTS: usize = 150;

/// A repeatable sequence of numbers below a bound (a linear congruential generator, Knuth's constants for 64 bits).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_context_has_one_publisher_an_interval_while_members_change() {
    one_publisher(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_it_is_when_the_clocks_of_two_proxies_differ_by_half_a_second() {
    one_publisher(500).await;
}

/// Two proxies learn of every change at other times, up to a second late, and what they forward comes up to `skew_ms`
/// after the boundary at one of them.
async fn one_publisher(skew_ms: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let intake_address = listener.local_addr().expect("bound");
    let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
    serving.spawn(Arc::clone(&intake).serve(listener));
    let mut globals = Vec::new();
    for _ in 0..4 {
        globals.push(server::start(&global(&format!("http://{intake_address}"))).await.expect("a global starts"));
    }
    let members: Vec<Member> = globals
        .iter()
        .enumerate()
        .map(|(n, global)| Member { name: format!("global-{n}"), address: global.grpc.expect("imports").to_string() })
        .collect();
    let proxies = [start_proxy(&members).await, start_proxy(&members).await];

    let mut draw = Draw(7);
    let first = Stamp::under_way(now_ms(), Duration::from_millis(INTERVAL_MS)).boundary_ms;
    // What each proxy is told, and when: (at, written, members).
    let mut told: Vec<(usize, u64, u64, Vec<Member>)> = Vec::new();
    for change in 0..INTERVALS / 3 {
        let written_ms = first + change * 3 * INTERVAL_MS + draw.below(INTERVAL_MS);
        let skipped = usize::try_from(draw.below(4)).expect("below four");
        let some: Vec<Member> =
            members.iter().enumerate().filter(|(n, _)| *n != skipped).map(|(_, member)| member.clone()).collect();
        for proxy in 0..2 {
            told.push((proxy, written_ms + draw.below(1_000), written_ms, some.clone()));
        }
    }
    told.sort_by_key(|(_, at_ms, ..)| *at_ms);

    let mut senders = JoinSet::new();
    for (n, proxy) in proxies.iter().enumerate() {
        let (address, late_ms) = (proxy.grpc.to_string(), if n == 1 { skew_ms } else { 0 });
        senders.spawn(async move {
            let mut client = Client::new(address);
            for interval in 0..INTERVALS {
                let boundary_ms = first + interval * INTERVAL_MS;
                sleep_until(boundary_ms + late_ms).await;
                let stamp = Stamp { boundary_ms, interval_ms: INTERVAL_MS };
                let metrics = (0..CONTEXTS).map(|context| increment(context, stamp));
                let batch = Batch::split(metrics, Facts::default).remove(0);
                let outcome = client.send(batch).await.outcome;
                assert!(matches!(outcome, Outcome::Acknowledged(_)), "{outcome:?}");
            }
        });
    }
    for (proxy, at_ms, written_ms, members) in told {
        sleep_until(at_ms).await;
        proxies[proxy].change(written_ms, members);
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("no panic");
    }
    let mut late = 0;
    for proxy in proxies {
        let ledger = proxy.stop().await;
        assert_eq!((ledger.unaccounted(), ledger.uncertain, ledger.rehomed), (0, 0, 0), "{ledger:?}");
    }
    for global in globals {
        let ledger = global.stop().await;
        assert_eq!(ledger.unaccounted(), 0, "{ledger:?}");
        late += ledger.late;
    }

    let mut published: BTreeMap<(String, i64), (usize, f64)> = BTreeMap::new();
    for point in intake.received() {
        let (times, total) = published.entry((point.metric.clone(), point.timestamp)).or_default();
        *times += 1;
        *total += point.total();
    }
    let twice: Vec<_> = published.iter().filter(|(_, (times, _))| *times > 1).collect();
    assert!(twice.is_empty(), "published by two: {twice:#?}");
    let total: f64 = published.values().map(|(_, total)| total).sum();
    assert!((total - (2 * INTERVALS * CONTEXTS as u64) as f64).abs() < 1e-6, "{total}");
    // Whole intervals, but for what a busy machine delays beyond the lateness: that is on the account.
    let split = published.values().filter(|(_, total)| (total - 2.0).abs() > 1e-6).count() as u64;
    assert!(split <= 2 * late, "{split} points are not whole, {late} partials were late");
}

fn global(intake: &str) -> Server {
    let sink = Datadog { api_key: "key".into(), api_hostname: intake.into(), ..Datadog::default() };
    Server {
        interval: Every::seconds(1),
        synchronize_with_interval: true,
        // Longer than the clocks differ.
        lateness: Some(Every(Duration::from_millis(800))),
        grpc_address: "127.0.0.1:0".into(),
        self_metrics: false,
        metric_sinks: vec![Sink { name: "datadog".into(), kind: SinkKind::Datadog(sink) }],
        ..Server::default()
    }
}

async fn start_proxy(members: &[Member]) -> proxy::Running {
    let config = Proxy {
        self_metrics: false,
        grpc_address: "127.0.0.1:0".into(),
        interval: Every::seconds(1),
        forward_addresses: members.iter().map(|member| member.address.clone()).collect(),
        ..Proxy::default()
    };
    let proxy = proxy::start(&config).await.expect("a proxy starts");
    // The same members by their names, long ago.
    proxy.change(1, members.to_vec());
    proxy
}

fn increment(context: usize, stamp: Stamp) -> Metric {
    let name = format!("fleet.requests.{context}");
    let context = Context { name: name.as_str().into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: Some(stamp) })
}

async fn sleep_until(at_ms: u64) {
    tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(now_ms()))).await;
}
