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
    let known = Arc::default();
    (
        Namespaces { known: Arc::clone(&known), changed },
        NamespaceWatch { known, changed: sender, watching: <_>::default() },
    )
}

impl Namespaces {
    /// A namespace; one without labels where none of this name is known within a second.
    pub async fn get(&self, name: &str) -> Arc<Namespace> {
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
            return known;
        }
        tracing::warn!(namespace = name, "A pod's namespace was not seen yet, so its labels are not heeded");
        Arc::new(Namespace { name: name.to_owned(), ..Namespace::default() })
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
        *watch.write() = all.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
        watch.changed.send_replace(1);
        (view, watch)
    }
}
