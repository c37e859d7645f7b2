//! One pipeline's way from spec to status: validate → build → apply → observe → status.
//!
//! An invalid spec is answered in the status and waits for its change. A failure of the API server is answered in the
//! status and tried again, each pipeline with its own wait.

pub mod apply;
pub mod build;
pub mod observe;
pub mod revision;
pub mod status;
pub mod validate;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{ResourceExt as _, core::DeserializeGuard, runtime::controller::Action};
use veneur_operator_api::VeneurPipeline;

use crate::{context::Context, labels::Role};
use status::{Outcome, Tiers};

/// A pipeline as it is watched: one that does not decode must not blind the operator to the others.
pub type Watched = DeserializeGuard<VeneurPipeline>;

/// Everything is looked at again after this long, in case a watch missed something.
const RESYNC: Duration = Duration::from_mins(10);

/// Why a reconciliation is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// An object was not taken.
    #[error("applying the objects failed")]
    Apply(#[source] apply::ApplyError),
    /// Pods could not be listed.
    #[error("looking at the pods failed")]
    Observe(#[source] Box<kube::Error>),
    /// The status could not be written.
    #[error("writing the status failed")]
    Status(#[source] Box<kube::Error>),
}

/// Brings one pipeline's objects to what its spec asks for, and its status to what they are.
pub async fn reconcile(watched: Arc<Watched>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (namespace, name) = (watched.namespace().unwrap_or_default(), watched.name_any());
    let now = Time(Timestamp::now());
    let Ok(pipeline) = &watched.0 else {
        status::write_undecodable(&context.client, &namespace, &name, &now)
            .await
            .map_err(|error| ReconcileError::Status(Box::new(error)))?;
        return Ok(Action::await_change());
    };
    // Its objects go with it; applying them again would only race with their deletion.
    if pipeline.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let (outcome, result) = walk(pipeline, &context).await;
    let after = status::status(pipeline.status.as_ref(), pipeline.metadata.generation, &outcome, &now);
    if pipeline.status.as_ref() != Some(&after) {
        status::write(&context.client, &namespace, &name, &after)
            .await
            .map_err(|error| ReconcileError::Status(Box::new(error)))?;
        let reason = after.summary_reason.as_deref().unwrap_or_default();
        tracing::info!(%namespace, %name, generation = pipeline.metadata.generation, reason, "Status changed");
    }
    let action = result?;
    context.failures.succeeded(&key(&watched));
    Ok(action)
}

async fn walk(pipeline: &VeneurPipeline, context: &Context) -> (Outcome, Result<Action, ReconcileError>) {
    let validated = match validate::validate(pipeline, &context.defaults) {
        Ok(validated) => validated,
        Err(invalid) => return (Outcome::Invalid(invalid.to_string()), Ok(Action::await_change())),
    };
    let resources = build::build(&validated);
    let applied = match apply::apply(&context.client, &validated.name, &resources).await {
        Ok(applied) => applied,
        Err(error) => {
            let outcome = Outcome::NotApplied { reason: error.reason(), message: error.message() };
            return (outcome, Err(ReconcileError::Apply(error)));
        }
    };
    let observed = async {
        let proxy = observe::observe(&context.client, &validated, Role::Proxy, applied.proxy.as_ref()).await?;
        let global = observe::observe(&context.client, &validated, Role::Global, applied.global.as_ref()).await?;
        Ok(Tiers { proxy, global })
    };
    match observed.await {
        Ok(tiers) => (Outcome::Applied(Box::new(tiers)), Ok(Action::requeue(RESYNC))),
        Err(error) => {
            let error: kube::Error = error;
            let outcome = Outcome::NotApplied { reason: "ObserveFailed", message: apply::words(&error) };
            (outcome, Err(ReconcileError::Observe(Box::new(error))))
        }
    }
}

/// How long a failed pipeline waits: 1 s, doubling with each failure of its own, at most 5 min.
pub fn retry(watched: &Watched, error: &ReconcileError, context: &Context) -> Action {
    let wait = context.failures.failed(&key(watched));
    let cause = match error {
        ReconcileError::Apply(error) => error.message(),
        ReconcileError::Observe(error) | ReconcileError::Status(error) => apply::words(error),
    };
    tracing::warn!(pipeline = %key(watched), %error, %cause, wait_seconds = wait.as_secs(), "Reconciliation failed");
    Action::requeue(wait)
}

fn key(watched: &Watched) -> String {
    format!("{}/{}", watched.namespace().unwrap_or_default(), watched.name_any())
}

#[cfg(test)]
mod tests;
