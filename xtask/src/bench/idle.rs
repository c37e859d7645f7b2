//! A process that has nothing to do: its memory, its size, and how soon it is ready.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{Kind, Place, Programs, Receiver, median, verdict};
use crate::cluster::progress::Progress;

const STARTS: usize = 9;

/// Until what a start needs is given back.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures and prints.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    let (ready, resident) = progress.step("idle process", |_| {
        let mut ready = Vec::new();
        for _ in 1..STARTS {
            ready.push(Receiver::start(Kind::Ours, programs, Place::default())?.ready_after.as_secs_f64() * 1e3);
        }
        let receiver = Receiver::start(Kind::Ours, programs, Place::default())?;
        ready.push(receiver.ready_after.as_secs_f64() * 1e3);
        thread::sleep(SETTLE);
        Ok((median(ready), receiver.memory()?.resident))
    })?;
    println!();
    verdict("idle process", resident as f64 / f64::from(1 << 20), "MiB", 10.0);
    verdict("executable", fs::metadata(&programs.ours)?.len() as f64 / f64::from(1 << 20), "MiB", 15.0);
    verdict(&format!("ready after (median of {STARTS} starts)"), ready, "ms", 50.0);
    Ok(())
}
