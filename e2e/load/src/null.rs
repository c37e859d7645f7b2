//! The null receiver: batched receive that throws the data away. Nothing that reads every byte can cost less.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Datagrams in one system call.
const BATCH: usize = 64;

/// Bytes for each.
const BUFFER: usize = 4096;

/// How often it looks whether it was told to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What was received.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Received {
    /// Datagrams.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// System calls that brought some.
    pub calls: u64,
    /// On-CPU time of this process, user and system, in nanoseconds.
    pub cpu_ns: u64,
}

/// Opens the socket and asks for a receive buffer of so many bytes; says what the kernel granted, which is twice that
/// unless `net.core.rmem_max` caps it (socket(7)).
pub fn open(address: &str, buffer_bytes: usize) -> Result<(UdpSocket, usize)> {
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    setsockopt(&socket, sockopt::RcvBuf, &buffer_bytes).context("cannot set SO_RCVBUF")?;
    let granted = nix::sys::socket::getsockopt(&socket, sockopt::RcvBuf).context("cannot read SO_RCVBUF")?;
    socket.set_read_timeout(Some(LOOK)).context("cannot set a timeout")?;
    Ok((socket, granted))
}

/// Receives until SIGTERM or SIGINT, or until `limit` is over.
pub fn receive(socket: &UdpSocket, limit: Duration) -> Result<Received> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().context("cannot block signals")?;
    let told = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK).context("cannot wait for signals")?;
    let begun = Instant::now();
    let mut looked = begun;
    let mut received = Received::default();
    let mut buffers = vec![0; BATCH * BUFFER];
    loop {
        batch(socket, &mut buffers, &mut received)?;
        let now = Instant::now();
        if now - looked < LOOK {
            continue;
        }
        looked = now;
        if now - begun > limit || told.read_signal().context("cannot read signals")?.is_some() {
            break;
        }
    }
    let cpu = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).context("cannot read the CPU clock")?);
    received.cpu_ns = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
    Ok(received)
}

fn batch(socket: &UdpSocket, buffers: &mut [u8], received: &mut Received) -> Result<()> {
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut chunks = buffers.chunks_exact_mut(BUFFER);
    let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
        std::array::from_fn(|_| [IoSliceMut::new(chunks.next().expect("there are as many buffers"))]);
    // Waits for the first, and takes what is there besides.
    match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
        Ok(messages) => {
            received.calls += 1;
            for message in messages {
                received.packets += 1;
                received.bytes += message.bytes as u64;
            }
            Ok(())
        }
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => Ok(()),
        Err(error) => Err(error).context("cannot receive"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_sent_is_counted() {
        let (socket, granted) = open("127.0.0.1:0", 1 << 16).expect("a socket");
        assert!(granted >= 1 << 16, "{granted}");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..100 {
            client.send_to(b"a:1|c", socket.local_addr().expect("an address")).expect("sent");
        }
        let received = receive(&socket, Duration::ZERO).expect("received");
        // One system call takes at most a batch; the limit is over after the second.
        assert!(received.packets >= 64 && received.bytes == received.packets * 5, "{received:?}");
    }
}
