//! Ordinary partials, read from their bytes where they lie: what a proxy needs to route one without building it.
//!
//! Nearly every message is a partial whose fields stand once each, as every sender writes them. Those are read here, in
//! one pass and with all of [`decode`](crate::decode())'s checks. Whatever else a message may be, be it valid or not,
//! there is no outline of it, and `decode` has the say.
//!
//! Law: what has an outline is decoded to the partial that the outline makes.

use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Stamp, Tags};
use veneur_sketch::{Centroid, HyperLogLog, TDigest};

use crate::{decode, metricpb};

/// A valid partial, as it lies in its bytes.
#[derive(Debug)]
pub struct Outline<'a> {
    /// Name of its context.
    pub name: &'a str,
    /// Tags of its context, as they came.
    pub tags: Vec<&'a str>,
    /// What is measured.
    pub kind: Kind,
    /// The interval it belongs to, if it says so.
    pub stamp: Option<Stamp>,
    scope: Scope,
    value: Value<'a>,
}

#[derive(Debug)]
enum Value<'a> {
    Counter(f64),
    Gauge(f64),
    Digest { centroids: Vec<Centroid>, min: f64, max: f64, reciprocal_sum: f64 },
    Set(&'a [u8]),
}

/// The bytes of a centroid with both fields, head included.
const CENTROID: usize = 20;

impl<'a> Outline<'a> {
    /// The outline of a message; `None` if it is not an ordinary partial, or none at all.
    pub fn of(message: &'a [u8]) -> Option<Self> {
        let (mut name, mut tags) = (None, Vec::with_capacity(8));
        let (mut kind, mut scope, mut exact, mut stamp, mut value) = (Kind::Counter, Scope::Mixed, None, None, None);
        let mut rest = message;
        while !rest.is_empty() {
            match varint(&mut rest)? {
                0x0A if name.is_none() => name = Some(text(&mut rest)?),
                0x12 => tags.push(text(&mut rest)?),
                0x18 => kind = kind_of(varint(&mut rest)?)?,
                0x48 => scope = scope_of(varint(&mut rest)?)?,
                field @ (0x2A | 0x32 | 0x3A | 0x42) if value.is_none() => value = Some((field, piece(&mut rest)?)),
                // Fields 100 and 102.
                0x321 => exact = Some(double(&mut rest)?),
                0x332 if stamp.is_none() => stamp = Some(stamp_of(piece(&mut rest)?)?),
                _ => return None,
            }
        }
        let value = match (kind, value?) {
            (Kind::Counter, (0x2A, piece)) => Value::Counter(exact.unwrap_or(integer(piece)? as f64)),
            (Kind::Gauge, (0x32, piece)) => Value::Gauge(only_double(piece)?),
            (Kind::Histogram | Kind::Timer, (0x3A, piece)) => digest(piece)?,
            (Kind::Set, (0x42, piece)) => Value::Set(set(piece)?),
            _ => return None,
        };
        if let Value::Counter(value) | Value::Gauge(value) = value
            && !value.is_finite()
        {
            return None;
        }
        let name = name.filter(|name| !name.is_empty())?;
        Some(Self { name, tags, kind, stamp, scope, value })
    }

    /// Whether the tags are as a context has them: sorted, none of them empty, and none that is two.
    pub fn has_canonical_tags(&self) -> bool {
        self.tags.is_sorted() && !self.tags.iter().any(|tag| tag.is_empty() || tag.contains(','))
    }

    /// The partial. `None`: it has no outline after all, and [`decode`](crate::decode()) says why.
    pub fn into_partial(self) -> Option<Partial> {
        let Self { name, tags, kind, stamp, scope, value } = self;
        let value = match value {
            Value::Counter(total) => PartialValue::Counter(total),
            Value::Gauge(value) => PartialValue::Gauge(value),
            Value::Digest { centroids, min, max, reciprocal_sum } => {
                PartialValue::Digest(TDigest::from_centroids(centroids, min, max, reciprocal_sum).ok()?)
            }
            Value::Set(payload) => PartialValue::Set(HyperLogLog::decode(payload).ok()?),
        };
        Some(Partial { context: Context { name: name.into(), tags: Tags::new(tags), kind, scope }, value, stamp })
    }

