//! The smallest sidecar: what the original's documentation asks the kubelet for.

use anyhow::Result;

use super::{Cgroup, Kind, Load, Place, Programs, Receiver, verdict};
use crate::cluster::progress::Progress;

const MILLICORES: u64 = 25;
const MEMORY_BYTES: u64 = 32 << 20;

/// Datagrams of one line a second, and for how long.
const RATE: u64 = 1_000;
const SECONDS: f64 = 60.0;

/// Runs it and prints.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    let cgroup = Cgroup::create("quota", Some(MILLICORES), Some(MEMORY_BYTES))?;
    let title = format!("{RATE} samples/s for {SECONDS:.0} s in {MILLICORES} millicores and 32 MiB");
    let (sent, dropped, taken, killed, peak) = progress.step(&title, |_| {
        let place = Place { cgroup: Some(&cgroup), ..Place::default() };
        let receiver = Receiver::start(Kind::Ours, programs, place)?;
        let sent = Load::mix(1_000, 1, RATE, SECONDS).send(programs, receiver.port)?;
        let dropped = receiver.drained()?;
        let taken = receiver.status()?["ledgers"]["samples"]["aggregated"].as_u64().unwrap_or_default();
        Ok((sent, dropped, taken, cgroup.killed()?, cgroup.peak_bytes()?))
    })?;
    println!("\n{title}; {}", cgroup.throttling());
    verdict("lost", sent.samples.abs_diff(taken) as f64 + dropped as f64, "samples", 0.0);
    verdict("killed", killed as f64, "times", 0.0);
    verdict("memory of its cgroup at most", peak as f64 / f64::from(1 << 20), "MiB", 32.0);
    Ok(())
}
