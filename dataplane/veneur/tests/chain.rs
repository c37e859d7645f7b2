//! The whole data plane on loopback: locals → proxy → globals → sink, every hop's ledger closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use veneur::{proxy, server};
use veneur_config::{Datadog, Every, NameMatch, Proxy, ScopeName, ScopeRule, Server, Sink, SinkKind};
use veneur_forward::{
    Batch, Facts,
    client::{Client, Outcome},
};
use veneur_intake::{Intake, Received};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_wire::{encode_partial, metricpb::Metric};

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Chain {
    intake: Arc<Intake>,
    locals: Vec<server::Running>,
    proxy: proxy::Running,
    globals: Vec<server::Running>,
    _intake: JoinSet<std::io::Result<()>>,
}

async fn chain(locals: usize, globals: usize) -> Chain {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let intake_address = listener.local_addr().expect("bound");
    let intake = Arc::new(Intake::default());
    let mut serving = JoinSet::new();
    serving.spawn(Arc::clone(&intake).serve(listener));

    let tier = Server {
        interval: Every::seconds(1),
        synchronize_with_interval: true,
        http_address: "127.0.0.1:0".into(),
        percentiles: vec![0.5, 0.99],
        // What is published here is compared to the last point with what was sent.
        self_metrics: false,
        ..Server::default()
    };
    let mut running_globals = Vec::new();
    for _ in 0..globals {
        let sink =
            Datadog { api_key: "key".into(), api_hostname: format!("http://{intake_address}"), ..Datadog::default() };
        let config = Server {
            grpc_address: "127.0.0.1:0".into(),
            metric_sinks: vec![Sink { name: "datadog".into(), kind: SinkKind::Datadog(sink) }],
            ..tier.clone()
        };
        running_globals.push(server::start(&config).await.expect("a global starts"));
    }
    let config = Proxy {
        self_metrics: false,
        grpc_address: "127.0.0.1:0".into(),
        http_address: "127.0.0.1:0".into(),
        interval: Every::seconds(1),
        forward_addresses: running_globals.iter().map(|global| global.grpc.expect("imports").to_string()).collect(),
        ..Proxy::default()
    };
    let proxy = proxy::start(&config).await.expect("a proxy starts");
    let mut running_locals = Vec::new();
    for index in 0..locals {
        let config = Server {
            hostname: format!("pod-{index}"),
            statsd_listen_addresses: vec!["udp://127.0.0.1:0".into()],
            forward_address: proxy.grpc.to_string(),
            forward_points: true,
            metric_scopes: vec![ScopeRule {
                name: NameMatch::Prefix("fleet.".into()),
                types: Vec::new(),
                scope: ScopeName::Global,
            }],
            ..tier.clone()
        };
        running_locals.push(server::start(&config).await.expect("a local starts"));
    }
    Chain { intake, locals: running_locals, proxy, globals: running_globals, _intake: serving }
}

