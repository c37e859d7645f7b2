//! A flush of many contexts must not keep the reader from reading.

use anyhow::{Context as _, Result, ensure};

use super::{Kind, Load, Place, Programs, Receiver, Sent, loss};
use crate::cluster::progress::Progress;

/// In the table when it is flushed.
const CONTEXTS: u32 = 1_000_000;

/// At which they become known, in datagrams of 20 lines a second: forming a context takes several times as long as
/// finding it, and is not what is judged here.
const FIRST_RATE: u64 = 15_000;

/// At 10 s an interval, two flushes are in it.
const SECONDS: f64 = 25.0;

/// No flush is in it, of an interval of an hour.
const WITHOUT: u32 = 3_600;

/// Room for all contexts in the interval under way and in the one that is flushed: what is folded costs next to nothing.
const ROOM: &str = "max_contexts: 4000000\nmax_state_bytes: 4294967296\n";

/// Sends across flushes of a million contexts: at `rate`, and at half of what loses nothing without a flush.
pub(super) fn run(programs: &Programs, rate: u64, progress: &Progress) -> Result<()> {
    let free = progress.step(&format!("rate at which {CONTEXTS} contexts lose nothing without a flush"), |step| {
        let mut tried = rate;
        loop {
            step.detail(format!("({tried} datagrams/s)"));
            if send(programs, tried, WITHOUT)?.1 == 0 {
                return Ok(tried);
            }
            tried = tried * 4 / 5;
            ensure!(
                tried > FIRST_RATE,
                "datagrams are lost even at {FIRST_RATE}/s: is this machine doing something else?"
            );
        }
    })?;
    println!("\nWithout a flush, {CONTEXTS} contexts lose nothing at {free} datagrams/s of 20 lines");
    for (rate, of) in [(free / 2, "half of that"), (rate, "half of what the null receiver takes")] {
        let title = format!("two flushes of {CONTEXTS} contexts at {rate} datagrams/s of 20 lines, {of}");
        let (sent, dropped) = progress.step(&title, |_| send(programs, rate, Place::default().interval_seconds))?;
        loss::report(&title, rate, sent, dropped);
    }
    Ok(())
}

/// Makes the contexts known, then sends at `rate`; what was sent then, and what the kernel dropped of it.
fn send(programs: &Programs, rate: u64, interval_seconds: u32) -> Result<(Sent, u64)> {
    let place = Place { own: ROOM, interval_seconds, ..Place::default() };
    let receiver = Receiver::start(Kind::Ours, programs, place)?;
    Load::mix(CONTEXTS, 20, FIRST_RATE, SECONDS).visits(1).send(programs, receiver.port)?;
    let before = receiver.drained()?;
    ensure!(before == 0, "{before} datagrams were lost before anything was judged");
    let sent = Load::mix(CONTEXTS, 20, rate, SECONDS).send(programs, receiver.port)?;
    let dropped = receiver.drained()? - before;
    let status = receiver.status()?;
    let count = |pointer: &str| {
        let count = status.pointer(pointer).and_then(serde_json::Value::as_u64);
        count.with_context(|| format!("/status has no {pointer}: {status}"))
    };
    let folded = count("/ledgers/samples/folded")?;
    ensure!(folded == 0, "{folded} samples found no room: there were no {CONTEXTS} contexts");
    if interval_seconds != WITHOUT {
        let flushed = count("/last_flush/contexts")?;
        ensure!(flushed >= u64::from(CONTEXTS), "the last flush had {flushed} contexts, not {CONTEXTS}");
    }
    receiver.stop()?;
    Ok((sent, dropped))
}
