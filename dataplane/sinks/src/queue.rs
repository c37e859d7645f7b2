//! What waits for one sink, and the account of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::{Encoded, Items, Payload};

/// Bounds of what may wait for one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes held in memory; beyond, the oldest go first.
    pub max_bytes: usize,
    /// Longest time items wait for a backend before they are of no use.
    pub max_age: Duration,
}

/// Where the points, events and checks offered to one sink are. One moment's truth: `produced = published + held + dropped`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkLedger {
    /// Offered to the sink.
    pub produced: u64,
    /// The backend confirmed them.
    pub published: u64,
    /// Waiting, or being sent.
    pub held: u64,
    /// Lost, by [`Reason::as_str`]. Every reason is present.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// Why points, events and checks did not reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// More bytes waited than [`Limits::max_bytes`].
    QueueFull,
    /// They waited longer than [`Limits::max_age`].
    Expired,
    /// The backend refused them.
    Rejected,
    /// The sink has no form for them.
    Unencodable,
    /// The configuration says that this sink leaves them out.
    Filtered,
    /// The process ended first.
    Shutdown,
}

impl Reason {
    /// Every reason, for registering counters.
    pub const ALL: [Self; 6] =
        [Self::QueueFull, Self::Expired, Self::Rejected, Self::Unencodable, Self::Filtered, Self::Shutdown];

    /// The value of a metric's `reason` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Unencodable => "unencodable",
            Self::Filtered => "filtered",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Items offered within this time may share a request.
const COALESCE: Duration = Duration::from_secs(1);

/// First in, first out, bounded. At most one entry is out, with the worker; it counts as held, and for the bytes.
#[derive(Debug)]
pub(crate) struct Queue {
    limits: Limits,
    waiting: VecDeque<Entry>,
    /// Of everything that waits or is out.
    held: Size,
    out: Size,
    closed: bool,
    produced: u64,
    published: u64,
    dropped: BTreeMap<Reason, u64>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) since: Instant,
    pub(crate) content: Content,
    size: Size,
}

#[derive(Debug)]
pub(crate) enum Content {
    Items(Items),
    Encoded(Payload),
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    items: u64,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            held: Size::default(),
            out: Size::default(),
            closed: false,
            produced: 0,
            published: 0,
            dropped: BTreeMap::new(),
        }
    }

    pub(crate) fn offer(&mut self, items: Items, now: Instant) {
        let entry = Entry::new(now, Content::Items(items));
        self.produced += entry.size.items;
        if self.closed {
            self.count(Reason::Shutdown, entry.size);
            return;
        }
        self.held.add(entry.size);
        self.waiting.push_back(entry);
        self.expire(now);
        self.shrink();
    }

    /// The oldest entry, for the worker. What becomes of it has to be told by one of the next four.
    ///
    /// Items offered in quick succession come as one: many small requests would take longer than a large one.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Entry> {
        self.expire(now);
        let mut entry = self.waiting.pop_front()?;
        if let Content::Items(items) = &mut entry.content {
            let soon = |other: &mut Entry| other.since.duration_since(entry.since) <= COALESCE && other.is_items();
            while let Some(Entry { content: Content::Items(more), size, .. }) = self.waiting.pop_front_if(soon) {
                items.extend(more);
                entry.size.add(size);
            }
        }
        self.out = entry.size;
        Some(entry)
    }

    pub(crate) fn published(&mut self) {
        self.published += self.settle().items;
    }

    pub(crate) fn rejected(&mut self) {
        let size = self.settle();
        self.count(Reason::Rejected, size);
    }

    pub(crate) fn put_back(&mut self, entry: Entry, now: Instant) {
        self.settle();
        self.held.add(entry.size);
        self.waiting.push_front(entry);
        self.expire(now);
        self.shrink();
    }

    /// The items that are out became these payloads, which take their place.
    pub(crate) fn encoded(&mut self, encoded: Encoded, since: Instant) {
        let Encoded { payloads, filtered } = encoded;
        let mut uncarried = self.settle();
        for payload in payloads.into_iter().rev() {
            let entry = Entry::new(since, Content::Encoded(payload));
            uncarried.items = uncarried.items.saturating_sub(entry.size.items);
            self.held.add(entry.size);
            self.waiting.push_front(entry);
        }
        let filtered = uncarried.items.min(filtered as u64);
        self.count(Reason::Filtered, Size { items: filtered, bytes: 0 });
        self.count(Reason::Unencodable, Size { items: uncarried.items - filtered, bytes: 0 });
        self.shrink();
    }

    /// Nothing more is sent: what is held is lost, and so is what is offered from now on.
    pub(crate) fn close(&mut self) {
        let lost = std::mem::take(&mut self.held);
        self.count(Reason::Shutdown, lost);
        self.waiting.clear();
        self.out = Size::default();
        self.closed = true;
    }

    pub(crate) fn ledger(&self) -> SinkLedger {
        let dropped = |reason: Reason| (reason.as_str(), self.dropped.get(&reason).copied().unwrap_or_default());
        SinkLedger {
            produced: self.produced,
            published: self.published,
            held: self.held.items,
            dropped: Reason::ALL.map(dropped).into(),
        }
    }

    fn settle(&mut self) -> Size {
        let size = std::mem::take(&mut self.out);
        self.held.remove(size);
        size
    }

    fn expire(&mut self, now: Instant) {
        let max_age = self.limits.max_age;
        while let Some(entry) = self.waiting.pop_front_if(|entry| now.duration_since(entry.since) > max_age) {
            self.held.remove(entry.size);
            self.count(Reason::Expired, entry.size);
        }
    }

    fn shrink(&mut self) {
        while self.held.bytes > self.limits.max_bytes
            && let Some(entry) = self.waiting.pop_front()
        {
            self.held.remove(entry.size);
            self.count(Reason::QueueFull, entry.size);
        }
    }

    fn count(&mut self, reason: Reason, lost: Size) {
        *self.dropped.entry(reason).or_default() += lost.items;
    }
}

impl Entry {
    pub(crate) fn new(since: Instant, content: Content) -> Self {
        let size = match &content {
            Content::Encoded(payload) => Size { items: payload.items as u64, bytes: payload.body.len() },
            Content::Items(items) => Size { items: items.len() as u64, bytes: items.bytes() },
        };
        Self { since, content, size }
    }

    fn is_items(&self) -> bool {
        matches!(self.content, Content::Items(_))
    }
}

impl Size {
    fn add(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Self) {
        self.items -= other.items;
        self.bytes -= other.bytes;
    }
}
