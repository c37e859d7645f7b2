//! Proxies of both kinds before the same globals.

use std::collections::{BTreeMap, BTreeSet};

use veneur_intake::Received;

use crate::{
    consul::{Consul, SERVICES},
    process::PATIENCE,
    tier::{INTERVAL, Instance, Sink, Whose},
    way::{Dialect, send, within_an_interval},
};

const SERIES: usize = 200;

/// Two locals of the original's, one behind each proxy, feed the same series.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the original's executables: cargo xtask test --only mixed"]
async fn proxies_of_both_kinds_give_each_series_to_one_global() {
    for dialect in [Dialect::B, Dialect::C] {
        each_series_has_one_global(dialect).await;
    }
}

/// `dialect` is the one in which our proxy forwards.
async fn each_series_has_one_global(dialect: Dialect) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (sinks, own) = ([Sink::start().await, Sink::start().await], Sink::start().await);
    let mut globals = [
        Instance::server(Whose::Ours, path, "global-0", &sinks[0], ""),
        Instance::server(Whose::Original, path, "global-1", &sinks[1], ""),
    ];
    for global in &mut globals {
        global.ready().await;
    }
    let members = |port: fn(&Instance) -> std::net::SocketAddr| globals.iter().map(port).collect();
    let consul = Consul::start([members(|global| global.http), members(|global| global.grpc)]).await;
    let [http, grpc] = SERVICES;
    let asks = format!(
        "consul_forward_service_name: {http}\nconsul_forward_grpc_service_name: {grpc}\nconsul_refresh_interval: 1s\n"
    );
    let to = globals.iter().map(|global| global.destination(dialect)).collect::<Vec<_>>();
    let tells = format!("interval: {INTERVAL}s\nring: {{hash: Veneur}}\nforward_addresses: {to:?}\n");
    let mut proxies = [
        Instance::proxy(Whose::Ours, path, "ours", &tells, None),
        Instance::proxy(Whose::Original, path, "original", &asks, Some(&consul)),
    ];
    for proxy in &mut proxies {
        proxy.ready().await;
    }
    let mut locals = [0, 1].map(|index| {
        let keys = proxies[index].forward_keys(Dialect::B);
        Instance::server(Whose::Original, path, &format!("pod-{index}"), &own, &keys)
    });
    for local in &mut locals {
        local.ready().await;
    }

    within_an_interval().await;
    for local in &locals {
        send(local, &lines());
    }
    let received = || sinks.iter().map(|sink| sink.intake.received()).collect::<Vec<_>>();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let names = |received: &[Received]| {
        let names = received.iter().map(|point| point.metric.clone()).filter(|name| name.starts_with("side."));
        names.collect::<BTreeSet<_>>().len()
    };
    let all = || total(&received().concat()) >= (SERIES * 2 * 3) as f64 && names(&received().concat()) >= SERIES * 3;
    while !all() {
        let logs = || globals.iter().chain(&proxies).chain(&locals).map(|one| one.process.log()).collect::<String>();
        assert!(tokio::time::Instant::now() < deadline, "{} of all: {}", total(&received().concat()), logs());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!((total(&received().concat()) - (SERIES * 2 * 3) as f64).abs() < 1e-6, "something came twice");
    let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (global, points) in received().iter().enumerate() {
        for point in points.iter().filter(|point| point.metric.starts_with("side.")) {
            owners.entry(point.metric.clone()).or_default().push(global);
        }
    }
    let split: Vec<_> = owners.iter().filter(|(_, globals)| globals.len() > 1).collect();
    assert_eq!(split, Vec::new(), "published by both, or twice");
    // Counters, and two percentiles of timers.
    assert_eq!(owners.len(), SERIES * 3);
    let of_the_first = owners.values().filter(|globals| **globals == [0]).count();
    assert!((1..owners.len()).contains(&of_the_first), "both own some: {of_the_first} of {}", owners.len());
    println!("ours in {dialect:?} beside the original: {of_the_first} of {} series at the first of two", owners.len());
}

fn lines() -> Vec<String> {
    let series = (0..SERIES)
        .map(|n| format!("side.hits.{n}:3|c|#veneurglobalonly,b:{n},a:1\nside.latency.{n}:7|ms|#zone:b,app:a"));
    series.collect()
}

/// Of the counters.
fn total(received: &[Received]) -> f64 {
    received.iter().filter(|point| point.metric.starts_with("side.hits.")).map(Received::total).sum()
}
