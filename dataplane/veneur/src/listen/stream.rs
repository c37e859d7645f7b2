//! Connections: accepted one by one, read in tasks of their own, and read to their end when the listener stops.
//!
//! Nothing is kept for a connection but the piece of a line it has not ended, so that a thousand slow ones cost their
//! sockets and little more. What is read goes to the listener's one intake, whose lock is held for the bytes in hand.

use std::{future::poll_fn, io, mem::MaybeUninit, pin::Pin, sync::Arc, task::ready, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use veneur_aggregate::{Budget, Held};
use veneur_dogstatsd::framing::{Frames, Lines, TooLong};
use veneur_metric::{Condition, Turn};

use super::{
    connections::{Connected, Connections},
    intake::Intake,
    origin::Origin,
};

/// Longest line or packet of a stream, in bytes, whatever the limit for datagrams is.
pub(super) const LONGEST: usize = 64 * 1024;

/// Bytes read at once.
const READ: usize = 16 * 1024;

/// How long a listener that stops goes on reading; many times what full buffers take.
pub(super) const LAST_READ: Duration = Duration::from_secs(1);

/// A connection that says nothing for so long holds nothing any more.
const SILENCE: Duration = Duration::from_millis(50);

/// How long the farewell of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pause before the next accept where accepting fails: out of descriptors, most likely.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What a stream is made of.
#[derive(Debug)]
pub(super) enum Pieces {
    Lines(Lines),
    Frames(Frames),
}

impl Pieces {
    fn held(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.held(),
            Self::Frames(frames) => frames.held(),
        }
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum Ended {
    /// The client closed it.
    Closed,
    /// A piece was longer than allowed.
    TooLong,
    /// What it has not ended has no room.
    NoRoom,
    /// No piece came for too long.
    Idle,
    /// It broke.
    Broken(io::Error),
    /// The listener stops.
    Stopped,
}

/// Accepts connections until `stop`, at most as many at a time as `limit` has permits, and runs `serve` for each. At the
/// stop those waiting to be accepted are served too; then `serve` has [`LAST_READ`] and a farewell to end.
pub(super) async fn accept<L: Accept, C>(
    listener: L,
    connections: Arc<Connections>,
    limit: Arc<Semaphore>,
    stop: CancellationToken,
    mut serve: impl FnMut(L::Stream, Connected) -> C,
) where
    C: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    let mut door = Door { listener, connections, limit, failing: Condition::default() };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = open.join_next() => reap(ended),
            (stream, connected) = door.next() => {
                open.spawn(serve(stream, connected));
            }
        }
    }
    let until = Instant::now() + LAST_READ;
    while Instant::now() < until
        && let Ok((stream, connected)) = timeout(SILENCE, door.next()).await
    {
        open.spawn(serve(stream, connected));
    }
    let ended = timeout(LAST_READ + FAREWELL, async {
        while let Some(ended) = open.join_next().await {
            reap(ended);
        }
    });
    if ended.await.is_err() {
        open.shutdown().await;
    }
}

/// A listening socket.
pub(super) trait Accept {
    /// What it accepts.
    type Stream: Send;

