//! Folding: joins neighbouring centroids, as far as their place in the distribution allows.

use super::{CAPACITY, Centroid, between, edge};
use std::cmp::Ordering;

/// How coarse a fold may be.
pub(super) struct Grain {
    /// The share of the total that a centroid may weigh between the tails.
    share: f64,
    /// The centroids that may remain; the share grows until that is so.
    kept: usize,
}

/// While values still come: finer than what is sent, so that the last fold joins centroids of even weight.
pub(super) const HELD: Grain = Grain { share: 0.0035, kept: 448 };

/// To be read or sent: at most about twice the centroids of the original.
pub(super) const SENT: Grain = Grain { share: 0.005, kept: 320 };

/// Below this `q·(1−q)`, 7 % from either end, centroids grow finer as its square root: the original's scale function
/// `asin(2q−1)`, which spends centroids where high quantiles are read. In between, all may weigh the same.
const TAIL: f64 = 0.065;

/// The same towards an edge inside the distribution, over a sixteenth of the range.
const NEAR_EDGE: f64 = TAIL / 16.0;

/// A centroid across an edge may weigh this many times less. Not zero, because chance has edges too while values are
/// few: measured, 16 keeps real edges, and 32 already lets false ones use up the centroids.
const ACROSS: f64 = 16.0;

/// Sorts a list whose first `sorted` centroids ascend already.
pub(super) fn sort(centroids: &mut [Centroid], sorted: usize) {
    let (_, unsorted) = centroids.split_at_mut(sorted);
    unsorted.sort_unstable_by(order);
    // A stable sort takes the two ascending runs as they are, and merges them.
    centroids.sort_by(order);
}

/// By mean, then weight: what compares equal is equal, so no sort can tell orders of arrival apart.
fn order(a: &Centroid, b: &Centroid) -> Ordering {
    a.mean.total_cmp(&b.mean).then_with(|| a.weight.total_cmp(&b.weight))
}

/// Joins neighbours of an ascending list; true when any were joined.
pub(super) fn fold(centroids: &mut Vec<Centroid>, total: f64, grain: &Grain) -> bool {
    let before = centroids.len();
    let (mut share, mut edges_count) = (grain.share, true);
    Limits::new(total, share).pass(centroids, edges_count);
    while centroids.len() > grain.kept {
        // Twice the share at most before edges are given up: with edges everywhere, no edge is worth more than another.
        if share < 1.9 * grain.share || !edges_count {
            share *= 1.25;
        } else {
            edges_count = false;
        }
        Limits::new(total, share).pass(centroids, edges_count);
    }
    centroids.len() < before
}

/// What a centroid may weigh, by where it lies: squared and multiplied out, so that no test divides or takes a root.
struct Limits {
    total: f64,
    heaviest: f64,
    tail: f64,
    near_edge: f64,
}

/// The weight range between two edges.
struct Stretch {
    start: f64,
    end: f64,
    /// Whether it holds one value only, which no centroid can blur.
    constant: bool,
}

impl Limits {
    fn new(total: f64, share: f64) -> Self {
        Self {
            total,
            heaviest: share * total,
            tail: TAIL / (share * share),
            near_edge: NEAR_EDGE / (share * share) / total,
        }
    }

    /// Joins each centroid into the one before it while the result keeps the limits.
    fn pass(&self, centroids: &mut Vec<Centroid>, edges_count: bool) {
        let Some(&first) = centroids.first() else { return };
        let edges = if edges_count { edge::all(centroids) } else { [false; CAPACITY] };
        let mut stretch = Stretch::from(centroids, &edges, 0, 0.0);
        let (mut kept, mut below, mut open) = (0, 0.0, first);
        for next in 1..centroids.len() {
            let here = centroids[next];
            let weight = open.weight + here.weight;
            let joins = if edges[next - 1] {
                stretch = Stretch::from(centroids, &edges, next, below + open.weight);
                self.allow(weight * ACROSS, below, weight)
            } else {
                self.allow(weight, below, weight) && self.allow_within(&stretch, below, weight)
            };
            if joins {
                open.mean = between(open.mean, here.mean, here.weight / weight);
                open.weight = weight;
            } else {
                centroids[kept] = open;
                kept += 1;
                below += open.weight;
                open = here;
            }
        }
        centroids[kept] = open;
        centroids.truncate(kept + 1);
    }

    /// Whether `counted` fits at both ends of a centroid of `weight`. The outermost values never join: rank 0 allows 0.
    fn allow(&self, counted: f64, below: f64, weight: f64) -> bool {
        if counted > self.heaviest {
            return false;
        }
        let (squared, through) = (counted * counted * self.tail, below + weight);
        squared <= below * (self.total - below) && squared <= through * (self.total - through)
    }

    fn allow_within(&self, stretch: &Stretch, below: f64, weight: f64) -> bool {
        let from_start = if stretch.start > 0.0 { below - stretch.start } else { f64::INFINITY };
        let to_end = if stretch.end < self.total { stretch.end - below - weight } else { f64::INFINITY };
        stretch.constant || weight * weight * self.near_edge <= from_start.min(to_end)
    }
}

impl Stretch {
    fn from(centroids: &[Centroid], edges: &[bool], first: usize, start: f64) -> Self {
        let last = (first..centroids.len() - 1).find(|&at| edges[at]).unwrap_or(centroids.len() - 1);
        let weight: f64 = centroids[first..=last].iter().map(|centroid| centroid.weight).sum();
        Self { start, end: start + weight, constant: centroids[first].mean >= centroids[last].mean }
    }
}
