//! One interval of an instance: what its tables collected, and what other instances sent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hashbrown::HashTable;
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Stamp};

use crate::{
    Publishing, Seed,
    cells::{Cell, Cells, Counter, Gauge, Set, Timed},
    distribution::Distribution,
    fetch::fetch,
    fingerprint::Named,
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
    /// One with no value. All tables that it will [`absorb`](Self::absorb) are of this seed.
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            own: Vec::new(),
            counters: Merged::default(),
            gauges: Merged::default(),
            distributions: Merged::default(),
            sets: Merged::default(),
            timed: HashMap::new(),
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
                let counter = self.counters.value(&self.seed, context).0;
                counter.total += more;
                counter.samples = counter.samples.saturating_add(1);
            }
            PartialValue::Gauge(last) => {
                let (gauge, known) = self.gauges.value(&self.seed, context);
                if !(late && known) {
                    gauge.last = last;
                }
            }
            PartialValue::Digest(digest) => self.distributions.value(&self.seed, context).0.import_digest(digest),
            PartialValue::Relative(sketch) => self.distributions.value(&self.seed, context).0.import_relative(&sketch),
            PartialValue::Set(members) => self.sets.value(&self.seed, context).0.members.merge(&members),
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
        visit(self.counters.cells, true, |cell| publisher.counter(cell));
        visit(self.gauges.cells, true, |cell| publisher.gauge(cell));
        let mut joined = joined.into_iter();
        visit(self.distributions.cells, true, |cell| publisher.distribution(cell, joined.next().unwrap_or_default()));
        visit(self.sets.cells, true, |cell| publisher.set(cell));
        self.timed.into_iter().for_each(|((context, second), value)| publisher.timed(&context, second, value));
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

/// Cells with an index by context.
#[derive(Debug)]
struct Merged<T> {
    cells: Vec<Cell<T>>,
    index: HashTable<u32>,
}

impl<T> Default for Merged<T> {
    fn default() -> Self {
        Self { cells: Vec::new(), index: HashTable::new() }
    }
}

impl<T: Default> Merged<T> {
    fn find(&self, hash: u64, context: &Context) -> Option<usize> {
        let same = |at: &u32| {
            let named = &self.cells[*at as usize].named;
            named.hash == hash && named.context == *context
        };
        self.index.find(hash, same).map(|at| *at as usize)
    }

    /// The value of a context, a new one if there is none, and whether there was one.
    fn value(&mut self, seed: &Seed, context: Context) -> (&mut T, bool) {
        let hash = seed.hash(&context);
        let (at, known) = match self.find(hash, &context) {
            Some(at) => (at, true),
            None => (
                self.push(Cell { named: Arc::new(Named { hash, relative: false, context }), value: T::default() }),
                false,
            ),
        };
        (&mut self.cells[at].value, known)
    }

    /// Adds the cells of a table; of a context that is there already, `merge` decides.
    fn absorb(&mut self, cells: Vec<Cell<T>>, mut merge: impl FnMut(&mut T, T)) {
        self.index.reserve(cells.len(), hash(&self.cells));
        self.cells.reserve(cells.len());
        visit(cells, false, |cell| match self.find(cell.named.hash, &cell.named.context) {
            Some(at) => merge(&mut self.cells[at].value, cell.value),
            None => {
                self.push(cell);
            }
        });
    }

    fn push(&mut self, cell: Cell<T>) -> usize {
        let (at, hashed) = (self.cells.len(), cell.named.hash);
        self.cells.push(cell);
        let index = u32::try_from(at).expect("memory for four billion contexts is never granted");
        self.index.insert_unique(hashed, index, hash(&self.cells));
        at
    }
}

fn hash<T>(cells: &[Cell<T>]) -> impl Fn(&u32) -> u64 {
    |at| cells[*at as usize].named.hash
}

/// Cells whose contexts are brought into the cache at once.
const FETCHED: usize = 64;

/// Visits cells in order. Their contexts, and the `texts` of these if they are wanted too, are brought into the cache for
/// many at once.
fn visit<T>(cells: Vec<Cell<T>>, texts: bool, mut each: impl FnMut(Cell<T>)) {
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
