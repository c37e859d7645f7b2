//! Which ring governs which interval.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Algorithm, Member, Ring};

/// How long after it was written a change may take to reach every proxy, in milliseconds.
pub const SETTLE_MS: u64 = 2_000;

/// The memberships of the recent past and the near future.
///
/// A change takes effect at the first boundary at or after its write time plus [`SETTLE_MS`] and governs the stamps
/// strictly after that boundary. The earliest known membership governs all that came before. So the owner of a key for
/// a stamp follows from the set of changes alone, not from the order they arrived in, and an interval is never split.
///
/// With rendezvous hashing addresses are not part of this: the last one written for a name is used in every ring, at
/// once. On the original's ring the address decides, and a new one is a change of members like any other.
#[derive(Debug, Clone)]
pub struct Timeline {
    algorithm: Algorithm,
    interval_ms: u64,
    /// By write time. The order by effective boundary is the same, as the boundary grows with the write time.
    versions: BTreeMap<u64, Arc<Ring>>,
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The first membership known: governs at once.
    First,
    /// Governs the stamps after a boundary.
    Scheduled {
        /// Unix milliseconds of that boundary.
        effective_ms: u64,
        /// Members that the membership before it did not have, by [`Algorithm::identity`], in order of name.
        joined: Vec<String>,
        /// Members that only the membership before it had.
        left: Vec<String>,
    },
    /// The names are those of the membership before it, some addresses are new: these are used at once. Never on the
    /// original's ring.
    Readdressed,
    /// No stamp has another owner.
    Unchanged,
    /// No member at all: more likely a lost source than a fleet without globals. What was known stays in force.
    RefusedEmpty,
}

impl Timeline {
    /// An empty timeline on the grid of `interval_ms`, of rings that follow `algorithm`.
    pub fn new(algorithm: Algorithm, interval_ms: u64) -> Self {
        Self { algorithm, interval_ms: interval_ms.max(1), versions: BTreeMap::new() }
    }

    /// Learns of a membership written at `written_ms` (Unix milliseconds, the same number on all proxies).
    ///
    /// Of changes with the same effective boundary the last written governs. Of changes with the same write time the
    /// last to arrive stands: Kubernetes writes whole seconds, and a watch keeps the order within one.
    pub fn change(&mut self, written_ms: u64, members: Vec<Member>) -> Change {
        if members.is_empty() {
            return Change::RefusedEmpty;
        }
        // The stamps that the change governs start right after its boundary: comparing there tells its effect, also for
        // one that arrives late and was overtaken.
        let effective_ms = self.effective_ms(written_ms);
        let first_governed_ms = effective_ms.saturating_add(1);
        let was = self.at(first_governed_ms).cloned();
        self.versions.insert(written_ms, Arc::new(Ring::new(self.algorithm, members)));
        let readdressed = match self.algorithm {
            Algorithm::Rendezvous => self.spread_addresses(written_ms),
            Algorithm::Veneur => false,
        };
        let (Some(was), Some(now)) = (was, self.at(first_governed_ms)) else {
            return Change::First;
        };

        match (missing_from(&was, now), missing_from(now, &was)) {
            (joined, left) if joined.len() + left.len() > 0 => Change::Scheduled { effective_ms, joined, left },
            _ if readdressed => Change::Readdressed,
            _ => Change::Unchanged,
        }
    }

    /// The ring that governs the interval ending at `boundary_ms`; `None` before the first membership.
    pub fn at(&self, boundary_ms: u64) -> Option<&Arc<Ring>> {
        self.governing(boundary_ms).map(|(_, ring)| ring)
    }

    /// The ring that governs once all known changes have taken effect.
    pub fn latest(&self) -> Option<&Arc<Ring>> {
        self.versions.last_key_value().map(|(_, ring)| ring)
    }

    /// Every ring that still governs some stamp, oldest first.
    pub fn rings(&self) -> impl Iterator<Item = &Arc<Ring>> {
        self.versions.values()
    }

    /// Drops what governs only stamps before `boundary_ms`. The version that governs that boundary stays.
    pub fn forget_before(&mut self, boundary_ms: u64) {
        if let Some((&written_ms, _)) = self.governing(boundary_ms) {
            self.versions = self.versions.split_off(&written_ms);
        }
    }

    fn governing(&self, boundary_ms: u64) -> Option<(&u64, &Arc<Ring>)> {
        let mut newest_first = self.versions.iter().rev();
        newest_first
            .find(|(written_ms, _)| self.effective_ms(**written_ms) < boundary_ms)
            .or_else(|| self.versions.first_key_value())
    }

    fn effective_ms(&self, written_ms: u64) -> u64 {
        let settled_ms = written_ms.saturating_add(SETTLE_MS);
        settled_ms.div_ceil(self.interval_ms).saturating_mul(self.interval_ms)
    }

