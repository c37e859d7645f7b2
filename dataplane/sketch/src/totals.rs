//! What needs no sketch: count, sum, extremes and the sum of reciprocals, exact but for rounding.

mod sum;

use crate::Centroid;
use sum::Sum;

/// The aggregates of all values that a sketch has seen, read in one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The weight of all values: exact for integer weights below 2^53.
    pub count: f64,
    /// The sum of value · weight, within 1e-12 of the sum of |value · weight|.
    pub sum: f64,
    /// The least value, +∞ when empty.
    pub min: f64,
    /// The greatest value, -∞ when empty.
    pub max: f64,
    /// The sum of weight / value, for the harmonic mean. A value of 0 makes it +∞, and so it stays.
    pub reciprocal_sum: f64,
}

/// A running [`Summary`], but for the count, which sketches have to know anyway. Any order of the same values gives the same but for the last bit of a sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) min: f64,
    pub(crate) max: f64,
    sum: Sum,
    reciprocals: Sum,
}

impl Totals {
    pub(crate) const ZERO: Self =
        Self { min: f64::INFINITY, max: f64::NEG_INFINITY, sum: Sum::ZERO, reciprocals: Sum::ZERO };

    /// The totals of a sender's centroids, with the extremes and the sum of reciprocals that it states. NaN, which
    /// values of 0 and -0 leave in the original, counts as infinite.
    pub(crate) fn stated(centroids: &[Centroid], min: f64, max: f64, reciprocal_sum: f64) -> Self {
        let mut sum = Sum::ZERO;
        centroids.iter().for_each(|centroid| sum.add(centroid.mean * centroid.weight));
        let reciprocals = Sum::from(if reciprocal_sum.is_nan() { f64::INFINITY } else { reciprocal_sum });
        Self { min: min + 0.0, max: max + 0.0, sum, reciprocals }
    }

    /// The totals that a sender states, but for the count.
    pub(crate) fn of_summary(summary: &Summary) -> Self {
        let &Summary { min, max, sum, .. } = summary;
        Self { sum: Sum::from(sum), ..Self::stated(&[], min, max, summary.reciprocal_sum) }
    }

    pub(crate) fn insert(&mut self, value: f64, weight: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum.add(value * weight);
        self.add_reciprocal(weight / value);
    }

    /// Adds values of one weight, none of them -0.
    pub(crate) fn insert_all(&mut self, values: impl Iterator<Item = f64> + Clone, weight: f64) {
        let ends = |(min, max): (f64, f64), value| {
            (if value < min { value } else { min }, if value > max { value } else { max })
        };
        (self.min, self.max) = values.clone().fold((self.min, self.max), ends);
        let products = values.clone().map(|value| value * weight);
        if !self.sum.try_add_all(products.clone()) {
            products.for_each(|product| self.sum.add(product));
        }
        let reciprocals = values.map(|value| weight / value);
        if !self.reciprocals.try_add_all(reciprocals.clone()) {
            reciprocals.for_each(|reciprocal| self.add_reciprocal(reciprocal));
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum.merge(other.sum);
        if other.reciprocals.value().is_finite() {
            self.reciprocals.merge(other.reciprocals);
        } else {
            self.add_reciprocal(other.reciprocals.value());
        }
    }

    pub(crate) fn summary(&self, count: f64) -> Summary {
        let Self { min, max, sum, reciprocals } = *self;
        Summary { count, sum: sum.value(), min, max, reciprocal_sum: reciprocals.value() }
    }

    /// Infinities of both signs would cancel to NaN; the positive one, which every 0 gives, stays.
    fn add_reciprocal(&mut self, reciprocal: f64) {
        if reciprocal == f64::INFINITY {
            self.reciprocals = Sum::from(reciprocal);
        } else {
            self.reciprocals.add(reciprocal);
        }
    }
}
