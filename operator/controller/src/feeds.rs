//! What other tasks tell the reconciliation: pods that ask for a sidecar, and whether the webhook is reached.
//!
//! Each is a `watch`, so that only the newest counts and nobody waits. A change of either wakes the pipelines it is
//! about. Until a task has spoken, the conditions say that nothing was observed.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;
use veneur_operator_api::{InjectionReason, InjectionStatus, WebhookReason};

/// Namespace and name of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Of these two.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The pods of one pipeline that ask for a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectionReport {
    /// Counts, as they are in the status.
    pub status: InjectionStatus,
    /// What is wrong, the worst first; [`InjectionReason::AllInjected`] or [`InjectionReason::NonePending`] if nothing is.
    pub reason: InjectionReason,
    /// One sentence with the next step.
    pub message: String,
}

/// The pods of every pipeline. A pipeline that is not in it has none.
pub type InjectionSnapshot = Arc<HashMap<Key, InjectionReport>>;

/// How the last probe of the webhook went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookReport {
    /// What it found.
    pub reason: WebhookReason,
    /// One sentence with the next step.
    pub message: String,
}

/// Receivers of both. `None`: the task has not spoken yet.
#[derive(Debug, Clone)]
pub struct Feeds {
    /// Written by who looks at all pods.
    pub injection: watch::Receiver<Option<InjectionSnapshot>>,
    /// Written by who probes the webhook.
    pub webhook: watch::Receiver<Option<WebhookReport>>,
}

/// The other ends of [`Feeds`].
#[derive(Debug)]
pub struct FeedSenders {
    /// For who looks at all pods. Use `send_if_modified`: each change wakes pipelines.
    pub injection: watch::Sender<Option<InjectionSnapshot>>,
    /// For who probes the webhook.
    pub webhook: watch::Sender<Option<WebhookReport>>,
}

/// Both ends, nothing said yet.
pub fn feeds() -> (FeedSenders, Feeds) {
    let (injection_sender, injection) = watch::channel(None);
    let (webhook_sender, webhook) = watch::channel(None);
    (FeedSenders { injection: injection_sender, webhook: webhook_sender }, Feeds { injection, webhook })
}

impl Feeds {
    /// What is known of one pipeline's pods.
    pub fn injection_of(&self, pipeline: &Key) -> Option<InjectionReport> {
        let told = self.injection.borrow();
        let all = told.as_ref()?;
        Some(all.get(pipeline).cloned().unwrap_or_else(|| InjectionReport {
            status: InjectionStatus { summary: "0/0".to_owned(), ..InjectionStatus::default() },
            reason: InjectionReason::NonePending,
            message: "no pod asks for a sidecar of this pipeline".to_owned(),
        }))
    }
}
