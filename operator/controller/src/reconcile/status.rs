//! What the pipeline's status says. Pure but for the one write.
//!
//! Every condition is set from the first status on. A condition's time changes only when its status flips; a status
//! that would say the same again is not written, or the write would wake the next reconciliation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client, Resource as _,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::json;
use veneur_operator_api::{ConditionType, VeneurPipeline, VeneurPipelineStatus};

use super::observe::TierReport;
use crate::labels::STATUS_MANAGER;

/// How a reconciliation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The object does not fit the types of this operator.
    Undecodable(String),
    /// The spec cannot be used.
    Invalid(String),
    /// The API server did not take an object.
    NotApplied {
        /// Reason in the condition.
        reason: &'static str,
        /// Message in the condition.
        message: String,
    },
    /// Everything is applied.
    Applied(Box<Tiers>),
}

/// How the tiers are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    /// The proxies.
    pub proxy: TierReport,
    /// The globals.
    pub global: TierReport,
}

/// One condition's content.
struct Finding {
    status: &'static str,
    reason: String,
    message: String,
}

impl Finding {
    fn new(status: &'static str, reason: &str, message: &str) -> Self {
        Self { status, reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// The status after `outcome`, given the one before it.
pub fn status(
    before: Option<&VeneurPipelineStatus>,
    generation: Option<i64>,
    outcome: &Outcome,
    now: &Time,
) -> VeneurPipelineStatus {
    let findings = match outcome {
        Outcome::Undecodable(problem) => refused("Undecodable", problem),
        Outcome::Invalid(problem) => refused("Invalid", problem),
        Outcome::NotApplied { reason, message } => not_applied(reason, message),
        Outcome::Applied(tiers) => applied(tiers),
    };
    // Where the tiers were not looked at, their last counts stay.
    let (proxy, global) = match outcome {
        Outcome::Applied(tiers) => (Some(tiers.proxy.status.clone()), Some(tiers.global.status.clone())),
        _ => before.map(|status| (status.proxy.clone(), status.global.clone())).unwrap_or_default(),
    };
    let summary_reason = Some(findings[0].reason.clone());
    let conditions = ConditionType::ALL
        .into_iter()
        .zip(findings)
        .map(|(kind, finding)| condition(before, generation, kind, finding, now))
        .collect();
    VeneurPipelineStatus { observed_generation: generation, summary_reason, conditions, proxy, global }
}

fn accepted() -> Finding {
    Finding::new("True", "Valid", "the spec is valid")
}

/// The tiers keep running as they were; how they do is not looked at.
fn refused(reason: &str, problem: &str) -> [Finding; 4] {
    let kept = || Finding::new("Unknown", reason, "not looked at: the spec is not accepted, what runs is left alone");
    [Finding::new("False", reason, problem), Finding::new("False", reason, problem), kept(), kept()]
}

fn not_applied(reason: &str, message: &str) -> [Finding; 4] {
    let unknown = || Finding::new("Unknown", reason, "not looked at: the objects could not be applied");
    [Finding::new("False", reason, message), accepted(), unknown(), unknown()]
}

/// Globals come first among the causes: without them nothing is published, however well the proxies do.
fn applied(tiers: &Tiers) -> [Finding; 4] {
    let Tiers { proxy, global } = tiers;
    let of = |report: &TierReport| {
        Finding::new(if report.available { "True" } else { "False" }, &report.reason, &report.message)
    };
    let worst = [("global", global), ("proxy", proxy)].into_iter().find(|(_, report)| !report.available);
    let ready = match worst {
        Some((tier, report)) => {
            let message = format!("{tier} {}: {}", report.status.summary, report.message);
            Finding::new("False", &report.reason, &message)
        }
        None => Finding::new(
            "True",
            "AllTiersReady",
            &format!("proxy {}, global {}", proxy.status.summary, global.status.summary),
        ),
    };
    [ready, accepted(), of(proxy), of(global)]
}

fn condition(
    before: Option<&VeneurPipelineStatus>,
    generation: Option<i64>,
    kind: ConditionType,
    finding: Finding,
    now: &Time,
) -> Condition {
    let earlier = before
        .and_then(|status| status.conditions.iter().find(|condition| condition.type_ == kind.as_str()))
        .filter(|condition| condition.status == finding.status);
    Condition {
        last_transition_time: earlier.map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone()),
        message: finding.message,
        observed_generation: generation,
        reason: finding.reason,
        status: finding.status.to_owned(),
        type_: kind.as_str().to_owned(),
    }
}

/// Writes a status. By server-side apply, or for an object that cannot be decoded by a merge patch, whose answer is
/// not decoded either.
pub async fn write(
    client: &Client,
    namespace: &str,
    name: &str,
    status: &VeneurPipelineStatus,
) -> Result<(), kube::Error> {
    let resource = ApiResource::erase::<VeneurPipeline>(&());
    let pipelines: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let body = json!({
        "apiVersion": VeneurPipeline::api_version(&()),
        "kind": VeneurPipeline::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    pipelines.patch_status(name, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(body)).await.map(drop)
}

/// Writes the status of an object that this operator cannot decode, unless it already says so.
pub async fn write_undecodable(client: &Client, namespace: &str, name: &str, now: &Time) -> Result<(), kube::Error> {
    let resource = ApiResource::erase::<VeneurPipeline>(&());
    let pipelines: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let Some(object) = pipelines.get_opt(name).await? else {
        return Ok(());
    };
    let before: Option<VeneurPipelineStatus> =
        object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let Some(problem) = undecodable(&object) else { return Ok(()) };
    tracing::warn!(%namespace, %name, problem, "Pipeline does not decode");
    let after = status(before.as_ref(), object.metadata.generation, &Outcome::Undecodable(problem), now);
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    let params = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
    pipelines.patch_status(name, &params, &Patch::Merge(json!({"status": after}))).await.map(drop)
}

/// Which field does not fit; nothing if the object was mended meanwhile.
fn undecodable(object: &DynamicObject) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, VeneurPipeline>(json!(object)).err()?;
    Some(format!(
        "{}: {}: written under another definition than this operator's, change the field or install its definition",
        error.path(),
        error.inner()
    ))
}

#[cfg(test)]
mod tests;
