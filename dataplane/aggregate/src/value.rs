//! The state of one context within one interval.

use veneur_metric::{Kind, PartialValue, Sample, Value as Observed};
use veneur_sketch::{HyperLogLog, TDigest};

#[derive(Debug)]
pub(crate) enum Value {
    Counter(f64),
    Gauge(f64),
    Distribution(Distribution),
    Set(HyperLogLog),
}

/// A digest of everything, and what of it this instance sampled itself.
#[derive(Debug, Default)]
pub(crate) struct Distribution {
    pub(crate) digest: TDigest,
    /// `None` while every value in the digest is this instance's own, which is nearly always.
    own: Option<Box<Stats>>,
}

/// Aggregates that need no digest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stats {
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) reciprocal_sum: f64,
}

impl Value {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge(0.0),
            Kind::Histogram | Kind::Timer => Self::Distribution(Distribution::default()),
            Kind::Set => Self::Set(HyperLogLog::new()),
        }
    }

    /// Adds one observation; `false`, and unchanged, if it is not of this kind or not finite.
    pub(crate) fn insert(&mut self, sample: &Sample<'_>) -> bool {
        match (self, sample.value) {
            (Self::Counter(total), Observed::Number(value)) => {
                let more = *total + value / sample.rate;
                if more.is_finite() {
                    *total = more;
                }
                more.is_finite()
            }
            (Self::Gauge(last), Observed::Number(value)) => {
                *last = value;
                true
            }
            (Self::Distribution(distribution), Observed::Number(value)) => {
                distribution.insert(value, 1.0 / sample.rate)
            }
            (Self::Set(set), Observed::Member(member)) => {
                set.insert(member);
                true
            }
            _ => false,
        }
    }

    /// Merges another instance's value; `false`, and unchanged, if it is of another kind.
    pub(crate) fn merge(&mut self, partial: &PartialValue, keep_gauge: bool) -> bool {
        match (self, partial) {
            (Self::Counter(total), PartialValue::Counter(more)) => *total += more,
            (Self::Gauge(last), PartialValue::Gauge(value)) => {
                if !keep_gauge {
                    *last = *value;
                }
            }
            (Self::Distribution(distribution), PartialValue::Digest(digest)) => distribution.import(digest),
            (Self::Set(set), PartialValue::Set(other)) => set.merge(other),
            _ => return false,
        }
        true
    }

    /// Adds the state of the same context from another table of this instance.
    pub(crate) fn absorb(&mut self, other: Self) {
        match (self, other) {
            (Self::Counter(total), Self::Counter(more)) => *total += more,
            (Self::Gauge(last), Self::Gauge(value)) => *last = value,
            (Self::Distribution(mine), Self::Distribution(theirs)) => mine.absorb(&theirs),
            (Self::Set(set), Self::Set(other)) => set.merge(&other),
            _ => unreachable!("a context has one kind, and its kind decides the variant"),
        }
    }
}

impl Distribution {
    fn insert(&mut self, value: f64, weight: f64) -> bool {
        let taken = self.digest.insert(value, weight);
        if let (true, Some(own)) = (taken, &mut self.own) {
            own.insert(value, weight);
        }
        taken
    }

    fn import(&mut self, digest: &TDigest) {
        let own = self.own();
        self.own = Some(Box::new(own));
        self.digest.merge(digest);
    }

    fn absorb(&mut self, other: &Self) {
        if self.own.is_some() || other.own.is_some() {
            let mut own = self.own();
            own.add(&other.own());
            self.own = Some(Box::new(own));
        }
        self.digest.merge(&other.digest);
    }

    /// What this instance sampled itself.
    pub(crate) fn own(&self) -> Stats {
        self.own.as_deref().copied().unwrap_or_else(|| self.all())
    }

    /// Everything, imports included.
    pub(crate) fn all(&self) -> Stats {
        let digest = &self.digest;
        Stats {
            count: digest.count(),
            sum: digest.sum(),
            min: digest.min(),
            max: digest.max(),
            reciprocal_sum: digest.reciprocal_sum(),
        }
    }
}

impl Stats {
    fn insert(&mut self, value: f64, weight: f64) {
        let one = Self { count: weight, sum: value * weight, min: value, max: value, reciprocal_sum: weight / value };
        self.add(&one);
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.reciprocal_sum += other.reciprocal_sum;
    }
}
