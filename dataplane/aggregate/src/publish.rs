//! The values of an interval as points and partials.

use std::{sync::Arc, time::Duration};

use veneur_metric::{Context, Kind, Partial, PartialValue, Point, PointKind, Stamp};
use veneur_sketch::Summary;

use crate::{
    Aggregate, Publishing,
    cells::{Cell, Counter, Gauge, Set},
    distribution::Distribution,
    fingerprint::Named,
    split::{Covers, Split, split},
};

/// Points and partials after which a part of a flush is handed on: enough to make the hand-over cheap, few enough that
/// the points of a million contexts are never held at once.
const PART: usize = 2_048;

/// A part of what an interval becomes.
#[derive(Debug, Default)]
pub struct Flush {
    /// Finished values.
    pub points: Vec<Point>,
    /// Values for the next tier.
    pub partials: Vec<Partial>,
    /// Statistics that no double can hold, such as the sum of two largest ones. They are in neither list.
    pub overflowed: u64,
}

impl Flush {
    fn len(&self) -> usize {
        self.points.len() + self.partials.len()
    }
}

/// Makes points and partials of values.
pub(crate) struct Publisher<'a, F> {
    publishing: &'a Publishing,
    quantiles: Vec<f64>,
    median: bool,
    stamp: Option<Stamp>,
    timestamp: i64,
    interval: Duration,
    flush: Flush,
    out: F,
}

impl<'a, F: FnMut(Flush)> Publisher<'a, F> {
    pub(crate) fn new(
        publishing: &'a Publishing,
        stamp: Option<Stamp>,
        timestamp: i64,
        interval: Duration,
        out: F,
    ) -> Self {
        let median = publishing.aggregates.contains(&Aggregate::Median);
        let quantiles = median.then_some(0.5).into_iter();
        let quantiles = quantiles.chain(publishing.percentiles.iter().map(|percentile| percentile.quantile)).collect();
        Self { publishing, quantiles, median, stamp, timestamp, interval, flush: Flush::default(), out }
    }

    pub(crate) fn counter(&mut self, Cell { value, named }: Cell<Counter>) {
        if value.samples == 0 {
            // No value fitted: a context of which nothing was observed is none.
            return;
        }
        let split = self.split(&named.context);
        self.whole(&named.context, split, PointKind::Count, value.total);
        self.forward(named, split, || PartialValue::Counter(value.total));
    }

    pub(crate) fn gauge(&mut self, Cell { value, named }: Cell<Gauge>) {
        let split = self.split(&named.context);
        self.whole(&named.context, split, PointKind::Gauge, value.last);
        self.forward(named, split, || PartialValue::Gauge(value.last));
    }

    pub(crate) fn set(&mut self, Cell { value, named }: Cell<Set>) {
        let split = self.split(&named.context);
        if split.aggregates != Covers::Nothing {
            self.whole(&named.context, split, PointKind::Gauge, value.members.estimate() as f64);
        }
        self.forward(named, split, || PartialValue::Set(value.members));
    }

    /// `joined`: another context publishes the percentiles.
    pub(crate) fn distribution(&mut self, Cell { named, mut value }: Cell<Distribution>, joined: bool) {
        if value.is_empty() {
            return;
        }
        let split = self.split(&named.context);
        match split.aggregates {
            Covers::Nothing => {}
            Covers::Own => self.aggregates(&named.context, &value.own()),
            Covers::All => self.aggregates(&named.context, &value.all()),
        }
        if split.percentiles && !joined {
            self.percentiles(&named.context, &mut value);
        }
        self.forward(named, split, || value.into_partial());
    }

    /// A counter or gauge at a second of its own.
    pub(crate) fn timed(&mut self, context: &Context, second: i64, value: f64) {
        let kind = if context.kind == Kind::Counter { PointKind::Count } else { PointKind::Gauge };
        let timestamp = std::mem::replace(&mut self.timestamp, second);
        self.point(context, "", kind, value);
        self.timestamp = timestamp;
    }

    /// Hands on the last part.
    pub(crate) fn end(mut self) {
        (self.out)(self.flush);
    }

    fn split(&mut self, context: &Context) -> Split {
        if self.flush.len() >= PART {
            (self.out)(std::mem::take(&mut self.flush));
        }
        split(context.kind, context.scope, self.publishing.forwards)
    }

    fn forward(&mut self, named: Arc<Named>, split: Split, value: impl FnOnce() -> PartialValue) {
        if split.forward {
            let context = Arc::try_unwrap(named).map_or_else(|named| named.context.clone(), |named| named.context);
            self.flush.partials.push(Partial { context, value: value(), stamp: self.stamp });
        }
    }

    fn whole(&mut self, context: &Context, split: Split, kind: PointKind, value: f64) {
        if split.aggregates != Covers::Nothing {
            self.point(context, "", kind, value);
        }
    }

    fn aggregates(&mut self, context: &Context, &Summary { count, sum, min, max, reciprocal_sum }: &Summary) {
        if count == 0.0 {
            return;
        }
        for aggregate in &self.publishing.aggregates {
            match aggregate {
                Aggregate::Min => self.point(context, ".min", PointKind::Gauge, min),
                Aggregate::Max => self.point(context, ".max", PointKind::Gauge, max),
                Aggregate::Avg => self.point(context, ".avg", PointKind::Gauge, sum / count),
                Aggregate::Count => self.point(context, ".count", PointKind::Count, count),
                Aggregate::Sum => self.point(context, ".sum", PointKind::Gauge, sum),
                Aggregate::Hmean => self.point(context, ".hmean", PointKind::Gauge, count / reciprocal_sum),
                Aggregate::Median => {}
            }
        }
    }

    fn percentiles(&mut self, context: &Context, distribution: &mut Distribution) {
        let quantiles = std::mem::take(&mut self.quantiles);
        let publishing = self.publishing;
        let suffixes = self.median.then_some(".median").into_iter();
        let suffixes = suffixes.chain(publishing.percentiles.iter().map(|percentile| percentile.suffix.as_str()));
        for (suffix, value) in suffixes.zip(distribution.quantiles(&quantiles)) {
            if let Some(value) = value {
                self.point(context, suffix, PointKind::Gauge, value);
            }
        }
        self.quantiles = quantiles;
    }

    /// Points are finite by contract: an overflow is left out and counted, as no sink could take it.
    fn point(&mut self, context: &Context, suffix: &str, kind: PointKind, value: f64) {
        if !value.is_finite() {
            self.flush.overflowed += 1;
            return;
        }
        let name = if suffix.is_empty() { Arc::clone(&context.name) } else { named(&context.name, suffix) };
        let (tags, timestamp, interval) = (context.tags.clone(), self.timestamp, self.interval);
        self.flush.points.push(Point { name, tags, kind, value, timestamp, interval });
    }
}

fn named(name: &str, suffix: &str) -> Arc<str> {
    let mut text = String::with_capacity(name.len() + suffix.len());
    text.push_str(name);
    text.push_str(suffix);
    text.into()
}
