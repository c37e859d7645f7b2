//! Taking connections: plain or with TLS, no more than there may be.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, Sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;
use tonic::transport::server::Connected;
use veneur_metric::{Condition, Turn};

use crate::import::Settings;

/// Pause after the system has refused to give a connection, as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Refused peers that are told of one by one, at the most: anybody may knock.
const MOST_REFUSED: usize = 64;

/// A refused peer that has not tried for this long gives its place to another.
const GONE_AFTER: Duration = Duration::from_mins(10);

/// A connection taken.
#[derive(Debug)]
pub(crate) struct Accepted {
    stream: Stream,
    peer: SocketAddr,
    /// When it is cut, if it is.
    cut: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Takes connections from `listener` and hands them to `taken`, until nobody takes them any more.
pub(crate) async fn accept(listener: TcpListener, settings: Settings, taken: mpsc::Sender<io::Result<Accepted>>) {
    let cut = settings.cut_after();
    let Settings { tls: guard, max_connections: most, handshake_timeout, .. } = settings;
    let places = Arc::new(Semaphore::new(most));
    let (mut full, refused) = (Condition::default(), Arc::new(Mutex::new(Refused::default())));
    let mut handshakes = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "No connection can be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = taken.closed() => return,
            // Handshakes under way are as many as there are places.
            Some(_) = handshakes.join_next() => continue,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if full.look(1) == Some(Turn::Begun) {
                tracing::warn!(%peer, most, "There are as many connections as there may be: refusing more");
            }
            continue;
        };
        if let Some(Turn::Over { times }) = full.look(0) {
            tracing::info!(refused = times, "There is room for connections again");
        }
        drop(stream.set_nodelay(true));
        match &guard {
            None => {
                let accepted = Accepted::new(Either::Left(stream), peer, cut, place);
                if taken.send(Ok(accepted)).await.is_err() {
                    return;
                }
            }
            Some(guard) => {
                let (tls, taken, refused) = (guard.acceptor(), taken.clone(), Arc::clone(&refused));
                handshakes.spawn(async move {
                    match shake(&tls, stream, handshake_timeout).await {
                        Ok(stream) => {
                            refused.lock().unwrap_or_else(PoisonError::into_inner).forget(peer.ip());
                            let stream = Either::Right(Box::new(stream));
                            drop(taken.send(Ok(Accepted::new(stream, peer, cut, place))).await);
                        }
                        Err(error) => tell(&refused, peer, &error),
                    }
                });
            }
        }
    }
}

async fn shake(tls: &TlsAcceptor, stream: TcpStream, within: Duration) -> io::Result<TlsStream<TcpStream>> {
    let shaken = tokio::time::timeout(within, tls.accept(stream)).await;
    shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Peers that could not agree on TLS, and when they last tried.
#[derive(Debug, Default)]
struct Refused(HashMap<IpAddr, Instant>);

impl Refused {
    /// Whether this peer is to be told of: once, until it is admitted, and not more than so many at a time.
    fn is_news(&mut self, peer: IpAddr, now: Instant) -> bool {
        if let Some(last) = self.0.get_mut(&peer) {
            *last = now;
            return false;
        }
        if self.0.len() >= MOST_REFUSED {
            self.0.retain(|_, last| now.duration_since(*last) < GONE_AFTER);
        }
        let has_room = self.0.len() < MOST_REFUSED;
        if has_room {
            self.0.insert(peer, now);
        }
        has_room
    }

    fn forget(&mut self, peer: IpAddr) {
        self.0.remove(&peer);
    }
}

fn tell(refused: &Mutex<Refused>, peer: SocketAddr, error: &io::Error) {
    let problem = crate::client::chain(error);
    if refused.lock().unwrap_or_else(PoisonError::into_inner).is_news(peer.ip(), Instant::now()) {
        tracing::warn!(%peer, problem, "Refused a peer that could not agree on TLS");
    } else {
        tracing::debug!(%peer, problem, "Refused a peer that could not agree on TLS");
    }
}

impl Connected for Accepted {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl Accepted {
    fn new(stream: Stream, peer: SocketAddr, cut: Option<Duration>, place: OwnedSemaphorePermit) -> Self {
        let cut = cut.map(|after| Box::pin(tokio::time::sleep(after)));
        Self { stream, peer, cut, _place: place }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut Stream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever serves a connection always reads: this is looked at in time.
        if self.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_peer_is_told_of_once_until_it_is_admitted() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let peer = |last: u8| IpAddr::from([10, 0, 0, last]);
        assert!(refused.is_news(peer(1), now) && refused.is_news(peer(2), now), "the second is not the first");
        assert!(!refused.is_news(peer(1), now));
        refused.forget(peer(2));
        assert!(refused.is_news(peer(2), now) && !refused.is_news(peer(1), now));
    }

    #[test]
    fn strangers_without_number_fill_neither_log_nor_memory() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let told = (0..=255).filter(|last| refused.is_news(IpAddr::from([10, 0, 0, *last]), now)).count();
        assert_eq!((told, refused.0.len()), (MOST_REFUSED, MOST_REFUSED));
        assert!(refused.is_news(IpAddr::from([10, 0, 1, 0]), now + GONE_AFTER), "who went away makes room");
        assert_eq!(refused.0.len(), 1);
    }
}
