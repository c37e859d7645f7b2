//! A receiving process: the null receiver, ours or the original, started alike and read from outside.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::readings::{self, Memory};
use super::{Cgroup, Programs};
use crate::cluster::workspace;

/// The core that receives; the other one sends.
const CORE: &str = "1";

/// Receive buffer that every receiver asks for.
const BUFFER_BYTES: usize = 4 << 20;

/// How long a receiver may take to be ready; one that is held to a few millicores takes seconds.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How long what was sent may wait in a socket.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Time in which one that does nothing uses less than a twentieth of a core.
const QUIET: Duration = Duration::from_millis(300);

const POLL: Duration = Duration::from_micros(500);

/// Exit code of ours for a configuration that it cannot use.
const BAD_CONFIGURATION: i32 = 78;

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Throws everything away.
    Null,
    Ours,
    /// Veneur v14.2.0, with one worker.
    Original,
}

/// Where it runs, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) interval_seconds: u32,
    /// Limits on CPU and memory.
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// Where it accepts connections besides.
    pub(crate) tcp: Option<u16>,
    /// Lines of ours' configuration besides.
    pub(crate) own: &'a str,
}

impl Default for Place<'_> {
    fn default() -> Self {
        Self { interval_seconds: 10, cgroup: None, tcp: None, own: "" }
    }
}

/// A running receiver; killed when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    child: Child,
    /// Where it reads datagrams; 0: nowhere.
    pub(crate) port: u16,
    http: Option<u16>,
    /// From its start until it was ready.
    pub(crate) ready_after: Duration,
    /// Where the original sends what it says of itself. Nobody reads it.
    _stats: Option<UdpSocket>,
}

impl Receiver {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(kind: Kind, programs: &Programs, place: Place<'_>) -> Result<Self> {
        match kind {
            Kind::Null => Self::null(programs, place),
            Kind::Ours => match Self::ours(programs, place, BLACKHOLE) {
                // Without a sink the points of a flush are made and dropped too.
                Err(error) if error.is::<Refused>() => Self::ours(programs, place, ""),
                started => started,
            },
            Kind::Original => Self::original(programs, place),
        }
    }

    fn null(programs: &Programs, place: Place<'_>) -> Result<Self> {
        let port = free_udp_port()?;
        let mut command = Command::new(&programs.load);
        command.args(["null", &format!("127.0.0.1:{port}"), "--buffer", &BUFFER_BYTES.to_string()]);
        Self::spawn(&command, place, port, None, None)
    }

    fn ours(programs: &Programs, place: Place<'_>, sinks: &str) -> Result<Self> {
        let (port, http) = (free_udp_port()?, free_tcp_port()?);
        let file = configuration("ours", place, port, http, &format!("{sinks}{}", place.own))?;
        let mut command = Command::new(&programs.ours);
        command.args(["local", "-f", &file]).env("VENEUR_LOG", "warn");
        Self::spawn(&command, place, port, Some((http, "/ready")), None)
    }

    fn original(programs: &Programs, place: Place<'_>) -> Result<Self> {
        let (port, http) = (free_udp_port()?, free_tcp_port()?);
        let stats = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // It has no blackhole sink that a configuration can name; without sinks it makes the points and drops them.
        let own = format!("num_workers: 1\nstats_address: \"{}\"\n", stats.local_addr()?);
        let file = configuration("original", place, port, http, &own)?;
        let mut command = Command::new(&programs.original);
        command.args(["-f", &file]);
        Self::spawn(&command, place, port, Some((http, "/healthcheck")), Some(stats))
    }

    /// Starts `command` and waits until its socket at `port` is open, if that is not 0, and its path at `http` answers.
    pub(super) fn spawn(
        command: &Command,
        place: Place<'_>,
        port: u16,
        http: Option<(u16, &str)>,
        stats: Option<UdpSocket>,
    ) -> Result<Self> {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
        let log = folder()?.join(format!("{program}.log"));
        let inner = place.cgroup.map(|cgroup| cgroup.wrap(command));
        let mut command = super::pinned(CORE, inner.as_ref().unwrap_or(command));
        let log_file = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        let begun = Instant::now();
        let child = command.spawn().context("cannot run setpriv (package util-linux)")?;
        let mut receiver =
            Self { child, port, http: http.map(|http| http.0), ready_after: Duration::ZERO, _stats: stats };
        receiver.wait_until_ready(begun, http, &log)?;
        receiver.ready_after = begun.elapsed();
        Ok(receiver)
    }

