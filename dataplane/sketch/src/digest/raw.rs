//! Values of one weight as they came, eight bytes each: cheap to add, and exact.

use super::{Centroid, RAW_LIMIT};
use crate::totals::Totals;

/// How far a stated sum of reciprocals may be from that of the values, relative to it.
const RECIPROCAL_TOLERANCE: f64 = 1e-9;

/// A value, held as the integer that sorts as it does: negative numbers have their lower bits turned over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unit(i64);

impl Unit {
    pub(super) fn new(value: f64) -> Self {
        Self(Self::turned(value.to_bits().cast_signed()))
    }

    pub(super) fn value(self) -> f64 {
        f64::from_bits(Self::turned(self.0).cast_unsigned())
    }

    /// A number below `bound`, as good as random: the upper part of a product with 2^64 / φ (Knuth, volume 3, 6.4).
    fn scattered(self, bound: usize) -> usize {
        let part = self.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        usize::try_from(part).map_or(0, |part| (bound * part) >> 16)
    }

    /// Its own inverse.
    fn turned(bits: i64) -> i64 {
        bits ^ (bits >> 63).cast_unsigned().unbounded_shr(1).cast_signed()
    }
}

/// Values that memory is taken for at first: four to seven.
const FIRST: usize = 4;

/// Up to here memory doubles, from here on it grows by half.
const DOUBLES_TO: usize = 64;

/// Values in any order, in memory that grows by half at least. All weigh the same: 1 where nothing is sampled, and where
/// something is, mostly by one rate.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    units: Vec<Unit>,
    weight: f64,
}

impl Raw {
    pub(super) const EMPTY: Self = Self { units: Vec::new(), weight: 1.0 };

    /// The values that centroids of one weight stand for; `None` if they stand for others, as the facts beside them
    /// show.
    pub(super) fn of_centroids(centroids: &[Centroid], ends: (f64, f64), reciprocal_sum: f64) -> Option<Self> {
        let weight = centroids.first()?.weight;
        let mut raw = Self { units: Vec::new(), weight };
        if centroids.len() > RAW_LIMIT || !centroids.iter().all(|centroid| raw.weighs(centroid.weight)) {
            return None;
        }
        raw.units = centroids.iter().map(|centroid| Unit::new(centroid.mean)).collect();
        let units = raw.sort();
        let alike = (units.first()?.value(), units.last()?.value()) == (ends.0 + 0.0, ends.1 + 0.0);
        (alike && (is_one(weight) || raw.explains(reciprocal_sum))).then_some(raw)
    }

    /// Adds a value if it is of this weight and takes no memory.
    #[inline]
    pub(super) fn push_within_capacity(&mut self, value: f64, weight: f64) -> bool {
        let fits = self.has_place(weight);
        if fits {
            self.units.push(Unit::new(value));
        }
        fits
    }

    /// Whether a value of that weight can be added where there is memory already.
    #[inline]
    pub(super) fn has_place(&self, weight: f64) -> bool {
        self.weighs(weight) && self.units.len() < self.units.capacity()
    }

    /// Whether values of that weight can be added.
    pub(super) fn takes(&self, weight: f64) -> bool {
        self.units.is_empty() || self.weighs(weight)
    }

    /// Adds as many values as stay within `limit`, and returns the others. The weight has to be one that it
    /// [`takes`](Self::takes).
    pub(super) fn extend<'a>(&mut self, values: &'a [Unit], weight: f64, limit: usize) -> &'a [Unit] {
        self.weight = weight;
        let limit = self.limit(limit);
        let (fitting, others) = values.split_at(values.len().min(limit.saturating_sub(self.units.len())));
        let mut capacity = self.units.capacity();
        while let Some(first) = fitting.first()
            && capacity < self.units.len() + fitting.len()
        {
            capacity = next_capacity(capacity, limit, *first);
        }
        self.units.reserve_exact(capacity - self.units.len());
        self.units.extend_from_slice(fitting);
        others
    }

    /// Forgets all values, and keeps no more memory than `limit` of them take.
    pub(super) fn clear(&mut self, limit: usize) {
        self.units.clear();
        self.units.shrink_to(limit);
    }

    pub(super) fn sort(&mut self) -> &[Unit] {
        self.units.sort_unstable();
        &self.units
    }

    pub(super) fn units(&self) -> &[Unit] {
        &self.units
    }

    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    pub(super) fn count(&self) -> f64 {
        self.units.len() as f64 * self.weight
    }

    pub(super) fn values(&self) -> impl Iterator<Item = f64> + Clone {
        self.units.iter().map(|unit| unit.value())
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.units.capacity() * size_of::<Unit>()
    }

    /// Bytes that this value takes more, up to `limit`.
    pub(super) fn grows(&self, limit: usize, value: f64) -> usize {
        if self.units.len() < self.units.capacity() {
            return 0;
        }
        let capacity = self.units.capacity();
        next_capacity(capacity, self.limit(limit), Unit::new(value)).saturating_sub(capacity) * size_of::<Unit>()
    }

    /// How many values are kept before they are folded, of at most `most`.
    pub(super) fn limit(&self, most: usize) -> usize {
        most - self.share_of(most)
    }

    /// Up to an eighth, by the first value: the digests of an application's timers are fed in step, and must not fold all
    /// at once.
    fn share_of(&self, most: usize) -> usize {
        self.units.first().map_or(0, |first| first.scattered(most / 8))
    }

    #[expect(clippy::float_cmp, reason = "only the very same weight need not be kept beside each value")]
    fn weighs(&self, weight: f64) -> bool {
        weight == self.weight
    }

    fn explains(&self, reciprocal_sum: f64) -> bool {
        let mut totals = Totals::ZERO;
        totals.insert_all(self.values(), self.weight);
        let found = totals.summary(0.0).reciprocal_sum;
        found.total_cmp(&reciprocal_sum).is_eq() || (found - reciprocal_sum).abs() <= RECIPROCAL_TOLERANCE * found.abs()
    }
}

#[expect(clippy::float_cmp, reason = "of any other weight, several values may be the mean")]
fn is_one(weight: f64) -> bool {
    weight == 1.0
}

/// Never past what is used. The digests of an application's timers are fed in step, and must not all grow at once either:
/// `first`, the value that takes the first memory, decides how much that is.
fn next_capacity(capacity: usize, limit: usize, first: Unit) -> usize {
    let more = match capacity {
        0 => FIRST + first.scattered(FIRST),
        1..DOUBLES_TO => (2 * capacity).max(FIRST),
        _ => capacity + capacity / 2,
    };
    more.min(limit.max(FIRST))
}

#[cfg(test)]
mod tests {
    use super::Unit;

    #[test]
    fn units_sort_as_their_values_and_return_them() {
        let ascending = [f64::MIN, -1e9, -1.5, -5e-324, 0.0, 5e-324, 0.1, 1.0, 1e300, f64::MAX];
        let units = ascending.map(Unit::new);
        assert!(units.is_sorted_by(|a, b| a < b));
        assert!(units.iter().zip(ascending).all(|(unit, value)| unit.value().to_bits() == value.to_bits()));
    }
}
