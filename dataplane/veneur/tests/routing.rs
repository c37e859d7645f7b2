//! Which sinks get a metric, and which tags make a series: as the configuration says, and as it says later.

use std::{
    net::UdpSocket,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, task::JoinSet};
use veneur::server;
use veneur_config::{Datadog, Every, NameMatch, Server, Sink, SinkKind, SinkRoute};
use veneur_intake::{Intake, Received};

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

async fn backend(name: &str, serving: &mut JoinSet<std::io::Result<()>>) -> (Arc<Intake>, Sink) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let api_hostname = format!("http://{}", listener.local_addr().expect("bound"));
    let intake = Arc::new(Intake::default());
    serving.spawn(Arc::clone(&intake).serve(listener));
    let datadog = Datadog { api_key: "hunter2".into(), api_hostname, ..Datadog::default() };
    (intake, Sink { name: name.into(), kind: SinkKind::Datadog(datadog) })
}

fn of(intake: &Intake, metric: &str) -> Vec<Received> {
    intake.received().into_iter().filter(|point| point.metric == metric).collect()
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metric_goes_where_its_route_says_and_where_a_new_one_says_without_a_restart() {
    let mut serving = JoinSet::new();
    let (first, one) = backend("one", &mut serving).await;
    let (second, two) = backend("two", &mut serving).await;
    let route = |prefix: &str, tags: &[&str], sink: &str| SinkRoute {
        name: NameMatch::Prefix(prefix.into()),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        sinks: vec![sink.into()],
    };
    let config = Server {
        interval: Every::seconds(1),
        statsd_listen_addresses: vec!["udp://127.0.0.1:0".into()],
        drop_tags: vec!["nonce".into()],
        self_metrics: false,
        metric_sinks: vec![one, two],
        sink_routes: vec![route("bill.", &["env:prod"], "two"), route("bill.", &[], "one")],
        ..Server::default()
    };
    let mut running = server::start(&config).await.expect("starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let dogstatsd = running.dogstatsd[0];
    let emit = |lines: &str| socket.send_to(lines.as_bytes(), dogstatsd).expect("loopback takes it");

    emit("bill.a:1|c|#env:prod,nonce:1\nbill.a:1|c|#env:prod,nonce:2\nbill.b:1|c|#env:dev\nfree:1|c");
    until("all is published", || {
        !of(&second, "bill.a").is_empty() && !of(&first, "bill.b").is_empty() && !of(&second, "free").is_empty()
    })
    .await;
    until("what has no route is everywhere", || !of(&first, "free").is_empty()).await;
    assert!(of(&first, "bill.a").is_empty() && of(&second, "bill.b").is_empty());
    let merged = of(&second, "bill.a");
    assert_eq!(merged.len(), 1, "what differs in a dropped tag alone is one series: {merged:?}");
    assert!((merged[0].total() - 2.0).abs() < 1e-9, "{merged:?}");

    running.follow(&Server { sink_routes: vec![route("bill.", &[], "two")], ..config });
    emit("bill.c:1|c|#env:dev");
    until("the new route is followed", || !of(&second, "bill.c").is_empty()).await;
    assert!(of(&first, "bill.c").is_empty());
    let ledger = running.stop().await;
    assert_eq!(ledger.unaccounted(), 0, "{ledger:?}");
}
