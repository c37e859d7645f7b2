//! What only a process of its own shows: the sockets it was given, and the memory it takes.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
};

use super::*;

/// A running `veneur` that ends with the test.
struct Process {
    child: Child,
    admin: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("runs still");
        self.child.wait().expect("ends");
    }
}

impl Process {
    /// Starts one that inherits `sockets`, as descriptors from 3 on. The part of systemd is played by a shell.
    fn start(config: &str, sockets: [OwnedFd; 2]) -> Self {
        let admin = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = admin.local_addr().expect("bound");
        let [three, four] = sockets;
        let child = Command::new("sh")
            .args(["-c", "exec 3<&0 4<&1 5<&2 2>/dev/null && LISTEN_FDS=3 LISTEN_PID=$$ exec \"$VENEUR\" local"])
            .env("VENEUR", env!("CARGO_BIN_EXE_veneur"))
            .env("VENEUR_CONFIG", format!("{config}\nhttp_address: fd@5\n"))
            .stdin(Stdio::from(three))
            .stdout(Stdio::from(four))
            .stderr(Stdio::from(OwnedFd::from(admin)))
            .spawn()
            .expect("starts");
        Self { child, admin: address }
    }

    fn metrics(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    async fn aggregated(&self, count: u64) {
        let line = format!("veneur_samples_aggregated_total {count}\n");
        until("all samples are aggregated", || self.metrics().unwrap_or_default().contains(&line)).await;
    }

    /// Memory in use, in KiB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("listed");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

fn udp() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

#[tokio::test]
async fn inherited_internet_sockets_are_read_by_what_they_are() {
    let (datagrams, to) = udp();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    // Sent before anyone reads: this is what sockets are inherited for.
    UdpSocket::bind("127.0.0.1:0").expect("loopback").send_to(b"a:1|c\nb:2|c", to).expect("sent");
    let mut stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    stream.write_all(b"c:3|c\n").expect("sent");
    let process =
        Process::start(r#"statsd_listen_addresses: ["fd://3", "fd://4"]"#, [datagrams.into(), listener.into()]);
    process.aggregated(3).await;
}

#[tokio::test]
async fn inherited_unix_sockets_are_read_by_what_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let [datagrams, streams] = ["datagrams.sock", "streams.sock"].map(|name| folder.path().join(name));
    let socket = UnixDatagram::bind(&datagrams).expect("free");
    let listener = UnixListener::bind(&streams).expect("free");
    UnixDatagram::unbound().expect("a socket").send_to(b"a:1|c\nb:2|c", &datagrams).expect("sent");
    let mut stream = UnixStream::connect(&streams).expect("connects");
    stream.write_all(&frame(b"c:3|c")).expect("sent");
    let process = Process::start(r#"statsd_listen_addresses: ["fd://3", "fd://4"]"#, [socket.into(), listener.into()]);
    process.aggregated(3).await;
}

#[tokio::test]
async fn a_thousand_slow_connections_cost_little_and_lose_nothing() {
    const CONNECTIONS: u64 = 1_000;
    let (datagrams, to) = udp();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let process =
        Process::start(r#"statsd_listen_addresses: ["fd://3", "fd://4"]"#, [datagrams.into(), listener.into()]);
    UdpSocket::bind("127.0.0.1:0").expect("loopback").send_to(b"slow.requests:1|c|#b:c", to).expect("sent");
    process.aggregated(1).await;
    let before = process.resident();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(b"slow.requests:1|c\nslow.requests:1|c|#b").expect("sent");
        streams.push(stream);
    }
    process.aggregated(CONNECTIONS + 1).await;
    let grown = process.resident().saturating_sub(before);
    assert!(grown < 4 * 1024, "{CONNECTIONS} connections cost {grown} KiB");
    for stream in &mut streams {
        stream.write_all(b":c\n").expect("sent");
    }
    process.aggregated(2 * CONNECTIONS + 1).await;
}

#[tokio::test]
async fn lines_without_an_end_are_held_to_the_bound_of_the_process() {
    const CONNECTIONS: usize = 200;
    let (datagrams, _) = udp();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    let configuration = "statsd_listen_addresses: [\"fd://3\", \"fd://4\"]\nmax_state_bytes: 4194304";
    let process = Process::start(configuration, [datagrams.into(), listener.into()]);
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connects");
            // Those for whom there is no room are closed while they write.
            drop(stream.write_all(&vec![b'x'; 60_000]));
            stream
        })
        .collect();
    let refused = "veneur_samples_refused_total{reason=\"no_room\"} ";
    until("a connection is closed", || process.metrics().unwrap_or_default().contains(refused)).await;
    let resident = process.resident();
    assert!(resident < 32 * 1024, "{resident} KiB");
    streams.clear();
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.write_all(b"a:1|c\n").expect("sent");
    process.aggregated(1).await;
}
