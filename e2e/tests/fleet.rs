//! The point of the product: three pods in one namespace, one true percentile from the globals in another.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use veneur_e2e::{Batch, Fleet, Namespace, batches, eventually, get, kubectl, raw};
use veneur_intake::Received;

/// Batches of which every pod has emitted one: two intervals after the last pod is ready, and a busy machine's slack.
const EMITTED: Duration = Duration::from_mins(1);

/// From the end of an interval until its points are out: lateness and delivery.
const PUBLISHED: Duration = Duration::from_secs(15);

/// The kubelet brings a changed `ConfigMap` within 90 s; then an interval, and a busy machine's slack.
const FOLLOWED: Duration = Duration::from_mins(3);

/// Series of the sample application that are there for their number: that one of two globals owns none of them is a
/// matter of one in 65,536.
const SHELVES: usize = 16;

#[test]
fn three_pods_get_one_true_percentile_and_every_ledger_closes() {
    let metrics = Namespace::new("fleet");
    let shop = Namespace::new("shop");
    let fleet = Fleet::with_sample(&metrics, &shop);

    let (boundary, pods) = eventually("two intervals have batches of all three pods", EMITTED, || {
        let whole: Vec<_> = batches(&shop).into_iter().filter(|(_, pods)| pods.len() == 3).collect();
        let seen = whole.len();
        whole.into_iter().nth(1).ok_or_else(|| format!("{seen} so far"))
    });
    // Points of one interval come from several globals, each in its own requests.
    let received = eventually("the interval is published", PUBLISHED, || {
        let received = fleet.received();
        let counts =
            received.iter().filter(|point| point.timestamp == boundary && point.metric == "sample.page.latency.count");
        let fleet_count = find(&received, boundary, "sample.fleet.latency.count").len();
        let (counts, percentiles) =
            (counts.count(), find(&received, boundary, "sample.page.latency.99percentile").len());
        let users = find(&received, boundary, "sample.users").len();
        let shelves = find(&received, boundary, "sample.visits").len();
        if (counts, fleet_count, percentiles, users, shelves) == (3, 1, 1, 1, SHELVES) {
            Ok(received)
        } else {
            Err(format!(
                "{counts} pods' counts, {fleet_count} fleet count, {percentiles} percentile, {users} set, {shelves} shelves"
            ))
        }
    });
    assert_eq!(fleet.problems(), Value::Array(Vec::new()), "the intake refused nothing");

    the_fleet_timer_is_exact_where_it_can_be_and_close_where_not(&received, boundary, &pods);
    the_set_counts_distinct_members_over_all_pods(&received, boundary, &pods);
    each_pod_publishes_its_own_series_and_no_percentile(&received, boundary, &pods);
    each_series_has_one_owner_in_each_interval(&received, &fleet);
    every_ledger_closes(&fleet, &shop);
    proxies_may_watch_the_members_of_their_namespace_and_nothing_else(&metrics, &shop);
    sidecars_have_no_token(&shop);
}

#[test]
fn running_sidecars_take_a_new_tag_and_percentile_and_no_pod_is_restarted() {
    let (metrics, shop) = (Namespace::new("follow"), Namespace::new("follow-shop"));
    let fleet = Fleet::with_sample(&metrics, &shop);
    let running = || [pods_of(&shop, "app=sample"), pods_of(&metrics, "veneur.dev/pipeline=fleet")];
    let before = running();

    let change = json!({"spec": {"tags": {"add": {"team": "shop"}}, "aggregation": {"percentiles": ["p90"]}}});
    kubectl(&["-n", &metrics.0, "patch", "veneurpipeline", "fleet", "--type=merge", "-p", &change.to_string()])
        .expect("patched");
    eventually("each pod's own series have the tag, and the fleet has the percentile", FOLLOWED, || {
        let received = fleet.try_received()?;
        let tagged = received.iter().filter(|point| point.tags.iter().any(|tag| tag == "team:shop"));
        let (requests, percentile): (BTreeSet<_>, BTreeSet<_>) = (
            tagged.clone().filter(|point| point.metric == "sample.requests").map(|point| &point.host).collect(),
            tagged
                .filter(|point| point.metric == "sample.page.latency.90percentile")
                .map(|point| &point.tags)
                .collect(),
        );
        if requests.len() == 3 && !percentile.is_empty() {
            Ok(())
        } else {
            Err(format!("{requests:?}, {percentile:?}"))
        }
    });
    assert_eq!(running(), before, "nothing was made anew or restarted");
    let pipeline = get(&["-n", &metrics.0, "veneurpipeline", "fleet"]).expect("is there");
    assert_eq!(pipeline["status"]["injection"]["outdated"], 0, "{}", pipeline["status"]["injection"]);
    assert_eq!(fleet.problems(), Value::Array(Vec::new()), "the intake refused nothing");
}

