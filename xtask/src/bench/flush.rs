//! A flush of many contexts must not keep the reader from reading.

use anyhow::{Result, ensure};

use super::{Kind, Load, Place, Programs, Receiver, loss};
use crate::cluster::progress::Progress;

/// In the table when it is flushed.
const CONTEXTS: u32 = 1_000_000;

/// At which they become known, in datagrams of 20 lines a second: forming a context takes several times as long as
/// finding it, and is not what is judged here.
const FIRST_RATE: u64 = 15_000;

/// At 10 s an interval, two flushes are in it.
const SECONDS: f64 = 25.0;

/// Sends at `rate` across flushes of a million contexts.
pub(super) fn run(programs: &Programs, rate: u64, progress: &Progress) -> Result<()> {
    let title = format!("two flushes of {CONTEXTS} contexts at {rate} datagrams/s of 20 lines");
    let (sent, dropped) = progress.step(&title, |_| {
        let receiver = Receiver::start(Kind::Ours, programs, Place::default())?;
        Load::mix(CONTEXTS, 20, FIRST_RATE, SECONDS).visits(1).send(programs, receiver.port)?;
        let before = receiver.drained()?;
        ensure!(before == 0, "{before} datagrams were lost before the first flush was judged");
        let sent = Load::mix(CONTEXTS, 20, rate, SECONDS).send(programs, receiver.port)?;
        let dropped = receiver.drained()? - before;
        receiver.stop()?;
        Ok((sent, dropped))
    })?;
    println!();
    loss::report(&title, rate, sent, dropped);
    Ok(())
}
