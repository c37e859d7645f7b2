//! Our instances and those of the original, Veneur 14.2.0, in every position of a fleet, on loopback.
//!
//! Needs the original's executables: `cargo xtask test --only mixed` builds them and says where they are.

#[path = "mixed/consul.rs"]
mod consul;
#[path = "mixed/expected.rs"]
mod expected;
#[path = "mixed/killed.rs"]
mod killed;
#[path = "mixed/old_peer.rs"]
mod old_peer;
#[expect(dead_code, reason = "nothing is restarted here")]
#[path = "fleet/process.rs"]
mod process;
#[path = "mixed/side_by_side.rs"]
mod side_by_side;
#[path = "mixed/tier.rs"]
mod tier;
#[path = "mixed/way.rs"]
mod way;

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

use tier::Whose;
use way::{Dialect, Way};

/// Ways that are tried at the same time: each is five processes that mostly wait for the clock, and all are sent to at its
/// same beats.
const AT_ONCE: usize = 8;

/// Every position, and every dialect that both ends of a hop speak. What the original's proxy takes in A it gives out in
/// A; the rest it gives out in B.
fn ways() -> Vec<Way> {
    const BOTH: [Whose; 2] = [Whose::Ours, Whose::Original];
    let mut ways = Vec::new();
    for (local, global) in BOTH.into_iter().flat_map(|local| BOTH.map(|global| (local, global))) {
        for first in Dialect::ALL {
            let second = if first == Dialect::A { Dialect::A } else { Dialect::B };
            ways.push(Way { local, first, proxy: Whose::Original, second, global });
            ways.extend(Dialect::ALL.map(|second| Way { local, first, proxy: Whose::Ours, second, global }));
        }
    }
    ways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the original's executables: cargo xtask test --only mixed"]
async fn every_mix_publishes_what_was_sent() {
    let (turns, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for way in ways() {
        let turns = Arc::clone(&turns);
        running.spawn(async move {
            let _turn = turns.acquire_owned().await.expect("never closed");
            (way, way.run().await)
        });
    }
    let mut found = BTreeMap::new();
    while let Some(ended) = running.join_next().await {
        let (way, problems) = ended.expect("no panic");
        found.insert(way.to_string(), problems);
    }
    for (way, problems) in &found {
        println!("{way}: {}", if problems.is_empty() { "right".to_owned() } else { problems.join("\n    ") });
    }
    assert!(found.values().all(Vec::is_empty), "see above");
    assert_eq!(found.len(), 48);
}
