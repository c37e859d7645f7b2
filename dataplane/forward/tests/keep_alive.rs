//! Asking a peer for life: often enough to notice a dead one, and never one of the original's that is not called.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};
use veneur_forward::{
    Facts,
    client::Client,
    connect::{Manner, Target},
    import::{Importer, Settings, Stopping, serve},
};
use veneur_wire::metricpb::Metric;

const PATIENCE: Duration = Duration::from_secs(20);

/// What begins a client's half of a connection (RFC 9113, 3.4), the length of a frame's header, and type and flag of a
/// question for life and of its answer (4.1, 6.7).
const PREFACE: usize = 24;
const HEADER: usize = 9;
const PING: u8 = 6;
const ACK: u8 = 1;

struct Nobody;

impl Importer for Nobody {
    fn import(&self, _: &Facts, _: Vec<Metric>) -> Result<(), Stopping> {
        Ok(())
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

async fn ours(tasks: &mut JoinSet<()>) -> SocketAddr {
    let (listener, address) = listen().await;
    tasks.spawn(async move {
        let settings = Settings { keep_alive: None, ..Settings::default() };
        serve(listener, settings, Arc::new(Nobody), std::future::pending()).await.expect("serves");
    });
    address
}

/// Answers each call as the original's global does a stream: by a status alone, and without a header of ours.
async fn of_the_original(tasks: &mut JoinSet<()>) -> SocketAddr {
    let (listener, address) = listen().await;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let answer = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "0")
                        .body(())
                        .expect("is one");
                    respond.send_response(answer, true).expect("is sent");
                }
            });
        }
    });
    address
}

/// Stands between a client and `to`, and counts how often the client asks for life.
async fn counting(to: SocketAddr, tasks: &mut JoinSet<()>) -> (String, Arc<AtomicU64>) {
    let (listener, address) = listen().await;
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    tasks.spawn(async move {
        let mut ways = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.expect("is there");
            let ((near_read, mut near_write), (mut far_read, far_write)) = (near.into_split(), far.into_split());
            let counter = Arc::clone(&counter);
            ways.spawn(async move { drop(relay(near_read, far_write, &counter).await) });
            ways.spawn(async move { drop(copy(&mut far_read, &mut near_write).await) });
        }
    });
    (address.to_string(), asked)
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: &AtomicU64) -> std::io::Result<()> {
    pass(&mut from, &mut to, PREFACE).await?;
    loop {
        let header = pass(&mut from, &mut to, HEADER).await?;
        if header[3] == PING && header[4] & ACK == 0 {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        pass(&mut from, &mut to, length).await?;
    }
}

async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut OwnedWriteHalf, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    to.write_all(&bytes).await?;
    Ok(bytes)
}

#[tokio::test]
async fn a_peer_of_the_original_is_not_asked_for_life_while_nothing_is_called() {
    let mut tasks = JoinSet::new();
    let (ours, theirs) = (ours(&mut tasks).await, of_the_original(&mut tasks).await);
    let (ours, asked_ours) = counting(ours, &mut tasks).await;
    let (theirs, asked_theirs) = counting(theirs, &mut tasks).await;
    let keep_alive = (Duration::from_millis(200), Duration::from_secs(10));
    let manner = Arc::new(Manner { keep_alive, ..Manner::default() });
    let mut clients = [theirs, ours].map(|address| Client::new(Target { address, manner: Arc::clone(&manner) }));
    for client in &mut clients {
        client.connect().await.expect("is there");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while asked_ours.load(Ordering::SeqCst) < 6 {
        assert!(tokio::time::Instant::now() < deadline, "a peer of ours is asked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One, if finding out what it is took that long.
    let asked = asked_theirs.load(Ordering::SeqCst);
    assert!(asked <= 1, "asked {asked} times, and would have closed the connection by now");
    assert!(clients.iter().all(Client::is_connected));
}
