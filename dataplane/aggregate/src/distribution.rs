//! The values of a histogram or timer within one interval.

use veneur_sketch::{Summary, TDigest};

/// A digest of everything, and what of it this instance sampled itself.
#[derive(Debug, Default)]
pub(crate) struct Distribution {
    pub(crate) digest: TDigest,
    /// `None` while every value in the digest is this instance's own, which is nearly always.
    own: Option<Box<Summary>>,
    pub(crate) samples: u32,
}

impl Distribution {
    /// Adds one observation; `false`, and unchanged, if the digest refuses it.
    #[inline]
    pub(crate) fn insert(&mut self, value: f64, weight: f64) -> bool {
        debug_assert!(self.own.is_none(), "samples come in before partials are merged");
        self.digest.insert(value, weight)
    }

    /// Merges what other instances sampled.
    pub(crate) fn import(&mut self, digest: &TDigest) {
        if self.own.is_none() {
            self.own = Some(Box::new(self.digest.summary()));
        }
        self.digest.merge(digest);
    }

    /// Adds the same context's state from another table of this instance.
    pub(crate) fn absorb(&mut self, other: Self) {
        if self.own.is_some() || other.own.is_some() {
            self.own = Some(Box::new(sum(&self.own(), &other.own())));
        }
        self.samples = self.samples.saturating_add(other.samples);
        self.digest.merge(&other.digest);
    }

    /// What this instance sampled itself.
    pub(crate) fn own(&self) -> Summary {
        self.own.as_deref().copied().unwrap_or_else(|| self.digest.summary())
    }
}

fn sum(one: &Summary, other: &Summary) -> Summary {
    Summary {
        count: one.count + other.count,
        sum: one.sum + other.sum,
        min: one.min.min(other.min),
        max: one.max.max(other.max),
        reciprocal_sum: one.reciprocal_sum + other.reciprocal_sum,
    }
}
