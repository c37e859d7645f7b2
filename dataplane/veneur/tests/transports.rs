//! Every transport of DogStatsD, over real sockets, to the listener's ledger.

#[path = "transports/process.rs"]
mod process;
#[path = "transports/tls.rs"]
mod tls;

use std::{
    net::SocketAddr,
    os::linux::net::SocketAddrExt as _,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use veneur::{
    account::Ingest,
    dogstatsd::{DogstatsdPacket, dogstatsd_grpc_client::DogstatsdGrpcClient},
    listen::{ConnectionCounts, Settings},
    server::{self, Running},
};
use veneur_config::{Every, Server};

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn listening(address: &str) -> Settings {
    Settings { addresses: vec![address.into()], ..Settings::default() }
}

async fn start(settings: &Settings) -> Running {
    let config = Server { interval: Every::seconds(3_600), ..Server::default() };
    server::start_listening(&config, settings).await.expect("starts")
}

fn ledger(running: &Running) -> Ingest {
    running.listeners()[0].account.lock().clone()
}

fn connections(running: &Running) -> ConnectionCounts {
    running.listeners()[0].connections.counts()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn aggregated(running: &Running, count: u64) {
    until("the samples are aggregated", || ledger(running).samples.aggregated == count).await;
}

async fn refused(running: &Running, reason: &str, count: u64) {
    until(reason, || ledger(running).samples.refused.get(reason) == Some(&count)).await;
}

/// Connects to the first listener.
async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.dogstatsd[0]).await.expect("connects")
}

/// Completes when the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("is closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "nothing is ever answered");
}

#[tokio::test]
async fn two_readers_share_an_address_of_ipv6_and_lose_nothing() {
    // With port 0 each reader would get a port of its own.
    let free = std::net::UdpSocket::bind("[::1]:0").and_then(|socket| socket.local_addr()).expect("loopback");
    let running = start(&Settings { readers: 2, ..listening(&format!("udp://{free}")) }).await;
    let [to, same] = running.dogstatsd[..] else { panic!("a socket for each reader: {:?}", running.dogstatsd) };
    assert_eq!([to, same], [free; 2]);
    // The kernel shares them out by their senders' addresses.
    for _ in 0..64 {
        let sender = std::net::UdpSocket::bind("[::1]:0").expect("loopback");
        sender.send_to(b"a:1|c\nb:2|g\nbad", to).expect("sent");
    }
    let each = || running.listeners().iter().map(|one| one.account.lock().samples.aggregated).collect::<Vec<_>>();
    until("the samples are aggregated", || each().iter().sum::<u64>() == 128).await;
    assert!(each().len() == 2 && each().iter().all(|one| *one > 0), "{:?}", each());
    assert_eq!(running.stop().await.unaccounted(), 0);
}

#[tokio::test]
async fn lines_over_tcp_are_samples_however_they_are_cut() {
    let running = start(&listening("tcp://127.0.0.1:0")).await;
    assert_eq!(running.listeners()[0].protocol, "dogstatsd-tcp");
    let mut stream = connect(&running).await;
    stream.set_nodelay(true).expect("a socket");
    stream.write_all(b"a:1|c\r\nb:2|g\nthis is bad\nc:").await.expect("sent");
    aggregated(&running, 2).await;
    stream.write_all(b"3|ms\nlast:4|c").await.expect("sent");
    aggregated(&running, 3).await;
    assert_eq!(connections(&running), ConnectionCounts { connects: 1, ..ConnectionCounts::default() });

    // The end of the stream ends the last line.
    drop(stream);
    aggregated(&running, 4).await;
    until("the connection is closed", || connections(&running).disconnects == 1).await;
    let ingest = ledger(&running);
    assert_eq!((ingest.samples.parsed, ingest.samples.unaccounted()), (5, 0));
    assert_eq!(ingest.datagrams.read, 0, "a stream has no datagrams");
}

#[tokio::test]
async fn a_line_that_is_too_long_closes_its_connection_and_no_other() {
    let running = start(&listening("tcp4://127.0.0.1:0")).await;
    let (mut good, mut bad) = (connect(&running).await, connect(&running).await);
    let longest = format!("{}:1|c\n", "a".repeat(64 * 1024 - 4));
    good.write_all(longest.as_bytes()).await.expect("sent");
    aggregated(&running, 1).await;
    // Sent as far as it is taken.
    drop(bad.write_all("b".repeat(64 * 1024 + 1).as_bytes()).await);
    closed(&mut bad).await;
    refused(&running, "too_long", 1).await;
    good.write_all(b"a:1|c\n").await.expect("is open still");
    aggregated(&running, 2).await;
}

