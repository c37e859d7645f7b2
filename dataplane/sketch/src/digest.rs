//! A t-digest of weighted values: quantiles close to exact at the ends of a distribution, in bounded memory.
//!
//! Values of one weight are kept raw, eight bytes each, until they outgrow the digest; only then are neighbours folded
//! into centroids, the finer the nearer to either end. Values of several weights are centroids from the start. Totals
//! are kept beside the centroids, so folding never costs count, sum or extremes. What goes on the wire are the
//! original's centroids: any receiver of its kind may add them to its own.
//!
//! Rank errors, over 12,000 random groupings of 10,000 values: at p50 0.02 % in the middle, 0.10 % for 99 of 100, at
//! worst 0.20 %; at p99 and p99.9 at worst 0.11 % and 0.05 %. Up to 1,120 values of one weight are exact, and 640 of
//! several. Encoding anew on every tier of many costs some of that: up to 0.32 % at a median that lies between two far
//! modes.
//!
//! Deterministic: one sequence of calls, one digest. No part of it depends on the order of equal values.

mod compress;
mod edge;
mod folded;
mod quantile;
mod raw;

use crate::totals::{Summary, Totals};
use compress::Grain;
use folded::Folded;
use raw::{Raw, Unit};

/// Centroids that a digest of weighted values holds before it folds: 10 KiB, where the original's takes about 8.
const CAPACITY: usize = 640;

/// Raw values that a digest holds before it folds them into centroids: 10 KiB as well, or up to an eighth less, so that
/// digests which are fed in step do not fold at once.
const RAW_LIMIT: usize = 1_280;

/// Raw values that wait beside folded centroids: 11 KiB for both. More centroids would be finer than what is sent, and
/// fewer are coarser than the bars allow once digests were merged.
const RAW_BESIDE: usize = 512;

/// The heaviest weight accepted. A sample rate is a 32-bit float on the wire, so no weight passes 10^45; the bound
/// keeps squares and sums of weights finite.
pub(crate) const WEIGHT_LIMIT: f64 = 1e100;

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
    /// Values of one weight that no total knows yet.
    raw: Raw,
    /// Everything else.
    folded: Option<Box<Folded>>,
}

