//! Values of weight 1 as they came, eight bytes each: cheap to add, and exact.

use super::{Centroid, RAW_LIMIT, is_one};

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

    /// Its own inverse.
    fn turned(bits: i64) -> i64 {
        bits ^ (bits >> 63).cast_unsigned().unbounded_shr(1).cast_signed()
    }
}

/// Values in any order, in memory that grows by doubling.
#[derive(Debug, Clone, Default)]
pub(super) struct Raw(Vec<Unit>);

impl Raw {
    pub(super) const EMPTY: Self = Self(Vec::new());

    /// The values that unfolded centroids stand for; `None` unless all weigh 1 and the extremes are theirs.
    pub(super) fn of_centroids(centroids: &[Centroid], min: f64, max: f64) -> Option<Self> {
        if centroids.len() > RAW_LIMIT || !centroids.iter().all(|centroid| is_one(centroid.weight)) {
            return None;
        }
        let mut raw = Self(centroids.iter().map(|centroid| Unit::new(centroid.mean)).collect());
        let units = raw.sort();
        (*units.first()? == Unit::new(min + 0.0) && *units.last()? == Unit::new(max + 0.0)).then_some(raw)
    }

    /// Adds a value if it takes no memory.
    pub(super) fn push_within_capacity(&mut self, value: f64) -> bool {
        let fits = self.0.len() < self.0.capacity();
        if fits {
            self.0.push(Unit::new(value));
        }
        fits
    }

    /// Adds as many of the values as stay within `limit`, and returns the others.
    pub(super) fn extend<'a>(&mut self, values: &'a [Unit], limit: usize) -> &'a [Unit] {
        let (fitting, others) = values.split_at(values.len().min(limit.saturating_sub(self.0.len())));
        let mut capacity = self.0.capacity();
        while capacity < self.0.len() + fitting.len() {
            capacity = next_capacity(capacity, limit);
        }
        self.0.reserve_exact(capacity - self.0.len());
        self.0.extend_from_slice(fitting);
        others
    }

    /// Forgets all values, and keeps no more memory than `limit` of them take.
    pub(super) fn clear(&mut self, limit: usize) {
        self.0.clear();
        self.0.shrink_to(limit);
    }

    pub(super) fn sort(&mut self) -> &[Unit] {
        // Stable, because that sort takes runs that ascend already as they are.
        self.0.sort();
        &self.0
    }

    pub(super) fn units(&self) -> &[Unit] {
        &self.0
    }

    pub(super) fn values(&self) -> impl ExactSizeIterator<Item = f64> + Clone {
        self.0.iter().map(|unit| unit.value())
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Unit>()
    }

    /// Bytes that one more value takes, up to `limit`.
    pub(super) fn grows(&self, limit: usize) -> usize {
        if self.0.len() < self.0.capacity() {
            return 0;
        }
        (next_capacity(self.0.capacity(), limit) - self.0.capacity()) * size_of::<Unit>()
    }
}

/// Doubling, but never past what is used.
pub(super) fn next_capacity(capacity: usize, limit: usize) -> usize {
    (2 * capacity).clamp(4, limit)
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
