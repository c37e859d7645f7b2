use serde_json::json;

use super::{Allowed, NotDone, Progress, image_of_tiers, upgrading};
use crate::{
    pods::Outdated,
    test_support::{SMALLEST, pipeline},
};

fn outdated(workload: &str, number: usize) -> Outdated {
    Outdated {
        namespace: "shop".into(),
        workload: workload.into(),
        name: format!("{workload}-{number}").into(),
        pipeline: "metrics/default".to_owned(),
        image: "v:1".into(),
        wanted: "v:2".to_owned(),
    }
}

fn ready_for(image: &str, at_a_time: usize) -> std::collections::HashMap<String, Allowed> {
    [("metrics/default".to_owned(), Allowed { image: Some(image.to_owned()), at_a_time })].into()
}

#[test]
fn of_each_workload_so_many_at_a_time() {
    let pods: Vec<Outdated> = (0..4).map(|n| outdated("a", n)).chain((0..2).map(|n| outdated("b", n))).collect();
    let mut progress = Progress::default();
    let names = |next: Vec<Outdated>| next.into_iter().map(|pod| pod.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(progress.next(&pods, &ready_for("v:2", 2))), ["a-0", "a-1", "b-0", "b-1"]);
    assert!(progress.next(&pods, &ready_for("v:2", 2)).is_empty());
    progress.ended(&pods[0], true);
    assert_eq!(names(progress.next(&pods[1..], &ready_for("v:2", 2))), ["a-2"]);
    assert_eq!(progress.busy("shop", "a"), 2);
}

#[test]
fn a_sidecar_waits_for_the_tiers_it_sends_to() {
    let pods = [outdated("a", 0)];
    let mut progress = Progress::default();
    assert!(progress.next(&pods, &ready_for("v:1", 2)).is_empty(), "the tiers have the old image");
    assert!(progress.next(&pods, &[].into()).is_empty(), "the tiers are not ready");
    assert_eq!(progress.next(&pods, &ready_for("v:2", 2)).len(), 1);
}

#[test]
fn what_another_leader_began_is_ended_once() {
    let begun = [Outdated { image: "v:2".into(), ..outdated("a", 0) }];
    let (mut progress, ready) = (Progress::default(), ready_for("v:2", 1));
    assert_eq!(progress.next(&begun, &ready).len(), 1);
    progress.ended(&begun[0], true);
    assert!(progress.next(&begun, &ready).is_empty(), "the count is of a moment before");
    assert!(progress.next(&[], &ready).is_empty());
    assert_eq!(progress.next(&begun, &ready).len(), 1, "begun anew");
    assert_eq!(progress.next(&[outdated("b", 0)], &ready).len(), 1);
}

#[test]
fn after_two_failures_in_a_row_a_workload_is_left_alone() {
    let pods: Vec<Outdated> = (0..9).map(|n| outdated("a", n)).collect();
    let mut progress = Progress::default();
    let ready = ready_for("v:2", 5);
    assert_eq!(progress.next(&pods, &ready).len(), 5);
    assert!(!progress.ended(&pods[0], false));
    for pod in &pods[1..5] {
        assert!(!progress.ended(pod, true), "one that ends well");
    }
    assert!(!progress.ended(&pods[5], false));
    assert_eq!(progress.next(&pods[6..], &ready).len(), 1, "after a failure one at a time");
    assert!(progress.ended(&pods[6], false), "the second in a row is told");
    assert!(progress.next(&pods[7..], &ready).is_empty());
}

#[test]
fn the_tiers_are_done_when_the_status_of_this_spec_names_the_image_that_they_run_in_full() {
    // While proxies are replaced their Deployment names the new image, and may still count the pods of the old.
    let tier =
        json!({"summary": "", "desired": 2, "ready": 2, "updated": 2, "image": "v:2", "service": "", "selector": ""});
    let with = |generation: i64, image: Option<&str>| {
        let mut pipeline = pipeline("default", SMALLEST);
        let status = json!({"observedGeneration": generation, "image": image, "proxy": tier, "global": tier});
        pipeline.status = Some(serde_json::from_value(status).expect("a status"));
        pipeline
    };
    assert_eq!(image_of_tiers(&with(3, Some("v:2"))), Ok(Some("v:2".to_owned())));
    assert_eq!(image_of_tiers(&with(2, Some("v:2"))), Err(NotDone), "a status of an older spec");
    assert_eq!(image_of_tiers(&with(3, Some("v:1"))), Ok(Some("v:1".to_owned())), "proxies are being replaced");
    assert_eq!(image_of_tiers(&with(3, None)), Err(NotDone), "never yet");
    let mut paused = with(3, Some("v:2"));
    assert_eq!(upgrading(&[&paused]).len(), 1);
    paused.spec.management = veneur_operator_api::Management::Paused;
    assert!(upgrading(&[&paused]).is_empty());
}
