//! Weighted values and centroids, and the totals of all that they stand for.

use super::{CAPACITY, Centroid, compress, compress::Grain, raw::Unit};
use crate::totals::Totals;

/// What a digest holds besides raw values.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    /// The first `sorted` ascend by mean; the rest are as they came.
    centroids: Vec<Centroid>,
    sorted: usize,
    /// Whether some centroid may stand for different values.
    pub(super) blurred: bool,
    /// Whether nothing came since the last fold by [`compress::SENT`].
    settled: bool,
    /// Whether weighted values wait here, so that raw ones have to, too.
    pub(super) weighted: bool,
    /// The weight of all centroids.
    pub(super) count: f64,
    pub(super) totals: Totals,
}

impl Folded {
    pub(super) const EMPTY: Self = Self {
        centroids: Vec::new(),
        sorted: 0,
        blurred: false,
        settled: false,
        weighted: false,
        count: 0.0,
        totals: Totals::ZERO,
    };

    /// A sender's centroids, with the extremes and the sum of reciprocals that it states.
    pub(super) fn of_centroids(mut centroids: Vec<Centroid>, min: f64, max: f64, reciprocal_sum: f64) -> Self {
        compress::sort(&mut centroids);
        let blurred = centroids.iter().any(|centroid| centroid.weight.to_bits() != centroids[0].weight.to_bits());
        let totals = Totals::stated(&centroids, min, max, reciprocal_sum);
        let mut folded = Self { blurred, weighted: true, totals, ..Self::EMPTY };
        if centroids.len() <= CAPACITY {
            folded.count = centroids.iter().map(|centroid| centroid.weight).sum();
            folded.sorted = centroids.len();
            folded.centroids = centroids;
        } else {
            centroids.into_iter().for_each(|centroid| folded.push(centroid));
        }
        folded
    }

    pub(super) fn centroids(&self) -> &[Centroid] {
        &self.centroids
    }

    /// Adds a centroid whose values are in the totals already.
    pub(super) fn push(&mut self, centroid: Centroid) {
        if self.centroids.len() == CAPACITY {
            self.fold(&[], 1.0, &compress::HELD);
        }
        if self.centroids.len() == self.centroids.capacity() {
            self.reserve(next_capacity(self.centroids.capacity()));
        }
        self.settled = false;
        self.count += centroid.weight;
        self.centroids.push(centroid);
    }

    /// Adds values of one weight.
    pub(super) fn insert_units(&mut self, units: &[Unit], weight: f64) {
        self.totals.insert_all(units.iter().map(|unit| unit.value()), weight);
        units.iter().for_each(|unit| self.push(Centroid { mean: unit.value(), weight }));
    }

    /// Sorts what came since the last time.
    pub(super) fn sort(&mut self) -> &[Centroid] {
        if self.sorted < self.centroids.len() {
            compress::sort(&mut self.centroids);
            self.sorted = self.centroids.len();
        }
        &self.centroids
    }

    /// Takes ascending values of one weight in, and joins neighbours.
    pub(super) fn fold(&mut self, units: &[Unit], weight: f64, grain: &Grain) {
        if self.settled && units.is_empty() {
            return;
        }
        self.sort();
        self.totals.insert_all(units.iter().map(|unit| unit.value()), weight);
        self.count += units.len() as f64 * weight;
        let mut columns = compress::Columns::merged(units, weight, &self.centroids);
        self.blurred |= columns.fold(self.count, grain);
        if self.centroids.capacity() < columns.len() {
            self.reserve(if columns.len() > grain.kept / 2 { grain.kept } else { columns.len() });
        }
        self.centroids.clear();
        self.centroids.extend(columns.centroids());
        self.sorted = self.centroids.len();
        self.settled = grain.sent;
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.centroids.capacity() * size_of::<Centroid>()
    }

    /// Bytes that one more centroid takes.
    pub(super) fn grows(&self) -> usize {
        let capacity = self.centroids.capacity();
        if self.centroids.len() < capacity || capacity >= CAPACITY {
            return 0;
        }
        (next_capacity(capacity) - capacity) * size_of::<Centroid>()
    }

    fn reserve(&mut self, capacity: usize) {
        self.centroids.reserve_exact(capacity - self.centroids.len());
    }
}

/// Doubling, but never past what is used.
fn next_capacity(capacity: usize) -> usize {
    (2 * capacity).clamp(4, CAPACITY)
}
