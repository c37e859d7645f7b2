//! One interval of an instance: what its tables collected, and what other instances sent.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashTable;
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Stamp};

use crate::{
    Publishing,
    cells::{Cell, Cells, Counter, Gauge, Set, Timed},
    distribution::Distribution,
    publish::{Flush, Publisher},
    top::Top,
};

/// The values of one interval.
#[derive(Debug, Default)]
pub struct Interval {
    /// As the tables gave them, one of each.
    own: Vec<Cells>,
    counters: Merged<Counter>,
    gauges: Merged<Gauge>,
    distributions: Merged<Distribution>,
    sets: Merged<Set>,
    timed: HashMap<(Arc<Context>, i64), f64>,
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
    /// Adds what a table collected.
    pub fn absorb(&mut self, cells: Cells) {
        if !cells.is_empty() || !cells.folded.is_empty() {
            self.own.push(cells);
        }
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
        match value {
            PartialValue::Counter(more) => {
                let counter = self.counters.value(context).0;
                counter.total += more;
                counter.samples = counter.samples.saturating_add(1);
            }
            PartialValue::Gauge(last) => {
                let (gauge, known) = self.gauges.value(context);
                if !(late && known) {
                    gauge.last = last;
                }
            }
            PartialValue::Digest(digest) => self.distributions.value(context).0.import_digest(&digest),
            PartialValue::Relative(sketch) => self.distributions.value(context).0.import_relative(&sketch),
            PartialValue::Set(members) => self.sets.value(context).0.members.merge(&members),
        }
        Ok(())
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

    /// The names with the most samples, the most contexts, and the most samples that found no room.
    pub fn top(&self, most: usize) -> Top {
        Top::of(&self.own, most)
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
                if theirs.order >= mine.order {
                    *mine = theirs;
                }
            });
            self.distributions.absorb(std::mem::take(&mut cells.distributions), |mine, theirs| mine.absorb(&theirs));
            self.sets.absorb(std::mem::take(&mut cells.sets), |mine, theirs| mine.members.merge(&theirs.members));
            for Timed { context, second, value } in std::mem::take(&mut cells.timed) {
                let counts = context.kind == Kind::Counter;
                let total = self.timed.entry((context, second)).or_default();
                *total = if counts { *total + value } else { value };
            }
        }
        let mut publisher = Publisher::new(publishing, stamp, timestamp, interval, out);
        let joined = if publishing.forwards { Vec::new() } else { self.join_scopes() };
        self.counters.cells.into_iter().for_each(|cell| publisher.counter(cell));
        self.gauges.cells.into_iter().for_each(|cell| publisher.gauge(cell));
        for (index, cell) in self.distributions.cells.into_iter().enumerate() {
            publisher.distribution(cell, joined.get(index).copied().unwrap_or_default());
        }
        self.sets.cells.into_iter().for_each(|cell| publisher.set(cell));
        self.timed.into_iter().for_each(|((context, second), value)| publisher.timed(&context, second, value));
        publisher.end();
    }

    /// Gives the digest of each global distribution to its mixed twin, where there is one: while a scope rule reaches
    /// a fleet pod by pod, one series comes in both scopes, and its percentiles are still those of the whole fleet.
    /// Tells for each distribution whether its percentiles are now the twin's to publish.
    fn join_scopes(&mut self) -> Vec<bool> {
        let mut joined = Vec::new();
        for global in 0..self.distributions.cells.len() {
            let context = &self.distributions.cells[global].context;
            if context.scope != Scope::Global {
                continue;
            }
            let mixed = Context { scope: Scope::Mixed, ..(**context).clone() };
            let Some(mixed) = self.distributions.find(&mixed) else { continue };
            let global_value = std::mem::take(&mut self.distributions.cells[global].value);
            self.distributions.cells[mixed].value.import(&global_value);
            self.distributions.cells[global].value = global_value;
            joined.resize(self.distributions.cells.len(), false);
            joined[global] = true;
        }
        joined
    }
}

/// Cells with an index by context.
#[derive(Debug)]
struct Merged<T> {
    cells: Vec<Cell<T>>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl<T> Default for Merged<T> {
    fn default() -> Self {
        Self { cells: Vec::new(), index: HashTable::new(), hasher: RandomState::new() }
    }
}

impl<T: Default> Merged<T> {
    fn find(&self, context: &Context) -> Option<usize> {
        let found = self.index.find(self.hasher.hash_one(context), |at| *self.cells[*at as usize].context == *context);
        found.map(|at| *at as usize)
    }

    /// The value of a context, a new one if there is none, and whether there was one.
    fn value(&mut self, context: Context) -> (&mut T, bool) {
        let (at, known) = match self.find(&context) {
            Some(at) => (at, true),
            None => (self.push(Cell { context: Arc::new(context), value: T::default() }), false),
        };
        (&mut self.cells[at].value, known)
    }

    /// Adds the cells of a table; of a context that is there already, `merge` decides.
    fn absorb(&mut self, cells: Vec<Cell<T>>, mut merge: impl FnMut(&mut T, T)) {
        self.index.reserve(cells.len(), hash(&self.cells, &self.hasher));
        self.cells.reserve(cells.len());
        for cell in cells {
            match self.find(&cell.context) {
                Some(at) => merge(&mut self.cells[at].value, cell.value),
                None => {
                    self.push(cell);
                }
            }
        }
    }

    fn push(&mut self, cell: Cell<T>) -> usize {
        let at = self.cells.len();
        let hashed = self.hasher.hash_one(&*cell.context);
        self.cells.push(cell);
        let index = u32::try_from(at).expect("memory for four billion contexts is never granted");
        self.index.insert_unique(hashed, index, hash(&self.cells, &self.hasher));
        at
    }
}

fn hash<T>(cells: &[Cell<T>], hasher: &RandomState) -> impl Fn(&u32) -> u64 {
    |at| hasher.hash_one(&*cells[*at as usize].context)
}
