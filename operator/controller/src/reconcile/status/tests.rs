use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use veneur_operator_api::{TierStatus, VeneurPipelineStatus};

use super::{Outcome, Tiers, status};
use crate::reconcile::observe::TierReport;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(1_800_000_000 + second).expect("a time"))
}

fn tier(available: bool, reason: &str, summary: &str) -> TierReport {
    TierReport {
        status: TierStatus { summary: summary.to_owned(), ..TierStatus::default() },
        available,
        reason: reason.to_owned(),
        message: format!("because of {reason}"),
    }
}

fn applied(proxy: TierReport, global: TierReport) -> Outcome {
    Outcome::Applied(Box::new(Tiers { proxy, global }))
}

fn well() -> Outcome {
    applied(tier(true, "MinimumReplicasAvailable", "2/2"), tier(true, "MinimumReplicasAvailable", "3/3"))
}

/// `Ready=True/AllTiersReady …`, one word a condition.
fn words(status: &VeneurPipelineStatus) -> String {
    let words: Vec<String> = status
        .conditions
        .iter()
        .map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason))
        .collect();
    words.join(" ")
}

#[test]
fn every_outcome_sets_every_condition() {
    let table = [
        (
            well(),
            "Ready=True/AllTiersReady Accepted=True/Valid ProxyAvailable=True/MinimumReplicasAvailable \
             GlobalAvailable=True/MinimumReplicasAvailable",
        ),
        (
            applied(tier(false, "Progressing", "1/2"), tier(false, "SecretNotFound", "0/3")),
            "Ready=False/SecretNotFound Accepted=True/Valid ProxyAvailable=False/Progressing \
             GlobalAvailable=False/SecretNotFound",
        ),
        (
            applied(tier(false, "ImagePullFailed", "0/2"), tier(true, "MinimumReplicasAvailable", "3/3")),
            "Ready=False/ImagePullFailed Accepted=True/Valid ProxyAvailable=False/ImagePullFailed \
             GlobalAvailable=True/MinimumReplicasAvailable",
        ),
        (
            Outcome::Invalid("spec.sinks: needs at least one entry".to_owned()),
            "Ready=False/Invalid Accepted=False/Invalid ProxyAvailable=Unknown/Invalid GlobalAvailable=Unknown/Invalid",
        ),
        (
            Outcome::Undecodable("missing field".to_owned()),
            "Ready=False/Undecodable Accepted=False/Undecodable ProxyAvailable=Unknown/Undecodable \
             GlobalAvailable=Unknown/Undecodable",
        ),
        (
            Outcome::NotApplied { reason: "PermissionMissing", message: "forbidden".to_owned() },
            "Ready=False/PermissionMissing Accepted=True/Valid ProxyAvailable=Unknown/PermissionMissing \
             GlobalAvailable=Unknown/PermissionMissing",
        ),
    ];
    for (outcome, expected) in table {
        let status = status(None, Some(1), &outcome, &at(0));
        assert_eq!(words(&status), expected);
        assert_eq!(status.summary_reason.as_deref(), status.conditions.first().map(|ready| ready.reason.as_str()));
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
    }
}

#[test]
fn a_condition_keeps_its_time_until_its_status_flips() {
    let first = status(None, Some(1), &well(), &at(0));
    let same = status(Some(&first), Some(1), &well(), &at(60));
    assert_eq!(first, same, "nothing changed, so nothing is written");

    let global_down = applied(tier(true, "MinimumReplicasAvailable", "2/2"), tier(false, "CrashLoop", "1/3"));
    let after = status(Some(&same), Some(2), &global_down, &at(90));
    let times: Vec<i64> =
        after.conditions.iter().map(|c| c.last_transition_time.0.as_second() - 1_800_000_000).collect();
    assert_eq!(times, [90, 0, 0, 90], "only Ready and GlobalAvailable flipped");
}

#[test]
fn a_refused_spec_leaves_the_counts_of_what_runs() {
    let first = status(None, Some(1), &well(), &at(0));
    let refused = status(Some(&first), Some(2), &Outcome::Invalid("wrong".to_owned()), &at(5));
    assert_eq!(refused.proxy.map(|tier| tier.summary).as_deref(), Some("2/2"));
}

#[test]
fn ready_names_the_tier_and_the_cause() {
    let outcome = applied(tier(true, "MinimumReplicasAvailable", "2/2"), tier(false, "SecretNotFound", "0/3"));
    let status = status(None, Some(1), &outcome, &at(0));
    assert_eq!(status.conditions[0].message, "global 0/3: because of SecretNotFound");
}
