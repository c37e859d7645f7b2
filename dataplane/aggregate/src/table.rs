//! One reader's contexts, and their values of the interval under way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use veneur_metric::{Context, Kind, Sample, Scope, Tags, Value};
use veneur_sketch::HyperLogLog;

use crate::{
    Rules,
    budget::Budget,
    cells::{Cells, Room, Timed, Touched, cell_bytes},
    fingerprint::{Fingerprint, Named, Seed},
    known::{Known, SLOT_BYTES},
    lists::Lists,
    names::Names,
};

/// Samples inserted at once: enough that memory answers many questions at a time, few enough to stay in the first cache.
pub const BATCH: usize = 64;

/// Seconds back that a client may place a value of its own time (protocol v1.3), and ahead, for its clock.
const OLDEST_S: u64 = 3_600;
const NEWEST_S: u64 = 10;

/// Who sent is not known.
const UNKNOWN_ORIGIN: u32 = 0;

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
    names: Names,
    cells: Cells,
    /// The interval under way.
    interval: u32,
    /// The first interval whose contexts were formed by the rules of now.
    formed_since: u32,
    /// Contexts of it that the budget has counted.
    counted: usize,
    /// New contexts of the interval, by origin.
    by_origin: BTreeMap<u32, usize>,
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
    fn note(&mut self, touched: Touched) {
        self.aggregated += u64::from(touched == Touched::Fits);
        self.overflow += u64::from(touched != Touched::Fits);
    }

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
            names: Names::new(seed),
            interval: 1,
            formed_since: 1,
            counted: 0,
            by_origin: BTreeMap::new(),
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
        let mut fingerprints = [Fingerprint::NONE; BATCH];
        let by_origin = self.rules.by_origin;
        let mut before = Fingerprint::NONE;
        for (index, (sample, fingerprint)) in batch.iter().zip(&mut fingerprints).enumerate() {
            if !sample.packed || index == 0 {
                before = Fingerprint::of(&self.seed, sample, by_origin);
            }
            *fingerprint = before;
        }
        let fingerprints = &fingerprints[..batch.len()];
        let slots = self.known.look_up(fingerprints, self.interval);
        let mut inserted = Inserted::default();
        let reading = Reading { now_s, origin, read: &read };
        let mut lists = Lists::new();
        for (index, ((sample, fingerprint), slot)) in batch.iter().zip(fingerprints).zip(slots).enumerate() {
            let place = match slot {
                Some(slot) if slot.seen == self.interval && sample.timestamp.is_none() => Place::Cell(slot.cell),
                _ => self.place(sample, *fingerprint, &reading, &mut inserted),
            };
            match place {
                Place::Cell(cell) => lists.add(sample.kind, index, cell),
                Place::Overflow(cell) => self.touch_overflow(sample, cell, &mut inserted),
                Place::Timed(at) => inserted.note(self.cells.touch_timed(at, sample, self.budget.order(1))),
            }
        }
        self.touch(batch, &lists, &mut inserted);
        self.sweep();
        inserted
    }

    /// The values since the last call. Takes no time to speak of, however many there are.
    pub fn take(&mut self) -> Cells {
        self.budget.give_back_contexts(std::mem::take(&mut self.counted));
        self.interval += 1;
        self.by_origin.clear();
        self.timed.clear();
        self.overflow = [None; KINDS];
        self.known.begin_sweep();
        let next = self.cells.successor();
        std::mem::replace(&mut self.cells, next)
    }

    /// Forms contexts by other rules from now on, or anew by the same, each when its spelling comes next: this takes no
    /// time to speak of, however many are known. What was formed in this interval stays.
    pub fn follow(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        self.interval += 1;
        self.formed_since = self.interval;
    }

    /// Spellings remembered.
    pub fn spellings(&self) -> usize {
        self.known.len()
    }

    /// Adds samples to their values.
    fn touch(&mut self, batch: &[Sample<'_>], lists: &Lists, inserted: &mut Inserted) {
        for entry in lists.of(Kind::Counter) {
            inserted.note(self.cells.count(entry.cell, &batch[entry.sample()]));
        }
        let gauges = lists.of(Kind::Gauge);
        if !gauges.is_empty() {
            let mut order = self.budget.order(u32::try_from(gauges.len()).expect("a batch is small"));
            for entry in gauges {
                inserted.note(self.cells.set_gauge(entry.cell, &batch[entry.sample()], order));
                order = order.wrapping_add(1);
            }
        }
        let distributions = lists.of(Kind::Timer);
        self.cells.fetch_distributions(distributions);
        for entry in distributions {
            let sample = &batch[entry.sample()];
            match self.cells.observe(entry.cell, sample, Room::Budget) {
                Touched::NoRoom => self.fold(sample, inserted),
                touched => inserted.note(touched),
            }
        }
        let sets = lists.of(Kind::Set);
        let mut hashes = [0; BATCH];
        hashes.iter_mut().zip(sets).for_each(|(hash, entry)| *hash = member(&batch[entry.sample()]));
        self.cells.fetch_sets(sets, &hashes);
        for (entry, hash) in sets.iter().zip(hashes) {
            match self.cells.add_member(entry.cell, hash, Room::Budget) {
                Touched::NoRoom => self.fold(&batch[entry.sample()], inserted),
                touched => inserted.note(touched),
            }
        }
    }

    /// Adds a sample to the overflow series of its kind, which always has room: there is one for each kind.
    #[cold]
    fn touch_overflow(&mut self, sample: &Sample<'_>, cell: u32, inserted: &mut Inserted) {
        inserted.note(match sample.kind {
            Kind::Counter => self.cells.count(cell, sample),
            Kind::Gauge => self.cells.set_gauge(cell, sample, self.budget.order(1)),
            Kind::Histogram | Kind::Timer => self.cells.observe(cell, sample, Room::Always),
            Kind::Set => self.cells.add_member(cell, member(sample), Room::Always),
        });
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
        }
        let of_origin = self.contexts_of(reading.origin);
        let cell_bytes = cell_bytes(sample.kind);
        if let Some((slot, named)) = self.known.find(fingerprint)
            && slot.seen >= self.formed_since
        {
            if slot.seen == self.interval {
                return Place::Cell(slot.cell);
            }
            if !self.budget.take_context(of_origin, cell_bytes) {
                return Place::Overflow(self.overflow_cell(sample, inserted));
            }
            let cell = self.cells.open(named, sample.kind);
            (slot.seen, slot.cell) = (self.interval, cell);
            self.opened(reading.origin, cell_bytes);
            return Place::Cell(cell);
        }
        let mut context = self.context(sample, reading);
        if !self.budget.take_context(of_origin, cell_bytes + names_bytes(&context)) {
            return Place::Overflow(self.overflow_cell(sample, inserted));
        }
        context.name = self.names.one(context.name);
        let relative = self.rules.relative(&context.name, sample.kind);
        let named = Arc::new(Named::new(&self.seed, context, relative));
        let cell = self.cells.open(Arc::clone(&named), sample.kind);
        let before = self.known.insert(fingerprint, self.interval, cell, named);
        self.budget.give_back_bytes(before);
        self.opened(reading.origin, cell_bytes);
        Place::Cell(cell)
    }

    /// Counts a context that the budget has counted.
    fn opened(&mut self, origin: u32, bytes: usize) {
        self.counted += 1;
        self.cells.charged(bytes);
        if origin != UNKNOWN_ORIGIN {
            *self.by_origin.entry(origin).or_default() += 1;
        }
    }

    /// Contexts of an origin in this interval. `None`: it is not known, and may be everybody.
    fn contexts_of(&self, origin: u32) -> Option<usize> {
        (origin != UNKNOWN_ORIGIN).then(|| self.by_origin.get(&origin).copied().unwrap_or_default())
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
        let of_origin = self.contexts_of(reading.origin);
        let context = self.context(sample, reading);
        let bytes = names_bytes(&context) + 2 * size_of::<Timed>();
        if !self.budget.take_context(of_origin, bytes) {
            return Place::Overflow(self.overflow_cell(sample, inserted));
        }
        self.opened(reading.origin, bytes);
        let at = u32::try_from(self.cells.timed.len()).expect("the budget forbids so many");
        self.cells.timed.push(Timed { context: Arc::new(context), second, value: 0.0, samples: 0, order: 0 });
        self.timed.insert((fingerprint, second), at);
        Place::Timed(at)
    }

    /// Adds a sample to the overflow series after all: its value has no room to grow.
    #[cold]
    fn fold(&mut self, sample: &Sample<'_>, inserted: &mut Inserted) {
        let cell = self.overflow_cell(sample, inserted);
        self.touch_overflow(sample, cell, inserted);
    }

    /// One series for each kind takes what finds no room. It is this instance's own, whatever scope was asked for.
    fn overflow_cell(&mut self, sample: &Sample<'_>, inserted: &mut Inserted) -> u32 {
        inserted.folded += 1;
        self.looked_at += 1;
        if self.looked_at >= LOOKED_AT {
            self.looked_at = 0;
            self.cells.folded.add(&String::from_utf8_lossy(sample.name), LOOKED_AT.into());
        }
        let open = &mut self.overflow[sample.kind as usize];
        let named = || Arc::new(Named::new(&self.seed, overflow_context(sample.kind), false));
        *open.get_or_insert_with(|| self.cells.open(named(), sample.kind))
    }

    fn context(&self, sample: &Sample<'_>, reading: &Reading<'_>) -> Context {
        let (tags, scope) = (reading.read)(sample);
        self.rules.context(&String::from_utf8_lossy(sample.name), sample.kind, scope, tags)
    }

    #[inline]
    fn sweep(&mut self) {
        let Self { known, budget, rules, interval, .. } = self;
        let oldest = interval.saturating_sub(rules.idle_intervals.saturating_add(1));
        known.sweep(oldest, |bytes| budget.give_back_bytes(bytes));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.budget.give_back_contexts(self.counted);
        self.budget.give_back_bytes(self.known.names_bytes());
    }
}

/// The hash of a set's member.
fn member(sample: &Sample<'_>) -> u64 {
    match sample.value {
        Value::Member(member) => HyperLogLog::hash(member),
        Value::Number(_) => unreachable!("the parser reads members where a set is meant"),
    }
}

/// The series that takes samples without room.
pub(crate) fn overflow_context(kind: Kind) -> Context {
    let tags = [format!("metric_type:{kind}"), String::from("veneur_overflow:true")];
    let scope = if matches!(kind, Kind::Counter | Kind::Gauge) { Scope::Mixed } else { Scope::Local };
    Context { name: "veneur.overflow".into(), tags: Tags::new(tags.iter().map(String::as_str)), kind, scope }
}

/// What a known spelling costs beside its values: the slot, the context, the texts, and what the allocator adds.
pub(crate) fn names_bytes(context: &Context) -> usize {
    const REFERENCES: usize = 2 * size_of::<usize>();
    const ALLOCATIONS: usize = 3 * 8;
    let texts = context.name.len() + context.tags.joined().len();
    SLOT_BYTES + size_of::<Named>() + texts + 3 * REFERENCES + ALLOCATIONS
}
