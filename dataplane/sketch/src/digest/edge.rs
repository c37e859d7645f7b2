//! Edges: gaps between centroids that the values on both sides do not explain.

use super::Centroid;

/// Centroids on either side whose spacing is compared.
const WINDOW: usize = 5;

/// A gap is an edge when it is this many times the wider spacing.
const FACTOR: f64 = 20.0;

/// Where the values before and after the gap that follows `at` probably end and begin; `None` when it is no edge.
pub(super) fn after(centroids: &[Centroid], at: usize) -> Option<(f64, f64)> {
    let left = centroids.get((at + 1).checked_sub(WINDOW)?..=at)?;
    let right = centroids.get(at + 1..=at + WINDOW)?;
    let (here, next) = (left[WINDOW - 1], right[0]);
    let end = spacing(left) * here.weight / 2.0;
    let start = spacing(right) * next.weight / 2.0;
    (next.mean - here.mean > FACTOR * (end + start)).then_some((here.mean + end, next.mean - start))
}

/// Value per weight from the first centre to the last, without the widest gap: that one may be an edge itself.
fn spacing(window: &[Centroid]) -> f64 {
    let weight: f64 = window.iter().map(|centroid| centroid.weight).sum();
    let (first, last) = (window[0], window[WINDOW - 1]);
    let widest = window.windows(2).map(|pair| pair[1].mean - pair[0].mean).fold(0.0, f64::max);
    (last.mean - first.mean - widest) / (weight - (first.weight + last.weight) / 2.0)
}
