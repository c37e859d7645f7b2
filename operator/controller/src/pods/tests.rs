use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};
use veneur_operator_api::VeneurPipeline;

use super::{Counts, Event, Snapshot, count::Counter, pods, record::Records};
use crate::{
    injection::{Former, Namespace, Outcome, STATUS, Stamp, decide},
    namespaces::Namespaces,
    pipelines::pipelines,
    test_support::{SMALLEST, api_server, defaults, pipeline},
};

fn namespaces() -> Namespaces {
    let labelled = |name: &str, label: &str| Namespace {
        name: name.to_owned(),
        labels: [("veneur.dev/injection".to_owned(), label.to_owned())].into(),
        pipeline: Some("metrics/default".to_owned()),
    };
    let plain = Namespace { name: "shop".to_owned(), ..Namespace::default() };
    Namespaces::of([plain, labelled("web", "enabled"), labelled("off", "disabled")])
}

#[expect(clippy::needless_pass_by_value, reason = "what a test writes down is written down once")]
fn pod(namespace: &str, name: &str, annotations: Value, mut labels: Value) -> PartialObjectMeta<Pod> {
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u", "controller": true}]);
    labels["pod-template-hash"] = json!("5d");
    let object = json!({
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations, "labels": labels,
            "ownerReferences": owner, "creationTimestamp": "2026-01-01T00:00:00Z"},
    });
    serde_json::from_value(object).expect("a pod's metadata")
}

/// A pod as the webhook leaves it.
fn injected(name: &str, pipeline: &VeneurPipeline) -> PartialObjectMeta<Pod> {
    injected_with(name, pipeline, json!({}))
}

/// The same of one with wishes.
fn injected_with(name: &str, pipeline: &VeneurPipeline, mut annotations: Value) -> PartialObjectMeta<Pod> {
    annotations["veneur.dev/inject"] = json!("metrics/default");
    let asking = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}});
    let namespace = Namespace { name: "shop".to_owned(), ..Namespace::default() };
    let Outcome::Injected { stamp, .. } = decide(&asking, &namespace, &[pipeline], &defaults(), "AUTHORITY") else {
        panic!("it is injected")
    };
    pod("shop", name, json!({"veneur.dev/status": stamp.to_text()}), json!({"veneur.dev/injected": "true"}))
}

fn count(all: impl IntoIterator<Item = PartialObjectMeta<Pod>>, pipelines: &[&VeneurPipeline]) -> Snapshot {
    let mut records = Records::new(namespaces());
    records.take(Event::Init);
    for pod in all {
        records.take(Event::InitApply(pod));
    }
    assert!(records.take(Event::InitDone));
    Counter::new(defaults()).count(&records, &namespaces(), pipelines)
}

#[test]
fn pods_are_counted_by_what_became_of_them() {
    let (before, now) = (pipeline("default", SMALLEST), pipeline("default", &format!("{{{SMALLEST}, version: '2'}}")));
    let asking = json!({"veneur.dev/inject": "metrics/default"});
    let skipped = json!({"veneur.dev/inject": "metrics/default", "veneur.dev/skipped": "PortInUse: container …"});
    let nowhere = json!({"veneur.dev/inject": "metrics/defalt", "veneur.dev/skipped": "PipelineNotFound: …"});
    let mirror = json!({"veneur.dev/inject": "true", "kubernetes.io/config.mirror": "x"});
    let snapshot = count(
        [
            injected("current", &now),
            injected("old", &before),
            pod("shop", "missed", asking.clone(), json!({})),
            pod("web", "missed-by-its-namespace", json!({}), json!({})),
            pod("off", "never-seen", asking, json!({})),
            pod("shop", "skipped", skipped, json!({})),
            pod("shop", "nowhere", nowhere, json!({})),
            pod("shop", "mirror", mirror, json!({})),
            pod("shop", "asks-for-nothing", json!({}), json!({})),
            pod("web", "opted-out", json!({"veneur.dev/inject": "false"}), json!({})),
            // The API server asks the webhook about neither, so they would be missed for ever.
            pod(
                "web",
                "opted-out-by-label",
                json!({"veneur.dev/inject": "true"}),
                json!({"veneur.dev/inject": "false"}),
            ),
            pod(
                "shop",
                "opted-out-too",
                json!({"veneur.dev/inject": "False"}),
                json!({"veneur.dev/inject": "default"}),
            ),
        ],
        &[&now],
    );
    let counts = Counts {
        wanted: 4,
        injected: 2,
        outdated: 1,
        missed: 2,
        failing: super::Failing::default(),
        skipped: [("NamespaceDisabled".to_owned(), 1), ("PortInUse".to_owned(), 1)].into(),
        outdated_workloads: vec!["shop/Deployment/web".to_owned()],
        missed_workloads: vec!["shop/Deployment/web".to_owned(), "web/Deployment/web".to_owned()],
    };
    assert_eq!(snapshot.pipelines, [("metrics/default".to_owned(), counts)].into());
    assert_eq!(snapshot.unresolved, [("PipelineNotFound".to_owned(), 1)].into());
    let names: Vec<&str> = snapshot.missed.iter().map(|pod| &*pod.name).collect();
    assert_eq!(names, ["missed", "missed-by-its-namespace"]);
    assert_eq!(snapshot.outdated.len(), 1);
    assert_eq!((&*snapshot.outdated[0].name, &*snapshot.outdated[0].wanted), ("old", "registry.example/veneur:2"));
}

