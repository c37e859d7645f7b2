//! The identity of a time series.

use std::{fmt, sync::Arc};

use crate::Tags;

/// What a context measures. Histograms and timers behave alike but are separate key spaces, as in the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A sum of increments over the interval.
    Counter,
    /// The last value seen in the interval.
    Gauge,
    /// A distribution of values (`h` and `d` in DogStatsD).
    Histogram,
    /// A distribution of durations (`ms` in DogStatsD), in whatever unit the client used.
    Timer,
    /// The number of distinct members.
    Set,
}

impl Kind {
    /// The original's lower-case name: part of routing keys and of metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Timer => "timer",
            Self::Set => "set",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which tier publishes a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Scope {
    /// Counters and gauges are published where they arrive; distributions and sets are completed by the global tier.
    #[default]
    Mixed,
    /// Everything is published by the instance that received the samples.
    Local,
    /// Everything is published by the global tier.
    Global,
}

/// The identity of a time series: name, sorted tags, kind and scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Context {
    /// The name as the client wrote it; bytes that are not UTF-8 are replaced when the context is formed.
    pub name: Arc<str>,
    /// Sorted tags.
    pub tags: Tags,
    /// What is measured.
    pub kind: Kind,
    /// Who publishes it.
    pub scope: Scope,
}
