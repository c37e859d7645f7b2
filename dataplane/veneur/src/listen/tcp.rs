//! DogStatsD over TCP, in plain text or TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use veneur_aggregate::Budget;
use veneur_config::Family;
use veneur_dogstatsd::framing::Lines;

use super::{
    connections::{Connected, Connections},
    intake::Intake,
    origin::Origin,
    stream::{self, LONGEST, Pieces, Reading},
    tls::Handshakes,
};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1_024;

/// Binds a listening socket.
pub(super) fn bind(family: Family, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(family == Family::V6)?;
    }
    // Connections of an earlier process that are still closing are in nobody's way.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What a TCP listener is made of.
pub(super) struct Tcp {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) idle: Duration,
    pub(super) intake: Arc<Intake>,
    pub(super) budget: Arc<Budget>,
    pub(super) connections: Arc<Connections>,
    pub(super) limit: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

impl Tcp {
    /// Reads until `stop`.
    pub(super) async fn read(self) {
        let Self { listener, tls, idle, intake, budget, connections, limit, stop } = self;
        let handshakes = Arc::new(Handshakes::default());
        let reading = Reading { intake, budget, origin: Origin::UNKNOWN, idle: Some(idle), stop: stop.clone() };
        stream::accept(listener, connections, limit, stop, |stream, connected| {
            let (reading, tls, handshakes) = (reading.clone(), tls.clone(), Arc::clone(&handshakes));
            async move {
                match tls {
                    None => reading.read(stream, pieces(), Instant::now(), &connected).await,
                    // Apart, so that a connection in plain text has no room for a session of TLS.
                    Some(tls) => Box::pin(encrypted(stream, &tls, &handshakes, &reading, idle, &connected)).await,
                }
            }
        })
        .await;
    }
}

/// A connection whose idle time begins before its handshake.
async fn encrypted(
    stream: TcpStream,
    tls: &TlsAcceptor,
    handshakes: &Handshakes,
    reading: &Reading,
    idle: Duration,
    connected: &Connected,
) {
    let since = Instant::now();
    let shaken = timeout_at(since + idle, handshakes.shake(tls, stream));
    match reading.stop.run_until_cancelled(shaken).await {
        Some(Ok(Ok(stream))) => reading.read(stream, pieces(), since, connected).await,
        Some(Ok(Err(_)) | Err(_)) => connected.handshake_failed(),
        None => {}
    }
}

fn pieces() -> Pieces {
    Pieces::Lines(Lines::new(LONGEST))
}
