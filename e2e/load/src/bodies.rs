//! Partials as the bodies of requests, built before the clock starts.

use std::{
    io::{Read as _, Write as _},
    iter::repeat_n,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use memchr::memmem;
use prost::Message;
use veneur_wire::{forwardrpc::MetricList, legacy, metricpb::Metric};

use crate::partials::{What, metric};

/// A dialect of the original's, as its reference calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// `POST /import`, JSON in zlib's format, digests in Go's gob.
    A,
    /// Unary `SendMetrics`.
    B,
    /// Stream `SendMetricsV2`, closed after each body.
    C,
}

impl Dialect {
    /// Where it is sent.
    pub fn path(self) -> &'static str {
        match self {
            Self::A => "/import",
            Self::B => "/forwardrpc.Forward/SendMetrics",
            Self::C => "/forwardrpc.Forward/SendMetricsV2",
        }
    }
}

/// One request's body.
#[derive(Debug, Clone)]
pub struct Body {
    /// Partials in it.
    pub partials: u64,
    /// As it is sent.
    pub bytes: Bytes,
}

/// The bodies of contexts from 0 to `contexts`, so many in each. They are made as they are taken.
pub fn bodies(dialect: Dialect, what: What, contexts: u32, in_each: u32) -> impl Iterator<Item = Body> {
    (0..contexts).step_by(in_each.max(1) as usize).map(move |first| {
        let until = first.saturating_add(in_each).min(contexts);
        let metrics: Vec<Metric> = (first..until).map(|context| metric(context, what)).collect();
        Body { partials: metrics.len() as u64, bytes: body(dialect, metrics) }
    })
}

fn body(dialect: Dialect, metrics: Vec<Metric>) -> Bytes {
    let mut bytes = BytesMut::new();
    match dialect {
        Dialect::A => return zlib(&legacy::write(&metrics)),
        Dialect::B => frame(&MetricList { metrics }, &mut bytes),
        Dialect::C => metrics.iter().for_each(|metric| frame(metric, &mut bytes)),
    }
    bytes.freeze()
}

/// At the original's level.
fn zlib(body: &[u8]) -> Bytes {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body).and_then(|()| zlib.finish()).expect("memory takes what is written to it").into()
}

/// A message as gRPC sends it: not compressed, its length, itself.
fn frame(message: &impl Message, bytes: &mut BytesMut) {
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("far below 4 GiB"));
    message.encode(bytes).expect("it grows as needed");
}

/// How many partials a body of this path holds; `None` if it is none.
pub fn count(path: &str, body: &[u8]) -> Option<u64> {
    let frames = |body| Some(Pieces { rest: body, head: grpc_head });
    if path == Dialect::C.path() {
        return frames(body).map(|frames| frames.count() as u64);
    }
    if path == Dialect::A.path() {
        let mut json = Vec::new();
        ZlibDecoder::new(body).read_to_end(&mut json).ok()?;
        return Some(memmem::find_iter(&json, "\"tagstring\":").count() as u64);
    }
    if path == Dialect::B.path() {
        let list = frames(body)?.next().unwrap_or_default();
        return Some(Pieces { rest: list, head: field_head }.count() as u64);
    }
    None
}

/// Pieces that each begin with a head that says how long they are.
struct Pieces<'a> {
    rest: &'a [u8],
    /// Lengths of the head and of what follows.
    head: fn(&[u8]) -> Option<(usize, usize)>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (head, length) = (self.head)(self.rest)?;
        let piece = self.rest.get(head..head + length)?;
        self.rest = &self.rest[head + length..];
        Some(piece)
    }
}

fn grpc_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, _) = bytes.split_first_chunk::<5>()?;
    Some((5, u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize))
}

/// Field 1, of a list the only one.
fn field_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut rest = bytes.strip_prefix(&[0x0A])?;
    let length = prost::decode_length_delimiter(&mut rest).ok()?;
    Some((bytes.len() - rest.len(), length))
}

/// All bodies again and again.
pub fn again(bodies: &[Body]) -> impl Iterator<Item = Body> {
    repeat_n(bodies, usize::MAX).flatten().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_counts_what_was_put_in() {
        for dialect in [Dialect::A, Dialect::B, Dialect::C] {
            let bodies: Vec<Body> = bodies(dialect, What::Mix, 700, 300).collect();
            assert_eq!(bodies.iter().map(|body| body.partials).collect::<Vec<_>>(), [300, 300, 100]);
            for body in bodies {
                assert_eq!(count(dialect.path(), &body.bytes), Some(body.partials));
            }
        }
        assert_eq!([Dialect::B, Dialect::C].map(|dialect| count(dialect.path(), b"")), [Some(0); 2]);
        assert_eq!(count("/other", b""), None);
    }
}
