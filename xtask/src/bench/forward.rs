//! The forwarding tier: partials routed and merged for each second of CPU time, beside the original's proxy and global.

mod latency;
mod million;
mod rates;
mod tier;

pub(crate) use tier::Tier;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{Programs, readings};
use crate::cluster::progress::Progress;

/// What of the forward bench.
#[derive(Args)]
pub(crate) struct Forward {
    /// Rounds of ours and the original, alternating; figures are medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load in a round of a global. Below 20, less than two flushes are in it. A proxy has half of it.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Only these, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// A part of the forward bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A proxy that takes in dialect B.
    RoutedB,
    /// The same with dialect A.
    RoutedA,
    /// The same with dialect C.
    RoutedC,
    /// A global that takes in dialect B.
    MergedB,
    /// The same in dialect A.
    MergedA,
    /// The same in dialect C.
    MergedC,
    /// 1,000,000 timers of 100 centroids in one global: memory, and CPU time of the flush.
    Million,
    /// From a local's flush to a global's.
    Latency,
}

impl Forward {
    pub(super) fn run(&self, progress: &Progress) -> Result<()> {
        let programs = Programs::build(progress)?;
        let wants = |part| self.only.is_empty() || self.only.contains(&part);
        println!("{}", readings::machine());
        for scenario in rates::SCENARIOS.iter().filter(|scenario| wants(scenario.part)) {
            rates::run(scenario, &programs, self.rounds, f64::from(self.seconds), progress)?;
        }
        if wants(Part::Million) {
            million::run(&programs, progress)?;
        }
        if wants(Part::Latency) {
            latency::run(&programs, progress)?;
        }
        Ok(())
    }
}
