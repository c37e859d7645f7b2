//! A flush of many contexts must not keep the reader from reading.

use anyhow::Result;

use super::{Kind, Load, Programs, loss};
use crate::cluster::progress::Progress;

/// In the table when it is flushed.
const CONTEXTS: u32 = 1_000_000;

/// At 10 s an interval, two flushes are in it.
const SECONDS: f64 = 25.0;

/// Sends at `rate` across flushes of a million contexts.
pub(super) fn run(programs: &Programs, rate: u64, progress: &Progress) -> Result<()> {
    let title = format!("two flushes of {CONTEXTS} contexts at {rate} datagrams/s of 20 lines");
    let load = Load::mix(CONTEXTS, 20, rate, SECONDS);
    let (sent, dropped) = progress.step(&title, |_| loss::deliver(Kind::Ours, programs, load))?;
    println!();
    loss::report(&title, rate, sent, dropped);
    Ok(())
}
