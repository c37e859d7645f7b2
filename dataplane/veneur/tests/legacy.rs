//! Imports in dialects A, B and C on loopback: what is good arrives, what is not harms nobody.

use std::{
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, write::ZlibEncoder};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use veneur::{proxy, server};
use veneur_config::{Datadog, Every, ForwardProtocol, Proxy, Server, Sink, SinkKind};
use veneur_intake::{Intake, Received};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_wire::{encode_partial, legacy, metricpb::Metric};

#[path = "legacy/hostile.rs"]
mod hostile;
#[path = "legacy/raw.rs"]
mod raw;

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Tier {
    intake: Arc<Intake>,
    global: server::Running,
    _intake: JoinSet<std::io::Result<()>>,
}

fn instance() -> Server {
    Server {
        interval: Every::seconds(1),
        synchronize_with_interval: true,
        http_address: "127.0.0.1:0".into(),
        percentiles: vec![0.5],
        self_metrics: false,
        ..Server::default()
    }
}

/// A global that publishes to an intake.
async fn tier() -> Tier {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let intake = Arc::new(Intake::default());
    let mut serving = JoinSet::new();
    serving.spawn(Arc::clone(&intake).serve(listener));
    let sink = Datadog { api_key: "key".into(), api_hostname: format!("http://{address}"), ..Datadog::default() };
    let config = Server {
        grpc_address: "127.0.0.1:0".into(),
        metric_sinks: vec![Sink { name: "datadog".into(), kind: SinkKind::Datadog(sink) }],
        ..instance()
    };
    let global = server::start(&config).await.expect("a global starts");
    Tier { intake, global, _intake: serving }
}