#[test]
fn a_change_of_the_configuration_makes_pods_outdated_but_their_image_is_right() {
    let before = pipeline("default", SMALLEST);
    let now = pipeline("default", &format!("{{{SMALLEST}, sidecar: {{transport: UDP}}}}"));
    let snapshot = count([injected("old", &before)], &[&now]);
    assert_eq!(snapshot.pipelines["metrics/default"].outdated, 1);
    assert!(snapshot.outdated.is_empty(), "an image in place would not help");
}

/// Otherwise they are cut off, or send where nobody listens, and nothing says so.
#[test]
fn what_does_not_show_in_the_container_makes_pods_outdated_too() {
    let agents = format!("{SMALLEST}, node: {{enabled: true}}");
    let outdated = |before: &str, now: &str, wishes: Value| {
        let (before, now) = (pipeline("default", &format!("{{{before}}}")), pipeline("default", &format!("{{{now}}}")));
        count([injected_with("old", &before, wishes)], &[&now]).pipelines["metrics/default"].outdated
    };
    for change in [
        "tls: {mode: SelfSigned}",
        "sidecar: {enabled: false}",
        "sidecar: {mode: Classic}",
        "sidecar: {env: {datadog: false}}",
    ] {
        let changed = format!("{agents}, {change}");
        for (before, now) in [(&agents, &changed), (&changed, &agents)] {
            assert_eq!(outdated(before, now, json!({})), 1, "{before} to {now}");
        }
        assert_eq!(outdated(&changed, &changed, json!({})), 0, "{change}");
    }
    let (env_only, on_host_port) =
        (json!({"veneur.dev/mode": "env-only"}), agents.replace("true", "true, exposure: HostPort"));
    assert_eq!(outdated(&agents, &on_host_port, env_only.clone()), 1);
    assert_eq!(outdated(&agents, &format!("{agents}, tls: {{mode: SelfSigned}}"), env_only), 0, "the agent follows");
    assert_eq!(outdated(&agents, &on_host_port, json!({})), 0, "a sidecar has nothing to do with agents");
}

#[test]
fn a_new_version_makes_pods_outdated_when_the_tiers_run_it() {
    let tiers_run = |version: &str| {
        let mut pipeline = pipeline("default", &format!("{{{SMALLEST}, version: '2'}}"));
        let status = json!({"image": format!("registry.example/veneur:{version}")});
        pipeline.status = Some(serde_json::from_value(status).expect("a status"));
        pipeline
    };
    let mut records = Records::new(namespaces());
    records.take(Event::Init);
    records.take(Event::InitApply(injected("old", &tiers_run("1"))));
    records.take(Event::InitDone);
    let mut counter = Counter::new(defaults());
    let mut wanted = |version: &str| {
        let snapshot = counter.count(&records, &namespaces(), &[&tiers_run(version)]);
        assert_eq!(snapshot.pipelines["metrics/default"].outdated as usize, snapshot.outdated.len());
        snapshot.outdated.into_iter().map(|pod| pod.wanted).collect::<Vec<_>>()
    };
    assert!(wanted("1").is_empty(), "the upgrade has not come to sidecars");
    assert_eq!(wanted("2"), ["registry.example/veneur:2"]);
}

