use serde_json::json;

use super::*;
use crate::{
    certificates::keyring::{Lifetimes, Step},
    test_support::{api_server, pipeline, status},
};

const SUBJECT: &str = "test tiers";
const DAY: Duration = Duration::from_hours(24);
const LIFETIMES: Lifetimes =
    Lifetimes { authority: Duration::from_hours(24 * 3650), leaf: Duration::from_hours(24 * 90), settle: DAY };

fn wanted() -> Wanted {
    Wanted { namespace: "metrics".to_owned(), pipeline: "default".to_owned(), owner: None }
}

fn names_of_wanted() -> Vec<String> {
    certificate_names("default", "metrics")
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_and_for_each_change_and_not_otherwise() {
    let now = SystemTime::now();
    let keyring = Keyring::found(SUBJECT, now, &LIFETIMES).unwrap();
    let (_, record) = issue(&wanted(), &keyring, LIFETIMES.leaf, now).unwrap();
    let record = Record::of(&record.annotation()).unwrap();
    let reason = |keyring: &Keyring, names: &[String], later: Duration| due(Some(&record), keyring, names, now + later);
    assert_eq!(due(None, &keyring, &names_of_wanted(), now), Some("there is none"));
    assert_eq!(reason(&keyring, &names_of_wanted(), 59 * DAY), None);
    assert_eq!(reason(&keyring, &names_of_wanted(), 61 * DAY), Some("its time has come"));
    assert_eq!(reason(&keyring, &certificate_names("default", "other"), DAY), Some("names have changed"));
    let prepared = keyring.after(Step::Prepare, SUBJECT, now, &LIFETIMES).unwrap();
    assert_eq!(reason(&prepared, &names_of_wanted(), DAY), Some("authorities have changed"));
    let promoted = prepared.after(Step::Promote, SUBJECT, now, &LIFETIMES).unwrap();
    assert_eq!(reason(&promoted, &names_of_wanted(), DAY), Some("authorities have changed"));
    assert_eq!(Record::of("{}"), None);
}

#[test]
fn the_secret_is_of_the_type_that_tiers_mount_and_holds_no_authoritys_key() {
    let now = SystemTime::now();
    let keyring = Keyring::found(SUBJECT, now, &LIFETIMES).unwrap();
    let (secret, _) = issue(&wanted(), &keyring, LIFETIMES.leaf, now).unwrap();
    let text = |key: &str| String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(secret.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["ca.crt", "tls.crt", "tls.key"]);
    assert_eq!(text("ca.crt"), keyring.bundle());
    assert!(text("tls.key").contains("PRIVATE KEY") && text("tls.key") != keyring.current.key_pem());
    // Proxies dial members by address, and look for this name.
    assert!(names_of_wanted().contains(&"default-global.metrics.svc".to_owned()));
}

async fn certificates(client: Client) -> TierCertificates {
    let safe = Safe::open(client.clone(), "veneur-system", "tiers-ca", SUBJECT, LIFETIMES).await.unwrap();
    TierCertificates::new(client, safe)
}

#[tokio::test]
async fn the_secret_is_written_once_and_never_read() {
    let (client, seen) = api_server(|method, _, body| match method {
        "POST" => Some((201, body.clone())),
        "PATCH" => Some((200, json!({"metadata": body["metadata"]}))),
        _ => None,
    });
    let certificates = certificates(client).await;
    let (record, again) = certificates.ensure(&wanted(), None).await.unwrap();
    let (same, _) = certificates.ensure(&wanted(), Some(record.clone())).await.unwrap();
    assert_eq!(same, record);
    assert!(again <= LIFETIMES.settle, "{again:?}");
    let asked: Vec<_> = seen.lock().unwrap().iter().map(|(method, path, _)| (method.clone(), path.clone())).collect();
    let of_tiers: Vec<_> = asked.iter().filter(|(_, path)| path.contains("/namespaces/metrics/")).collect();
    let [(method, path)] = of_tiers.as_slice() else { panic!("{asked:?}") };
    assert_eq!(method, "PATCH");
    assert!(path.starts_with("/api/v1/namespaces/metrics/secrets/default-tls?") && !path.contains("force"), "{path}");
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_not_taken_over() {
    let (client, _) = api_server(|method, _, body| match method {
        "POST" => Some((201, body.clone())),
        "PATCH" => Some((409, status(409, "Apply failed with 1 conflict"))),
        _ => None,
    });
    let error = certificates(client).await.ensure(&wanted(), None).await.unwrap_err();
    assert_eq!(error.to_string(), "secret metrics/default-tls is somebody else's: remove it, or rename the pipeline");
}

/// What is listed, as the operator sees it.
async fn listed(pipeline: VeneurPipeline) -> (Pipelines, tokio::task::JoinSet<()>) {
    let listed = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": [pipeline]});
    let (client, _) = api_server(move |_, path, _| (!path.contains("watch=true")).then(|| (200, listed.clone())));
    let (view, watch) = crate::pipelines::pipelines();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(watch.run(client, CancellationToken::new()));
    assert!(view.wait_until_listed(Duration::from_secs(10)).await, "the pipelines are listed");
    (view, tasks)
}

#[tokio::test]
async fn the_next_authority_waits_for_every_pipeline_that_has_a_certificate_and_for_no_other() {
    let (pipelines, _tasks) = listed(pipeline("default", "{sinks: [], tls: {mode: SelfSigned}}")).await;
    let (client, _) = api_server(|method, _, body| match method {
        "POST" => Some((201, body.clone())),
        _ => None,
    });
    let certificates = certificates(client).await;
    let bundle = revision::of(&certificates.bundle());
    assert!(!certificates.all_have(&pipelines, &bundle), "not looked at yet");
    // As of a pipeline that is paused, or whose spec is not accepted, and has none.
    assert_eq!(certificates.renew(&wanted(), None).await.unwrap(), Duration::MAX);
    assert!(certificates.all_have(&pipelines, &bundle));
    let (record, _) = certificates.ensure(&wanted(), None).await.unwrap();
    assert!(certificates.all_have(&pipelines, &bundle) && !certificates.all_have(&pipelines, "another"));
    certificates.renew(&wanted(), Some(record)).await.unwrap();
    assert!(certificates.all_have(&pipelines, &bundle) && !certificates.all_have(&pipelines, "another"));
}
