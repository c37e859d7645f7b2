//! Many clients that hold a connection and have little to say.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{SETTLE_LIMIT, count};
use crate::bench::{Kind, Load, Place, Programs, Receiver, free_tcp_port};
use crate::cluster::progress::Step;

const CLIENTS: usize = 1_000;

/// From one byte of a client to its next.
const PAUSE: Duration = Duration::from_millis(500);

/// Most memory they may take together, in bytes.
const BOUND: u64 = 128 << 20;

/// Each client sends one line, byte by byte, all at the same time; what comes over UDP meanwhile is not lost for it.
pub(super) fn run(programs: &Programs, step: &Step) -> Result<()> {
    let port = free_tcp_port()?;
    let mut receiver = Receiver::start(Kind::Ours, programs, Place { tcp: Some(port), ..Place::default() })?;
    let lines: Vec<String> = (0..CLIENTS).map(|client| format!("slow.client:1|c|#client:{client}\n")).collect();
    let mut clients = Vec::new();
    for line in &lines {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot open connection {} of {CLIENTS}", clients.len() + 1))?;
        stream.set_nodelay(true)?;
        clients.push((stream, line.as_bytes()));
    }
    let longest = lines.iter().map(String::len).max().unwrap_or_default();
    let others = Load::mix(1_000, 1, 1_000, PAUSE.as_secs_f64() * longest as f64);
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| others.send(programs, receiver.port));
        for turn in 0..longest {
            step.detail(format!("(byte {} of {longest})", turn + 1));
            for (stream, line) in &mut clients {
                if let Some(byte) = line.get(turn) {
                    stream.write_all(&[*byte]).context("a slow client was cut off")?;
                }
            }
            thread::sleep(PAUSE);
        }
        sending.join().map_err(|_| anyhow::anyhow!("sending panicked"))?
    })?;
    let expected = sent.samples + CLIENTS as u64;
    let begun = Instant::now();
    loop {
        ensure!(receiver.lives()?, "the process did not survive");
        let status = receiver.status()?;
        if count(&status, "samples", "aggregated")? == expected {
            ensure!(status["unaccounted"] == 0, "the ledgers are open: {status}");
            break;
        }
        ensure!(begun.elapsed() < SETTLE_LIMIT, "{expected} samples were sent, and /status has {}", status["ledgers"]);
        thread::sleep(Duration::from_millis(100));
    }
    let peak = receiver.memory()?.peak;
    ensure!(peak <= BOUND, "the process took {} MiB, {} are its bound", peak >> 20, BOUND >> 20);
    println!("  {CLIENTS} clients, {} MiB at most", peak >> 20);
    Ok(())
}
