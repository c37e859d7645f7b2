//! Metrics as they travel: one behind the other in one buffer, each framed as a message of gRPC, so that a stream of
//! dialect C is sent as it lies; and the little of each that its way depends on.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use veneur_metric::Stamp;
use veneur_wire::metricpb::{self, Metric};

/// Most metrics of one batch; at some hundred bytes for a typical partial, well below a connection's window.
const MOST_METRICS: usize = 4_096;

/// Most bytes of one batch, unless a single metric is larger.
const MOST_BYTES: usize = 1024 * 1024;

/// What gRPC puts before a message: whether it is compressed, and its length in four bytes.
const FRAME: usize = 5;

/// What the way of a metric depends on, beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The interval it belongs to, if it says so.
    pub(crate) stamp: Option<Stamp>,
    /// Whether it is a point, event or check.
    pub(crate) finished: bool,
    /// Whether it has a value of the original's kinds.
    pub(crate) has_value: bool,
}

impl Head {
    /// Of an ordinary partial.
    pub(crate) fn partial(stamp: Stamp) -> Self {
        Self { stamp: Some(stamp), finished: false, has_value: true }
    }
}

impl From<&Metric> for Head {
    fn from(metric: &Metric) -> Self {
        let stamp = metric.stamp.as_ref();
        Self {
            stamp: stamp.map(|stamp| Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms }),
            finished: metric.pass_through,
            has_value: metric.value.is_some(),
        }
    }
}

/// A stamp as it stands at the end of a message that came without one.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) stamp: Stamp,
    /// Field 102 of a metric.
    pub(crate) field: Vec<u8>,
}

impl Arrived {
    pub(crate) fn new(stamp: Stamp) -> Self {
        /// The tag of the field as a varint: a message.
        const TAG: [u8; 2] = [0xB2, 0x06];
        let mut field = TAG.to_vec();
        let own = metricpb::Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms };
        own.encode_length_delimited(&mut field).expect("it grows as needed");
        Self { stamp, field }
    }
}

/// Valid metrics, encoded once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    frames: Bytes,
    heads: Vec<Head>,
    bytes: usize,
}

impl Packed {
    /// Metrics in it.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All messages with their frames: the body of a stream.
    pub(crate) fn frames(&self) -> Bytes {
        self.frames.clone()
    }

    /// Each metric's head.
    pub(crate) fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Each metric's head and message.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Head, Bytes)> {
        let mut begin = 0;
        self.heads.iter().map(move |head| {
            let length: [u8; 4] = self.frames[begin + 1..begin + FRAME].try_into().expect("four bytes");
            let end = begin + FRAME + u32::from_be_bytes(length) as usize;
            let message = self.frames.slice(begin + FRAME..end);
            begin = end;
            (head, message)
        })
    }

    /// Each of them as a metric.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = Metric> {
        self.iter().map(|(_, message)| Metric::decode(message).expect("it was encoded or read before"))
    }

    /// Takes out the metrics that do not fit, and says how many.
    pub(crate) fn keep(&mut self, fits: impl Fn(&Head, &Bytes) -> bool) -> u64 {
        let fit: Vec<bool> = self.iter().map(|(head, message)| fits(head, &message)).collect();
        let out = fit.iter().filter(|fits| !**fits).count();
        if out > 0 {
            let mut packing = Packing::default();
            for ((head, message), _) in self.iter().zip(fit).filter(|(_, fits)| *fits) {
                packing.put(*head, &[&message]);
            }
            *self = packing.finish().pop().unwrap_or_default();
        }
        out as u64
    }
}

/// Packs metrics, into as many as it takes for none to be too large.
#[derive(Debug, Default)]
pub(crate) struct Packing {
    full: Vec<Packed>,
    frames: BytesMut,
    heads: Vec<Head>,
}

impl Packing {
    /// Nothing packed yet, and room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { frames: BytesMut::with_capacity(bytes.min(MOST_BYTES)), ..Self::default() }
    }

    /// Adds the metric whose message these pieces are.
    pub(crate) fn put(&mut self, head: Head, pieces: &[&[u8]]) {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.begin(head, length);
        pieces.iter().for_each(|piece| self.frames.put_slice(piece));
    }

    /// The same for one that is not encoded yet.
    pub(crate) fn encode(&mut self, metric: &Metric) {
        self.begin(metric.into(), metric.encoded_len());
        metric.encode(&mut self.frames).expect("it grows as needed");
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> Vec<Packed> {
        if !self.heads.is_empty() {
            self.close();
        }
        self.full
    }

    fn begin(&mut self, head: Head, length: usize) {
        let most = self.heads.len() == MOST_METRICS || self.frames.len() + FRAME + length > MOST_BYTES;
        if most && !self.heads.is_empty() {
            self.close();
        }
        self.heads.push(head);
        self.frames.reserve(FRAME + length);
        self.frames.put_u8(0);
        self.frames.put_u32(u32::try_from(length).expect("imports are of 4 MiB, and datagrams smaller"));
    }

    fn close(&mut self) {
        let (frames, heads) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.heads));
        let bytes = frames.capacity() + heads.capacity() * size_of::<Head>();
        self.full.push(Packed { frames: frames.freeze(), heads, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Metric {
        Metric { name: name.to_owned(), tags: vec!["b:c".to_owned()], ..Metric::default() }
    }

    #[test]
    fn a_stamp_is_added_as_if_it_had_been_there() {
        let metric = named("a");
        for boundary_ms in [0, 10_000, 253_402_300_799_000] {
            let arrived = Arrived::new(Stamp { boundary_ms, interval_ms: 86_400_000 });
            let mut packing = Packing::default();
            packing.put(Head::partial(arrived.stamp), &[&metric.encode_to_vec(), &arrived.field]);
            let [packed] = packing.finish().try_into().expect("one");
            let stamp = Some(metricpb::Stamp { boundary_ms, interval_ms: 86_400_000 });
            assert_eq!(packed.metrics().collect::<Vec<_>>(), [Metric { stamp, ..metric.clone() }]);
        }
    }

    #[test]
    fn what_is_packed_comes_out_in_order_and_in_pieces_of_bounded_size() {
        let metrics: Vec<Metric> = (0..5_000)
            .map(|n| named(&format!("{n}{}", "x".repeat(if n % 1_000 == 0 { 600_000 } else { 0 }))))
            .collect();
        let mut packing = Packing::default();
        metrics.iter().for_each(|metric| packing.encode(metric));
        let packed = packing.finish();
        assert!(packed.iter().flat_map(Packed::metrics).eq(metrics));
        assert!(packed.len() >= 5);
        for packed in &packed {
            assert!(packed.len() <= MOST_METRICS && packed.frames().len() <= MOST_BYTES);
            assert!(packed.bytes() >= packed.frames().len());
        }
    }

    #[test]
    fn what_does_not_fit_is_taken_out_alone() {
        let mut packing = Packing::default();
        ["a", "b", "c"].iter().for_each(|name| packing.encode(&named(name)));
        let [mut packed] = packing.finish().try_into().expect("one");
        assert_eq!(packed.keep(|_, message| *message != named("b").encode_to_vec()), 1);
        assert_eq!(packed.metrics().map(|metric| metric.name).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(packed.keep(|_, _| false), 2);
        assert_eq!((packed.len(), packed.frames().len()), (0, 0));
    }
}
