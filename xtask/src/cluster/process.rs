//! Daemons that outlive this command, and how they are found and killed later.
//!
//! A daemon is started in a session of its own, enters the cluster's cgroup before it runs any of its own code, and
//! leaves a record (pid, start time, boot id). Only a process that still matches its record is signalled, through a
//! pidfd, so a reused pid is never hit.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, pipe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const POLL: Duration = Duration::from_millis(200);
const TAIL_LINES: usize = 20;
/// A killed process that has not gone by then hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(15);

/// Enters the cgroup `$1`, then becomes the daemon.
const IN_CGROUP: &str = r#"echo 0 >"$1/cgroup.procs" && shift && exec "$@""#;

/// The daemons of one cluster: records and logs in its state folder.
pub(crate) struct Daemons {
    records: PathBuf,
    logs: PathBuf,
    cgroup: PathBuf,
}

/// A process, told apart from a later one with the same pid.
#[derive(PartialEq, Eq)]
struct Identity {
    pid: i32,
    /// Clock ticks from boot to the process's start.
    started: u64,
    boot: String,
}

impl Daemons {
    pub(crate) fn new(state: &Path, cgroup: PathBuf) -> Self {
        Self { records: state.join("run"), logs: state.join("log"), cgroup }
    }

    /// Starts `command` as the daemon `name`, detached from this process.
    pub(crate) fn start(&self, name: &str, command: &Command) -> Result<()> {
        for folder in [&self.records, &self.logs] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let log = File::create(self.log(name)).with_context(|| format!("cannot create the log of {name}"))?;
        let cgroup = self.cgroup.to_str().context("the cgroup's path is not UTF-8")?;
        let mut detached = wrap(["setsid", "sh", "-c", IN_CGROUP, "sh", cgroup], command);
        // The caller's environment (proxies, Go's tuning variables) is none of the cluster's business.
        detached.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/root");
        for (key, value) in command.get_envs() {
            detached.env(key, value.unwrap_or_default());
        }
        let child = detached
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = i32::try_from(child.id()).expect("pids fit in i32 on Linux");
        let identity = Identity::of(pid).with_context(|| format!("{name} ended at once"))?;
        fs::write(self.record(name), identity.to_line()).with_context(|| format!("cannot record the pid of {name}"))
    }

    /// The daemon's pid while it runs.
    pub(crate) fn pid(&self, name: &str) -> Option<i32> {
        let line = fs::read_to_string(self.record(name)).ok()?;
        Identity::from_line(&line).filter(Identity::is_alive).map(|identity| identity.pid)
    }

    /// Recorded daemons that no longer run.
    pub(crate) fn stopped(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| self.pid(name).is_none()).collect()
    }

    /// Kills every recorded daemon that still runs, and waits for each to be gone.
    pub(crate) fn kill_recorded(&self) -> Result<()> {
        let pids: Vec<i32> = self.names().iter().filter_map(|name| self.pid(name)).collect();
        kill(&pids)
    }

    /// Polls until `condition` holds; an error of the condition counts as "not yet" and is told at the deadline.
    /// Fails early when `name`, the daemon that should bring it about, has stopped.
    pub(crate) fn wait_for(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        condition: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let outcome = condition();
            if matches!(outcome, Ok(true)) {
                return Ok(());
            }
            if self.pid(name).is_none() {
                bail!("{name} stopped before {what}{}", self.tail(name));
            }
            if Instant::now() >= deadline {
                let last = outcome.err().map(|error| format!(" ({error:#})")).unwrap_or_default();
                bail!("{name}: no {what} within {} s{last}{}", limit.as_secs(), self.tail(name));
            }
            thread::sleep(POLL);
        }
    }

    fn names(&self) -> Vec<String> {
        let Ok(records) = fs::read_dir(&self.records) else {
            return Vec::new();
        };
        records.filter_map(|record| record.ok()?.file_name().into_string().ok()).collect()
    }

    /// The end of a daemon's log, for a message.
    pub(crate) fn tail(&self, name: &str) -> String {
        let path = self.log(name);
        let log = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  ");
        format!("; the end of its log {}:\n  {last}", path.display())
    }

    fn record(&self, name: &str) -> PathBuf {
        self.records.join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

impl Identity {
    /// The process that now has this pid, unless it is dead already.
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name, in parentheses, may hold anything; fields are counted from behind it (proc(5): 3, 22).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let dead = matches!(*fields.first()?, "Z" | "X");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        (!dead).then_some(Self { pid, started: fields.get(19)?.parse().ok()?, boot })
    }

    fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    fn to_line(&self) -> String {
        format!("{} {} {}\n", self.pid, self.started, self.boot)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        Some(Self { pid, started: words.next()?.parse().ok()?, boot: words.next()?.to_owned() })
    }
}

/// Kills these processes and waits for each to be gone.
pub(crate) fn kill(pids: &[i32]) -> Result<()> {
    let identities: Vec<Identity> = pids.iter().filter_map(|pid| Identity::of(*pid)).collect();
    for identity in &identities {
        // The order matters: the pidfd is held first, then it is known to be the process that was meant.
        let Some(Ok(pidfd)) = Pid::from_raw(identity.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            continue;
        };
        if identity.is_alive() && pidfd_send_signal(&pidfd, Signal::KILL) == Err(rustix::io::Errno::PERM) {
            bail!("not allowed to kill process {}: run as root", identity.pid);
        }
    }
    let deadline = Instant::now() + KILL_LIMIT;
    while let Some(alive) = identities.iter().find(|identity| identity.is_alive()) {
        ensure!(Instant::now() < deadline, "process {} survives SIGKILL: see /proc/{0}/stack", alive.pid);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// `inner` run by way of `prefix`, a program that executes the rest of its arguments.
pub(crate) fn wrap<const N: usize>(prefix: [&str; N], inner: &Command) -> Command {
    let mut outer = Command::new(prefix[0]);
    outer.args(&prefix[1..]).arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// Runs a command to its end and hands on each line that it prints; its failure carries the last of them.
pub(crate) fn watch(mut command: Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    let described = describe(&command);
    let (reader, writer) = pipe().context("cannot create a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot run `{described}`"))?;
    // It holds the writing ends: with them open, the lines below would never end.
    drop(command);
    let mut last = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what `{described}` prints"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        on_line(&line);
        last.push_back(line);
        if last.len() > TAIL_LINES {
            last.pop_front();
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{described}`"))?;
    let last = last.make_contiguous().join("\n  ");
    ensure!(status.success(), "`{described}` failed ({status}); the end of what it printed:\n  {last}");
    Ok(())
}

/// Runs a command to its end and returns what it printed; its failure carries what it printed on stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let described = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{described}`"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{described}` failed ({}): {}", output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}