    fn wait_until_ready(&mut self, begun: Instant, http: Option<(u16, &str)>, log: &Path) -> Result<()> {
        loop {
            let answers = http.is_none_or(|(port, path)| get(port, path).is_ok());
            if answers && (self.port == 0 || readings::udp_socket(self.port).is_some()) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                if status.code() == Some(BAD_CONFIGURATION) {
                    return Err(Refused.into());
                }
                bail!("the receiver ended at once ({status}), see {}", log.display());
            }
            ensure!(begun.elapsed() < START_LIMIT, "the receiver was not ready in time, see {}", log.display());
            thread::sleep(POLL);
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids fit in i32 on Linux")
    }

    /// On-CPU time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        readings::cpu(self.pid())
    }

    /// Bytes in memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        readings::memory(self.pid())
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until its socket holds nothing; returns how many datagrams the kernel dropped so far.
    pub(crate) fn drained(&self) -> Result<u64> {
        let begun = Instant::now();
        loop {
            let socket = readings::udp_socket(self.port).context("the receiver's socket is gone")?;
            if socket.waiting == 0 {
                return Ok(socket.dropped);
            }
            ensure!(begun.elapsed() < DRAIN_LIMIT, "the receiver no longer reads its socket");
            thread::sleep(POLL);
        }
    }

    /// What ours says of itself.
    pub(crate) fn status(&self) -> Result<Value> {
        let body = get(self.http.context("this receiver has no admin port")?, "/status")?;
        serde_json::from_str(&body).context("/status is not JSON")
    }

    /// Waits until it has nothing more to do.
    pub(crate) fn settled(&self) -> Result<()> {
        let begun = Instant::now();
        let mut before = self.cpu()?;
        loop {
            thread::sleep(QUIET);
            let now = self.cpu()?;
            if now.saturating_sub(before) < QUIET / 20 {
                return Ok(());
            }
            ensure!(begun.elapsed() < DRAIN_LIMIT, "the receiver does not come to rest");
            before = now;
        }
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).context("cannot stop the receiver")?;
        self.child.wait().context("cannot wait for the receiver")?;
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const BLACKHOLE: &str = "metric_sinks: [{name: blackhole, kind: blackhole}]\n";

/// Ours does not know something in its configuration.
#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the receiver refused its configuration, see target/bench")
    }
}

impl std::error::Error for Refused {}

/// Writes the settings that both have, and those of one.
fn configuration(name: &str, place: Place<'_>, port: u16, http: u16, own: &str) -> Result<String> {
    let interval = place.interval_seconds;
    let tcp = place.tcp.map(|port| format!(", \"tcp://127.0.0.1:{port}\"")).unwrap_or_default();
    let text = format!(
        "interval: {interval}s\nnum_readers: 1\nread_buffer_size_bytes: {BUFFER_BYTES}\nmetric_max_length: 4096\n\
         aggregates: [min, max, count]\npercentiles: [0.5, 0.75, 0.99]\n\
         statsd_listen_addresses: [\"udp://127.0.0.1:{port}\"{tcp}]\nhttp_address: \"127.0.0.1:{http}\"\n{own}"
    );
    write_configuration(name, &text)
}

/// Writes a configuration, and says where it is.
pub(super) fn write_configuration(name: &str, text: &str) -> Result<String> {
    let file = folder()?.join(format!("{name}.yaml"));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    file.into_os_string().into_string().ok().context("the workspace's path is not UTF-8")
}

/// Where configurations and logs are left to look at.
fn folder() -> Result<PathBuf> {
    let folder = workspace().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

pub(super) fn free_udp_port() -> Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

pub(crate) fn free_tcp_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The body of a 200, over a connection of its own.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.contains(" 200 "), "{path} answered {}", head.lines().next().unwrap_or_default());
    // Short bodies come whole, long ones may come in chunks, whose sizes are no JSON.
    ensure!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{path} answered in chunks");
    Ok(body.to_owned())
}
