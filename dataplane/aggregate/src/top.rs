//! Which names make an interval large.

use std::collections::HashMap;

use crate::{cells::Cells, fingerprint::Named, heavy::Heavy};

/// Contexts looked at; of more, about so many are, evenly chosen once by their number and once by their samples, and
/// each then stands for others. A heavy name is among them many times; a flush does not take longer for it.
const LOOKED_AT: u64 = 1 << 14;

/// The heaviest names of an interval, heaviest first. Of more than 16,384 contexts, counts are estimates.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// Names with the most samples of the instance's own, and how many.
    pub samples: Vec<(Box<str>, u64)>,
    /// Names with the most contexts, and how many.
    pub contexts: Vec<(Box<str>, u64)>,
    /// Names with the most samples and imports in the overflow series, and about how many.
    pub folded: Vec<(Box<str>, u64)>,
}

impl Top {
    /// Of what tables collected, and of what was imported besides; so many contexts in all.
    pub(crate) fn of<'a>(
        tables: &'a [Cells],
        imports: impl Iterator<Item = &'a Named>,
        all: usize,
        imports_folded: &Heavy,
        most: usize,
    ) -> Self {
        let collected = || tables.iter().flat_map(contexts);
        let of_contexts = (all as u64).div_ceil(LOOKED_AT).max(1);
        let of_samples = match of_contexts {
            1 => 1,
            _ => collected().map(|(_, samples)| u64::from(samples)).sum::<u64>().div_ceil(LOOKED_AT).max(1),
        };
        let mut names: HashMap<&str, (u64, u64)> = HashMap::new();
        let (mut contexts, mut samples) = (0, 0);
        for (name, more) in collected().chain(imports.map(|named| (&*named.context.name, 0))) {
            contexts += 1;
            samples += u64::from(more);
            if contexts >= of_contexts || samples >= of_samples {
                let count = names.entry(name).or_default();
                count.0 += samples - samples % of_samples;
                count.1 += contexts - contexts % of_contexts;
                samples %= of_samples;
                contexts %= of_contexts;
            }
        }
        let mut folded = imports_folded.clone();
        tables.iter().for_each(|cells| folded.merge(&cells.folded));
        Self {
            samples: heaviest(&names, most, |count| count.0),
            contexts: heaviest(&names, most, |count| count.1),
            folded: folded.top(most),
        }
    }
}

/// The names of a table's contexts, and their samples. Each second that a client named is a context, as in the limits.
fn contexts(cells: &Cells) -> impl Iterator<Item = (&str, u32)> {
    let counters = cells.counters.iter().map(|cell| (&*cell.named, cell.value.samples));
    let gauges = cells.gauges.iter().map(|cell| (&*cell.named, cell.value.samples));
    let distributions = cells.distributions.iter().map(|cell| (&*cell.named, cell.value.samples));
    let sets = cells.sets.iter().map(|cell| (&*cell.named, cell.value.samples));
    let timed = cells.timed.iter().map(|timed| (&*timed.context.name, timed.samples));
    let named = counters.chain(gauges).chain(distributions).chain(sets);
    named.map(|(named, samples)| (&*named.context.name, samples)).chain(timed)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use veneur_metric::{Kind, Sample, Scope, Tags, Value};

    use super::*;
    use crate::{BATCH, Budget, Limits, Rules, Seed, Table};

    fn cells(samples: impl Iterator<Item = (&'static str, u32)>) -> Cells {
        let budget = Arc::new(Budget::new(Limits::default()));
        let mut table = Table::new(Seed::FIXED, Arc::new(Rules::default()), budget);
        let samples: Vec<_> = samples.map(|(name, number)| (name, number.to_string())).collect();
        for part in samples.chunks(BATCH) {
            let batch: Vec<_> = part
                .iter()
                .map(|(name, tag)| Sample {
                    name: name.as_bytes(),
                    tags: tag.as_bytes(),
                    value: Value::Number(1.0),
                    kind: Kind::Counter,
                    ..Sample::NONE
                })
                .collect();
            let tags = |sample: &Sample<'_>| Tags::new([std::str::from_utf8(sample.tags).expect("digits")]);
            table.insert(&batch, 0, 0, |sample| (tags(sample), Scope::Mixed));
        }
        table.take()
    }

    fn of(cells: Cells, most: usize) -> Top {
        let all = cells.len();
        Top::of(&[cells], std::iter::empty(), all, &Heavy::default(), most)
    }

    #[test]
    fn few_contexts_are_counted_exactly() {
        let cells = cells((0..1_000).map(|number| ("wide", number)).chain((0..5_000).map(|_| ("busy", 0))));
        let top = of(cells, 1);
        assert_eq!((top.samples, top.contexts), (vec![("busy".into(), 5_000)], vec![("wide".into(), 1_000)]));
    }

    #[test]
    fn many_contexts_are_estimated_and_the_heavy_names_found() {
        let wide = (0..60_000).map(|number| (if number % 3 == 0 { "narrow" } else { "wide" }, number));
        let cells = cells(wide.chain((0..40_000).map(|_| ("busy", 0))));
        let top = of(cells, 2);
        let near = |(name, count): &(Box<str>, u64), expected: &str, truth: f64| {
            assert_eq!(&**name, expected);
            assert!((*count as f64 / truth - 1.0).abs() < 0.1, "{count} instead of {truth}");
        };
        near(&top.samples[0], "busy", 40_000.0);
        near(&top.samples[1], "wide", 40_000.0);
        near(&top.contexts[0], "wide", 40_000.0);
        near(&top.contexts[1], "narrow", 20_000.0);
    }
}
