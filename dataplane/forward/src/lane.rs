//! The way to one peer: a bounded queue and the task that empties it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use veneur_metric::{Condition, Durations, Turn};

use crate::{
    Account, Batch,
    client::{Client, Outcome, Sent},
};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// How much a lane may hold, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes; beyond, the oldest batches are dropped.
    pub max_bytes: usize,
    /// Age of a batch.
    pub max_age: Duration,
}

/// Hands batches to one peer. Offering never waits: a slow peer delays nobody but itself.
#[derive(Debug, Clone)]
pub struct Lane {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    address: String,
    limits: Limits,
    account: Arc<Account>,
    state: Mutex<State>,
    changed: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Batch, Instant)>,
    bytes: usize,
    /// Metrics that are being sent.
    out: u64,
    /// How long batches took.
    took: Durations,
}

impl Lane {
    /// A lane to `host:port`. Nothing is delivered until [`run`](Self::run) is polled.
    pub fn new(address: impl Into<String>, limits: Limits, account: Arc<Account>) -> Self {
        let address = address.into();
        Self {
            queue: Arc::new(Queue {
                address,
                limits,
                account,
                state: Mutex::default(),
                changed: Notify::new(),
                closed: CancellationToken::new(),
            }),
        }
    }

    /// Queues a batch whose metrics are on the ledger as held; drops the oldest beyond the limit.
    pub fn offer(&self, batch: Batch) {
        let mut state = self.queue.lock();
        state.bytes += batch.bytes();
        state.waiting.push_back((batch, Instant::now()));
        let dropped = state.shrink(self.queue.limits.max_bytes);
        drop(state);
        self.queue.account.record(|ledger| ledger.drop_held("queue_full", dropped));
        self.queue.changed.notify_one();
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

    /// Lets [`run`](Self::run) end once everything that waits is delivered.
    pub fn close(&self) {
        self.queue.closed.cancel();
        self.queue.changed.notify_one();
    }

    /// Drops what still waits, when there is no time left to deliver it. What was being sent when [`run`](Self::run)
    /// was ended may have arrived.
    pub fn abandon(&self) {
        let (dropped, out) = {
            let mut state = self.queue.lock();
            state.bytes = 0;
            (state.waiting.drain(..).map(|(batch, _)| batch.len()).sum(), std::mem::take(&mut state.out))
        };
        self.queue.account.record(|ledger| {
            ledger.drop_held("shutdown", dropped);
            ledger.held -= out.min(ledger.held);
            ledger.uncertain += out;
        });
    }

    /// Delivers until closed and empty.
    pub async fn run(self) {
        let queue = &self.queue;
        let mut client = Client::new(&queue.address);
        let mut retry = FIRST_RETRY;
        let (mut unreachable, mut unanswered) = (Condition::default(), Condition::default());
        while let Some((batch, since)) = queue.next().await {
            let begun = Instant::now();
            let Sent { unsendable, outcome } = client.send(batch).await;
            queue.lock().sent(begun.elapsed());
            queue.account.record(|ledger| ledger.drop_held("peer_cannot_carry", unsendable));
            match outcome {
                Outcome::Acknowledged(metrics) => {
                    if let Some(Turn::Over { times }) = unreachable.look(0) {
                        tracing::info!(peer = queue.address, attempts = times, "Peer is reached again");
                    }
                    if let Some(Turn::Over { times }) = unanswered.look(0) {
                        tracing::info!(peer = queue.address, batches = times, "Peer answers again");
                    }
                    retry = FIRST_RETRY;
                    queue.account.record(|ledger| {
                        ledger.held -= metrics;
                        ledger.acknowledged += metrics;
                    });
                }
                Outcome::NotSent(batch, problem) => {
                    if unreachable.look(1).is_some() {
                        tracing::warn!(peer = queue.address, problem, "Peer cannot be reached, holding its data");
                    }
                    queue.put_back(batch, since);
                    // Once closed there is no time for long pauses.
                    if queue.closed.run_until_cancelled(tokio::time::sleep(retry)).await.is_none() {
                        tokio::time::sleep(FIRST_RETRY).await;
                    }
                    retry = (retry * 2).min(LAST_RETRY);
                }
                Outcome::Uncertain(metrics, problem) => {
                    if unanswered.look(1).is_some() {
                        tracing::warn!(peer = queue.address, metrics, problem, "No answer: delivery is uncertain");
                    }
                    queue.account.record(|ledger| {
                        ledger.held -= metrics;
                        ledger.uncertain += metrics;
                    });
                }
            }
        }
    }
}

impl State {
    fn sent(&mut self, took: Duration) {
        self.out = 0;
        self.took.push(took);
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
    /// The oldest batch that is not too old, once there is one; `None` when closed and empty.
    async fn next(&self) -> Option<(Batch, Instant)> {
        loop {
            let changed = self.changed.notified();
            let mut expired = 0;
            let (next, closed) = {
                let mut state = self.lock();
                let mut next = None;
                while let Some((batch, since)) = state.waiting.pop_front() {
                    state.bytes -= batch.bytes();
                    if since.elapsed() <= self.limits.max_age {
                        state.out = batch.len();
                        next = Some((batch, since));
                        break;
                    }
                    expired += batch.len();
                }
                (next, self.closed.is_cancelled())
            };
            self.account.record(|ledger| ledger.drop_held("expired", expired));
            if next.is_some() || closed {
                return next;
            }
            changed.await;
        }
    }

    fn put_back(&self, batch: Batch, since: Instant) {
        let dropped = {
            let mut state = self.lock();
            state.bytes += batch.bytes();
            state.waiting.push_front((batch, since));
            state.shrink(self.limits.max_bytes)
        };
        self.account.record(|ledger| ledger.drop_held("queue_full", dropped));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
