//! Sockets that were open when the process started, as systemd hands them over (`LISTEN_FDS`).

use std::{
    env,
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    sync::{LazyLock, Mutex, PoisonError},
};

use listenfd::ListenFd;

/// The first descriptor that is handed over.
const FIRST: usize = 3;

/// The sockets of this process. Each is taken once.
static SOCKETS: LazyLock<Mutex<(ListenFd, Vec<String>)>> = LazyLock::new(|| {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    Mutex::new((ListenFd::from_env(), names.split(':').map(ToOwned::to_owned).collect()))
});

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
    #[error("no socket {0:?} was handed over: count from {FIRST}, or use one of the names {1:?}")]
    Unknown(String, Vec<String>),
    #[error("socket {0:?} was handed over and is taken already: name it once")]
    Taken(String),
    #[error("descriptor {0:?} is neither a bound UDP or Unix datagram socket nor a listening TCP or Unix one")]
    OtherKind(String),
}

/// Takes a socket by its number, from 3 on, or its name.
pub(crate) fn take(which: &str) -> Result<Socket, Missing> {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let (sockets, names) = &mut *sockets;
    let index = match which.parse::<usize>() {
        Ok(number) => number.checked_sub(FIRST),
        Err(_) => names.iter().position(|name| name == which),
    };
    let Some(index) = index.filter(|index| *index < sockets.len()) else {
        return Err(Missing::Unknown(which.to_owned(), names.clone()));
    };
    let found = sockets
        .take_udp_socket(index)
        .map(|socket| socket.map(Socket::Udp))
        .or_else(|_| sockets.take_unix_datagram(index).map(|socket| socket.map(Socket::Unixgram)))
        .or_else(|_| sockets.take_tcp_listener(index).map(|socket| socket.map(Socket::Tcp)))
        .or_else(|_| sockets.take_unix_listener(index).map(|socket| socket.map(Socket::Unix)));
    match found {
        Ok(Some(socket)) => Ok(socket),
        Ok(None) => Err(Missing::Taken(which.to_owned())),
        Err(_) => Err(Missing::OtherKind(which.to_owned())),
    }
}
