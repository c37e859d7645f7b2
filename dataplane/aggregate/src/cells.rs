//! The values of one interval, one list for each shape of value.
//!
//! Lists of like values are small and close together: a counter takes 24 bytes. A table hands its lists over whole at
//! the end of an interval, which moves three words each, however many values there are.

use std::sync::Arc;

use veneur_metric::{Context, Kind};
use veneur_sketch::HyperLogLog;

use crate::{budget::Budget, distribution::Distribution, heavy::Heavy};

/// The values of one interval, as one table collected them.
#[derive(Debug)]
pub struct Cells {
    pub(crate) counters: Vec<Cell<Counter>>,
    pub(crate) gauges: Vec<Cell<Gauge>>,
    pub(crate) distributions: Vec<Cell<Distribution>>,
    pub(crate) sets: Vec<Cell<Set>>,
    /// Counters and gauges with a second of their own.
    pub(crate) timed: Vec<Timed>,
    /// Names whose samples found no room, the heaviest of them.
    pub(crate) folded: Heavy,
    bytes: usize,
    budget: Arc<Budget>,
}

/// A context and its value.
#[derive(Debug)]
pub(crate) struct Cell<T> {
    pub(crate) context: Arc<Context>,
    pub(crate) value: T,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counter {
    pub(crate) total: f64,
    pub(crate) samples: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauge {
    pub(crate) last: f64,
    pub(crate) samples: u32,
    /// When it was set, counted in samples of the interval: of two spellings of one gauge, the later wins.
    pub(crate) order: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) members: HyperLogLog,
    pub(crate) samples: u32,
}

/// A counter or gauge at a second that the client named.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) context: Arc<Context>,
    /// Unix seconds.
    pub(crate) second: i64,
    pub(crate) value: f64,
}

impl Cells {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            counters: Vec::new(),
            gauges: Vec::new(),
            distributions: Vec::new(),
            sets: Vec::new(),
            timed: Vec::new(),
            folded: Heavy::default(),
            bytes: 0,
            budget,
        }
    }

    /// Empty lists with room for as much as these hold: the next interval will be much like this one.
    pub(crate) fn successor(&self) -> Self {
        let mut next = Self::new(Arc::clone(&self.budget));
        next.counters.reserve(self.counters.len());
        next.gauges.reserve(self.gauges.len());
        next.distributions.reserve(self.distributions.len());
        next.sets.reserve(self.sets.len());
        next
    }

    /// A new cell for a context, and its index in the list of its kind.
    ///
    /// `relative`: a distribution is to be kept in a sketch of relative error.
    pub(crate) fn open(&mut self, context: Arc<Context>, relative: bool) -> u32 {
        match context.kind {
            Kind::Counter => push(&mut self.counters, Cell { context, value: Counter::default() }),
            Kind::Gauge => push(&mut self.gauges, Cell { context, value: Gauge::default() }),
            Kind::Histogram | Kind::Timer => {
                let value = if relative { Distribution::relative() } else { Distribution::default() };
                push(&mut self.distributions, Cell { context, value })
            }
            Kind::Set => push(&mut self.sets, Cell { context, value: Set::default() }),
        }
    }

    /// Contexts held; one with several spellings may count several times.
    pub fn len(&self) -> usize {
        self.counters.len() + self.gauges.len() + self.distributions.len() + self.sets.len() + self.timed.len()
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Charges the budget for room that values took; given back when these cells are gone.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.take_bytes(bytes);
    }

    /// Takes over the charge of bytes that the budget has counted already.
    pub(crate) fn charged(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

/// What a cell of this kind takes at first, with the slack of a growing list.
pub(crate) fn cell_bytes(kind: Kind) -> usize {
    let cell = match kind {
        Kind::Counter => size_of::<Cell<Counter>>(),
        Kind::Gauge => size_of::<Cell<Gauge>>(),
        Kind::Histogram | Kind::Timer => size_of::<Cell<Distribution>>(),
        Kind::Set => size_of::<Cell<Set>>(),
    };
    cell * 3 / 2
}

fn push<T>(cells: &mut Vec<Cell<T>>, cell: Cell<T>) -> u32 {
    let index = u32::try_from(cells.len()).expect("memory for four billion contexts is never granted");
    cells.push(cell);
    index
}

impl Drop for Cells {
    fn drop(&mut self) {
        self.budget.give_back_bytes(self.bytes);
    }
}
