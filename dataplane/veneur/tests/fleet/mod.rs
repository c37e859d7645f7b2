//! A fleet of real processes on loopback, an intake behind it, and constant load.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};
use veneur_intake::{Intake, Received};

/// Longer than any step takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// An instance as a process.
pub(crate) struct Process {
    child: Child,
    role: &'static str,
    config: PathBuf,
    http: SocketAddr,
}

impl Process {
    fn spawn(role: &'static str, config: PathBuf, http: SocketAddr) -> Self {
        let log = fs::File::options().create(true).append(true).open(config.with_extension("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_veneur"))
            .args([role, "-f"])
            .arg(&config)
            .env("VENEUR_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the executable runs");
        Self { child, role, config, http }
    }

    async fn ready(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while get(self.http, "/ready").await.is_none_or(|(status, _)| status != 200) {
            let ended = self.child.try_wait().expect("is our child");
            assert!(ended.is_none(), "{} ended with {ended:?}: {}", self.role, self.log());
            assert!(tokio::time::Instant::now() < deadline, "{} is not ready: {}", self.role, self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What `/status` says.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let (_, body) = get(self.http, "/status").await.expect("the admin port answers");
        serde_json::from_str(&body).expect("is JSON")
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(&mut self) {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("is our child") {
                assert!(status.success(), "{} ended with {status}: {}", self.role, self.log());
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{} does not stop: {}", self.role, self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it and starts another with the same configuration and ports.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts another with the same configuration and ports, after this one has ended.
    pub(crate) async fn start_again(&mut self) {
        let mut next = Self::spawn(self.role, self.config.clone(), self.http);
        next.ready().await;
        *self = next;
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("is our child");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"))
    }

    /// What it logged, its predecessors of the same configuration included.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Processes, and where their points end.
pub(crate) struct Fleet {
    pub(crate) intake: Arc<Intake>,
    pub(crate) locals: Vec<(Process, SocketAddr)>,
    pub(crate) proxies: Vec<Process>,
    pub(crate) globals: Vec<Process>,
    _intake: JoinSet<std::io::Result<()>>,
    _folder: TempDir,
}

/// How many of each. Locals are shared out to the proxies.
pub(crate) struct Plan {
    pub(crate) locals: usize,
    pub(crate) proxies: usize,
    pub(crate) globals: usize,
}

const TIER: &str = "interval: 1s\nsynchronize_with_interval: true\nself_metrics: false\npercentiles: [0.5, 0.99]\n";

impl Fleet {
    pub(crate) async fn start(plan: Plan) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let intake_address = listener.local_addr().expect("bound");
        let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
        serving.spawn(Arc::clone(&intake).serve(listener));
        let folder = tempfile::tempdir().expect("a folder");
        let spawn = |role: &'static str, name: String, http: SocketAddr, text: String| {
            let file = folder.path().join(format!("{name}.yaml"));
            fs::write(&file, text).expect("written");
            Process::spawn(role, file, http)
        };
        let mut addresses = Vec::new();
        let mut globals = Vec::new();
        for index in 0..plan.globals {
            let (grpc, http) = (free(), free());
            addresses.push(grpc.to_string());
            let sinks = format!(
                "metric_sinks:\n- name: datadog\n  kind: datadog\n  config: {{api_key: key, api_hostname: \"http://{intake_address}\"}}\n"
            );
            let text = format!("{TIER}grpc_address: \"{grpc}\"\nhttp_address: \"{http}\"\n{sinks}");
            globals.push(spawn("global", format!("global-{index}"), http, text));
        }
        let (mut proxies, mut ways) = (Vec::new(), Vec::new());
        for index in 0..plan.proxies {
            let (grpc, http) = (free(), free());
            ways.push(grpc);
            let text = format!(
                "interval: 1s\nself_metrics: false\ngrpc_address: \"{grpc}\"\nhttp_address: \"{http}\"\nforward_addresses: {addresses:?}\n"
            );
            proxies.push(spawn("proxy", format!("proxy-{index}"), http, text));
        }
        let mut locals = Vec::new();
        for index in 0..plan.locals {
            let (http, udp) = (free(), free_udp());
            let text = format!(
                "{TIER}hostname: pod-{index}\nstatsd_listen_addresses: [\"udp://{udp}\"]\nhttp_address: \"{http}\"\n\
                 forward_address: \"{}\"\nforward_points: true\nmetric_scopes: [{{name: {{kind: any}}, scope: global}}]\n",
                ways[index % ways.len()]
            );
            locals.push((spawn("local", format!("local-{index}"), http, text), udp));
        }
        for process in globals.iter_mut().chain(&mut proxies).chain(locals.iter_mut().map(|(process, _)| process)) {
            process.ready().await;
        }
        Self { intake, locals, proxies, globals, _intake: serving, _folder: folder }
    }

    /// Stops all, in the order of the data.
    pub(crate) async fn stop(&mut self) {
        for (local, _) in &mut self.locals {
            local.stop().await;
        }
        for process in self.proxies.iter_mut().chain(&mut self.globals) {
            process.stop().await;
        }
    }

    /// The sum of all points of each metric.
    pub(crate) fn totals(&self) -> BTreeMap<String, f64> {
        let mut totals = BTreeMap::new();
        for point in self.intake.received() {
            *totals.entry(point.metric.clone()).or_default() += Received::total(&point);
        }
        totals
    }

    /// What all processes logged.
    pub(crate) fn logs(&self) -> String {
        let locals = self.locals.iter().map(|(process, _)| process);
        locals.chain(&self.proxies).chain(&self.globals).map(Process::log).collect()
    }
}

/// Series that a sender feeds, each with a counter and a timer.
pub(crate) const SERIES: usize = 40;

/// Sends to one local at a constant rate, until told to pause or end.
pub(crate) struct Sender {
    over: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    idle: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Every 5 ms a datagram with one increment and one timing for the next of [`SERIES`] series.
    pub(crate) fn start(to: SocketAddr) -> Self {
        let flag = || Arc::new(AtomicBool::new(false));
        let (over, paused, idle, sent) = (flag(), flag(), flag(), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (over, paused, idle, sent) =
                (Arc::clone(&over), Arc::clone(&paused), Arc::clone(&idle), Arc::clone(&sent));
            move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
                for series in (0..SERIES).cycle() {
                    while paused.load(Ordering::SeqCst) && !over.load(Ordering::SeqCst) {
                        idle.store(true, Ordering::SeqCst);
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                    idle.store(false, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let lines = format!("fleet.requests.{series}:1|c\nfleet.latency.{series}:7|ms");
                    socket.send_to(lines.as_bytes(), to).expect("loopback takes it");
                    sent.fetch_add(1, Ordering::SeqCst);
                    std::thread::park_timeout(Duration::from_millis(5));
                }
            }
        });
        Self { over, paused, idle, sent, thread: Some(thread) }
    }

    /// Stops sending, and returns once nothing more is on its way.
    pub(crate) async fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        while !self.idle.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn go_on(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Datagrams sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Ends, and says how many datagrams were sent.
    pub(crate) fn end(mut self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.take().expect("ended once").join().expect("no panic");
        self.sent()
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound")
}

fn free_udp() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound")
}

async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
