//! DogStatsD over UDP.
//!
//! Each socket has a thread of its own that waits in the kernel, receives many datagrams in one call, and puts them into
//! its table. An event loop would cost a second call for each wake-up, and share its threads with the flush.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, recvmmsg},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio_util::sync::CancellationToken;
use veneur_config::Family;

use super::{drops, intake::Intake, origin::Origin, stream::LAST_READ};
use crate::account::IngestAccount;

/// Datagrams received in one call.
const BURST: usize = 64;

/// How long a reader waits in the kernel before it looks whether it was told to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Longest pause that lets datagrams gather. Waking up costs more than receiving, and what a reader works with has left the
/// cache whenever it wakes: at 8,000 datagrams a second, 20 ms cost a tenth less than 10, and 30 more again.
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// Time over which the rate of datagrams is taken.
const RATED_OVER: Duration = Duration::from_millis(1);

/// Datagrams a second that may come without warning: the whole receive buffer has to hold what a nap lets come of them.
const SUDDEN_RATE: f64 = 200_000.0;

/// What a datagram takes of the receive buffer at the most, short ones: the kernel counts its own structures.
const SMALL_DATAGRAM_BYTES: usize = 1_280;

/// A pause may fill this part of the receive buffer, at the fastest rate seen lately.
const NAP_SHARE: f64 = 8.0;

/// Binds `readers` sockets to an address; more than one share the port, also one that the kernel chooses.
pub(super) fn bind(
    family: Family,
    mut address: SocketAddr,
    readers: usize,
    buffer_bytes: usize,
) -> io::Result<Vec<UdpSocket>> {
    (0..readers)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_recv_buffer_size(buffer_bytes)?;
            if address.is_ipv6() {
                socket.set_only_v6(family == Family::V6)?;
            }
            if readers > 1 {
                socket.set_reuse_port(true)?;
            }
            socket.bind(&address.into())?;
            let socket = UdpSocket::from(socket);
            address.set_port(socket.local_addr()?.port());
            Ok(socket)
        })
        .collect()
}

/// Reads until `stop`, and then what the socket still holds. Blocks its thread.
pub(super) fn read(
    socket: &UdpSocket,
    max_length: usize,
    intake: &Intake,
    account: &Arc<IngestAccount>,
    stop: &CancellationToken,
) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(LOOK_AGAIN))?;
    let inode = drops::inode(socket.as_raw_fd());
    let mut reader = Reader::new(socket, max_length);
    let mut pace = Pace::new(SockRef::from(socket).recv_buffer_size()?);
    while !stop.is_cancelled() {
        let received = reader.burst(intake, MsgFlags::MSG_WAITFORONE)?;
        if let Some(nap) = pace.nap(received, Instant::now()) {
            thread::sleep(nap);
        }
    }
    // What the socket holds now, not what a busy client goes on sending.
    let until = Instant::now() + LAST_READ;
    while Instant::now() < until && reader.burst(intake, MsgFlags::MSG_DONTWAIT)? > 0 {}
    if let Some(inode) = inode {
        drops::count(inode, account);
    }
    Ok(())
}

struct Reader<'a> {
    socket: &'a UdpSocket,
    /// One byte more than allowed for each datagram, so that a longer one can be told from one that just fits.
    space: usize,
    buffer: Vec<u8>,
    headers: MultiHeaders<()>,
}

impl<'a> Reader<'a> {
    fn new(socket: &'a UdpSocket, max_length: usize) -> Self {
        let space = max_length + 1;
        Self { socket, space, buffer: vec![0; space * BURST], headers: MultiHeaders::preallocate(BURST, None) }
    }

    /// Takes in what is there, up to a burst, and says how many datagrams that were.
    fn burst(&mut self, intake: &Intake, flags: MsgFlags) -> io::Result<usize> {
        let Self { socket, space, buffer, headers } = self;
        let (mut lengths, mut count) = ([0; BURST], 0);
        {
            let mut places: Vec<[IoSliceMut<'_>; 1]> =
                buffer.chunks_exact_mut(*space).map(|place| [IoSliceMut::new(place)]).collect();
            match recvmmsg(socket.as_raw_fd(), headers, places.iter_mut(), flags, None) {
                Ok(received) => {
                    for message in received {
                        lengths[count] = message.bytes;
                        count += 1;
                    }
                }
                // Nothing there; a signal; or an earlier datagram of ours was refused, which is not read from here.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
        let mut open = intake.open();
        let datagrams = buffer.chunks_exact(*space).zip(&lengths[..count]);
        let whole = datagrams.clone().filter(|(_, length)| **length < *space).map(|(place, length)| &place[..*length]);
        open.packets(whole, Origin::UNKNOWN);
        datagrams.filter(|(_, length)| **length == *space).for_each(|_| open.refuse_packet("too_long"));
        Ok(count)
    }
}

/// Decides when it pays to let datagrams gather, and for how long the receive buffer can take it.
struct Pace {
    /// Datagrams that a nap may let come at the rate seen.
    room: f64,
    /// The longest nap, whatever comes.
    longest: Duration,
    /// Datagrams a second, the fastest of late.
    rate: f64,
    since: Instant,
    counted: usize,
}

impl Pace {
    /// Fewer datagrams than these in a nap are not worth it.
    const WORTH: f64 = 4.0;

    fn new(buffer_bytes: usize) -> Self {
        let whole = (buffer_bytes / SMALL_DATAGRAM_BYTES) as f64;
        Self {
            room: whole / NAP_SHARE,
            longest: LONGEST_NAP.min(Duration::from_secs_f64(whole / SUDDEN_RATE)),
            rate: 0.0,
            since: Instant::now(),
            counted: 0,
        }
    }

    fn nap(&mut self, received: usize, now: Instant) -> Option<Duration> {
        self.counted += received;
        let elapsed = now.duration_since(self.since);
        if elapsed >= RATED_OVER {
            let rate = self.counted as f64 / elapsed.as_secs_f64();
            // Up at once, down slowly: a burst comes seldom alone.
            self.rate = rate.max(self.rate * 0.9);
            (self.since, self.counted) = (now, 0);
        }
        // A full burst says that more is waiting.
        if received == BURST || self.rate <= 0.0 {
            return None;
        }
        let nap = self.longest.as_secs_f64().min(self.room / self.rate);
        (nap * self.rate >= Self::WORTH).then(|| Duration::from_secs_f64(nap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_naps_only_where_datagrams_gather_and_never_longer_than_the_buffer_lasts() {
        let start = Instant::now();
        let mut pace = Pace::new(320 * SMALL_DATAGRAM_BYTES);
        pace.since = start;
        assert_eq!(pace.nap(1, start + Duration::from_millis(100)), None, "ten datagrams a second");
        let later = start + Duration::from_millis(110);
        let nap = pace.nap(1_000, later).expect("100,000 a second");
        assert!(nap.as_secs_f64() * 100_000.0 <= 40.1, "{nap:?}");
        assert_eq!(pace.nap(BURST, later), None, "more is waiting");
    }
}
