//! One pipeline's way from spec to status: validate → build → apply → observe → status.
//!
//! An invalid spec is answered in the status and waits for its change. A failure of the API server is answered in the
//! status and tried again, each pipeline with its own wait. What is there already is not written again.

pub mod apply;
pub mod build;
mod certificate;
pub mod observe;
pub mod revision;
pub mod status;
pub mod validate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{Resource as _, ResourceExt as _, core::DeserializeGuard, runtime::controller::Action};
use veneur_operator_api::{Management, ReconciledReason, VeneurPipeline, VeneurPipelineStatus};

use crate::{context::Context, events, feeds::Key, labels::Role};
use apply::{Applied, Applier, Mode, Permission, Sight};
use observe::TierReport;
use status::{Around, Outcome, Tiers};
use validate::Validated;

/// A pipeline as it is watched: one that does not decode must not blind the operator to the others.
pub type Watched = DeserializeGuard<VeneurPipeline>;

/// Everything is looked at again after so long, in case a watch missed something; spread, so that a thousand pipelines
/// do not come at once.
const RESYNC: Duration = Duration::from_mins(10);
/// An object that somebody keeps changing back, or whose kind the cluster lacks, is looked at again after so long.
const SOON: Duration = Duration::from_mins(1);

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

impl ReconcileError {
    /// The outcome's word in the metrics.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply_failed",
            Self::Observe(_) => "observe_failed",
            Self::Status(_) => "status_failed",
        }
    }
}

/// Brings one pipeline's objects to what its spec asks for, and its status to what they are.
pub async fn reconcile(watched: Arc<Watched>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let begun = Instant::now();
    let result = once(&watched, &context).await;
    let outcome = match &result {
        Ok((outcome, _)) => outcome,
        Err(error) => error.outcome(),
    };
    context.telemetry.reconciled(outcome, begun.elapsed());
    result.map(|(_, action)| action)
}

async fn once(watched: &Watched, context: &Context) -> Result<(&'static str, Action), ReconcileError> {
    let key = key(watched);
    let now = Time(Timestamp::now());
    let Ok(pipeline) = &watched.0 else {
        status::write::write_undecodable(&context.client, &key.namespace, &key.name, &now)
            .await
            .map_err(|error| ReconcileError::Status(Box::new(error)))?;
        return Ok(("undecodable", Action::await_change()));
    };
    // Its objects go with it; applying them again would only race with their deletion.
    if pipeline.metadata.deletion_timestamp.is_some() {
        return Ok(("deleting", Action::await_change()));
    }
    let (outcome, result) = walk(pipeline, &key, context).await;
    let around = Around {
        fleet: context.fleet.report_of(&key),
        injection: context.feeds.injection_of(pipeline),
        webhook: context.feeds.webhook(),
        older_default: context.feeds.older_default(pipeline),
    };
    let before = pipeline.status.as_ref();
    let mut after = status::status(before, pipeline.metadata.generation, &outcome, &around, &now);
    keep_account(before, &mut after, context.accounts.is_due(&key, Instant::now()));
    if before != Some(&after) {
        tell(pipeline, &key, &after, context).await?;
    }
    let action = result?;
    context.failures.succeeded(&key);
    let word = if matches!(outcome, Outcome::Invalid(_)) { "invalid" } else { "settled" };
    Ok((word, action))
}

/// Counts alone are no news: unless something else has changed, or they were written long ago, the old ones stay.
fn keep_account(before: Option<&VeneurPipelineStatus>, after: &mut VeneurPipelineStatus, due: bool) {
    let Some(before) = before.filter(|_| !due) else { return };
    if before.account.is_none() {
        return;
    }
    let counts = after.account.take();
    after.account.clone_from(&before.account);
    if after != before {
        after.account = counts;
    }
}

/// Writes the status, and tells what has just begun or ended.
async fn tell(
    pipeline: &VeneurPipeline,
    key: &Key,
    after: &VeneurPipelineStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    status::write::write(&context.client, &key.namespace, &key.name, after)
        .await
        .map_err(|error| ReconcileError::Status(Box::new(error)))?;
    context.telemetry.status_written();
    let reason = after.summary_reason.as_deref().unwrap_or_default();
    tracing::info!(pipeline = %key, generation = pipeline.metadata.generation, action = "status", reason, "Status changed");
    context.events.tell(pipeline, &events::transitions(pipeline.status.as_ref(), after)).await;
    Ok(())
}

