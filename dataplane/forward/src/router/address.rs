//! Where a metric wants to go.

use std::borrow::Cow;

use prost::Message as _;
use veneur_metric::Stamp;
use veneur_ring::{Hashing, Key};
use veneur_wire::{Item, Outline, Refused, decode, metricpb, metricpb::Metric};

use crate::{
    Facts,
    packed::{Arrived, Head, Packing},
};

/// The most that a metric's frame and stamp take, but for those of other centuries.
const FRAME_AND_STAMP: usize = 24;

/// A metric and what decides its way.
pub(super) struct Addressed<'a> {
    message: Cow<'a, [u8]>,
    /// Whether the message says it.
    stamped: bool,
    pub(super) head: Head,
    pub(super) key: Key,
    pub(super) stamp: Stamp,
}

impl Addressed<'_> {
    /// Bytes that it takes packed, or somewhat more.
    pub(super) fn packed_len(&self) -> usize {
        self.message.len() + FRAME_AND_STAMP
    }

    /// Packs it, with the stamp of its arrival if it has none.
    pub(super) fn pack(&self, packing: &mut Packing, arrived: &Arrived) {
        let stamp = if self.stamped { &[] } else { arrived.field.as_slice() };
        packing.put(self.head, &[&self.message, stamp]);
    }
}

/// Checks a metric, stamps it if nobody has, and sorts its tags.
pub(super) fn address<'a>(
    message: &'a [u8],
    facts: &Facts,
    arrived: &Arrived,
    hashing: &Hashing,
) -> Result<Addressed<'a>, Refused> {
    // Most are sorted, and travel on as they came.
    match Outline::of(message).filter(|outline| outline.has_canonical_tags() && outline.is_sound()) {
        Some(Outline { name, tags, kind, stamp: own, .. }) => {
            let key = hashing.context(name, kind.as_str(), &tags.join(","));
            let stamp = own.unwrap_or(arrived.stamp);
            let head = Head::partial(stamp);
            Ok(Addressed { message: Cow::Borrowed(message), stamped: own.is_some(), head, key, stamp })
        }
        None => address_any(Metric::decode(message).unwrap_or_default(), facts, arrived.stamp, hashing),
    }
}

fn address_any(
    mut metric: Metric,
    facts: &Facts,
    arrived: Stamp,
    hashing: &Hashing,
) -> Result<Addressed<'static>, Refused> {
    let (key, stamp) = match decode(&metric)? {
        Item::Partial(partial) => {
            let stamp = partial.stamp.unwrap_or(arrived);
            metric.stamp = Some(metricpb::Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms });
            let context = &partial.context;
            metric.tags = context.tags.iter().map(str::to_owned).collect();
            (hashing.context(&context.name, context.kind.as_str(), context.tags.joined()), stamp)
        }
        Item::Point(_, stamp) | Item::Event(_, stamp) | Item::Check(_, stamp) => (hashing.origin(&facts.sender), stamp),
    };
    let message = Cow::Owned(metric.encode_to_vec());
    // What is finished keeps its own time, and needs no stamp of its arrival.
    Ok(Addressed { message, stamped: true, head: Head::from(&metric), key, stamp })
}