/// Why centroids from elsewhere were refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum DigestError {
    /// More centroids than any digest needs.
    #[error("digest has {0} centroids: at most {most} are accepted", most = TDigest::MOST_CENTROIDS)]
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

    /// Centroids that [`TDigest::from_centroids`] accepts. The original sends about 160.
    pub const MOST_CENTROIDS: usize = 10_000;

    /// An empty digest; allocates nothing.
    pub const fn new() -> Self {
        Self { raw: Raw::EMPTY, folded: None }
    }

    /// Adds `value` as observed `weight` times.
    ///
    /// False, and nothing changed, when the value is not finite or the weight not above 0 (and at most 10^100).
    #[inline]
    pub fn insert(&mut self, value: f64, weight: f64) -> bool {
        // One zero: -0 would sort apart from 0 and turn the sum of reciprocals into NaN.
        let value = value + 0.0;
        value.is_finite() && (self.raw.push_within_capacity(value, weight) || self.insert_with_growth(value, weight))
    }

    /// The bits of the value added last, if it is still kept as it came: reading them brings the place of the next one
    /// into the cache.
    #[inline]
    pub fn newest(&self) -> u64 {
        self.raw.units().last().map_or(0, |unit| unit.value().to_bits())
    }

    /// Adds all that `other` has seen. Count, sum and extremes are those of both; quantiles keep their bounds in any
    /// order and grouping.
    pub fn merge(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        if let Some(theirs) = &other.folded {
            let mine = self.weighted();
            mine.totals.merge(&theirs.totals);
            mine.blurred |= theirs.blurred;
            theirs.centroids().iter().for_each(|&centroid| mine.push(centroid));
        }
        self.extend(other.raw.units(), other.raw.weight());
    }

    /// Count, sum, extremes and sum of reciprocals, in one pass over what is not folded yet.
    ///
    /// The wire has no field for the sum: a digest from centroids sums mean · weight. Means are folded incrementally,
    /// one rounding each time, so this too stays within 1e-12.
    pub fn summary(&self) -> Summary {
        let mut totals = self.folded.as_ref().map_or(Totals::ZERO, |folded| folded.totals);
        totals.insert_all(self.raw.values(), self.raw.weight());
        totals.summary(self.count())
    }

    /// The weight of all values.
    pub fn count(&self) -> f64 {
        self.folded.as_ref().map_or(0.0, |folded| folded.count) + self.raw.count()
    }

    /// The sum of value · weight: see [`TDigest::summary`], which reads several at once.
    pub fn sum(&self) -> f64 {
        self.summary().sum
    }

    /// The least value, +∞ when empty.
    pub fn min(&self) -> f64 {
        self.summary().min
    }

    /// The greatest value, -∞ when empty.
    pub fn max(&self) -> f64 {
        self.summary().max
    }

    /// The sum of weight / value, for the harmonic mean. A value of 0 makes it infinite, and so it stays.
    pub fn reciprocal_sum(&self) -> f64 {
        self.summary().reciprocal_sum
    }

    /// Whether no value was ever added.
    pub fn is_empty(&self) -> bool {
        self.raw.units().is_empty() && self.folded.as_ref().is_none_or(|folded| folded.centroids().is_empty())
    }

    /// The value that a share `q` of the weight lies below; `None` when empty or `q` is outside [0, 1].
    ///
    /// Single values answer as the original does: each owns the range to the midpoints around it, uniformly.
    pub fn quantile(&mut self, q: f64) -> Option<f64> {
        self.quantiles(&[q]).next().flatten()
    }

    /// Several quantiles, for which values are sorted and folded once.
    pub fn quantiles(&mut self, qs: &[f64]) -> impl Iterator<Item = Option<f64>> {
        // Values that were never folded need no folding to be read, and are exact as long as they are left alone.
        if let Some(folded) = &mut self.folded
            && (folded.blurred || !self.raw.units().is_empty())
        {
            self.fold(&compress::SENT);
        }
        let units = self.raw.sort();
        let folded = self.folded.as_deref_mut().map(|folded| {
            folded.sort();
            &*folded
        });
        qs.iter().map(move |&q| match folded {
            _ if !(0.0..=1.0).contains(&q) => None,
            Some(folded) => quantile::of_centroids(folded, q),
            None => quantile::of_units(units, q),
        })
    }

    /// The compacted centroids, ascending by mean: what goes on the wire.
    pub fn centroids(&mut self) -> &[Centroid] {
        if !self.is_empty() {
            self.fold(&compress::SENT);
        }
        self.folded.as_ref().map_or(&[], |folded| folded.centroids())
    }

    /// The digest that a sender's centroids describe, in any order.
    ///
    /// Without centroids the digest is empty whatever the other fields say, as the original sends an untouched one.
    /// A mean just outside the extremes, by rounding, is moved onto them. A NaN sum of reciprocals, which values of
    /// 0 and -0 leave in the original, counts as infinite, which one zero gives. Of centroids of weight 1, which are
    /// values, it is computed anew.
    ///
    /// # Errors
    /// The first field that no digest can have.
    pub fn from_centroids(
        mut centroids: Vec<Centroid>,
        min: f64,
        max: f64,
        reciprocal_sum: f64,
    ) -> Result<Self, DigestError> {
        Self::check(&centroids, min, max)?;
        if centroids.is_empty() {
            return Ok(Self::new());
        }
        for Centroid { mean, .. } in &mut centroids {
            *mean = mean.clamp(min, max) + 0.0;
        }
        Ok(if let Some(raw) = Raw::of_centroids(&centroids, (min, max), reciprocal_sum) {
            Self { raw, folded: None }
        } else {
            let folded = Folded::of_centroids(centroids, min, max, reciprocal_sum);
            Self { raw: Raw::EMPTY, folded: Some(Box::new(folded)) }
        })
    }

    /// Whether [`from_centroids`](Self::from_centroids) would make a digest of these, without making it.
    ///
    /// # Errors
    /// The first field that no digest can have.
    pub fn check(centroids: &[Centroid], min: f64, max: f64) -> Result<(), DigestError> {
        if centroids.is_empty() {
            return Ok(());
        }
        if centroids.len() > Self::MOST_CENTROIDS {
            return Err(DigestError::TooMany(centroids.len()));
        }
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err(DigestError::Extremes { min, max });
        }
        let slack = MEAN_TOLERANCE * min.abs().max(max.abs());
        for (index, &Centroid { mean, weight }) in centroids.iter().enumerate() {
            if !mean.is_finite() {
                return Err(DigestError::Mean { index, mean });
            }
            if !(weight > 0.0 && weight <= WEIGHT_LIMIT) {
                return Err(DigestError::Weight { index, weight });
            }
            if mean < min - slack || mean > max + slack {
                return Err(DigestError::Outside { index, mean, min, max });
            }
        }
        Ok(())
    }

    /// Bytes held, on the heap and in place.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.raw.size_bytes() + self.folded.as_ref().map_or(0, |folded| folded.size_bytes())
    }

    /// Bytes by which a value of that weight would make this grow: 0 for most.
    #[inline]
    pub fn grows(&self, value: f64, weight: f64) -> usize {
        if self.raw.has_place(weight) { 0 } else { self.grows_by(value + 0.0, weight) }
    }

    fn grows_by(&self, value: f64, weight: f64) -> usize {
        let raw = self.raw.units().len();
        match &self.folded {
            Some(folded) if folded.weighted => folded.grows(),
            Some(_) if self.raw.takes(weight) => self.raw.grows(RAW_BESIDE, value),
            None if self.raw.takes(weight) && raw < self.raw.limit(RAW_LIMIT) => self.raw.grows(RAW_LIMIT, value),
            // Raw values become centroids of twice the size, and leave.
            _ => {
                let held = self.folded.as_ref().map_or(0, |folded| folded.size_bytes());
                let (beside, centroids) =
                    if self.raw.takes(weight) { (RAW_BESIDE, compress::HELD.kept) } else { (0, CAPACITY) };
                let folded = size_of::<Folded>() + centroids * size_of::<Centroid>() + beside * size_of::<Unit>();
                folded.saturating_sub(self.raw.size_bytes() + held)
            }
        }
    }

    #[cold]
    fn insert_with_growth(&mut self, value: f64, weight: f64) -> bool {
        let accepted = weight > 0.0 && weight <= WEIGHT_LIMIT;
        if accepted {
            self.extend(&[Unit::new(value)], weight);
        }
        accepted
    }

    /// Adds values of one weight.
    fn extend(&mut self, mut units: &[Unit], weight: f64) {
        if !self.raw.takes(weight) || self.folded.as_ref().is_some_and(|folded| folded.weighted) {
            self.weighted().insert_units(units, weight);
            return;
        }
        loop {
            units = self.raw.extend(units, weight, if self.folded.is_none() { RAW_LIMIT } else { RAW_BESIDE });
            if units.is_empty() {
                return;
            }
            self.fold(&compress::HELD);
        }
    }

    /// Makes room for centroids, which raw values have to join.
    fn weighted(&mut self) -> &mut Folded {
        let folded = self.folded.get_or_insert_with(|| Box::new(Folded::EMPTY));
        if !folded.weighted {
            folded.weighted = true;
            let weight = self.raw.weight();
            folded.insert_units(self.raw.sort(), weight);
            self.raw.clear(0);
        }
        folded
    }

    fn fold(&mut self, grain: &Grain) {
        let folded = self.folded.get_or_insert_with(|| Box::new(Folded::EMPTY));
        let weight = self.raw.weight();
        folded.fold(self.raw.sort(), weight, grain);
        self.raw.clear(RAW_BESIDE);
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
        let sent = |digest: &Self| {
            let Summary { min, max, reciprocal_sum, .. } = digest.summary();
            (digest.clone().centroids().to_vec(), min, max, reciprocal_sum)
        };
        sent(self) == sent(other)
    }
}