async fn walk(pipeline: &VeneurPipeline, key: &Key, context: &Context) -> (Outcome, Result<Action, ReconcileError>) {
    let validated = match validate::validate(pipeline, &context.defaults) {
        Ok(validated) => validated,
        Err(invalid) => {
            let kept = Box::pin(certificate::keep_running(key, pipeline.controller_owner_ref(&()), context)).await;
            let action = kept.map(|again| Action::requeue(again.min(spread(RESYNC, key))));
            return (
                Outcome::Invalid(invalid.to_string()),
                action.map_err(|error| ReconcileError::Apply(error.into())),
            );
        }
    };
    let mut resources = build::build(&validated);
    let applier = Applier {
        client: context.client.clone(),
        live: Arc::clone(&context.live),
        contests: Arc::clone(&context.contests),
        telemetry: context.telemetry.clone(),
        generation: pipeline.metadata.generation,
    };
    let mode = match pipeline.spec.management {
        Management::Managed => Mode::Managed,
        Management::Paused => Mode::Paused,
    };
    let brought = match Box::pin(certificate::keep(&validated, key, &mut resources, mode, context)).await {
        Ok(again) => applier.apply(key, &resources, mode).await.map(|applied| (applied, again)),
        Err(error) => Err(error.into()),
    };
    let (applied, again, failed) = match brought {
        Ok((applied, again)) => (applied, again, None),
        // What runs is looked at even so.
        Err(error) => (applier.seen(key, &resources), RESYNC, Some(error)),
    };
    let reconciled = match &failed {
        Some(error) => (error.reason(), error.message()),
        None => reconciled(&applied, mode, context),
    };
    // That a kind is there by now wakes nobody.
    let soon = !applied.contested.is_empty() || !applied.lacking.is_empty();
    match observe_tiers(&validated, &applied, context).await {
        Ok(tiers) => {
            let outcome = Outcome::Accepted { reconciled, tiers: tiers.map(Box::new) };
            let wait = if soon { SOON } else { spread(RESYNC, key) }.min(again);
            (outcome, failed.map_or(Ok(Action::requeue(wait)), |error| Err(ReconcileError::Apply(error))))
        }
        Err(error) => {
            let said = apply::words(&error);
            let said = Permission::missing_in(&said).map_or(said, |permission| permission.to_string());
            let reconciled = (ReconciledReason::ObserveFailed, format!("pods cannot be listed: {said}"));
            let outcome = Outcome::Accepted { reconciled, tiers: None };
            (outcome, Err(failed.map_or_else(|| ReconcileError::Observe(Box::new(error)), ReconcileError::Apply)))
        }
    }
}

/// What the condition `Reconciled` says after an apply that did not fail.
fn reconciled(applied: &Applied, mode: Mode, context: &Context) -> (ReconciledReason, String) {
    if mode == Mode::Paused {
        let message = match applied.held.as_slice() {
            [] => "management is Paused: nothing is written; everything is as the spec asks".to_owned(),
            held => {
                format!("management is Paused: nothing is written; these differ from the spec: {}", held.join(", "))
            }
        };
        return (ReconciledReason::Paused, message);
    }
    if let Some((kind, why)) = context.live.refused().into_iter().next() {
        let why = Permission::missing_in(&why).map_or(why, |permission| permission.to_string());
        let message = format!("changes of {} are not seen: {why}", kind.as_str());
        return (ReconciledReason::PermissionMissing, message);
    }
    if let Some(lacking) = applied.lacking.first() {
        return (ReconciledReason::PermissionMissing, lacking.to_string());
    }
    if !applied.contested.is_empty() {
        let message = format!(
            "somebody changes {} back again and again: does another operator, a GitOps tool or an autoscaler own it too? \
             kubectl get --show-managed-fields says who",
            applied.contested.join(", ")
        );
        return (ReconciledReason::Contested, message);
    }
    match &applied.waits {
        Some(waits) => (ReconciledReason::UpgradeWaiting, waits.clone()),
        None => (ReconciledReason::Applied, "every object is as the spec asks".to_owned()),
    }
}

async fn observe_tiers(
    validated: &Validated,
    applied: &Applied,
    context: &Context,
) -> Result<Option<Tiers>, kube::Error> {
    let Context { client, live, .. } = context;
    let tier = async |role, sight: &Sight| match sight {
        Sight::Disabled => Ok(Some(TierReport::disabled())),
        Sight::Unknown => Ok(None),
        Sight::There(deployment) => observe::observe(client, live, validated, role, deployment).await.map(Some),
    };
    let proxy = tier(Role::Proxy, &applied.proxy).await?;
    let global = tier(Role::Global, &applied.global).await?;
    let node = tier(Role::Node, &applied.node).await?;
    Ok(proxy.zip(global).map(|(proxy, global)| Tiers { proxy, global, node }))
}

/// Up to a tenth more, always the same for one pipeline.
fn spread(wait: Duration, key: &Key) -> Duration {
    let hash = revision::of(&key.to_string()).bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 1_000);
    wait + wait * hash / 10_000
}

/// How long a failed pipeline waits: 1 s, doubling with each failure of its own, at most 5 min.
pub fn retry(watched: &Watched, error: &ReconcileError, context: &Context) -> Action {
    let key = key(watched);
    let wait = context.failures.failed(&key);
    let cause = match error {
        ReconcileError::Apply(error) => error.message(),
        ReconcileError::Observe(error) | ReconcileError::Status(error) => apply::words(error),
    };
    let generation = watched.meta().generation;
    tracing::warn!(pipeline = %key, generation, action = "retry", %error, %cause, wait_seconds = wait.as_secs(), "Reconciliation failed");
    Action::requeue(wait)
}

fn key(watched: &Watched) -> Key {
    Key::new(watched.namespace().unwrap_or_default(), watched.name_any())
}

#[cfg(test)]
mod tests;
