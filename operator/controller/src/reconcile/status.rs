//! What the pipeline's status says. Pure.
//!
//! Every condition is set from the first status on. A condition's time changes only when its status flips; a status
//! that would say the same again is not written ([`mod@write`]), or the write would wake the next reconciliation.

mod summary;
pub mod write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use veneur_operator_api::{
    AcceptedReason, ConditionType, InjectionReason, ReconciledReason, RingReason, SinksReason, TierReason,
    VeneurPipelineStatus, WebhookReason,
};

use super::observe::TierReport;
use crate::{
    feeds::{InjectionReport, Key, WebhookReport},
    fleet::FleetReport,
};

/// How a reconciliation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The object does not fit the types of this operator.
    Undecodable(String),
    /// The spec cannot be used.
    Invalid(String),
    /// The spec can be used.
    Accepted {
        /// Whether the objects are as it asks.
        reconciled: (ReconciledReason, String),
        /// How the tiers are doing, where that could be seen.
        tiers: Option<Box<Tiers>>,
    },
}

/// How the tiers are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    /// The proxies.
    pub proxy: TierReport,
    /// The globals.
    pub global: TierReport,
    /// The agents of nodes, where they could be seen: that they are not must not hide the others.
    pub node: Option<TierReport>,
}

/// What others have told about the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// What the tiers say of themselves.
    pub fleet: Option<FleetReport>,
    /// The pods that ask for a sidecar.
    pub injection: Option<InjectionReport>,
    /// Whether pods reach the webhook.
    pub webhook: Option<WebhookReport>,
    /// The older pipeline that is the cluster's default, where this one says that it is.
    pub older_default: Option<Key>,
}

/// The three words of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    True,
    /// Bad.
    False,
    /// Nobody knows.
    Unknown,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Finding {
    fn new(verdict: Verdict, reason: &'static str, message: impl Into<String>) -> Self {
        Self { verdict, reason, message: message.into() }
    }
}

/// What every condition but `Ready` says.
pub(crate) struct Findings {
    pub(crate) accepted: Finding,
    pub(crate) reconciled: Finding,
    pub(crate) proxy: Finding,
    pub(crate) global: Finding,
    pub(crate) node: Finding,
    pub(crate) ring: Finding,
    pub(crate) injection: Finding,
    pub(crate) sinks: Finding,
    pub(crate) webhook: Finding,
}

/// The status after `outcome`, given the one before it.
pub fn status(
    before: Option<&VeneurPipelineStatus>,
    generation: Option<i64>,
    outcome: &Outcome,
    around: &Around,
    now: &Time,
) -> VeneurPipelineStatus {
    let findings = findings(outcome, around);
    let tiers = match outcome {
        Outcome::Accepted { tiers, .. } => tiers.as_deref(),
        Outcome::Undecodable(_) | Outcome::Invalid(_) => None,
    };
    let ready = summary::ready(&findings, tiers, around);
    let summary_reason = Some(summary::reason(&ready, &findings).to_owned());
    let Findings { accepted, reconciled, proxy, global, node, ring, injection, sinks, webhook } = findings;
    let conditions = ConditionType::ALL
        .into_iter()
        .zip([ready, accepted, reconciled, proxy, global, node, ring, injection, sinks, webhook])
        .map(|(kind, finding)| condition(before, generation, kind, finding, now))
        .collect();
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = generation;
    status.summary_reason = summary_reason;
    status.conditions = conditions;
    // Where the tiers were not looked at, their last counts stay.
    if let Some(tiers) = tiers {
        status.proxy.clone_from(&tiers.proxy.status);
        status.global.clone_from(&tiers.global.status);
        if let Some(node) = &tiers.node {
            status.node.clone_from(&node.status);
        }
        if [&tiers.global, &tiers.proxy].iter().all(|tier| tier.reason == TierReason::Disabled) {
            // Tiers that come back are new, and sidecars must not go back to what the earlier ones ran.
            (status.version, status.image) = (None, None);
        }
        if let Some(image) = rolled_out(tiers) {
            status.version = image.rsplit_once(['@', ':']).map(|(_, version)| version.to_owned());
            status.image = Some(image);
        }
    }
    if let Some(counts) = around.injection.as_ref().and_then(|injection| injection.status.as_ref()) {
        status.injection = Some(counts.clone());
    }
    if let Some(fleet) = &around.fleet {
        fleet.fill(&mut status);
    }
    status
}

/// The image that every tier runs in full; nothing while one is being replaced.
fn rolled_out(tiers: &Tiers) -> Option<String> {
    let images: Vec<&str> = [&tiers.global, &tiers.proxy]
        .into_iter()
        .filter(|tier| tier.reason != TierReason::Disabled)
        .map(|tier| tier.status.as_ref().filter(|_| tier.complete).map(|status| status.image.as_str()))
        .collect::<Option<_>>()?;
    let first = *images.first()?;
    images.iter().all(|image| *image == first).then(|| first.to_owned())
}

