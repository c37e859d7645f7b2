//! The operator at scale: 1,000 pipelines and 10,000 pods that ask, on etcd and API server alone.
//!
//! Nothing acts on what is stored: no kubelet, no scheduler, no controllers. So every write but those of this command is
//! the operator's, and the API server's audit log has each of them with its time.

mod audit;
mod objects;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sched::{CloneFlags, setns};

use crate::bench::readings::{self, Memory};
use crate::bench::verdict;
use crate::cluster::progress::Progress;
use crate::cluster::{self, Cluster, Name};
use crate::images;
use audit::Audit;

/// The operator's daemon.
const OPERATOR: &str = "veneur-operator";
/// Where it serves its metrics.
const METRICS_PORT: u16 = 8080;
/// Nothing has changed for so long: it is settled.
const QUIET: Duration = Duration::from_secs(6);
/// Longest wait for that.
const LIMIT: Duration = Duration::from_mins(10);

/// Bars, from the issue that asked for this.
const MOST_MEMORY_MIB: f64 = 150.0;
const MOST_SETTLE_SECONDS: f64 = 60.0;
const MOST_IDLE_PERCENT: f64 = 1.0;
const MOST_LATENCY_MS: f64 = 1_000.0;

/// What of the scale bench.
#[derive(Args)]
pub(crate) struct Scale {
    /// Pipelines.
    #[arg(long, default_value_t = 1_000)]
    pipelines: u32,
    /// Pods that ask, spread over the pipelines.
    #[arg(long, default_value_t = 10_000)]
    pods: u32,
    /// Changes whose way from write to status is timed.
    #[arg(long, default_value_t = 200)]
    changes: u32,
    /// Seconds at rest in which CPU time is measured.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u32,
    /// The operator's executable, instead of the image's.
    #[arg(long)]
    operator: Option<std::path::PathBuf>,
}

impl Default for Scale {
    fn default() -> Self {
        Self { pipelines: 1_000, pods: 10_000, changes: 200, idle_seconds: 60, operator: None }
    }
}

/// What was found.
struct Figures {
    first: Settled,
    restart: Settled,
    restart_writes: Vec<String>,
    memory: Memory,
    idle_percent: f64,
    idle_writes: usize,
    latencies_ms: Vec<f64>,
}

/// How a start went.
struct Settled {
    seconds: f64,
    reconciliations: u64,
}

impl Scale {
    /// Runs it and prints the figures beside their bars; fails where one is missed.
    pub(crate) fn run(&self, progress: &Progress) -> Result<()> {
        let operator = match &self.operator {
            Some(operator) => operator.clone(),
            None => images::compile(progress)?.join(OPERATOR),
        };
        println!("{}", readings::machine());
        let name = Name::of_workspace("scale");
        let cluster = cluster::start_api("bench scale", &name, Some(audit::POLICY), progress)?;
        let outcome = self.on(&cluster, &operator, progress);
        if outcome.is_ok() {
            cluster.stop(progress)?;
        } else {
            progress.say(&format!("cluster {name} is kept to look at: `cargo xtask down --name {name}` removes it"));
        }
        self.judge(&outcome?)
    }

    fn on(&self, cluster: &Cluster, operator: &std::path::Path, progress: &Progress) -> Result<Figures> {
        let audit = Audit::of(cluster);
        progress.step("install definition and webhook configuration", |_| objects::install(cluster))?;
        progress.step(&format!("create {} pipelines and {} pods", self.pipelines, self.pods), |step| {
            objects::fill(cluster, self.pipelines, self.pods, step)
        })?;
        let mut command = Command::new(operator);
        command.args(["run", "--image", "registry.example/veneur:bench", "--namespace", objects::OWN_NAMESPACE]);
        command.env("KUBECONFIG", cluster.kubeconfig());
        let first = progress.step("first start: every object is written", |_| self.start(cluster, &command))?;
        cluster.stop_daemon(OPERATOR)?;
        let mark = audit.mark()?;
        let restart = progress.step("restart: everything is in place", |_| self.start(cluster, &command))?;
        let restart_writes = audit.writes_since(mark)?;
        let pid = cluster.daemon(OPERATOR).context("the operator ended")?;
        let memory = readings::memory(pid)?;
        let mark = audit.mark()?;
        let (idle_percent, idle_writes) = progress.step(&format!("{} s at rest", self.idle_seconds), |_| {
            let (before, begun) = (readings::cpu(pid)?, Instant::now());
            thread::sleep(Duration::from_secs(self.idle_seconds.into()));
            let used = readings::cpu(pid)?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
            Ok((used * 100.0, audit.writes_since(mark)?.len()))
        })?;
        let mark = audit.mark()?;
        let latencies_ms = progress.step(&format!("{} changes, one after another", self.changes), |step| {
            for change in 0..self.changes {
                step.detail(format!("({change} done)"));
                objects::change(cluster, change % self.pipelines, change)?;
            }
            self.quiet(cluster)?;
            audit.latencies_since(mark)
        })?;
        ensure!(
            latencies_ms.len() == self.changes as usize,
            "{} changes were made and {} were seen in a status",
            self.changes,
            latencies_ms.len()
        );
        Ok(Figures { first, restart, restart_writes, memory, idle_percent, idle_writes, latencies_ms })
    }

