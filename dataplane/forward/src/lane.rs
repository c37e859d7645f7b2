//! The way to one peer: a bounded queue and the task that empties it.

mod delivering;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use veneur_metric::Durations;

use crate::{Account, Batch, client::Parting, clock::now_ms, connect::Target, unflushed::Unflushed};
use delivering::Delivering;

/// How much a lane may hold, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes; beyond, the oldest batches are dropped.
    pub max_bytes: usize,
    /// Age of a batch.
    pub max_age: Duration,
}

/// How a peer does, as far as a lane knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It answered last, or was never needed.
    #[default]
    Reached,
    /// It neither answers nor refuses, since then.
    Silent(Instant),
    /// It refused, or its connection broke, and it could not be connected to again.
    Dead,
}

/// What became of the metrics of one peer, since its lane was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[expect(missing_docs, reason = "as in the ledger")]
pub struct Counts {
    pub acknowledged: u64,
    pub uncertain: u64,
    pub dropped: BTreeMap<&'static str, u64>,
    pub lost_with_member: u64,
}

impl Counts {
    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.uncertain += other.uncertain;
        self.lost_with_member += other.lost_with_member;
        for (reason, count) in &other.dropped {
            *self.dropped.entry(reason).or_default() += count;
        }
    }
}

/// Hands batches to one peer. Offering never waits: a slow peer delays nobody but itself.
#[derive(Debug, Clone)]
pub struct Lane {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    target: Target,
    limits: Limits,
    account: Arc<Account>,
    state: Mutex<State>,
    changed: Notify,
    /// Told when the peer's health changes, and when something comes back that others have to take.
    noticed: Arc<Notify>,
    hurried: CancellationToken,
    closed: CancellationToken,
    given_up: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Batch, Instant)>,
    bytes: usize,
    /// Metrics that are being sent.
    out: u64,
    health: Health,
    counts: Counts,
    unflushed: Unflushed,
    /// How long batches took.
    took: Durations,
}

impl Lane {
    /// A lane to a peer. Nothing is delivered until [`run`](Self::run) is polled.
    pub fn new(target: impl Into<Target>, limits: Limits, account: Arc<Account>) -> Self {
        Self::noticed_by(target, limits, account, Arc::default())
    }

    /// The same, with somebody to tell when the peer's [`health`](Self::health) changes.
    pub fn noticed_by(target: impl Into<Target>, limits: Limits, account: Arc<Account>, noticed: Arc<Notify>) -> Self {
        Self {
            queue: Arc::new(Queue {
                target: target.into(),
                limits,
                account,
                state: Mutex::default(),
                changed: Notify::new(),
                noticed,
                hurried: CancellationToken::new(),
                closed: CancellationToken::new(),
                given_up: CancellationToken::new(),
            }),
        }
    }

    /// Queues a batch whose metrics are on the ledger as held; drops the oldest beyond the limit.
    pub fn offer(&self, batch: Batch) {
        self.offer_waiting(batch, Instant::now());
    }

    /// The same, for a batch that has been waiting elsewhere since then.
    pub fn offer_waiting(&self, batch: Batch, since: Instant) {
        let mut state = self.queue.lock();
        state.bytes += batch.bytes();
        state.waiting.push_back((batch, since));
        let dropped = state.shrink(self.queue.limits.max_bytes);
        state.drop_held(&self.queue.account, "queue_full", dropped);
        drop(state);
        self.queue.changed.notify_one();
    }

    /// Takes out everything that waits, to be given to another peer. It stays on the ledger as held.
    pub fn take_waiting(&self) -> Vec<(Batch, Instant)> {
        let mut state = self.queue.lock();
        state.bytes = 0;
        state.waiting.drain(..).collect()
    }

    /// How the peer does.
    pub fn health(&self) -> Health {
        self.queue.lock().health
    }

    /// What became of the metrics so far.
    pub fn counts(&self) -> Counts {
        self.queue.lock().counts.clone()
    }

    /// Batches and bytes waiting.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.queue.lock();
        (state.waiting.len(), state.bytes)
    }

    /// How long batches took from being sent to being answered, of the first 64 since the last call.
    pub fn take_durations(&self) -> Vec<Duration> {
        self.queue.lock().took.take()
    }

    /// Whether nothing waits or is being sent.
    pub fn is_empty(&self) -> bool {
        let state = self.queue.lock();
        state.waiting.is_empty() && state.out == 0
    }

    /// Lets [`run`](Self::run) try again without long pauses, because there is little time left.
    pub fn hurry(&self) {
        self.queue.hurried.cancel();
    }

    /// Lets [`run`](Self::run) end once everything that waits is delivered.
    pub fn close(&self) {
        self.hurry();
        self.queue.closed.cancel();
        self.queue.changed.notify_one();
    }

    /// Lets [`run`](Self::run) end as soon as nothing is being sent: what waits is for
    /// [`take_waiting`](Self::take_waiting), and nothing has to be uncertain.
    pub fn give_up(&self) {
        self.close();
        self.queue.given_up.cancel();
    }

    /// Drops what still waits, when there is no time left to deliver it. What was being sent when [`run`](Self::run)
    /// was ended may have arrived.
    pub fn abandon(&self) {
        let mut state = self.queue.lock();
        state.bytes = 0;
        let dropped = state.waiting.drain(..).map(|(batch, _)| batch.len()).sum();
        state.drop_held(&self.queue.account, "shutdown", dropped);
        state.uncertain(&self.queue.account);
    }

    /// Delivers until closed and empty.
    pub async fn run(self) {
        Delivering::new(&self.queue).run().await;
    }
}

