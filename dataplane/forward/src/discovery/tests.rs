//! What a watch shows, and what is made of it.

use super::*;
use serde_json::{Value, json};

fn slice(endpoints: &Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "addressType": "IPv4",
        "metadata": {
            "name": "fleet-global-abc",
            "managedFields": [
                { "manager": "a", "time": "2026-01-01T00:00:10Z" },
                { "manager": "b", "time": "2026-01-01T00:00:20Z" },
            ],
        },
        "ports": [{ "name": "http", "port": 8127 }, { "name": "import", "port": 8128 }],
        "endpoints": endpoints,
    }))
    .expect("a slice")
}

fn endpoint(pod: &str, conditions: &Value) -> Value {
    json!({ "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "name": pod }, "conditions": conditions })
}

fn members(slices: &[EndpointSlice], known: &[&str]) -> Vec<String> {
    let known = known.iter().map(|name| (*name).to_owned()).collect();
    membership(slices.iter(), "import", &known).members.into_iter().map(|member| member.name).collect()
}

#[test]
fn ready_is_a_member_terminating_is_none_and_a_brief_lapse_keeps_its_slot() {
    let slices = [slice(&json!([
        endpoint("ready", &json!({ "ready": true })),
        endpoint("unsaid", &json!({})),
        endpoint("starting", &json!({ "ready": false })),
        endpoint("lapsed", &json!({ "ready": false })),
        endpoint("leaving", &json!({ "ready": false, "serving": true, "terminating": true })),
    ]))];
    assert_eq!(members(&slices, &["lapsed", "leaving"]), ["lapsed", "ready", "unsaid"]);
}

#[test]
fn a_pod_in_two_slices_is_one_member_at_the_named_port() {
    let one = slice(&json!([endpoint("a", &json!({ "ready": true }))]));
    let found = membership([&one, &one].into_iter(), "import", &BTreeSet::new());
    assert_eq!(found.members, [Member { name: "a".into(), address: "10.0.0.1:8128".into() }]);
    assert_eq!(found.written_ms, 1_767_225_620_000, "the newest write of any field manager");
}

#[test]
fn a_pod_of_two_families_is_one_member_by_its_first() {
    let one = slice(&json!([endpoint("a", &json!({ "ready": true }))]));
    let mut other = slice(&json!([{ "addresses": ["fd00::1"], "targetRef": { "kind": "Pod", "name": "a" } }]));
    other.address_type = "IPv6".into();
    for slices in [[&one, &other], [&other, &one]] {
        let found = membership(slices.into_iter(), "import", &BTreeSet::new());
        assert_eq!(found.members, [Member { name: "a".into(), address: "10.0.0.1:8128".into() }]);
    }
}

#[test]
fn a_pod_that_terminates_in_one_of_its_slices_is_none_in_the_other() {
    let leaves = json!({ "ready": false, "terminating": true });
    let one = slice(&json!([endpoint("a", &leaves), endpoint("b", &json!({ "ready": true }))]));
    let mut other = slice(&json!([{ "addresses": ["fd00::1"], "targetRef": { "kind": "Pod", "name": "a" } }]));
    other.address_type = "IPv6".into();
    for slices in [[&one, &other], [&other, &one]] {
        let found = membership(slices.into_iter(), "import", &BTreeSet::from(["a".to_owned()]));
        let names: Vec<&str> = found.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!((names, found.leaving), (vec!["b"], BTreeSet::from(["a".to_owned()])));
    }
}

type Event = Result<watcher::Event<EndpointSlice>, watcher::Error>;

/// Lets `track` tell `on` of what is seen, in groups that come a second apart.
async fn feed_events(groups: Vec<Vec<Event>>, on: impl FnMut(Seen)) {
    let (sender, feed) = tokio::sync::mpsc::channel(1);
    let feed = tokio_stream::wrappers::ReceiverStream::new(feed);
    let feeding = async move {
        for group in groups {
            for event in group {
                sender.send(event).await.expect("followed");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let tally = Tally::default();
    tokio::join!(feeding, track(feed, "import", &tally, on));
}

/// The same with slices that are listed one after the other; `None`: the watch fails.
async fn feed(listings: Vec<Option<Value>>, on: impl FnMut(Seen)) {
    let event = |endpoints: Option<Value>| {
        let applied = endpoints.map(|endpoints| watcher::Event::Apply(slice(&endpoints)));
        vec![applied.ok_or(watcher::Error::NoResourceVersion)]
    };
    feed_events(listings.into_iter().map(event).collect(), on).await;
}

/// The members after each of these groups, and who had vanished by its end.
async fn followed(groups: Vec<Vec<watcher::Event<EndpointSlice>>>) -> Vec<String> {
    let mut seen = Vec::new();
    let groups = groups.into_iter().map(|group| group.into_iter().map(Ok).collect()).collect();
    feed_events(groups, |told| match told {
        Seen::Membership(membership) => {
            let names: Vec<String> = membership.members.into_iter().map(|member| member.name).collect();
            seen.push(names.join(" "));
        }
        Seen::Vanished(name) => seen.push(format!("without {name}")),
        Seen::Blind(_) => {}
    })
    .await;
    seen
}

fn named(name: &str, pods: &[&str]) -> EndpointSlice {
    let endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(pod, &json!({ "ready": true }))).collect();
    let mut slice = slice(&json!(endpoints));
    slice.metadata.name = Some(name.to_owned());
    slice
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_read_again_counts_once_it_is_whole() {
    use watcher::Event::{Apply, Init, InitApply, InitDone};
    let list = |slices: &[(&str, &[&str])]| {
        let applied = slices.iter().map(|(name, pods)| InitApply(named(name, pods)));
        [Init].into_iter().chain(applied).chain([InitDone]).collect::<Vec<_>>()
    };
    let seen = followed(vec![
        list(&[("1", &["a", "b"]), ("2", &["c"])]),
        vec![Apply(named("2", &["c", "d"]))],
        vec![Init, InitApply(named("1", &["a"]))],
        // The list broke off, and is read from its start.
        list(&[("1", &["a", "b"]), ("3", &["c"])]),
    ])
    .await;
    assert_eq!(seen, ["a b c", "a b c d", "a b c", "without d"]);
}

#[tokio::test(start_paused = true)]
async fn who_moves_from_slice_to_slice_has_not_vanished_and_who_goes_with_one_has() {
    use watcher::Event::{Apply, Delete};
    let seen = followed(vec![
        vec![Apply(named("1", &["a", "b"])), Apply(named("2", &["c"]))],
        vec![Apply(named("1", &["a"])), Apply(named("2", &["b", "c"]))],
        vec![Delete(named("2", &["b", "c"])), Apply(named("3", &["b"]))],
    ])
    .await;
    assert_eq!(seen, ["a b", "a b c", "a c", "a b c", "a", "a b", "without c"]);
}

/// What `track` tells of slices that are listed so.
async fn told(listings: Vec<Value>) -> Vec<Seen> {
    let mut seen = Vec::new();
    feed(listings.into_iter().map(Some).collect(), |told| seen.push(told)).await;
    seen
}

/// Why a router that follows such a watch is blind, and its members, after each thing it is told.
async fn views(listings: Vec<Option<Value>>) -> Vec<(Option<String>, usize)> {
    let limits = crate::lane::Limits { max_bytes: 1024, max_age: Duration::from_mins(1) };
    let router = Router::new("proxy-0", Duration::from_secs(10), limits, Arc::default());
    let mut views = Vec::new();
    feed(listings, |seen| {
        seen.tell(&router);
        let view = router.view();
        views.push((view.blind, view.members.len()));
    })
    .await;
    views.dedup();
    views
}

#[tokio::test(start_paused = true)]
async fn a_ring_whose_members_have_all_gone_stays_and_says_so_until_one_is_back() {
    let (ready, leaving) = (json!({ "ready": true }), json!({ "ready": false, "terminating": true }));
    let none = || Some("no endpoint is ready".to_owned());
    let [empty, left, back] = [json!([]), json!([endpoint("a", &leaving)]), json!([endpoint("a", &ready)])];
    let views = views(vec![
        Some(empty.clone()),
        Some(back.clone()),
        Some(left.clone()),
        Some(empty.clone()),
        Some(back.clone()),
    ])
    .await;
    assert_eq!(views, [(None, 0), (None, 1), (none(), 1), (None, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_blind_until_it_works_and_then_as_blind_as_its_answer() {
    let [empty, one] = [json!([]), json!([endpoint("a", &json!({ "ready": true }))])];
    let views =
        views(vec![Some(one.clone()), None, Some(one.clone()), None, Some(empty.clone()), None, Some(one.clone())]);
    let views = views.await;
    let seen: Vec<&str> = views
        .iter()
        .map(|(why, members)| match why.as_deref() {
            None if *members == 1 => "sees",
            Some("no endpoint is ready") => "none",
            Some(why) if why.starts_with("EndpointSlices cannot be watched: ") => "lost",
            _ => "else",
        })
        .collect();
    assert_eq!(seen, ["sees", "lost", "sees", "lost", "sees", "none", "lost", "sees"], "{views:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_missing_has_vanished_and_who_was_terminating_has_not() {
    let (ready, leaving) = (json!({ "ready": true }), json!({ "ready": false, "terminating": true }));
    let both = json!([endpoint("a", &ready), endpoint("b", &ready)]);
    let seen = told(vec![both.clone(), json!([endpoint("a", &ready)])]).await;
    assert_eq!(seen.last(), Some(&Seen::Vanished("b".into())));
    let seen =
        told(vec![both, json!([endpoint("a", &ready), endpoint("b", &leaving)]), json!([endpoint("a", &ready)])]).await;
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Vanished(_))), "{seen:?}");
}

#[test]
fn a_slice_without_the_port_lists_nobody() {
    let one = slice(&json!([endpoint("a", &json!({ "ready": true }))]));
    assert!(membership([&one].into_iter(), "grpc", &BTreeSet::new()).members.is_empty());
}
