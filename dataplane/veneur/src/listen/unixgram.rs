//! DogStatsD in Unix datagrams.
//!
//! The kernel drops none: while the socket's queue is full a sender waits, or is told so where it does not want to wait.
//! Nor does a stop: from a moment on senders are refused, and what was taken until then is read.
//! Each datagram comes with its sender's process id, from which its origin is known.

use std::{
    io::{self, IoSliceMut},
    net::Shutdown,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixDatagram,
    },
    sync::Arc,
    time::Instant,
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use tokio::io::Interest;
use tokio_util::sync::CancellationToken;

use super::{
    intake::{Intake, Open},
    origin::{Origin, Processes},
    stream::LAST_READ,
};

/// Datagrams read under one lock.
const BURST: usize = 64;

/// Datadog's clients fill packets of this size on Unix sockets, whatever the limit for UDP is.
const CLIENTS_PACKET: usize = 8_192;

/// Makes a bound socket ours: not blocking, with as large a buffer as the kernel allows, and with credentials.
pub(super) fn prepare(socket: &UnixDatagram, buffer_bytes: usize) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(socket).set_recv_buffer_size(buffer_bytes)?;
    setsockopt(socket, sockopt::PassCred, &true)?;
    Ok(())
}

/// Reads until `stop`, and then what the socket still holds. `ours`: nobody reads from it after us.
pub(super) async fn read(
    socket: UnixDatagram,
    ours: bool,
    max_length: usize,
    intake: Arc<Intake>,
    stop: CancellationToken,
) -> io::Result<()> {
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    let mut reader = Reader {
        intake,
        processes: Processes::default(),
        // One byte more than allowed, so that a longer datagram can be told from one that just fits.
        packet: vec![0; max_length.max(CLIENTS_PACKET) + 1],
        control: nix::cmsg_space!(nix::libc::ucred),
    };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            readable = socket.readable() => {
                readable?;
                let fd = socket.as_raw_fd();
                let burst = reader.burst(|reader| socket.try_io(Interest::READABLE, || reader.receive(fd)))?;
                if burst == Burst::Full {
                    // A socket that is always readable would keep this thread for itself, and with it the flush.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    // Without this, a datagram that came between the last read and the end would be lost, and its sender not know.
    if ours && let Err(problem) = socket2::SockRef::from(&socket).shutdown(Shutdown::Read) {
        tracing::warn!(%problem, "Senders cannot be refused: what they send from now on is lost");
    }
    let (until, fd) = (Instant::now() + LAST_READ, socket.as_raw_fd());
    while Instant::now() < until && reader.burst(|reader| reader.receive(fd))? == Burst::Full {}
    Ok(())
}

/// Whether there may be more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Burst {
    Full,
    Empty,
}

struct Reader {
    intake: Arc<Intake>,
    processes: Processes,
    packet: Vec<u8>,
    control: Vec<u8>,
}

impl Reader {
    fn burst(&mut self, mut receive: impl FnMut(&mut Self) -> io::Result<(usize, i32)>) -> io::Result<Burst> {
        let now = Instant::now();
        let intake = Arc::clone(&self.intake);
        let mut open: Option<Open<'_>> = None;
        for _ in 0..BURST {
            let (length, pid) = match receive(self) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Burst::Empty),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let origin = if pid > 0 { self.processes.origin(pid, now) } else { Origin::UNKNOWN };
            let open = open.get_or_insert_with(|| intake.open());
            if length == self.packet.len() {
                open.refuse_packet("too_long");
            } else {
                open.packet(&self.packet[..length], origin);
            }
        }
        Ok(Burst::Full)
    }

    /// One datagram's length, and the process it is from; 0 where the kernel does not say.
    fn receive(&mut self, fd: RawFd) -> io::Result<(usize, i32)> {
        let mut space = [IoSliceMut::new(&mut self.packet)];
        let received = recvmsg::<()>(fd, &mut space, Some(&mut self.control), MsgFlags::MSG_DONTWAIT)?;
        let credentials = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
            _ => None,
        });
        Ok((received.bytes, credentials.unwrap_or(0)))
    }
}
