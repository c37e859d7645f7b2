//! How many datagrams the kernel dropped on a socket, by the socket's own count.
//!
//! The count is the last column of `/proc/net/udp` and `/proc/net/udp6`, found by the socket's inode; reading it needs
//! no privilege and no unsafe call, and it is read once a flush. Unix datagram sockets have no such count, because
//! nothing is dropped on them: a sender waits, or is told that there is no room.

use std::os::fd::RawFd;

use crate::account::IngestAccount;

/// The inode of an open socket.
pub(super) fn inode(fd: RawFd) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Drops since the socket was opened; `None` where the kernel does not tell.
pub(super) fn dropped(inode: u64) -> Option<u64> {
    ["/proc/net/udp", "/proc/net/udp6"]
        .into_iter()
        .find_map(|table| drops_in(&std::fs::read_to_string(table).ok()?, inode))
}

/// Puts the drops of a socket on its ledger, if the kernel still knows the socket.
pub(super) fn count(inode: u64, account: &IngestAccount) {
    if let Some(dropped) = dropped(inode) {
        let mut ledger = account.lock();
        ledger.datagrams.kernel_dropped = dropped;
        ledger.datagrams.arrived = ledger.datagrams.read + dropped;
    }
}

/// Columns: sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode, references, pointer, drops.
fn drops_in(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let found = columns.get(9)?.parse() == Ok(inode);
        if found { columns.get(12)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::UdpSocket, os::fd::AsRawFd as _};

    #[test]
    fn the_drops_column_is_found_by_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             \x20 350: 0100007F:1FBE 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 23\n";
        assert_eq!(drops_in(table, 4711), Some(23));
        assert_eq!(drops_in(table, 23), None);
    }

    #[test]
    fn a_full_socket_counts_what_it_drops() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).expect("a small buffer");
        let to = socket.local_addr().expect("bound");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        for _ in 0..1_000 {
            sender.send_to(&[b'x'; 512], to).expect("loopback");
        }
        let inode = inode(socket.as_raw_fd()).expect("a socket");
        let dropped = dropped(inode).expect("listed");
        assert!((900..1_000).contains(&dropped), "{dropped}");
    }
}
