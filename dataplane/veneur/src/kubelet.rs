//! Node mode: tags of the pod that sent a sample, by what the kubelet says of its pods.
//!
//! Contexts are formed at the first sample of a spelling, and only there an origin is looked up, in memory. Who is not
//! known gives no tags now and is asked for; when the kubelet has named it, all contexts are formed anew at the next
//! boundary, and those of its samples have tags from then on. No reader ever waits for the kubelet.
//!
//! Laws: the kubelet is asked at most once in `refresh`; what is kept is bounded, whatever clients claim; an origin that
//! the kubelet cannot name is asked for ever more seldom, and after some tries no more.
//!
//! Not here: reading the protocol's sections, which is `veneur_dogstatsd`'s; the values of contexts.

mod cgroups;
mod client;
mod directory;
mod peers;
mod pods;
mod tags;
mod unknown;

pub(crate) use peers::{Peer, Peers};

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use veneur_config::{Node, TagCardinality};
use veneur_dogstatsd::{Cardinality, Claim};
use veneur_metric::Tags;

use self::{
    client::{Client, KubeletError},
    directory::Directory,
    unknown::Unknown,
};

/// How often the kubelet is asked though everybody is known: pods go, and labels change.
const ANYWAY: Duration = Duration::from_mins(1);

/// Origins that `/status` shows of those that are not known.
const SHOWN: usize = 10;

/// What is known of a node's pods, and who is missing.
#[derive(Debug)]
pub struct Kubelet {
    client: Client,
    refresh: Duration,
    cardinality: Cardinality,
    labels: Vec<(String, String)>,
    cgroup_root: PathBuf,
    directory: RwLock<Arc<Directory>>,
    unknown: Mutex<Unknown>,
    asked: Notify,
    /// Counts up when contexts formed before would have other tags now.
    generation: AtomicU64,
    contexts: Contexts,
    exchanges: Mutex<Exchanges>,
}

/// Contexts formed, by what is known of their origin.
#[derive(Debug, Default)]
struct Contexts {
    resolved: AtomicU64,
    unresolved: AtomicU64,
    anonymous: AtomicU64,
}

/// Requests to the kubelet.
#[derive(Debug, Default, Clone)]
struct Exchanges {
    answered: u64,
    failed: u64,
    last_success: Option<Instant>,
    /// Of the last request, if that failed.
    last_error: Option<String>,
}

/// Counts of node mode, as they are at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Contexts formed whose origin was known.
    pub contexts_resolved: u64,
    /// Contexts formed without tags because their origin was not known yet.
    pub contexts_unresolved: u64,
    /// Contexts formed of samples that name no origin.
    pub contexts_without_origin: u64,
    /// Requests that the kubelet answered.
    pub requests_answered: u64,
    /// Requests that failed.
    pub requests_failed: u64,
    /// Pods known.
    pub pods: usize,
    /// Containers known.
    pub containers: usize,
    /// Origins that are asked for.
    pub unknown_origins: usize,
}

impl Kubelet {
    /// As configured, asking in `tasks` until `stop`; `None` where there is no node mode.
    pub(crate) fn start(
        node: &Node,
        stop: &CancellationToken,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> Option<Arc<Self>> {
        let kubelet = node.is_on().then(|| Arc::new(Self::new(node)))?;
        let (asking, stop) = (Arc::clone(&kubelet), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(asking.keep_asking()).await;
            Ok(())
        });
        Some(kubelet)
    }

    fn new(node: &Node) -> Self {
        Self {
            client: Client::new(node),
            refresh: node.refresh.0,
            cardinality: match node.cardinality {
                TagCardinality::None => Cardinality::None,
                TagCardinality::Low => Cardinality::Low,
                TagCardinality::Orchestrator => Cardinality::Orchestrator,
                TagCardinality::High => Cardinality::High,
            },
            labels: node.labels().map(|(label, tag)| (label.to_owned(), tag.to_owned())).collect(),
            cgroup_root: cgroups::root(&node.cgroup_root),
            directory: RwLock::default(),
            unknown: Mutex::default(),
            asked: Notify::new(),
            generation: AtomicU64::new(0),
            contexts: Contexts::default(),
            exchanges: Mutex::default(),
        }
    }

