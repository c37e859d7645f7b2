//! What a killed global costs the original: the figure beside ours, which `rolling.rs` measures under the same load.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use veneur_intake::Received;

use crate::{
    consul::{Consul, SERVICES},
    process::PATIENCE,
    tier::{Instance, Sink, Whose},
    way::Dialect,
};

/// As many series as `fleet` feeds, each with a counter and a timer.
const SERIES: usize = 40;

/// How long the load goes on after the death.
const AFTER: Duration = Duration::from_secs(20);

/// The original's proxies ask anew after so long; its example says 30 s.
const REFRESH: &str = "5s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the original's executables: cargo xtask test --only mixed"]
async fn a_killed_global_of_the_original_costs_more_than_an_interval() {
    let (folder, sink, own) = (tempfile::tempdir().expect("a folder"), Sink::start().await, Sink::start().await);
    let path = folder.path();
    let mut globals =
        [0, 1, 2].map(|n| Instance::server(Whose::Original, path, &format!("global-{n}"), &sink, "interval: 1s\n"));
    for global in &mut globals {
        global.ready().await;
    }
    let members = |port: fn(&Instance) -> SocketAddr| globals.iter().map(port).collect();
    let consul = Consul::start([members(|global| global.http), members(|global| global.grpc)]).await;
    let [http, grpc] = SERVICES;
    let asks = format!(
        "consul_forward_service_name: {http}\nconsul_forward_grpc_service_name: {grpc}\n\
         consul_refresh_interval: {REFRESH}\n"
    );
    let mut proxy = Instance::proxy(Whose::Original, path, "proxy", &asks, Some(&consul));
    proxy.ready().await;
    let mut locals = [0, 1].map(|n| {
        let keys = format!("interval: 1s\n{}", proxy.forward_keys(Dialect::B));
        Instance::server(Whose::Original, path, &format!("pod-{n}"), &own, &keys)
    });
    for local in &mut locals {
        local.ready().await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let threads = locals.each_ref().map(|local| load(local.statsd, Arc::clone(&over), Arc::clone(&sent)));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let series = || {
        let received = sink.intake.received();
        received
            .into_iter()
            .map(|point| point.metric)
            .filter(|name| name.starts_with("fleet.requests."))
            .collect::<std::collections::BTreeSet<_>>()
    };
    while series().len() < SERIES {
        assert!(tokio::time::Instant::now() < deadline, "not every series is published");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // At the worst moment, as there: it has the interval's partials, and keeps them to the end of the next.
    while !(120..180).contains(&(veneur::clock::now_ms() % 1_000)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    globals[1].process.kill();
    consul.lose([globals[1].http, globals[1].grpc]);
    tokio::time::sleep(AFTER).await;
    over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("no panic");
    }
    let sent = sent.load(Ordering::SeqCst);
    // Two intervals of locals and globals, and what a flush takes.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let requests: f64 = sink
        .intake
        .received()
        .iter()
        .filter(|point| point.metric.starts_with("fleet.requests."))
        .map(Received::total)
        .sum();
    let lost = sent as f64 - requests;
    // 400 a second, a third of them at the killed one.
    println!(
        "the original's three globals, one killed and found dead within {REFRESH}: {lost} of {sent} lost, {:.1} times \
         its share of one interval",
        lost / (400.0 / 3.0)
    );
    assert!(lost > 0.0, "it acknowledges before it forwards, and its global publishes once an interval");
}

/// Every 5 ms a datagram with one increment and one timing for the next series, as `fleet` sends.
fn load(to: SocketAddr, over: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        for series in (0..SERIES).cycle() {
            if over.load(Ordering::SeqCst) {
                return;
            }
            let lines = format!("fleet.requests.{series}:1|c|#veneurglobalonly\nfleet.latency.{series}:7|ms");
            socket.send_to(lines.as_bytes(), to).expect("loopback takes it");
            sent.fetch_add(1, Ordering::SeqCst);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    })
}
