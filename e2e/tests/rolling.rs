//! Planned changes under load: globals scaled and deleted, both tiers restarted, and nothing is missing at the sink.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use veneur_e2e::{Batch, Fleet, Namespace, batches, eventually, kubectl, raw};
use veneur_intake::Received;

/// A batch of every pod comes every ten seconds; and a busy machine's slack.
const EMITTED: Duration = Duration::from_mins(1);

/// From the end of an interval until its points are out: lateness and delivery.
const PUBLISHED: Duration = Duration::from_secs(20);

/// Batches that the sums are of, after the last change.
const QUIET: usize = 2;

#[test]
fn scaling_deleting_and_restarting_loses_nothing() {
    let metrics = Namespace::new("rolling");
    let shop = Namespace::new("rolling-shop");
    let fleet = Fleet::with_sample(&metrics, &shop);
    let first = eventually("an interval has batches of all three pods", EMITTED, || {
        let whole = whole(&shop);
        whole.into_keys().nth(1).ok_or_else(|| "not yet".to_owned())
    });

    let on =
        |arguments: &[&str]| kubectl(&[&["-n", metrics.0.as_str()], arguments].concat()).expect("kubectl succeeds");
    let rolled_out = |tier: &str| on(&["rollout", "status", &format!("deployment/fleet-{tier}"), "--timeout=180s"]);
    let three = json!({ "spec": { "global": { "replicas": 3 } } }).to_string();
    on(&["patch", "veneurpipeline", "fleet", "--type=merge", "-p", &three]);
    eventually("there are three globals", EMITTED, || {
        let globals = fleet.pods("global").len();
        if globals == 3 { Ok(()) } else { Err(format!("{globals} so far")) }
    });
    rolled_out("global");
    let (victim, _) = fleet.pods("global").remove(0);
    on(&["delete", "pod", &victim]);
    rolled_out("global");
    for tier in ["global", "proxy"] {
        on(&["rollout", "restart", &format!("deployment/fleet-{tier}")]);
        rolled_out(tier);
    }
    fleet.ready();

    let settled = whole(&shop).into_keys().next_back().expect("batches went on");
    let last = eventually("the last batches are emitted", EMITTED, || {
        whole(&shop).into_keys().filter(|boundary| *boundary > settled).nth(QUIET - 1).ok_or_else(|| "not yet".into())
    });
    let sent = sums(&batches(&shop), first, last);
    eventually("everything that was emitted is published", PUBLISHED, || {
        let got = published(&fleet.received(), first, last);
        if got == sent { Ok(()) } else { Err(format!("{got:?} of {sent:?} between {first} and {last}")) }
    });
    assert_eq!(fleet.problems(), Value::Array(Vec::new()), "the intake refused nothing");
    println!("{sent:?} timings and requests over {} s, all there", last - first);
    for (pod, _) in fleet.pods("proxy") {
        let status = raw(&format!("/api/v1/namespaces/{}/pods/{pod}:8127/proxy/status", metrics.0)).expect("answers");
        let forward = &status["ledgers"]["forward"];
        assert_eq!(forward["dropped"], json!({}), "{pod}: {status:#}");
        assert_eq!((&forward["uncertain"], &forward["lost_with_member"]), (&json!(0), &json!(0)), "{pod}: {status:#}");
    }
}

/// Intervals in which all three pods emitted.
fn whole(shop: &Namespace) -> BTreeMap<i64, BTreeMap<String, Batch>> {
    batches(shop).into_iter().filter(|(_, pods)| pods.len() == 3).collect()
}

/// Timings and requests that were emitted from one boundary to another, both included.
fn sums(batches: &BTreeMap<i64, BTreeMap<String, Batch>>, first: i64, last: i64) -> (u64, u64) {
    let pods = batches.range(first..=last).flat_map(|(_, pods)| pods.values());
    let (timings, requests): (Vec<usize>, Vec<f64>) =
        pods.map(|batch| (batch.fleet_latency.len(), batch.requests)).unzip();
    (timings.into_iter().sum::<usize>() as u64, rounded(requests.into_iter().sum()))
}

/// The same as published. What a leaving global publishes carries its own second.
fn published(received: &[Received], first: i64, last: i64) -> (u64, u64) {
    let of = |metric: &str| {
        let points =
            received.iter().filter(|point| point.metric == metric && (first..=last).contains(&point.timestamp));
        rounded(points.map(Received::total).sum())
    };
    (of("sample.fleet.latency.count"), of("sample.requests"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
fn rounded(sum: f64) -> u64 {
    sum.round() as u64
}
