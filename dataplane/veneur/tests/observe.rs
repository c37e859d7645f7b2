//! What an instance says of itself: self-metrics, its status, and its log, through real sockets.

#[path = "observe/admin.rs"]
mod admin;
#[path = "observe/drops.rs"]
mod drops;
#[path = "observe/process.rs"]
mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use veneur::server::{self, Running};
use veneur_config::{Datadog, Every, SelfScope, Server, Sink, SinkKind};
use veneur_intake::{Intake, Received};

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A backend and a way to it.
struct Backend {
    intake: Arc<Intake>,
    sink: Sink,
    _serving: JoinSet<std::io::Result<()>>,
}

async fn backend() -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let api_hostname = format!("http://{}", listener.local_addr().expect("bound"));
    let intake = Arc::new(Intake::default());
    let mut serving = JoinSet::new();
    serving.spawn(Arc::clone(&intake).serve(listener));
    let datadog = Datadog { api_key: "hunter2".into(), api_hostname, ..Datadog::default() };
    Backend { intake, sink: Sink { name: "dd".into(), kind: SinkKind::Datadog(datadog) }, _serving: serving }
}

impl Backend {
    fn of(&self, metric: &str) -> Vec<Received> {
        self.intake.received().into_iter().filter(|point| point.metric == metric).collect()
    }

    fn total(&self, metric: &str) -> f64 {
        self.of(metric).iter().map(Received::total).sum()
    }
}

fn instance() -> Server {
    Server {
        interval: Every::seconds(1),
        hostname: "instance-0".into(),
        statsd_listen_addresses: vec!["udp://127.0.0.1:0".into()],
        http_address: "127.0.0.1:0".into(),
        ..Server::default()
    }
}

fn emit(to: SocketAddr, lines: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.send_to(lines.as_bytes(), to).expect("loopback takes it");
}

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(met) = condition() {
            return met;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks, and returns status and body.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, method: &str, path: &str) -> (u16, Vec<u8>) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let status = std::str::from_utf8(&answer[9..12]).expect("digits").parse().expect("a status");
    (status, answer.split_off(end + 4))
}

async fn get(http: Option<SocketAddr>, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(http.expect("has an admin port")).await.expect("connects");
    let (status, body) = ask(stream, "GET", path).await;
    (status, String::from_utf8(body).expect("text"))
}

async fn status(running: &Running) -> Value {
    serde_json::from_str(&get(running.http, "/status").await.1).expect("JSON")
}

