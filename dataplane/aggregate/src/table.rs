//! One reader's contexts, and their values of the interval under way.

use std::{collections::HashMap, sync::Arc};

use veneur_metric::{Context, Kind, Sample, Scope, Tags, Value};

use crate::{
    Rules,
    budget::Budget,
    cells::{Cells, Timed, cell_bytes},
    fingerprint::{Fingerprint, Seed},
    known::{Known, Slot},
};

/// Samples inserted at once: enough that memory answers many questions at a time, few enough to stay in the first cache.
pub const BATCH: usize = 64;

/// Seconds back that a client may place a value of its own time (protocol v1.3), and ahead, for its clock.
const OLDEST_S: u64 = 3_600;
const NEWEST_S: u64 = 10;

/// One of so many samples without room is looked at for the heaviest names.
const LOOKED_AT: u32 = 16;

/// Contexts by spelling, and their values since the last [`Table::take`].
///
/// A known line is found by one look at its fingerprint, before any tag is sorted or any context
/// formed. Samples come in batches: first all are hashed, then all looked up, then all values touched, so that waiting
/// for memory is done once for many.
#[derive(Debug)]
pub struct Table {
    seed: Seed,
    rules: Arc<Rules>,
    budget: Arc<Budget>,
    known: Known,
    cells: Cells,
    /// The interval under way.
    interval: u32,
    /// Samples inserted in it.
    order: u32,
    /// Contexts of it that the budget has counted.
    counted: usize,
    /// New contexts of the interval, by origin.
    by_origin: HashMap<u32, usize>,
    timed: HashMap<(Fingerprint, i64), u32>,
    overflow: [Option<u32>; KINDS],
    looked_at: u32,
}

const KINDS: usize = 5;

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Samples that are in a value of the interval.
    pub aggregated: u64,
    /// Those of them that found no room, and are in the overflow series of their kind.
    pub folded: u64,
    /// Samples whose value does not fit: they are in no total.
    pub overflow: u64,
    /// Samples whose own time was ignored, as too old or ahead of time; they are aggregated as of now.
    pub untimely: u64,
}

impl Inserted {
    /// Adds another batch.
    pub fn add(&mut self, other: Self) {
        self.aggregated += other.aggregated;
        self.folded += other.folded;
        self.overflow += other.overflow;
        self.untimely += other.untimely;
    }
}

/// Where a sample's value is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Cell(u32),
    /// In the overflow series of its kind.
    Overflow(u32),
    Timed(u32),
}

/// What new contexts are made of.
struct Reading<'a> {
    now_s: u64,
    origin: u32,
    read: &'a dyn Fn(&Sample<'_>) -> (Tags, Scope),
}

impl Table {
    /// An empty table. Tables of one process share a budget.
    pub fn new(seed: Seed, rules: Arc<Rules>, budget: Arc<Budget>) -> Self {
        Self {
            seed,
            rules,
            cells: Cells::new(Arc::clone(&budget)),
            budget,
            known: Known::default(),
            interval: 1,
            order: 0,
            counted: 0,
            by_origin: HashMap::new(),
            timed: HashMap::new(),
            overflow: [None; KINDS],
            looked_at: 0,
        }
    }

