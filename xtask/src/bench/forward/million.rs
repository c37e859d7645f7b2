//! Many contexts in one global: memory while they are flushed, and what the flush costs.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::sender::Partials;
use super::super::{Kind, Programs, verdict};
use super::tier::Tier;
use crate::cluster::progress::Progress;

const CONTEXTS: u32 = 1_000_000;

/// Long enough for all of them to arrive in one.
const INTERVAL: u32 = 120;

/// Its lateness besides, and time for the flush.
const FLUSH_LIMIT: Duration = Duration::from_mins(3);

/// Measures and prints.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    let title = format!("{CONTEXTS} timers of 100 centroids in one global");
    let (held, peak, cpu, import) = progress.step(&title, |step| {
        let global = Tier::global(Kind::Ours, programs, INTERVAL)?;
        let before = global.process.cpu()?;
        let load = Partials {
            dialect: "c",
            what: "timers",
            contexts: CONTEXTS,
            rate: 0,
            seconds: f64::from(INTERVAL),
            once: true,
        };
        let sent = load.send(programs, global.grpc, None)?;
        ensure!(sent.partials == u64::from(CONTEXTS), "only {} partials were sent in time", sent.partials);
        global.process.settled()?;
        let (filled, held) = (global.process.cpu()?, global.process.memory()?.resident);
        let contexts = &global.process.status()?["unpublished_contexts"];
        // Its own metrics come in when it flushes.
        ensure!(*contexts == CONTEXTS, "{contexts} contexts wait, some were flushed before: start again");
        step.detail("(waiting for the flush)".to_owned());
        let begun = Instant::now();
        while global.process.status()?["last_flush"]["contexts"].as_u64().unwrap_or_default() < u64::from(CONTEXTS) {
            ensure!(begun.elapsed() < FLUSH_LIMIT, "there was no flush");
            thread::sleep(Duration::from_millis(200));
        }
        global.process.settled()?;
        let (after, peak) = (global.process.cpu()?, global.process.memory()?.peak);
        Ok((held, peak, after.saturating_sub(filled), filled.saturating_sub(before)))
    })?;
    println!(
        "\n{title}: {:.2} GB before the flush, {:.1} CPU-seconds to take them in",
        held as f64 / 1e9,
        import.as_secs_f64()
    );
    verdict("peak memory", peak as f64 / 1e9, "GB", 2.5);
    verdict("the flush, percentiles computed", cpu.as_secs_f64(), "CPU-seconds", 4.0);
    Ok(())
}