/// Waits until an instance has flushed so many more times.
async fn flushes(running: &Running, count: usize) {
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() <= count {
        seen.insert(status(running).await["last_flush"]["interval_end"].as_i64());
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {count} flushes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_reports_on_itself_into_its_own_pipeline() {
    let backend = backend().await;
    let config = Server {
        metric_sinks: vec![backend.sink.clone()],
        veneur_metrics_additional_tags: vec!["tier:global".into()],
        extend_tags: vec!["env:test".into()],
        tags: vec!["cell:a".into()],
        count_unique_timeseries: true,
        features: veneur_config::Features { diagnostics_metrics_enabled: true, ..Default::default() },
        ..instance()
    };
    let running = server::start(&config).await.expect("starts");
    emit(running.dogstatsd[0], "a:1|c\nb:2|g\nb:3|g\nbad\nx:y|c\n_e{1,1}:t|x\n_sc|check|0");
    until("all is counted", || (backend.total("veneur.worker.metrics_processed_total") >= 5.0).then_some(())).await;
    until("delivery is counted", || (!backend.of("veneur.flushed_metrics").is_empty()).then_some(())).await;
    let of_listeners = running.listeners()[0].account.lock().samples.clone();
    let status = status(&running).await;
    assert_eq!(status["unaccounted"], 0, "{status:#}");
    assert!(status["self_metrics"]["aggregated"].as_u64().expect("a count") > 0, "{status:#}");
    let ledger = running.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.held), (0, 0), "{ledger:?}");

    assert_eq!((of_listeners.parsed, of_listeners.aggregated), (7, 5), "its own samples are in no listener's ledger");
    let processed = backend.total("veneur.worker.metrics_processed_total");
    assert!((processed - 5.0).abs() < 1e-9, "{processed}");
    assert!((backend.total("veneur.listen.received_per_protocol_total") - 7.0).abs() < 1e-9);
    let point = &backend.of("veneur.worker.metrics_processed_total")[0];
    assert_eq!(point.host.as_deref(), Some("instance-0"), "two globals must not overwrite each other");
    assert!(
        ["tier:global", "env:test", "cell:a"].iter().all(|tag| point.tags.iter().any(|own| own == tag)),
        "{point:?}"
    );

    let errors: BTreeMap<String, f64> =
        backend.of("veneur.packet.error_total").iter().fold(BTreeMap::new(), |mut all, point| {
            let tag = |key: &str| point.tags.iter().find_map(|tag| tag.strip_prefix(key)).unwrap_or("none").to_owned();
            *all.entry([tag("packet_type:"), tag("reason:"), tag("cause:")].join("/")).or_default() += point.total();
            all
        });
    let expected = [("metric/parse/bad_number", 1.0), ("metric/parse/missing_pipe", 1.0)];
    assert_eq!(errors, expected.map(|(tags, count)| (tags.to_owned(), count)).into());
    assert!((backend.total("veneur.worker.other_samples_flushed_total") - 1.0).abs() < 1e-9);
    for metric in [
        "veneur.flush.flush_timestamp_ns",
        "veneur.flush.total_duration_ns.count",
        "veneur.flush.unique_timeseries_total",
        "veneur.sink.metrics_flushed_total",
        "veneur.sink.metric_flush_total_duration_ms.max",
        "veneur.mem.sys_bytes",
        "veneur.threads_count",
        "veneur.uptime_ms",
    ] {
        assert!(!backend.of(metric).is_empty(), "{metric} is missing");
    }
    let flushed = &backend.of("veneur.flushed_metrics")[0];
    for tag in ["sink_name:dd", "sink_kind:datadog", "status:flushed"] {
        assert!(flushed.tags.iter().any(|own| own == tag), "{flushed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_instance_reports_no_more_for_its_own_reports() {
    let backend = backend().await;
    let config = Server { metric_sinks: vec![backend.sink.clone()], ..instance() };
    let running = server::start(&config).await.expect("starts");
    // The first reports tell of the start; from then on a report tells of the one before.
    flushes(&running, 3).await;
    let before = status(&running).await["self_metrics"]["parsed"].as_u64().expect("a count");
    flushes(&running, 3).await;
    let after = status(&running).await["self_metrics"]["parsed"].as_u64().expect("a count");
    assert!(after - before < 4 * 40, "{} samples in three or four intervals", after - before);
    running.stop().await;
    let received = backend.intake.received();
    let series: BTreeSet<_> = received.iter().map(|point| (&point.metric, &point.tags)).collect();
    assert!(series.len() < 40, "{} series: {series:?}", series.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locals_report_is_its_own_unless_a_scope_makes_it_the_fleets() {
    let backend = backend().await;
    let global = Server {
        grpc_address: "127.0.0.1:0".into(),
        statsd_listen_addresses: Vec::new(),
        metric_sinks: vec![backend.sink.clone()],
        self_metrics: false,
        ..instance()
    };
    let global = server::start(&global).await.expect("starts");
    let mut local = Server {
        hostname: "pod-0".into(),
        forward_address: global.grpc.expect("imports").to_string(),
        forward_points: true,
        ..instance()
    };
    local.veneur_metrics_scopes.counter = SelfScope::Global;
    let local = server::start(&local).await.expect("starts");
    emit(local.dogstatsd[0], "a:1|c\na:1|c\nlatency:5|ms");
    let processed = "veneur.worker.metrics_processed_total";
    until("the fleet's counter is published", || (backend.total(processed) >= 3.0).then_some(())).await;
    until("the local's gauge is published", || {
        (!backend.of("veneur.flush.flush_timestamp_ns").is_empty()).then_some(())
    })
    .await;
    let ledger = local.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.held), (0, 0), "{ledger:?}");
    assert_eq!(global.stop().await.unaccounted(), 0);
    assert!((backend.total(processed) - 3.0).abs() < 1e-9, "{}", backend.total(processed));
    assert!(backend.of(processed).iter().all(|point| point.host.is_none()), "the fleet's, not a pod's");
    assert!(backend.of("veneur.flush.flush_timestamp_ns").iter().all(|point| point.host.as_deref() == Some("pod-0")));
    assert!(!backend.of("veneur.forward.post_metrics_total").is_empty());
    assert!(!backend.of("veneur.forward.duration_ns.max").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stats_address_gets_the_report_instead() {
    let backend = backend().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stats.sock");
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let unix = tokio::net::UnixDatagram::bind(&path).expect("free");
    let addresses = [udp.local_addr().expect("bound").to_string(), format!("unix://{}", path.display())];
    for (index, stats_address) in addresses.into_iter().enumerate() {
        let mut config = Server {
            metric_sinks: vec![backend.sink.clone()],
            stats_address,
            extend_tags: vec!["env:test".into()],
            ..instance()
        };
        config.veneur_metrics_additional_tags = vec!["tier:edge".into()];
        config.veneur_metrics_scopes.counter = SelfScope::Local;
        let running = server::start(&config).await.expect("starts");
        emit(running.dogstatsd[0], "a:1|c\na:1|c\nlatency:5|ms");
        let wanted = "veneur.worker.metrics_processed_total:3|c|#tier:edge,veneurlocalonly";
        let heard = async {
            let mut packet = vec![0; 65_536];
            loop {
                let length = match index {
                    0 => udp.recv(&mut packet).await.expect("a packet"),
                    _ => unix.recv(&mut packet).await.expect("a packet"),
                };
                let text = String::from_utf8(packet[..length].to_vec()).expect("text");
                assert!(text.lines().all(|line| line.starts_with("veneur.")), "{text}");
                if text.lines().any(|line| line == wanted) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("is heard of in time");
        running.stop().await;
    }
    assert!(backend.intake.received().iter().all(|point| !point.metric.starts_with("veneur.")));
    assert!(!backend.of("a").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_series_that_is_published_is_counted_once() {
    let backend = backend().await;
    let listening = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let config = Server {
        metric_sinks: vec![backend.sink.clone()],
        count_unique_timeseries: true,
        // Elsewhere, so that the count is of the samples below and of nothing else.
        stats_address: listening.local_addr().expect("bound").to_string(),
        num_readers: 3,
        percentiles: vec![0.5],
        ..instance()
    };
    let running = server::start(&config).await.expect("starts");
    // From many sockets, so that several readers see each context; once after a boundary, so that it is one interval.
    until("an interval is young", || (50..300).contains(&(veneur::clock::now_ms() % 1_000)).then_some(())).await;
    for _ in 0..20 {
        emit(running.dogstatsd[0], "a:1|c|#x:1,y:2\na:1|c|#y:2,x:1\nb:2|g\nlatency:5|ms\nusers:1|s");
    }
    let counted = async {
        let mut packet = vec![0; 65_536];
        loop {
            let length = listening.recv(&mut packet).await.expect("a packet");
            let text = String::from_utf8(packet[..length].to_vec()).expect("text");
            let line = text.lines().find_map(|line| line.strip_prefix("veneur.flush.unique_timeseries_total:"));
            if let Some(line) = line.filter(|line| !line.starts_with("0|")) {
                return line.to_owned();
            }
        }
    };
    let line = tokio::time::timeout(PATIENCE, counted).await.expect("in time");
    // A counter, a gauge, a set, and of the timer min, max, count and a percentile.
    assert_eq!(line, "7|c|#global_veneur:true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_names_does_not_silence_the_report_of_it() {
    let backend = backend().await;
    let config = Server { metric_sinks: vec![backend.sink.clone()], max_contexts: 1, ..instance() };
    let running = server::start(&config).await.expect("starts");
    let names: Vec<String> = (0..100).map(|n| format!("flood.{n}:1|c")).collect();
    emit(running.dogstatsd[0], &names.join("\n"));
    let folded = "veneur.samples.folded_total";
    until("the flood is told", || (backend.total(folded) >= 99.0).then_some(())).await;
    running.stop().await;
    assert!((backend.total(folded) - 99.0).abs() < 1e-9 && (backend.total("veneur.overflow") - 99.0).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_rates_of_listeners_and_the_heaviest_names() {
    let running = server::start(&Server { self_metrics: false, ..instance() }).await.expect("starts");
    until("an interval is young", || (50..300).contains(&(veneur::clock::now_ms() % 1_000)).then_some(())).await;
    // One datagram, which is of one interval.
    let lines = (0..10).map(|n| format!("wide:1|c|#id:{n}")).chain((0..150).map(|_| "busy:1|c".to_owned()));
    emit(running.dogstatsd[0], &lines.collect::<Vec<_>>().join("\n"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        let status = status(&running).await;
        if status["listeners"][0]["rates"]["samples_per_second"].as_f64() > Some(0.0)
            && status["last_flush"]["contexts"] == 11
        {
            break status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let rates = &status["listeners"][0]["rates"];
    let (samples, datagrams) = (rates["samples_per_second"].as_f64(), rates["datagrams_per_second"].as_f64());
    let ratio = samples.expect("a rate") / datagrams.expect("a rate");
    assert!((ratio - 160.0).abs() < 1e-6, "{rates}");
    assert!(samples > Some(1.0) && samples < Some(2_000.0), "{rates}");
    let top = &status["last_flush"]["top"];
    assert_eq!(top["by_samples"][0], serde_json::json!({"name": "busy", "count": 150}), "{top:#}");
    assert_eq!(top["by_contexts"][0], serde_json::json!({"name": "wide", "count": 10}), "{top:#}");
}
