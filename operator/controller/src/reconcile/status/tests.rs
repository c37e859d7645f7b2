use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use veneur_operator_api::{
    InjectionReason, InjectionStatus, ReconciledReason, TierReason, TierStatus, VeneurPipelineStatus, WebhookReason,
};

use super::{Around, Outcome, Tiers, status};
use crate::{
    feeds::{InjectionReport, WebhookReport},
    reconcile::observe::TierReport,
};

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(1_800_000_000 + second).expect("a time"))
}

fn tier(available: bool, reason: TierReason, summary: &str) -> TierReport {
    let image = "registry.example/veneur:1.2.3".to_owned();
    TierReport {
        status: Some(TierStatus { summary: summary.to_owned(), image, ..TierStatus::default() }),
        available,
        complete: available && reason == TierReason::MinimumReplicasAvailable,
        reason,
        message: format!("because of {}", reason.as_str()),
    }
}

fn good(summary: &str) -> TierReport {
    tier(true, TierReason::MinimumReplicasAvailable, summary)
}

fn outcome(reconciled: ReconciledReason, proxy: TierReport, global: TierReport) -> Outcome {
    with_node(reconciled, proxy, global, Some(TierReport::disabled()))
}

fn with_node(reconciled: ReconciledReason, proxy: TierReport, global: TierReport, node: Option<TierReport>) -> Outcome {
    let tiers = Some(Box::new(Tiers { proxy, global, node }));
    Outcome::Accepted { reconciled: (reconciled, reconciled.as_str().to_owned()), tiers }
}

fn applied(proxy: TierReport, global: TierReport) -> Outcome {
    outcome(ReconciledReason::Applied, proxy, global)
}

fn well() -> Outcome {
    applied(good("2/2"), good("3/3"))
}

fn alone(
    before: Option<&VeneurPipelineStatus>,
    generation: i64,
    outcome: &Outcome,
    now: &Time,
) -> VeneurPipelineStatus {
    status(before, Some(generation), outcome, &Around::default(), now)
}

/// `Ready=True/AllTiersReady …`, one word a condition, of the first five.
fn words(status: &VeneurPipelineStatus) -> String {
    let words: Vec<String> = status
        .conditions
        .iter()
        .take(5)
        .map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason))
        .collect();
    words.join(" ")
}

#[test]
fn every_outcome_sets_every_condition() {
    let table = [
        (
            well(),
            "Ready=True/AllTiersReady Accepted=True/Valid Reconciled=True/Applied \
             ProxyAvailable=True/MinimumReplicasAvailable GlobalAvailable=True/MinimumReplicasAvailable",
        ),
        (
            applied(tier(false, TierReason::Progressing, "1/2"), tier(false, TierReason::SecretNotFound, "0/3")),
            "Ready=False/SecretNotFound Accepted=True/Valid Reconciled=True/Applied ProxyAvailable=False/Progressing \
             GlobalAvailable=False/SecretNotFound",
        ),
        (
            applied(tier(false, TierReason::ImagePullFailed, "0/2"), good("3/3")),
            "Ready=False/ImagePullFailed Accepted=True/Valid Reconciled=True/Applied ProxyAvailable=False/ImagePullFailed \
             GlobalAvailable=True/MinimumReplicasAvailable",
        ),
        (
            Outcome::Invalid("spec.sinks: needs at least one entry".to_owned()),
            "Ready=False/Invalid Accepted=False/Invalid Reconciled=Unknown/Reconciling ProxyAvailable=Unknown/NotObserved \
             GlobalAvailable=Unknown/NotObserved",
        ),
        (
            Outcome::Undecodable("missing field".to_owned()),
            "Ready=False/Undecodable Accepted=False/Undecodable Reconciled=Unknown/Reconciling \
             ProxyAvailable=Unknown/NotObserved GlobalAvailable=Unknown/NotObserved",
        ),
        (
            Outcome::Accepted {
                reconciled: (ReconciledReason::PermissionMissing, "forbidden".to_owned()),
                tiers: None,
            },
            "Ready=False/PermissionMissing Accepted=True/Valid Reconciled=False/PermissionMissing \
             ProxyAvailable=Unknown/NotObserved GlobalAvailable=Unknown/NotObserved",
        ),
        (
            outcome(ReconciledReason::AdmissionDenied, good("2/2"), good("3/3")),
            "Ready=True/AllTiersReady Accepted=True/Valid Reconciled=False/AdmissionDenied \
             ProxyAvailable=True/MinimumReplicasAvailable GlobalAvailable=True/MinimumReplicasAvailable",
        ),
        (
            applied(TierReport::disabled(), good("1/1")),
            "Ready=True/AllTiersReady Accepted=True/Valid Reconciled=True/Applied ProxyAvailable=True/Disabled \
             GlobalAvailable=True/MinimumReplicasAvailable",
        ),
    ];
    for (outcome, expected) in table {
        let status = alone(None, 1, &outcome, &at(0));
        assert_eq!(words(&status), expected);
        assert_eq!(status.conditions.len(), 10);
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
        assert!(status.conditions[6..].iter().all(|condition| condition.status == "Unknown"), "nobody has told yet");
    }
}

