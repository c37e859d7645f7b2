//! The bench command: what this project costs, beside what others cost.

mod admission;
mod cgroup;
mod flush;
mod forward;
mod idle;
mod ingest;
mod loss;
mod memory;
mod programs;
mod quota;
pub(crate) mod readings;
mod receiver;
mod sender;

use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

pub(crate) use admission::Admission;
pub(crate) use cgroup::Cgroup;
pub(crate) use forward::Tier;
pub(crate) use programs::Programs;
pub(crate) use receiver::{Kind, Place, Receiver, free_tcp_port};
pub(crate) use sender::{Load, Sent};

use crate::cluster::process::wrap;
use crate::cluster::progress::Progress;
use crate::{scale::Scale, verify};

/// Which bench.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Rank errors, sizes and times of sketches beside other implementations'.
    Sketch,
    /// What it costs to take samples in, beside a receiver that does nothing and the original; half an hour.
    Ingest(Ingest),
    /// What it costs to route and merge partials, beside the original; half an hour.
    Forward(forward::Forward),
    /// How long the webhook takes for a pod: 100 reviews a second straight to it, beside a real API server; needs root.
    Admission(Admission),
    /// The operator with 1,000 pipelines and 10,000 pods, on etcd and API server alone; needs root, ten minutes.
    Scale(Scale),
}

/// What of the ingest bench.
#[derive(Args)]
pub(crate) struct Ingest {
    /// Rounds of each receiver, alternating; figures are medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load in a round. Below 20, less than two flushes are in it.
    #[arg(long, default_value_t = 22)]
    seconds: u32,
    /// Only these, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// A part of the ingest bench.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU time for each sample, 20 lines in a datagram, 10,000 contexts.
    Packed,
    /// CPU time for each sample, one line in a datagram.
    Single,
    /// CPU time for each sample, 200,000 contexts, and memory.
    Wide,
    /// The rates without loss.
    Loss,
    /// Bytes for each context.
    Memory,
    /// Memory of an idle process, size of the executable, time to readiness.
    Idle,
    /// 25 millicores and 32 MiB; needs root.
    Quota,
    /// A flush of 1,000,000 contexts under load.
    Flush,
}

/// Runs a bench and prints what it found.
pub(crate) fn run(which: &Bench, progress: &Progress) -> Result<()> {
    match which {
        Bench::Sketch => verify::bench("veneur-sketch"),
        Bench::Ingest(what) => what.run(progress),
        Bench::Forward(what) => what.run(progress),
        Bench::Admission(what) => what.run(progress),
        Bench::Scale(what) => what.run(progress),
    }
}

impl Ingest {
    fn run(&self, progress: &Progress) -> Result<()> {
        let programs = Programs::build(progress)?;
        let wants = |part| self.only.is_empty() || self.only.contains(&part);
        println!("{}", readings::machine());
        let scenarios: Vec<_> = ingest::SCENARIOS.iter().filter(|(part, _)| wants(*part)).collect();
        ingest::run(&scenarios, &programs, self.rounds, f64::from(self.seconds), progress)?;
        if wants(Part::Loss) || wants(Part::Flush) {
            let loss_free = loss::run(&programs, wants(Part::Loss), progress)?;
            if wants(Part::Flush) {
                flush::run(&programs, loss_free / 2, progress)?;
            }
        }
        if wants(Part::Memory) {
            memory::run(&programs, progress)?;
        }
        if wants(Part::Idle) {
            idle::run(&programs, progress)?;
        }
        if wants(Part::Quota) {
            quota::run(&programs, progress)?;
        }
        Ok(())
    }
}

/// `command` on one core, for both sides. It ends with this process, and goes before what else runs here: on-CPU time
/// stays the same, but a receiver that is kept from its core loses datagrams. Without root nice(1) says that it cannot,
/// and goes on.
fn pinned(core: &str, command: &Command) -> Command {
    wrap(["setpriv", "--pdeathsig", "KILL", "nice", "-n", "-10", "taskset", "-c", core], command)
}

/// The middle one of some figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

/// How many times as much, beside its bar.
fn times(what: &str, figure: f64, bar: f64) {
    let met = if figure >= bar { "met" } else { "MISSED" };
    println!("  {what}: {figure:.1} times (bar: at least {bar} times): {met}");
}

/// One figure beside its bar.
pub(crate) fn verdict(what: &str, figure: f64, unit: &str, bar: f64) {
    let met = if figure <= bar { "met" } else { "MISSED" };
    println!("  {what}: {figure:.1} {unit} (bar: at most {bar} {unit}): {met}");
}