fn emit(to: SocketAddr, lines: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.send_to(lines.as_bytes(), to).expect("loopback takes it");
}

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(met) = condition() {
            return met;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn status(http: Option<SocketAddr>) -> serde_json::Value {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(http.expect("has an admin port")).await.expect("connects");
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("has a body");
    serde_json::from_str(body).expect("is JSON")
}

fn total(received: &[Received], metric: &str) -> f64 {
    received.iter().filter(|point| point.metric == metric).map(Received::total).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_counts_every_sample_once_and_closes_every_ledger() {
    let chain = chain(3, 2).await;
    let mut lines = 0_u64;
    let mut values = Vec::new();
    for (index, local) in chain.locals.iter().enumerate() {
        for burst in 0..40 {
            let n = index * 40 + burst;
            emit(
                local.dogstatsd[0],
                &format!(
                    "fleet.requests:1|c|#b:2,a:1\nfleet.requests:2|c|#a:1,b:2\nown.requests:1|c\nown.level:{n}|g\n\
                     fleet.latency:{n}|ms\nmixed.latency:{n}|ms|@0.5\nusers:user-{}|s\nthis is not a metric\nx:abc|c",
                    n % 50
                ),
            );
            lines += 9;
            values.push(f64::from(u32::try_from(n).expect("small")));
        }
        emit(local.dogstatsd[0], "_e{6,4}:deploy|v1.2|t:warning|#by:ada\n_sc|db|2|#shard:1|m:gone");
        lines += 2;
    }
    let read = |locals: &[server::Running]| locals.iter().map(server::Running::samples_parsed).sum::<u64>();
    until("every datagram is read", || (read(&chain.locals) == lines).then_some(())).await;

    // Stopping flushes every tier, in the order of the data.
    let (mut acknowledged, mut imported) = (0, 0);
    for local in &chain.locals {
        let status = status(local.http).await;
        assert_eq!(status["ledgers"]["datagrams"]["kernel_dropped"], 0);
        assert_eq!(status["ledgers"]["samples"]["refused"]["missing_pipe"], 40, "{status:#}");
        assert_eq!(status["ledgers"]["samples"]["refused"]["bad_number"], 40, "{status:#}");
        assert_eq!(status["ledgers"]["samples"]["aggregated"], 40 * 7 + 2);
        assert_eq!(status["unaccounted"], 0);
    }
    for local in chain.locals {
        acknowledged += local.stop().await.acknowledged;
    }
    let at_proxy = chain.proxy.stop().await;
    assert_eq!(at_proxy.imported, acknowledged, "what locals had answered is on the proxy's ledger");
    assert_eq!((at_proxy.held, at_proxy.unaccounted()), (0, 0));
    assert_eq!(at_proxy.acknowledged, at_proxy.imported, "{at_proxy:?}");
    for global in chain.globals {
        let ledger = global.stop().await;
        assert_eq!(ledger.unaccounted(), 0);
        assert!(ledger.dropped.is_empty(), "{ledger:?}");
        imported += ledger.imported;
    }
    assert_eq!(imported, at_proxy.acknowledged);

    let received = chain.intake.received();
    assert_eq!(chain.intake.problems(), Vec::<String>::new());
    assert_exact(&received, "fleet.requests", 360.0);
    assert_exact(&received, "own.requests", 120.0);
    assert_exact(&received, "fleet.latency.count", 120.0);
    assert_exact(&received, "mixed.latency.count", 240.0);
    let hosts: BTreeSet<_> =
        received.iter().filter(|point| point.metric == "own.requests").map(|point| point.host.as_deref()).collect();
    assert_eq!(hosts, [Some("pod-0"), Some("pod-1"), Some("pod-2")].into());
    each_pods_event_and_check_arrive_with_its_name(&chain.intake);
    let by_pod = received.iter().filter(|point| point.metric.ends_with("percentile") && point.host.is_some());
    assert_eq!(by_pod.count(), 0, "no pod publishes a percentile");

    // What a global publishes, it alone publishes: one sender for each series and interval.
    let mut owners: BTreeMap<(String, Vec<String>, i64), usize> = BTreeMap::new();
    for point in received.iter().filter(|point| point.host.is_none()) {
        *owners.entry((point.metric.clone(), point.tags.clone(), point.timestamp)).or_default() += 1;
    }
    assert!(!owners.is_empty());
    for (series, times) in owners {
        assert_eq!(times, 1, "{series:?}");
    }
    // The set spans at most two intervals, each with its own estimate of at most 50 members.
    let users = received.iter().filter(|point| point.metric == "users").map(|point| point.value).fold(0.0, f64::max);
    assert!((17.0..=50.0).contains(&users), "{users}");
}

fn each_pods_event_and_check_arrive_with_its_name(intake: &Intake) {
    let pods = BTreeSet::from(["pod-0", "pod-1", "pod-2"]);
    let events = intake.events();
    assert_eq!(events.len(), 3, "{events:#?}");
    assert_eq!(events.iter().filter_map(|event| event.event.host.as_deref()).collect::<BTreeSet<_>>(), pods);
    for event in &events {
        let event = &event.event;
        assert_eq!(
            (event.msg_title.as_str(), event.msg_text.as_str(), &*event.tags),
            ("deploy", "v1.2", &["by:ada".to_owned()][..])
        );
    }
    let checks = intake.checks();
    assert_eq!(checks.len(), 3, "{checks:#?}");
    assert_eq!(checks.iter().map(|check| check.run.host_name.as_str()).collect::<BTreeSet<_>>(), pods);
    for check in &checks {
        let run = &check.run;
        assert_eq!((run.check.as_str(), run.status, run.message.as_deref()), ("db", 2, Some("gone")));
    }
}

fn assert_exact(received: &[Received], metric: &str, expected: f64) {
    let sum = total(received, metric);
    assert!((sum - expected).abs() < 1e-6, "{metric}: {sum} instead of {expected}: {received:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interval_is_out_one_lateness_after_its_boundary() {
    let chain = chain(1, 1).await;
    // Early in an interval, so that the boundary that ends it is known, and late enough that the one before is collected.
    until("an interval is young", || (100..400).contains(&(veneur::clock::now_ms() % 1_000)).then_some(())).await;
    let boundary_ms = (veneur::clock::now_ms() / 1_000 + 1) * 1_000;
    emit(chain.locals[0].dogstatsd[0], "fleet.latency:7|ms");
    let point = until("the percentile is published", || {
        chain.intake.received().into_iter().find(|point| point.metric == "fleet.latency.99percentile")
    })
    .await;
    assert_eq!(point.timestamp, i64::try_from(boundary_ms / 1_000).expect("now"));
    let after = point.at_ms.saturating_sub(boundary_ms);
    // Lateness is a quarter of the interval; the rest is slack for a busy machine.
    assert!((250..900).contains(&after), "out {after} ms after its boundary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_global_that_stops_under_traffic_publishes_all_it_answered() {
    let mut chain = chain(0, 1).await;
    let global = chain.globals.remove(0);
    let address = global.grpc.expect("imports").to_string();
    let mut senders = JoinSet::new();
    for sender in 0..3 {
        let address = address.clone();
        senders.spawn(async move {
            let mut client = Client::new(address);
            let mut acknowledged = 0;
            loop {
                let batch = Batch::split((0..200).map(|n| increment(&format!("fleet.{sender}.{n}"))), Facts::default);
                match client.send(batch.into_iter().next().expect("one batch")).await.outcome {
                    Outcome::Acknowledged(metrics) => acknowledged += metrics,
                    // What is refused or cut off at the end is the sender's still.
                    Outcome::NotSent(..) | Outcome::Rejected(..) | Outcome::Uncertain(..) => return acknowledged,
                }
            }
        });
    }
    until("traffic flows", || (!chain.intake.received().is_empty()).then_some(())).await;
    let ledger = global.stop().await;
    let mut acknowledged = 0;
    while let Some(ended) = senders.join_next().await {
        acknowledged += ended.expect("senders do not panic");
    }
    assert_eq!(ledger.unaccounted(), 0);
    assert_eq!(chain.intake.problems(), Vec::<String>::new());
    let published: f64 = chain.intake.received().iter().map(Received::total).sum();
    // A stream that was cut off after its first chunk is uncertain: merged in part, acknowledged not at all.
    let merged = ledger.merged as f64;
    assert!((published - merged).abs() < 0.5, "{published} published of {merged} merged");
    assert!(merged >= acknowledged as f64, "{merged} merged of {acknowledged} acknowledged");
}

fn increment(name: &str) -> Metric {
    let context = Context { name: name.into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_cannot_keep_a_local_from_stopping() {
    let mut chain = chain(1, 1).await;
    let local = chain.locals.remove(0);
    let to = local.dogstatsd[0];
    let over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
            while !over.load(Ordering::Relaxed) {
                // Refused once the local is gone, which is what this waits for.
                drop(socket.send_to(&b"own.requests:1|c\n".repeat(50), to));
            }
        }
    });
    until("the flood has begun", || (local.samples_parsed() > 10_000).then_some(())).await;
    let stopped = tokio::time::timeout(PATIENCE, local.stop()).await;
    over.store(true, Ordering::Relaxed);
    flood.join().expect("the flood ends");
    let ledger = stopped.expect("a stop ends while datagrams still come");
    assert_eq!((ledger.held, ledger.unaccounted()), (0, 0), "{ledger:?}");
}
