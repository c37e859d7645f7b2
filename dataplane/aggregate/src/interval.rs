//! One interval of an instance: what its tables collected, and what other instances sent.
//!
//! What is imported is held to the budget too: beyond it, partials are merged into one overflow series of their kind.

use std::{collections::HashMap, sync::Arc, time::Duration};

use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Stamp};
use veneur_sketch::HyperLogLog;

use crate::{
    Budget, Publishing, Seed,
    cells::{Cell, Cells, Counter, Gauge, Set, Timed, is_later},
    distribution::Distribution,
    fetch::fetch,
    merged::{Imported, Joined, Merged},
    publish::{Flush, Publisher},
    top::Top,
};

/// The values of one interval.
#[derive(Debug)]
pub struct Interval {
    seed: Seed,
    /// As the tables gave them, one of each.
    own: Vec<Cells>,
    counters: Merged<Counter>,
    gauges: Merged<Gauge>,
    distributions: Merged<Distribution>,
    sets: Merged<Set>,
    /// With the order in which a gauge was set.
    timed: HashMap<(Arc<Context>, i64), (f64, u32)>,
    imported: Imported,
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

impl Interval {
    /// One with no value, and no bound. All tables that it will [`absorb`](Self::absorb) are of this seed.
    pub fn new(seed: Seed) -> Self {
        Self::within(seed, Arc::default())
    }

    /// The same, with imports held to a budget.
    pub fn within(seed: Seed, budget: Arc<Budget>) -> Self {
        Self {
            seed,
            own: Vec::new(),
            counters: Merged::default(),
            gauges: Merged::default(),
            distributions: Merged::default(),
            sets: Merged::default(),
            timed: HashMap::new(),
            imported: Imported::within(budget),
        }
    }

    /// Adds what a table collected.
    pub fn absorb(&mut self, cells: Cells) {
        if !cells.is_empty() || !cells.folded.is_empty() {
            self.own.push(cells);
        }
    }

    /// Merges what another instance knows. `late`: its interval was published already, so that a newer gauge must not
    /// be overwritten by this one.
    pub fn merge(&mut self, partial: Partial, late: bool) -> Result<Joined, Mismatch> {
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
        let Self { seed, counters, gauges, distributions, sets, imported, .. } = self;
        Ok(match value {
            PartialValue::Counter(more) => {
                let (counter, _, joined) = counters.value(seed, context, 0, imported);
                counter.total += more;
                counter.samples = counter.samples.saturating_add(1);
                joined
            }
            PartialValue::Gauge(last) => {
                let (gauge, known, joined) = gauges.value(seed, context, 0, imported);
                if !(late && known) {
                    (gauge.last, gauge.order) = (last, imported.order());
                }
                joined
            }
            PartialValue::Digest(digest) => {
                let (mine, _, joined) = distributions.value(seed, context, digest.size_bytes(), imported);
                imported.grow(mine, Distribution::size_bytes, |mine| mine.import_digest(digest));
                joined
            }
            PartialValue::Relative(sketch) => {
                let (mine, _, joined) = distributions.value(seed, context, sketch.size_bytes(), imported);
                imported.grow(mine, Distribution::size_bytes, |mine| mine.import_relative(&sketch));
                joined
            }
            PartialValue::Set(members) => {
                let (mine, _, joined) = sets.value(seed, context, members.size_bytes(), imported);
                imported.grow(&mut mine.members, HyperLogLog::size_bytes, |mine| mine.merge(&members));
                joined
            }
        })
    }

    /// Contexts held; one with several spellings may count several times until it is flushed.
    pub fn len(&self) -> usize {
        let own: usize = self.own.iter().map(Cells::len).sum();
        own + self.counters.cells.len()
            + self.gauges.cells.len()
            + self.distributions.cells.len()
            + self.sets.cells.len()
    }

    /// Whether nothing was collected or merged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names with the most samples of this instance's own, the most contexts, and the most samples and imports that
    /// found no room.
    pub fn top(&self, most: usize) -> Top {
        let Self { counters, gauges, distributions, sets, imported, .. } = self;
        let imports = counters.names().chain(gauges.names()).chain(distributions.names()).chain(sets.names());
        Top::of(&self.own, imports, self.len(), &imported.folded, most)
    }