fn findings(outcome: &Outcome, around: &Around) -> Findings {
    let (accepted, reconciled, tiers) = match outcome {
        Outcome::Undecodable(problem) => refused(AcceptedReason::Undecodable, problem),
        Outcome::Invalid(problem) => refused(AcceptedReason::Invalid, problem),
        Outcome::Accepted { reconciled: (reason, message), tiers } => {
            let verdict = match reason {
                ReconciledReason::Applied => Verdict::True,
                ReconciledReason::Paused | ReconciledReason::Reconciling => Verdict::Unknown,
                _ => Verdict::False,
            };
            (accepted(around), Finding::new(verdict, reason.as_str(), message), tiers.as_deref())
        }
    };
    Findings {
        accepted,
        reconciled,
        proxy: tier(tiers.map(|tiers| &tiers.proxy)),
        global: tier(tiers.map(|tiers| &tiers.global)),
        node: tier(tiers.and_then(|tiers| tiers.node.as_ref())),
        ring: ring(around),
        injection: injection(around),
        sinks: sinks(around),
        webhook: webhook(around),
    }
}

/// A spec that can be used, though perhaps not in all it says.
fn accepted(around: &Around) -> Finding {
    match &around.older_default {
        None => Finding::new(Verdict::True, AcceptedReason::Valid.as_str(), "the spec is valid"),
        Some(older) => {
            let message = format!(
                "injection.clusterDefault: {older} is older and stays the cluster's default; all else of this pipeline \
                 works: set it to false here or there"
            );
            Finding::new(Verdict::False, AcceptedReason::DuplicateClusterDefault.as_str(), message)
        }
    }
}

/// The tiers keep running as they were; how they do is not looked at.
fn refused(reason: AcceptedReason, problem: &str) -> (Finding, Finding, Option<&'static Tiers>) {
    let kept = "nothing was written: the spec is not accepted, what runs is left alone";
    (
        Finding::new(Verdict::False, reason.as_str(), problem),
        Finding::new(Verdict::Unknown, ReconciledReason::Reconciling.as_str(), kept),
        None,
    )
}

fn tier(report: Option<&TierReport>) -> Finding {
    match report {
        Some(report) => {
            let verdict = if report.available { Verdict::True } else { Verdict::False };
            Finding::new(verdict, report.reason.as_str(), &*report.message)
        }
        None => {
            Finding::new(Verdict::Unknown, TierReason::NotObserved.as_str(), "not looked at, see the other conditions")
        }
    }
}

fn ring(around: &Around) -> Finding {
    let Some(fleet) = &around.fleet else {
        let message = "no proxy was asked for its members yet";
        return Finding::new(Verdict::Unknown, RingReason::NotObserved.as_str(), message);
    };
    let (reason, message) = &fleet.ring;
    let verdict = match reason {
        RingReason::AllProxiesAgree | RingReason::NoProxies => Verdict::True,
        RingReason::NotObserved | RingReason::Converging | RingReason::Stale => Verdict::Unknown,
        RingReason::ProxiesDisagree | RingReason::NoMembers | RingReason::EndpointsUnreadable => Verdict::False,
    };
    Finding::new(verdict, reason.as_str(), message)
}

fn injection(around: &Around) -> Finding {
    let Some(report) = &around.injection else {
        let message = "the pods that ask for a sidecar were not looked at yet";
        return Finding::new(Verdict::Unknown, InjectionReason::NotObserved.as_str(), message);
    };
    let verdict = match report.reason {
        InjectionReason::AllInjected | InjectionReason::NonePending => Verdict::True,
        InjectionReason::NotObserved => Verdict::Unknown,
        _ => Verdict::False,
    };
    Finding::new(verdict, report.reason.as_str(), &*report.message)
}

fn sinks(around: &Around) -> Finding {
    let Some(fleet) = &around.fleet else {
        let message = "no global was asked for its sinks yet";
        return Finding::new(Verdict::Unknown, SinksReason::NotObserved.as_str(), message);
    };
    let (reason, message) = &fleet.sinks;
    let verdict = match reason {
        SinksReason::Delivering => Verdict::True,
        SinksReason::NotObserved => Verdict::Unknown,
        _ => Verdict::False,
    };
    Finding::new(verdict, reason.as_str(), message)
}

fn webhook(around: &Around) -> Finding {
    let Some(report) = &around.webhook else {
        let message = "the webhook was not probed yet";
        return Finding::new(Verdict::Unknown, WebhookReason::NotProbed.as_str(), message);
    };
    let verdict = match report.reason {
        WebhookReason::ProbeSucceeded => Verdict::True,
        WebhookReason::NotProbed => Verdict::Unknown,
        _ => Verdict::False,
    };
    Finding::new(verdict, report.reason.as_str(), &*report.message)
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
        .filter(|condition| condition.status == finding.verdict.as_str());
    Condition {
        last_transition_time: earlier.map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone()),
        message: finding.message,
        observed_generation: generation,
        reason: finding.reason.to_owned(),
        status: finding.verdict.as_str().to_owned(),
        type_: kind.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests;
