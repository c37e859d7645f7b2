//! What the cluster holds of every pipeline, as last seen: one watch a kind, each object as compact JSON.
//!
//! With it a reconciliation reads nothing from the API server, and a restart with everything in place writes nothing. Kept
//! as text rather than as typed values: a Deployment takes 3 kB instead of 30. What nobody here reads is left out.
//!
//! A kind that may not be watched is known as such: what is missing is named in every pipeline's status, and the objects
//! of that kind are asked for one by one.

mod trim;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join_all};
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    feeds::Key,
    kind::Kind,
    labels::{FIELD_MANAGER, MANAGED_BY, PIPELINE, ROLE},
    watching::{Failing, Watching, answered},
};

pub use trim::Stored;

/// Pipelines to be woken; the watches wait while the controller is behind.
const WAKES: usize = 1_024;
/// A kind that is refused or not installed is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Objects in one page of a list: pages of large objects are what a start takes its memory for.
const PAGE: u32 = 100;

/// Whether a kind is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knowledge {
    /// Not listed yet.
    Pending,
    /// Listed, and watched since.
    Listed,
    /// The API server refuses to list it: what it says.
    Refused(String),
    /// The cluster has no such kind.
    NotInstalled,
}

/// Objects of one kind, by pipeline.
struct Shelf {
    kind: Kind,
    knowledge: watch::Sender<Knowledge>,
    failing: Mutex<Failing>,
    objects: Mutex<HashMap<Key, Vec<Stored>>>,
}

/// Everything of every pipeline, as last seen.
pub struct Live {
    shelves: Vec<Shelf>,
    /// Where the controller listens, while there is one.
    wakes: Mutex<Option<mpsc::Sender<Key>>>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

impl Live {
    /// Nothing seen yet.
    pub fn new() -> Self {
        let shelf = |kind| Shelf {
            kind,
            knowledge: watch::Sender::new(Knowledge::Pending),
            failing: Mutex::default(),
            objects: Mutex::default(),
        };
        Self { shelves: Kind::ALL.map(shelf).into(), wakes: Mutex::default() }
    }

    fn shelf(&self, kind: Kind) -> &Shelf {
        self.shelves.iter().find(|shelf| shelf.kind == kind).expect("every kind has a shelf")
    }

    /// The object of this kind and name, if it was seen.
    pub fn get(&self, kind: Kind, pipeline: &Key, name: &str) -> Option<Stored> {
        self.shelf(kind).lock().get(pipeline)?.iter().find(|stored| *stored.name == *name).cloned()
    }

    /// Every object of this kind that bears the pipeline's label, whoever owns it.
    pub fn of_pipeline(&self, kind: Kind, pipeline: &Key) -> Vec<Stored> {
        self.shelf(kind).lock().get(pipeline).cloned().unwrap_or_default()
    }

    /// Every object of this kind.
    pub fn all(&self, kind: Kind) -> Vec<(Key, Vec<Stored>)> {
        self.shelf(kind).lock().iter().map(|(key, stored)| (key.clone(), stored.clone())).collect()
    }

    /// Whether the kind is known.
    pub fn knowledge(&self, kind: Kind) -> Knowledge {
        self.shelf(kind).knowledge.borrow().clone()
    }

    /// Whether there is nothing of the kind to see: the cluster has it not, or it is not granted.
    pub fn is_absent(&self, kind: Kind) -> bool {
        self.shelf(kind).is_absent()
    }

    /// The kinds that may not be watched though every cluster has them, with what the API server says.
    pub fn refused(&self) -> Vec<(Kind, String)> {
        let refused = |shelf: &Shelf| match &*shelf.knowledge.borrow() {
            Knowledge::Refused(why) if !shelf.kind.is_optional() => Some((shelf.kind, why.clone())),
            Knowledge::Refused(_) | Knowledge::Pending | Knowledge::Listed | Knowledge::NotInstalled => None,
        };
        self.shelves.iter().filter_map(refused).collect()
    }

    /// Waits until each kind is listed or refused: before, everything would look as if it were missing.
    pub async fn settled(&self) {
        join_all(self.shelves.iter().map(|shelf| async {
            let mut knowledge = shelf.knowledge.subscribe();
            // Its sender lives as long as this does.
            drop(knowledge.wait_for(|knowledge| *knowledge != Knowledge::Pending).await);
        }))
        .await;
    }

