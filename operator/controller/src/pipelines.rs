//! Every pipeline, as last seen, for the webhook.
//!
//! A watch of its own beside the controller's: every replica answers the webhook, whichever of them reconciles. And
//! kube's `Store::wait_until_ready` wakes only the last of those who wait, so a store is not shared with a controller,
//! which waits for it too.

use std::time::Duration;

use futures::StreamExt as _;
use kube::{
    Client,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store, store::Writer},
        watcher,
    },
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use veneur_operator_api::VeneurPipeline;

use crate::{controller, reconcile::Watched, watching::Watching};

/// Every pipeline, as last seen.
#[derive(Clone)]
pub struct Pipelines {
    store: Store<Watched>,
    listed: watch::Receiver<bool>,
    changed: watch::Receiver<u64>,
}

impl std::fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipelines").field("listed", &self.is_listed()).finish_non_exhaustive()
    }
}

/// Keeps [`Pipelines`] current.
pub struct PipelineWatch {
    writer: Writer<Watched>,
    listed: watch::Sender<bool>,
    changed: watch::Sender<u64>,
    watching: Watching,
}

impl std::fmt::Debug for PipelineWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipelineWatch")
    }
}

/// An empty view and what fills it.
pub fn pipelines() -> (Pipelines, PipelineWatch) {
    let (store, writer) = reflector::store();
    let (sender, listed) = watch::channel(false);
    let (changing, changed) = watch::channel(0);
    (
        Pipelines { store, listed, changed },
        PipelineWatch { writer, listed: sender, changed: changing, watching: <_>::default() },
    )
}

impl Pipelines {
    /// Whether the pipelines were listed at least once.
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }

    /// Waits for the first list; false if it does not come in time.
    pub async fn wait_until_listed(&self, patience: Duration) -> bool {
        let mut listed = self.listed.clone();
        matches!(timeout(patience, listed.wait_for(|listed| *listed)).await, Ok(Ok(_)))
    }

    /// Changes when any pipeline does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Calls `with` with the pipelines that decode and are not being deleted.
    pub fn with<T>(&self, with: impl FnOnce(&[&VeneurPipeline]) -> T) -> T {
        let stored = self.store.state();
        let pipelines: Vec<_> = stored
            .iter()
            .filter_map(|watched| watched.0.as_ref().ok())
            .filter(|pipeline| pipeline.metadata.deletion_timestamp.is_none())
            .collect();
        with(&pipelines)
    }
}

/// For pods it matters what a pipeline's tiers run, not what is said about them: a thousand statuses are megabytes.
fn forget_what_nobody_asks(pipeline: &mut VeneurPipeline) {
    if let Some(status) = &mut pipeline.status {
        status.conditions.iter_mut().for_each(|condition| condition.message = String::new());
        (status.ring, status.injection, status.account) = (None, None, None);
        status.sinks = Vec::new();
    }
}

impl PipelineWatch {
    /// How it does.
    pub fn watching(&self) -> Watching {
        self.watching.clone()
    }

    /// Watches until `stop`.
    pub async fn run(self, client: Client, stop: CancellationToken) {
        let Self { writer, listed, changed, watching } = self;
        let events = watching.objects(|| controller::pipelines(client.clone())).modify(|watched| {
            if let Ok(pipeline) = &mut watched.0 {
                forget_what_nobody_asks(pipeline);
            }
        });
        let events = events.reflect(writer);
        let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(event) => {
                    if matches!(event, watcher::Event::InitDone) {
                        listed.send_replace(true);
                    }
                    changed.send_modify(|version| *version = version.wrapping_add(1));
                }
                Err(error) => tracing::warn!(%error, "Watching pipelines for the webhook failed, trying again"),
            }
        }
    }
}
