//! The interval that a value belongs to.

use std::time::Duration;

/// An interval, named by its end: the boundary k·I in Unix milliseconds, and I itself.
///
/// Both travel, so that a receiver with another interval can file the value at its own first boundary at or after
/// that time. Boundaries are whole multiples of the interval since the epoch, so every instance agrees on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Unix milliseconds of the boundary that ends the interval.
    pub boundary_ms: u64,
    /// Length of the interval in milliseconds, never zero.
    pub interval_ms: u64,
}

impl Stamp {
    /// The interval under way at `now_ms`: its boundary is the first at or after that time.
    pub fn under_way(now_ms: u64, interval: Duration) -> Self {
        let interval_ms = millis(interval);
        Self { boundary_ms: now_ms.div_ceil(interval_ms) * interval_ms, interval_ms }
    }

    /// This stamp on the grid of a receiver whose interval is `interval`: its first boundary at or after ours.
    #[must_use]
    pub fn on_grid(self, interval: Duration) -> Self {
        Self::under_way(self.boundary_ms, interval)
    }

    /// The following interval.
    #[must_use]
    pub fn next(self) -> Self {
        Self { boundary_ms: self.boundary_ms + self.interval_ms, ..self }
    }

    /// Unix seconds of the boundary: the timestamp of points that cover this interval.
    pub fn timestamp(self) -> i64 {
        i64::try_from(self.boundary_ms / 1_000).unwrap_or(i64::MAX)
    }

    /// Length of the interval.
    pub fn interval(self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

fn millis(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_belongs_to_the_interval_it_ends() {
        let ten = Duration::from_secs(10);
        assert_eq!(Stamp::under_way(20_000, ten).boundary_ms, 20_000);
        assert_eq!(Stamp::under_way(20_001, ten).boundary_ms, 30_000);
    }

    #[test]
    fn a_receiver_with_a_longer_interval_files_at_its_next_boundary() {
        let stamp = Stamp { boundary_ms: 50_000, interval_ms: 10_000 };
        assert_eq!(stamp.on_grid(Duration::from_mins(1)), Stamp { boundary_ms: 60_000, interval_ms: 60_000 });
    }
}
