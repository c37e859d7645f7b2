//! Which interval a value is filed in, and when an interval is published.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use veneur_metric::Stamp;

use crate::{Budget, Interval, Seed};

/// Empty intervals that are published one by one; a longer gap is a clock that was set.
const MOST_EMPTY_INTERVALS: u64 = 1_000;

/// The unpublished intervals of an instance.
///
/// An interval is published `lateness` after its boundary, so that what is still under way at the boundary finds it
/// open. Aligned instances go by the stamps that partials carry; unaligned ones neither read nor write stamps.
#[derive(Debug)]
pub struct Intervals {
    seed: Seed,
    budget: Arc<Budget>,
    interval: Duration,
    lateness_ms: u64,
    aligned: bool,
    tables: BTreeMap<u64, Interval>,
    /// Boundary of the newest interval that was published, or is older than this instance.
    published_ms: u64,
}

/// How a value was filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    /// In its own interval.
    Timely,
    /// Its interval was published already: it joined the oldest unpublished one.
    Late,
    /// Its stamp lies more than one interval ahead: it was filed as of now.
    Skewed,
}

impl Intervals {
    /// `lateness` must be shorter than `interval`. All tables are of this seed.
    pub fn new(seed: Seed, now_ms: u64, interval: Duration, lateness: Duration, aligned: bool) -> Self {
        let lateness_ms = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX);
        let oldest = Stamp::under_way(now_ms.saturating_sub(lateness_ms), interval);
        let published_ms = oldest.boundary_ms.saturating_sub(oldest.interval_ms);
        let budget = Arc::default();
        Self { seed, budget, interval, lateness_ms, aligned, tables: BTreeMap::new(), published_ms }
    }

    /// The same, with imports held to a budget. Before the first is filed.
    #[must_use]
    pub fn within(self, budget: Arc<Budget>) -> Self {
        Self { budget, ..self }
    }

    /// The table for a value that arrives at `now_ms` with `stamp`, and whether that is where it belongs.
    pub fn file(&mut self, now_ms: u64, stamp: Option<Stamp>) -> (&mut Interval, Filed) {
        self.heed_steps(now_ms);
        let under_way = Stamp::under_way(now_ms, self.interval);
        let wanted = match stamp {
            Some(stamp) if self.aligned => stamp.on_grid(self.interval),
            _ => under_way,
        };
        let oldest = self.published_ms.saturating_add(under_way.interval_ms);
        let (boundary_ms, filed) = if wanted.boundary_ms <= self.published_ms {
            (oldest, Filed::Late)
        } else if wanted.boundary_ms > under_way.next().boundary_ms {
            (under_way.boundary_ms.max(oldest), Filed::Skewed)
        } else {
            (wanted.boundary_ms, Filed::Timely)
        };
        (self.table(boundary_ms), filed)
    }

    /// The table for what this instance sampled itself up to `boundary`; of an interval already published, the oldest
    /// that is not.
    pub fn own(&mut self, boundary: Stamp) -> &mut Interval {
        let oldest = self.published_ms.saturating_add(self.interval_ms());
        self.table(boundary.boundary_ms.max(oldest))
    }

    /// The oldest interval whose time has come at `now_ms`, which is thereby published. Every interval is, in order,
    /// also an empty one: ask until there is none.
    pub fn due(&mut self, now_ms: u64) -> Option<(Stamp, Interval)> {
        self.heed_steps(now_ms);
        let next = self.published_ms.saturating_add(self.interval_ms());
        if next.saturating_add(self.lateness_ms) > now_ms {
            return None;
        }
        Some(self.publish(next))
    }

    /// When the next interval is due, in Unix milliseconds.
    pub fn next_due_ms(&self) -> u64 {
        self.published_ms.saturating_add(self.interval_ms()).saturating_add(self.lateness_ms)
    }

    /// Everything unpublished, oldest first, whether due or not: for a last flush.
    pub fn drain(&mut self) -> Vec<(Stamp, Interval)> {
        let boundaries: Vec<u64> = self.tables.keys().copied().collect();
        boundaries.into_iter().map(|boundary_ms| self.publish(boundary_ms)).collect()
    }

    /// A table like the others that is none of them.
    pub fn aside(&self) -> Interval {
        Interval::within(self.seed, Arc::clone(&self.budget))
    }

    /// Contexts waiting in all unpublished intervals.
    pub fn contexts(&self) -> usize {
        self.tables.values().map(Interval::len).sum()
    }

    /// Follows a clock that was set. Back: intervals that were published come again, rather than nothing until the
    /// clock has caught up. Far ahead: what lies between was empty, and is not gone through.
    fn heed_steps(&mut self, now_ms: u64) {
        let interval_ms = self.interval_ms();
        let newest_due = now_ms.saturating_sub(self.lateness_ms) / interval_ms * interval_ms;
        let back = self.published_ms > now_ms.saturating_add(interval_ms);
        let far_ahead = self.tables.is_empty()
            && self.published_ms.saturating_add(interval_ms.saturating_mul(MOST_EMPTY_INTERVALS)) < newest_due;
        if back || far_ahead {
            self.published_ms = newest_due;
        }
    }

    fn publish(&mut self, boundary_ms: u64) -> (Stamp, Interval) {
        self.published_ms = boundary_ms;
        let table = self.tables.remove(&boundary_ms).unwrap_or_else(|| self.aside());
        (Stamp { boundary_ms, interval_ms: self.interval_ms() }, table)
    }

    fn table(&mut self, boundary_ms: u64) -> &mut Interval {
        let Self { seed, budget, .. } = self;
        self.tables.entry(boundary_ms).or_insert_with(|| Interval::within(*seed, Arc::clone(budget)))
    }

    fn interval_ms(&self) -> u64 {
        u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn stamp(seconds: u64) -> Stamp {
        Stamp { boundary_ms: seconds * 1_000, interval_ms: 10_000 }
    }

    fn intervals(now: u64) -> Intervals {
        Intervals::new(Seed::FIXED, now * 1_000, TEN, Duration::from_secs(2), true)
    }

    #[test]
    fn an_interval_is_published_lateness_after_its_boundary() {
        let mut intervals = intervals(95);
        assert_eq!(intervals.next_due_ms(), 102_000);
        assert!(intervals.due(101_999).is_none());
        let (published, _) = intervals.due(102_000).expect("due");
        assert_eq!(published.timestamp(), 100);
        assert!(intervals.due(102_000).is_none());
    }

    #[test]
    fn a_global_born_within_the_lateness_still_takes_the_interval_just_over() {
        assert_eq!(intervals(101).file(101_000, Some(stamp(100))).1, Filed::Timely);
    }

    #[test]
    fn a_late_value_joins_the_oldest_unpublished_interval() {
        let mut intervals = intervals(95);
        intervals.due(102_000).expect("interval 100 is published");
        assert_eq!(intervals.file(103_000, Some(stamp(100))).1, Filed::Late);
        assert_eq!(intervals.tables.keys().copied().collect::<Vec<_>>(), [110_000]);
    }

    #[test]
    fn a_stamp_more_than_one_interval_ahead_is_filed_as_now() {
        let mut intervals = intervals(95);
        assert_eq!(intervals.file(95_000, Some(stamp(110))).1, Filed::Timely);
        assert_eq!(intervals.file(95_000, Some(stamp(120))).1, Filed::Skewed);
        assert_eq!(intervals.tables.keys().copied().collect::<Vec<_>>(), [100_000, 110_000]);
    }

    #[test]
    fn a_sleeping_clock_publishes_every_interval_in_order() {
        let mut intervals = intervals(95);
        let published: Vec<i64> =
            std::iter::from_fn(|| intervals.due(125_000)).map(|(stamp, _)| stamp.timestamp()).collect();
        assert_eq!(published, [100, 110, 120]);
    }

    #[test]
    fn a_clock_set_back_does_not_stop_publishing() {
        let mut intervals = intervals(2_000);
        assert!(intervals.due(2_012_000).is_some());
        assert_eq!(intervals.file(195_000, Some(stamp(200))).1, Filed::Timely);
        let (published, table) = intervals.due(202_000).expect("due by the clock as it is now");
        assert_eq!((published.timestamp(), table.len()), (200, 0));
    }

    #[test]
    fn a_clock_set_far_ahead_does_not_go_through_the_years() {
        let mut intervals = intervals(95);
        let published = std::iter::from_fn(|| intervals.due(2_000_000_000_000)).count();
        assert!(published <= 1, "{published}");
        assert_eq!(intervals.file(2_000_000_000_000, None).1, Filed::Timely);
    }

    #[test]
    fn an_unaligned_instance_does_not_read_stamps() {
        let mut intervals = Intervals::new(Seed::FIXED, 95_000, TEN, Duration::ZERO, false);
        assert_eq!(intervals.file(95_000, Some(stamp(500))).1, Filed::Timely);
        assert_eq!(intervals.tables.keys().copied().collect::<Vec<_>>(), [100_000]);
    }
}
