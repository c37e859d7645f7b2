//! One observation, borrowed from the bytes it came in.

use std::num::NonZeroU64;

use crate::Kind;

/// One value that a client observed. Borrows from the datagram: nothing is allocated until its context is new.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Name, as sent: any bytes but `:`, `|` and newline, never empty.
    pub name: &'a [u8],
    /// The tag section as sent, without `#`: tags separated by `,`, unsorted, magic tags included.
    pub tags: &'a [u8],
    /// Whom the client says it is, as sent: the protocol's `c:`, `e:` and `card:` sections and whatever stands between
    /// them. Empty from most clients outside of containers.
    pub origin: &'a [u8],
    /// The observation.
    pub value: Value<'a>,
    /// Sample rate in (0, 1]: the observation stands for `1 / rate` of its like.
    pub rate: f64,
    /// Unix seconds at which the client says it observed this (protocol v1.3); mostly it says nothing.
    pub timestamp: Option<NonZeroU64>,
    /// What is measured.
    pub kind: Kind,
    /// Whether it stands on one line with the sample before it, and so differs from that in nothing but the value.
    pub packed: bool,
}

/// What was observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A finite number: counters, gauges, histograms, timers.
    Number(f64),
    /// A member of a set, as sent.
    Member(&'a [u8]),
}

impl Sample<'_> {
    /// A sample of nothing: fills a batch before its places are taken.
    pub const NONE: Self = Self {
        name: &[],
        tags: &[],
        origin: &[],
        value: Value::Number(0.0),
        rate: 1.0,
        timestamp: None,
        kind: Kind::Counter,
        packed: false,
    };
}
