//! A digest in Go's gob: five values one after another, each a message of its own.
//!
//! The centroids come first, as a slice of structs with fields `Mean`, `Weight` and `Samples` (debug builds' own, never
//! read), then four numbers: compression, minimum, maximum, and the sum of reciprocals, which old senders leave out.
//! Their types are described in messages before the first that uses them, under numbers that are assigned at run time.
//!
//! A message is its length, a type's number and a value. Integers are their bytes, the highest first, behind their
//! count as 256 - n; below 128 they are one byte alone. Signed ones are doubled, negative ones inverted before and the
//! lowest bit set. Numbers of floating point are integers of their bits in reverse order of bytes. A struct is pairs of
//! field number, as the difference to the one before, and value, up to a 0; fields of zero are left out.
//!
//! Laws: reading is total and linear: every count is checked against what is left before anything is allocated, types
//! are few, and nesting is bounded.

mod bytes;
mod plain;
mod types;

use bytes::{Bytes, put_float, put_uint};
use types::{FLOAT, Type, Types};

use crate::tdigest::MergingDigestData;

/// As many as [`veneur_sketch::TDigest`] accepts.
const MOST_CENTROIDS: usize = veneur_sketch::TDigest::MOST_CENTROIDS;

/// Why a gob is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GobError {
    /// It ends inside the part named.
    #[error("gob ends inside its {0}")]
    Truncated(&'static str),
    /// Bytes follow the last part of a message, or the last message.
    #[error("gob has {0} bytes behind a value")]
    Trailing(usize),
    /// An integer of more than eight bytes.
    #[error("gob has an integer of {0} bytes")]
    Integer(usize),
    /// More than there can be.
    #[error("gob announces {found} {what}: {limit} are possible")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The number announced.
        found: u64,
        /// The number that is possible.
        limit: usize,
    },
    /// A type that nothing describes, that is described twice or that no digest has.
    #[error("gob has type {0}, which no digest has")]
    Type(i64),
    /// A field that its struct has not.
    #[error("gob has a field its struct has not")]
    Field,
    /// Values within values within values.
    #[error("gob nests its values too deeply")]
    Depth,
}

/// A centroid, as far as it is read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Centroid {
    pub(super) mean: f64,
    pub(super) weight: f64,
}

/// What stands behind the centroids.
#[derive(Debug, PartialEq)]
pub(super) struct Numbers {
    pub(super) compression: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) reciprocal_sum: f64,
}

/// Reads a digest, its centroids into a list of them. Whether its numbers make one is for [`read`](crate::read()) to say.
pub(super) fn read(stream: &[u8], centroids: &mut Vec<Centroid>) -> Result<Numbers, GobError> {
    match plain::read(stream, centroids) {
        Some(numbers) => Ok(numbers),
        None => read_any(stream, centroids),
    }
}

/// The same by the types that the gob itself describes, whatever they are.
fn read_any(stream: &[u8], centroids: &mut Vec<Centroid>) -> Result<Numbers, GobError> {
    let mut messages = Messages { rest: Bytes(stream), types: Types::default() };
    let (id, value) = messages.next()?.ok_or(GobError::Truncated("centroids"))?;
    read_centroids(id, value, &messages.types, centroids)?;
    let compression = messages.float("compression")?;
    let min = messages.float("minimum")?;
    let max = messages.float("maximum")?;
    let reciprocal_sum = if messages.rest.is_empty() { 0.0 } else { messages.float("sum of reciprocals")? };
    match messages.rest.len() {
        0 => Ok(Numbers { compression, min, max, reciprocal_sum }),
        more => Err(GobError::Trailing(more)),
    }
}

/// What Go writes before the first value, a message for each type: a slice of centroids, a centroid, a slice of numbers.
/// Their numbers are those that the original's processes assign.
const TYPES: &[u8] = b"\x0d\xff\x87\x02\x01\x02\xff\x88\x00\x01\xff\x84\x00\x00\
    \x37\xff\x83\x03\x01\x01\x08Centroid\x01\xff\x84\x00\x01\x03\
    \x01\x04Mean\x01\x08\x00\x01\x06Weight\x01\x08\x00\x01\x07Samples\x01\xff\x86\x00\x00\x00\
    \x17\xff\x85\x02\x01\x01\x09[]float64\x01\xff\x86\x00\x01\x08\x00\x00";

