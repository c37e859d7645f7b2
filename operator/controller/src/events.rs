//! What `kubectl describe` tells of a pipeline's past: transitions, each once.
//!
//! What to tell is a pure function of the status before and after. Telling it never fails a reconciliation.

use std::time::Duration;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::timeout;
use veneur_operator_api::{
    ConditionType, ReconciledReason, RingStatus, TierReason, VeneurPipeline, VeneurPipelineStatus,
};

use crate::labels::FIELD_MANAGER;

/// How long writing one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest note, in bytes; the API server takes 1,024.
const LONGEST: usize = 1_000;

/// Something that has just begun or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should look.
    pub warning: bool,
    /// What happened, in one word.
    pub reason: String,
    /// One sentence.
    pub note: String,
}

/// Where transitions are told.
#[derive(Clone)]
pub struct Events(Recorder);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// As this replica of the operator.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self(Recorder::new(client, Reporter { controller: FIELD_MANAGER.to_owned(), instance }))
    }

    /// Tells it of a pipeline.
    pub async fn tell(&self, pipeline: &VeneurPipeline, told: &[Told]) {
        self.tell_of(&pipeline.object_ref(&()), "Reconcile", told).await;
    }

    /// Tells it of any object, as what came of an action.
    pub async fn tell_of(&self, object: &ObjectReference, action: &str, told: &[Told]) {
        for Told { warning, reason, note } in told {
            let event = Event {
                type_: if *warning { EventType::Warning } else { EventType::Normal },
                reason: reason.clone(),
                note: Some(cut(note).to_owned()),
                action: action.to_owned(),
                secondary: None,
            };
            let (namespace, name) = (&object.namespace, &object.name);
            match timeout(PATIENCE, self.0.publish(&event, object)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(?namespace, ?name, reason, %error, "Cannot write an event"),
                Err(_) => tracing::warn!(?namespace, ?name, reason, "An event was not written in time"),
            }
        }
    }
}

fn cut(note: &str) -> &str {
    let end = (0..=LONGEST.min(note.len())).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
    &note[..end]
}

/// What happened between two statuses. The first status of all is no transition.
pub fn transitions(before: Option<&VeneurPipelineStatus>, after: &VeneurPipelineStatus) -> Vec<Told> {
    let Some(before) = before.filter(|before| !before.conditions.is_empty()) else { return Vec::new() };
    let mut told = Vec::new();
    for kind in ConditionType::ALL {
        if let (Some(before), Some(after)) = (find(before, kind), find(after, kind)) {
            told.extend(of_condition(kind, before, after));
        }
    }
    told.extend(of_ring(before.ring.as_ref(), after.ring.as_ref()));
    told
}

fn find(status: &VeneurPipelineStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

fn of_condition(kind: ConditionType, before: &Condition, after: &Condition) -> Option<Told> {
    if (&before.status, &before.reason) == (&after.status, &after.reason) {
        return None;
    }
    let told = |warning, reason: &str, note: String| Some(Told { warning, reason: reason.to_owned(), note });
    let tier = match kind {
        ConditionType::ProxyAvailable => "proxies",
        ConditionType::GlobalAvailable => "globals",
        ConditionType::NodeAvailable => "node agents",
        // Said by the condition that it repeats.
        ConditionType::Ready => return None,
        _ => "",
    };
    if !tier.is_empty() {
        let progressing = TierReason::Progressing.as_str();
        let well = TierReason::MinimumReplicasAvailable.as_str();
        if after.reason == progressing && before.reason == well {
            return told(false, "RolloutStarted", format!("{tier}: {}", after.message));
        }
        if after.reason == well && before.reason != TierReason::NotObserved.as_str() {
            return told(false, "RolloutFinished", format!("{tier}: {}", after.message));
        }
        return if after.status == "False" && after.reason != progressing {
            told(true, &after.reason, format!("{tier}: {}", after.message))
        } else {
            None
        };
    }
    if kind == ConditionType::Reconciled {
        let paused = ReconciledReason::Paused.as_str();
        if after.reason == paused {
            return told(false, "Paused", after.message.clone());
        }
        if before.reason == paused {
            return told(false, "Resumed", after.message.clone());
        }
        if after.reason == ReconciledReason::UpgradeWaiting.as_str() {
            return told(false, "UpgradeWaiting", after.message.clone());
        }
    }
    if after.status == "False" {
        let note = if after.message.is_empty() { kind.as_str().to_owned() } else { after.message.clone() };
        return told(true, &after.reason, note);
    }
    // It is over.
    (after.status == "True" && before.status == "False").then(|| Told {
        warning: false,
        reason: after.reason.clone(),
        note: format!("{}: {}", kind.as_str(), after.message),
    })
}

fn of_ring(before: Option<&RingStatus>, after: Option<&RingStatus>) -> Option<Told> {
    let (before, after) = (before?, after?);
    if after.hash.is_empty() || before.hash.is_empty() || before.hash == after.hash {
        return None;
    }
    let count = |one: &RingStatus, other: &RingStatus| {
        one.members.iter().filter(|member| !other.members.contains(member)).count()
    };
    let note = format!("members +{} -{}, now {}", count(after, before), count(before, after), after.size);
    Some(Told { warning: false, reason: "RingChanged".to_owned(), note })
}

#[cfg(test)]
mod tests;
