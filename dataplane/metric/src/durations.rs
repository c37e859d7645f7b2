//! How long things took.

use std::time::Duration;

/// Kept at the most: enough for a distribution.
const MOST: usize = 64;

/// How long the first 64 things took since somebody asked last. Bounded, whether anybody asks or not.
#[derive(Debug, Clone, Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    /// Remembers one, if there is room.
    pub fn push(&mut self, took: Duration) {
        if self.0.len() < MOST {
            self.0.push(took);
        }
    }

    /// Those since the last call.
    pub fn take(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.0)
    }

    /// Those so far.
    pub fn iter(&self) -> impl Iterator<Item = Duration> {
        self.0.iter().copied()
    }
}

impl From<Duration> for Durations {
    fn from(took: Duration) -> Self {
        Self(vec![took])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_until_they_are_asked_for() {
        let mut durations = Durations::from(Duration::ZERO);
        (1..1_000).for_each(|second| durations.push(Duration::from_secs(second)));
        assert!(durations.iter().eq((0..MOST as u64).map(Duration::from_secs)));
        assert_eq!((durations.take().len(), durations.take().len()), (MOST, 0));
    }
}