fn counter(name: &str) -> Metric {
    let context = Context { name: name.into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(body).expect("memory");
    zlib.finish().expect("memory")
}

/// Posts a body to `/import`, and gives the status and the answer.
async fn post(to: Option<SocketAddr>, encoding: Option<&str>, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(to.expect("has an admin port")).await.expect("connects");
    let encoding = encoding.map(|name| format!("Content-Encoding: {name}\r\n")).unwrap_or_default();
    let head = format!("POST /import HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    stream.write_all(format!("{head}{encoding}\r\n").as_bytes()).await.expect("sends");
    // Whoever refuses by the head alone does not read the rest.
    drop(stream.write_all(body).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
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

fn total(received: &[Received], metric: &str) -> f64 {
    received.iter().filter(|point| point.metric == metric).map(Received::total).sum()
}

/// A local that forwards so, fed and stopped: what its destination acknowledged, and what it dropped.
async fn forward(to: String, keys: Server) -> veneur_forward::Ledger {
    let config = Server {
        hostname: "pod-0".into(),
        statsd_listen_addresses: vec!["udp://127.0.0.1:0".into()],
        forward_address: to,
        metric_sinks: vec![Sink { name: "own".into(), kind: SinkKind::Blackhole {} }],
        ..keys
    };
    let local = server::start(&config).await.expect("a local starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    for n in 0..100 {
        let lines =
            format!("hits:2|c|#veneurglobalonly,b:2,a:1\nlatency:{n}|ms\nusers:{n}|s\ndeep:{n}|h|#veneurglobalonly");
        socket.send_to(lines.as_bytes(), local.dogstatsd[0]).expect("loopback takes it");
    }
    until("every datagram is read", || (local.samples_parsed() == 400).then_some(())).await;
    local.stop().await
}

/// The rest of what was forwarded is published, and nothing is lost on the way.
async fn published(tier: Tier, sent: &veneur_forward::Ledger) -> Vec<Received> {
    assert_eq!((sent.unaccounted(), sent.uncertain, sent.held), (0, 0, 0), "{sent:?}");
    let ledger = tier.global.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.imported, ledger.merged), (0, sent.acknowledged, sent.acknowledged));
    let received = tier.intake.received();
    assert_eq!(tier.intake.problems(), Vec::<String>::new());
    assert!((total(&received, "hits") - 200.0).abs() < 1e-6, "{received:#?}");
    assert!(received.iter().any(|point| point.metric == "latency.50percentile"), "{received:#?}");
    assert!(received.iter().any(|point| point.metric == "users"), "{received:#?}");
    received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_forwards_by_post_and_the_global_publishes() {
    let tier = tier().await;
    let to = format!("http://{}", tier.global.http.expect("has an admin port"));
    let sent = forward(to, instance()).await;
    assert_eq!(sent.dropped.keys().copied().collect::<Vec<_>>(), ["peer_cannot_carry"], "the global histogram");
    let received = published(tier, &sent).await;
    assert!(!received.iter().any(|point| point.metric.starts_with("deep")), "{received:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_forwards_in_single_messages_and_the_global_publishes() {
    let tier = tier().await;
    let to = tier.global.grpc.expect("imports").to_string();
    let sent = forward(to, Server { forward_use_grpc: Some(true), ..instance() }).await;
    assert!(sent.dropped.is_empty(), "{sent:?}");
    let received = published(tier, &sent).await;
    assert!((total(&received, "deep.count") - 100.0).abs() < 1e-6, "{received:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_takes_posts_and_forwards_in_every_dialect() {
    for protocol in [ForwardProtocol::Json, ForwardProtocol::GrpcSingle, ForwardProtocol::GrpcStream] {
        let tier = tier().await;
        let (http, grpc) = (tier.global.http.expect("serves"), tier.global.grpc.expect("imports"));
        let to = match protocol {
            ForwardProtocol::Json => format!("http://{http}"),
            ForwardProtocol::GrpcSingle => format!("grpc+unary://{grpc}"),
            ForwardProtocol::GrpcStream | ForwardProtocol::Default => grpc.to_string(),
        };
        let config = Proxy {
            grpc_address: "127.0.0.1:0".into(),
            http_address: "127.0.0.1:0".into(),
            interval: Every::seconds(1),
            forward_addresses: vec![to],
            ..Proxy::default()
        };
        let proxy = proxy::start(&config).await.expect("a proxy starts");
        let body = legacy::write((0..600).map(|n| counter(&format!("c{n}"))).collect::<Vec<_>>());
        let (status, answer) = post(proxy.http, Some("deflate"), &deflated(&body)).await;
        assert_eq!((status, answer.as_str()), (202, "600 of 600 entries taken\n"));
        let ledger = proxy.stop().await;
        assert_eq!((ledger.unaccounted(), ledger.imported, ledger.acknowledged), (0, 600, 600), "{protocol:?}");
        let ledger = tier.global.stop().await;
        assert_eq!((ledger.unaccounted(), ledger.merged), (0, 600), "{protocol:?}");
        let sum: f64 = tier.intake.received().iter().map(Received::total).sum();
        assert!((sum - 600.0).abs() < 1e-6, "{protocol:?}: {sum}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_on_a_stream_is_merged_and_published_while_it_stays_open() {
    let tier = tier().await;
    let grpc = tier.global.grpc.expect("imports").to_string();
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let mut open = JoinSet::new();
    open.spawn(async move { raw::stream(&grpc, "SendMetricsV2", ReceiverStream::new(messages)).await });
    for name in ["first", "second"] {
        sender.send(counter(name).encode_to_vec()).await.expect("it is open");
        until("it is published", || (total(&tier.intake.received(), name) > 0.0).then_some(())).await;
        assert!(open.try_join_next().is_none(), "nobody has closed it");
    }
    drop(sender);
    open.join_next().await.expect("one call").expect("no panic").expect("answered OK");
    let ledger = tier.global.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.merged), (0, 2), "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_answered_as_the_original_answers() {
    let tier = tier().await;
    let http = tier.global.http;
    let body = legacy::write([&counter("a")]);
    let bad = [&body[..body.len() - 1], br#",{"name":"b","type":"timer","value":"AAAA"}]"#].concat();
    let cases: [(Option<&str>, Vec<u8>, u16); 11] = [
        (None, body.clone(), 202),
        (Some(""), body.clone(), 202),
        (Some("deflate"), deflated(&body), 202),
        (None, bad, 202),
        (Some("gzip"), body.clone(), 415),
        (Some("identity"), body.clone(), 415),
        (Some("deflate"), body.clone(), 400),
        (Some("deflate"), deflated(&body)[..20].to_vec(), 400),
        (None, deflated(&body), 400),
        (None, b"[]".to_vec(), 400),
        (None, b"[{},{}]".to_vec(), 400),
    ];
    for (encoding, body, expected) in cases {
        let (status, answer) = post(http, encoding, &body).await;
        assert_eq!(status, expected, "{encoding:?}: {answer}");
        assert!(answer.ends_with('\n') && answer.lines().count() == 1, "{answer:?}");
    }
    let mut stream = TcpStream::connect(http.expect("serves")).await.expect("connects");
    stream.write_all(b"GET /import HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answers");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let ledger = tier.global.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.imported, ledger.merged), (0, 5, 4), "{ledger:?}");
    assert_eq!(ledger.dropped, [("bad_digest", 1)].into());
}
