//! A sketch of bounded relative error: every quantile is within 1 % of the value it stands for, however long the tail
//! (`DDSketch`: Masson, Rim and Lee 2019).
//!
//! Values are counted in bins whose borders grow by a factor of e^0.02, so that the middle of a bin is within
//! tanh 0.01, a little less than 1 %, of anything in it. Merging adds the counts of equal bins: exactly associative
//! and commutative for integer weights below 2^53, up to rounding for others.
//!
//! Memory is bounded by 2,048 bins for each sign, 16 KiB. They span a factor of e^40.96 = 6 · 10^17: as long as values
//! of one sign are within that factor of the largest of them, the bound holds for all. Smaller ones are counted in the
//! smallest bin left. Subnormal numbers, below 2.2 · 10^-308, count as zero.

mod bins;

use crate::digest::WEIGHT_LIMIT;
use crate::totals::{Summary, Totals};
use bins::Bins;

/// Bins for each factor of e.
const BINS_PER_E: f64 = 50.0;

/// The middle of a bin over its upper border, 2 / (1 + e^0.02): equally far from both borders, relative to each.
const MIDDLE: f64 = 0.990_000_333_320_000_4;

/// Bins that hold normal numbers.
const INDICES: std::ops::RangeInclusive<i32> = -35_420..=35_490;

/// A mergeable summary of weighted values, within 1 % at every quantile.
#[derive(Debug, Clone)]
pub struct RelativeSketch {
    positive: Bins,
    /// Of the values' magnitudes.
    negative: Bins,
    zero: f64,
    totals: Totals,
}

/// Why the parts of a sketch from elsewhere were refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RelativeError {
    /// More bins than a sketch has.
    #[error("sketch has more than {} bins of one sign: no sketch has", bins::LIMIT)]
    TooMany,
    /// A bin that holds no number.
    #[error("sketch has bin {0}, which holds no number")]
    Index(i32),
    /// A weight that is not a positive number.
    #[error("sketch has weight {0} in a bin: it must be above 0 and at most {WEIGHT_LIMIT:e}")]
    Weight(f64),
    /// Extremes that are not finite, not in order, or not in the outermost bins.
    #[error("sketch has minimum {min} and maximum {max}: both must be finite, in order, and in its outermost bins")]
    Extremes {
        /// The minimum given.
        min: f64,
        /// The maximum given.
        max: f64,
    },
}

impl RelativeSketch {
    /// An empty sketch; allocates nothing.
    pub const fn new() -> Self {
        Self { positive: Bins::EMPTY, negative: Bins::EMPTY, zero: 0.0, totals: Totals::ZERO }
    }

    /// Adds `value` as observed `weight` times.
    ///
    /// False, and nothing changed, when the value is not finite or the weight not above 0 (and at most 10^100).
    pub fn insert(&mut self, value: f64, weight: f64) -> bool {
        let accepted = value.is_finite() && weight > 0.0 && weight <= WEIGHT_LIMIT;
        if accepted {
            self.totals.insert(value + 0.0, weight);
            match index(value) {
                None => self.zero += weight,
                Some(index) if value > 0.0 => self.positive.add(index, weight),
                Some(index) => self.negative.add(index, weight),
            }
        }
        accepted
    }

    /// Adds all that `other` has seen, bin by bin.
    pub fn merge(&mut self, other: &Self) {
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        self.zero += other.zero;
        self.totals.merge(&other.totals);
    }

    /// Count, sum, extremes and sum of reciprocals of the values themselves, not of their bins.
    pub fn summary(&self) -> Summary {
        self.totals.summary(self.count())
    }

    /// The weight of all values: exact for integer weights below 2^53.
    pub fn count(&self) -> f64 {
        self.negative.count() + self.zero + self.positive.count()
    }

    /// Whether no value was ever added.
    pub fn is_empty(&self) -> bool {
        self.zero == 0.0 && self.positive.is_empty() && self.negative.is_empty()
    }

