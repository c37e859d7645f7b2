//! Delivery in dialects A and B to peers that are scripted, byte by byte.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use veneur_forward::{
    Batch, Facts,
    client::{Client, Outcome, Sent},
    import::{Importer, Settings, Stopping, serve},
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_sketch::TDigest;
use veneur_wire::{encode_partial, metricpb::Metric};

const PATIENCE: Duration = Duration::from_secs(10);

fn counter(name: &str) -> Metric {
    let context = Context { name: name.into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
}

fn global_timer() -> Metric {
    let mut digest = TDigest::new();
    assert!(digest.insert(1.0, 1.0));
    let context = Context { name: "t".into(), tags: Tags::none(), kind: Kind::Timer, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Digest(digest), stamp: None })
}

fn batch(metrics: impl IntoIterator<Item = Metric>) -> Batch {
    Batch::split(metrics, Facts::default).remove(0)
}

/// A peer that answers one request so, or not at all, and the request's head.
async fn answering(answer: &'static str) -> (String, JoinSet<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // The first connection only asks whether somebody is there.
        drop(listener.accept().await.expect("somebody comes"));
        let (mut stream, _) = listener.accept().await.expect("somebody comes");
        let mut request = vec![0; 64 * 1024];
        let read = stream.read(&mut request).await.expect("sends");
        stream.write_all(answer.as_bytes()).await.expect("takes it");
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (address, tasks)
}

async fn send(to: &str, batch: Batch) -> Sent {
    tokio::time::timeout(PATIENCE, Client::new(to).send(batch)).await.expect("an outcome in time")
}

#[tokio::test]
async fn a_post_is_what_the_originals_peers_expect_and_200_or_202_acknowledges_it() {
    for answer in ["HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]
    {
        let (address, mut requests) = answering(answer).await;
        let sent = send(&address, batch([counter("a"), global_timer(), counter("b")])).await;
        assert_eq!(sent.unsendable, 1, "a global timer cannot be carried");
        assert!(matches!(sent.outcome, Outcome::Acknowledged(2)), "{:?}", sent.outcome);
        let request = requests.join_next().await.expect("one").expect("no panic").to_lowercase();
        assert!(request.starts_with("post /import http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-encoding: deflate\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-length: "), "a body is sent whole: {request}");
    }
}

#[tokio::test]
async fn what_a_post_is_answered_says_whether_it_was_read() {
    for answer in ["HTTP/1.1 500 No\r\n\r\n", "HTTP/1.1 503 Stopping\r\n\r\n", "nonsense", ""] {
        let (address, _requests) = answering(answer).await;
        let sent = send(&address, batch([counter("a")])).await;
        assert!(matches!(sent.outcome, Outcome::Uncertain(1, _)), "{answer}: {:?}", sent.outcome);
    }
    for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nwhy?", "HTTP/1.1 404 Not Found\r\n\r\n"] {
        let (address, _requests) = answering(answer).await;
        let sent = send(&address, batch([counter("a")])).await;
        assert!(matches!(sent.outcome, Outcome::Rejected(1, _)), "{answer}: {:?}", sent.outcome);
    }
    for answer in ["HTTP/1.1 429 Too Many Requests\r\n\r\n", "HTTP/1.1 408 Slow\r\n\r\n"] {
        let (address, _requests) = answering(answer).await;
        let sent = send(&address, batch([counter("a")])).await;
        assert!(matches!(sent.outcome, Outcome::NotSent(..)), "{answer}: {:?}", sent.outcome);
    }
    let reserved = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = format!("http://{}", reserved.local_addr().expect("bound"));
    drop(reserved);
    let Outcome::NotSent(back, _) = send(&address, batch([counter("a")])).await.outcome else {
        panic!("nobody was there")
    };
    assert_eq!(back.len(), 1);
}

#[derive(Default)]
struct Seen(std::sync::Mutex<Vec<(Facts, usize)>>);

impl Importer for Seen {
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        self.0.lock().expect("no test panics here").push((facts.clone(), metrics.len()));
        Ok(())
    }
}

#[tokio::test]
async fn a_single_message_carries_a_batch_whole_and_its_facts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = format!("grpc+unary://{}", listener.local_addr().expect("bound"));
    let (seen, mut serving) = (Arc::new(Seen::default()), JoinSet::new());
    let importer = Arc::clone(&seen);
    serving.spawn(async move {
        serve(listener, Settings::default(), importer, std::future::pending()).await.expect("serves");
    });
    let facts = Facts { sender: "pod-0".into(), sequence: 7, ..Facts::default() };
    let metrics = (0..1_000).map(|n| counter(&format!("c{n}"))).chain([global_timer()]);
    let batch = Batch::split(metrics, || facts.clone()).remove(0);
    let sent = send(&address, batch).await;
    assert!(matches!(sent, Sent { unsendable: 0, outcome: Outcome::Acknowledged(1_001) }), "{sent:?}");
    let seen = seen.0.lock().expect("not poisoned");
    // A stream is handed over in parts; this is one. The probe before it carries nothing.
    assert_eq!(seen.iter().filter(|(_, metrics)| *metrics > 0).collect::<Vec<_>>(), [&(facts, 1_001)]);
}

#[tokio::test]
async fn a_metric_larger_than_a_single_message_may_be_is_left_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = format!("grpc+unary://{}", listener.local_addr().expect("bound"));
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        serve(listener, Settings::default(), Arc::new(Seen::default()), std::future::pending()).await.expect("serves");
    });
    let sent = send(&address, batch([counter(&"x".repeat(5 * 1024 * 1024))])).await;
    assert!(matches!(sent, Sent { unsendable: 1, outcome: Outcome::Acknowledged(0) }), "{sent:?}");
}

/// The gRPC of 14.2.0 loses an end that comes in the header: its handler would wait for ever.
#[tokio::test]
async fn a_stream_of_nothing_ends_after_its_header_and_tells_no_length() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.expect("somebody comes");
        let mut connection = h2::server::handshake(stream).await.expect("speaks HTTP/2");
        let (request, _respond) = connection.accept().await.expect("asks").expect("well");
        (request.body().is_end_stream(), request.headers().contains_key("content-length"))
    });
    let mut client = Client::new(address.as_str());
    let asked = tokio::select! {
        asked = tasks.join_next() => asked.expect("one").expect("no panic"),
        answer = client.connect() => panic!("nobody answers: {answer:?}"),
    };
    assert_eq!(asked, (false, false));
}
