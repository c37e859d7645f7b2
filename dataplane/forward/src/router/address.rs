//! Where a metric wants to go.

use veneur_metric::Stamp;
use veneur_ring::{Hashing, Key};
use veneur_wire::{Item, Refused, decode, metricpb, metricpb::Metric};

use crate::Facts;

/// A metric and what decides its way.
pub(super) struct Addressed {
    pub(super) metric: Metric,
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    /// Whether it is a point, event or check: these go where all of their origin go.
    pub(super) finished: bool,
}

/// Checks a metric, stamps it if nobody has, and sorts its tags.
pub(super) fn address(
    mut metric: Metric,
    facts: &Facts,
    arrived: Stamp,
    hashing: &Hashing,
) -> Result<Addressed, Refused> {
    match decode(&metric)? {
        Item::Partial(partial) => {
            let stamp = partial.stamp.unwrap_or(arrived);
            metric.stamp = Some(metricpb::Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms });
            let context = &partial.context;
            metric.tags = context.tags.iter().map(str::to_owned).collect();
            let key = hashing.context(&context.name, context.kind.as_str(), context.tags.joined());
            Ok(Addressed { metric, key, stamp, finished: false })
        }
        Item::Point(_, stamp) | Item::Event(_, stamp) | Item::Check(_, stamp) => {
            Ok(Addressed { metric, key: hashing.origin(&facts.sender), stamp, finished: true })
        }
    }
}