    /// The tags of a context: `tags` as the client gave them, and those of whom it claims to be. Never waits.
    pub(crate) fn extend(&self, tags: Tags, claim: &Claim<'_>) -> Tags {
        if !claim.names_somebody() {
            self.contexts.anonymous.fetch_add(1, Relaxed);
            return tags;
        }
        let directory = self.directory();
        match directory.find(claim) {
            Ok(sender) => {
                self.contexts.resolved.fetch_add(1, Relaxed);
                let own: Vec<&str> = tags.iter().collect();
                let more = sender.up_to(claim.cardinality.unwrap_or(self.cardinality));
                Tags::new(own.iter().copied().chain(more.filter(|tag| !own.contains(tag))))
            }
            Err(key) => {
                self.contexts.unresolved.fetch_add(1, Relaxed);
                if key.is_some_and(|key| self.unknown().ask(key, Instant::now())) {
                    self.asked.notify_one();
                }
                tags
            }
        }
    }

    /// Counts up when contexts that were formed before would be formed otherwise now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// Asks the kubelet at once, and then whenever somebody is not known.
    async fn keep_asking(&self) {
        loop {
            let begun = Instant::now();
            let answer = self.ask().await;
            self.record(answer);
            tokio::time::sleep(self.refresh).await;
            loop {
                let due = self.unknown().next_due().unwrap_or(begun + ANYWAY).min(begun + ANYWAY);
                if due <= Instant::now() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    () = self.asked.notified() => {}
                }
            }
        }
    }

    async fn ask(&self) -> Result<(), KubeletError> {
        let answer = self.client.pods().await?;
        let old = self.directory();
        // Reading the file system and a few megabytes of JSON takes milliseconds, which belong to no async thread.
        let (labels, root) = (self.labels.clone(), self.unknown().wants_inodes().then(|| self.cgroup_root.clone()));
        let read = tokio::task::spawn_blocking(move || {
            let pods = pods::parse(&answer)?;
            let inodes = root.map(|root| cgroups::containers(&root));
            Ok::<_, KubeletError>(Directory::new(&pods, &labels, inodes, &old, Instant::now()))
        });
        let (directory, changed) = read.await.map_err(|_| KubeletError::Panicked)??;
        let directory = Arc::new(directory);
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&directory);
        let named = self.unknown().settle(|key| directory.knows(key), Instant::now(), self.refresh);
        // Whom there was no room to ask for may be among the new.
        if named.any || changed.tags || (changed.more && named.turned_away) {
            self.generation.fetch_add(1, Release);
        }
        Ok(())
    }

    fn record(&self, answer: Result<(), KubeletError>) {
        let mut exchanges = self.exchanges();
        match answer {
            Ok(()) => {
                exchanges.answered += 1;
                exchanges.last_success = Some(Instant::now());
                if exchanges.last_error.take().is_some() {
                    tracing::info!("The kubelet answers again");
                }
            }
            Err(error) => {
                exchanges.failed += 1;
                let text = format!("{:#}", anyhow::Error::new(error));
                if exchanges.last_error.is_none() {
                    tracing::warn!("No tags for pods that are not known yet: {text}");
                }
                exchanges.last_error = Some(text);
            }
        }
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        let Exchanges { answered, failed, .. } = *self.exchanges();
        let directory = self.directory();
        Counts {
            contexts_resolved: self.contexts.resolved.load(Relaxed),
            contexts_unresolved: self.contexts.unresolved.load(Relaxed),
            contexts_without_origin: self.contexts.anonymous.load(Relaxed),
            requests_answered: answered,
            requests_failed: failed,
            pods: directory.pods(),
            containers: directory.containers(),
            unknown_origins: self.unknown().len(),
        }
    }

    /// What explains the counts, for people.
    pub(crate) fn status(&self) -> serde_json::Value {
        let Exchanges { last_success, last_error, .. } = self.exchanges().clone();
        let mut status = serde_json::json!(self.counts());
        status["seconds_since_answer"] = last_success.map(|when| when.elapsed().as_secs()).into();
        status["last_error"] = last_error.into();
        status["unknown"] = self.unknown().shown(SHOWN, Instant::now()).into();
        status
    }

    fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchanges(&self) -> MutexGuard<'_, Exchanges> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
