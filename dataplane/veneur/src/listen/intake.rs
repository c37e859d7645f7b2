//! What a listener's readers put samples into: one table and its ledgers, locked once a read.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use veneur_aggregate::{Rules, Table};
use veneur_dogstatsd::{Refused, Skipped, context_tags, parse_datagram};
use veneur_metric::Sample;

use super::origin::Origin;
use crate::account::{Ingest, IngestAccount};

/// A table and its ledgers.
///
/// A UDP reader has one of its own, and so never waits for its lock but while a flush takes the table. The connections
/// of a stream listener share one, and hold the lock only for the bytes they have in hand.
#[derive(Debug)]
pub(crate) struct Intake {
    rules: Arc<Rules>,
    account: Arc<IngestAccount>,
    filling: Mutex<Filling>,
}

#[derive(Debug, Default)]
struct Filling {
    table: Table,
    /// Values by who sent them, as far as that is known. Bounded as origins are.
    origins: BTreeMap<Origin, u64>,
}

impl Intake {
    pub(crate) fn new(rules: Arc<Rules>, account: Arc<IngestAccount>) -> Self {
        Self { rules, account, filling: Mutex::default() }
    }

    /// For one read. The ledger is updated when it is dropped, before anyone else can open the table.
    pub(crate) fn open(&self) -> Open<'_> {
        Open { intake: self, filling: self.lock(), seen: Ingest::default() }
    }

    /// The table so far; an empty one takes its place.
    pub(crate) fn take(&self) -> Table {
        std::mem::take(&mut self.lock().table)
    }

    /// Who sent how many values.
    pub(crate) fn origins(&self) -> BTreeMap<Origin, u64> {
        self.lock().origins.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An intake while something is read into it.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    intake: &'a Intake,
    filling: MutexGuard<'a, Filling>,
    seen: Ingest,
}

impl Open<'_> {
    /// Takes in a packet: lines with `\n` between them.
    pub(crate) fn packet(&mut self, packet: &[u8], origin: Origin) {
        self.seen.datagrams.read += 1;
        self.lines(packet, origin);
    }

    /// Takes in lines of a stream, with `\n` between them.
    pub(crate) fn lines(&mut self, lines: &[u8], origin: Origin) {
        let before = self.seen.samples.parsed;
        self.parse(|on| parse_datagram(lines, on));
        if origin != Origin::UNKNOWN {
            *self.filling.origins.entry(origin).or_default() += self.seen.samples.parsed - before;
        }
    }

    /// Counts a line that is in no table.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.seen.samples.parsed += 1;
        self.seen.samples.refuse(reason);
    }

    /// Counts a packet that was read and is dropped whole.
    pub(crate) fn refuse_packet(&mut self, reason: &'static str) {
        self.seen.datagrams.read += 1;
        self.refuse(reason);
    }

    fn parse<'p>(&mut self, parse: impl FnOnce(&mut dyn FnMut(Result<Sample<'p>, Refused>)) -> Skipped) {
        let (samples, table, rules) = (&mut self.seen.samples, &mut self.filling.table, &*self.intake.rules);
        let skipped = parse(&mut |parsed| {
            samples.parsed += 1;
            match parsed {
                Ok(sample) if table.insert(rules, &sample, context_tags) => samples.aggregated += 1,
                Ok(_) => samples.refuse("overflow"),
                Err(refused) => samples.refuse(refused.reason()),
            }
        });
        samples.skipped_sections += u64::from(skipped.0);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.intake.account.lock().add(&self.seen);
    }
}
