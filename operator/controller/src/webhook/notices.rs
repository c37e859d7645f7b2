//! Events on the owners of pods: what became of their pods in the webhook.
//!
//! A pod has no identity before it is stored, so an event on it would be seen by nobody. Its owner has one, and is where
//! people look. The webhook never waits for an event: beyond what the queue holds, events are lost, and the pod's own
//! annotation still says everything.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    events::{Events, Told},
    injection::Outcome,
};

/// Events that wait to be written.
const QUEUE: usize = 256;
/// A reason is not told twice of one owner within this time.
const QUIET: Duration = Duration::from_mins(10);
/// Owners and reasons that are remembered.
const MOST_REMEMBERED: usize = 4096;
/// Reason of the event that nobody needs to act on.
const INJECTED: &str = "VeneurInjected";

/// What is to be told of an owner.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    owner: ObjectReference,
    reason: &'static str,
    note: String,
}

/// Where the webhook leaves events.
#[derive(Debug, Clone)]
pub struct Notices(mpsc::Sender<Notice>);

/// Writes them.
#[derive(Debug)]
pub struct NoticeWriter(mpsc::Receiver<Notice>);

/// A queue of events and what writes them.
pub fn notices() -> (Notices, NoticeWriter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Notices(sender), NoticeWriter(receiver))
}

impl Notices {
    /// Leaves the event of a decision, if the pod has an owner.
    pub(super) fn tell(&self, pod: &Value, namespace: &str, outcome: &Outcome) {
        if let Some(notice) = notice(pod, namespace, outcome)
            && self.0.try_send(notice).is_err()
        {
            tracing::debug!(namespace, "An event was left out, because too many wait");
        }
    }
}

fn notice(pod: &Value, namespace: &str, outcome: &Outcome) -> Option<Notice> {
    let (reason, note) = match outcome {
        Outcome::Untouched => return None,
        Outcome::Injected { stamp, .. } => {
            let notes = if stamp.notes.is_empty() { String::new() } else { format!("; {}", stamp.notes.join("; ")) };
            (INJECTED, format!("Pods send to pipeline {}{notes}", stamp.pipeline))
        }
        Outcome::Skipped { skip, .. } => ("VeneurInjectionSkipped", skip.to_string()),
    };
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
    let text = |key: &str| owner.get(key).and_then(Value::as_str).map(str::to_owned);
    let owner = ObjectReference {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: Some(text("name")?),
        namespace: Some(namespace.to_owned()),
        uid: text("uid"),
        ..ObjectReference::default()
    };
    Some(Notice { owner, reason, note: note.chars().take(1000).collect() })
}

impl NoticeWriter {
    /// Writes what comes until `stop`.
    pub async fn run(mut self, events: Events, stop: CancellationToken) {
        let mut lately = Lately::default();
        while let Some(Some(notice)) = stop.run_until_cancelled(self.0.recv()).await {
            if lately.is_news(&notice, Instant::now()) {
                let Notice { owner, reason, note } = notice;
                let told = Told { warning: reason != INJECTED, reason: reason.to_owned(), note };
                events.tell_of(&owner, "Inject", &[told]).await;
            }
        }
    }
}

/// What was told lately, by owner and text.
#[derive(Debug, Default)]
struct Lately(HashMap<(String, String), Instant>);

impl Lately {
    /// Whether this was not told of this owner lately; it is remembered.
    fn is_news(&mut self, notice: &Notice, now: Instant) -> bool {
        if self.0.len() >= MOST_REMEMBERED {
            self.0.retain(|_, told| now.duration_since(*told) < QUIET);
            if self.0.len() >= MOST_REMEMBERED {
                self.0.clear();
            }
        }
        let owner = notice.owner.uid.clone().or_else(|| notice.owner.name.clone()).unwrap_or_default();
        match self.0.insert((owner, notice.note.clone()), now) {
            Some(told) if now.duration_since(told) < QUIET => false,
            Some(_) => notice.reason != INJECTED,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(uid: &str, reason: &'static str, note: &str) -> Notice {
        let owner = ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() };
        Notice { owner, reason, note: note.to_owned() }
    }

    #[test]
    fn a_reason_is_told_once_of_each_owner_until_it_is_long_ago() {
        let (mut told, now) = (Lately::default(), Instant::now());
        let skipped = notice("a", "VeneurInjectionSkipped", "NoPipeline");
        assert!(told.is_news(&skipped, now));
        assert!(!told.is_news(&skipped, now));
        assert!(told.is_news(&notice("b", "VeneurInjectionSkipped", "NoPipeline"), now));
        assert!(told.is_news(&notice("a", "VeneurInjectionSkipped", "NotAllowed"), now));
        assert!(!told.is_news(&skipped, now + QUIET / 2));
        assert!(told.is_news(&skipped, now + 2 * QUIET));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut told, now) = (Lately::default(), Instant::now());
        for owner in 0..3 * MOST_REMEMBERED {
            assert!(told.is_news(&notice(&owner.to_string(), "VeneurInjected", ""), now));
            assert!(told.0.len() <= MOST_REMEMBERED);
        }
    }
}
