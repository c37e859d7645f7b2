//! A t-digest of weighted values: quantiles close to exact at the ends of a distribution, in bounded memory.
//!
//! Values are kept as they came until the buffer is full; only then are neighbours folded into centroids, the finer
//! the nearer to either end. Sums are kept beside the centroids, so folding never costs count, sum or extremes.
//! What goes on the wire are the original's centroids: any receiver of its kind may add them to its own.
//!
//! Rank errors, over 12,000 random groupings of 10,000 values: at p50 0.02 % in the middle, 0.08 % for 99 of 100, at
//! worst 0.20 %; at p99 and p99.9 at worst 0.10 % and 0.04 %. Up to 640 values are exact. Encoding anew on every tier
//! of many costs some of that: up to 0.32 % at a median that lies between two far modes.
//!
//! Deterministic: one sequence of calls, one digest. No part of it depends on the order of equal values.

mod compress;
mod edge;
mod quantile;
mod sum;

use compress::Grain;
use sum::Sum;

/// Values or centroids that a digest holds before it folds: 10 KiB, where the original's digest takes about 8.
const CAPACITY: usize = 640;

/// Centroids that [`TDigest::from_centroids`] accepts. The original sends about 160.
const CENTROIDS_LIMIT: usize = 10_000;

/// The heaviest weight accepted. A sample rate is a 32-bit float on the wire, so no weight passes 10^45; the bound
/// keeps squares and sums of weights finite.
const WEIGHT_LIMIT: f64 = 1e100;

/// How far outside [min, max], relative to the larger of the two, rounding may have carried a sender's mean.
const MEAN_TOLERANCE: f64 = 1e-9;

/// A value, or several neighbouring ones as their mean, and the weight of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Centroid {
    /// The weighted mean of the values.
    pub mean: f64,
    /// The number of observations they stand for: 1 / sample rate each.
    pub weight: f64,
}

/// A mergeable summary of weighted values.
#[derive(Debug, Clone)]
pub struct TDigest {
    /// The first `sorted` ascend by mean; the rest are as they came.
    centroids: Vec<Centroid>,
    sorted: usize,
    /// Whether some centroid may stand for different values.
    folded: bool,
    count: f64,
    sum: Sum,
    reciprocal_sum: f64,
    min: f64,
    max: f64,
}

/// Why centroids from elsewhere were refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum DigestError {
    /// More centroids than any digest needs.
    #[error("digest has {0} centroids: at most {CENTROIDS_LIMIT} are accepted")]
    TooMany(usize),
    /// A mean that is NaN or infinite.
    #[error("digest's centroid {index} has mean {mean}: it must be finite")]
    Mean {
        /// Position in the list given.
        index: usize,
        /// The offending mean.
        mean: f64,
    },
    /// A weight that is not a positive number.
    #[error("digest's centroid {index} has weight {weight}: it must be above 0 and at most {WEIGHT_LIMIT:e}")]
    Weight {
        /// Position in the list given.
        index: usize,
        /// The offending weight.
        weight: f64,
    },
    /// Extremes that are not finite or not in order.
    #[error("digest has minimum {min} and maximum {max}: both must be finite and in order")]
    Extremes {
        /// The minimum given.
        min: f64,
        /// The maximum given.
        max: f64,
    },
    /// A mean that the extremes exclude.
    #[error("digest's centroid {index} has mean {mean}, outside its extremes {min} and {max}")]
    Outside {
        /// Position in the list given.
        index: usize,
        /// The offending mean.
        mean: f64,
        /// The minimum given.
        min: f64,
        /// The maximum given.
        max: f64,
    },
}

impl TDigest {
    /// The compression that the wire states: the original's own, hard-coded there.
    pub const COMPRESSION: f64 = 100.0;

