//! The ledgers of datagrams and samples: what a listener read, and what became of it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// Datagrams of all sockets since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Datagrams {
    /// What the kernel took in for our sockets: `read + kernel_dropped`.
    pub arrived: u64,
    /// Read from a socket.
    pub read: u64,
    /// Dropped by the kernel because a socket's buffer was full, by the socket's own count.
    pub kernel_dropped: u64,
}

/// Values found in datagrams since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Samples {
    /// Values found; a line that fails as a whole counts as one.
    pub parsed: u64,
    /// Values that are in an interval's table.
    pub aggregated: u64,
    /// Those of them that found no room, and are in the overflow series of their kind.
    pub folded: u64,
    /// Those of them whose own time was too old or ahead of time, and that count as of their arrival.
    pub untimely: u64,
    /// Values that are not, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Sections of unknown meaning that were skipped; their values are not lost.
    pub skipped_sections: u64,
}

impl Samples {
    /// What was parsed and is nowhere: 0, or there is a defect.
    pub fn unaccounted(&self) -> i128 {
        i128::from(self.parsed) - i128::from(self.aggregated) - i128::from(self.refused.values().sum::<u64>())
    }

    /// Counts a value that is in no table.
    pub fn refuse(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

/// Both ledgers, as one reader keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ingest {
    /// Datagrams.
    pub datagrams: Datagrams,
    /// Samples.
    pub samples: Samples,
}

impl Ingest {
    /// Adds what another reader, or a burst, counted.
    pub fn add(&mut self, other: &Self) {
        self.datagrams.read += other.datagrams.read;
        self.datagrams.kernel_dropped += other.datagrams.kernel_dropped;
        self.datagrams.arrived = self.datagrams.read + self.datagrams.kernel_dropped;
        self.samples.parsed += other.samples.parsed;
        self.samples.aggregated += other.samples.aggregated;
        self.samples.folded += other.samples.folded;
        self.samples.untimely += other.samples.untimely;
        self.samples.skipped_sections += other.samples.skipped_sections;
        for (reason, count) in &other.samples.refused {
            *self.samples.refused.entry(reason).or_default() += count;
        }
    }
}

/// A reader's ledgers, locked once a burst, and shared with whoever shows them.
#[derive(Debug, Default)]
pub struct IngestAccount(Mutex<Ingest>);

impl IngestAccount {
    /// The ledgers, for one step.
    pub fn lock(&self) -> MutexGuard<'_, Ingest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sum of some readers' ledgers. Each closes by itself, so their sum does too.
    pub fn total<'a>(accounts: impl Iterator<Item = &'a Self>) -> Ingest {
        let mut total = Ingest::default();
        accounts.for_each(|account| total.add(&account.lock()));
        total
    }
}
