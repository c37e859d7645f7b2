//! Bytes for each context, with one reader: what memory grows by when contexts are added.

use anyhow::{Result, ensure};

use super::{Kind, Load, Place, Programs, Receiver};
use crate::cluster::progress::Progress;

/// Long enough that nothing is flushed while it is measured.
const INTERVAL_SECONDS: u32 = 300;

/// At which all is read, in datagrams of 20 lines a second.
const RATE: u64 = 8_000;

struct Case {
    title: &'static str,
    kind: &'static str,
    few: u32,
    many: u32,
    /// Samples of each context.
    visits: u32,
    bar: f64,
}

const CASES: [Case; 2] = [
    Case { title: "a counter", kind: "c", few: 20_000, many: 220_000, visits: 2, bar: 300.0 },
    Case { title: "a timer of 100 samples", kind: "ms", few: 4_000, many: 24_000, visits: 100, bar: 1_500.0 },
];

/// Measures and prints both kinds.
pub(super) fn run(programs: &Programs, progress: &Progress) -> Result<()> {
    println!();
    for case in CASES {
        let bytes = progress.step(&format!("memory of {}", case.title), |_| {
            let (few, many) = (resident(programs, &case, case.few)?, resident(programs, &case, case.many)?);
            Ok((many as f64 - few as f64) / f64::from(case.many - case.few))
        })?;
        super::verdict(case.title, bytes, "bytes a context", case.bar);
    }
    Ok(())
}

fn resident(programs: &Programs, case: &Case, contexts: u32) -> Result<u64> {
    let place = Place { interval_seconds: INTERVAL_SECONDS, ..Place::default() };
    let receiver = Receiver::start(Kind::Ours, programs, place)?;
    let load = Load { kind: Some(case.kind), ..Load::mix(contexts, 20, RATE, f64::from(INTERVAL_SECONDS) / 2.0) };
    let sent = load.visits(case.visits).send(programs, receiver.port)?;
    let dropped = receiver.drained()?;
    ensure!(dropped == 0, "{dropped} datagrams were lost: this says nothing about memory");
    ensure!(sent.samples == u64::from(contexts) * u64::from(case.visits), "the generator was too slow");
    Ok(receiver.memory()?.resident)
}