    /// Takes in what the API server answered to a write, unless a newer state was seen already.
    pub fn wrote(&self, kind: Kind, object: &Value) {
        if let Some((pipeline, stored)) = Stored::of(kind, object) {
            self.shelf(kind).put(&pipeline, stored);
        }
    }

    /// The pipelines to look at, as they come. The receiver before, if any, gets no more.
    pub fn wakes(&self) -> mpsc::Receiver<Key> {
        let (sender, woken) = mpsc::channel(WAKES);
        *self.wakes.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        woken
    }

    /// Has a pipeline looked at.
    pub async fn wake(&self, pipeline: Key) {
        let sender = self.wakes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sender) = sender {
            // Nobody receives: another replica leads, and looks.
            drop(sender.send(pipeline).await);
        }
    }

    /// Watches every kind until `stop`.
    pub async fn run(&self, client: &Client, stop: &CancellationToken) {
        join_all(self.shelves.iter().map(|shelf| self.watch(shelf, client.clone(), stop))).await;
    }

    async fn watch(&self, shelf: &Shelf, client: Client, stop: &CancellationToken) {
        // Begun anew, and so with a list: one that is taken up again says nothing until something changes. The back-off
        // begins anew too with each list that is tried, and a refusal will not pass by itself.
        while self.until_refused(shelf, client.clone(), stop).await {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Watches until `stop`, or until the API server refuses or has no such kind: then true.
    async fn until_refused(&self, shelf: &Shelf, client: Client, stop: &CancellationToken) -> bool {
        let kind = shelf.kind;
        let marks = if kind.is_owned() { PIPELINE } else { ROLE };
        let selector = format!("{MANAGED_BY}={FIELD_MANAGER},{marks}");
        let config = watcher::Config::default().labels(&selector).page_size(PAGE);
        let api: Api<DynamicObject> = Api::all_with(client, &kind.resource());
        let events = watcher(api, config).default_backoff();
        let mut events = std::pin::pin!(events.take_until(stop.cancelled()));
        let mut listing: Option<HashMap<Key, Vec<Stored>>> = None;
        while let Some(event) = events.next().await {
            // It is said before anything is asked.
            if !matches!(event, Ok(watcher::Event::Init)) {
                shelf.note(event.is_ok());
            }
            match event {
                Ok(watcher::Event::Init) => listing = Some(HashMap::new()),
                Ok(watcher::Event::InitApply(object)) => {
                    if let (Some(listing), Some((pipeline, stored))) = (&mut listing, Stored::of_object(kind, object)) {
                        listing.entry(pipeline).or_default().push(stored);
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    let changed = shelf.replace(listing.take().unwrap_or_default());
                    shelf.knowledge.send_replace(Knowledge::Listed);
                    for pipeline in changed {
                        self.wake(pipeline).await;
                    }
                }
                Ok(watcher::Event::Apply(object)) => {
                    if let Some((pipeline, stored)) = Stored::of_object(kind, object)
                        && shelf.put(&pipeline, stored)
                    {
                        self.wake(pipeline).await;
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    if let Some((pipeline, stored)) = Stored::of_object(kind, object) {
                        shelf.remove(&pipeline, &stored.name);
                        self.wake(pipeline).await;
                    }
                }
                Err(error) => {
                    shelf.failed(&error);
                    if learnt(&error).is_some() {
                        return true;
                    }
                }
            }
        }
        false
    }
}

/// What a failure says of the kind. A refusal holds until the role changes, an unknown kind until it is installed; anything
/// else is tried again, and what was seen still holds.
fn learnt(error: &watcher::Error) -> Option<Knowledge> {
    let status = answered(error)?;
    match status.code {
        401 | 403 => Some(Knowledge::Refused(status.message.clone())),
        404 => Some(Knowledge::NotInstalled),
        _ => None,
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Stored>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_absent(&self) -> bool {
        matches!(*self.knowledge.borrow(), Knowledge::NotInstalled | Knowledge::Refused(_))
    }

    fn note(&self, works: bool) {
        if works { self.failing().works() } else { self.failing().fails(Instant::now()) }
    }

    fn failed(&self, error: &watcher::Error) {
        let kind = self.kind.as_str();
        let Some(learnt) = learnt(error) else {
            tracing::warn!(kind, %error, "Watching failed, trying again");
            return;
        };
        let news = self.knowledge.send_if_modified(|knowledge| {
            let news = *knowledge != learnt;
            knowledge.clone_from(&learnt);
            news
        });
        match learnt {
            Knowledge::Refused(why) if news && !self.kind.is_optional() => {
                tracing::error!(kind, why, "Watching is not permitted: install the chart's roles of this version");
            }
            _ if news => tracing::info!(kind, "The cluster has no such kind, or it is not granted"),
            _ => {}
        }
    }

    /// Whether it is news.
    fn put(&self, pipeline: &Key, stored: Stored) -> bool {
        let mut objects = self.lock();
        let of_pipeline = objects.entry(pipeline.clone()).or_default();
        match of_pipeline.iter_mut().find(|before| before.name == stored.name) {
            Some(before) if stored.version < before.version && stored.uid == before.uid => false,
            Some(before) => {
                let news = !before.says_the_same(&stored);
                *before = stored;
                news
            }
            None => {
                of_pipeline.push(stored);
                true
            }
        }
    }

    fn remove(&self, pipeline: &Key, name: &str) {
        let mut objects = self.lock();
        if let Some(of_pipeline) = objects.get_mut(pipeline) {
            of_pipeline.retain(|stored| *stored.name != *name);
            if of_pipeline.is_empty() {
                objects.remove(pipeline);
            }
        }
    }

    /// Takes a new list; returns the pipelines for which it says something new.
    fn replace(&self, new: HashMap<Key, Vec<Stored>>) -> HashSet<Key> {
        let mut objects = self.lock();
        let same = |one: &[Stored], other: &[Stored]| {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|stored| other.iter().any(|other| other.name == stored.name && other.says_the_same(stored)))
        };
        let gone = objects.keys().filter(|pipeline| !new.contains_key(pipeline)).cloned();
        let mut changed: HashSet<Key> = gone.collect();
        for (pipeline, stored) in &new {
            if objects.get(pipeline).is_none_or(|before| !same(before, stored)) {
                changed.insert(pipeline.clone());
            }
        }
        *objects = new;
        changed
    }
}

/// How old what was seen may be, when somebody asks for the metrics.
#[derive(Debug)]
pub struct Staleness {
    /// The objects of pipelines.
    pub live: Arc<Live>,
    /// All other watches, each by a word of its own.
    pub others: Vec<(&'static str, Watching)>,
}

impl Collector for Staleness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // What a cluster need not have, and has not, is no cause for alarm.
        let watched = || self.live.shelves.iter().filter(|shelf| !(shelf.kind.is_optional() && shelf.is_absent()));
        let help = "Seconds since a watch began to fail without success since; 0 while it works";
        let mut family =
            encoder.encode_descriptor("veneur_operator_watch_stale_seconds", help, None, MetricType::Gauge)?;
        let of_shelf = |shelf: &Shelf| (shelf.kind.as_str(), shelf.failing().stale(Instant::now()));
        let others = self.others.iter().map(|(kind, watching)| (*kind, watching.stale()));
        for (kind, stale) in watched().map(of_shelf).chain(others) {
            let stale = ConstGauge::new(i64::try_from(stale.as_secs()).unwrap_or(i64::MAX));
            stale.encode(family.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Whether a kind is listed and watched: 1; or 0, not yet or not permitted";
        let mut family = encoder.encode_descriptor("veneur_operator_watch_listed", help, None, MetricType::Gauge)?;
        let of_shelf = |shelf: &Shelf| (shelf.kind.as_str(), *shelf.knowledge.borrow() == Knowledge::Listed);
        let others = self.others.iter().map(|(kind, watching)| (*kind, watching.is_listed()));
        for (kind, listed) in watched().map(of_shelf).chain(others) {
            ConstGauge::new(i64::from(listed)).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Objects of pipelines that are kept in memory";
        let mut family = encoder.encode_descriptor("veneur_operator_watch_objects", help, None, MetricType::Gauge)?;
        for shelf in &self.live.shelves {
            let count = shelf.lock().values().map(Vec::len).sum::<usize>();
            let count = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            count.encode(family.encode_family(&[("kind", shelf.kind.as_str())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Live {
    pub(crate) fn learnt(&self, kind: Kind, knowledge: Knowledge) {
        self.shelf(kind).knowledge.send_replace(knowledge);
    }
}

#[cfg(test)]
mod tests;
