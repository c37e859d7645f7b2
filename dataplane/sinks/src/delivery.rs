//! One queue and one task per sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};

use veneur_metric::{Condition, Durations, Turn};

use crate::queue::{Content, Entry, Queue};
use crate::{Items, Limits, SendError, Sink, SinkLedger};

/// Pause after the first failed attempt; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause between attempts.
const LAST_BACKOFF: Duration = Duration::from_secs(10);

/// Delivers items to one sink, in order, one payload at a time.
///
/// While the backend is away the oldest payload is tried again after 0.5 s, 1 s, 2 s … 10 s; what waits too long or
/// needs too much memory is dropped and counted. Dropping a `Delivery` ends its task without an account: call
/// [`Delivery::drain`].
#[derive(Debug)]
pub struct Delivery {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// How a sink is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkState {
    /// Attempts since the last success that failed, whatever the cause.
    pub consecutive_failures: u64,
    /// What the last failed attempt said; kept after a success. Contains no secret.
    pub last_error: Option<String>,
    /// When the backend last took a payload.
    pub last_success: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    books: Mutex<Books>,
    /// One permit: something was offered, or drain began.
    wake: Notify,
}

#[derive(Debug)]
struct Books {
    queue: Queue,
    state: SinkState,
    failing: Condition,
    /// How long attempts took.
    took: Durations,
    draining: bool,
}

impl Delivery {
    /// Starts the task. Has to be called within a Tokio runtime.
    pub fn new(sink: impl Sink, limits: Limits) -> Self {
        let books = Books {
            queue: Queue::new(limits),
            state: SinkState::default(),
            failing: Condition::default(),
            took: Durations::default(),
            draining: false,
        };
        let shared = Arc::new(Shared { name: sink.name().to_owned(), books: Mutex::new(books), wake: Notify::new() });
        let mut tasks = JoinSet::new();
        tasks.spawn(deliver(Arc::new(sink), Arc::clone(&shared)));
        Self { shared, tasks: Mutex::new(tasks) }
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Takes over points, events, checks, or [`Items`] of all of them. Never waits.
    pub fn offer(&self, items: impl Into<Items>) {
        let items = items.into();
        if !items.is_empty() {
            self.shared.books().queue.offer(items, Instant::now());
            self.shared.wake.notify_one();
        }
    }

    /// The account, as of one moment.
    pub fn ledger(&self) -> SinkLedger {
        self.shared.books().queue.ledger()
    }

    /// How the sink is doing.
    pub fn state(&self) -> SinkState {
        self.shared.books().state.clone()
    }

    /// How long attempts took, of the first 64 since the last call, those that failed too.
    pub fn take_durations(&self) -> Vec<Duration> {
        self.shared.books().took.take()
    }

    /// Delivers what is held, at once and until `deadline`; what is left then is dropped for `shutdown`, and so is
    /// what is offered later. Returns the final account, with nothing held. Once: a second call ends the wait of the
    /// first.
    pub async fn drain(&self, deadline: Instant) -> SinkLedger {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.books().draining = true;
        self.shared.wake.notify_one();
        if let Ok(Some(Err(error))) = timeout_at(deadline, tasks.join_next()).await {
            tracing::error!(sink = self.name(), %error, "Sink's task failed");
        }
        tasks.shutdown().await;
        let mut books = self.shared.books();
        books.queue.close();
        books.queue.ledger()
    }
}

/// Ends when draining is done; until then only with the runtime.
async fn deliver<S: Sink>(sink: Arc<S>, shared: Arc<Shared>) {
    let mut unavailable = 0;
    while let Some(entry) = shared.next().await {
        let since = entry.since;
        match entry.content {
            Content::Items(items) => {
                let encoder = Arc::clone(&sink);
                // A panicking encoder costs these items, which the queue counts as unencodable, not the task.
                let encoded = spawn_blocking(move || encoder.encode(&items)).await.unwrap_or_default();
                shared.books().queue.encoded(encoded, since);
            }
            Content::Encoded(payload) => {
                let begun = Instant::now();
                let outcome = sink.send(&payload).await;
                shared.books().note(&shared.name, begun.elapsed(), outcome.as_ref().err());
                match outcome {
                    Ok(()) => shared.books().queue.published(),
                    Err(SendError::Rejected { .. }) => shared.books().queue.rejected(),
                    Err(SendError::Unavailable(_)) => {
                        let entry = Entry::new(since, Content::Encoded(payload));
                        shared.books().queue.put_back(entry, Instant::now());
                        shared.pause(backoff(unavailable)).await;
                        unavailable += 1;
                        continue;
                    }
                }
                unavailable = 0;
            }
        }
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures)).min(LAST_BACKOFF)
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no holder of this lock panics")
    }

    /// The next entry; `None` once draining leaves none.
    async fn next(&self) -> Option<Entry> {
        loop {
            {
                let mut books = self.books();
                let entry = books.queue.take(Instant::now());
                if entry.is_some() || books.draining {
                    return entry;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Waits, but not longer than until draining begins: that is worth a try at once.
    async fn pause(&self, delay: Duration) {
        let end = sleep(delay);
        tokio::pin!(end);
        let draining_already = self.books().draining;
        loop {
            tokio::select! {
                () = &mut end => return,
                () = self.wake.notified() => {
                    if !draining_already && self.books().draining {
                        return;
                    }
                }
            }
        }
    }
}

impl Books {
    /// Logs a change from well to failing and back, not each attempt.
    fn note(&mut self, sink: &str, took: Duration, error: Option<&SendError>) {
        self.took.push(took);
        let turn = self.failing.look(u64::from(error.is_some()));
        match (turn, error) {
            (Some(Turn::Begun), Some(error)) => tracing::warn!(sink, %error, "Sink is failing"),
            (Some(Turn::Over { times }), _) => tracing::info!(sink, failures = times, "Sink recovered"),
            _ => {}
        }
        let Some(error) = error else {
            self.state.consecutive_failures = 0;
            self.state.last_success = Some(Instant::now());
            return;
        };
        self.state.consecutive_failures += 1;
        self.state.last_error = Some(error.to_string());
    }
}
