//! A local of ours that forwards its own points too, straight to a global of the original, which has no place for them.

use crate::{
    expected,
    process::PATIENCE,
    tier::{INTERVAL, Instance, Sink, Whose},
    way::{Dialect, count, send, within_an_interval},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the original's executables: cargo xtask test --only mixed"]
async fn what_an_old_peer_cannot_carry_is_counted_and_told_once() {
    let mut running = tokio::task::JoinSet::new();
    // By POST our locals refuse to start so.
    running.spawn(counted_and_told_once(Dialect::B));
    running.spawn(counted_and_told_once(Dialect::C));
    while let Some(ended) = running.join_next().await {
        ended.expect("no panic");
    }
}

async fn counted_and_told_once(dialect: Dialect) {
    let (folder, sink) = (tempfile::tempdir().expect("a folder"), Sink::start().await);
    let mut global = Instance::server(Whose::Original, folder.path(), "global", &sink, "");
    global.ready().await;
    let keys = format!("{}forward_points: true\n", global.forward_keys(dialect));
    let mut local = Instance::server(Whose::Ours, folder.path(), "pod", &sink, &keys);
    local.ready().await;

    for round in 1..=2 {
        within_an_interval().await;
        send(&local, &expected::lines(0));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let ledger = loop {
            let status = local.process.status().await;
            let ledger = status["ledgers"]["forward"].clone();
            assert_eq!(status["unaccounted"], 0, "{status:#}");
            let dropped = count(&ledger["dropped"], "peer_cannot_carry");
            // A flush offers its partials first, and then its points.
            if count(&ledger, "acknowledged") >= round * expected::PARTIALS && dropped >= round * expected::POINTS {
                break ledger;
            }
            assert!(tokio::time::Instant::now() < deadline, "{dialect:?}, round {round}: {ledger:#}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let dropped = ledger["dropped"].as_object().expect("is one").clone();
        assert_eq!(dropped.keys().collect::<Vec<_>>(), ["peer_cannot_carry"], "{ledger:#}");
        assert_eq!(count(&ledger, "uncertain"), 0, "{ledger:#}");
        let (carried, unsendable) = (round * expected::PARTIALS, round * expected::POINTS);
        assert_eq!(count(&ledger, "acknowledged"), carried, "{dialect:?}: {ledger:#}");
        assert_eq!(count(&ledger["dropped"], "peer_cannot_carry"), unsendable, "{dialect:?}: {ledger:#}");
        tokio::time::sleep(std::time::Duration::from_secs(INTERVAL)).await;
    }
    let log = local.process.log();
    let told = log.lines().filter(|line| line.contains("WARN") && line.contains("peer_cannot_carry")).count();
    assert_eq!(told, 1, "{dialect:?}: {log}");
}
