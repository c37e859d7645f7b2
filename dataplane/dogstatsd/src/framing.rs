//! Bytes of a stream to lines or packets, however the stream was cut on its way.
//!
//! [`Lines`] reads what TCP clients send, lines that end with `\n` or `\r\n`; [`Frames`] what Datadog's clients send over
//! a Unix stream, packets that begin with their length. Whole lines and packets borrow from the chunk they came in; only
//! an unfinished one is copied, into a buffer that grows with what has arrived and is given back with it.
//!
//! Law: any cutting of the same bytes yields the same pieces. Memory is bounded by the longest piece that is allowed,
//! never by a length that a client claims.

use memchr::{memchr, memchr_iter};

/// A line or packet is longer than allowed. The stream cannot be read on: nobody knows where the next piece begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line or packet of the stream is longer than {0} bytes")]
pub struct TooLong(pub usize);

/// A stream of lines.
#[derive(Debug)]
pub struct Lines {
    longest: usize,
    partial: Vec<u8>,
}

impl Lines {
    /// Reads lines of at most `longest` bytes, the line end's `\n` not counted.
    pub fn new(longest: usize) -> Self {
        Self { longest, partial: Vec::new() }
    }

    /// Takes in the next bytes, and reports the lines that they end: many at once, with `\n` between them, as a datagram
    /// holds them. A line that was longer than allowed is not among them.
    ///
    /// ```
    /// let (mut lines, mut seen) = (veneur_dogstatsd::framing::Lines::new(64), Vec::new());
    /// for chunk in [&b"a:1|c\r\nb:2|g\nc:"[..], b"3|c", b"\n"] {
    ///     lines.feed(chunk, |lines| seen.push(lines.to_vec())).expect("they are short");
    /// }
    /// assert_eq!(seen, [&b"a:1|c\r\nb:2|g"[..], b"c:3|c"]);
    /// ```
    pub fn feed(&mut self, mut chunk: &[u8], mut on: impl FnMut(&[u8])) -> Result<(), TooLong> {
        if !self.partial.is_empty() {
            let end = memchr(b'\n', chunk);
            let rest = &chunk[..end.unwrap_or(chunk.len())];
            if self.partial.len() + rest.len() > self.longest {
                return Err(TooLong(self.longest));
            }
            self.partial.extend_from_slice(rest);
            let Some(end) = end else { return Ok(()) };
            on(&self.partial);
            // Given back: a thousand idle connections hold nothing.
            self.partial = Vec::new();
            chunk = &chunk[end + 1..];
        }
        let mut start = 0;
        let mut fits = true;
        for end in memchr_iter(b'\n', chunk).chain([chunk.len()]) {
            fits = end - start <= self.longest;
            if !fits || end == chunk.len() {
                break;
            }
            start = end + 1;
        }
        if start > 0 {
            on(&chunk[..start - 1]);
        }
        if !fits {
            return Err(TooLong(self.longest));
        }
        self.partial.extend_from_slice(&chunk[start..]);
        Ok(())
    }

    /// Bytes of memory that the line takes whose end has not come.
    pub fn held(&self) -> usize {
        self.partial.capacity()
    }

    /// The line that the stream's end ended, if there is one.
    pub fn last(&self) -> Option<&[u8]> {
        Some(self.partial.strip_suffix(b"\r").unwrap_or(&self.partial)).filter(|line| !line.is_empty())
    }
}

/// A stream of packets, each after its length in four bytes, the lowest first.
#[derive(Debug)]
pub struct Frames {
    longest: usize,
    partial: Vec<u8>,
}

impl Frames {
    /// Reads packets of at most `longest` bytes, the length itself not counted.
    pub fn new(longest: usize) -> Self {
        Self { longest, partial: Vec::new() }
    }

    /// Takes in the next bytes, and reports each packet that they complete. A length of 0 is a packet of no lines.
    ///
    /// ```
    /// let (mut frames, mut seen) = (veneur_dogstatsd::framing::Frames::new(64), Vec::new());
    /// for chunk in [&b"\x05\0"[..], b"\0\0a:1|", b"c\0\0\0\0"] {
    ///     frames.feed(chunk, |packet| seen.push(packet.to_vec())).expect("they are short");
    /// }
    /// assert_eq!(seen, [&b"a:1|c"[..], b""]);
    /// ```
    pub fn feed(&mut self, mut chunk: &[u8], mut on: impl FnMut(&[u8])) -> Result<(), TooLong> {
        while !self.partial.is_empty() {
            let wanted = self.length_of(&self.partial)?.map_or(PREFIX, |length| PREFIX + length);
            let (now, rest) = chunk.split_at(chunk.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(now);
            chunk = rest;
            if self.partial.len() < wanted {
                return Ok(());
            }
            if self.length_of(&self.partial)? == Some(wanted - PREFIX) {
                on(&self.partial[PREFIX..]);
                self.partial = Vec::new();
            }
        }
        while let Some(length) = self.length_of(chunk)? {
            let Some(packet) = chunk.get(PREFIX..PREFIX + length) else { break };
            on(packet);
            chunk = &chunk[PREFIX + length..];
        }
        self.partial.extend_from_slice(chunk);
        Ok(())
    }

    /// Bytes of memory that the packet takes whose end has not come.
    pub fn held(&self) -> usize {
        self.partial.capacity()
    }

    /// Whether the stream would end within a packet.
    pub fn is_cut(&self) -> bool {
        !self.partial.is_empty()
    }

    fn length_of(&self, bytes: &[u8]) -> Result<Option<usize>, TooLong> {
        let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.longest { Err(TooLong(self.longest)) } else { Ok(Some(length)) }
    }
}

/// Bytes of a packet's length.
const PREFIX: usize = 4;
