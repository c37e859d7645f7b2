//! Folding: joins neighbouring centroids, as far as their place in the distribution allows.

use super::{CAPACITY, Centroid, edge};
use std::cmp::Ordering;

/// How coarse a fold may be.
pub(super) struct Grain {
    /// The share of the total that a centroid may weigh between the tails.
    share: f64,
    /// The centroids that may remain; the shares grow until that is so.
    kept: usize,
}

/// While values still come.
pub(super) const HELD: Grain = Grain { share: 0.0035, kept: 448 };

/// For the wire.
pub(super) const SENT: Grain = Grain { share: 0.005, kept: 320 };

/// Below this `q·(1−q)` (7 % from either end) centroids grow finer as its square root; in between, all weigh the same.
const TAIL: f64 = 0.065;

/// Centroids across an edge may weigh this many times less.
const ACROSS: f64 = 1e9;

/// By mean, then weight: what compares equal is equal, so no sort can tell orders of arrival apart.
pub(super) fn order(a: &Centroid, b: &Centroid) -> Ordering {
    a.mean.total_cmp(&b.mean).then_with(|| a.weight.total_cmp(&b.weight))
}

/// Joins neighbours of an ascending list; true when any were joined.
pub(super) fn fold(centroids: &mut Vec<Centroid>, total: f64, grain: &Grain) -> bool {
    let before = centroids.len();
    pass(centroids, total, grain.share, ACROSS);
    let (mut share, mut across) = (grain.share, ACROSS);
    while centroids.len() > grain.kept {
        if share < grain.share * 1.9 || across <= 1.0 { share *= 1.25; } else { across = 1.0; }
        pass(centroids, total, share, across);
    }
    centroids.len() < before
}

fn fits(weight: f64, below: f64, total: f64, share: f64) -> bool {
    let through = below + weight;
    let relative = weight / share;
    let scaled = relative * relative * TAIL;
    relative <= total && scaled <= below * (total - below) && scaled <= through * (total - through)
}

fn pass(centroids: &mut Vec<Centroid>, total: f64, share: f64, across: f64) {
    let mut edges = [false; CAPACITY];
    for (at, is_edge) in edges.iter_mut().enumerate().take(centroids.len()) {
        *is_edge = edge::after(centroids, at).is_some();
    }
    let Some(&first) = centroids.first() else { return };
    let (mut kept, mut below, mut open) = (0, 0.0, first);
    let stretch = |centroids: &[Centroid], from: usize| {
        let to = edges[from..centroids.len()].iter().position(|&e| e).map_or(centroids.len() - 1, |more| from + more);
        let weight: f64 = centroids[from..=to].iter().map(|c| c.weight).sum();
        if centroids[from].mean < centroids[to].mean { weight } else { f64::INFINITY }
    };
    let mut start = 0.0;
    let mut end = stretch(centroids, 0);
    for next in 1..centroids.len() {
        let here = centroids[next];
        let weight = open.weight + here.weight;
        let joined = if edges[next - 1] {
            start = below + open.weight;
            end = start + stretch(centroids, next);
            fits(weight, below, total, share) && (weight <= 8.2 * first.weight || across <= 1.0)
        } else {
            let scaled = weight / share; let scaled = scaled * scaled * NEAR;
            fits(weight, below, total, share) && (end.is_infinite() || across <= 1.0 ||
               ((start <= 0.0 || scaled <= (below - start) * total) && (end >= total || scaled <= (end - below - weight) * total)))
        };
        if joined {
            open.mean += (here.mean - open.mean) * (here.weight / weight);
            open.weight = weight;
        } else {
            centroids[kept] = open;
            below += open.weight;
            kept += 1;
            open = here;
        }
    }
    centroids[kept] = open;
    centroids.truncate(kept + 1);
}
const NEAR: f64 = TAIL / 16.0;
