//! Edges: gaps between centroids that the values on neither side explain.
//!
//! Between two modes, or between two of the few values that occur at all, a centroid that stands for both sides would
//! answer with a value that nobody sent. Folding spares edges, and reading does not interpolate across them.

use super::Centroid;

/// Centroids on either side whose spacing is compared.
const WINDOW: usize = 5;

/// A gap is an edge when it is this many times what the spacing on its sides predicts.
const FACTOR: f64 = 20.0;

/// Where the values before and after the gap that follows `at` probably end and begin; `None` when it is no edge.
pub(super) fn after(centroids: &[Centroid], at: usize) -> Option<(f64, f64)> {
    let spacing = |window: &[Centroid; WINDOW]| spacing(window.map(|one| one.mean), window.map(|one| one.weight));
    let left = centroids.get((at + 1).checked_sub(WINDOW)?..)?.first_chunk()?;
    let right = centroids.get(at + 1..)?.first_chunk()?;
    let (before, after) = (centroids[at], right[0]);
    let end = spacing(left) * before.weight / 2.0;
    let start = spacing(right) * after.weight / 2.0;
    is_edge(after.mean - before.mean, end, start).then_some((before.mean + end, after.mean - start))
}

/// The centroids that an edge follows, ascending.
pub(super) fn all(means: &[f64], weights: &[f64]) -> Vec<usize> {
    if means.len() < 2 * WINDOW {
        return Vec::new();
    }
    let windows = means.array_windows().zip(weights.array_windows());
    let spacings: Vec<f64> = windows.map(|(&means, &weights)| spacing(means, weights)).collect();
    let gaps = means[WINDOW - 1..].array_windows::<2>().zip(weights[WINDOW - 1..].array_windows::<2>());
    let sides = spacings.iter().zip(&spacings[WINDOW..]);
    // Comparing comes first and alone, so that the processor can do several at a time.
    let edges: Vec<bool> = gaps
        .zip(sides)
        .map(|((&[before, after], &[ends, starts]), (left, right))| {
            is_edge(after - before, left * ends / 2.0, right * starts / 2.0)
        })
        .collect();
    (WINDOW - 1..).zip(edges).filter_map(|(at, edge)| edge.then_some(at)).collect()
}

fn is_edge(gap: f64, end: f64, start: f64) -> bool {
    gap > FACTOR * (end + start)
}

/// Value per weight from the first centre to the last, without the widest gap: that one may be an edge itself.
fn spacing(means: [f64; WINDOW], weights: [f64; WINDOW]) -> f64 {
    let gap = |at: usize| means[at + 1] - means[at];
    let widest = larger(larger(gap(0), gap(1)), larger(gap(2), gap(3)));
    let weight = weights[1] + weights[2] + weights[3] + (weights[0] + weights[4]) * 0.5;
    (means[WINDOW - 1] - means[0] - widest) / weight
}

/// Without the care for NaN that keeps the processor from comparing several at a time.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}
