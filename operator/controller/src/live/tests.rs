use serde_json::{Value, json};
use tokio::time::timeout;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Knowledge, Live, learnt};
use crate::{feeds::Key, kind::Kind, test_support::api_server};

fn service(name: &str, version: &str, port: i64) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "metrics", "uid": "u", "resourceVersion": version,
            "labels": {"veneur.dev/pipeline": "default"},
            "managedFields": [{"manager": "veneur-operator"}],
        },
        "spec": {"ports": [{"port": port}]},
        "status": {"loadBalancer": {}},
    })
}

fn key() -> Key {
    Key::new("metrics", "default")
}

#[test]
fn what_was_seen_later_is_not_undone_by_what_was_written_earlier() {
    let live = Live::new();
    live.wrote(Kind::Service, &service("a", "9", 9));
    live.wrote(Kind::Service, &service("a", "7", 7));
    let seen = live.get(Kind::Service, &key(), "a").expect("seen");
    assert_eq!(seen.json()["spec"]["ports"][0]["port"], 9);
    assert!(seen.ours && seen.json()["metadata"].get("managedFields").is_none() && seen.json().get("status").is_none());
}

#[test]
fn what_bears_no_pipelines_label_is_not_kept() {
    let live = Live::new();
    let mut foreign = service("a", "1", 1);
    foreign["metadata"]["labels"] = json!({});
    live.wrote(Kind::Service, &foreign);
    assert!(live.of_pipeline(Kind::Service, &key()).is_empty());
}

#[test]
fn a_kind_that_is_refused_or_absent_is_told_apart_from_one_that_is_away() {
    let failed = |code: u16| {
        let status = crate::test_support::status(code, "said");
        let error = kube::Error::Api(serde_json::from_value(status).expect("a status"));
        learnt(&kube::runtime::watcher::Error::InitialListFailed(error))
    };
    assert_eq!(failed(403), Some(Knowledge::Refused("said".to_owned())));
    assert_eq!(failed(404), Some(Knowledge::NotInstalled));
    assert_eq!(failed(500), None);
}

/// Lists of every kind: Services as given, all others empty, and no watch ever says anything.
fn lists(method: &str, path: &str, services: &[Value]) -> Option<(u16, Value)> {
    if method != "GET" {
        return None;
    }
    let items = if path.contains("/services") { services.to_vec() } else { Vec::new() };
    Some((200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "10"}, "items": items})))
}

#[tokio::test]
async fn all_is_settled_when_each_kind_is_listed_or_refused_and_the_pipelines_are_woken() {
    let (client, _) = api_server(|method, path, _| {
        if path.contains("/deployments") {
            let said = "User \"u\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope";
            return Some((403, crate::test_support::status(403, said)));
        }
        if path.contains("watch=") {
            return Some((
                200,
                json!({"type": "BOOKMARK", "object": {"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "11"}}}),
            ));
        }
        lists(method, path, &[service("a", "1", 1)])
    });
    let (live, stop) = (Live::new(), tokio_util::sync::CancellationToken::new());
    let mut woken = live.wakes();
    let run = live.run(&client, &stop);
    let seen = async {
        live.settled().await;
        let first = woken.recv().await;
        stop.cancel();
        first
    };
    let (first, ()) = timeout(Duration::from_secs(10), futures::future::join(seen, run)).await.expect("in time");
    assert_eq!(first, Some(key()));
    assert!(live.get(Kind::Service, &key(), "a").is_some());
    assert_eq!(live.knowledge(Kind::Service), Knowledge::Listed);
    let refused = live.refused();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, Kind::Deployment);
}

/// A watch that is taken up again says nothing until something changes, and what may be seen again would stay refused.
#[tokio::test(start_paused = true)]
async fn a_kind_that_may_be_watched_again_is_known_again() {
    let refused = Arc::new(AtomicBool::new(false));
    let (client, _) = api_server(move |method, path, _| {
        if !path.contains("watch=") {
            return lists(method, path, &[]);
        }
        let first = path.contains("/deployments") && !refused.swap(true, Ordering::Relaxed);
        let code = if first { 403 } else { 500 };
        Some((code, crate::test_support::status(code, "said")))
    });
    let (live, stop) = (Live::new(), tokio_util::sync::CancellationToken::new());
    let mut knowledge = live.shelf(Kind::Deployment).knowledge.subscribe();
    let seen = async {
        let mut known = async |wanted| drop(knowledge.wait_for(|knowledge| *knowledge == wanted).await);
        known(Knowledge::Refused("said".to_owned())).await;
        known(Knowledge::Listed).await;
        stop.cancel();
    };
    let both = futures::future::join(seen, live.run(&client, &stop));
    timeout(Duration::from_mins(1), both).await.expect("in time");
    assert!(live.refused().is_empty());
}

#[test]
fn what_a_cluster_need_not_have_raises_no_alarm() {
    let live = std::sync::Arc::new(Live::new());
    for (kind, knowledge) in [
        (Kind::PodMonitor, Knowledge::NotInstalled),
        (Kind::Certificate, Knowledge::Refused("said".to_owned())),
        (Kind::Deployment, Knowledge::Refused("said".to_owned())),
    ] {
        live.shelf(kind).note(false);
        live.shelf(kind).knowledge.send_replace(knowledge);
    }
    let telemetry = crate::telemetry::Telemetry::new();
    telemetry.collect(Box::new(super::Staleness { live, others: Vec::new() }));
    let text = telemetry.text();
    for metric in ["veneur_operator_watch_listed", "veneur_operator_watch_stale_seconds"] {
        assert!(!text.contains(&format!("{metric}{{kind=\"PodMonitor\"}}")), "{text}");
        assert!(!text.contains(&format!("{metric}{{kind=\"Certificate\"}}")), "{text}");
        assert!(text.contains(&format!("{metric}{{kind=\"Deployment\"}} 0")), "{text}");
    }
}