    /// Adds observations, at most [`BATCH`] of them, all of one origin (0 where that is not known).
    ///
    /// `read` says what tags and scope a sample asks for, from its raw tag section (and its origin); it is asked only
    /// for spellings that are not known.
    pub fn insert(
        &mut self,
        batch: &[Sample<'_>],
        now_s: u64,
        origin: u32,
        read: impl Fn(&Sample<'_>) -> (Tags, Scope),
    ) -> Inserted {
        assert!(batch.len() <= BATCH, "batches have at most {BATCH} samples");
        let mut fingerprints = [Fingerprint::default(); BATCH];
        let by_origin = self.rules.by_origin;
        let mut before = Fingerprint::default();
        for (index, (sample, fingerprint)) in batch.iter().zip(&mut fingerprints).enumerate() {
            if !sample.packed || index == 0 {
                before = Fingerprint::of(&self.seed, sample, by_origin);
            }
            *fingerprint = before;
        }
        let mut inserted = Inserted::default();
        let mut places = [Place::Cell(0); BATCH];
        let reading = Reading { now_s, origin, read: &read };
        for ((sample, fingerprint), place) in batch.iter().zip(&fingerprints).zip(&mut places) {
            *place = match self.known.find(*fingerprint) {
                Some(slot) if slot.seen == self.interval && sample.timestamp.is_none() => Place::Cell(slot.cell),
                _ => self.place(sample, *fingerprint, &reading, &mut inserted),
            };
        }
        for (sample, place) in batch.iter().zip(places) {
            let fits = self.touch(sample, place, &mut inserted);
            inserted.aggregated += u64::from(fits);
            inserted.overflow += u64::from(!fits);
        }
        self.sweep();
        inserted
    }

    /// The values since the last call. Takes no time to speak of, however many there are.
    pub fn take(&mut self) -> Cells {
        self.budget.give_back_contexts(std::mem::take(&mut self.counted));
        self.interval += 1;
        self.order = 0;
        self.by_origin.clear();
        self.timed.clear();
        self.overflow = [None; KINDS];
        self.known.begin_sweep();
        let next = self.cells.successor();
        std::mem::replace(&mut self.cells, next)
    }

    /// Forms contexts by other rules from now on. What was formed in this interval stays.
    pub fn follow(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.budget.give_back_bytes(self.known.names_bytes());
        self.known.clear();
    }

    /// Spellings remembered.
    pub fn spellings(&self) -> usize {
        self.known.len()
    }

    /// Adds a sample to its value. False if it does not fit.
    #[inline]
    fn touch(&mut self, sample: &Sample<'_>, place: Place, inserted: &mut Inserted) -> bool {
        let Self { cells, order, budget, .. } = self;
        *order = order.wrapping_add(1);
        let at = match place {
            Place::Cell(at) | Place::Overflow(at) => at as usize,
            Place::Timed(at) => return touch_timed(&mut cells.timed[at as usize], sample),
        };
        match (sample.kind, sample.value) {
            (Kind::Counter, Value::Number(value)) => {
                let counter = &mut cells.counters[at].value;
                let total = counter.total + value / sample.rate;
                let fits = total.is_finite();
                if fits {
                    counter.total = total;
                    counter.samples = counter.samples.saturating_add(1);
                }
                fits
            }
            (Kind::Gauge, Value::Number(value)) => {
                let gauge = &mut cells.gauges[at].value;
                gauge.last = value;
                gauge.order = *order;
                gauge.samples = gauge.samples.saturating_add(1);
                true
            }
            (Kind::Histogram | Kind::Timer, Value::Number(value)) => {
                let weight = 1.0 / sample.rate;
                let growth = cells.distributions[at].value.grows(value, weight);
                if !afford(cells, budget, place, growth) {
                    return self.fold(sample, inserted);
                }
                cells.distributions[at].value.insert(value, weight)
            }
            (Kind::Set, Value::Member(member)) => {
                let growth = cells.sets[at].value.members.grows();
                if !afford(cells, budget, place, growth) {
                    return self.fold(sample, inserted);
                }
                let set = &mut cells.sets[at].value;
                set.members.insert(member);
                set.samples = set.samples.saturating_add(1);
                true
            }
            (_, Value::Number(_) | Value::Member(_)) => false,
        }
    }

    /// Where a sample goes whose value is not open yet in this interval, or that names a second of its own.
    #[cold]
    fn place(
        &mut self,
        sample: &Sample<'_>,
        fingerprint: Fingerprint,
        reading: &Reading<'_>,
        inserted: &mut Inserted,
    ) -> Place {
        if let Some(second) = sample.timestamp {
            let second = second.get();
            let timely = reading.now_s.saturating_sub(OLDEST_S)..=reading.now_s.saturating_add(NEWEST_S);
            if timely.contains(&second) {
                return self.place_timed(sample, fingerprint, second, reading, inserted);
            }
            inserted.untimely += 1;
            if let Some(slot) = self.known.find(fingerprint)
                && slot.seen == self.interval
            {
                return Place::Cell(slot.cell);
            }
        }
        let of_origin = self.by_origin.get(&reading.origin).copied().unwrap_or_default();
        let known = self.known.find(fingerprint).and_then(|slot| slot.context.clone());
        let is_known = known.is_some();
        let context = known.unwrap_or_else(|| Arc::new(self.context(sample, reading)));
        let names = if is_known { 0 } else { names_bytes(&context) };
        if !self.budget.take_context(of_origin, cell_bytes(context.kind) + names) {
            return self.place_overflow(sample, inserted);
        }
        self.counted += 1;
        self.cells.charged(cell_bytes(context.kind));
        *self.by_origin.entry(reading.origin).or_default() += 1;
        let relative = self.rules.relative(&context.name, context.kind);
        let cell = self.cells.open(Arc::clone(&context), relative);
        let seen = self.interval;
        match self.known.find(fingerprint) {
            Some(slot) => (slot.seen, slot.cell) = (seen, cell),
            None => self.known.insert(fingerprint, seen, cell, context),
        }
        Place::Cell(cell)
    }

    fn place_timed(
        &mut self,
        sample: &Sample<'_>,
        fingerprint: Fingerprint,
        second: u64,
        reading: &Reading<'_>,
        inserted: &mut Inserted,
    ) -> Place {
        let second = i64::try_from(second).unwrap_or(i64::MAX);
        if let Some(at) = self.timed.get(&(fingerprint, second)) {
            return Place::Timed(*at);
        }
        let of_origin = self.by_origin.get(&reading.origin).copied().unwrap_or_default();
        let context = self.context(sample, reading);
        let bytes = names_bytes(&context) + 2 * size_of::<Timed>();
        if !self.budget.take_context(of_origin, bytes) {
            return self.place_overflow(sample, inserted);
        }
        self.counted += 1;
        self.cells.charged(bytes);
        *self.by_origin.entry(reading.origin).or_default() += 1;
        let at = u32::try_from(self.cells.timed.len()).expect("the budget forbids so many");
        self.cells.timed.push(Timed { context: Arc::new(context), second, value: 0.0 });
        self.timed.insert((fingerprint, second), at);
        Place::Timed(at)
    }

    /// Adds a sample to the overflow series after all: its value has no room to grow.
    #[cold]
    fn fold(&mut self, sample: &Sample<'_>, inserted: &mut Inserted) -> bool {
        let place = self.place_overflow(sample, inserted);
        self.touch(sample, place, inserted)
    }

    /// One series for each kind takes what finds no room. It is this instance's own, whatever scope was asked for.
    fn place_overflow(&mut self, sample: &Sample<'_>, inserted: &mut Inserted) -> Place {
        inserted.folded += 1;
        self.looked_at += 1;
        if self.looked_at >= LOOKED_AT {
            self.looked_at = 0;
            self.cells.folded.add(&String::from_utf8_lossy(sample.name), LOOKED_AT.into());
        }
        let open = &mut self.overflow[sample.kind as usize];
        let at = *open.get_or_insert_with(|| self.cells.open(Arc::new(overflow_context(sample.kind)), false));
        Place::Overflow(at)
    }

    fn context(&self, sample: &Sample<'_>, reading: &Reading<'_>) -> Context {
        let (tags, scope) = (reading.read)(sample);
        self.rules.context(&String::from_utf8_lossy(sample.name), sample.kind, scope, tags)
    }

    #[inline]
    fn sweep(&mut self) {
        let Self { known, budget, rules, interval, .. } = self;
        let oldest = interval.saturating_sub(rules.idle_intervals.saturating_add(1));
        known.sweep(oldest, |slot| budget.give_back_bytes(slot.context.as_deref().map_or(0, names_bytes)));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.budget.give_back_contexts(self.counted);
        self.budget.give_back_bytes(self.known.names_bytes());
    }
}

/// Charges a value's growth, if there is room for it. The overflow series, one for each kind, always have room.
#[inline]
fn afford(cells: &mut Cells, budget: &Budget, place: Place, growth: usize) -> bool {
    if growth == 0 || !matches!(place, Place::Cell(_)) {
        return true;
    }
    let fits = budget.has_room(growth);
    if fits {
        cells.charge(growth);
    }
    fits
}

fn touch_timed(timed: &mut Timed, sample: &Sample<'_>) -> bool {
    let Value::Number(value) = sample.value else { return false };
    let value = if sample.kind == Kind::Counter { timed.value + value / sample.rate } else { value };
    if value.is_finite() {
        timed.value = value;
    }
    value.is_finite()
}

/// The series that takes samples without room.
fn overflow_context(kind: Kind) -> Context {
    let tags = [format!("metric_type:{kind}"), String::from("veneur_overflow:true")];
    let scope = if matches!(kind, Kind::Counter | Kind::Gauge) { Scope::Mixed } else { Scope::Local };
    Context { name: "veneur.overflow".into(), tags: Tags::new(tags.iter().map(String::as_str)), kind, scope }
}

/// What a known spelling costs beside its values: the slot, the context, the texts, and what the allocator adds.
pub(crate) fn names_bytes(context: &Context) -> usize {
    const REFERENCES: usize = 2 * size_of::<usize>();
    const ALLOCATIONS: usize = 3 * 8;
    let texts = context.name.len() + context.tags.joined().len();
    size_of::<Slot>() * 3 / 2 + size_of::<Context>() + texts + 3 * REFERENCES + ALLOCATIONS
}
