//! The load generator: datagrams at a paced rate for a bounded time.
//!
//! A burst is what a tick owes: ticks are short, so that a receiver sees an even stream and its buffer is a reserve, not
//! a queue. A generator that was held up makes up for a few of them only; the rest is forgone and reported, because
//! making up for it would be a flood that nobody asked for.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use serde::Serialize;

use crate::packets::{Load, Packets, Source};

/// Datagrams in one system call.
const BATCH: usize = 32;

/// Ticks that are made up for after having been held up.
const MADE_UP: u32 = 4;

/// How fast, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Datagrams a second; 0 is as fast as can be.
    pub packets_per_second: u64,
    /// How often a burst is sent.
    pub tick: Duration,
    /// When to stop.
    pub duration: Duration,
    /// When to stop too: after so many datagrams.
    pub at_most: u64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub packets: u64,
    /// Values in them.
    pub samples: u64,
    /// Bytes in them, without headers.
    pub bytes: u64,
    /// Datagrams that the kernel refused.
    pub errors: u64,
    /// Datagrams never tried, because this process was held up.
    pub forgone: u64,
    /// From the first to the last.
    pub seconds: f64,
    /// Of those that the kernel took.
    pub packets_per_second: f64,
}

/// Sends to `socket`, which is connected.
pub fn send(socket: &UdpSocket, load: Load, pace: Pace) -> Result<Sent> {
    ensure!(
        socket.peer_addr().context("the socket is not connected")?.ip().is_loopback(),
        "this load is for loopback only"
    );
    let mut source = Source::new(load);
    let mut clock = Clock::new(pace);
    let mut sent = Sent::default();
    while clock.runs(&sent) {
        let block = source.next_block();
        send_block(socket, block, &mut clock, &mut sent)?;
    }
    sent.seconds = clock.begun.elapsed().as_secs_f64();
    sent.packets_per_second = sent.packets as f64 / sent.seconds;
    Ok(sent)
}

fn send_block(socket: &UdpSocket, block: &Packets, clock: &mut Clock, sent: &mut Sent) -> Result<()> {
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut next = 0;
    while next < block.len() && clock.runs(sent) {
        let owed = usize::try_from(clock.owed(sent)).unwrap_or(usize::MAX);
        if owed == 0 {
            clock.sleep();
            continue;
        }
        let count = owed.min(BATCH).min(block.len() - next);
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|nth| [IoSlice::new(if nth < count { block.get(next + nth) } else { &[] })]);
        let no_addresses = [None; BATCH];
        let no_control: [ControlMessage<'_>; 0] = [];
        let flags = MsgFlags::empty();
        let taken = match sendmmsg(socket.as_raw_fd(), &mut headers, &slices[..count], no_addresses, no_control, flags)
        {
            Ok(results) => results.count(),
            Err(Errno::EINTR) => 0,
            // Nobody listens (yet, or any more), or the machine is short of memory: the first of them is lost.
            Err(Errno::ECONNREFUSED | Errno::ENOBUFS | Errno::EAGAIN) => {
                sent.errors += 1;
                next += 1;
                continue;
            }
            Err(error) => return Err(error).context("cannot send"),
        };
        sent.packets += taken as u64;
        sent.samples += block.samples_before(next + taken) - block.samples_before(next);
        sent.bytes += slices[..taken].iter().map(|slice| slice[0].len() as u64).sum::<u64>();
        next += taken;
    }
    Ok(())
}

struct Clock {
    pace: Pace,
    begun: Instant,
    next: Instant,
}

impl Clock {
    fn new(pace: Pace) -> Self {
        let now = Instant::now();
        Self { pace, begun: now, next: now }
    }

    fn runs(&self, sent: &Sent) -> bool {
        self.begun.elapsed() < self.pace.duration && sent.packets < self.pace.at_most
    }

    /// Datagrams that should have been sent by now and were not.
    fn owed(&self, sent: &mut Sent) -> u64 {
        let left = self.pace.at_most - sent.packets;
        if self.pace.packets_per_second == 0 {
            return left;
        }
        let due = self.due(self.begun.elapsed());
        let owed = due.saturating_sub(sent.packets + sent.errors + sent.forgone);
        let most = self.due(self.pace.tick * MADE_UP).max(1);
        sent.forgone += owed.saturating_sub(most);
        owed.min(most).min(left)
    }

    fn due(&self, after: Duration) -> u64 {
        let due = u128::from(self.pace.packets_per_second) * after.as_nanos() / 1_000_000_000;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    fn sleep(&mut self) {
        let now = Instant::now();
        self.next += self.pace.tick;
        if self.next <= now {
            self.next = now + self.pace.tick;
        }
        thread::sleep(self.next - now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_sent_arrives_at_the_rate_that_was_asked_for() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(receiver.local_addr().expect("an address")).expect("connected");
        let load = Load { contexts: 400, lines: 10, only: None, seed: 1 };
        let pace = Pace { packets_per_second: 200, tick: TICK, duration: Duration::from_mins(1), at_most: 50 };
        let sent = send(&socket, load, pace).expect("sent");
        assert_eq!((sent.packets, sent.samples, sent.errors), (50, 500, 0));
        // Never faster than asked; how much slower is the machine's business.
        assert!(sent.seconds > 0.2 && sent.packets_per_second < 250.0, "{sent:?}");
        let mut buffer = [0; 4096];
        let bytes: usize = (0..50).map(|_| receiver.recv(&mut buffer).expect("a datagram")).sum();
        assert_eq!(bytes as u64, sent.bytes);
    }

    #[test]
    fn nothing_leaves_this_machine() {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        if socket.connect("192.0.2.1:9").is_ok() {
            let load = Load { contexts: 1, lines: 1, only: None, seed: 1 };
            let pace = Pace { packets_per_second: 1, tick: TICK, duration: Duration::from_secs(1), at_most: 1 };
            assert!(send(&socket, load, pace).is_err());
        }
    }
}