    /// Gives each name the address written last, in every version. True if a version but `fresh` needed it.
    fn spread_addresses(&mut self, fresh: u64) -> bool {
        let newest: BTreeMap<String, String> =
            self.versions.values().flat_map(|ring| ring.members().to_vec()).map(|m| (m.name, m.address)).collect();
        let mut changed = false;
        for (written_ms, ring) in &mut self.versions {
            if ring.members().iter().any(|member| newest[&member.name] != member.address) {
                let current =
                    |member: &Member| Member { name: member.name.clone(), address: newest[&member.name].clone() };
                *ring = Arc::new(Ring::new(self.algorithm, ring.members().iter().map(current).collect()));
                changed |= *written_ms != fresh;
            }
        }
        changed
    }
}

/// Who is in `there` and not in `here`.
fn missing_from(here: &Ring, there: &Ring) -> Vec<String> {
    let algorithm = there.algorithm();
    let known: BTreeSet<&str> = here.members().iter().map(|member| algorithm.identity(member)).collect();
    let identities = there.members().iter().map(|member| algorithm.identity(member));
    identities.filter(|identity| !known.contains(identity)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        Timeline::new(Algorithm::Rendezvous, 10_000)
    }

    fn members(names: &str) -> Vec<Member> {
        names.split_whitespace().map(|name| Member { name: name.to_owned(), address: format!("{name}:8128") }).collect()
    }

    #[test]
    fn the_first_membership_governs_at_once_and_an_empty_one_never() {
        let mut timeline = timeline();
        assert_eq!(timeline.change(1_000, vec![]), Change::RefusedEmpty);
        assert_eq!(timeline.at(50_000), None);
        assert_eq!(timeline.change(95_000, members("a b")), Change::First);
        assert!(timeline.at(90_000).is_some());
        assert_eq!(timeline.change(99_000, vec![]), Change::RefusedEmpty);
        assert_eq!(timeline.at(200_000), timeline.latest());
    }

    #[test]
    fn a_change_governs_the_stamps_after_the_boundary_two_seconds_on() {
        let mut timeline = timeline();
        timeline.change(0, members("a b"));
        let change = timeline.change(28_000, members("c a"));
        let (joined, left) = (vec!["c".to_owned()], vec!["b".to_owned()]);
        assert_eq!(change, Change::Scheduled { effective_ms: 30_000, joined, left });
        assert!(timeline.at(30_000).is_some_and(|ring| ring.member("b").is_some()));
        assert!(timeline.at(40_000).is_some_and(|ring| ring.member("b").is_none()));
        assert!(matches!(timeline.change(28_001, members("a")), Change::Scheduled { effective_ms: 40_000, .. }));
    }

    #[test]
    fn of_changes_with_one_boundary_the_last_written_governs() {
        let mut timeline = timeline();
        timeline.change(0, members("a b"));
        timeline.change(27_000, members("a b c"));
        assert_eq!(timeline.change(25_000, members("a")), Change::Unchanged);
        assert_eq!(timeline.at(40_000).map(|ring| ring.members().len()), Some(3));
    }

    #[test]
    fn a_new_address_is_used_at_once_and_an_older_one_not_at_all() {
        let mut timeline = timeline();
        let at = |address: &str| vec![Member { name: "a".to_owned(), address: address.to_owned() }];
        timeline.change(10_000, at("10.0.0.1:8128"));
        assert_eq!(timeline.change(30_000, at("10.0.0.2:8128")), Change::Readdressed);
        assert_eq!(timeline.change(20_000, at("10.0.0.9:8128")), Change::Unchanged);
        assert_eq!(timeline.at(10_000).map(|ring| ring.members()[0].address.as_str()), Some("10.0.0.2:8128"));
    }

    #[test]
    fn on_the_originals_ring_a_new_address_is_a_new_member() {
        let mut timeline = Timeline::new(Algorithm::Veneur, 10_000);
        let at = |name: &str, address: &str| vec![Member { name: name.to_owned(), address: address.to_owned() }];
        timeline.change(10_000, at("a", "10.0.0.1:8128"));
        let (joined, left) = (vec!["10.0.0.2:8128".to_owned()], vec!["10.0.0.1:8128".to_owned()]);
        let effective_ms = 20_000;
        let change = timeline.change(15_000, at("a", "10.0.0.2:8128"));
        assert_eq!(change, Change::Scheduled { effective_ms, joined, left });
        let address = |boundary_ms| timeline.at(boundary_ms).map(|ring| ring.members()[0].address.as_str());
        assert_eq!((address(20_000), address(30_000)), (Some("10.0.0.1:8128"), Some("10.0.0.2:8128")));
        assert_eq!(timeline.change(25_000, at("b", "10.0.0.2:8128")), Change::Unchanged);
    }

    #[test]
    fn forgetting_keeps_the_version_that_still_governs() {
        let mut timeline = timeline();
        for (written_ms, names) in [(0, "a"), (20_000, "a b"), (40_000, "a b c")] {
            timeline.change(written_ms, members(names));
        }
        let before = timeline.clone();
        timeline.forget_before(40_000);
        assert_eq!(timeline.versions.len(), 2);
        for boundary_ms in [40_000, 50_000, 60_000] {
            assert_eq!(timeline.at(boundary_ms), before.at(boundary_ms));
        }
    }
}