/// The number of a slice of centroids, doubled.
const SLICE: u64 = 2 * 68;

/// The bytes that Go would write.
pub(super) fn write(digest: &MergingDigestData) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + 16 * digest.main_centroids.len());
    put_uint(&mut value, digest.main_centroids.len() as u64);
    for centroid in &digest.main_centroids {
        let mut skipped = 1;
        for number in [centroid.mean, centroid.weight] {
            // As Go compares it: -0 is left out too.
            if number == 0.0 {
                skipped += 1;
            } else {
                put_uint(&mut value, skipped);
                put_float(&mut value, number);
                skipped = 1;
            }
        }
        value.push(0);
    }
    let mut stream = TYPES.to_vec();
    put_message(&mut stream, SLICE, &value);
    for number in [digest.compression, digest.min, digest.max, digest.reciprocal_sum] {
        value.clear();
        put_float(&mut value, number);
        put_message(&mut stream, 2 * FLOAT.unsigned_abs(), &value);
    }
    stream
}

/// A value that is no struct stands behind a 0.
fn put_message(stream: &mut Vec<u8>, doubled_type: u64, value: &[u8]) {
    let mut head = Vec::with_capacity(4);
    put_uint(&mut head, doubled_type);
    head.push(0);
    put_uint(stream, (head.len() + value.len()) as u64);
    stream.extend(head);
    stream.extend(value);
}

struct Messages<'a> {
    rest: Bytes<'a>,
    types: Types<'a>,
}

impl<'a> Messages<'a> {
    /// Type and bytes of the next value, with the types before it taken in.
    fn next(&mut self) -> Result<Option<(i64, Bytes<'a>)>, GobError> {
        while !self.rest.is_empty() {
            let length = self.rest.count("bytes of a message")?;
            let mut message = Bytes(self.rest.take(length, "message")?);
            match message.int()? {
                id @ 0.. => return Ok(Some((id, message))),
                id => self.types.describe(id.checked_neg().ok_or(GobError::Type(id))?, message)?,
            }
        }
        Ok(None)
    }

    fn float(&mut self, what: &'static str) -> Result<f64, GobError> {
        let (id, mut value) = self.next()?.ok_or(GobError::Truncated(what))?;
        if id != FLOAT {
            return Err(GobError::Type(id));
        }
        value.no_struct()?;
        let float = value.float()?;
        value.end()?;
        Ok(float)
    }
}

fn read_centroids<'a>(
    id: i64,
    mut value: Bytes<'a>,
    types: &Types<'a>,
    centroids: &mut Vec<Centroid>,
) -> Result<(), GobError> {
    let Some(&Type::Slice(element)) = types.get(id) else { return Err(GobError::Type(id)) };
    let Some(Type::Struct(fields)) = types.get(element) else { return Err(GobError::Type(element)) };
    for (name, field) in fields {
        if matches!(*name, b"Mean" | b"Weight") && *field != FLOAT {
            return Err(GobError::Type(*field));
        }
    }
    value.no_struct()?;
    let count = value.count("centroids")?;
    if count > MOST_CENTROIDS {
        return Err(GobError::TooMany { what: "centroids", found: count as u64, limit: MOST_CENTROIDS });
    }
    centroids.clear();
    centroids.reserve(count);
    for _ in 0..count {
        let mut centroid = Centroid::default();
        value.each_field(|value, index| {
            match fields.get(index).ok_or(GobError::Field)? {
                (b"Mean", _) => centroid.mean = value.float()?,
                (b"Weight", _) => centroid.weight = value.float()?,
                (_, field) => types.skip(*field, value)?,
            }
            Ok(())
        })?;
        centroids.push(centroid);
    }
    value.end()
}
