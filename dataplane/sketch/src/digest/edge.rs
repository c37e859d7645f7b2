//! Edges: gaps between centroids that the values on neither side explain.
//!
//! Between two modes, or between two of the few values that occur at all, a centroid that stands for both sides would
//! answer with a value that nobody sent. Folding spares edges, and reading does not interpolate across them.

use super::{CAPACITY, Centroid};

/// Centroids on either side whose spacing is compared.
const WINDOW: usize = 5;

/// A gap is an edge when it is this many times what the spacing on its sides predicts.
const FACTOR: f64 = 20.0;

/// Where the values before and after the gap that follows `at` probably end and begin; `None` when it is no edge.
pub(super) fn after(centroids: &[Centroid], at: usize) -> Option<(f64, f64)> {
    let left = centroids.get((at + 1).checked_sub(WINDOW)?..)?.first_chunk()?;
    let right = centroids.get(at + 1..)?.first_chunk()?;
    sides(centroids[at], spacing(left), right[0], spacing(right))
}

/// For each centroid, whether the gap after it is an edge.
pub(super) fn all(centroids: &[Centroid]) -> [bool; CAPACITY] {
    let mut spacings = [0.0; CAPACITY];
    for (first, at) in spacings.iter_mut().enumerate() {
        let Some(window) = centroids.get(first..).and_then(<[_]>::first_chunk) else { break };
        *at = spacing(window);
    }
    let mut edges = [false; CAPACITY];
    for next in WINDOW..(centroids.len() + 1).saturating_sub(WINDOW) {
        let (before, after) = (centroids[next - 1], centroids[next]);
        edges[next - 1] = sides(before, spacings[next - WINDOW], after, spacings[next]).is_some();
    }
    edges
}

fn sides(before: Centroid, spacing_before: f64, after: Centroid, spacing_after: f64) -> Option<(f64, f64)> {
    let end = spacing_before * before.weight / 2.0;
    let start = spacing_after * after.weight / 2.0;
    (after.mean - before.mean > FACTOR * (end + start)).then_some((before.mean + end, after.mean - start))
}

/// Value per weight from the first centre to the last, without the widest gap: that one may be an edge itself.
fn spacing(window: &[Centroid; WINDOW]) -> f64 {
    let (first, last) = (window[0], window[WINDOW - 1]);
    let gap = |at: usize| window[at + 1].mean - window[at].mean;
    let widest = gap(0).max(gap(1)).max(gap(2).max(gap(3)));
    let between: f64 = window[1..WINDOW - 1].iter().map(|centroid| centroid.weight).sum();
    (last.mean - first.mean - widest) / (between + f64::midpoint(first.weight, last.weight))
}
