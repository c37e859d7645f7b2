//! From a local's flush, through a proxy, to a global's.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::super::{Kind, Load, Programs, median, verdict};
use super::rates::wait_for_second;
use super::tier::Tier;
use crate::cluster::progress::Progress;

/// Timers that are forwarded at each boundary.
const PARTIALS: u32 = 100_000;

/// Datagrams of 20 lines a second: all contexts in three seconds.
const RATE: u64 = 2_000;

const INTERVAL: u32 = 10;
const INTERVALS: usize = 3;

/// What the global waits after a boundary: its default at this interval.
const LATENESS: f64 = 2.0;

/// No flush takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Measures and prints.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    let title = format!("local → proxy → global, {PARTIALS} timers an interval");
    let (took, late) = progress.step(&title, |step| {
        let global = Tier::global(Kind::Ours, programs, INTERVAL)?;
        let proxy = Tier::proxy(Kind::Ours, programs, global.grpc)?;
        let local = Tier::local(programs, INTERVAL, proxy.grpc)?;
        let load = Load { kind: Some("ms"), ..Load::mix(PARTIALS, 20, RATE, f64::from(INTERVAL)) }.visits(1);
        let mut took = Vec::new();
        for interval in 1..=INTERVALS {
            step.detail(format!("(interval {interval} of {INTERVALS})"));
            wait_for_second(3);
            load.send(programs, local.port)?;
            ensure!(local.drained()? == 0, "datagrams were lost on their way into the local");
            let boundary = now().as_secs().next_multiple_of(INTERVAL.into());
            loop {
                let last = &global.process.status()?["last_flush"];
                if last["interval_end"] == boundary {
                    let contexts = last["contexts"].as_u64().unwrap_or_default();
                    ensure!(contexts >= PARTIALS.into(), "only {contexts} contexts were in the global's flush");
                    break;
                }
                ensure!(now() < Duration::from_secs(boundary) + LIMIT, "the global did not flush");
                thread::sleep(Duration::from_millis(20));
            }
            took.push(now().as_secs_f64() - boundary as f64);
        }
        let ledger = &global.process.status()?["ledgers"]["forward"];
        Ok((median(took), ledger["late"].as_u64().context("the global's ledger says nothing of late partials")?))
    })?;
    println!("\n{title}; all of them on one core, median of {INTERVALS}");
    verdict("from the local's flush to the end of the global's", took, "s", LATENESS + 1.0);
    verdict("late", late as f64, "partials", 0.0);
    Ok(())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