#[test]
fn a_sidecar_that_was_given_its_image_and_was_not_seen_to_run_is_listed() {
    let pipeline = pipeline("default", SMALLEST);
    let mut begun = injected("begun", &pipeline);
    let text = begun.metadata.annotations.as_mut().expect("a stamp").get_mut(STATUS).expect("a stamp");
    let before = Some(Former { image: "registry.example/veneur:1".to_owned(), container: None });
    *text = Stamp { before, ..Stamp::parse(text).expect("a stamp") }.to_text();
    let snapshot = count([begun, injected("settled", &pipeline)], &[&pipeline]);
    let listed: Vec<&str> = snapshot.outdated.iter().map(|pod| &*pod.name).collect();
    assert_eq!(listed, ["begun"]);
    assert!(*snapshot.outdated[0].image == *snapshot.outdated[0].wanted);
}

#[test]
fn what_sidecars_follow_while_they_run_makes_no_pod_outdated_unless_nobody_of_the_pipeline_offers_it() {
    for (spec, outdated) in [
        (SMALLEST, 0),
        ("proxy: {enabled: false}, sinks: [{name: debug, debug: {}}]", 0),
        ("proxy: {enabled: false}, global: {enabled: false, forwardTo: 'veneur.other:8128'}", 1),
    ] {
        let before = pipeline("default", &format!("{{{spec}}}"));
        for change in ["tags: {add: {a: b}}", "aggregation: {percentiles: [p90]}"] {
            let now = pipeline("default", &format!("{{{spec}, {change}}}"));
            let snapshot = count([injected("old", &before)], &[&now]);
            assert_eq!(snapshot.pipelines["metrics/default"].outdated, outdated, "{spec}: {change}");
        }
    }
}

#[test]
fn of_many_workloads_ten_are_named_and_each_is_listed() {
    let many = (0..300).map(|number| {
        let mut pod = pod("shop", &format!("p{number}"), json!({"veneur.dev/inject": "metrics/default"}), json!({}));
        let owners = pod.metadata.owner_references.as_mut().expect("an owner");
        owners[0].name = format!("w{}-5d", number / 150);
        if number == 299 {
            owners[0].name = "last-5d".to_owned();
        }
        pod
    });
    let snapshot = count(many, &[&pipeline("default", SMALLEST)]);
    assert_eq!(snapshot.missed.len(), 201, "a hundred of each of two, and the one of the third");
    assert_eq!(snapshot.pipelines["metrics/default"].missed, 300);
    assert_eq!(snapshot.pipelines["metrics/default"].missed_workloads.len(), 3);
}

#[test]
fn what_says_nothing_new_is_not_counted_anew() {
    let mut records = Records::new(namespaces());
    records.take(Event::InitDone);
    let asking = || pod("shop", "a", json!({"veneur.dev/inject": "metrics/default"}), json!({}));
    assert!(records.take(Event::Apply(asking())));
    assert!(!records.take(Event::Apply(asking())));
    assert!(!records.take(Event::Apply(pod("shop", "other", json!({}), json!({})))));
    let mut ending = asking();
    ending.metadata.deletion_timestamp.clone_from(&ending.metadata.creation_timestamp);
    assert!(records.take(Event::Apply(ending)), "a pod that is being deleted is not counted");
    assert!(!records.take(Event::Delete(asking())));
}

#[tokio::test]
async fn metadata_of_all_running_pods_is_asked_for_and_whole_pods_only_with_a_sidecar() {
    let (client, seen) = api_server(|method, path, _| {
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"},
            "items": [pod("shop", "a", json!({"veneur.dev/inject": "metrics/default"}), json!({}))]});
        (method == "GET" && !path.contains("watch=true")).then_some((200, list))
    });
    let (view, _keep) = pipelines();
    let (namespaces, _keep_too) = Namespaces::kept([Namespace { name: "shop".to_owned(), ..Namespace::default() }]);
    let (mut counted, watch) = pods(view, namespaces, defaults(), vec!["kube-system".to_owned()]);
    let stop = tokio_util::sync::CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watch.run(client, stop.clone()));
    let changed = tokio::time::timeout(Duration::from_mins(1), counted.changed()).await;
    assert_eq!(changed, Ok(true), "the pods are counted");
    assert_eq!(counted.snapshot().unresolved, [("PipelineNotFound".to_owned(), 1)].into());
    let asked: Vec<String> = seen.lock().expect("no poison").iter().map(|(_, path, _)| path.clone()).collect();
    let (injected, all): (Vec<&String>, _) = asked.iter().partition(|path| path.contains("labelSelector="));
    for part in ["status.phase%21%3DSucceeded", "status.phase%21%3DFailed", "metadata.namespace%21%3Dkube-system"] {
        assert!(all[0].contains(part), "{asked:?}");
    }
    for part in ["veneur.dev%2Finjected%3Dtrue", "status.phase%21%3DSucceeded", "limit=100"] {
        assert!(injected[0].contains(part), "{asked:?}");
    }
    stop.cancel();
    drop(tasks.join_all().await);
}

