//! Labels of every namespace, as last seen: which pods are meant, and which pipelines they may use.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace as Object;
use kube::{
    Api, Client, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    injection::{NAMESPACE_PIPELINE, Namespace},
    watching::Watching,
};

/// How long a pod waits for its namespace to be seen: both may have been created by one command.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every namespace, as last seen.
#[derive(Debug, Clone)]
pub struct Namespaces {
    known: Arc<RwLock<HashMap<String, Arc<Namespace>>>>,
    changed: watch::Receiver<u64>,
    watching: Watching,
}

/// Keeps [`Namespaces`] current.
#[derive(Debug)]
pub struct NamespaceWatch {
    known: Arc<RwLock<HashMap<String, Arc<Namespace>>>>,
    changed: watch::Sender<u64>,
    watching: Watching,
}

/// An empty view and what fills it.
pub fn namespaces() -> (Namespaces, NamespaceWatch) {
    let (sender, changed) = watch::channel(0);
    let (known, watching) = (Arc::default(), Watching::default());
    (
        Namespaces { known: Arc::clone(&known), changed, watching: watching.clone() },
        NamespaceWatch { known, changed: sender, watching },
    )
}

impl Namespaces {
    /// A namespace. Where none of this name is known within a second: one without labels if the operator may not look at
    /// namespaces, and none if it may, as one that is taken to have no labels may ask for all of its pods.
    pub async fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        let mut changed = self.changed.clone();
        let seen = timeout(PATIENCE, async {
            loop {
                if let Some(known) = self.known(name) {
                    return Some(known);
                }
                changed.changed().await.ok()?;
            }
        });
        if let Ok(Some(known)) = seen.await {
            return Some(known);
        }
        self.watching.refused()?;
        tracing::warn!(namespace = name, "Namespaces may not be watched, so the labels of a pod's are not heeded");
        Some(Arc::new(Namespace { name: name.to_owned(), ..Namespace::default() }))
    }

    /// Whether namespaces were listed at least once, or may not be.
    pub fn is_settled(&self) -> bool {
        *self.changed.borrow() > 0 || self.watching.refused().is_some()
    }

    /// A namespace, if it is known.
    pub fn known(&self, name: &str) -> Option<Arc<Namespace>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Names of the namespaces whose pods are all meant.
    pub fn enabled(&self) -> BTreeSet<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|namespace| namespace.is_enabled()).map(|namespace| namespace.name.clone()).collect()
    }

    /// Waits for the first list, or for the end.
    pub async fn wait_until_listed(&self) {
        drop(self.changed.clone().wait_for(|version| *version > 0).await);
    }

    /// Changes when any namespace does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

impl NamespaceWatch {
    /// How it does.
    pub fn watching(&self) -> Watching {
        self.watching.clone()
    }

    /// Watches until `stop`.
    pub async fn run(self, client: Client, stop: CancellationToken) {
        let api = Api::<PartialObjectMeta<Object>>::all(client);
        let events = self.watching.objects(|| watcher(api.clone(), watcher::Config::default()).default_backoff());
        let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
        let mut listing = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut listing),
                Err(error) => tracing::warn!(%error, "Watching namespaces failed, trying again"),
            }
        }
    }

    fn take(&self, event: Event<PartialObjectMeta<Object>>, listing: &mut HashMap<String, Arc<Namespace>>) {
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(object) => {
                listing.insert(object.name_any(), read(&object));
                return;
            }
            Event::InitDone => *self.write() = std::mem::take(listing),
            Event::Apply(object) => {
                let read = read(&object);
                // Most changes are of what is not read here.
                if self.write().insert(object.name_any(), Arc::clone(&read)).as_ref() == Some(&read) {
                    return;
                }
            }
            Event::Delete(object) => {
                self.write().remove(&object.name_any());
            }
        }
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Namespace>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(object: &PartialObjectMeta<Object>) -> Arc<Namespace> {
    Arc::new(Namespace {
        name: object.name_any(),
        labels: object.labels().clone(),
        pipeline: object.annotations().get(NAMESPACE_PIPELINE).cloned(),
    })
}

#[cfg(test)]
impl Namespaces {
    /// A view that holds these and never changes.
    pub(crate) fn of(all: impl IntoIterator<Item = Namespace>) -> Self {
        Self::kept(all).0
    }

    /// The same, and what keeps it from being at its end.
    pub(crate) fn kept(all: impl IntoIterator<Item = Namespace>) -> (Self, NamespaceWatch) {
        let (view, watch) = namespaces();
        watch.show(all);
        (view, watch)
    }
}

#[cfg(test)]
impl NamespaceWatch {
    /// These are all that there are now.
    pub(crate) fn show(&self, all: impl IntoIterator<Item = Namespace>) {
        *self.write() = all.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
        self.changed.send_modify(|version| *version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{api_server, status};

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_is_not_seen_is_unknown_and_has_no_labels_only_where_none_may_be_seen() {
        let (view, watch) = namespaces();
        assert!(view.get("shop").await.is_none() && !view.is_settled());
        let (client, _) = api_server(|_, _, _| Some((403, status(403, "said"))));
        let (mut refusals, stop) = (watch.watching().refusals(), CancellationToken::new());
        let refused = async {
            refusals.changed().await.expect("its sender lives");
            stop.cancel();
        };
        futures::future::join(refused, watch.run(client, stop.clone())).await;
        let unlabelled = Namespace { name: "shop".to_owned(), ..Namespace::default() };
        assert_eq!(view.get("shop").await.as_deref(), Some(&unlabelled));
        assert!(view.is_settled(), "more cannot be expected");
        assert!(Namespaces::of([]).is_settled(), "they are listed");
    }
}
