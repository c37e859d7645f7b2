//! What must not bring an instance down: too many contexts, too many datagrams, too slow clients.
//!
//! After each, the process lives, was never above its memory bound, and every ledger is closed.

mod overload;
mod slow;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::{Cgroup, Kind, Load, Place, Programs, Receiver};
use crate::cluster::progress::Progress;

/// Contexts of the bomb, each sent once.
const BOMB: u32 = 10_000_000;

/// At which they come, in datagrams of 20 lines a second; about a minute for all.
const BOMB_RATE: u64 = 8_000;

/// Most memory that a bomb may take, in bytes.
const BOMB_BOUND: u64 = 1 << 30;

/// `max_state_bytes` as it is by default.
const STATE_BOUND: u64 = 512 << 20;

/// Datagrams of 20 lines a second of the flood: what a generator reaches wherever this runs.
const FLOOD_RATE: u64 = 40_000;
const FLOOD_SECONDS: f64 = 20.0;

/// A receiver can take in half of the flood.
const FLOOD_FACTOR: u64 = 2;

/// Half of it should be lost; less than this, and it was no flood.
const LEAST_LOST: f64 = 0.25;

/// Most memory that a flood may take: what 10,000 contexts need, and no queue besides.
const FLOOD_BOUND: u64 = 128 << 20;

/// Kernel drops are read at a flush; it has to come within this.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);

/// Runs all.
pub(crate) fn run(progress: &Progress) -> Result<()> {
    let programs = Programs::own(progress)?;
    progress.step("a flood at twice what can be read", |_| flood(&programs))?;
    progress.step("1,000 slow connections", |step| slow::run(&programs, step))?;
    progress.step("a proxy at twice its capacity", |_| overload::run(&programs))?;
    progress.step("10 million contexts", |_| bomb(&programs))
}

fn bomb(programs: &Programs) -> Result<()> {
    let mut receiver = Receiver::start(Kind::Ours, programs, Place::default())?;
    let load = Load::mix(BOMB, 20, BOMB_RATE, 180.0).visits(1);
    let sent = load.send(programs, receiver.port)?;
    ensure!(sent.samples == u64::from(BOMB), "only {} of {BOMB} contexts were sent in time", sent.samples);
    check(&mut receiver, sent.packets, BOMB_BOUND)?;
    let status = receiver.status()?;
    let state = status["state_bytes"].as_u64().with_context(|| format!("/status has no state_bytes: {status}"))?;
    ensure!(state <= STATE_BOUND, "{state} bytes of state are kept, {STATE_BOUND} are allowed");
    let folded = count(&status, "samples", "folded")?;
    ensure!(folded > 0, "every context found room: this was no bomb");
    Ok(())
}

/// Where the generator cannot reach twice of what ours reads, ours is held to a share of its core.
fn flood(programs: &Programs) -> Result<()> {
    let receiver = Receiver::start(Kind::Ours, programs, Place::default())?;
    let before = receiver.cpu()?;
    // Under the flood itself: full batches cost less than single datagrams do.
    let sent = Load::mix(10_000, 20, FLOOD_RATE, 5.0).send(programs, receiver.port)?;
    let read = sent.packets - receiver.drained()?;
    let cost = receiver.cpu()?.saturating_sub(before).as_secs_f64() / read as f64;
    receiver.stop()?;
    let capacity = u32::try_from(FLOOD_RATE / FLOOD_FACTOR).context("the flood is too large")?;
    let millicores = (Duration::from_secs_f64(cost) * capacity).as_millis();
    let millicores = u64::try_from(millicores).unwrap_or(u64::MAX);
    let cgroup = Cgroup::create("flood", Some(millicores.clamp(50, 1_000)), None)?;
    let mut receiver = Receiver::start(Kind::Ours, programs, Place { cgroup: Some(&cgroup), ..Place::default() })?;
    let sent = Load::mix(10_000, 20, FLOOD_RATE, FLOOD_SECONDS).send(programs, receiver.port)?;
    let dropped = receiver.drained()?;
    let lost = dropped as f64 / sent.packets as f64;
    ensure!(lost > LEAST_LOST, "only {lost:.2} of it was lost at {:.0} datagrams/s: this was no flood", sent.rate());
    check(&mut receiver, sent.packets, FLOOD_BOUND)
}

/// Lives, stayed within `bound` bytes, and says of every datagram and sample where it is.
fn check(receiver: &mut Receiver, sent: u64, bound: u64) -> Result<()> {
    let begun = Instant::now();
    let status = loop {
        ensure!(receiver.lives()?, "the process did not survive");
        let status = receiver.status()?;
        if count(&status, "datagrams", "arrived")? == sent {
            break status;
        }
        ensure!(begun.elapsed() < SETTLE_LIMIT, "{sent} datagrams were sent, and /status has {}", status["ledgers"]);
        std::thread::sleep(Duration::from_millis(100));
    };
    let (read, dropped) = (count(&status, "datagrams", "read")?, count(&status, "datagrams", "kernel_dropped")?);
    ensure!(read + dropped == sent, "read {read} and dropped {dropped} are not the {sent} that arrived");
    ensure!(status["unaccounted"] == 0, "the ledgers are open: {status}");
    let peak = receiver.memory()?.peak;
    ensure!(peak <= bound, "the process took {} MiB, {} are its bound", peak >> 20, bound >> 20);
    println!("  {read} datagrams read, {dropped} dropped by the kernel, {} MiB at most", peak >> 20);
    Ok(())
}

fn count(status: &Value, ledger: &str, field: &str) -> Result<u64> {
    status["ledgers"][ledger][field].as_u64().with_context(|| format!("/status has no {ledger}.{field}: {status}"))
}
