//! A fleet of real processes on loopback, an intake behind it, and constant load.

#[expect(dead_code, reason = "the original has no part in it")]
mod process;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinSet;
use veneur_intake::{Intake, Received};

pub(crate) use process::PATIENCE;
use process::{Process, Program, free, free_udp};

/// Processes, and where their points end.
pub(crate) struct Fleet {
    pub(crate) intake: Arc<Intake>,
    pub(crate) locals: Vec<(Process, SocketAddr)>,
    pub(crate) proxies: Vec<Process>,
    pub(crate) globals: Vec<Process>,
    /// Where each of them imports, by which proxies know it.
    pub(crate) members: Vec<String>,
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
            Process::start(Program::ours(role), folder.path(), &name, http, &text)
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
        Self { intake, locals, proxies, globals, members: addresses, _intake: serving, _folder: folder }
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
