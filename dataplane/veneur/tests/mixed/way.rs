//! One way through a fleet: who stands where, and how they speak.

use std::{
    fmt,
    net::UdpSocket,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::sync::Barrier;

use crate::{
    expected::{self, MARKER},
    process::PATIENCE,
    tier::{INTERVAL, Instance, Sink, Whose},
};

/// How partials are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `POST /import`.
    A,
    /// One message over gRPC.
    B,
    /// A stream over gRPC.
    C,
}

impl Dialect {
    pub(crate) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];
}

/// Two locals, a proxy, if there is one, and a global.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) local: Whose,
    pub(crate) first: Dialect,
    /// `None`: straight to the global, in both dialects, which are one then.
    pub(crate) proxy: Option<Whose>,
    pub(crate) second: Dialect,
    pub(crate) global: Whose,
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, first, proxy, second, global } = self;
        match proxy {
            Some(proxy) => write!(formatter, "{local:?} -{first:?}-> {proxy:?} -{second:?}-> {global:?}"),
            None => write!(formatter, "{local:?} -{first:?}-> {global:?}"),
        }
    }
}

/// What runs on a way, in the order of the data.
struct Running {
    locals: Vec<Instance>,
    proxy: Option<Instance>,
    global: Instance,
    /// Where the locals publish what is their own.
    own: Sink,
    published: Sink,
    _folder: tempfile::TempDir,
}

impl Way {
    /// Sends known samples, once `all` have started, and says what is wrong with what is published.
    pub(crate) async fn run(self, all: &Barrier) -> Vec<String> {
        let mut running = self.start().await;
        all.wait().await;
        within_an_interval().await;
        for (index, local) in running.locals.iter().enumerate() {
            send(local, &expected::lines(index));
        }
        tokio::time::sleep(Duration::from_secs(INTERVAL)).await;
        // Published after all that was sent before it.
        send(&running.locals[0], &[format!("{MARKER}:1|c|#veneurglobalonly")]);
        let mut problems = Vec::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !running.published.intake.received().iter().any(|point| point.metric == MARKER) {
            if tokio::time::Instant::now() > deadline {
                problems.push("the last counter was not published".to_owned());
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // By post, the original's locals send no digest of global scope, and nobody reads one.
        let deep = self.first != Dialect::A && self.second != Dialect::A;
        problems.extend(expected::of_the_global(&running.published.intake.received(), deep));
        problems.extend(expected::of_the_locals(&running.own.intake.received()));
        problems.extend(running.published.intake.problems());
        problems.extend(running.own.intake.problems());
        problems.extend(self.accounts(&mut running).await);
        if !problems.is_empty() {
            let all = running.locals.iter().chain(&running.proxy).chain([&running.global]);
            problems.extend(all.map(|instance| instance.process.complaints()));
        }
        problems
    }

    async fn start(self) -> Running {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, published) = (Sink::start().await, Sink::start().await);
        let path = folder.path();
        let global = Instance::server(self.global, path, "global", &published, "");
        let to = match self.proxy {
            None | Some(Whose::Ours) => {
                format!("interval: {INTERVAL}s\nforward_addresses: [\"{}\"]\n", global.destination(self.second))
            }
            Some(Whose::Last) => format!("forward_addresses: [\"{}\"]\n", global.grpc),
            Some(Whose::Original) => {
                let (http, grpc) = (global.http, global.grpc);
                format!("forward_address: \"http://{http}\"\ngrpc_forward_address: \"{grpc}\"\n")
            }
        };
        let proxy = self.proxy.map(|whose| Instance::proxy(whose, path, "proxy", &to, None));
        let keys = proxy.as_ref().unwrap_or(&global).forward_keys(self.first);
        let local = |index| Instance::server(self.local, path, &format!("pod-{index}"), &own, &keys);
        let locals = vec![local(0), local(1)];
        let mut running = Running { locals, proxy, global, own, published, _folder: folder };
        running.global.ready().await;
        if let Some(proxy) = &mut running.proxy {
            proxy.ready().await;
        }
        for local in &mut running.locals {
            local.ready().await;
        }
        running
    }

    /// What is wrong with what ours say of themselves.
    async fn accounts(self, running: &mut Running) -> Vec<String> {
        let mut problems = Vec::new();
        let mut acknowledged = [0; 2];
        let (mut imported, mut merged) = (0, 0);
        let by = |dialect, digests| if dialect == Dialect::A { digests } else { 0 };
        for (index, local) in running.locals.iter().enumerate().filter(|(_, local)| local.whose == Whose::Ours) {
            let ledger = closed(local, by(self.first, expected::DEEP), &mut problems).await;
            acknowledged[index] = count(&ledger, "acknowledged");
        }
        if let Some(proxy) = running.proxy.as_ref().filter(|proxy| proxy.whose == Whose::Ours) {
            let came = if self.first == Dialect::A { 0 } else { 2 * expected::DEEP };
            let ledger = closed(proxy, by(self.second, came), &mut problems).await;
            imported = count(&ledger, "imported");
            let sent: u64 = acknowledged.iter().sum();
            if self.local == Whose::Ours && sent != imported {
                problems.push(format!("{sent} acknowledged to the locals, {imported} imported by the proxy"));
            }
            imported = count(&ledger, "acknowledged");
        }
        if self.global == Whose::Ours {
            let ledger = closed(&running.global, 0, &mut problems).await;
            merged = count(&ledger, "merged");
        }
        if self.proxy == Some(Whose::Ours) && self.global == Whose::Ours && imported != merged {
            problems.push(format!("{imported} acknowledged to the proxy, {merged} merged by the global"));
        }
        problems
    }
}

/// The ledger of an instance of ours, which must be closed and have dropped only what its peer cannot carry.
async fn closed(instance: &Instance, unsendable: u64, problems: &mut Vec<String>) -> Value {
    let status = instance.process.status().await;
    let ledger = &status["ledgers"]["forward"];
    let name = instance.process.name();
    if status["unaccounted"] != 0 || count(ledger, "uncertain") != 0 || count(ledger, "held") != 0 {
        problems.push(format!("the account of {name} is open: {status:#}"));
    }
    let dropped = ledger["dropped"].as_object().cloned().unwrap_or_default();
    let cannot = dropped.get("peer_cannot_carry").and_then(Value::as_u64).unwrap_or_default();
    if cannot != unsendable || dropped.len() > usize::from(cannot > 0) {
        problems.push(format!("{name} dropped {dropped:?}, {unsendable} cannot be carried"));
    }
    let log = instance.process.log();
    let told = log.lines().filter(|line| line.contains("WARN") && line.contains("peer_cannot_carry")).count();
    if told != usize::from(unsendable > 0) {
        problems.push(format!("{name} told {told} times what its peer cannot carry"));
    }
    ledger.clone()
}

pub(crate) fn count(ledger: &Value, what: &str) -> u64 {
    ledger[what].as_u64().unwrap_or_default()
}

/// Sends lines in datagrams of twenty.
pub(crate) fn send(local: &Instance, lines: &[String]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    for datagram in lines.chunks(20) {
        socket.send_to(datagram.join("\n").as_bytes(), local.statsd).expect("loopback takes it");
    }
}

/// Waits for the first quarter of an interval, but not for its very beginning.
pub(crate) async fn within_an_interval() {
    let into = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        now.as_millis() % (u128::from(INTERVAL) * 1_000)
    };
    while !(100..u128::from(INTERVAL) * 250).contains(&into()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
