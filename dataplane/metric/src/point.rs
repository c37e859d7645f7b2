//! A finished value of a series, ready for a sink.

use std::{sync::Arc, time::Duration};

use crate::Tags;

/// One value of one series at one second.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Series name, statistic suffix included (`latency.99percentile`).
    pub name: Arc<str>,
    /// Sorted tags.
    pub tags: Tags,
    /// How a sink has to read the value.
    pub kind: PointKind,
    /// The value: a total over `interval` for a count, a state for a gauge. Always finite.
    pub value: f64,
    /// Unix seconds: the end of the interval, or the second of a flush between two boundaries.
    pub timestamp: i64,
    /// What the value covers; sinks that publish rates divide by it. Never zero.
    pub interval: Duration,
}

/// How a sink has to read a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointKind {
    /// A total over the interval.
    Count,
    /// A state at the timestamp.
    Gauge,
}
