//! One interval's contexts and their values.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use indexmap::IndexMap;
use veneur_metric::{Context, Kind, Partial, PartialValue, Point, PointKind, Sample, Scope, Stamp, Tags};

use crate::{
    Aggregate, Publishing, Rules,
    split::{Covers, split},
    value::{Distribution, Stats, Value},
};

/// Spellings of a context that a table remembers. A client writes the same context the same way for ever, so one
/// spelling a context is the norm; past the bound a line is resolved anew, which costs time but nothing else.
const ALIASES: usize = 1 << 18;

/// The contexts of one interval.
///
/// A known line is found by one lookup of its raw bytes, before any tag is sorted or any context formed.
#[derive(Debug, Default)]
pub struct Table {
    values: IndexMap<Context, Value>,
    /// Name, kind and tag section as received, to the index of the context they mean.
    aliases: HashMap<Box<[u8]>, usize>,
    spelling: Vec<u8>,
}

/// What a table becomes at the end of its interval.
#[derive(Debug, Default)]
pub struct Flush {
    /// Finished values.
    pub points: Vec<Point>,
    /// Values for the next tier.
    pub partials: Vec<Partial>,
    /// Statistics that no double can hold, such as the sum of two largest ones. They are in neither list.
    pub overflowed: u64,
}

/// A partial that could not be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The value is not of the context's kind.
    #[error("the value is not one of a {0}")]
    Kind(Kind),
    /// Local contexts are published where they were sampled and never travel.
    #[error("a local context cannot be imported")]
    Local,
}

impl Table {
    /// Adds one observation. `tags` reads the sample's raw tag section, and is asked only for a spelling not seen
    /// before in this interval. `false` if the value does not fit: it is then in no total.
    pub fn insert(&mut self, rules: &Rules, sample: &Sample<'_>, tags: impl FnOnce(&[u8]) -> Tags) -> bool {
        self.spelling.clear();
        self.spelling.extend_from_slice(sample.name);
        self.spelling.extend_from_slice(&[b'|', sample.kind as u8, b'|']);
        self.spelling.extend_from_slice(sample.tags);
        if let Some(index) = self.aliases.get(self.spelling.as_slice()) {
            return self.values[*index].insert(sample);
        }
        let name = String::from_utf8_lossy(sample.name);
        let before = self.values.len();
        let index = self.entry(rules.context(&name, sample.kind, sample.scope, tags(sample.tags)));
        let inserted = self.values[index].insert(sample);
        if !inserted && index == before {
            // A context of which nothing was observed is none.
            self.values.pop();
        } else if self.aliases.len() < ALIASES {
            self.aliases.insert(self.spelling.as_slice().into(), index);
        }
        inserted
    }

    /// Merges what another instance knows. `late`: its interval was published already, so that a newer gauge must not
    /// be overwritten by this one.
    pub fn merge(&mut self, partial: Partial, late: bool) -> Result<(), Mismatch> {
        let Partial { mut context, value, .. } = partial;
        if context.scope == Scope::Local {
            return Err(Mismatch::Local);
        }
        let kind = context.kind;
        if !value.fits(kind) {
            return Err(Mismatch::Kind(kind));
        }
        // As in the original: a counter or gauge travels only if it is global, and sets have one scope on the way.
        context.scope = match kind {
            Kind::Counter | Kind::Gauge => Scope::Global,
            Kind::Set => Scope::Mixed,
            Kind::Histogram | Kind::Timer => context.scope,
        };
        let known = self.values.contains_key(&context);
        let index = self.entry(context);
        let merged = self.values[index].merge(&value, late && known);
        debug_assert!(merged, "the value fits the kind");
        Ok(())
    }

