//! Reading a quantile from centroids.

use super::{Centroid, Folded, between, edge, raw::Unit};

/// The value that a share `q` of ascending values lies below, as the original answers; `None` without values.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, from a share of the length")]
pub(super) fn of_units(units: &[Unit], q: f64) -> Option<f64> {
    let last = units.len().checked_sub(1)?;
    let target = q * units.len() as f64;
    let index = (target.ceil() as usize).saturating_sub(1).min(last);
    let value = |index: usize| units[index].value();
    let border = |at: usize| between(value(at), value(at + 1), 0.5);
    let low = if index == 0 { value(0) } else { border(index - 1) };
    let high = if index == last { value(last) } else { border(index) };
    Some(between(low, high, target - index as f64).clamp(value(0), value(last)))
}

/// The same of centroids. If none of them stands for several values, the answers are the original's.
pub(super) fn of_centroids(folded: &Folded, q: f64) -> Option<f64> {
    let (centroids, totals) = (folded.centroids(), &folded.totals);
    if q >= 1.0 || centroids.is_empty() {
        // Not left to rounding: weights may add up to a little less than the count.
        return (!centroids.is_empty()).then_some(totals.max);
    }
    Some(at(centroids, q * folded.count, (totals.min, totals.max), folded.blurred))
}

/// The value that weight `target` lies below, of an ascending and not empty list.
///
/// Each centroid owns a range of values, up to borders that it shares with its neighbours.
fn at(centroids: &[Centroid], target: f64, (min, max): (f64, f64), blurred: bool) -> f64 {
    let last = centroids.len() - 1;
    let (mut index, mut below) = (0, 0.0);
    while index < last && target > below + centroids[index].weight {
        below += centroids[index].weight;
        index += 1;
    }
    let here = centroids[index];
    let low = if index == 0 { min } else { border(centroids, index - 1, blurred).1 };
    let high = if index == last { max } else { border(centroids, index, blurred).0 };
    let part = ((target - below) / here.weight).clamp(0.0, 1.0);
    let value = if !blurred || here.weight <= 1.0 {
        between(low, high, part)
    } else if repeats(centroids, index) {
        here.mean
    } else {
        within(here.mean, low, high, part)
    };
    value.clamp(min, max)
}

/// Where the centroid at `at` ends and the next begins: one value, except at an edge.
///
/// Between them the distance is shared by weight, as if values were spaced evenly: half of a heavy centroid reaches
/// further than a single value does. For equal weights this is the original's midpoint.
fn border(centroids: &[Centroid], at: usize, blurred: bool) -> (f64, f64) {
    let (here, next) = (centroids[at], centroids[at + 1]);
    let sides = if blurred { edge::after(centroids, at) } else { None };
    sides.unwrap_or_else(|| {
        let shared = between(here.mean, next.mean, here.weight / (here.weight + next.weight));
        (shared, shared)
    })
}

/// Whether a neighbour has the very same mean: both then stand for one value that occurs often.
fn repeats(centroids: &[Centroid], index: usize) -> bool {
    let same =
        |other: Option<&Centroid>| other.is_some_and(|other| other.mean.to_bits() == centroids[index].mean.to_bits());
    same(centroids.get(index + 1)) || same(index.checked_sub(1).and_then(|before| centroids.get(before)))
}

/// Two even halves about the median that makes the centroid's mean come out right: `(low + 2·median + high) / 4`.
fn within(mean: f64, low: f64, high: f64, part: f64) -> f64 {
    let median = (mean + (mean - f64::midpoint(low, high))).clamp(low, high);
    if part < 0.5 { between(low, median, 2.0 * part) } else { between(median, high, 2.0 * part - 1.0) }
}
