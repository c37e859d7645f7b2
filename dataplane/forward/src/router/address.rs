//! Where a metric wants to go.

use prost::Message as _;
use veneur_metric::Stamp;
use veneur_ring::{Hashing, Key};
use veneur_wire::{Item, Outline, Refused, decode, metricpb, metricpb::Metric};

use crate::{Encoded, Facts};

/// A metric and what decides its way.
pub(super) struct Addressed {
    pub(super) metric: Encoded,
    pub(super) key: Key,
    pub(super) stamp: Stamp,
}

/// Checks a metric, stamps it if nobody has, and sorts its tags.
pub(super) fn address(message: &[u8], facts: &Facts, arrived: Stamp, hashing: &Hashing) -> Result<Addressed, Refused> {
    // Most are sorted, and travel on as they came.
    match Outline::of(message).filter(|outline| outline.has_canonical_tags() && outline.is_sound()) {
        Some(Outline { name, tags, kind, stamp, .. }) => {
            let key = hashing.context(name, kind.as_str(), &tags.join(","));
            let metric = match stamp {
                Some(stamp) => Encoded::partial(message, stamp),
                None => Encoded::stamped(message, arrived),
            };
            Ok(Addressed { metric, key, stamp: stamp.unwrap_or(arrived) })
        }
        None => address_any(Metric::decode(message).unwrap_or_default(), facts, arrived, hashing),
    }
}

fn address_any(mut metric: Metric, facts: &Facts, arrived: Stamp, hashing: &Hashing) -> Result<Addressed, Refused> {
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
    Ok(Addressed { metric: Encoded::from(&metric), key, stamp })
}
