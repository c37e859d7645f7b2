//! Sockets that were open when the process started, as systemd hands them over (`LISTEN_FDS`).

use std::{
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    sync::{LazyLock, Mutex, PoisonError},
};

use listenfd::ListenFd;

/// The first descriptor that is handed over; 0 to 2 are the standard streams.
const FIRST: i32 = 3;

/// The sockets of this process. Each is taken once.
static SOCKETS: LazyLock<Mutex<ListenFd>> = LazyLock::new(|| Mutex::new(ListenFd::from_env()));

/// A socket of a kind that something here reads.
#[derive(Debug)]
pub(crate) enum Socket {
    Udp(UdpSocket),
    Unixgram(UnixDatagram),
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why there is no such socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("descriptor {0} was not handed over: LISTEN_FDS counts {1}, from {FIRST} on")]
    Unknown(i32, usize),
    #[error("descriptor {0} is in use already: name it once")]
    Taken(i32),
    #[error("descriptor {0} is neither a UDP or Unix datagram socket nor a TCP or Unix one that listens")]
    OtherKind(i32),
}

/// Takes a socket by its descriptor.
pub(crate) fn take(descriptor: i32) -> Result<Socket, Missing> {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = sockets.len();
    let index = usize::try_from(descriptor - FIRST).ok().filter(|index| *index < count);
    let index = index.ok_or(Missing::Unknown(descriptor, count))?;
    let found = sockets
        .take_udp_socket(index)
        .map(|socket| socket.map(Socket::Udp))
        .or_else(|_| sockets.take_unix_datagram(index).map(|socket| socket.map(Socket::Unixgram)))
        .or_else(|_| sockets.take_tcp_listener(index).map(|socket| socket.map(Socket::Tcp)))
        .or_else(|_| sockets.take_unix_listener(index).map(|socket| socket.map(Socket::Unix)));
    match found {
        Ok(Some(socket)) => Ok(socket),
        Ok(None) => Err(Missing::Taken(descriptor)),
        Err(_) => Err(Missing::OtherKind(descriptor)),
    }
}
