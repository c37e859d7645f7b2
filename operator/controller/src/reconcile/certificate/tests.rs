use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{
    certificates::{authority::Safe, keyring::Lifetimes, tier::TierCertificates},
    context::Context,
    reconcile::{Watched, reconcile},
    test_support::{api_server, context, pipeline},
};

const ENCRYPTED: &str = "{sinks: [{name: debug, debug: {}}], tls: {mode: SelfSigned}}";

fn encrypted() -> Arc<Watched> {
    Arc::new(serde_json::from_value(json!(pipeline("default", ENCRYPTED))).expect("a pipeline"))
}

async fn certifying(mut context: Arc<Context>) -> Arc<Context> {
    let year = Duration::from_hours(24 * 365);
    let lifetimes = Lifetimes::within(10 * year, year / 4, Duration::from_hours(24));
    let client = context.client.clone();
    let safe = Safe::open(client.clone(), "veneur-system", "tiers-ca", "test", lifetimes).await.expect("an authority");
    Arc::get_mut(&mut context).expect("not shared yet").certificates =
        Some(Arc::new(TierCertificates::new(client, safe)));
    context
}

#[tokio::test]
async fn the_secret_goes_before_what_mounts_it_and_is_written_once() {
    let (client, seen) = api_server(|method, _, body| (method == "POST").then(|| (201, body.clone())));
    let context = certifying(context(client)).await;
    drop(reconcile(encrypted(), Arc::clone(&context)).await);
    let writes: Vec<String> = {
        let seen = seen.lock().expect("no poison");
        let patches = seen.iter().filter(|(method, ..)| method == "PATCH");
        patches.map(|(_, path, _)| path.split('?').next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(writes[0], "/api/v1/namespaces/metrics/secrets/default-tls", "{writes:?}");
    let recorded = context.live.get(Kind::ConfigMap, &Key::new("metrics", "default"), "default-veneur");
    let recorded = recorded.expect("the answer to the write was taken in").json();
    assert!(Record::of(recorded["metadata"]["annotations"][RECORD].as_str().expect("a record")).is_some());

    seen.lock().expect("no poison").clear();
    drop(reconcile(encrypted(), context).await);
    let seen = seen.lock().expect("no poison");
    let secrets: Vec<_> = seen.iter().filter(|(_, path, _)| path.contains("/secrets/default-tls")).collect();
    assert!(secrets.is_empty(), "{secrets:?}");
}

fn held(spec: &str) -> Arc<Watched> {
    Arc::new(serde_json::from_value(json!(pipeline("default", spec))).expect("a pipeline"))
}

#[tokio::test]
async fn what_runs_on_while_nothing_is_written_has_its_certificate_renewed_once() {
    for spec in [
        "{sinks: [{name: debug, debug: {}}], tls: {mode: SelfSigned}, management: Paused}",
        "{sinks: [{name: debug, debug: {}}], tls: {mode: Disabled}, management: Paused}",
        "{sinks: [{name: debug, debug: {}}], tls: {mode: SelfSigned}, flush: {interval: abc}}",
    ] {
        let (client, seen) = api_server(|method, _, body| (method == "POST").then(|| (201, body.clone())));
        let mut context = certifying(context(client)).await;
        drop(reconcile(encrypted(), Arc::clone(&context)).await);
        let writes = || -> Vec<String> {
            let seen = std::mem::take(&mut *seen.lock().expect("no poison"));
            let patches = seen.into_iter().filter(|(method, path, _)| method != "GET" && !path.contains("/events"));
            let paths = patches.map(|(_, path, _)| path.split('?').next().unwrap_or_default().to_owned());
            paths.filter(|path| !path.ends_with("/status")).collect()
        };
        drop(writes());
        drop(reconcile(held(spec), Arc::clone(&context)).await);
        assert!(writes().is_empty(), "{spec}: it is not due");

        let key = Key::new("metrics", "default");
        let mut seen = context.live.get(Kind::ConfigMap, &key, "default-veneur").expect("a ConfigMap").json();
        let record = &mut seen["metadata"]["annotations"][RECORD];
        let mut due = Record::of(record.as_str().expect("a record")).expect("one of ours");
        (due.issued, due.renew) =
            ("2026-01-01T00:00:00Z".parse().expect("a time"), "2026-03-01T00:00:00Z".parse().expect("a time"));
        *record = json!(due.annotation());
        context.live.wrote(Kind::ConfigMap, &seen);
        // Another leader, which remembers nothing.
        let safe = context.certificates.as_ref().expect("it has them").safe().clone();
        let certificates = TierCertificates::new(context.client.clone(), safe);
        Arc::get_mut(&mut context).expect("nobody reconciles").certificates = Some(Arc::new(certificates));
        for expected in [&["/api/v1/namespaces/metrics/secrets/default-tls"][..], &[]] {
            drop(reconcile(held(spec), Arc::clone(&context)).await);
            assert_eq!(writes(), expected, "{spec}");
        }
    }
}

#[tokio::test]
async fn paused_without_a_certificate_gets_none() {
    let (client, seen) = api_server(|method, _, body| (method == "POST").then(|| (201, body.clone())));
    let context = certifying(context(client)).await;
    let spec = "{sinks: [{name: debug, debug: {}}], tls: {mode: SelfSigned}, management: Paused}";
    drop(reconcile(held(spec), context).await);
    let seen = seen.lock().expect("no poison");
    assert!(!seen.iter().any(|(_, path, _)| path.contains("/secrets/default-tls")), "{seen:?}");
}

#[tokio::test]
async fn without_an_authority_the_pipeline_says_what_to_install_and_nothing_is_applied() {
    let (client, seen) = api_server(|_, _, _| None);
    reconcile(encrypted(), context(client)).await.expect_err("it is tried again");
    let seen = seen.lock().expect("no poison");
    let writes: Vec<_> = seen.iter().filter(|(method, ..)| method != "GET").collect();
    let [(_, path, body)] = writes.as_slice() else { panic!("{writes:?}") };
    assert!(path.contains("/veneurpipelines/default/status"), "{path}");
    assert!(body.to_string().contains("rbac.tierCertificates=true"), "{body}");
}

#[test]
fn a_pod_that_cannot_mount_asks_for_the_secret_again() {
    let pod = |reason: &str| json!({"status": {"containerStatuses": [{"name": "global", "state": {"waiting": {"reason": reason}}}]}});
    assert!(is_waiting(&pod("ContainerCreating")));
    assert!(!is_waiting(&pod("CrashLoopBackOff")) && !is_waiting(&json!({})));
}
