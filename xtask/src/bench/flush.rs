//! A flush of many contexts must not keep the reader from reading.

use anyhow::{Context as _, Result, ensure};

use super::{Kind, Load, Place, Programs, Receiver, loss};
use crate::cluster::progress::Progress;

/// In the table when it is flushed.
const CONTEXTS: u32 = 1_000_000;

/// At which they become known, in datagrams of 20 lines a second: forming a context takes several times as long as
/// finding it, and is not what is judged here.
const FIRST_RATE: u64 = 15_000;

/// At 10 s an interval, two flushes are in it.
const SECONDS: f64 = 25.0;

/// Room for all contexts in the interval under way and in the one that is flushed: what is folded costs next to nothing.
const ROOM: &str = "max_contexts: 4000000\nmax_state_bytes: 4294967296\n";

/// Sends at `rate` across flushes of a million contexts.
pub(super) fn run(programs: &Programs, rate: u64, progress: &Progress) -> Result<()> {
    let title = format!("two flushes of {CONTEXTS} contexts at {rate} datagrams/s of 20 lines");
    let (sent, dropped) = progress.step(&title, |_| {
        let receiver = Receiver::start(Kind::Ours, programs, Place { own: ROOM, ..Place::default() })?;
        Load::mix(CONTEXTS, 20, FIRST_RATE, SECONDS).visits(1).send(programs, receiver.port)?;
        let before = receiver.drained()?;
        ensure!(before == 0, "{before} datagrams were lost before the first flush was judged");
        let sent = Load::mix(CONTEXTS, 20, rate, SECONDS).send(programs, receiver.port)?;
        let dropped = receiver.drained()? - before;
        let status = receiver.status()?;
        let count = |pointer: &str| {
            let count = status.pointer(pointer).and_then(serde_json::Value::as_u64);
            count.with_context(|| format!("/status has no {pointer}: {status}"))
        };
        let (folded, flushed) = (count("/ledgers/samples/folded")?, count("/last_flush/contexts")?);
        ensure!(folded == 0, "{folded} samples found no room: this was no flush of {CONTEXTS} contexts");
        ensure!(flushed >= u64::from(CONTEXTS), "the last flush had {flushed} contexts, not {CONTEXTS}");
        receiver.stop()?;
        Ok((sent, dropped))
    })?;
    println!();
    loss::report(&title, rate, sent, dropped);
    Ok(())
}
