//! DogStatsD over UDP.

use std::{io, net::SocketAddr, os::fd::AsRawFd as _, sync::Arc, time::Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{drops, intake::Intake, origin::Origin, stream::LAST_READ};
use crate::account::IngestAccount;

/// Datagrams read before the reader looks whether it was asked for something.
const BURST: usize = 64;

/// Binds `readers` sockets; more than one share the port.
pub(super) fn bind(address: SocketAddr, readers: usize, buffer_bytes: usize) -> io::Result<Vec<UdpSocket>> {
    (0..readers)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.set_recv_buffer_size(buffer_bytes)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            if readers > 1 {
                socket.set_reuse_port(true)?;
            }
            socket.bind(&address.into())?;
            UdpSocket::from_std(socket.into())
        })
        .collect()
}

/// Reads until `stop`, and then what the socket still holds.
pub(super) async fn read(
    socket: UdpSocket,
    max_length: usize,
    intake: Arc<Intake>,
    account: Arc<IngestAccount>,
    stop: CancellationToken,
) -> io::Result<()> {
    let inode = drops::inode(socket.as_raw_fd());
    // One byte more than allowed, so that a longer datagram can be told from one that just fits.
    let mut reader = Reader { socket, intake, buffer: vec![0; max_length + 1] };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            readable = reader.socket.readable() => {
                readable?;
                if reader.burst()? {
                    // A socket that is always readable would keep this thread for itself, and with it clock and flush.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    // What the socket holds now, not what a busy client goes on sending.
    let until = Instant::now() + LAST_READ;
    while Instant::now() < until && reader.burst()? {}
    if let Some(inode) = inode {
        drops::count(inode, &account);
    }
    Ok(())
}

struct Reader {
    socket: UdpSocket,
    intake: Arc<Intake>,
    buffer: Vec<u8>,
}

impl Reader {
    /// Takes in what is there, up to a burst. Whether there may be more.
    fn burst(&mut self) -> io::Result<bool> {
        let mut open = self.intake.open();
        for _ in 0..BURST {
            match self.socket.try_recv(&mut self.buffer) {
                Ok(length) if length == self.buffer.len() => open.refuse_packet("too_long"),
                Ok(length) => open.packet(&self.buffer[..length], Origin::UNKNOWN),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // An earlier datagram of ours was refused; reading goes on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
