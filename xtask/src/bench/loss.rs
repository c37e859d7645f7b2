//! The rates at which nothing is lost.

use anyhow::Result;

use super::{Kind, Load, Place, Programs, Receiver, Sent};
use crate::cluster::progress::Progress;

/// Where the search begins, in datagrams of 20 lines a second, and by how much it goes on.
const FIRST: u64 = 20_000;
const GROWTH_PERCENT: u64 = 25;

/// Seconds of a step of the search, and of a run that is judged: two flushes are in it.
const STEP: f64 = 4.0;
const RUN: f64 = 22.0;

/// A generator that reaches less of a rate than this is at its limit.
const REACHED: f64 = 0.97;

/// Datagrams of one line a second that must not be lost.
const SINGLE: u64 = 150_000;

/// Finds where the null receiver begins to lose, and returns the rate before that. Where `judged`, runs ours at half of
/// it, and at 150,000 single lines.
pub(super) fn run(programs: &Programs, judged: bool, progress: &Progress) -> Result<u64> {
    let (rate, why) = progress.step("rate at which the null receiver begins to lose", |step| {
        let mut rate = FIRST;
        loop {
            step.detail(format!("({rate} datagrams/s)"));
            let (sent, dropped) = deliver(Kind::Null, programs, Load::mix(10_000, 20, rate, STEP))?;
            if dropped > 0 {
                return Ok((before(rate), format!("the null receiver loses {dropped} of {}", sent.packets)));
            }
            if sent.rate() < REACHED * rate as f64 {
                return Ok((before(rate), format!("the generator's core reaches {:.0}", sent.rate())));
            }
            rate += rate * GROWTH_PERCENT / 100;
        }
    })?;
    println!("\nWithout loss: {rate} datagrams/s of 20 lines; at the next step {why}");
    if judged {
        for (lines, rate) in [(20, rate / 2), (1, SINGLE)] {
            let title = format!("ours at {rate} datagrams/s of {lines} lines");
            let load = Load::mix(10_000, lines, rate, RUN);
            let (sent, dropped) = progress.step(&title, |_| deliver(Kind::Ours, programs, load))?;
            report(&title, rate, sent, dropped);
        }
    }
    Ok(rate)
}

/// Prints what was lost, and whether the load was what it should have been.
pub(super) fn report(title: &str, rate: u64, sent: Sent, dropped: u64) {
    super::verdict(&format!("{title}: lost"), dropped as f64, "datagrams", 0.0);
    if sent.rate() < REACHED * rate as f64 {
        println!("  (the generator reached {:.0}/s only; it was held up for {} datagrams)", sent.rate(), sent.forgone);
    }
}

/// Sends to a fresh receiver; what was sent, and what the kernel dropped of it.
fn deliver(kind: Kind, programs: &Programs, load: Load) -> Result<(Sent, u64)> {
    let receiver = Receiver::start(kind, programs, Place::default())?;
    let sent = load.send(programs, receiver.port)?;
    let dropped = receiver.drained()?;
    receiver.stop()?;
    Ok((sent, dropped))
}

fn before(rate: u64) -> u64 {
    rate * 100 / (100 + GROWTH_PERCENT)
}