    /// Adds another table of the same instance and interval.
    pub fn absorb(&mut self, other: Self) {
        if self.values.is_empty() {
            self.values = other.values;
            return;
        }
        for (context, value) in other.values {
            match self.values.entry(context) {
                indexmap::map::Entry::Occupied(mut mine) => mine.get_mut().absorb(value),
                indexmap::map::Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
    }

    /// Contexts held.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing was inserted or merged.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Turns the table into points and partials. Partials are stamped with `stamp`, points cover `interval` and carry
    /// `timestamp` (Unix seconds).
    pub fn flush(mut self, publishing: &Publishing, stamp: Option<Stamp>, timestamp: i64, interval: Duration) -> Flush {
        let mut flush = Flush::default();
        let joined = if publishing.forwards { HashSet::new() } else { self.join_scopes() };
        for (index, (context, value)) in self.values.into_iter().enumerate() {
            let split = split(context.kind, context.scope, publishing.forwards);
            let mut publish = Publisher { context: &context, timestamp, interval, flush: &mut flush };
            let partial = match value {
                Value::Counter(total) => {
                    publish.whole(split.aggregates, PointKind::Count, total);
                    PartialValue::Counter(total)
                }
                Value::Gauge(last) => {
                    publish.whole(split.aggregates, PointKind::Gauge, last);
                    PartialValue::Gauge(last)
                }
                Value::Set(set) => {
                    publish.whole(split.aggregates, PointKind::Gauge, set.estimate() as f64);
                    PartialValue::Set(set)
                }
                Value::Distribution(mut distribution) => {
                    publish.aggregates(split.aggregates, &publishing.aggregates, &distribution);
                    if split.percentiles && !joined.contains(&index) {
                        publish.percentiles(publishing, &mut distribution);
                    }
                    PartialValue::Digest(distribution.digest)
                }
            };
            if split.forward {
                flush.partials.push(Partial { context, value: partial, stamp });
            }
        }
        flush
    }

    /// Gives the digest of each global distribution to its mixed twin, where there is one: while a scope rule reaches
    /// a fleet pod by pod, one series comes in both scopes, and its percentiles are still those of the whole fleet.
    /// Returns the indices of those whose percentiles the twin now publishes.
    fn join_scopes(&mut self) -> HashSet<usize> {
        let twins: Vec<(usize, usize)> = self
            .values
            .keys()
            .enumerate()
            .filter(|(_, context)| {
                context.scope == Scope::Global && matches!(context.kind, Kind::Histogram | Kind::Timer)
            })
            .filter_map(|(global, context)| {
                let mixed = Context { scope: Scope::Mixed, ..context.clone() };
                Some((global, self.values.get_index_of(&mixed)?))
            })
            .collect();
        for (global, mixed) in &twins {
            let Value::Distribution(distribution) = &self.values[*global] else { continue };
            let digest = PartialValue::Digest(distribution.digest.clone());
            self.values[*mixed].merge(&digest, false);
        }
        twins.into_iter().map(|(global, _)| global).collect()
    }

    fn entry(&mut self, context: Context) -> usize {
        let kind = context.kind;
        let entry = self.values.entry(context);
        let index = entry.index();
        entry.or_insert_with(|| Value::new(kind));
        index
    }
}

/// Appends the points of one context.
struct Publisher<'a> {
    context: &'a Context,
    timestamp: i64,
    interval: Duration,
    flush: &'a mut Flush,
}

impl Publisher<'_> {
    fn whole(&mut self, covers: Covers, kind: PointKind, value: f64) {
        if covers != Covers::Nothing {
            self.point("", kind, value);
        }
    }

    fn aggregates(&mut self, covers: Covers, wanted: &[Aggregate], distribution: &Distribution) {
        let Stats { count, sum, min, max, reciprocal_sum } = match covers {
            Covers::Nothing => return,
            Covers::Own => distribution.own(),
            Covers::All => distribution.all(),
        };
        if count == 0.0 {
            return;
        }
        for aggregate in wanted {
            match aggregate {
                Aggregate::Min => self.point(".min", PointKind::Gauge, min),
                Aggregate::Max => self.point(".max", PointKind::Gauge, max),
                Aggregate::Avg => self.point(".avg", PointKind::Gauge, sum / count),
                Aggregate::Count => self.point(".count", PointKind::Count, count),
                Aggregate::Sum => self.point(".sum", PointKind::Gauge, sum),
                Aggregate::Hmean => self.point(".hmean", PointKind::Gauge, count / reciprocal_sum),
                Aggregate::Median => {}
            }
        }
    }

    fn percentiles(&mut self, publishing: &Publishing, distribution: &mut Distribution) {
        if publishing.aggregates.contains(&Aggregate::Median)
            && let Some(median) = distribution.digest.quantile(0.5)
        {
            self.point(".median", PointKind::Gauge, median);
        }
        for percentile in &publishing.percentiles {
            if let Some(value) = distribution.digest.quantile(percentile.quantile) {
                self.point(&percentile.suffix, PointKind::Gauge, value);
            }
        }
    }

    /// Points are finite by contract: an overflow is left out and counted, as no sink could take it.
    fn point(&mut self, suffix: &str, kind: PointKind, value: f64) {
        if value.is_finite() {
            self.flush.points.push(Point {
                name: format!("{}{suffix}", self.context.name).into(),
                tags: self.context.tags.clone(),
                kind,
                value,
                timestamp: self.timestamp,
                interval: self.interval,
            });
        } else {
            self.flush.overflowed += 1;
        }
    }
}
