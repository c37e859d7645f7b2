//! Members that are passed over, and until when.

use std::{collections::HashMap, time::Duration};

use veneur_metric::Stamp;
use veneur_ring::Member;

use crate::lane::Health;

/// Members that do not answer.
#[derive(Debug, Default)]
pub(super) struct Absent(HashMap<Member, Absence>);

#[derive(Debug, Clone, Copy, Default)]
struct Absence {
    /// The boundary from which on the member gets its own again, in Unix milliseconds; `None` while it does not answer.
    until_ms: Option<u64>,
    /// Whether it is gone for good, however its lane does.
    vanished: bool,
}

/// What a look at a member showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    Stays,
    /// It is passed over from now on.
    Left,
    /// It answers, and gets its own again after this boundary.
    Returns { boundary_ms: u64 },
}

impl Absent {
    /// Whether a member is passed over, for some stamp at least.
    pub(super) fn contains(&self, member: &Member) -> bool {
        !self.0.is_empty() && self.0.contains_key(member)
    }

    /// Whether a member gets its own of this stamp.
    pub(super) fn admits(&self, member: &Member, stamp: Stamp) -> bool {
        self.0.get(member).is_none_or(|absence| absence.until_ms.is_some_and(|until_ms| stamp.boundary_ms > until_ms))
    }

    /// Whether a member is passed over for every stamp, so that what waits for it waits for nothing.
    pub(super) fn is_away(&self, member: &Member) -> bool {
        self.0.get(member).is_some_and(|absence| absence.until_ms.is_none())
    }

    /// Passes over a member that is gone for good.
    pub(super) fn leave(&mut self, member: Member) {
        self.0.insert(member, Absence { until_ms: None, vanished: true });
    }

    /// A member that had vanished is there after all.
    pub(super) fn listed(&mut self, member: &Member) {
        if self.0.get(member).is_some_and(|absence| absence.vanished) {
            self.0.remove(member);
        }
    }

    /// Forgets a member that is in no ring.
    pub(super) fn forget(&mut self, member: &Member) {
        self.0.remove(member);
    }

    /// Draws the consequences of how a member does. A dead one is passed over at once, a silent one from the boundary
    /// after its silence began. One that answers again is back at the next boundary: no interval is split twice.
    pub(super) fn look(&mut self, member: &Member, health: Health, now_ms: u64, interval: Duration) -> Turn {
        let known = self.0.get_mut(member);
        match (health, known) {
            (_, Some(Absence { vanished: true, .. })) | (Health::Reached, None) => Turn::Stays,
            (Health::Reached, Some(absence)) => match absence.until_ms {
                None => {
                    let boundary_ms = Stamp::under_way(now_ms, interval).boundary_ms;
                    absence.until_ms = Some(boundary_ms);
                    Turn::Returns { boundary_ms }
                }
                // Stamps of the time of its absence come late by an interval at the most.
                Some(until_ms) => {
                    if until_ms + 2 * crate::clock::millis(interval) <= now_ms {
                        self.0.remove(member);
                    }
                    Turn::Stays
                }
            },
            (Health::Silent(since), None) => {
                let silent_ms = crate::clock::millis(since.elapsed());
                let began_ms = now_ms.saturating_sub(silent_ms);
                if Stamp::under_way(began_ms, interval).boundary_ms > now_ms {
                    return Turn::Stays;
                }
                self.0.insert(member.clone(), Absence::default());
                Turn::Left
            }
            (Health::Dead, None) => {
                self.0.insert(member.clone(), Absence::default());
                Turn::Left
            }
            (Health::Silent(_) | Health::Dead, Some(absence)) => match absence.until_ms.take() {
                Some(_) => Turn::Left,
                None => Turn::Stays,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn member() -> Member {
        Member { name: "a".into(), address: "127.0.0.1:1".into() }
    }

    fn stamp(boundary_ms: u64) -> Stamp {
        Stamp { boundary_ms, interval_ms: 10_000 }
    }

    #[test]
    fn a_dead_member_is_passed_over_at_once_and_back_at_the_boundary_after_it_answers() {
        let (mut absent, member) = (Absent::default(), member());
        assert_eq!(absent.look(&member, Health::Dead, 12_000, INTERVAL), Turn::Left);
        assert!(!absent.admits(&member, stamp(20_000)) && !absent.admits(&member, stamp(90_000)));
        assert_eq!(absent.look(&member, Health::Dead, 13_000, INTERVAL), Turn::Stays);
        assert_eq!(absent.look(&member, Health::Reached, 14_000, INTERVAL), Turn::Returns { boundary_ms: 20_000 });
        assert!(!absent.admits(&member, stamp(20_000)) && absent.admits(&member, stamp(30_000)));
        assert_eq!(absent.look(&member, Health::Reached, 41_000, INTERVAL), Turn::Stays);
        assert!(!absent.contains(&member));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_member_keeps_what_is_its_own_to_the_next_boundary() {
        let (mut absent, member) = (Absent::default(), member());
        let silent = Health::Silent(tokio::time::Instant::now());
        assert_eq!(absent.look(&member, silent, 12_000, INTERVAL), Turn::Stays);
        assert!(absent.admits(&member, stamp(20_000)));
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(absent.look(&member, silent, 20_000, INTERVAL), Turn::Left);
        assert!(!absent.admits(&member, stamp(20_000)));
    }

    #[test]
    fn a_member_that_dies_again_before_its_boundary_stays_out() {
        let (mut absent, member) = (Absent::default(), member());
        absent.look(&member, Health::Dead, 12_000, INTERVAL);
        absent.look(&member, Health::Reached, 14_000, INTERVAL);
        assert_eq!(absent.look(&member, Health::Dead, 15_000, INTERVAL), Turn::Left);
        assert!(!absent.admits(&member, stamp(30_000)));
    }

    #[test]
    fn a_vanished_member_does_not_return_by_itself() {
        let (mut absent, member) = (Absent::default(), member());
        absent.leave(member.clone());
        assert_eq!(absent.look(&member, Health::Reached, 14_000, INTERVAL), Turn::Stays);
        assert!(!absent.admits(&member, stamp(90_000)));
        absent.forget(&member);
        assert!(absent.admits(&member, stamp(20_000)));
    }
}
