//! `veneur-load send|null|forward|admission`: measured from outside, by `cargo xtask bench`.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::{net::TcpListener, task::JoinSet};
use veneur_load::bodies::{self, Body, Dialect};
use veneur_load::importer::Arrived;
use veneur_load::mix::Kind;
use veneur_load::packets::Load;
use veneur_load::partials::What;
use veneur_load::{admission, forward, null, send};

/// Bounded loads of DogStatsD and of partials on loopback, and receivers that do nothing with them.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends, and prints what was sent as JSON.
    Send(Send),
    /// Receives and throws away; prints its socket's buffer at once, and what it received when it ends, as JSON.
    Null(Null),
    /// Sends partials as locals do, and prints what was sent as JSON.
    Forward(Forward),
    /// Posts reviews of pods to a webhook, and prints how long it took as JSON.
    Admission(Admission),
}

#[derive(Debug, clap::Args)]
struct Send {
    /// Where to, on loopback: `127.0.0.1:8126`.
    to: SocketAddr,
    /// Distinct contexts.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    contexts: u32,
    /// Lines in a datagram.
    #[arg(long, default_value_t = 20)]
    lines: usize,
    /// Datagrams a second; 0 is as fast as can be.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Milliseconds from burst to burst.
    #[arg(long, default_value_t = 1.0)]
    tick: f64,
    /// Seconds to send for.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Send no more datagrams than this.
    #[arg(long, default_value_t = u64::MAX)]
    packets: u64,
    /// One type instead of the mix, by its letters: c, g, ms, h or s.
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// What order and values are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
struct Null {
    /// Where to listen.
    address: String,
    /// Receive buffer asked of the kernel, in bytes.
    #[arg(long, default_value_t = 4 << 20)]
    buffer: usize,
    /// Seconds after which it ends by itself.
    #[arg(long, default_value_t = 3_600.0)]
    seconds: f64,
}

#[derive(Debug, clap::Args)]
struct Forward {
    /// Where to, on loopback: `127.0.0.1:8128`.
    to: String,
    /// How.
    #[arg(long)]
    dialect: Dialect,
    /// Of what the contexts are.
    #[arg(long, default_value = "mix")]
    what: What,
    /// Distinct contexts.
    #[arg(long, default_value_t = 20_000)]
    contexts: u32,
    /// Partials in a body.
    #[arg(long, default_value_t = 500)]
    in_each: u32,
    /// Partials a second; 0 is as fast as can be.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Seconds to send for.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Send each context once, and no more. Bodies are then made while sending, and take no memory.
    #[arg(long)]
    once: bool,
    /// Where to take in what comes out of a proxy.
    #[arg(long)]
    importer: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Admission {
    /// Where to: `127.0.0.1:10250`.
    to: SocketAddr,
    /// Name in the webhook's certificate.
    #[arg(long)]
    name: String,
    /// File with whom to trust, in PEM.
    #[arg(long)]
    authority: PathBuf,
    /// Pipeline that the pods ask for.
    #[arg(long)]
    inject: String,
    /// Reviews a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds to post for.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String> {
    match command {
        Command::Send(arguments) => {
            let any = if arguments.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).context("cannot open a socket")?;
            socket.connect(arguments.to).with_context(|| format!("cannot send to {}", arguments.to))?;
            let Send { contexts, lines, kind: only, seed, .. } = arguments;
            let load = Load { contexts, lines, only, seed };
            let pace = send::Pace {
                packets_per_second: arguments.rate,
                tick: seconds(arguments.tick / 1_000.0)?,
                duration: seconds(arguments.seconds)?,
                at_most: arguments.packets,
            };
            Ok(serde_json::to_string(&send::send(&socket, load, pace)?)?)
        }
        Command::Null(arguments) => {
            let (socket, granted) = null::open(&arguments.address, arguments.buffer)?;
            let mut stdout = std::io::stdout();
            writeln!(stdout, "{}", serde_json::json!({ "granted_bytes": granted })).context("cannot print")?;
            stdout.flush().context("cannot print")?;
            Ok(serde_json::to_string(&null::receive(&socket, seconds(arguments.seconds)?)?)?)
        }
        Command::Forward(arguments) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(serde_json::to_string(&runtime.block_on(forward(&arguments))?)?)
        }
        Command::Admission(arguments) => {
            let Admission { to, name, authority, inject, rate, seconds } = arguments;
            let authority =
                std::fs::read(&authority).with_context(|| format!("cannot read {}", authority.display()))?;
            let reviews = u64::from(rate) * u64::from(seconds);
            let plan = admission::Plan { to, name, authority, inject, rate, reviews };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(serde_json::to_string(&runtime.block_on(admission::admission(&plan))?)?)
        }
    }
}

async fn forward(arguments: &Forward) -> Result<forward::Forwarded> {
    let &Forward { ref to, dialect, what, contexts, in_each, .. } = arguments;
    let pace = forward::Pace { partials_per_second: arguments.rate, duration: seconds(arguments.seconds)? };
    let mut importing = JoinSet::new();
    let arrived = match &arguments.importer {
        Some(address) => {
            let listener = TcpListener::bind(address).await.with_context(|| format!("cannot import on {address}"))?;
            let arrived = Arc::new(Arrived::default());
            importing.spawn(Arc::clone(&arrived).serve(listener));
            Some(arrived)
        }
        None => None,
    };
    let bodies = bodies::bodies(dialect, what, contexts, in_each);
    if arguments.once {
        return forward::forward(to, dialect, bodies, pace, arrived).await;
    }
    let bodies: Vec<Body> = bodies.collect();
    forward::forward(to, dialect, bodies::again(&bodies), pace, arrived).await
}

fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{seconds} is no time"))
}

fn kind(letters: &str) -> Result<Kind, String> {
    let found = Kind::LETTERS.iter().find(|(own, _)| *own == letters);
    found.map(|(_, kind)| *kind).ok_or_else(|| format!("{letters:?} is none of c, g, ms, h, s"))
}