    /// The next connection. Nothing is lost when it is dropped before that.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

struct Door<L> {
    listener: L,
    connections: Arc<Connections>,
    limit: Arc<Semaphore>,
    failing: Condition,
}

impl<L: Accept> Door<L> {
    /// The next connection, once there may be one more.
    async fn next(&mut self) -> (L::Stream, Connected) {
        loop {
            let permit = Arc::clone(&self.limit).acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.next().await {
                Ok(stream) => {
                    if let Some(Turn::Over { times }) = self.failing.look(0) {
                        tracing::info!(attempts = times, "Connections are accepted again");
                    }
                    return (stream, self.connections.connected(permit));
                }
                Err(error) => {
                    if self.failing.look(1).is_some() {
                        tracing::warn!(problem = %error, "Cannot accept a connection: trying again");
                    }
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

fn reap(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(problem = %error, "Serving a connection panicked: only that one is closed");
    }
}

/// Where what a connection says goes.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) intake: Arc<Intake>,
    /// Counts what connections have not ended: all of them together could hold more than the process may.
    pub(super) budget: Arc<Budget>,
    pub(super) origin: Origin,
    /// Longest time between two pieces; `None`: for ever.
    pub(super) idle: Option<Duration>,
    pub(super) stop: CancellationToken,
}

impl Reading {
    /// Reads a connection to its end. `since`: when it was accepted.
    pub(super) async fn read(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        mut pieces: Pieces,
        since: Instant,
        connected: &Connected,
    ) {
        let ended = self.until_end(&mut stream, &mut pieces, since).await;
        self.account_for(&ended, &pieces);
        match &ended {
            Ended::Idle => connected.was_idle(),
            Ended::Broken(error) => tracing::debug!(problem = %error, "Connection broke off"),
            Ended::Closed | Ended::TooLong | Ended::NoRoom | Ended::Stopped => {}
        }
        // Over TLS this says that nothing was cut off; a client that is gone does not care.
        drop(timeout(FAREWELL, stream.shutdown()).await);
    }

    async fn until_end(&self, stream: &mut (impl AsyncRead + Unpin), pieces: &mut Pieces, since: Instant) -> Ended {
        let (mut heard, mut held) = (since, Held::of(&self.budget));
        loop {
            let read = self.chunk(stream, pieces);
            let read = async {
                match self.idle {
                    Some(idle) => timeout_at(heard + idle, read).await,
                    None => Ok(read.await),
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                read = read => match read {
                    Ok(Ok(Read::Pieces(_))) if !held.becomes(pieces.held()) => return Ended::NoRoom,
                    Ok(Ok(Read::Pieces(0))) => {}
                    Ok(Ok(Read::Pieces(_))) => heard = Instant::now(),
                    Ok(Ok(Read::End)) => return Ended::Closed,
                    Ok(Ok(Read::TooLong)) => return Ended::TooLong,
                    Ok(Err(error)) => return Ended::Broken(error),
                    Err(_) => return Ended::Idle,
                },
            }
        }
        let until = Instant::now() + LAST_READ;
        while Instant::now() < until {
            match timeout(SILENCE, self.chunk(stream, pieces)).await {
                Ok(Ok(Read::Pieces(_))) => {}
                Ok(Ok(Read::End)) => return Ended::Closed,
                Ok(Ok(Read::TooLong)) => return Ended::TooLong,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ended::Stopped
    }

    /// Takes in what has arrived, or waits until something does. Nothing is lost when it is dropped before that.
    async fn chunk(&self, stream: &mut (impl AsyncRead + Unpin), pieces: &mut Pieces) -> io::Result<Read> {
        poll_fn(|context| {
            // On the stack, and only while there is something to read: idle connections hold no buffer.
            let mut space = [const { MaybeUninit::<u8>::uninit() }; READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)) {
                Ok(()) => Ok(self.take_in(buffer.filled(), pieces)),
                // A TLS client that is closed without saying so, as most are.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Read::End),
                Err(error) => Err(error),
            }
            .into()
        })
        .await
    }

    fn take_in(&self, bytes: &[u8], pieces: &mut Pieces) -> Read {
        if bytes.is_empty() {
            return Read::End;
        }
        let mut count = 0;
        let mut open = self.intake.open();
        let fed = match pieces {
            Pieces::Lines(lines) => lines.feed(bytes, |lines| {
                count += 1;
                open.lines(lines, self.origin);
            }),
            Pieces::Frames(frames) => frames.feed(bytes, |packet| {
                count += 1;
                open.packet(packet, self.origin);
            }),
        };
        match fed {
            Ok(()) => Read::Pieces(count),
            Err(TooLong(_)) => Read::TooLong,
        }
    }

    /// Puts what the end of a connection cut on the ledger. A line that the client's own end ended is a line.
    fn account_for(&self, ended: &Ended, pieces: &Pieces) {
        let mut open = self.intake.open();
        match (ended, pieces) {
            (Ended::TooLong, _) => open.refuse("too_long"),
            (Ended::NoRoom, _) => open.refuse("no_room"),
            (Ended::Closed, Pieces::Lines(lines)) => {
                if let Some(line) = lines.last() {
                    open.lines(line, self.origin);
                }
            }
            (_, Pieces::Lines(lines)) if lines.last().is_some() => open.refuse("cut_off"),
            (_, Pieces::Frames(frames)) if frames.is_cut() => open.refuse("cut_off"),
            _ => {}
        }
    }
}

/// What a read brought.
#[derive(Debug)]
enum Read {
    /// As many runs of whole lines, or packets; possibly none.
    Pieces(usize),
    End,
    TooLong,
}
