//! Every way of deploying that `manifests/examples` shows, on loopback: what is published is what was sent.

#[path = "topologies/example.rs"]
mod example;
#[path = "topologies/place.rs"]
mod place;
#[expect(dead_code, reason = "nothing is restarted here")]
#[path = "fleet/process.rs"]
mod process;
#[path = "topologies/service.rs"]
mod service;

use std::{collections::BTreeMap, net::UdpSocket, time::Duration};

use serde_json::json;
use veneur_intake::Received;

use example::{Example, patch_in_header, patched};
use place::{Elsewhere, Placed, Sink};
use process::PATIENCE;
use service::Switch;

/// Samples of each kind that a pod is sent.
const SAMPLES: usize = 50;

/// Sends from pod 0 or 1 counters, timings of 1, 2, … of which each pod has every other one, and members of a set.
fn send(to: &Placed, pod: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    for n in 0..SAMPLES {
        let value = 2 * n + pod + 1;
        let lines =
            format!("shop.orders:1|c\nshop.total:1|c|#veneurglobalonly\nshop.latency:{value}|ms\nshop.users:{value}|s");
        socket.send_to(lines.as_bytes(), to.statsd).expect("loopback takes it");
    }
}

async fn until(what: &str, logs: impl Fn() -> String, met: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "waited until {what}: {}", logs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The total of a counter, over all points.
fn total(received: &[Received], metric: &str) -> f64 {
    received.iter().filter(|point| point.metric == metric).map(Received::total).sum()
}

fn values(received: &[Received], metric: &str) -> Vec<f64> {
    received.iter().filter(|point| point.metric == metric).map(|point| point.value).collect()
}

/// What two pods sent is published, once for the fleet.
async fn of_the_fleet(sink: &Sink, instances: &[&Placed]) {
    let logs = || instances.iter().map(|placed| placed.process.log()).collect::<String>();
    let (all, received) = ((2 * SAMPLES) as f64, || sink.intake.received());
    until("all is published", logs, || {
        let now = received();
        ["shop.orders", "shop.total", "shop.latency.count"].iter().all(|metric| total(&now, metric) >= all)
            && !values(&now, "shop.latency.99percentile").is_empty()
            && !values(&now, "shop.users").is_empty()
    })
    .await;
    let received = received();
    for metric in ["shop.orders", "shop.total", "shop.latency.count"] {
        assert!((total(&received, metric) - all).abs() < 1e-6, "{metric}: {received:#?}");
    }
    // In one interval, unless the two pods were sent to on both sides of a boundary.
    let highest = values(&received, "shop.latency.99percentile").into_iter().fold(0.0, f64::max);
    assert!((all - 2.0..=all).contains(&highest), "{highest}");
    assert!(values(&received, "shop.users").iter().sum::<f64>() >= all - 1.0, "{received:#?}");
    assert_eq!(sink.intake.problems(), Vec::<String>::new());
    for placed in instances {
        let status = placed.process.status().await;
        assert_eq!(status["unaccounted"], 0, "{status:#}");
        let ledger = &status["ledgers"]["forward"];
        assert_eq!((&ledger["uncertain"], &ledger["dropped"]), (&json!(0), &json!({})), "{status:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_central_instance_publishes_for_all_pods() {
    let (example, sink) = (Example::read("central"), Sink::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = Elsewhere { sink: Some(&sink), ..Elsewhere::default() };
    let central = Placed::start("global", folder.path(), "central", example.configuration("veneur"), elsewhere).await;
    for pod in 0..2 {
        send(&central, pod);
    }
    of_the_fleet(&sink, &[&central]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_on_their_own_publish_each_its_series() {
    let (example, sink) = (Example::read("pod-local"), Sink::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(example.sidecar_variables()["VENEUR_EXTENDTAGS"]["value"], "host:$(VENEUR_HOSTNAME)");
    let mut pods = Vec::new();
    for pod in 0..2 {
        let name = format!("pod-{pod}");
        let variables = vec![("VENEUR_HOSTNAME", name.clone()), ("VENEUR_EXTENDTAGS", format!("host:{name}"))];
        let elsewhere = Elsewhere { sink: Some(&sink), variables, ..Elsewhere::default() };
        let configuration = example.configuration("veneur-sidecar");
        pods.push(Placed::start("local", folder.path(), &name, configuration, elsewhere).await);
        send(&pods[pod], pod);
    }
    let logs = || pods.iter().map(|placed| placed.process.log()).collect::<String>();
    let metrics = ["shop.orders", "shop.total", "shop.latency.99percentile", "shop.users"];
    until("each pod publishes", logs, || {
        let received = sink.intake.received();
        metrics.iter().all(|metric| {
            let hosts = received.iter().filter(|point| point.metric == *metric).map(|point| point.host.clone());
            hosts.collect::<std::collections::BTreeSet<_>>()
                == [Some("pod-0".to_owned()), Some("pod-1".to_owned())].into()
        })
    })
    .await;
    let mut orders: BTreeMap<_, f64> = BTreeMap::new();
    for point in sink.intake.received().iter().filter(|point| point.metric == "shop.orders") {
        *orders.entry(point.host.clone()).or_default() += point.total();
    }
    assert!(orders.values().all(|orders| (orders - SAMPLES as f64).abs() < 1e-6), "{orders:?}");
}

/// Sidecars of an example that forward to `to`.
async fn sidecars(example: &Example, folder: &std::path::Path, to: std::net::SocketAddr) -> Vec<Placed> {
    let mut pods = Vec::new();
    let by_variable = example.sidecar_variables().contains_key("VENEUR_FORWARDADDRESS");
    for pod in 0..2 {
        let name = format!("pod-{pod}");
        let mut elsewhere = Elsewhere { forward: (!by_variable).then_some(to), ..Elsewhere::default() };
        elsewhere.variables = vec![("VENEUR_HOSTNAME", name.clone())];
        if by_variable {
            elsewhere.variables.push(("VENEUR_FORWARDADDRESS", to.to_string()));
        }
        pods.push(Placed::start("local", folder, &name, example.configuration("veneur-sidecar"), elsewhere).await);
    }
    pods
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_globals_publishes_at_its_upper_end() {
    let (example, sink) = (Example::read("chained"), Sink::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let elsewhere = Elsewhere { sink: Some(&sink), ..Elsewhere::default() };
    let upper = Placed::start("global", path, "upper", example.configuration("veneur-upper"), elsewhere).await;
    let elsewhere = Elsewhere { forward: Some(upper.grpc), ..Elsewhere::default() };
    let zone = Placed::start("global", path, "zone", example.configuration("veneur-zone"), elsewhere).await;
    let pods = sidecars(&example, path, zone.grpc).await;
    for (pod, placed) in pods.iter().enumerate() {
        send(placed, pod);
    }
    of_the_fleet(&sink, &[&pods[0], &pods[1], &zone, &upper]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_on_every_node_gives_each_series_to_its_global() {
    let (example, sink) = (Example::read("node-proxy"), Sink::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    assert_eq!(example.sidecar_variables()["VENEUR_FORWARDADDRESS"]["value"], "$(NODE_IP):8128");
    let port = &example.object("DaemonSet", "veneur-proxy")["spec"]["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!(port["hostPort"], 8128);
    let proxy_address = process::free();
    let mut globals = Vec::new();
    for n in 0..3 {
        let elsewhere = Elsewhere { sink: Some(&sink), handover: Some(proxy_address), ..Elsewhere::default() };
        let name = format!("global-{n}");
        globals.push(Placed::start("global", path, &name, example.configuration("veneur-global"), elsewhere).await);
    }
    let mut nodes = Vec::new();
    for node in 0..2 {
        let members = globals.iter().map(|global| global.grpc).collect();
        let elsewhere = Elsewhere { members, ..Elsewhere::default() };
        let name = format!("proxy-{node}");
        nodes.push(Placed::start("proxy", path, &name, example.configuration("veneur-proxy"), elsewhere).await);
    }
    let pods = [
        sidecars(&example, path, nodes[0].grpc).await.remove(0),
        sidecars(&example, path, nodes[1].grpc).await.remove(1),
    ];
    for (pod, placed) in pods.iter().enumerate() {
        send(placed, pod);
    }
    let all: Vec<&Placed> = pods.iter().chain(&nodes).chain(&globals).collect();
    of_the_fleet(&sink, &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_at_the_switch_and_at_most_one_interval_is_lost() {
    let (example, sink) = (Example::read("standby"), Sink::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let service = example.object("Service", "veneur-aggregator");
    // The example's own patch names the standby's pods.
    let switched = patched(service, &patch_in_header("standby")).spec.expect("a spec").selector.expect("a selector");
    let labels = |name: &str| {
        let labels = &example.object("Deployment", name)["spec"]["template"]["metadata"]["labels"];
        serde_json::from_value::<BTreeMap<String, String>>(labels.clone()).expect("labels")
    };
    assert_eq!(service["spec"]["selector"], json!(labels("veneur-aggregator-a")));
    assert_eq!(switched, labels("veneur-aggregator-b"));

    let mut sides = Vec::new();
    for name in ["a", "b"] {
        let elsewhere = Elsewhere { sink: Some(&sink), ..Elsewhere::default() };
        let configuration = example.configuration("veneur-aggregator");
        sides.push(Placed::start("global", path, name, configuration, elsewhere).await);
    }
    let switch = Switch::start(sides[0].grpc).await;
    let pods = sidecars(&example, path, switch.address).await;
    let logs = || sides.iter().chain(&pods).map(|placed| placed.process.log()).collect::<String>();
    let published = || total(&sink.intake.received(), "shop.total");
    // In each round two pods send SAMPLES; the active one dies in the third, and the switch comes a round later.
    let round = (2 * SAMPLES) as f64;
    for sent in 1..=2 {
        pods.iter().enumerate().for_each(|(pod, placed)| send(placed, pod));
        until("a round is published", logs, || published() >= round * f64::from(sent)).await;
    }
    until("an interval is young", logs, || (200..500).contains(&(veneur::clock::now_ms() % 1_000))).await;
    pods.iter().enumerate().for_each(|(pod, placed)| send(placed, pod));
    // At the worst moment: it has acknowledged the interval's partials, and publishes them 250 ms after the boundary.
    until("the interval is over", logs, || (120..180).contains(&(veneur::clock::now_ms() % 1_000))).await;
    sides[0].process.kill();
    let logs = || sides[1..].iter().chain(&pods).map(|placed| placed.process.log()).collect::<String>();
    pods.iter().enumerate().for_each(|(pod, placed)| send(placed, pod));
    tokio::time::sleep(Duration::from_secs(2)).await;
    switch.to(sides[1].grpc);
    // All but the third round, which the dead one may have had: what was sent while nobody was there has waited.
    until("the standby publishes", logs, || published() >= round * 3.0).await;
    pods.iter().enumerate().for_each(|(pod, placed)| send(placed, pod));
    until("and goes on", logs, || published() >= round * 4.0).await;
    let lost = 5.0 * round - published();
    assert!((0.0..=round).contains(&lost), "{lost} of {}: {}", 5.0 * round, logs());
    println!("{lost} of {} lost with the active one, {round} in an interval", 5.0 * round);
}