#[test]
fn nodes_without_an_agent_are_said_and_leave_the_pipeline_ready() {
    for (node, said, reason) in [
        (Some(good("3/3")), "NodeAvailable=True/MinimumReplicasAvailable", "AllTiersReady"),
        (
            Some(tier(false, TierReason::ImagePullFailed, "2/3")),
            "NodeAvailable=False/ImagePullFailed",
            "ImagePullFailed",
        ),
        (Some(tier(false, TierReason::Progressing, "2/3")), "NodeAvailable=False/Progressing", "Progressing"),
        (Some(TierReport::disabled()), "NodeAvailable=True/Disabled", "AllTiersReady"),
        (None, "NodeAvailable=Unknown/NotObserved", "AllTiersReady"),
    ] {
        let counted = node.as_ref().and_then(|node| node.status.clone());
        let status = alone(None, 1, &with_node(ReconciledReason::Applied, good("2/2"), good("3/3"), node), &at(0));
        let [ready, condition] = [&status.conditions[0], &status.conditions[5]];
        assert_eq!(format!("{}={}/{}", condition.type_, condition.status, condition.reason), said);
        assert_eq!((ready.status.as_str(), status.summary_reason.as_deref()), ("True", Some(reason)));
        assert_eq!(status.node, counted);
    }
}

#[test]
fn the_reason_is_that_of_the_worst_condition() {
    let missed = InjectionReport {
        status: Some(InjectionStatus { injected: 118, ..InjectionStatus::default() }),
        reason: InjectionReason::PodsMissed,
        message: "2 pods".to_owned(),
    };
    let expired = WebhookReport { reason: WebhookReason::CertificateExpired, message: "over".to_owned() };
    let around = Around { injection: Some(missed), webhook: Some(expired), ..Around::default() };
    let reason = |outcome: &Outcome, around: &Around| {
        status(None, Some(1), outcome, around, &at(0)).summary_reason.expect("a reason")
    };
    let nothing = Around::default();
    assert_eq!(reason(&well(), &nothing), "AllTiersReady");
    assert_eq!(reason(&well(), &around), "PodsMissed");
    assert_eq!(
        reason(&outcome(ReconciledReason::AdmissionDenied, good("2/2"), good("3/3")), &around),
        "AdmissionDenied"
    );
    assert_eq!(reason(&outcome(ReconciledReason::Paused, good("2/2"), good("3/3")), &nothing), "Paused");
    let rolling = tier(true, TierReason::Progressing, "3/3");
    assert_eq!(reason(&outcome(ReconciledReason::UpgradeWaiting, good("2/2"), rolling), &nothing), "Progressing");
    let down = tier(false, TierReason::CrashLoop, "0/3");
    assert_eq!(reason(&applied(good("2/2"), down), &around), "CrashLoop");
    let ready = &status(None, Some(1), &well(), &around, &at(0)).conditions[0];
    assert_eq!((ready.status.as_str(), ready.message.as_str()), ("True", "proxy 2/2, global 3/3, 118 sidecars"));
}

#[test]
fn a_condition_keeps_its_time_until_its_status_flips() {
    let first = alone(None, 1, &well(), &at(0));
    let same = alone(Some(&first), 1, &well(), &at(60));
    assert_eq!(first, same, "nothing changed, so nothing is written");

    let global_down = applied(good("2/2"), tier(false, TierReason::CrashLoop, "1/3"));
    let after = alone(Some(&same), 2, &global_down, &at(90));
    let times: Vec<i64> =
        after.conditions.iter().take(5).map(|c| c.last_transition_time.0.as_second() - 1_800_000_000).collect();
    assert_eq!(times, [90, 0, 0, 0, 90], "only Ready and GlobalAvailable flipped");
}

#[test]
fn a_refused_spec_leaves_the_counts_of_what_runs() {
    let first = alone(None, 1, &well(), &at(0));
    let refused = alone(Some(&first), 2, &Outcome::Invalid("wrong".to_owned()), &at(5));
    assert_eq!(refused.proxy.map(|tier| tier.summary).as_deref(), Some("2/2"));
}

#[test]
fn ready_names_the_tier_and_the_cause() {
    let outcome = applied(good("2/2"), tier(false, TierReason::SecretNotFound, "0/3"));
    let status = alone(None, 1, &outcome, &at(0));
    assert_eq!(status.conditions[0].message, "global 0/3: because of SecretNotFound");
}

#[test]
fn sidecars_get_an_image_when_both_tiers_have_it() {
    let first = alone(None, 1, &well(), &at(0));
    assert_eq!(first.image.as_deref(), Some("registry.example/veneur:1.2.3"));
    assert_eq!(first.version.as_deref(), Some("1.2.3"));
    let mut newer = good("3/3");
    newer.status.as_mut().expect("counts").image = "registry.example/veneur:2".to_owned();
    let half = alone(Some(&first), 2, &applied(good("2/2"), newer.clone()), &at(1));
    assert_eq!(half.version.as_deref(), Some("1.2.3"), "only the globals have it");
    let rolling = TierReport { complete: false, ..newer.clone() };
    let rolling = alone(Some(&half), 2, &applied(rolling, newer.clone()), &at(2));
    assert_eq!(rolling.version.as_deref(), Some("1.2.3"), "old proxies are still there");
    let done = alone(Some(&rolling), 2, &applied(newer.clone(), newer), &at(3));
    assert_eq!(done.version.as_deref(), Some("2"));
    let gone = alone(Some(&done), 3, &applied(TierReport::disabled(), TierReport::disabled()), &at(4));
    assert_eq!((gone.version, gone.image), (None, None), "tiers that come back have run nothing yet");
}
