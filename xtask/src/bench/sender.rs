//! Runs the load generator and reads what it sent.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Programs;

/// The core that sends; the other one receives.
const CORE: &str = "0";

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) contexts: u32,
    /// Lines in a datagram.
    pub(crate) lines: u32,
    /// Datagrams a second; 0 is as fast as can be.
    pub(crate) rate: u64,
    pub(crate) seconds: f64,
    /// And then no more than so many datagrams.
    pub(crate) packets: Option<u64>,
    /// One type instead of the mix, by its letters in a line.
    pub(crate) kind: Option<&'static str>,
}

impl Load {
    /// The mix, for some time.
    pub(crate) fn mix(contexts: u32, lines: u32, rate: u64, seconds: f64) -> Self {
        Self { contexts, lines, rate, seconds, packets: None, kind: None }
    }

    /// This many visits of every context, and then no more.
    pub(crate) fn visits(self, visits: u32) -> Self {
        // Each pass ends with a datagram that may be shorter.
        let packets = u64::from(self.contexts.div_ceil(self.lines)) * u64::from(visits);
        Self { packets: Some(packets), ..self }
    }

    /// Sends all of it to this port of this machine.
    pub(crate) fn send(&self, programs: &Programs, port: u16) -> Result<Sent> {
        let mut command = Command::new(&programs.load);
        command.arg("send").arg(format!("127.0.0.1:{port}"));
        let mut option = |name: &str, value: String| {
            command.args([name, &value]);
        };
        option("--contexts", self.contexts.to_string());
        option("--lines", self.lines.to_string());
        option("--rate", self.rate.to_string());
        option("--seconds", self.seconds.to_string());
        if let Some(packets) = self.packets {
            option("--packets", packets.to_string());
        }
        if let Some(kind) = self.kind {
            option("--kind", kind.to_owned());
        }
        let sent = run(&command)?;
        let whole = |field: &str| sent[field].as_u64().with_context(|| format!("veneur-load says no {field}"));
        Ok(Sent {
            packets: whole("packets")?,
            samples: whole("samples")?,
            errors: whole("errors")?,
            forgone: whole("forgone")?,
            seconds: sent["seconds"].as_f64().context("veneur-load says no seconds")?,
        })
    }
}

/// Runs the load generator, and returns what it prints.
fn run(command: &Command) -> Result<Value> {
    let mut command = super::pinned(CORE, command);
    let output = command.stderr(Stdio::inherit()).output().context("cannot run setpriv (package util-linux)")?;
    ensure!(output.status.success(), "veneur-load failed, see above");
    serde_json::from_slice(&output.stdout).context("veneur-load printed no JSON")
}

/// Partials to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partials {
    /// By the reference's letter, small.
    pub(crate) dialect: &'static str,
    /// The mix, or timers alone.
    pub(crate) what: &'static str,
    pub(crate) contexts: u32,
    /// Partials a second; 0 is as fast as can be.
    pub(crate) rate: u64,
    pub(crate) seconds: f64,
    /// Each context once, and no more.
    pub(crate) once: bool,
}

impl Partials {
    /// Sends all of it to this port of this machine; with `importer`, takes in there what comes out of a proxy.
    pub(crate) fn send(&self, programs: &Programs, port: u16, importer: Option<u16>) -> Result<Forwarded> {
        let mut command = Command::new(&programs.load);
        command.arg("forward").arg(format!("127.0.0.1:{port}"));
        command.args(["--dialect", self.dialect, "--what", self.what]);
        command.args(["--contexts", &self.contexts.to_string(), "--rate", &self.rate.to_string()]);
        command.args(["--seconds", &self.seconds.to_string()]);
        if self.once {
            command.arg("--once");
        }
        if let Some(port) = importer {
            command.args(["--importer", &format!("127.0.0.1:{port}")]);
        }
        let sent = run(&command)?;
        let whole = |field: &str| sent[field].as_u64().with_context(|| format!("veneur-load says no {field}"));
        let seconds = sent["seconds"].as_f64().context("veneur-load says no seconds")?;
        Ok(Forwarded { partials: whole("partials")?, arrived: whole("arrived")?, bytes: whole("bytes")?, seconds })
    }
}

/// What partials were sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded {
    pub(crate) partials: u64,
    /// Those that came out of a proxy.
    pub(crate) arrived: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

/// What was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) samples: u64,
    /// Refused by the kernel: they are not in `packets`.
    pub(crate) errors: u64,
    /// Not sent, because the generator was held up.
    pub(crate) forgone: u64,
    pub(crate) seconds: f64,
}

impl Sent {
    /// Datagrams a second.
    pub(crate) fn rate(&self) -> f64 {
        self.packets as f64 / self.seconds
    }
}
