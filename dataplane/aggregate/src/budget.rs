//! How much a process may keep: contexts of one interval, and bytes.
//!
//! Readers and imports share one budget. They touch it when a context is new or a value needs more room, never for a
//! sample of a context that has its room.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
};

/// Bounds of a process. 0 stands for no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Contexts of one interval, sampled here; and as many imported ones.
    pub contexts: usize,
    /// Contexts of one interval, one reader and one origin, where that is known.
    pub contexts_per_origin: usize,
    /// Bytes of names and values, of the interval under way and those being flushed.
    pub bytes: usize,
}

/// What is used of [`Limits`], by all tables together, and how many gauges they set.
#[derive(Debug, Default)]
pub struct Budget {
    contexts_limit: AtomicUsize,
    contexts_per_origin_limit: AtomicUsize,
    bytes_limit: AtomicUsize,
    contexts: AtomicUsize,
    bytes: AtomicUsize,
    gauges_set: AtomicU32,
}

impl Budget {
    /// A budget with nothing used.
    pub fn new(limits: Limits) -> Self {
        let budget = Self::default();
        budget.limit(limits);
        budget
    }

    /// Sets other bounds; what is used already stays.
    pub fn limit(&self, limits: Limits) {
        self.contexts_limit.store(limits.contexts, Relaxed);
        self.contexts_per_origin_limit.store(limits.contexts_per_origin, Relaxed);
        self.bytes_limit.store(limits.bytes, Relaxed);
    }

    /// Bytes of names and values held.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Contexts of the intervals under way.
    pub fn contexts(&self) -> usize {
        self.contexts.load(Relaxed)
    }

    /// Takes one context of `bytes`, of an origin that has `of_origin` of them, if it is known; false, and nothing taken,
    /// if a bound forbids it.
    pub(crate) fn take_context(&self, of_origin: Option<usize>, bytes: usize) -> bool {
        let fits = within(self.contexts.load(Relaxed), 1, &self.contexts_limit)
            && of_origin.is_none_or(|contexts| within(contexts, 1, &self.contexts_per_origin_limit))
            && within(self.bytes.load(Relaxed), bytes, &self.bytes_limit);
        if fits {
            self.contexts.fetch_add(1, Relaxed);
            self.bytes.fetch_add(bytes, Relaxed);
        }
        fits
    }

    /// Whether an interval that imported `contexts` already may have one more, of `bytes`. Intervals overlap, as one is
    /// published while the next one fills: so each has the bound to itself.
    pub(crate) fn admits_imported(&self, contexts: usize, bytes: usize) -> bool {
        within(contexts, 1, &self.contexts_limit) && self.has_room(bytes)
    }

    /// Whether `bytes` more would fit.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        within(self.bytes.load(Relaxed), bytes, &self.bytes_limit)
    }

    /// The place of a gauge among all that are set, in whichever table, and of the `count - 1` after it. It wraps around.
    pub(crate) fn order(&self, count: u32) -> u32 {
        self.gauges_set.fetch_add(count, Relaxed)
    }

    pub(crate) fn take_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn give_back_bytes(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn give_back_contexts(&self, contexts: usize) {
        self.contexts.fetch_sub(contexts, Relaxed);
    }
}

/// Bytes beside names and values that are held to the bound too, such as a line whose end has not come; given back when
/// this is gone.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    pub fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Holds so many bytes from now on; false, and as before, if there is no room for more.
    pub fn becomes(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.budget.has_room(more) {
            return false;
        }
        self.budget.take_bytes(bytes);
        self.budget.give_back_bytes(self.bytes);
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back_bytes(self.bytes);
    }
}

fn within(used: usize, more: usize, limit: &AtomicUsize) -> bool {
    let limit = limit.load(Relaxed);
    limit == 0 || used.saturating_add(more) <= limit
}
