use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use veneur_operator_api::{RingStatus, VeneurPipelineStatus};

use super::{Told, cut, transitions};

fn status(conditions: &[(&str, &str, &str)]) -> VeneurPipelineStatus {
    let conditions = conditions.iter().map(|(kind, status, reason)| Condition {
        type_: (*kind).to_owned(),
        status: (*status).to_owned(),
        reason: (*reason).to_owned(),
        message: format!("message of {reason}"),
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    });
    VeneurPipelineStatus { conditions: conditions.collect(), ..VeneurPipelineStatus::default() }
}

/// `Warning RolloutStarted`, one an event.
fn told(before: (&str, &str, &str), after: (&str, &str, &str)) -> Vec<String> {
    let told = transitions(Some(&status(&[before])), &status(&[after]));
    told.iter()
        .map(|Told { warning, reason, .. }| format!("{} {reason}", if *warning { "Warning" } else { "Normal" }))
        .collect()
}

#[test]
fn a_transition_is_told_once_and_what_stays_is_not() {
    let well = ("GlobalAvailable", "True", "MinimumReplicasAvailable");
    let rolling = ("GlobalAvailable", "True", "Progressing");
    let stuck = ("GlobalAvailable", "False", "ImagePullFailed");
    for (before, after, expected) in [
        (well, well, vec![]),
        (well, rolling, vec!["Normal RolloutStarted"]),
        (rolling, stuck, vec!["Warning ImagePullFailed"]),
        (stuck, rolling, vec![]),
        (rolling, well, vec!["Normal RolloutFinished"]),
        (("Reconciled", "True", "Applied"), ("Reconciled", "Unknown", "Paused"), vec!["Normal Paused"]),
        (("Reconciled", "Unknown", "Paused"), ("Reconciled", "True", "Applied"), vec!["Normal Resumed"]),
        (("Reconciled", "True", "Applied"), ("Reconciled", "False", "UpgradeWaiting"), vec!["Normal UpgradeWaiting"]),
        (
            ("SinksHealthy", "True", "Delivering"),
            ("SinksHealthy", "False", "AuthRejected"),
            vec!["Warning AuthRejected"],
        ),
        (("SinksHealthy", "False", "AuthRejected"), ("SinksHealthy", "True", "Delivering"), vec!["Normal Delivering"]),
        (("Ready", "True", "AllTiersReady"), ("Ready", "False", "CrashLoop"), vec![]),
    ] {
        assert_eq!(told(before, after), expected, "{before:?} to {after:?}");
    }
}

#[test]
fn the_first_status_is_no_transition() {
    assert!(transitions(None, &status(&[("GlobalAvailable", "False", "CrashLoop")])).is_empty());
}

#[test]
fn a_change_of_members_says_how_many_came_and_went() {
    let ring = |hash: &str, members: &[&str]| {
        let members: Vec<String> = members.iter().map(|member| (*member).to_owned()).collect();
        let size = i32::try_from(members.len()).expect("few");
        let mut status = status(&[("Ready", "True", "AllTiersReady")]);
        status.ring = Some(RingStatus { hash: hash.to_owned(), size, agreement: "1/1".to_owned(), members });
        status
    };
    let told = transitions(Some(&ring("aa", &["g1", "g2"])), &ring("bb", &["g2", "g3", "g4"]));
    assert_eq!((told[0].reason.as_str(), told[0].note.as_str()), ("RingChanged", "members +2 -1, now 3"));
    assert!(transitions(Some(&ring("aa", &["g1"])), &ring("", &["g1"])).is_empty(), "they do not agree yet");
}

#[test]
fn a_long_note_is_cut_at_a_character() {
    assert!(cut(&"é".repeat(4_000)).len() <= 1_000);
    assert_eq!(cut("short"), "short");
}
