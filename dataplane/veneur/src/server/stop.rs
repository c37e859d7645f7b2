//! How an instance ends: nothing that it answered for is left behind.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};
use veneur_forward::{Leaver, Ledger, lane::Lane};
use veneur_metric::Stamp;

use super::Running;
use crate::{
    clock,
    handover::{Handover, reached_at},
};

/// What part of a stopping global's time forwarding may take, and what part the sinks; the rest is for publishing.
const DELIVERY_SHARE: u32 = 4;

/// How long import calls under way may take to end once an instance stops.
const CALLS_UNDER_WAY: Duration = Duration::from_secs(1);

/// How long finding the own address may take, which asks for that of the proxy.
const FINDING_ITSELF: Duration = Duration::from_secs(1);

impl Running {
    /// Publishes and delivers everything, within the configured time, and returns the closing ledger.
    ///
    /// A global first waits for the boundary at which proxies stop naming it the owner of anything, and publishes that
    /// interval as always; then nothing is left to hand over. A local has nobody to wait for. The order after that is
    /// what makes an OK worth something: no more imports, no more flushes, the last flush, delivery.
    pub async fn stop(mut self) -> Ledger {
        let deliver_within = match (&self.grpc, self.flusher.output.sinks.is_empty()) {
            (Some(_), _) => self.shutdown_timeout / DELIVERY_SHARE,
            // A local has nothing to wait for: all of its time is for what it holds, so that a proxy which is away for some
            // seconds costs a pod that ends nothing.
            (None, false) => self.shutdown_timeout / 2,
            (None, true) => self.shutdown_timeout,
        };
        let publish_within = self.shutdown_timeout.saturating_sub(2 * deliver_within);
        let mut handing = JoinSet::new();
        if self.grpc.is_some() {
            self.leave(publish_within, &mut handing).await;
        }
        self.importing.cancel();
        // Senders that keep their connection are refused from the last flush on.
        drop(tokio::time::timeout(CALLS_UNDER_WAY, self.import.join_next()).await);
        let way = Arc::clone(&self.handover);
        if way.get().is_none() {
            self.finish(None).await;
        }
        let deadline = Instant::now() + deliver_within;
        if let Some(handover) = way.get() {
            handover.end();
            // The rest is for what comes back. What is being sent at the end is waited for: cut off, it would be uncertain.
            if tokio::time::timeout(deliver_within / 2, handing.join_next()).await.is_err() {
                handover.give_up();
                drop(tokio::time::timeout(deliver_within / 4, handing.join_next()).await);
                handing.shutdown().await;
            }
            self.flusher.take_back(handover.take_back());
        }
        let output = &self.flusher.output;
        if let Some(lane) = &output.lane {
            lane.close();
        }
        let delivered =
            tokio::time::timeout_at(deadline, async { while self.lanes.join_next().await.is_some() {} }).await;
        if delivered.is_err() {
            self.lanes.shutdown().await;
        }
        output.lane.iter().for_each(Lane::abandon);
        output.drain(deliver_within).await;
        let ledger = output.account.snapshot();
        tracing::info!(?ledger, "Stopped");
        self.serving.cancel();
        self.tasks.shutdown().await;
        self.import.shutdown().await;
        ledger
    }

    /// Waits for the boundary at which proxies stop naming this instance an owner, and publishes that interval as always.
    /// Where that is too far off, what there is goes to the others through a proxy, and what still comes follows it.
    async fn leave(&mut self, within: Duration, handing: &mut JoinSet<()>) {
        let now_ms = clock::now_ms();
        let last = Stamp::under_way(now_ms + veneur_ring::SETTLE_MS, self.flusher.interval).boundary_ms;
        let lateness_ms = u64::try_from(self.lateness.as_millis()).unwrap_or(u64::MAX);
        let takes = Duration::from_millis(last.saturating_sub(now_ms).saturating_add(lateness_ms));
        if takes <= within {
            if tokio::time::timeout(within, self.flusher.published(last)).await.is_err() {
                tracing::warn!("The last interval is not published in time: publishing what there is");
            }
            return;
        }
        let Some(target) = self.handover_to.take() else {
            tracing::warn!(?takes, ?within, "The next boundary is too far off: publishing what there is");
            return;
        };
        tracing::info!(?takes, ?within, proxy = target.address, "The next boundary is too far off: handing over");
        let account = Arc::clone(&self.flusher.output.account);
        let address = match self.grpc {
            Some(bound) => tokio::time::timeout(FINDING_ITSELF, reached_at(bound, &target.address)).await,
            None => return,
        };
        let address = address.ok().and_then(Result::ok).map(|address| address.to_string()).unwrap_or_default();
        let leaver = Leaver { name: self.flusher.output.name.clone(), address };
        let handover = Handover::new(leaver, &target, self.limits, account);
        handing.spawn(handover.run());
        let way = Arc::clone(&self.handover);
        let handover = way.get_or_init(|| handover);
        // Whoever takes this instance for an owner learns of its leave within the time that changes take to settle.
        let settled = tokio::time::Instant::now() + within.min(Duration::from_millis(2 * veneur_ring::SETTLE_MS));
        self.finish(Some(handover)).await;
        tokio::time::sleep_until(settled).await;
    }

    /// Ends flushing, with a last flush.
    async fn finish(&mut self, handover: Option<&Handover>) {
        // From here on there are no flushes to miss.
        drop(self.watchdog.take());
        self.flushing.cancel();
        while self.flush.join_next().await.is_some() {}
        self.flusher.finish(handover).await;
    }
}
