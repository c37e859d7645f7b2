//! What a proxy says of itself, and where.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use veneur::{proxy, server};
use veneur_config::{Datadog, Every, Proxy, Server, Sink, SinkKind};
use veneur_intake::Intake;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(members: Vec<String>) -> Proxy {
    Proxy {
        grpc_address: "127.0.0.1:0".into(),
        interval: Every::seconds(1),
        forward_addresses: members,
        ..Proxy::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_reports_on_itself_through_its_members() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let intake_address = listener.local_addr().expect("bound");
    let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
    serving.spawn(Arc::clone(&intake).serve(listener));
    let sink =
        Datadog { api_key: "key".into(), api_hostname: format!("http://{intake_address}"), ..Datadog::default() };
    let global = Server {
        interval: Every::seconds(1),
        synchronize_with_interval: true,
        grpc_address: "127.0.0.1:0".into(),
        self_metrics: false,
        metric_sinks: vec![Sink { name: "datadog".into(), kind: SinkKind::Datadog(sink) }],
        ..Server::default()
    };
    let global = server::start(&global).await.expect("a global starts");
    let member = global.grpc.expect("imports").to_string();
    let proxy = proxy::start(&config(vec![member.clone()])).await.expect("a proxy starts");

    let deadline = tokio::time::Instant::now() + PATIENCE;
    // Of the report before: that it was delivered.
    let delivered = loop {
        let received = intake.received();
        if let Some(point) = received.iter().find(|point| point.metric == "veneur_proxy.metrics_by_destination") {
            break point.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "no second report: {received:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(delivered.host.is_some(), "a proxy's series is its own: {delivered:?}");
    assert!(delivered.tags.contains(&format!("destination:{member}")), "{delivered:?}");
    assert_eq!(intake.problems(), Vec::<String>::new());
    let ledger = proxy.stop().await;
    assert!(ledger.produced > 0 && ledger.unaccounted() == 0 && ledger.dropped.is_empty(), "{ledger:?}");
    assert_eq!(global.stop().await.unaccounted(), 0);
}

#[tokio::test]
async fn a_stats_address_gets_a_proxys_report_instead() {
    let reader = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let stats_address = reader.local_addr().expect("bound").to_string();
    let config = Proxy { stats_address, ..config(vec!["127.0.0.1:1".into()]) };
    let proxy = proxy::start(&config).await.expect("a proxy starts");
    let mut datagram = vec![0; 4_096];
    let length = tokio::time::timeout(PATIENCE, reader.recv(&mut datagram)).await.expect("reports").expect("received");
    let report = String::from_utf8_lossy(&datagram[..length]).into_owned();
    assert!(report.contains("veneur_proxy.discovery.destinations:1|g"), "{report}");
    let ledger = proxy.stop().await;
    assert_eq!(ledger.produced, 0, "{ledger:?}");
}
