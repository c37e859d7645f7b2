use std::time::Duration;

use serde_json::{Value, json};
use veneur_operator_api::{RingReason, SinksReason, VeneurPipelineStatus};

use super::{Answer, FleetReport};
use crate::labels::Role;

fn answer(pod: &str, role: Role, page: &Value) -> Answer {
    Answer { pod: pod.to_owned(), role, page: Ok(serde_json::from_value(page.clone()).expect("a page")) }
}

fn proxy(pod: &str, hash: &str, members: &[&str]) -> Answer {
    let members: Vec<_> = members.iter().map(|name| json!({"name": name, "address": "10.0.0.1:8128"})).collect();
    let page = json!({
        "role": "proxy", "unaccounted": 0, "ring": {"hash": hash, "members": members},
        "ledgers": {"forward": {"imported": 10, "uncertain": 1, "dropped": {"queue_full": 2}}, "sinks": {}},
    });
    answer(pod, Role::Proxy, &page)
}

fn blind(why: &str) -> Answer {
    answer("p1", Role::Proxy, &json!({"ring": {"hash": "aa", "blind": why, "members": [{"name": "g1"}]}}))
}

fn global(pod: &str, failures: u64, error: &str) -> Answer {
    let page = json!({
        "role": "global", "unaccounted": 0,
        "sinks": [{"name": "datadog", "consecutive_failures": failures, "last_error": error, "seconds_since_success": 3}],
        "ledgers": {
            "forward": {"imported": 9, "uncertain": 0, "dropped": {}},
            "sinks": {"datadog": {"produced": 9, "published": 5, "held": 1, "dropped": {"rejected": 3}}},
        },
    });
    answer(pod, Role::Global, &page)
}

fn silent(pod: &str, role: Role) -> Answer {
    Answer { pod: pod.to_owned(), role, page: Err("no answer within 3 s".to_owned()) }
}

fn of(answers: &[Answer]) -> FleetReport {
    FleetReport::of(answers, None, Duration::ZERO)
}

#[test]
fn the_ring_is_what_all_proxies_say() {
    let report = of(&[proxy("p1", "aa", &["g1", "g2"]), proxy("p2", "aa", &["g1", "g2"])]);
    assert_eq!(report.ring, (RingReason::AllProxiesAgree, "2 members, hash aa".to_owned()));
    let ring = report.ring_status.expect("a ring");
    assert_eq!((ring.hash.as_str(), ring.size, ring.agreement.as_str()), ("aa", 2, "2/2"));
    assert_eq!(ring.members, ["g1", "g2"]);
}

#[test]
fn proxies_that_disagree_converge_for_a_minute_and_are_named_after_it() {
    let answers = [proxy("p1", "aa", &["g1"]), proxy("p2", "aa", &["g1"]), proxy("p3", "bb", &["g1", "g2"])];
    let first = of(&answers);
    assert_eq!(first.ring.0, RingReason::Converging);
    assert_eq!(first.ring_status.as_ref().expect("a ring").hash, "", "nobody knows the hash");
    let mut report = first;
    for _ in 0..4 {
        report = FleetReport::of(&answers, Some(&report), Duration::from_secs(15));
    }
    assert_eq!(report.ring.0, RingReason::ProxiesDisagree);
    assert_eq!(report.ring.1, "2 of 3 proxies agree on 1 members; others have p3");
}

#[test]
fn a_ring_without_members_and_a_blind_proxy_say_so() {
    assert_eq!(of(&[proxy("p1", "", &[])]).ring.0, RingReason::NoMembers);
    assert_eq!(of(&[blind("EndpointSlices cannot be watched: forbidden")]).ring.0, RingReason::EndpointsUnreadable);
    assert_eq!(of(&[blind("EndpointSlices cannot be watched: connection refused")]).ring.0, RingReason::Stale);
}

#[test]
fn one_pod_that_does_not_answer_harms_no_other() {
    let report = of(&[proxy("p1", "aa", &["g1"]), silent("p2", Role::Proxy), silent("g1", Role::Global)]);
    assert_eq!(report.ring.0, RingReason::AllProxiesAgree);
    assert_eq!(report.sinks, (SinksReason::NotObserved, "no global answers (pod g1: no answer within 3 s)".to_owned()));
    let nobody = of(&[silent("p1", Role::Proxy)]);
    assert_eq!(nobody.ring.0, RingReason::NotObserved);
    assert!(nobody.ring.1.contains("NetworkPolicy"), "{}", nobody.ring.1);
    assert_eq!(nobody.account, None);
}

#[test]
fn each_failure_of_a_sink_has_its_reason() {
    for (error, reason) in [
        ("the backend refused with status 403: Forbidden", SinksReason::AuthRejected),
        ("the backend is not available: status 429: slow down", SinksReason::Throttled),
        ("the backend refused with status 413: too large", SinksReason::Rejected),
        ("the backend is not available: status 503: ", SinksReason::Unreachable),
        ("the backend is not available: invalid peer certificate: UnknownIssuer", SinksReason::TlsFailed),
        ("the backend is not available: connection refused", SinksReason::Unreachable),
    ] {
        let report = of(&[global("g1", 3, error), global("g2", 0, "")]);
        assert_eq!(report.sinks.0, reason, "{error}");
        assert_eq!(report.sinks.1, format!("sink datadog fails in 1/2 globals: {error}"));
        assert!(report.no_sink_delivers());
    }
    let once = of(&[global("g1", 2, "the backend is not available: status 503: ")]);
    assert_eq!(once.sinks.0, SinksReason::Delivering, "twice may be chance");
}

#[test]
fn a_sink_that_keeps_failing_says_the_same() {
    let first = of(&[global("g1", 3, "status 503: at 10:00")]);
    let later = FleetReport::of(&[global("g1", 9, "status 503: at 10:05")], Some(&first), Duration::from_secs(15));
    assert!(later.says_the_same(&first));
    assert_eq!(later.sinks, first.sinks);
}

#[test]
fn the_account_is_the_sum_of_all_ledgers() {
    let report = of(&[proxy("p1", "aa", &["g1"]), global("g1", 0, ""), global("g2", 0, "")]);
    let account = report.account.clone().expect("an account");
    assert_eq!((account.imported, account.published, account.dropped), (10, 10, 2 + 3 + 3));
    assert_eq!((account.uncertain, account.unaccounted), (1, 0));
    let mut status = VeneurPipelineStatus::default();
    report.fill(&mut status);
    assert_eq!(status.sinks_summary.as_deref(), Some("1/1"));
    assert_eq!(status.account, Some(account));
}

#[test]
fn counts_alone_are_no_news() {
    let (one, more) = (of(&[proxy("p1", "aa", &["g1"])]), of(&[proxy("p1", "aa", &["g1"]), global("g1", 0, "")]));
    assert!(!more.says_the_same(&one), "a sink is known now");
    assert!(one.says_the_same(&of(&[proxy("p1", "aa", &["g1"])])));
}