/// A cluster whose namespaces come and go would else be listed whole for each of them, by every replica.
#[tokio::test(start_paused = true)]
async fn a_namespace_that_asks_for_its_pods_from_now_on_is_listed_and_no_other() {
    let (client, seen) = api_server(|method, path, _| {
        let silent = pod("web", "silent", json!({}), json!({}));
        let asking = pod("shop", "asking", json!({"veneur.dev/inject": "metrics/default"}), json!({}));
        let items = match path {
            _ if path.contains("labelSelector=") => json!([]),
            _ if path.starts_with("/api/v1/namespaces/web/pods?") => json!([silent]),
            _ => json!([asking, silent]),
        };
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        (method == "GET" && !path.contains("watch=true")).then_some((200, list))
    });
    let (view, _keep) = pipelines();
    let named = |name: &str, label: &str| Namespace {
        name: name.to_owned(),
        labels: [("veneur.dev/injection".to_owned(), label.to_owned())].into(),
        pipeline: Some("metrics/default".to_owned()),
    };
    let before = || [named("shop", ""), named("web", ""), named("kube-system", "")];
    let (namespaces, shown) = Namespaces::kept(before());
    let (mut counted, watch) = pods(view, namespaces, defaults(), vec!["kube-system".to_owned()]);
    let stop = tokio_util::sync::CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watch.run(client, stop.clone()));
    let steps =
        [None, Some([named("shop", ""), named("web", "enabled"), named("kube-system", "strict")]), Some(before())];
    let mut counts = Vec::new();
    for step in steps {
        if let Some(all) = step {
            shown.show(all);
        }
        assert!(counted.changed().await, "the pods are counted");
        counts.push(counted.snapshot().unresolved["PipelineNotFound"]);
    }
    assert_eq!(counts, [1, 2, 1]);
    let seen: Vec<String> = seen.lock().expect("no poison").iter().map(|(_, path, _)| path.clone()).collect();
    let lists = seen.iter().filter(|path| !path.contains("watch=true"));
    let of_metadata: Vec<&String> = lists.filter(|path| !path.contains("labelSelector=")).collect();
    let [all, web] = of_metadata.as_slice() else { panic!("{of_metadata:?}") };
    assert!(all.starts_with("/api/v1/pods?") && web.starts_with("/api/v1/namespaces/web/pods?"), "{of_metadata:?}");
    assert!(web.contains("status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed"), "{web}");
    stop.cancel();
    drop(tasks.join_all().await);
}

/// A list under way was begun with what was known of namespaces then.
#[test]
fn records_are_settled_once_listed_and_not_while_they_are_listed_anew() {
    let mut records = Records::new(namespaces());
    let mut settled = Vec::new();
    for event in [Event::Init, Event::InitDone, Event::Init, Event::InitDone] {
        records.take(event);
        settled.push(records.is_settled());
    }
    assert_eq!(settled, [false, true, false, true]);
}

/// What 10,000 pods cost is printed, not only bounded: the operator's 150 MiB hold all else too.
#[test]
fn ten_thousand_pods_take_a_few_mebibytes() {
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |pages: usize| pages * 4096)
    };
    let pipeline = pipeline("default", SMALLEST);
    let mut records = Records::new(namespaces());
    records.take(Event::Init);
    let (before, one) = (resident(), injected("one", &pipeline));
    for number in 0..10_000 {
        let mut pod = one.clone();
        pod.metadata.name = Some(format!("application-{number:05}-5d8c7b9f4-x2x9z"));
        pod.metadata.owner_references.as_mut().expect("an owner")[0].name = format!("application-{}-5d", number / 10);
        records.take(Event::InitApply(pod));
    }
    records.take(Event::InitDone);
    let snapshot = Counter::new(defaults()).count(&records, &namespaces(), &[&pipeline]);
    assert_eq!(snapshot.pipelines["metrics/default"].injected, 10_000);
    let grown = resident().saturating_sub(before);
    println!("10,000 pods: {:.1} MiB", grown as f64 / 1024.0 / 1024.0);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes");
}
