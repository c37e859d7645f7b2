//! The values of one interval, one list for each shape of value.
//!
//! Lists of like values are small and close together: a counter takes 24 bytes. A table hands its lists over whole at
//! the end of an interval, which moves three words each, however many values there are.

use std::sync::Arc;

use veneur_metric::{Context, Kind, Sample, Value};
use veneur_sketch::HyperLogLog;

use crate::{budget::Budget, distribution::Distribution, fetch::fetch, fingerprint::Named, heavy::Heavy, lists::Entry};

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

/// A value and its context, which is not asked for before the flush.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell<T> {
    pub(crate) value: T,
    pub(crate) named: Arc<Named>,
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
    /// When it was set, counted in all gauges set: of one gauge in two spellings or tables, the later wins.
    pub(crate) order: u32,
}

/// Whether a gauge was set after another, or with it, fewer than 2^31 gauges apart.
pub(crate) fn is_later(order: u32, than: u32) -> bool {
    order.wrapping_sub(than) < 1 << 31
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
    pub(crate) samples: u32,
    /// As a gauge's.
    pub(crate) order: u32,
}

/// What became of a sample at its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touched {
    Fits,
    /// The value cannot hold it, and is what it was.
    Overflows,
    /// The value would have to grow, and may not.
    NoRoom,
}

/// What a value may grow by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    /// What the budget has left.
    Budget,
    /// Whatever it needs.
    Always,
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

    /// A new cell for a context of this kind, and its index in the list of the kind.
    pub(crate) fn open(&mut self, named: Arc<Named>, kind: Kind) -> u32 {
        match kind {
            Kind::Counter => push(&mut self.counters, Cell { named, value: Counter::default() }),
            Kind::Gauge => push(&mut self.gauges, Cell { named, value: Gauge::default() }),
            Kind::Histogram | Kind::Timer => {
                let value = if named.relative { Distribution::relative() } else { Distribution::default() };
                push(&mut self.distributions, Cell { value, named })
            }
            Kind::Set => push(&mut self.sets, Cell { named, value: Set::default() }),
        }
    }

    /// Adds an increment to a counter.
    #[inline]
    pub(crate) fn count(&mut self, at: u32, sample: &Sample<'_>) -> Touched {
        let Value::Number(value) = sample.value else { return Touched::Overflows };
        let counter = &mut self.counters[at as usize].value;
        let total = counter.total + value / sample.rate;
        if !total.is_finite() {
            return Touched::Overflows;
        }
        counter.total = total;
        counter.samples = counter.samples.saturating_add(1);
        Touched::Fits
    }

    /// Sets a gauge.
    #[inline]
    pub(crate) fn set_gauge(&mut self, at: u32, sample: &Sample<'_>, order: u32) -> Touched {
        let Value::Number(value) = sample.value else { return Touched::Overflows };
        let gauge = &mut self.gauges[at as usize].value;
        *gauge = Gauge { last: value, order, samples: gauge.samples.saturating_add(1) };
        Touched::Fits
    }

    /// Adds a value to a histogram or timer.
    #[inline]
    pub(crate) fn observe(&mut self, at: u32, sample: &Sample<'_>, room: Room) -> Touched {
        let Value::Number(value) = sample.value else { return Touched::Overflows };
        let (distribution, weight) = (&mut self.distributions[at as usize].value, 1.0 / sample.rate);
        let growth = distribution.grows(value, weight);
        if growth > 0 && !self.affords(growth, room) {
            return Touched::NoRoom;
        }
        let fits = self.distributions[at as usize].value.insert(value, weight);
        if fits { Touched::Fits } else { Touched::Overflows }
    }

    /// Adds a member, by its hash, to a set.
    #[inline]
    pub(crate) fn add_member(&mut self, at: u32, hash: u64, room: Room) -> Touched {
        let growth = self.sets[at as usize].value.members.grows();
        if growth > 0 && !self.affords(growth, room) {
            return Touched::NoRoom;
        }
        let set = &mut self.sets[at as usize].value;
        set.members.insert_hashed(hash);
        set.samples = set.samples.saturating_add(1);
        Touched::Fits
    }

    /// Adds to the value of a second.
    pub(crate) fn touch_timed(&mut self, at: u32, sample: &Sample<'_>, order: u32) -> Touched {
        let Value::Number(value) = sample.value else { return Touched::Overflows };
        let timed = &mut self.timed[at as usize];
        let value = if sample.kind == Kind::Counter { timed.value + value / sample.rate } else { value };
        if !value.is_finite() {
            return Touched::Overflows;
        }
        (timed.value, timed.order, timed.samples) = (value, order, timed.samples.saturating_add(1));
        Touched::Fits
    }

    /// Brings into the cache what these samples will change, first all distributions and then the ends of their values.
    #[inline]
    pub(crate) fn fetch_distributions(&self, entries: &[Entry]) {
        let of = |entry: &Entry| &self.distributions[entry.cell as usize].value;
        fetch(entries.iter().map(|entry| of(entry).samples.into()));
        fetch(entries.iter().map(|entry| of(entry).newest()));
    }

    /// The same for sets, whose members have these hashes.
    #[inline]
    pub(crate) fn fetch_sets(&self, entries: &[Entry], hashes: &[u64]) {
        let of = |entry: &Entry| &self.sets[entry.cell as usize].value;
        fetch(entries.iter().map(|entry| of(entry).samples.into()));
        fetch(entries.iter().zip(hashes).map(|(entry, hash)| of(entry).members.peek(*hash).into()));
    }

    #[cold]
    fn affords(&mut self, growth: usize, room: Room) -> bool {
        match room {
            Room::Always => true,
            Room::Budget => {
                let fits = self.budget.has_room(growth);
                if fits {
                    self.charge(growth);
                }
                fits
            }
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
