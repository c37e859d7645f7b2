use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::test_support::status;

fn spec(holder: &str, seconds: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(seconds),
        ..LeaseSpec::default()
    }
}

#[test]
fn a_lease_is_free_when_nobody_holds_it_or_its_holder_was_not_seen_to_renew() {
    let after = |spec: Option<&LeaseSpec>, seconds| chance(spec, "me", Duration::from_secs(seconds));
    assert_eq!(after(None, 0), Chance::Free);
    assert_eq!(after(Some(&spec("", 15)), 0), Chance::Free);
    assert_eq!(after(Some(&spec("me", 15)), 0), Chance::Free);
    assert_eq!(after(Some(&spec("other", 15)), 0), Chance::Held(Duration::from_secs(15)));
    assert_eq!(after(Some(&spec("other", 15)), 14), Chance::Held(Duration::from_secs(1)));
    assert_eq!(after(Some(&spec("other", 15)), 15), Chance::Free);
}

/// The one Lease of an API server that checks versions, with a switch that cuts it off.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    changed: watch::Sender<u64>,
    cut: Arc<AtomicBool>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            }),
            "veneur-system",
        )
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if self.cut.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body in memory").to_bytes();
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("watch=") {
            let mut changes = self.changed.subscribe();
            let seen: u64 = query
                .split("resourceVersion=")
                .nth(1)
                .and_then(|rest| rest.split('&').next()?.parse().ok())
                .unwrap_or(0);
            drop(changes.wait_for(|version| *version > seen).await);
            let event = json!({"type": "MODIFIED", "object": self.lease.lock().expect("no poison").clone()});
            return Response::new(Body::from(format!("{event}\n").into_bytes()));
        }
        let (code, answer) = self.store(parts.method.as_str(), parts.uri.path(), &body);
        let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
        *response.status_mut() = http::StatusCode::from_u16(code).expect("a code");
        response
    }

    fn store(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut lease = self.lease.lock().expect("no poison");
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        let next = self.changed.borrow().saturating_add(1);
        match method {
            "GET" if path.ends_with("/leases") => (
                200,
                json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList",
                    "metadata": {"resourceVersion": self.changed.borrow().to_string()},
                    "items": lease.iter().collect::<Vec<_>>(),
                }),
            ),
            "GET" => lease.clone().map_or_else(|| (404, status(404, "not found")), |lease| (200, lease)),
            "POST" | "PUT" => {
                let mut new: Value = serde_json::from_slice(body).expect("JSON");
                let conflict = match (&*lease, method) {
                    (Some(_), "POST") | (None, "PUT") => true,
                    (Some(old), _) => version(old) != version(&new),
                    (None, _) => false,
                };
                if conflict {
                    return (409, status(409, "conflict"));
                }
                new["metadata"]["resourceVersion"] = json!(next.to_string());
                *lease = Some(new.clone());
                self.changed.send_replace(next);
                (200, new)
            }
            _ => (405, status(405, "not here")),
        }
    }

    fn holder(&self) -> String {
        let lease = self.lease.lock().expect("no poison");
        lease.as_ref().and_then(|lease| lease["spec"]["holderIdentity"].as_str()).unwrap_or_default().to_owned()
    }
}

/// Leads until told to stop, and counts those who lead at the same time.
async fn work(leaders: Arc<AtomicUsize>, most: Arc<AtomicUsize>, stop: CancellationToken) {
    struct Leading(Arc<AtomicUsize>);
    impl Drop for Leading {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let now = leaders.fetch_add(1, Ordering::SeqCst) + 1;
    let _leading = Leading(leaders);
    most.fetch_max(now, Ordering::SeqCst);
    stop.cancelled().await;
}

struct Replica {
    stop: CancellationToken,
    leading: watch::Receiver<bool>,
    server: Server,
}

fn replica(
    tasks: &mut tokio::task::JoinSet<()>,
    shared: &Server,
    name: &str,
    leaders: &Arc<AtomicUsize>,
    most: &Arc<AtomicUsize>,
) -> Replica {
    // A way of its own to the same Lease, so that it alone can be cut off.
    let server = Server { cut: Arc::default(), ..shared.clone() };
    let candidate = Candidate::new(server.client(), "veneur-system", "veneur-operator", name, Duration::from_secs(15));
    let (stop, leading) = (CancellationToken::new(), candidate.leading());
    let (leaders, most) = (Arc::clone(leaders), Arc::clone(most));
    tasks.spawn(candidate.run(stop.clone(), move |stop| work(Arc::clone(&leaders), Arc::clone(&most), stop)));
    Replica { stop, leading, server }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_gives_way_at_once_when_it_is_told_to_stop() {
    let (server, leaders, most) = (Server::default(), Arc::default(), Arc::default());
    let mut tasks = tokio::task::JoinSet::new();
    let mut first = replica(&mut tasks, &server, "first", &leaders, &most);
    first.leading.wait_for(|leading| *leading).await.unwrap();
    let mut second = replica(&mut tasks, &server, "second", &leaders, &most);
    // Many renewals later it still leads, and the other still waits.
    sleep(Duration::from_mins(10)).await;
    assert_eq!((server.holder().as_str(), *second.leading.borrow()), ("first", false));
    let told = Instant::now();
    first.stop.cancel();
    second.leading.wait_for(|leading| *leading).await.unwrap();
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert_eq!((server.holder().as_str(), most.load(Ordering::SeqCst)), ("second", 1));
    second.stop.cancel();
    tasks.join_all().await;
    assert_eq!(server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_stops_before_another_begins() {
    let (server, leaders, most) = (Server::default(), Arc::default(), Arc::default());
    let mut tasks = tokio::task::JoinSet::new();
    let mut first = replica(&mut tasks, &server, "first", &leaders, &most);
    first.leading.wait_for(|leading| *leading).await.unwrap();
    let mut second = replica(&mut tasks, &server, "second", &leaders, &most);
    sleep(Duration::from_mins(1)).await;
    first.server.cut.store(true, Ordering::Relaxed);
    let cut = Instant::now();
    first.leading.wait_for(|leading| !leading).await.unwrap();
    let stopped = cut.elapsed();
    second.leading.wait_for(|leading| *leading).await.unwrap();
    assert!(stopped <= Duration::from_secs(10) && cut.elapsed() >= stopped + Duration::from_secs(4), "{stopped:?}");
    assert_eq!((server.holder().as_str(), most.load(Ordering::SeqCst)), ("second", 1));
}

#[tokio::test(start_paused = true)]
async fn many_that_begin_together_have_one_leader() {
    let (server, leaders, most) = (Server::default(), Arc::default(), Arc::default());
    let mut tasks = tokio::task::JoinSet::new();
    let all: Vec<_> =
        (0..5).map(|number| replica(&mut tasks, &server, &format!("r{number}"), &leaders, &most)).collect();
    for _ in 0..5 {
        sleep(Duration::from_secs(20)).await;
        assert_eq!(leaders.load(Ordering::SeqCst), 1);
        let leader = all.iter().find(|replica| *replica.leading.borrow()).expect("one leads");
        leader.stop.cancel();
    }
    tasks.join_all().await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}
