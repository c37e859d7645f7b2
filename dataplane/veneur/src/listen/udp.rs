//! DogStatsD over UDP.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    os::fd::AsRawFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, sync::mpsc};
use veneur_aggregate::{Rules, Table};
use veneur_dogstatsd::{context_tags, parse_datagram};

use super::{Ask, drops};
use crate::account::{Ingest, IngestAccount};

/// Datagrams read before the reader looks whether it was asked for something.
const BURST: usize = 64;

/// How long a reader that ends goes on reading: many times what a full receive buffer takes.
const LAST_READ: Duration = Duration::from_secs(1);

/// Binds `readers` sockets to a `udp://host:port`; more than one share the port.
pub(super) fn bind(url: &str, readers: usize, buffer_bytes: usize) -> io::Result<Vec<UdpSocket>> {
    let address = resolve(url)?;
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

/// Whether this machine has no IPv6 (or IPv4), or not that loopback address of it.
pub(super) fn no_such_family(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97) // EAFNOSUPPORT
}

fn resolve(url: &str) -> io::Result<SocketAddr> {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    address
        .to_socket_addrs()?
        .find(|found| match url.split_once("://") {
            Some(("udp4", _)) => found.is_ipv4(),
            Some(("udp6", _)) => found.is_ipv6(),
            _ => true,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{address} has no such address")))
}

/// Reads until asked to finish.
pub(super) async fn read(
    socket: UdpSocket,
    max_length: usize,
    rules: Arc<Rules>,
    account: Arc<IngestAccount>,
    mut asked: mpsc::Receiver<Ask>,
) -> anyhow::Result<()> {
    let inode = drops::inode(socket.as_raw_fd());
    // One byte more than allowed, so that a longer datagram can be told from one that just fits.
    let mut reader = Reader { socket, rules, account, table: Table::default(), buffer: vec![0; max_length + 1] };
    loop {
        tokio::select! {
            biased;
            ask = asked.recv() => {
                let (answer, last) = match ask {
                    Some(Ask::Collect(answer)) => (answer, false),
                    Some(Ask::Finish(answer)) => (answer, true),
                    None => return Ok(()),
                };
                // What the socket holds now, not what a busy client goes on sending.
                let until = Instant::now() + LAST_READ;
                while last && Instant::now() < until && reader.burst()? {}
                if let Some(dropped) = inode.and_then(drops::dropped) {
                    let mut ledger = reader.account.lock();
                    ledger.datagrams.kernel_dropped = dropped;
                    ledger.datagrams.arrived = ledger.datagrams.read + dropped;
                }
                // Whoever asked may have given up; the table is then lost with the process that is ending.
                drop(answer.send(std::mem::take(&mut reader.table)));
                if last {
                    return Ok(());
                }
            }
            readable = reader.socket.readable() => {
                readable?;
                if reader.burst()? {
                    // A socket that is always readable would keep this thread for itself, and with it clock and flush.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

struct Reader {
    socket: UdpSocket,
    rules: Arc<Rules>,
    account: Arc<IngestAccount>,
    table: Table,
    buffer: Vec<u8>,
}

impl Reader {
    /// Takes in what is there, up to a burst. Whether there may be more.
    fn burst(&mut self) -> io::Result<bool> {
        let mut seen = Ingest::default();
        let mut more = true;
        for _ in 0..BURST {
            match self.socket.try_recv(&mut self.buffer) {
                Ok(length) => self.datagram(length, &mut seen),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                // An earlier datagram of ours was refused; reading goes on.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        self.account.lock().add(&seen);
        Ok(more)
    }

    fn datagram(&mut self, length: usize, seen: &mut Ingest) {
        seen.datagrams.read += 1;
        if length == self.buffer.len() {
            seen.samples.parsed += 1;
            seen.samples.refuse("too_long");
            return;
        }
        let samples = &mut seen.samples;
        let skipped = parse_datagram(&self.buffer[..length], |parsed| {
            samples.parsed += 1;
            match parsed {
                Ok(sample) if self.table.insert(&self.rules, &sample, context_tags) => samples.aggregated += 1,
                Ok(_) => samples.refuse("overflow"),
                Err(refused) => samples.refuse(refused.reason()),
            }
        });
        samples.skipped_sections += u64::from(skipped.0);
    }
}
