//! The heaviest names of many, in little memory.

use std::collections::HashMap;

/// Names that are counted at once.
const PLACES: usize = 256;

/// Counts names in bounded memory (space saving, Metwally, Agrawal and El Abbadi 2005): a name that is more than one
/// part in 256 of the whole is among them, and its count is too high by at most that share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heavy {
    counts: HashMap<Box<str>, u64>,
}

impl Heavy {
    /// Counts `more` for a name. Of names that find no place, the lightest makes room and leaves its count behind.
    pub(crate) fn add(&mut self, name: &str, more: u64) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += more;
            return;
        }
        let mut inherited = 0;
        if self.counts.len() >= PLACES
            && let Some((lightest, count)) = self.counts.iter().min_by_key(|(_, count)| **count)
        {
            let lightest = lightest.clone();
            inherited = *count;
            self.counts.remove(&lightest);
        }
        self.counts.insert(name.into(), inherited + more);
    }

    /// Adds the counts of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(name, count)| self.add(name, *count));
    }

    /// The heaviest `most` names with their counts, heaviest first.
    pub(crate) fn top(&self, most: usize) -> Vec<(Box<str>, u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(most);
        all
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_name_is_found_among_any_number_of_light_ones() {
        let mut heavy = Heavy::default();
        for number in 0..10_000 {
            heavy.add(&format!("light.{number}"), 1);
            heavy.add("heavy", u64::from(number % 50 == 0));
        }
        let (name, count) = heavy.top(1).remove(0);
        assert_eq!(&*name, "heavy");
        assert!((200..=200 + 10_200 / 256).contains(&count), "{count}");
        assert!(heavy.top(1_000).len() <= PLACES);
    }
}