    /// Turns the interval into points and partials, handed to `out` some thousand contexts at a time. Partials are
    /// stamped with `stamp`, points cover `interval` and carry `timestamp` (Unix seconds) if they have no second of
    /// their own.
    pub fn flush(
        mut self,
        publishing: &Publishing,
        stamp: Option<Stamp>,
        timestamp: i64,
        interval: Duration,
        out: impl FnMut(Flush),
    ) {
        for mut cells in std::mem::take(&mut self.own) {
            self.counters.absorb(std::mem::take(&mut cells.counters), |mine, theirs| {
                mine.total += theirs.total;
                mine.samples = mine.samples.saturating_add(theirs.samples);
            });
            self.gauges.absorb(std::mem::take(&mut cells.gauges), |mine, theirs| {
                if is_later(theirs.order, mine.order) {
                    *mine = theirs;
                }
            });
            self.distributions.absorb(std::mem::take(&mut cells.distributions), |mine, theirs| mine.absorb(&theirs));
            self.sets.absorb(std::mem::take(&mut cells.sets), |mine, theirs| mine.members.merge(&theirs.members));
            for Timed { context, second, value, order, .. } in std::mem::take(&mut cells.timed) {
                let counts = context.kind == Kind::Counter;
                let (total, newest) = self.timed.entry((context, second)).or_insert((0.0, order));
                if counts {
                    *total += value;
                } else if is_later(order, *newest) {
                    (*total, *newest) = (value, order);
                }
            }
        }
        let mut publisher = Publisher::new(publishing, stamp, timestamp, interval, out);
        let joined = if publishing.forwards { Vec::new() } else { self.join_scopes() };
        visit(self.counters.cells, true, |cell| publisher.counter(cell));
        visit(self.gauges.cells, true, |cell| publisher.gauge(cell));
        let mut joined = joined.into_iter();
        visit(self.distributions.cells, true, |cell| publisher.distribution(cell, joined.next().unwrap_or_default()));
        visit(self.sets.cells, true, |cell| publisher.set(cell));
        self.timed.into_iter().for_each(|((context, second), (value, _))| publisher.timed(&context, second, value));
        publisher.end();
    }

    /// Gives the digest of each global distribution to its mixed twin, where there is one: while a scope rule reaches
    /// a fleet pod by pod, one series comes in both scopes, and its percentiles are still those of the whole fleet.
    /// Tells for each distribution whether its percentiles are now the twin's to publish.
    fn join_scopes(&mut self) -> Vec<bool> {
        let mut joined = Vec::new();
        for global in 0..self.distributions.cells.len() {
            let context = &self.distributions.cells[global].named.context;
            if context.scope != Scope::Global {
                continue;
            }
            let mixed = Context { scope: Scope::Mixed, ..context.clone() };
            let Some(mixed) = self.distributions.find(self.seed.hash(&mixed), &mixed) else { continue };
            let global_value = std::mem::take(&mut self.distributions.cells[global].value);
            self.distributions.cells[mixed].value.import(&global_value);
            self.distributions.cells[global].value = global_value;
            joined.resize(self.distributions.cells.len(), false);
            joined[global] = true;
        }
        joined
    }
}

/// Cells whose contexts are brought into the cache at once.
const FETCHED: usize = 64;

/// Visits cells in order. Their contexts, and the `texts` of these if they are wanted too, are brought into the cache for
/// many at once.
pub(crate) fn visit<T>(cells: Vec<Cell<T>>, texts: bool, mut each: impl FnMut(Cell<T>)) {
    let mut cells = cells.into_iter();
    while !cells.as_slice().is_empty() {
        let next = &cells.as_slice()[..FETCHED.min(cells.len())];
        fetch(next.iter().map(|cell| cell.named.hash));
        if texts {
            let first = |text: &str| text.as_bytes().first().copied().unwrap_or_default().into();
            let contexts = next.iter().map(|cell| &cell.named.context);
            fetch(contexts.flat_map(|context| [first(&context.name), first(context.tags.joined())]));
        }
        cells.by_ref().take(FETCHED).for_each(&mut each);
    }
}