    /// An empty digest; allocates nothing.
    pub const fn new() -> Self {
        Self {
            centroids: Vec::new(),
            sorted: 0,
            folded: false,
            count: 0.0,
            sum: Sum::ZERO,
            reciprocal_sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Adds `value` as observed `weight` times.
    ///
    /// False, and nothing changed, when the value is not finite or the weight not above 0 (and at most 10^100).
    pub fn insert(&mut self, value: f64, weight: f64) -> bool {
        let accepted = value.is_finite() && weight > 0.0 && weight <= WEIGHT_LIMIT;
        if accepted {
            // One zero: -0 would sort apart from 0 and turn the sum of reciprocals into NaN.
            let value = value + 0.0;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum.add(value * weight);
            self.add_reciprocal(weight / value);
            self.push(Centroid { mean: value, weight });
        }
        accepted
    }

    /// Adds all that `other` has seen. Count, sum and extremes are those of both; quantiles keep their bounds in any
    /// order and grouping.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum.merge(other.sum);
        self.add_reciprocal(other.reciprocal_sum);
        self.folded |= other.folded;
        other.centroids.iter().for_each(|&centroid| self.push(centroid));
    }

    /// The weight of all values: exact for integer weights below 2^53.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// The sum of value · weight, within 1e-12 of the sum of |value · weight|.
    ///
    /// The wire has no such field: a digest from centroids sums mean · weight. Means are folded incrementally, one
    /// rounding each time, so this too stays within 1e-12.
    pub fn sum(&self) -> f64 {
        self.sum.value()
    }

    /// The least value, +∞ when empty.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The greatest value, -∞ when empty.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The sum of weight / value, for the harmonic mean. A value of 0 makes it infinite, and so it stays.
    pub fn reciprocal_sum(&self) -> f64 {
        self.reciprocal_sum
    }

    /// Whether no value was ever added.
    pub fn is_empty(&self) -> bool {
        self.centroids.is_empty()
    }

    /// The value that a share `q` of the weight lies below; `None` when empty or `q` is outside [0, 1].
    ///
    /// Single values answer as the original does: each owns the range to the midpoints around it, uniformly.
    pub fn quantile(&mut self, q: f64) -> Option<f64> {
        if self.is_empty() || !(0.0..=1.0).contains(&q) {
            return None;
        }
        // Values that were never folded need no folding to be read, and are exact as long as they are left alone.
        if self.folded {
            self.compact(&compress::SENT);
        } else {
            self.sort();
        }
        if q >= 1.0 {
            // Not left to rounding: weights may add up to a little less than the count.
            return Some(self.max);
        }
        Some(quantile::at(&self.centroids, q * self.count, (self.min, self.max), self.folded))
    }

    /// The compacted centroids, ascending by mean: what goes on the wire.
    pub fn centroids(&mut self) -> &[Centroid] {
        self.compact(&compress::SENT);
        &self.centroids
    }

    /// The digest that a sender's centroids describe, in any order.
    ///
    /// Without centroids the digest is empty whatever the other fields say, as the original sends an untouched one.
    /// A mean just outside the extremes, by rounding, is moved onto them. A NaN sum of reciprocals, which values of
    /// 0 and -0 leave in the original, counts as infinite, which one zero gives.
    ///
    /// # Errors
    /// The first field that no digest can have.
    pub fn from_centroids(
        mut centroids: Vec<Centroid>,
        min: f64,
        max: f64,
        reciprocal_sum: f64,
    ) -> Result<Self, DigestError> {
        let mut digest = Self::new();
        if centroids.is_empty() {
            return Ok(digest);
        }
        if centroids.len() > CENTROIDS_LIMIT {
            return Err(DigestError::TooMany(centroids.len()));
        }
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err(DigestError::Extremes { min, max });
        }
        let slack = MEAN_TOLERANCE * min.abs().max(max.abs());
        for (index, &mut Centroid { ref mut mean, weight }) in centroids.iter_mut().enumerate() {
            if !mean.is_finite() {
                return Err(DigestError::Mean { index, mean: *mean });
            }
            if !(weight > 0.0 && weight <= WEIGHT_LIMIT) {
                return Err(DigestError::Weight { index, weight });
            }
            if *mean < min - slack || *mean > max + slack {
                return Err(DigestError::Outside { index, mean: *mean, min, max });
            }
            *mean = mean.clamp(min, max) + 0.0;
        }
        digest.folded = centroids.iter().any(|centroid| centroid.weight.to_bits() != centroids[0].weight.to_bits());
        (digest.min, digest.max) = (min + 0.0, max + 0.0);
        digest.reciprocal_sum = if reciprocal_sum.is_nan() { f64::INFINITY } else { reciprocal_sum };
        compress::sort(&mut centroids, 0);
        for centroid in centroids {
            digest.sum.add(centroid.mean * centroid.weight);
            digest.push(centroid);
        }
        digest.sorted = if digest.sorted == 0 { digest.centroids.len() } else { digest.sorted };
        Ok(digest)
    }

    /// Bytes held, on the heap and in place.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.centroids.capacity() * size_of::<Centroid>()
    }

    fn push(&mut self, centroid: Centroid) {
        if self.centroids.len() == CAPACITY {
            self.compact(&compress::HELD);
        } else if self.centroids.len() == self.centroids.capacity() {
            // Doubling, but never past what is used.
            self.centroids.reserve_exact(self.centroids.len().max(4).min(CAPACITY - self.centroids.len()));
        }
        self.count += centroid.weight;
        self.centroids.push(centroid);
    }

    fn add_reciprocal(&mut self, reciprocal: f64) {
        // Infinities of both signs would cancel to NaN; the first stays.
        if self.reciprocal_sum.is_finite() {
            self.reciprocal_sum += reciprocal;
        }
    }

    fn sort(&mut self) {
        if self.sorted < self.centroids.len() {
            compress::sort(&mut self.centroids, self.sorted);
            self.sorted = self.centroids.len();
        }
    }

    fn compact(&mut self, grain: &Grain) {
        self.sort();
        self.folded |= compress::fold(&mut self.centroids, self.count, grain);
        self.sorted = self.centroids.len();
    }
}

impl Default for TDigest {
    fn default() -> Self {
        Self::new()
    }
}

/// From `start` to `end` by `part`. Two finite numbers may lie further apart than a number can say; weighing each then
/// avoids the infinity, at the price of a rounding that the usual form does not have where both are equal.
fn between(start: f64, end: f64, part: f64) -> f64 {
    let distance = end - start;
    if distance.is_finite() { start + distance * part } else { start * (1.0 - part) + end * part }
}

/// Equal when the wire would carry the same: count and sum follow from the centroids, up to rounding.
impl PartialEq for TDigest {
    fn eq(&self, other: &Self) -> bool {
        let extremes = |digest: &Self| (digest.min, digest.max, digest.reciprocal_sum);
        self.centroids == other.centroids && extremes(self) == extremes(other)
    }
}