    /// Starts the operator and waits until it rests.
    fn start(&self, cluster: &Cluster, command: &Command) -> Result<Settled> {
        let begun = Instant::now();
        cluster.start_daemon(OPERATOR, command)?;
        let (last_change, reconciliations) = self.quiet(cluster)?;
        Ok(Settled { seconds: last_change.duration_since(begun).as_secs_f64(), reconciliations })
    }

    /// Waits until every pipeline was looked at and no further one is; returns when the last one was, and how many.
    fn quiet(&self, cluster: &Cluster) -> Result<(Instant, u64)> {
        let deadline = Instant::now() + LIMIT;
        let (mut count, mut changed) = (0, Instant::now());
        loop {
            ensure!(cluster.daemon(OPERATOR).is_some(), "the operator ended{}", cluster.tail(OPERATOR));
            ensure!(Instant::now() < deadline, "not settled within {} s{}", LIMIT.as_secs(), cluster.tail(OPERATOR));
            let now = reconciliations(cluster).unwrap_or_default();
            if now != count {
                (count, changed) = (now, Instant::now());
            }
            if count >= u64::from(self.pipelines) && changed.elapsed() >= QUIET {
                return Ok((changed, count));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn judge(&self, figures: &Figures) -> Result<()> {
        let Figures { first, restart, restart_writes, memory, idle_percent, idle_writes, latencies_ms } = figures;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut sorted = latencies_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let index = (percent * sorted.len()).div_ceil(100);
            sorted.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        println!("{} pipelines, {} pods that ask", self.pipelines, self.pods);
        println!("  first start settled in {:.1} s, {} reconciliations", first.seconds, first.reconciliations);
        verdict("restart settled in", restart.seconds, "s", MOST_SETTLE_SECONDS);
        println!("    {} reconciliations", restart.reconciliations);
        verdict("writes of the restart", restart_writes.len() as f64, "requests", 0.0);
        restart_writes.iter().take(5).for_each(|write| println!("    {write}"));
        verdict("resident memory after it", mib(memory.resident), "MiB", MOST_MEMORY_MIB);
        verdict("its peak", mib(memory.peak), "MiB", MOST_MEMORY_MIB);
        verdict("CPU at rest", *idle_percent, "% of a core", MOST_IDLE_PERCENT);
        verdict("writes at rest", *idle_writes as f64, "requests", 0.0);
        verdict("one change, write to status, p99", rank(99), "ms", MOST_LATENCY_MS);
        println!("    p50 {:.0} ms, most {:.0} ms, of {}", rank(50), rank(100), sorted.len());
        let met = restart.seconds <= MOST_SETTLE_SECONDS
            && restart_writes.is_empty()
            && mib(memory.peak) <= MOST_MEMORY_MIB
            && *idle_percent <= MOST_IDLE_PERCENT
            && *idle_writes == 0
            && rank(99) <= MOST_LATENCY_MS;
        ensure!(met, "a bar is missed, see above");
        Ok(())
    }
}

/// Reconciliations so far, by the operator's own count.
fn reconciliations(cluster: &Cluster) -> Result<u64> {
    let page = get(cluster, METRICS_PORT, "/metrics")?;
    let counts = page.lines().filter(|line| line.starts_with("veneur_operator_reconciliations_total"));
    Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

/// One HTTP answer from loopback of the cluster's network namespace, which only a thread of its own enters.
fn get(cluster: &Cluster, port: u16, path: &str) -> Result<String> {
    let namespace = File::open(cluster.netns()).context("the cluster has no network namespace")?;
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<String> {
            setns(&namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the cluster's network namespace")?;
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        asking.join()
    });
    match asked {
        Ok(answer) => answer,
        Err(_) => bail!("asking port {port} panicked"),
    }
}