    /// Whether the value can be merged. What cannot be has no outline after all, as in [`into_partial`](Self::into_partial).
    pub fn is_sound(&self) -> bool {
        match &self.value {
            Value::Counter(_) | Value::Gauge(_) => true,
            Value::Digest { centroids, min, max, .. } => TDigest::check(centroids, *min, *max).is_ok(),
            Value::Set(payload) => HyperLogLog::check(payload).is_ok(),
        }
    }
}

fn kind_of(number: u64) -> Option<Kind> {
    [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Set, Kind::Timer].get(usize::try_from(number).ok()?).copied()
}

fn scope_of(number: u64) -> Option<Scope> {
    match number {
        0 => Some(Scope::Mixed),
        2 => Some(Scope::Global),
        _ => None,
    }
}

fn stamp_of(mut piece: &[u8]) -> Option<Stamp> {
    let mut stamp = metricpb::Stamp::default();
    while !piece.is_empty() {
        match varint(&mut piece)? {
            0x08 => stamp.boundary_ms = varint(&mut piece)?,
            0x10 => stamp.interval_ms = varint(&mut piece)?,
            _ => return None,
        }
    }
    decode::stamp(&stamp).ok()
}

/// Field 1 of a counter; a zero is left out.
fn integer(mut piece: &[u8]) -> Option<i64> {
    if piece.is_empty() {
        return Some(0);
    }
    let value = (varint(&mut piece)? == 0x08).then(|| varint(&mut piece))??;
    piece.is_empty().then_some(value.cast_signed())
}

/// Field 1 of a gauge.
fn only_double(mut piece: &[u8]) -> Option<f64> {
    if piece.is_empty() {
        return Some(0.0);
    }
    let value = (varint(&mut piece)? == 0x09).then(|| double(&mut piece))??;
    piece.is_empty().then_some(value)
}

/// Field 1 of a set, and nothing else.
fn set(mut value: &[u8]) -> Option<&[u8]> {
    let payload = (varint(&mut value)? == 0x0A).then(|| piece(&mut value))??;
    value.is_empty().then_some(payload)
}

fn digest<'a>(mut histogram: &[u8]) -> Option<Value<'a>> {
    let mut rest = (varint(&mut histogram)? == 0x0A).then(|| piece(&mut histogram))??;
    if !histogram.is_empty() {
        return None;
    }
    let mut centroids = Vec::with_capacity(rest.len() / CENTROID);
    let (mut compression, mut min, mut max, mut reciprocal_sum) = (0.0, 0.0, 0.0, 0.0);
    while !rest.is_empty() {
        if let Some((whole, after)) = rest.split_first_chunk::<CENTROID>()
            && let [0x0A, 0x12, 0x09, a0, a1, a2, a3, a4, a5, a6, a7, 0x11, b0, b1, b2, b3, b4, b5, b6, b7] = *whole
        {
            rest = after;
            centroids.push(Centroid {
                mean: f64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
                weight: f64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
            });
            continue;
        }
        match varint(&mut rest)? {
            0x0A => centroids.push(centroid(piece(&mut rest)?)?),
            0x11 => compression = double(&mut rest)?,
            0x19 => min = double(&mut rest)?,
            0x21 => max = double(&mut rest)?,
            0x29 => reciprocal_sum = double(&mut rest)?,
            _ => return None,
        }
    }
    let possible = compression > 0.0 && compression <= decode::HIGHEST_COMPRESSION;
    possible.then_some(Value::Digest { centroids, min, max, reciprocal_sum })
}

fn centroid(mut piece: &[u8]) -> Option<Centroid> {
    let mut centroid = Centroid { mean: 0.0, weight: 0.0 };
    while !piece.is_empty() {
        match varint(&mut piece)? {
            0x09 => centroid.mean = double(&mut piece)?,
            0x11 => centroid.weight = double(&mut piece)?,
            _ => return None,
        }
    }
    Some(centroid)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(piece(rest)?).ok()
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let (piece, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(piece)
}

fn double(rest: &mut &[u8]) -> Option<f64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(f64::from_le_bytes(*bytes))
}

/// `None`: it ends early, or has more than 64 bits.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}