/// Pods with this label, and how often their containers were restarted.
fn pods_of(namespace: &Namespace, selector: &str) -> BTreeMap<String, u64> {
    let listed = get(&["-n", &namespace.0, "pods", "-l", selector]).expect("listed");
    let restarts = |pod: &Value| -> u64 {
        let lists = ["initContainerStatuses", "containerStatuses"].map(|list| pod["status"][list].as_array().cloned());
        lists.into_iter().flatten().flatten().filter_map(|status| status["restartCount"].as_u64()).sum()
    };
    let pods = listed["items"].as_array().into_iter().flatten();
    pods.map(|pod| (pod["metadata"]["uid"].to_string(), restarts(pod))).collect()
}

fn the_fleet_timer_is_exact_where_it_can_be_and_close_where_not(
    received: &[Received],
    boundary: i64,
    pods: &BTreeMap<String, Batch>,
) {
    let mut exact: Vec<f64> = pods.values().flat_map(|batch| batch.fleet_latency.clone()).collect();
    exact.sort_by(f64::total_cmp);
    let published = |statistic: &str| {
        let points = find(received, boundary, &format!("sample.fleet.latency.{statistic}"));
        assert_eq!(points.len(), 1, "{statistic}: {points:?}");
        assert_eq!(points[0].host, None, "what a global computes carries no host");
        points[0].total()
    };
    assert_same(published("count"), exact.len() as f64, "count");
    assert_same(published("min"), exact[0], "min");
    assert_same(published("max"), exact[exact.len() - 1], "max");
    for (statistic, quantile, bar) in [("50percentile", 0.5, 0.005), ("99percentile", 0.99, 0.002)] {
        let value = published(statistic);
        let error = rank_error(&exact, value, quantile);
        println!("{statistic}: {value} of {} samples, rank error {error:.5}", exact.len());
        assert!(error <= bar, "{statistic}: {value} is {error} off in rank, {bar} is allowed");
    }
}

fn the_set_counts_distinct_members_over_all_pods(received: &[Received], boundary: i64, pods: &BTreeMap<String, Batch>) {
    let exact: BTreeSet<&String> = pods.values().flat_map(|batch| &batch.users).collect();
    let points = find(received, boundary, "sample.users");
    assert_eq!(points.len(), 1, "{points:?}");
    let error = (points[0].value / exact.len() as f64 - 1.0).abs();
    println!("users: {} of {}, error {error:.4}", points[0].value, exact.len());
    assert!(error <= 0.02, "{} users instead of {}", points[0].value, exact.len());
    for shelf in find(received, boundary, "sample.visits") {
        assert_same(shelf.value, 1.0, "the one visitor of three pods");
    }
}

fn each_pod_publishes_its_own_series_and_no_percentile(
    received: &[Received],
    boundary: i64,
    pods: &BTreeMap<String, Batch>,
) {
    let own = |metric: &str, host: &str| {
        let points: Vec<_> =
            find(received, boundary, metric).into_iter().filter(|point| point.host.as_deref() == Some(host)).collect();
        assert_eq!(points.len(), 1, "{metric} of {host}: {points:?}");
        points[0].total()
    };
    for (pod, batch) in pods {
        let (count, min, max) = batch.page_latency;
        assert_same(own("sample.page.latency.count", pod), count, "a pod's count");
        assert_same(own("sample.page.latency.min", pod), min, "a pod's minimum");
        assert_same(own("sample.page.latency.max", pod), max, "a pod's maximum");
        assert_same(own("sample.requests", pod), batch.requests, "a pod's counter");
        assert_same(own("sample.queue.depth", pod), batch.queue_depth, "a pod's gauge");
    }
    let sent: f64 = pods.values().map(|batch| batch.page_latency.0).sum();
    let counted: f64 = find(received, boundary, "sample.page.latency.count").iter().map(|point| point.total()).sum();
    assert_same(counted, sent, "the pods' counts together");
    let mut percentiles = received.iter().filter(|point| point.metric.ends_with("percentile"));
    assert!(percentiles.all(|point| point.host.is_none()), "no pod publishes a percentile");
}

fn each_series_has_one_owner_in_each_interval(received: &[Received], fleet: &Fleet<'_>) {
    let globals: BTreeSet<String> = fleet.pods("global").into_iter().map(|(_, address)| address).collect();
    assert_eq!(globals.len(), 2);
    let mut publishers: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for point in received {
        let series = (&point.metric, &point.tags, &point.host, point.timestamp);
        publishers.entry(series).or_default().push(point.sender.to_string());
    }
    let mut used = BTreeSet::new();
    for (series, senders) in publishers {
        assert_eq!(senders.len(), 1, "{series:?} was published by {senders:?}");
        assert!(globals.contains(&senders[0]), "{series:?} came from {}, which is no global", senders[0]);
        used.extend(senders);
    }
    assert_eq!(used, globals, "both globals own something");
}

