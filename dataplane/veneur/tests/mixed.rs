//! Our instances and those of the original, Veneur 14.2.0, in every position of a fleet, on loopback.
//!
//! Needs the original's executables: `cargo xtask test --only mixed` builds them and says where they are.

#[path = "mixed/consul.rs"]
mod consul;
#[path = "mixed/expected.rs"]
mod expected;
#[path = "mixed/killed.rs"]
mod killed;
#[path = "mixed/last.rs"]
mod last;
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

use tokio::{sync::Barrier, task::JoinSet};

use tier::Whose;
use way::{Dialect, Way};

/// Ways that are tried at the same time: each is five processes that mostly wait for the clock. They start together and
/// are sent to at its same beats, so that no start takes the processor from one that has to keep an interval.
const AT_ONCE: usize = 12;

/// How often a way is tried that ends at a global of the original's. It flushes at the very moment at which its locals do:
/// what arrives early on a busy machine it publishes at once, and the rest an interval later. Ours wait for all of it.
const TRIES_OF_THE_ORIGINAL: usize = 3;

/// Every position, and every dialect that both ends of a hop speak. What the original's proxy takes in A it gives out in
/// A; the rest it gives out in B.
fn ways() -> Vec<Way> {
    const BOTH: [Whose; 2] = [Whose::Ours, Whose::Original];
    let mut ways = Vec::new();
    for (local, global) in BOTH.into_iter().flat_map(|local| BOTH.map(|global| (local, global))) {
        for first in Dialect::ALL {
            let second = if first == Dialect::A { Dialect::A } else { Dialect::B };
            ways.push(Way { local, first, proxy: Some(Whose::Original), second, global });
            ways.extend(Dialect::ALL.map(|second| Way { local, first, proxy: Some(Whose::Ours), second, global }));
        }
    }
    ways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the original's executables: cargo xtask test --only mixed"]
async fn every_mix_publishes_what_was_sent() {
    let ways = ways();
    assert_eq!(ways.len(), 48);
    each_is_right(&ways).await;
}

/// Fails unless each way publishes what was sent.
async fn each_is_right(ways: &[Way]) {
    let mut found = BTreeMap::new();
    for together in ways.chunks(AT_ONCE) {
        let (all, mut running) = (Arc::new(Barrier::new(together.len())), JoinSet::new());
        for way in together.iter().copied() {
            let all = Arc::clone(&all);
            running.spawn(async move { (way, way.run(&all).await) });
        }
        while let Some(ended) = running.join_next().await {
            let (way, problems) = ended.expect("no panic");
            found.insert(way.to_string(), problems);
        }
    }
    for way in ways.iter().copied().filter(|way| way.global != Whose::Ours) {
        for _ in 1..TRIES_OF_THE_ORIGINAL {
            if found.get(&way.to_string()).is_some_and(|problems| !problems.is_empty()) {
                println!("{way}: tried again");
                found.insert(way.to_string(), way.run(&Barrier::new(1)).await);
            }
        }
    }
    for (way, problems) in &found {
        println!("{way}: {}", if problems.is_empty() { "right".to_owned() } else { problems.join("\n    ") });
    }
    assert!(found.values().all(Vec::is_empty), "see above");
    assert_eq!(found.len(), ways.len());
}