    /// The value that a share `q` of the weight lies at or below, within 1 %; `None` when empty or `q` is outside
    /// [0, 1]. The extremes are exact.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.quantiles(&[q]).next().flatten()
    }

    /// Several quantiles, for which the weight is counted once.
    pub fn quantiles(&self, qs: &[f64]) -> impl Iterator<Item = Option<f64>> {
        let count = self.count();
        qs.iter().map(move |&q| {
            if self.is_empty() || !(0.0..=1.0).contains(&q) {
                return None;
            }
            let value = match q {
                0.0 => self.totals.min,
                1.0 => self.totals.max,
                _ => self.at(q * count),
            };
            Some(value.clamp(self.totals.min, self.totals.max))
        })
    }

    /// The middle of the bin in which the weight from below reaches `target`.
    fn at(&self, target: f64) -> f64 {
        let negative = self.negative.iter().rev().map(|(index, weight)| (-middle(index), weight));
        let positive = self.positive.iter().map(|(index, weight)| (middle(index), weight));
        let mut below = 0.0;
        let mut ascending = negative.chain([(0.0, self.zero)]).chain(positive);
        let reached = ascending.find(|(_, weight)| {
            below += weight;
            below >= target && *weight > 0.0
        });
        // Rounding may leave the last bit of the count unreached.
        reached.map_or(self.totals.max, |(value, _)| value)
    }

    /// Bins of positive values that hold any, ascending, with their weights. Bin i holds values above e^(0.02·(i−1)),
    /// up to e^(0.02·i).
    pub fn positive(&self) -> impl Iterator<Item = (i32, f64)> {
        self.positive.iter()
    }

    /// Bins of negative values' magnitudes, likewise.
    pub fn negative(&self) -> impl Iterator<Item = (i32, f64)> {
        self.negative.iter()
    }

    /// The weight of zeros.
    pub fn zero(&self) -> f64 {
        self.zero
    }

    /// The sketch that a sender describes. Its count is that of the bins, whatever the summary says; a NaN sum of
    /// reciprocals counts as infinite.
    ///
    /// # Errors
    /// The first part that no sketch can have.
    pub fn from_parts(
        positive: impl IntoIterator<Item = (i32, f64)>,
        negative: impl IntoIterator<Item = (i32, f64)>,
        zero: f64,
        summary: &Summary,
    ) -> Result<Self, RelativeError> {
        if zero != 0.0 {
            weight(zero)?;
        }
        let (positive, negative) = (bins(positive)?, bins(negative)?);
        let &Summary { min, max, .. } = summary;
        let mut sketch = Self { positive, negative, zero, totals: Totals::ZERO };
        if sketch.is_empty() {
            return Ok(sketch);
        }
        let outermost = |bins: &Bins, extreme: f64| {
            // Logarithms of other machines may differ in the last bit, and so put a border into the next bin.
            bins.last().is_none_or(|last| index(extreme).is_some_and(|index| index.abs_diff(last) <= 1))
        };
        let ordered = min.is_finite() && max.is_finite() && min <= max;
        let signed = (sketch.negative.is_empty() || min < 0.0) && (sketch.positive.is_empty() || max > 0.0);
        if !(ordered && signed && outermost(&sketch.positive, max) && outermost(&sketch.negative, min)) {
            return Err(RelativeError::Extremes { min, max });
        }
        sketch.totals = Totals::of_summary(summary);
        Ok(sketch)
    }

    /// Bytes held, on the heap and in place.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.positive.size_bytes() + self.negative.size_bytes()
    }

    /// Bytes by which adding `value` would make this grow: 0 for most.
    pub fn grows(&self, value: f64) -> usize {
        let bins = if value > 0.0 { &self.positive } else { &self.negative };
        index(value).filter(|_| value.is_finite()).map_or(0, |index| bins.grows(index))
    }
}

impl Default for RelativeSketch {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal when the wire would carry the same.
impl PartialEq for RelativeSketch {
    fn eq(&self, other: &Self) -> bool {
        let sent = |sketch: &Self| (sketch.zero, sketch.summary());
        sent(self) == sent(other) && self.positive().eq(other.positive()) && self.negative().eq(other.negative())
    }
}

/// The bin of a magnitude; `None` for what counts as zero.
#[expect(clippy::cast_possible_truncation, reason = "logarithms of finite numbers are below 710")]
fn index(value: f64) -> Option<i32> {
    (value.abs() >= f64::MIN_POSITIVE).then(|| (value.abs().ln() * BINS_PER_E).ceil() as i32)
}

fn middle(index: i32) -> f64 {
    (f64::from(index) / BINS_PER_E).exp() * MIDDLE
}

fn weight(weight: f64) -> Result<f64, RelativeError> {
    if weight > 0.0 && weight <= WEIGHT_LIMIT { Ok(weight) } else { Err(RelativeError::Weight(weight)) }
}

fn bins(pairs: impl IntoIterator<Item = (i32, f64)>) -> Result<Bins, RelativeError> {
    let mut bins = Bins::EMPTY;
    for (count, (index, given)) in pairs.into_iter().enumerate() {
        if count == bins::LIMIT {
            return Err(RelativeError::TooMany);
        }
        if !INDICES.contains(&index) {
            return Err(RelativeError::Index(index));
        }
        bins.add(index, weight(given)?);
    }
    Ok(bins)
}

#[cfg(test)]
mod tests {
    use super::{INDICES, MIDDLE, index, middle};

    #[test]
    fn every_normal_number_has_a_bin_and_is_near_its_middle() {
        assert!((MIDDLE - 2.0 / (1.0 + 0.02_f64.exp())).abs() < 1e-15);
        for step in -30_700..=30_800 {
            let value = 10_f64.powf(f64::from(step) / 100.0).clamp(f64::MIN_POSITIVE, f64::MAX);
            let index = index(value).expect("not zero");
            assert!(INDICES.contains(&index), "{value}");
            let middle = middle(index).min(f64::MAX);
            assert!((middle - value).abs() <= 0.01 * value, "{value}: {middle}");
        }
        assert_eq!(index(0.0).or(index(f64::MIN_POSITIVE / 2.0)), None);
    }
}
