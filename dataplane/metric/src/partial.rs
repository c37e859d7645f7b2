//! Mergeable state of one context, on its way to the tier that publishes it.

use veneur_sketch::{HyperLogLog, RelativeSketch, TDigest};

use crate::{Context, Kind, Stamp};

/// What one instance knows of one context for one interval.
#[derive(Debug, Clone)]
pub struct Partial {
    /// Whose value this is.
    pub context: Context,
    /// The value so far.
    pub value: PartialValue,
    /// The interval it belongs to; `None` from an instance that does not stamp (the original, or an unaligned one).
    pub stamp: Option<Stamp>,
}

/// A value that merges with its like.
#[derive(Debug, Clone)]
pub enum PartialValue {
    /// Sum of increments.
    Counter(f64),
    /// Last value.
    Gauge(f64),
    /// Digest of a histogram or timer.
    Digest(TDigest),
    /// Bins of a histogram or timer whose quantiles have a bounded relative error. The original cannot read them.
    Relative(Box<RelativeSketch>),
    /// Registers of a set.
    Set(HyperLogLog),
}

impl PartialValue {
    /// Whether a value of this shape can belong to a context of `kind`.
    pub fn fits(&self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::Counter(_), Kind::Counter)
                | (Self::Gauge(_), Kind::Gauge)
                | (Self::Digest(_) | Self::Relative(_), Kind::Histogram | Kind::Timer)
                | (Self::Set(_), Kind::Set)
        )
    }
}
