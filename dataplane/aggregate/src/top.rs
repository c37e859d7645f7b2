//! Which names make an interval large.

use std::collections::HashMap;

use crate::{cells::Cells, heavy::Heavy};

/// Names looked at; beyond, a name that has not come up before is left out. A name with many contexts comes up early.
const NAMES: usize = 1 << 14;

/// The heaviest names of an interval, heaviest first.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Names with the most samples, and how many.
    pub samples: Vec<(Box<str>, u64)>,
    /// Names with the most contexts, and how many.
    pub contexts: Vec<(Box<str>, u64)>,
    /// Names with the most samples in the overflow series, and about how many.
    pub folded: Vec<(Box<str>, u64)>,
}

impl Top {
    pub(crate) fn of(tables: &[Cells], most: usize) -> Self {
        let mut names: HashMap<&str, (u64, u64)> = HashMap::new();
        let mut folded = Heavy::default();
        for cells in tables {
            let counters = cells.counters.iter().map(|cell| (&cell.context.name, cell.value.samples));
            let gauges = cells.gauges.iter().map(|cell| (&cell.context.name, cell.value.samples));
            let distributions = cells.distributions.iter().map(|cell| (&cell.context.name, cell.value.samples));
            let sets = cells.sets.iter().map(|cell| (&cell.context.name, cell.value.samples));
            for (name, samples) in counters.chain(gauges).chain(distributions).chain(sets) {
                let full = names.len() >= NAMES;
                let count = match names.get_mut(&**name) {
                    Some(count) => count,
                    None if full => continue,
                    None => names.entry(name).or_default(),
                };
                count.0 += u64::from(samples);
                count.1 += 1;
            }
            folded.merge(&cells.folded);
        }
        Self {
            samples: heaviest(&names, most, |count| count.0),
            contexts: heaviest(&names, most, |count| count.1),
            folded: folded.top(most),
        }
    }
}

fn heaviest(names: &HashMap<&str, (u64, u64)>, most: usize, by: impl Fn(&(u64, u64)) -> u64) -> Vec<(Box<str>, u64)> {
    let mut all: Vec<(&str, u64)> = names.iter().map(|(name, count)| (*name, by(count))).collect();
    let order = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
    if all.len() > most {
        all.select_nth_unstable_by(most, order);
        all.truncate(most);
    }
    all.sort_unstable_by(order);
    all.into_iter().map(|(name, count)| (name.into(), count)).collect()
}
