//! Partials for each second of CPU time, one side after the other, again and again, from the same bodies.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::super::sender::{Forwarded, Partials};
use super::super::{Kind, Programs, free_tcp_port, median, times};
use super::{Part, tier::Tier};
use crate::cluster::progress::Progress;

/// Seconds of a global's interval.
const INTERVAL: u32 = 10;

/// What is sent to whom.
pub(super) struct Scenario {
    pub(super) part: Part,
    title: &'static str,
    routes: bool,
    dialect: &'static str,
    /// Partials a second: what the original takes without being short of time.
    rate: u64,
    /// Contexts that the bodies are of. A global merges each five times in an interval, whatever the rate.
    contexts: u32,
    /// How many times what the original does in the same time.
    bar: Option<f64>,
}

/// All of them.
pub(super) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        part: Part::RoutedB,
        title: "routed B",
        routes: true,
        dialect: "b",
        rate: 20_000,
        contexts: 20_000,
        bar: Some(5.0),
    },
    Scenario {
        part: Part::RoutedA,
        title: "routed A",
        routes: true,
        dialect: "a",
        rate: 4_000,
        contexts: 20_000,
        bar: Some(3.0),
    },
    Scenario {
        part: Part::RoutedC,
        title: "routed C",
        routes: true,
        dialect: "c",
        rate: 20_000,
        contexts: 20_000,
        bar: None,
    },
    Scenario {
        part: Part::MergedB,
        title: "merged B",
        routes: false,
        dialect: "b",
        rate: 10_000,
        contexts: 20_000,
        bar: Some(4.0),
    },
    Scenario {
        part: Part::MergedA,
        title: "merged A",
        routes: false,
        dialect: "a",
        rate: 3_000,
        contexts: 6_000,
        bar: Some(10.0),
    },
    Scenario {
        part: Part::MergedC,
        title: "merged C",
        routes: false,
        dialect: "c",
        rate: 10_000,
        contexts: 20_000,
        bar: None,
    },
];

const SIDES: [(Kind, &str); 2] = [(Kind::Ours, "ours"), (Kind::Original, "original")];

/// What a run showed.
#[derive(Debug, Clone, Copy)]
struct Run {
    per_cpu_second: f64,
    per_second: f64,
    peak_bytes: f64,
    bytes_per_partial: f64,
}

/// Runs one and prints a table.
pub(super) fn run(
    scenario: &Scenario,
    programs: &Programs,
    rounds: u32,
    seconds: f64,
    progress: &Progress,
) -> Result<()> {
    let seconds = if scenario.routes { seconds / 2.0 } else { seconds };
    let mut runs: [Vec<Run>; SIDES.len()] = Default::default();
    progress.step(scenario.title, |step| {
        for round in 1..=rounds {
            for ((kind, name), runs) in SIDES.iter().zip(&mut runs) {
                step.detail(format!("({name}, round {round} of {rounds})"));
                runs.push(measure(*kind, scenario, programs, seconds)?);
            }
        }
        Ok(())
    })?;
    let medians = runs.map(|runs| {
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        Run {
            per_cpu_second: of(|run| run.per_cpu_second),
            per_second: of(|run| run.per_second),
            peak_bytes: of(|run| run.peak_bytes),
            bytes_per_partial: of(|run| run.bytes_per_partial),
        }
    });
    let [ours, original] = medians;
    println!(
        "\n{}: bodies of 500 partials of {:.0} bytes, {} contexts, {seconds:.0} s; median of {rounds}",
        scenario.title, ours.bytes_per_partial, scenario.contexts,
    );
    println!("| | partials/CPU-second | µs/partial | × the original | peak memory | partials/s |");
    println!("|---|---|---|---|---|---|");
    for (run, (_, name)) in medians.iter().zip(SIDES) {
        println!(
            "| {name} | {:.0} | {:.2} | {:.1} | {:.1} MB | {:.0} |",
            run.per_cpu_second,
            1e6 / run.per_cpu_second,
            run.per_cpu_second / original.per_cpu_second,
            run.peak_bytes / 1e6,
            run.per_second,
        );
    }
    if let Some(bar) = scenario.bar {
        times("ours to the original", ours.per_cpu_second / original.per_cpu_second, bar);
    }
    Ok(())
}

fn measure(kind: Kind, scenario: &Scenario, programs: &Programs, seconds: f64) -> Result<Run> {
    let partials = Partials {
        dialect: scenario.dialect,
        what: "mix",
        contexts: scenario.contexts,
        rate: scenario.rate,
        seconds,
        once: false,
    };
    let importer = if scenario.routes { Some(free_tcp_port()?) } else { None };
    let tier = match importer {
        Some(port) => Tier::proxy(kind, programs, port)?,
        None => Tier::global(kind, programs, INTERVAL)?,
    };
    if !scenario.routes {
        // Both flush at the same times, and between the same bodies.
        wait_for_second(3);
    }
    let before = tier.process.cpu()?;
    let port = if scenario.dialect == "a" { tier.http } else { tier.grpc };
    let sent = partials.send(programs, port, importer)?;
    tier.process.settled()?;
    let cpu = tier.process.cpu()?.saturating_sub(before);
    if kind == Kind::Ours {
        check_ledger(&tier, scenario, &sent)?;
    }
    if importer.is_some() {
        ensure!(sent.arrived == sent.partials, "{} partials went in, {} came out", sent.partials, sent.arrived);
    }
    let run = Run {
        per_cpu_second: sent.partials as f64 / cpu.as_secs_f64(),
        per_second: sent.partials as f64 / sent.seconds,
        peak_bytes: tier.process.memory()?.peak as f64,
        bytes_per_partial: sent.bytes as f64 / sent.partials as f64,
    };
    Ok(run)
}

/// What was answered for has to be on the ledger: a fast tier that forgets is none.
fn check_ledger(tier: &Tier, scenario: &Scenario, sent: &Forwarded) -> Result<()> {
    let ledger = &tier.process.status()?["ledgers"]["forward"];
    let done = if scenario.routes { "acknowledged" } else { "merged" };
    ensure!(ledger[done] == sent.partials, "{} partials were sent, and /status has {ledger}", sent.partials);
    Ok(())
}

/// Waits until so many seconds after the beginning of an interval.
pub(super) fn wait_for_second(second: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let interval = u64::from(INTERVAL) * 1_000;
    let into = u64::try_from(now.as_millis()).unwrap_or_default() % interval;
    thread::sleep(Duration::from_millis((interval + second * 1_000 - into) % interval));
}
