//! What became of the pods that asked: counted by pipeline, from the metadata of every pod that runs.
//!
//! One watch, of metadata only, since an annotation cannot be selected by. What is kept of a pod is some hundred bytes,
//! and nothing of one that did not ask. The counts are a pure function of that, of the pipelines and of the namespaces.
//! A second one, of the injected pods, looks for sidecars that do not run.

mod count;
mod failing;
mod record;
mod unresolved;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{context::Defaults, namespaces::Namespaces, pipelines::Pipelines, watching::Watching};
use count::Counter;
pub use count::{Counts, Missed, Outdated, Snapshot};
pub use failing::Failing;
use failing::Failures;
use record::Records;
pub use unresolved::Unresolved;

/// Changes within this time are counted together.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Between two looks at sidecars that failed and run again: time alone makes them well.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Pods that run or are to run, as a selector of fields.
const RUNNING: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Pods of one namespace that are listed at a time.
const PAGE: u32 = 500;

/// How long the pods of one namespace may take to be listed. Nothing else is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of the pods that asked, as last counted.
#[derive(Debug, Clone)]
pub struct Pods(watch::Receiver<Arc<Snapshot>>);

/// Keeps [`Pods`] current.
#[derive(Debug)]
pub struct PodWatch {
    snapshot: watch::Sender<Arc<Snapshot>>,
    pipelines: Pipelines,
    namespaces: Namespaces,
    defaults: Defaults,
    excluded: Vec<String>,
    metadata: Watching,
    sidecars: Watching,
}

/// An empty view and what fills it. Pods of the `excluded` namespaces are none of the webhook's, and not counted.
pub fn pods(
    pipelines: Pipelines,
    namespaces: Namespaces,
    defaults: Defaults,
    excluded: Vec<String>,
) -> (Pods, PodWatch) {
    let (sender, receiver) = watch::channel(Arc::default());
    let (metadata, sidecars) = <_>::default();
    (Pods(receiver), PodWatch { snapshot: sender, pipelines, namespaces, defaults, excluded, metadata, sidecars })
}

impl Pods {
    /// The last count.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for a count that differs from the last one seen here; false at the end.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// The same as a channel, for what maps changes to pipelines.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.clone()
    }
}

impl PodWatch {
    /// How the watches of the metadata of all pods, and of the injected ones, do.
    pub fn watching(&self) -> (Watching, Watching) {
        (self.metadata.clone(), self.sidecars.clone())
    }

    /// Watches and counts until `stop`.
    pub async fn run(self, client: Client, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch(client)).await;
    }

    async fn watch(self, client: Client) {
        let mut counter = Counter::new(self.defaults.clone());
        let (mut pipelines, mut namespaces) = (self.pipelines.changes(), self.namespaces.changes());
        // A pod that says nothing itself is kept if its namespace means it, so namespaces come first.
        self.namespaces.wait_until_listed().await;
        let mut failures = Failures::default();
        let injected = Api::<failing::Seen>::all(client.clone());
        let failing = self.sidecars.objects(|| watcher(injected.clone(), failing::selected()).default_backoff());
        let mut failing = std::pin::pin!(failing);
        let mut look_again = interval(LOOK_AGAIN);
        loop {
            let mut records = Records::new(self.namespaces.clone());
            let mut enabled = self.namespaces.enabled();
            let all = Api::<PartialObjectMeta<Pod>>::all(client.clone());
            let events = self.metadata.objects(|| watcher(all.clone(), self.selected()).default_backoff());
            let mut events = std::pin::pin!(events);
            let mut due = None::<Instant>;
            loop {
                let changed = tokio::select! {
                    event = events.next() => match event {
                        Some(Ok(event)) => records.take(event),
                        Some(Err(error)) => {
                            tracing::warn!(%error, "Watching pods failed, trying again");
                            false
                        }
                        None => return,
                    },
                    event = failing.next() => match event {
                        Some(Ok(event)) => failures.take(event),
                        Some(Err(error)) => {
                            tracing::warn!(%error, "Watching the sidecars of pods failed, trying again");
                            false
                        }
                        None => return,
                    },
                    _ = look_again.tick() => failures.forget_well(Timestamp::now()),
                    changed = pipelines.changed() => match changed {
                        Ok(()) => true,
                        Err(_) => return,
                    },
                    changed = namespaces.changed() => match changed {
                        Ok(()) => {
                            let before = std::mem::replace(&mut enabled, self.namespaces.enabled());
                            if !self.follow(&client, &mut records, &before, &enabled).await {
                                break;
                            }
                            true
                        }
                        Err(_) => return,
                    },
                    () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                        due = None;
                        if records.is_listed() && failures.is_listed() {
                            self.publish(&records, &failures, &mut counter);
                        }
                        false
                    }
                };
                if changed {
                    due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
                }
            }
        }
    }

    /// Pods that do not ask themselves are kept only while their namespace asks for all of its pods, so those of one that
    /// does from now on are listed. False where all pods have to be listed anew.
    async fn follow(
        &self,
        client: &Client,
        records: &mut Records,
        before: &BTreeSet<String>,
        now: &BTreeSet<String>,
    ) -> bool {
        if before == now {
            return true;
        }
        // What a list that is under way has brought was looked at by what was known of namespaces then.
        if !records.is_settled() {
            return false;
        }
        for namespace in before.difference(now) {
            records.forget_unasked(namespace);
        }
        for namespace in now.difference(before).filter(|namespace| !self.excluded.contains(*namespace)) {
            match timeout(PATIENCE, list(client, namespace, records)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, namespace, "The pods of a namespace cannot be listed, so all are");
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    fn publish(&self, records: &Records, failures: &Failures, counter: &mut Counter) {
        let mut counted = self.pipelines.with(|pipelines| counter.count(records, &self.namespaces, pipelines));
        for (pipeline, failing) in failures.counted() {
            counted.pipelines.entry(pipeline).or_default().failing = failing;
        }
        self.snapshot.send_if_modified(|snapshot| {
            let changed = **snapshot != counted;
            if changed {
                *snapshot = Arc::new(counted);
            }
            changed
        });
    }

    /// Pods that run or are to run, of namespaces that are ours to look at.
    fn selected(&self) -> watcher::Config {
        let excluded = self.excluded.iter().map(|namespace| format!("metadata.namespace!={namespace}"));
        let fields: Vec<String> = std::iter::once(RUNNING.to_owned()).chain(excluded).collect();
        watcher::Config::default().fields(&fields.join(","))
    }
}

/// Takes the pods of one namespace as they are now. No event of the watch is taken meanwhile: those that are newer than the
/// list come after it, and those that are older are followed by what led to it.
async fn list(client: &Client, namespace: &str, records: &mut Records) -> kube::Result<()> {
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client.clone(), namespace);
    let mut page = ListParams::default().fields(RUNNING).limit(PAGE);
    loop {
        let listed = pods.list(&page).await?;
        for pod in listed.items {
            records.take(Event::Apply(pod));
        }
        page.continue_token = listed.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return Ok(());
        }
    }
}

/// An event of the watch on pods.
type PodEvent = Event<PartialObjectMeta<Pod>>;

#[cfg(test)]
mod tests;
