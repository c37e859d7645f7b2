//! Which metrics of an import leave together.

use std::hash::{Hash, Hasher};

use veneur_ring::Member;

/// Metrics that travel together. It is looked up for each of them, so members are told apart by where they lie.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) member: &'a Member,
    /// Whether another member owns them.
    pub(super) failover: bool,
    /// Whether they are points, events or checks.
    pub(super) finished: bool,
}

impl Group<'_> {
    fn identity(&self) -> (*const Member, bool, bool) {
        (std::ptr::from_ref(self.member), self.failover, self.finished)
    }
}

impl PartialEq for Group<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Group<'_> {}

impl Hash for Group<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