fn every_ledger_closes(fleet: &Fleet<'_>, shop: &Namespace) {
    let mut hops = Vec::new();
    for role in ["proxy", "global"] {
        hops.extend(fleet.pods(role).into_iter().map(|(pod, _)| (role, fleet.0.0.as_str(), pod)));
    }
    let applications = kubectl(&["-n", &shop.0, "get", "pods", "-o", "name"]).expect("pods are listed");
    hops.extend(applications.lines().map(|pod| ("local", shop.0.as_str(), pod.trim_start_matches("pod/").to_owned())));
    assert_eq!(hops.len(), 7, "{hops:?}");
    for (role, namespace, pod) in hops {
        let status = raw(&format!("/api/v1/namespaces/{namespace}/pods/{pod}:8127/proxy/status")).expect("answers");
        assert_eq!(status["role"], role);
        assert_eq!(status["unaccounted"], 0, "{role} {pod}: {status:#}");
        let forward = &status["ledgers"]["forward"];
        assert_eq!(forward["uncertain"], 0, "{role} {pod}: {status:#}");
        assert_eq!(forward["dropped"], serde_json::json!({}), "{role} {pod}: {status:#}");
        assert_eq!(forward["late"], 0, "{role} {pod}: {status:#}");
        if role == "local" {
            assert_eq!(status["ledgers"]["datagrams"]["kernel_dropped"], 0, "{pod}: {status:#}");
            assert_eq!(status["ledgers"]["samples"]["refused"], serde_json::json!({}), "{pod}: {status:#}");
            // The sidecar found its proxy by the Service's name, from inside a scratch image.
            assert_ne!(forward["acknowledged"], 0, "{pod}: {status:#}");
        }
    }
}

fn proxies_may_watch_the_members_of_their_namespace_and_nothing_else(metrics: &Namespace, shop: &Namespace) {
    let account = format!("--as=system:serviceaccount:{}:fleet-proxy", metrics.0);
    let may = |verb: &str, resource: &str, namespace: &Namespace| {
        let asked = kubectl(&["auth", "can-i", verb, resource, "--namespace", &namespace.0, &account]);
        matches!(asked.as_deref().map(str::trim), Ok("yes"))
    };
    let slices = "endpointslices.discovery.k8s.io";
    for verb in ["get", "list", "watch"] {
        assert!(may(verb, slices, metrics), "proxies may not {verb} {slices}");
        assert!(!may(verb, slices, shop), "proxies may {verb} {slices} of another namespace");
        for resource in ["pods", "secrets", "configmaps", "services", "endpoints", "nodes"] {
            assert!(!may(verb, resource, metrics), "proxies may {verb} {resource}");
        }
    }
    for (verb, resource) in [("create", slices), ("patch", slices), ("delete", slices), ("create", "pods")] {
        assert!(!may(verb, resource, metrics), "proxies may {verb} {resource}");
    }
    // What the proxies run as is that account.
    let pods = get(&["-n", &metrics.0, "pods", "-l", "veneur.dev/role=proxy"]).expect("listed");
    for pod in pods["items"].as_array().expect("pods") {
        assert_eq!(pod["spec"]["serviceAccountName"], "fleet-proxy");
    }
}

/// Where the API server would mount a token, there is an empty folder.
fn sidecars_have_no_token(shop: &Namespace) {
    let listed = get(&["-n", &shop.0, "pods", "-l", "app=sample"]).expect("listed");
    let pods = listed["items"].as_array().expect("pods");
    assert_eq!(pods.len(), 3);
    let named = |list: &Value, name: &str| {
        let found = list.as_array().into_iter().flatten().find(|one| one["name"] == name);
        found.expect("the pod has it").clone()
    };
    for pod in pods {
        let sidecar = named(&pod["spec"]["initContainers"], "veneur");
        let begins = |text: &Value, with: &str| text.as_str().is_some_and(|text| text.starts_with(with));
        let mut of_tokens = sidecar["volumeMounts"].as_array().expect("mounts").clone();
        of_tokens.retain(|mount| {
            begins(&mount["mountPath"], "/var/run/secrets") || begins(&mount["name"], "kube-api-access-")
        });
        assert_eq!(of_tokens.len(), 1, "{sidecar:#}");
        assert_eq!(of_tokens[0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
        let volume = named(&pod["spec"]["volumes"], of_tokens[0]["name"].as_str().expect("a name"));
        let is_empty = json!({ "name": volume["name"], "emptyDir": volume["emptyDir"] }) == volume;
        assert!(is_empty && volume["emptyDir"].is_object(), "{volume:#}");
    }
}

fn find<'a>(received: &'a [Received], boundary: i64, metric: &str) -> Vec<&'a Received> {
    received.iter().filter(|point| point.timestamp == boundary && point.metric == metric).collect()
}

fn assert_same(published: f64, exact: f64, what: &str) {
    assert!((published - exact).abs() <= 1e-9 * exact.abs(), "{what}: {published} instead of {exact}");
}

/// Distance from `q` to [P(X < v), P(X ≤ v)].
fn rank_error(sorted: &[f64], value: f64, q: f64) -> f64 {
    let below = sorted.partition_point(|sample| *sample < value) as f64 / sorted.len() as f64;
    let up_to = sorted.partition_point(|sample| *sample <= value) as f64 / sorted.len() as f64;
    (below - q).max(q - up_to).max(0.0)
}
