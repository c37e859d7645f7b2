//! A metric as it travels: its bytes, and the little of it that its way depends on.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use veneur_metric::Stamp;
use veneur_wire::metricpb::{self, Metric};

/// A valid metric, encoded once. Cheap to clone: the bytes are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    bytes: Bytes,
    /// The interval it belongs to, if it says so.
    pub(crate) stamp: Option<Stamp>,
    /// Whether it is a point, event or check.
    pub(crate) finished: bool,
    /// Whether it has a value of the original's kinds.
    pub(crate) has_value: bool,
}

/// The tag of a metric's stamp, field 102, as a varint: a message.
const STAMP_TAG: [u8; 2] = [0xB2, 0x06];

/// The most that a stamp takes, tag and length included.
const STAMP_BYTES: usize = 25;

impl Encoded {
    /// A partial whose message is valid and has no stamp; it gets this one.
    pub(crate) fn stamped(message: &[u8], stamp: Stamp) -> Self {
        let mut bytes = BytesMut::with_capacity(message.len() + STAMP_BYTES);
        bytes.put_slice(message);
        bytes.put_slice(&STAMP_TAG);
        let own = metricpb::Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms };
        own.encode_length_delimited(&mut bytes).expect("it grows as needed");
        Self { bytes: bytes.freeze(), stamp: Some(stamp), finished: false, has_value: true }
    }

    /// A partial whose message is valid and has this stamp.
    pub(crate) fn partial(message: &[u8], stamp: Stamp) -> Self {
        // Of its own: what it came with is far larger.
        Self { bytes: Bytes::copy_from_slice(message), stamp: Some(stamp), finished: false, has_value: true }
    }

    /// Its message.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// It again as a metric.
    pub(crate) fn metric(&self) -> Metric {
        Metric::decode(self.bytes.clone()).expect("it was encoded or read before")
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes in memory.
    pub(crate) fn in_memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

impl From<&Metric> for Encoded {
    fn from(metric: &Metric) -> Self {
        let stamp = metric.stamp.as_ref();
        Self {
            bytes: metric.encode_to_vec().into(),
            stamp: stamp.map(|stamp| Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms }),
            finished: metric.pass_through,
            has_value: metric.value.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_added_as_if_it_had_been_there() {
        let metric = Metric { name: "a".to_owned(), tags: vec!["b:c".to_owned()], ..Metric::default() };
        for boundary_ms in [0, 10_000, 253_402_300_799_000] {
            let stamp = Stamp { boundary_ms, interval_ms: 86_400_000 };
            let stamped = Encoded::stamped(&metric.encode_to_vec(), stamp);
            let expected =
                Metric { stamp: Some(metricpb::Stamp { boundary_ms, interval_ms: 86_400_000 }), ..metric.clone() };
            assert_eq!(stamped.metric(), expected);
            assert!(stamped.len() <= metric.encoded_len() + STAMP_BYTES);
        }
    }
}
