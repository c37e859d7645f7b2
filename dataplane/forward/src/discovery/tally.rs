//! What came of looking for members.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

/// Counts answers about who the members are, and says whether the newest was one.
#[derive(Debug, Default)]
pub struct Tally {
    answers: AtomicU64,
    errors: AtomicU64,
    took_us: AtomicU64,
    members: AtomicU64,
    failing: AtomicBool,
}

/// A tally at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TallyView {
    /// Answers that listed members.
    pub answers: u64,
    /// Failures, and answers without a member: the ring stayed as it was.
    pub errors: u64,
    /// How long they all took, in microseconds; a watch waits for nothing and adds nothing.
    pub took_us: u64,
    /// Members of the newest answer.
    pub members: u64,
    /// Whether the newest was an error: the ring is the last good one.
    pub failing: bool,
}

impl Tally {
    /// An answer came that lists so many members.
    pub fn answered(&self, members: usize, took: Duration) {
        self.answers.fetch_add(1, Relaxed);
        self.members.store(members as u64, Relaxed);
        self.over(took, false);
    }

    /// None came, or one without members.
    pub fn failed(&self, took: Duration) {
        self.errors.fetch_add(1, Relaxed);
        self.over(took, true);
    }

    /// As it is now.
    pub fn view(&self) -> TallyView {
        TallyView {
            answers: self.answers.load(Relaxed),
            errors: self.errors.load(Relaxed),
            took_us: self.took_us.load(Relaxed),
            members: self.members.load(Relaxed),
            failing: self.failing.load(Relaxed),
        }
    }

    fn over(&self, took: Duration, failing: bool) {
        self.took_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.failing.store(failing, Relaxed);
    }
}