#[tokio::test]
async fn a_connection_without_lines_is_closed_and_one_with_lines_is_not() {
    let settings = Settings { idle_timeout: Duration::from_millis(300), ..listening("tcp://127.0.0.1:0") };
    let running = start(&settings).await;
    let (mut busy, mut silent) = (connect(&running).await, connect(&running).await);
    silent.write_all(b"never ended").await.expect("sent");
    let mut sent = 0;
    let ended = closed(&mut silent);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                busy.write_all(b"a:1|c\n").await.expect("is open still");
                sent += 1;
            }
        }
    }
    aggregated(&running, sent).await;
    refused(&running, "cut_off", 1).await;
    assert_eq!(connections(&running).idle, 1);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_later() {
    let running = start(&Settings { max_connections: 1, ..listening("tcp://127.0.0.1:0") }).await;
    let mut first = connect(&running).await;
    first.write_all(b"a:1|c\n").await.expect("sent");
    aggregated(&running, 1).await;
    let mut second = connect(&running).await;
    second.write_all(b"a:1|c\n").await.expect("the kernel takes it");
    first.write_all(b"a:1|c\n").await.expect("sent");
    aggregated(&running, 2).await;
    assert_eq!(connections(&running).connects, 1);
    drop(first);
    aggregated(&running, 3).await;
    assert_eq!(connections(&running).connects, 2);
}

#[tokio::test]
async fn a_stop_reads_what_the_sockets_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("veneur.sock");
    let settings = Settings {
        addresses: vec!["tcp://127.0.0.1:0".into(), format!("unixgram://{}", path.display())],
        ..Settings::default()
    };
    let running = start(&settings).await;
    let accounts: Vec<_> = running.listeners().iter().map(|listener| listener.account.clone()).collect();
    let datagrams = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    datagrams.set_nonblocking(true).expect("a socket");
    let mut streams = Vec::new();
    // This thread is the only one: nothing of this is read before the stop.
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(running.dogstatsd[0]).expect("connects");
        std::io::Write::write_all(&mut stream, b"a:1|c\nb:2|c\nhalf a li").expect("sent");
        streams.push(stream);
        datagrams.send_to(b"c:1|c\nc:2|c", &path).unwrap_or_else(|error| {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "a full queue is the sender's to know");
            0
        });
    }
    let ledger = running.stop().await;
    assert_eq!(ledger.unaccounted(), 0);
    let (tcp, unixgram) = (accounts[0].lock().samples.clone(), accounts[1].lock().clone());
    assert_eq!((tcp.aggregated, tcp.refused.get("cut_off")), (40, Some(&20)), "half a line is none");
    assert!(unixgram.datagrams.read >= 10, "{unixgram:?}");
    assert_eq!(unixgram.samples.aggregated, 2 * unixgram.datagrams.read);
    assert!(!path.exists(), "the socket file is gone");
}

fn frame(packet: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(packet.len()).expect("short").to_le_bytes().to_vec();
    bytes.extend(packet);
    bytes
}

/// This process, as origins name it.
fn me() -> String {
    let pid = i32::try_from(std::process::id()).expect("an id");
    veneur::listen::origin::Origin::of_process(pid).name().expect("known")
}

#[tokio::test]
async fn packets_over_unix_streams_are_samples_of_a_known_sender() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stream.sock");
    let running = start(&listening(&format!("unix://{}", path.display()))).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.expect("connects");
    let mut bytes = frame(b"a:1|c\nb:2|g");
    bytes.extend(frame(b"bad"));
    bytes.extend(frame(b"c:3|ms"));
    let (first, second) = bytes.split_at(9);
    stream.write_all(first).await.expect("sent");
    stream.write_all(second).await.expect("sent");
    aggregated(&running, 3).await;
    stream.write_all(&frame(b"cut off")[..6]).await.expect("sent");
    drop(stream);
    refused(&running, "cut_off", 1).await;

    let ingest = ledger(&running);
    assert_eq!((ingest.datagrams.read, ingest.samples.unaccounted()), (3, 0));
    assert_eq!(running.listeners()[0].origins(), [(me(), 4)]);
    running.stop().await;
    assert!(!path.exists(), "the socket file is gone");
}

