//! A lane at work: connects, sends, and notices how the peer does.

use std::time::Duration;

use tokio::time::Instant;
use veneur_metric::{Condition, Turn};

use super::{Health, Queue};
use crate::{
    Batch,
    client::{Answerer, Client, Outcome, Sent},
    clock::now_ms,
    connect::Failure,
    unflushed::Unflushed,
};

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A peer that does not answer a batch for this long is silent. It may answer yet.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// A lane at work.
pub(super) struct Delivering<'a> {
    queue: &'a Queue,
    client: Client,
    retry: Duration,
    unreachable: Condition,
    unanswered: Condition,
    rejected: Condition,
}

impl<'a> Delivering<'a> {
    pub(super) fn new(queue: &'a Queue) -> Self {
        Self {
            queue,
            client: Client::new(queue.target.clone()),
            retry: FIRST_RETRY,
            unreachable: Condition::default(),
            unanswered: Condition::default(),
            rejected: Condition::default(),
        }
    }

    pub(super) async fn run(mut self) {
        // Who follows settings asks for them at once, so that already its first interval is formed by them.
        if self.queue.target.manner.follower.is_some()
            && let Err(Failure { problem, .. }) = self.connect_once().await
        {
            tracing::debug!(peer = self.queue.target.address, problem, "No settings yet");
        }
        loop {
            let queue = self.queue;
            // A peer that was lost is looked for, whether or not something waits for it.
            let lost = queue.health() != Health::Reached && !self.client.is_connected();
            if lost && !self.connect().await {
                queue.expire();
                if queue.is_over() {
                    return;
                }
                self.pause().await;
                continue;
            }
            let next = tokio::select! {
                next = queue.next() => next,
                _ = self.client.ended() => {
                    self.ended().await;
                    continue;
                }
            };
            let Some((batch, since)) = next else { return };
            if !self.client.is_connected() {
                // Before its peer's health is told: who then gives away what waits takes this along.
                queue.put_back(batch, since);
                if !self.connect().await {
                    self.pause().await;
                }
                continue;
            }
            self.send(batch, since).await;
        }
    }

    /// Connects, twice at once if need be; false, and the peer's health says why, if that fails.
    async fn connect(&mut self) -> bool {
        let begun = Instant::now();
        let failure = match self.connect_once().await {
            Ok(()) => return true,
            Err(Failure { silent: false, .. }) => match self.connect_once().await {
                Ok(()) => return true,
                Err(failure) => failure,
            },
            Err(silent) => silent,
        };
        if self.unreachable.look(1).is_some() {
            let problem = failure.problem;
            tracing::warn!(peer = self.queue.target.address, problem, "Peer cannot be reached, holding its data");
        }
        self.queue.became(if failure.silent { Health::Silent(begun) } else { Health::Dead });
        false
    }

    async fn connect_once(&mut self) -> Result<(), Failure> {
        if self.client.connect().await? == Answerer::Other {
            self.queue.lost_with_member(self.client.parting());
        }
        if let Some(Turn::Over { times }) = self.unreachable.look(0) {
            tracing::info!(peer = self.queue.target.address, attempts = times, "Peer is reached again");
        }
        self.queue.became(Health::Reached);
        self.retry = FIRST_RETRY;
        Ok(())
    }

    /// The connection ended, or was given up. Who announced it has published what it had; who did not may be dead.
    async fn ended(&mut self) {
        if !self.connect().await {
            self.queue.lost_with_member(self.client.parting());
        }
    }

    async fn send(&mut self, batch: Batch, since: Instant) {
        let queue = self.queue;
        let begun = Instant::now();
        let due = Unflushed::due(&batch, now_ms());
        let Sent { unsendable, outcome } = {
            let mut sending = std::pin::pin!(self.client.send(batch));
            if let Ok(sent) = tokio::time::timeout(SILENT_AFTER, &mut sending).await {
                sent
            } else {
                queue.became(Health::Silent(begun));
                sending.await
            }
        };
        queue.sent(begun.elapsed(), unsendable);
        match outcome {
            Outcome::Acknowledged(metrics) => {
                if let Some(Turn::Over { times }) = self.unanswered.look(0) {
                    tracing::info!(peer = queue.target.address, batches = times, "Peer answers again");
                }
                if let Some(Turn::Over { times }) = self.rejected.look(0) {
                    tracing::info!(peer = queue.target.address, batches = times, "Peer takes batches again");
                }
                queue.became(Health::Reached);
                queue.acknowledged(metrics, due);
            }
            Outcome::NotSent(batch, Failure { problem, .. }) => {
                tracing::debug!(peer = queue.target.address, problem, "Peer did not take a batch, holding it");
                queue.put_back(batch, since);
                self.ended().await;
                self.pause().await;
            }
            Outcome::Rejected(metrics, problem) => {
                if self.rejected.look(1).is_some() {
                    let peer = &queue.target.address;
                    tracing::warn!(peer, metrics, problem, "Peer rejects batches: is its address that of an importer?");
                }
                queue.became(Health::Reached);
                queue.rejected(metrics);
            }
            Outcome::Uncertain(metrics, problem) => {
                if self.unanswered.look(1).is_some() {
                    let peer = &queue.target.address;
                    tracing::warn!(peer, metrics, problem, "No answer: delivery is uncertain");
                }
                queue.lock().uncertain(&queue.account);
                self.ended().await;
            }
        }
    }

    async fn pause(&mut self) {
        let paused = self.queue.hurried.run_until_cancelled(tokio::time::sleep(self.retry)).await;
        if paused.is_none() {
            self.queue.given_up.run_until_cancelled(tokio::time::sleep(FIRST_RETRY)).await;
        }
        self.retry = (self.retry * 2).min(LAST_RETRY);
    }
}
