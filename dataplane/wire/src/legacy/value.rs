//! Entries to the bytes of metrics, and metrics to entries: what the base64 holds, by type.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::encoding::{encode_varint, encoded_len_varint};

use super::{
    Refused, carries,
    entry::{Entry, MOST_TAGS},
    gob,
};
use crate::metricpb::{Metric, Scope, Type, metric::Value};

/// Types by name, each with the scope that an entry of it arrives with.
const TYPES: [(&str, Type, Scope); 5] = [
    ("counter", Type::Counter, Scope::Global),
    ("gauge", Type::Gauge, Scope::Global),
    ("histogram", Type::Histogram, Scope::Mixed),
    ("set", Type::Set, Scope::Mixed),
    ("timer", Type::Timer, Scope::Mixed),
];

/// Turns entries into messages, one at a time in the same memory.
#[derive(Debug, Default)]
pub(super) struct Transcriber {
    message: Vec<u8>,
    bytes: Vec<u8>,
    centroids: Vec<gob::Centroid>,
}

impl Transcriber {
    /// The bytes of the [`Metric`] that an entry is. Zeros are written out, which a message may leave out: that way
    /// lengths are known before what they are of.
    pub(super) fn message(&mut self, entry: &Entry<'_>) -> Result<&[u8], Refused> {
        let Self { message, bytes, centroids } = self;
        let &(_, kind, scope) = TYPES.iter().find(|(name, ..)| *name == entry.kind).ok_or(Refused::Type)?;
        message.clear();
        put(message, NAME, entry.name.as_bytes());
        if entry.tagstring.is_empty() {
            entry.tags.iter().flatten().for_each(|tag| put(message, TAG, tag.as_bytes()));
        } else if entry.tagstring.bytes().filter(|byte| *byte == b',').count() < MOST_TAGS {
            entry.tagstring.split(',').for_each(|tag| put(message, TAG, tag.as_bytes()));
        } else {
            return Err(Refused::Shape);
        }
        message.extend([TYPE, number(kind.into()), SCOPE, number(scope.into())]);

        bytes.clear();
        STANDARD.decode_vec(entry.value.as_bytes(), bytes).map_err(|_| Refused::Base64)?;
        let eight = || bytes.as_slice().try_into().map_err(|_| Refused::Length(bytes.len()));
        match kind {
            Type::Counter => {
                let value = u64::from_le_bytes(eight()?);
                put_head(message, COUNTER, 1 + encoded_len_varint(value));
                message.push(INTEGER);
                encode_varint(value, message);
            }
            Type::Gauge => {
                put_head(message, GAUGE, DOUBLE_BYTES);
                put_double(message, DOUBLE, f64::from_le_bytes(eight()?));
            }
            Type::Histogram | Type::Timer => {
                let numbers = gob::read(bytes, centroids)?;
                let length = (2 + 2 * DOUBLE_BYTES) * centroids.len() + 4 * DOUBLE_BYTES;
                put_head(message, HISTOGRAM, 1 + encoded_len_varint(length as u64) + length);
                put_head(message, PIECE, length);
                message.reserve(length);
                for centroid in &*centroids {
                    put_head(message, PIECE, 2 * DOUBLE_BYTES);
                    put_double(message, DOUBLE, centroid.mean);
                    put_double(message, DOUBLE + FIELD, centroid.weight);
                }
                let numbers = [numbers.compression, numbers.min, numbers.max, numbers.reciprocal_sum];
                // Fields 2 to 5.
                for (key, number) in (DOUBLE + FIELD..).step_by(FIELD.into()).zip(numbers) {
                    put_double(message, key, number);
                }
            }
            Type::Set => {
                put_head(message, SET, 1 + encoded_len_varint(bytes.len() as u64) + bytes.len());
                put(message, PIECE, bytes);
            }
        }
        Ok(message)
    }
}

/// Keys of a metric's fields: their number times eight, and how they are written.
const NAME: u8 = 0x0A;
const TAG: u8 = 0x12;
const TYPE: u8 = 0x18;
const COUNTER: u8 = 0x2A;
const GAUGE: u8 = 0x32;
const HISTOGRAM: u8 = 0x3A;
const SET: u8 = 0x42;
const SCOPE: u8 = 0x48;

/// Of a field 1 of any message, by how it is written, and what the next field's is more.
const INTEGER: u8 = 0x08;
const DOUBLE: u8 = 0x09;
const PIECE: u8 = 0x0A;
const FIELD: u8 = 0x08;

/// A number of floating point with its key.
const DOUBLE_BYTES: usize = 9;

fn put_head(message: &mut Vec<u8>, key: u8, length: usize) {
    message.push(key);
    encode_varint(length as u64, message);
}

fn put(message: &mut Vec<u8>, key: u8, piece: &[u8]) {
    put_head(message, key, piece.len());
    message.extend_from_slice(piece);
}

fn put_double(message: &mut Vec<u8>, key: u8, value: f64) {
    message.push(key);
    message.extend(value.to_le_bytes());
}

/// The number of a type or scope.
fn number(value: i32) -> u8 {
    u8::try_from(value).expect("the protocol has few of them")
}

/// `None`: a body cannot carry it.
pub(super) fn entry(metric: &Metric) -> Option<Entry<'_>> {
    let (kind, ..) = TYPES.iter().find(|(_, kind, _)| i32::from(*kind) == metric.r#type)?;
    let value = match metric.value.as_ref().filter(|_| carries(metric))? {
        Value::Counter(counter) => STANDARD.encode(counter.value.to_le_bytes()),
        Value::Gauge(gauge) => STANDARD.encode(gauge.value.to_le_bytes()),
        Value::Histogram(histogram) => STANDARD.encode(gob::write(histogram.t_digest.as_ref()?)),
        Value::Set(set) => STANDARD.encode(&set.hyper_log_log),
    };
    let tags: Vec<Cow<'_, str>> = metric.tags.iter().map(|tag| tag.as_str().into()).collect();
    Some(Entry {
        name: metric.name.as_str().into(),
        kind: (*kind).into(),
        tagstring: tags.join(",").into(),
        tags: (!tags.is_empty()).then_some(tags),
        value: value.into(),
    })
}