#[tokio::test]
async fn a_claimed_length_closes_the_connection() {
    let running = start(&listening("unix:@veneur-test-claimed")).await;
    let address = std::os::unix::net::SocketAddr::from_abstract_name("veneur-test-claimed").expect("a name");
    let stream = std::os::unix::net::UnixStream::connect_addr(&address).expect("connects");
    stream.set_nonblocking(true).expect("a socket");
    let mut stream = tokio::net::UnixStream::from_std(stream).expect("a socket");
    stream.write_all(b"a:1|c\n, as if this were TCP").await.expect("sent");
    refused(&running, "too_long", 1).await;
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("in time");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn unix_datagrams_are_samples_of_a_known_sender() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("veneur.sock");
    let running = start(&Settings { readers: 2, ..listening(&format!("unixgram://{}", path.display())) }).await;
    let sender = tokio::net::UnixDatagram::unbound().expect("a socket");
    let total = || running.listeners().iter().map(|listener| listener.account.lock().samples.aggregated).sum::<u64>();
    for _ in 0..50 {
        sender.send_to(b"a:1|c\nb:2|g\n", &path).await.expect("sent");
    }
    until("all are read", || total() == 100).await;
    // Datadog's clients fill 8 KiB on Unix sockets.
    sender.send_to("x:1|c\n".repeat(1_365).as_bytes(), &path).await.expect("sent");
    until("a full packet is read", || total() == 1_465).await;
    sender.send_to(&[b'x'; 8_193], &path).await.expect("sent");
    let too_long = || {
        let refused = |listener: &veneur::listen::Listener| {
            listener.account.lock().samples.refused.get("too_long").copied().unwrap_or(0)
        };
        running.listeners().iter().map(refused).sum::<u64>()
    };
    until("one that is too long is refused", || too_long() == 1).await;
    let senders: Vec<_> = running.listeners().iter().flat_map(veneur::listen::Listener::origins).collect();
    assert!(senders.iter().all(|(name, _)| *name == me()), "{senders:?}");
    assert_eq!(senders.iter().map(|(_, count)| count).sum::<u64>(), 1_465);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_unix_socket_took_before_a_stop_is_read() {
    for round in 0..100 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("veneur.sock");
        let running = start(&listening(&format!("unixgram://{}", path.display()))).await;
        let account = running.listeners()[0].account.clone();
        let sending = std::thread::spawn(move || {
            let sender = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
            let mut taken = 0_u64;
            // Until the first refusal, which is what the stop looks like from here.
            while sender.send_to(b"a:1|c", &path).is_ok() {
                taken += 1;
            }
            taken
        });
        until("datagrams are read", || account.lock().samples.aggregated > 0).await;
        running.stop().await;
        let taken = sending.join().expect("no panic");
        assert_eq!(account.lock().samples.aggregated, taken, "in round {round}");
    }
}

#[tokio::test]
async fn abstract_unix_datagrams_are_samples() {
    let running = start(&listening("unixgram:@veneur-test-datagrams")).await;
    let address = std::os::unix::net::SocketAddr::from_abstract_name("veneur-test-datagrams").expect("a name");
    let sender = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    sender.send_to_addr(b"a:1|c", &address).expect("sent");
    aggregated(&running, 1).await;
}

#[tokio::test]
async fn a_path_that_is_listened_on_cannot_be_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("veneur.sock");
    for scheme in ["unixgram", "unix"] {
        let settings = listening(&format!("{scheme}://{}", path.display()));
        let running = start(&settings).await;
        let error = server::start_listening(&Server::default(), &settings).await.expect_err("is taken");
        let line = format!("{error:#}");
        assert!(line.contains("another process listens on") && line.contains("veneur.sock"), "{line}");
        running.stop().await;
        start(&settings).await.stop().await;
    }
}

#[tokio::test]
async fn packets_over_grpc_are_taken_in_as_datagrams_and_always_answered_ok() {
    let settings = Settings { grpc_addresses: vec!["tcp://127.0.0.1:0".into()], ..Settings::default() };
    let running = start(&settings).await;
    assert_eq!(running.listeners()[0].protocol, "dogstatsd-grpc");
    let channel = channel(running.dogstatsd[0]).connect().await.expect("connects");
    let mut client = DogstatsdGrpcClient::new(channel.clone());
    for packet in [&b"a:1|c\nb:2|g"[..], b"bad", &[b'x'; 4_097]] {
        let packet = DogstatsdPacket { packet_bytes: packet.to_vec() };
        client.send_packet(packet).await.expect("is OK whatever it holds");
    }
    let ingest = ledger(&running);
    assert_eq!((ingest.datagrams.read, ingest.samples.aggregated, ingest.samples.unaccounted()), (3, 2, 0));
    assert_eq!(ingest.samples.refused.get("too_long"), Some(&1));

    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for service in ["", "veneur"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.expect("answers").into_inner();
        assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    }
    running.stop().await;
}

fn channel(address: SocketAddr) -> tonic::transport::Endpoint {
    tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address")
}
