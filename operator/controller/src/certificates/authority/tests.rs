use super::*;
use crate::test_support::{api_server, status};
use serde_json::{Value, json};

const SUBJECT: &str = "test authority";
const LIFETIMES: Lifetimes =
    Lifetimes { authority: Duration::from_hours(2), leaf: Duration::from_hours(1), settle: Duration::from_mins(1) };

fn stored(version: &str) -> Value {
    let keyring = Keyring::found(SUBJECT, SystemTime::now(), &LIFETIMES).unwrap();
    serde_json::to_value(secret("ca", &keyring, Some(version))).unwrap()
}

#[tokio::test]
async fn who_loses_the_race_to_create_the_secret_uses_the_winners() {
    let theirs = stored("7");
    let answer = theirs.clone();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (client, _) = api_server(move |method, _, _| match method {
        "GET" if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => Some((404, status(404, "not found"))),
        "GET" => Some((200, answer.clone())),
        _ => Some((409, status(409, "exists"))),
    });
    let safe = Safe::open(client, "veneur-system", "ca", SUBJECT, LIFETIMES).await.unwrap();
    let bundle = safe.keyring().borrow().keyring.bundle();
    let written: Secret = serde_json::from_value(theirs).unwrap();
    assert_eq!(bundle.as_bytes(), written.data.unwrap()["ca.crt"].0);
}

#[tokio::test]
async fn a_step_is_written_over_the_version_that_was_read_and_an_idle_look_writes_nothing() {
    let (client, seen) = api_server(|method, _, body: &Value| match method {
        "GET" => Some((200, stored("7"))),
        "PUT" => Some((200, {
            let mut written = body.clone();
            written["metadata"]["resourceVersion"] = json!("8");
            written
        })),
        _ => None,
    });
    let mut safe = Safe::open(client, "veneur-system", "ca", SUBJECT, LIFETIMES).await.unwrap();
    safe.advance(None).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1, "only the first read");
    // A lifetime that became shorter is the simplest cause of a step.
    safe.lifetimes.authority = Duration::from_hours(1);
    safe.advance(None).await.unwrap();
    let (method, _, body) = seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!((method.as_str(), &body["metadata"]["resourceVersion"]), ("PUT", &json!("7")));
    assert!(body["data"]["next.crt"].is_string());
    assert_eq!(safe.keyring().borrow().version.as_deref(), Some("8"));
}

#[tokio::test]
async fn a_secret_that_is_no_keyring_is_told_with_what_to_do() {
    let (client, _) = api_server(|_, _, _| {
        Some((200, json!({"metadata": {"name": "ca", "namespace": "veneur-system"}, "data": {"ca.crt": ""}})))
    });
    let error = Safe::open(client, "veneur-system", "ca", SUBJECT, LIFETIMES).await.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("kubectl -n veneur-system delete secret ca") && told.ends_with("it lacks ca.key"), "{told}");
}
