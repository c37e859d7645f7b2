//! The ledger of partials and points on their way through this process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// Counts since the process started. In every snapshot `produced + imported` equals the sum of the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Partials and points this process made and has to deliver.
    pub produced: u64,
    /// Partials and points read from other instances, those refused included.
    pub imported: u64,
    /// Answered OK by the next tier, which has them on its ledger.
    pub acknowledged: u64,
    /// Merged into this process's intervals, or taken over into its sinks' ledgers.
    pub merged: u64,
    /// Waiting, or on the way.
    pub held: u64,
    /// Sent, and neither answered nor certainly unread. Never sent again.
    pub uncertain: u64,
    /// Lost here, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Acknowledged by a member that died before it can have published them. Part of `acknowledged`.
    pub lost_with_member: u64,
    /// Given to another member, because the one they waited for left or does not answer. Still `held` then.
    pub rehomed: u64,
    /// Merged though another member owns them, because that one does not answer. Part of `merged`.
    pub failover_merged: u64,
    /// Merged into a later interval than their own. Part of `merged`.
    pub late: u64,
    /// Stamped more than one interval ahead, and filed as of now. Part of `merged`.
    pub skewed: u64,
    /// Merged into the overflow series of their kind, for lack of room. Part of `merged`.
    pub folded: u64,
}

impl Ledger {
    /// What came in and is nowhere: 0, or there is a defect.
    pub fn unaccounted(&self) -> i128 {
        let out = [self.acknowledged, self.merged, self.held, self.uncertain, self.dropped.values().sum()];
        i128::from(self.produced) + i128::from(self.imported) - out.iter().map(|n| i128::from(*n)).sum::<i128>()
    }

    /// Lost for `reason`, before they were held.
    pub fn drop_new(&mut self, reason: &'static str, count: u64) {
        if count > 0 {
            *self.dropped.entry(reason).or_default() += count;
        }
    }

    /// Lost for `reason`, having been held.
    pub fn drop_held(&mut self, reason: &'static str, count: u64) {
        self.held = self.held.saturating_sub(count);
        self.drop_new(reason, count);
    }
}

/// The one ledger of a process. A step changes all its counts under one lock, so that no snapshot sees half of it.
#[derive(Debug, Default)]
pub struct Account(Mutex<Ledger>);

impl Account {
    /// Records one step.
    pub fn record<T>(&self, step: impl FnOnce(&mut Ledger) -> T) -> T {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counts at this moment.
    pub fn snapshot(&self) -> Ledger {
        self.record(|ledger| ledger.clone())
    }
}
