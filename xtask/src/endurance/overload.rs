//! A proxy that gets twice what its share of a core can route.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::{Cgroup, Kind, Load, Programs, Tier};

/// The proxy's share of a core.
const MILLICORES: u64 = 50;

/// Contexts an interval that are more than it can do: so it is seen what it can.
const FLOOD: u32 = 200_000;
/// Seconds of that, and then of twice of what it can.
const FLOOD_SECONDS: f64 = 10.0;
const OVERLOAD_SECONDS: f64 = 20.0;

const OVERLOAD_FACTOR: f64 = 2.0;

/// What the local may hold: about what the proxy routes in two intervals.
const HELD_BYTES: usize = 4 << 20;

const INTERVAL: u32 = 1;

/// Most memory that the proxy may take: its queue, what is under way on its connections, and itself.
const PROXY_BOUND: u64 = 128 << 20;

/// From the end of the load until nothing waits: an interval for the last flush, and what the local may hold.
const RECOVERY: Duration = Duration::from_secs(5);

/// Runs it.
pub(super) fn run(programs: &Programs) -> Result<()> {
    let global = Tier::global(Kind::Ours, programs, INTERVAL)?;
    let cgroup = Cgroup::create("overload", Some(MILLICORES), None)?;
    // Of the very partials that come later: of a flood, as many are answered as can be.
    let capacity = {
        let proxy = Tier::proxy_in(programs, global.grpc, &cgroup)?;
        let local = Tier::local_holding(programs, INTERVAL, proxy.grpc, HELD_BYTES)?;
        once_an_interval(FLOOD, FLOOD_SECONDS).send(programs, local.port)?;
        let answered = forward(&local.status()?)["acknowledged"].as_f64().context("/status has no ledger")?;
        answered / FLOOD_SECONDS
    };
    let mut proxy = Tier::proxy_in(programs, global.grpc, &cgroup)?;
    let mut local = Tier::local_holding(programs, INTERVAL, proxy.grpc, HELD_BYTES)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let contexts = (capacity * OVERLOAD_FACTOR * f64::from(INTERVAL)) as u32;
    once_an_interval(contexts, OVERLOAD_SECONDS).send(programs, local.port)?;
    let begun = Instant::now();
    let at_local = loop {
        let (at_local, at_proxy) = (local.status()?, proxy.process.status()?);
        for status in [&at_local, &at_proxy] {
            ensure!(status["unaccounted"] == 0, "a ledger is open: {status}");
        }
        if forward(&at_local)["held"] == 0 && forward(&at_proxy)["held"] == 0 && begun.elapsed().as_secs() > 1 {
            break forward(&at_local);
        }
        ensure!(begun.elapsed() < RECOVERY, "still waiting after {RECOVERY:?}: {at_local} {at_proxy}");
        std::thread::sleep(Duration::from_millis(50));
    };
    ensure!(local.lives()? && proxy.process.lives()?, "a process did not survive");
    let count = |field: &str| at_local[field].as_u64().with_context(|| format!("no {field}: {at_local}"));
    let lost: u64 = at_local["dropped"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let (produced, acknowledged, uncertain) = (count("produced")?, count("acknowledged")?, count("uncertain")?);
    ensure!(lost > 0, "nothing was lost: this was no overload ({capacity:.0} partials/s were thought to be all)");
    ensure!(produced == acknowledged + uncertain + lost, "the local's ledger is open: {at_local}");
    let peak = proxy.process.memory()?.peak;
    ensure!(peak <= PROXY_BOUND, "the proxy took {} MiB, {} are its bound", peak >> 20, PROXY_BOUND >> 20);
    println!(
        "  {capacity:.0} partials/s at {MILLICORES} millicores; of {produced} at twice that {acknowledged} were answered, \
         {lost} dropped by the local, {uncertain} uncertain; the proxy took {} MiB at most; all quiet after {:.1} s",
        peak >> 20,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Timers, each once an interval.
fn once_an_interval(contexts: u32, seconds: f64) -> Load {
    Load { kind: Some("ms"), ..Load::mix(contexts, 20, u64::from(contexts.div_ceil(20)), seconds) }
}

fn forward(status: &Value) -> Value {
    status["ledgers"]["forward"].clone()
}