impl State {
    fn drop_held(&mut self, account: &Account, reason: &'static str, metrics: u64) {
        if metrics > 0 {
            *self.counts.dropped.entry(reason).or_default() += metrics;
            account.record(|ledger| ledger.drop_held(reason, metrics));
        }
    }

    /// What was being sent may have arrived.
    fn uncertain(&mut self, account: &Account) {
        let out = std::mem::take(&mut self.out);
        self.counts.uncertain += out;
        account.record(|ledger| {
            ledger.held -= out.min(ledger.held);
            ledger.uncertain += out;
        });
    }

    /// Takes out the oldest batches until the rest fits, and says how many metrics that were.
    fn shrink(&mut self, max_bytes: usize) -> u64 {
        let mut dropped = 0;
        while self.bytes > max_bytes
            && let Some((oldest, _)) = self.waiting.pop_front()
        {
            self.bytes -= oldest.bytes();
            dropped += oldest.len();
        }
        dropped
    }
}

impl Queue {
    /// The oldest batch that is not too old, once there is one; `None` when closed and empty, or given up.
    async fn next(&self) -> Option<(Batch, Instant)> {
        loop {
            let changed = self.changed.notified();
            if self.given_up.is_cancelled() {
                return None;
            }
            self.expire();
            let next = {
                let mut state = self.lock();
                let next = state.waiting.pop_front();
                if let Some((batch, _)) = &next {
                    state.bytes -= batch.bytes();
                    state.out = batch.len();
                }
                next
            };
            if next.is_some() || self.closed.is_cancelled() {
                return next;
            }
            changed.await;
        }
    }

    /// Drops what is too old.
    fn expire(&self) {
        let mut state = self.lock();
        let mut expired = 0;
        while let Some((batch, _)) = state.waiting.pop_front_if(|(_, since)| since.elapsed() > self.limits.max_age) {
            state.bytes -= batch.bytes();
            expired += batch.len();
        }
        state.drop_held(&self.account, "expired", expired);
    }

    fn put_back(&self, batch: Batch, since: Instant) {
        let mut state = self.lock();
        state.out = 0;
        state.bytes += batch.bytes();
        state.waiting.push_front((batch, since));
        let dropped = state.shrink(self.limits.max_bytes);
        state.drop_held(&self.account, "queue_full", dropped);
        drop(state);
        if self.closed.is_cancelled() {
            self.noticed.notify_one();
        }
    }

    /// Notes that a batch was answered, or not, and that the peer could not carry some of it.
    fn sent(&self, took: Duration, unsendable: u64) {
        let mut state = self.lock();
        state.took.push(took);
        state.out -= unsendable.min(state.out);
        state.drop_held(&self.account, "peer_cannot_carry", unsendable);
    }

    fn acknowledged(&self, metrics: u64, due: Unflushed) {
        let mut state = self.lock();
        state.out = 0;
        state.counts.acknowledged += metrics;
        state.unflushed.add(due, now_ms());
        self.account.record(|ledger| {
            ledger.held -= metrics.min(ledger.held);
            ledger.acknowledged += metrics;
        });
    }

    fn rejected(&self, metrics: u64) {
        let mut state = self.lock();
        state.out = 0;
        state.drop_held(&self.account, "rejected", metrics);
    }

    /// What the peer had answered for and not flushed yet is gone with it, unless it had said that it leaves. What was
    /// due after it was last heard of it cannot have published, however late its end is noticed.
    fn lost_with_member(&self, Parting { announced, heard_ms }: Parting) {
        let mut state = self.lock();
        let unflushed = state.unflushed.take(heard_ms);
        let lost = if announced { 0 } else { unflushed };
        state.counts.lost_with_member += lost;
        self.account.record(|ledger| ledger.lost_with_member += lost);
    }

    /// Remembers how the peer does. Silence counts from when it began, and is not better than being dead.
    fn became(&self, health: Health) {
        let mut state = self.lock();
        let keeps = match (state.health, health) {
            (Health::Silent(_) | Health::Dead, Health::Silent(_)) => true,
            (before, now) => before == now,
        };
        if !keeps {
            state.health = health;
            drop(state);
            self.noticed.notify_one();
        }
    }

    fn health(&self) -> Health {
        self.lock().health
    }

    /// Whether nothing waits, and nothing will; or nobody wants it sent any more.
    fn is_over(&self) -> bool {
        self.given_up.is_cancelled() || self.closed.is_cancelled() && self.lock().waiting.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
