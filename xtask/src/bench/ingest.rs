//! CPU time for each delivered sample: null receiver, ours and the original, one after the other, again and again.

use anyhow::{Result, ensure};

use super::{Kind, Load, Part, Place, Programs, Receiver, median, readings};
use crate::cluster::progress::Progress;

/// What is sent, a burst each millisecond. Without bursts a receiver that sleeps for each datagram pays most for waking up,
/// and the null receiver costs more than ours does; in bursts of 24 it pays nearly nothing for that, and costs a
/// third less than here.
pub(super) struct Scenario {
    title: &'static str,
    contexts: u32,
    lines: u32,
    rate: u64,
    /// Most of the null receiver's cost, and least of the original's for each of ours.
    bars: Option<(f64, f64)>,
}

/// All of them.
pub(super) const SCENARIOS: [(Part, Scenario); 3] = [
    (
        Part::Packed,
        Scenario {
            title: "20 lines a datagram, 10,000 contexts",
            contexts: 10_000,
            lines: 20,
            rate: 8_000,
            bars: Some((1.6, 9.0)),
        },
    ),
    (
        Part::Single,
        Scenario {
            title: "1 line a datagram, 10,000 contexts",
            contexts: 10_000,
            lines: 1,
            rate: 30_000,
            bars: Some((1.3, 3.3)),
        },
    ),
    (
        Part::Wide,
        Scenario {
            title: "20 lines a datagram, 200,000 contexts",
            contexts: 200_000,
            lines: 20,
            rate: 8_000,
            bars: None,
        },
    ),
];

/// Who is measured, in the order of a round.
const RECEIVERS: [(Kind, &str); 3] =
    [(Kind::Null, "null receiver"), (Kind::Ours, "ours"), (Kind::Original, "original")];

/// More than this lost, and a figure is of another load.
const TOLERATED_LOSS: f64 = 0.01;

/// What a run showed.
#[derive(Debug, Clone, Copy)]
struct Run {
    ns_per_sample: f64,
    ns_per_packet: f64,
    lost: f64,
    peak_bytes: f64,
    packets_per_second: f64,
    /// Cores that neither sender nor receiver used.
    others: f64,
}

/// Runs the scenarios and prints a table for each.
pub(super) fn run(
    scenarios: &[&(Part, Scenario)],
    programs: &Programs,
    rounds: u32,
    seconds: f64,
    progress: &Progress,
) -> Result<()> {
    let mut ours_at = Vec::new();
    for (part, scenario) in scenarios {
        let mut runs: [Vec<Run>; RECEIVERS.len()] = Default::default();
        progress.step(scenario.title, |step| {
            for round in 1..=rounds {
                for (runs, (kind, name)) in runs.iter_mut().zip(RECEIVERS) {
                    step.detail(format!("({name}, round {round} of {rounds})"));
                    runs.push(measure(kind, scenario, programs, seconds)?);
                }
            }
            Ok(())
        })?;
        let medians = runs.map(|runs| middle(&runs));
        print(scenario, &medians, rounds, seconds);
        ours_at.push((*part, medians[1]));
    }
    let at = |wanted| ours_at.iter().find(|(part, _)| *part == wanted).map(|(_, run)| *run);
    if let (Some(packed), Some(wide)) = (at(Part::Packed), at(Part::Wide)) {
        let ratio = wide.ns_per_sample / packed.ns_per_sample;
        super::verdict("200,000 contexts cost", ratio, "times what 10,000 do", 2.0);
    }
    if let Some(wide) = at(Part::Wide) {
        super::verdict("200,000 contexts take", wide.peak_bytes / 1e6, "MB", 300.0);
    }
    Ok(())
}

fn measure(kind: Kind, scenario: &Scenario, programs: &Programs, seconds: f64) -> Result<Run> {
    let receiver = Receiver::start(kind, programs, Place::default())?;
    let (busy, before) = (readings::busy(), receiver.cpu()?);
    let load = Load::mix(scenario.contexts, scenario.lines, scenario.rate, seconds);
    let sent = load.send(programs, receiver.port)?;
    let dropped = receiver.drained()?;
    let (busy, cpu) = (readings::busy() - busy, receiver.cpu()?.saturating_sub(before));
    ensure!(sent.errors == 0, "{} datagrams could not be sent", sent.errors);
    let delivered = sent.packets.saturating_sub(dropped) as f64;
    let samples = sent.samples as f64 * delivered / sent.packets as f64;
    let run = Run {
        ns_per_sample: cpu.as_nanos() as f64 / samples,
        ns_per_packet: cpu.as_nanos() as f64 / delivered,
        lost: dropped as f64 / sent.packets as f64,
        peak_bytes: receiver.memory()?.peak as f64,
        packets_per_second: sent.rate(),
        others: busy as f64 / 100.0 / sent.seconds - cpu.as_secs_f64() / sent.seconds,
    };
    if kind == Kind::Ours && dropped == 0 {
        check_ledger(&receiver, sent.samples)?;
    }
    receiver.stop()?;
    Ok(run)
}

/// What was delivered has to be what ours says it took in: a fast receiver that forgets is none.
fn check_ledger(receiver: &Receiver, sent: u64) -> Result<()> {
    let status = receiver.status()?;
    let samples = &status["ledgers"]["samples"];
    ensure!(samples["aggregated"] == sent, "{sent} samples were delivered, and /status has {samples}");
    Ok(())
}

fn middle(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Run {
        ns_per_sample: of(|run| run.ns_per_sample),
        ns_per_packet: of(|run| run.ns_per_packet),
        // The worst: a median would hide a loss.
        lost: runs.iter().map(|run| run.lost).fold(0.0, f64::max),
        peak_bytes: of(|run| run.peak_bytes),
        packets_per_second: of(|run| run.packets_per_second),
        others: of(|run| run.others),
    }
}

fn print(scenario: &Scenario, runs: &[Run; RECEIVERS.len()], rounds: u32, seconds: f64) {
    let [null, ours, original] = runs;
    println!(
        "\n{}: {} datagrams/s in a burst each millisecond, for {seconds:.0} s; interval 10 s, median of {rounds}",
        scenario.title, scenario.rate
    );
    println!("| receiver | ns/sample | µs/datagram | × null | × ours | peak memory | lost | datagrams/s | other CPU |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (run, (_, name)) in runs.iter().zip(RECEIVERS) {
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} MB | {:.3} % | {:.0} | {:.0} % |",
            run.ns_per_sample,
            run.ns_per_packet / 1e3,
            run.ns_per_sample / null.ns_per_sample,
            run.ns_per_sample / ours.ns_per_sample,
            run.peak_bytes / 1e6,
            run.lost * 100.0,
            run.packets_per_second,
            run.others * 100.0,
        );
        if run.lost > TOLERATED_LOSS {
            println!("  {name} lost more than 1 %: its figure is of another load");
        }
    }
    if let Some((most_of_null, least_of_original)) = scenario.bars {
        super::verdict("ours to the null receiver", ours.ns_per_sample / null.ns_per_sample, "times", most_of_null);
        super::times("the original to ours", original.ns_per_sample / ours.ns_per_sample, least_of_original);
    }
}
