//! A connection that tells how it ended: a peer that dies must be noticed when it happens, not when there is something to
//! send.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

use crate::clock::now_ms;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer had said that it takes nothing more (GOAWAY).
    Announced,
    /// The peer is gone, or the way to it.
    Broken,
}

/// Sees the end of a connection.
#[derive(Debug)]
pub(crate) struct Watch {
    ended: watch::Receiver<Option<End>>,
    signs: Arc<Signs>,
}

/// What a peer has shown of itself.
#[derive(Debug)]
struct Signs {
    going_away: AtomicBool,
    /// When it last showed that it was there, be it by closing, in Unix milliseconds.
    heard_ms: AtomicU64,
}

impl Watch {
    /// Completes when the connection has ended.
    pub(crate) async fn end(&mut self) -> End {
        match self.ended.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end,
            // The connection always tells before it is gone.
            Ok(None) | Err(_) => End::Broken,
        }
    }

    /// Whether the peer has said that it takes nothing more.
    pub(crate) fn announced(&self) -> bool {
        self.signs.going_away.load(Ordering::Relaxed)
    }

    /// When the peer last showed that it was there, in Unix milliseconds.
    pub(crate) fn heard_ms(&self) -> u64 {
        self.signs.heard_ms.load(Ordering::Relaxed)
    }
}

/// An HTTP/2 connection of a client, as bytes.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    inner: T,
    frames: Frames,
    signs: Arc<Signs>,
    ended: watch::Sender<Option<End>>,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T) -> (Self, Watch) {
        let signs = Arc::new(Signs { going_away: AtomicBool::new(false), heard_ms: AtomicU64::new(now_ms()) });
        let (ended, watch) = watch::channel(None);
        let watch = Watch { ended: watch, signs: Arc::clone(&signs) };
        (Self { inner, frames: Frames::default(), signs, ended }, watch)
    }

    fn heard(&self) {
        self.signs.heard_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Nobody closes a connection by silence: an error is heard if it is the peer's own word.
    fn failed(&self, error: &io::Error) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) {
            self.heard();
        }
        self.end();
    }

    fn end(&self) {
        let end = if self.signs.going_away.load(Ordering::Relaxed) { End::Announced } else { End::Broken };
        self.ended.send_if_modified(|ended| ended.replace(end).is_none());
    }
}

impl<T> Drop for Watched<T> {
    /// A peer that does not answer any more is let go without a word from it.
    fn drop(&mut self) {
        self.end();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let room = buffer.remaining();
        let read = ready!(Pin::new(&mut this.inner).poll_read(cx, buffer));
        if let Err(error) = &read {
            this.failed(error);
            return Poll::Ready(read);
        }
        this.heard();
        let new = &buffer.filled()[before..];
        if new.is_empty() && room > 0 {
            this.end();
        } else if this.frames.read(new) {
            this.signs.going_away.store(true, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes));
        if let Err(error) = &written {
            this.failed(error);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Type of the frame by which a peer announces its leave (RFC 9113, 6.8).
const GOAWAY: u8 = 7;

/// Bytes of a frame's header (RFC 9113, 4.1): three of length, one of type, five that do not matter here.
const HEADER: usize = 9;

/// Follows the frames of a server's half of a connection.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER],
    /// Bytes of the header that are here.
    have: usize,
    /// Bytes of the payload that are to come.
    payload: usize,
}

impl Frames {
    /// Whether these next bytes complete the header of a GOAWAY.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut goes_away = false;
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                let [high, middle, low, kind, ..] = self.header;
                self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                goes_away |= kind == GOAWAY;
                self.have = 0;
            }
        }
        goes_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn a_goaway_is_found_however_the_bytes_are_cut() {
        let data = frame(0, &[GOAWAY; 40]);
        let stream = [data.clone(), frame(4, &[]), frame(GOAWAY, &[0; 8]), data.clone()].concat();
        for cut in 1..stream.len() {
            let mut frames = Frames::default();
            assert_eq!(stream.chunks(cut).filter(|chunk| frames.read(chunk)).count(), 1, "cut at {cut}");
        }
        let mut frames = Frames::default();
        assert!(!frames.read(&[data.clone(), data].concat()));
    }

    #[tokio::test]
    async fn an_end_is_announced_or_broken() {
        for (said, expected) in [(frame(GOAWAY, &[0; 8]), End::Announced), (frame(4, &[]), End::Broken)] {
            let (near, mut far) = tokio::io::duplex(64);
            let (mut watched, mut watch) = Watched::new(near);
            far.write_all(&said).await.expect("there is room");
            drop(far);
            let mut all = Vec::new();
            watched.read_to_end(&mut all).await.expect("reads");
            assert_eq!(all, said);
            assert_eq!(watch.end().await, expected);
            assert_eq!(watch.announced(), expected == End::Announced);
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_let_go_in_silence_has_broken() {
        let (near, _far) = tokio::io::duplex(64);
        let (watched, mut watch) = Watched::new(near);
        drop(watched);
        assert_eq!(watch.end().await, End::Broken);
    }
}
