//! Folding: joins neighbouring centroids, as far as their place in the distribution allows.

use super::{Centroid, between, edge, raw::Unit};

/// How coarse a fold may be.
pub(super) struct Grain {
    /// The share of the total that a centroid may weigh between the tails.
    share: f64,
    /// The centroids that may remain; the share grows until that is so.
    pub(super) kept: usize,
    /// Whether this is what is read and sent.
    pub(super) sent: bool,
}

/// While values still come: finer than what is sent, so that the last fold joins centroids of even weight.
pub(super) const HELD: Grain = Grain { share: 0.0035, kept: 448, sent: false };

/// To be read or sent: at most about twice the centroids of the original.
pub(super) const SENT: Grain = Grain { share: 0.005, kept: 320, sent: true };

/// Below this `q·(1−q)`, 7 % from either end, centroids grow finer as its square root: the original's scale function
/// `asin(2q−1)`, which spends centroids where high quantiles are read. In between, all may weigh the same.
const TAIL: f64 = 0.065;

/// The same towards an edge inside the distribution, over a sixteenth of the range.
const NEAR_EDGE: f64 = TAIL / 16.0;

/// A centroid across an edge may weigh this many times less. Not zero, because chance has edges too while values are
/// few: measured, 16 keeps real edges, and 32 already lets false ones use up the centroids.
const ACROSS: f64 = 16.0;

/// Sorts by mean, then weight: what compares equal is equal, so no sort can tell orders of arrival apart. Stable,
/// because that sort takes runs that ascend already as they are.
pub(super) fn sort(centroids: &mut [Centroid]) {
    centroids.sort_by_key(key);
}

fn key(centroid: &Centroid) -> (Unit, Unit) {
    (Unit::new(centroid.mean), Unit::new(centroid.weight))
}

/// An ascending list of centroids, by column: folding reads many means at a time, and many weights.
pub(super) struct Columns {
    means: Vec<f64>,
    weights: Vec<f64>,
}

impl Columns {
    /// Of two ascending lists, the first of which has one weight.
    pub(super) fn merged(units: &[Unit], unit_weight: f64, centroids: &[Centroid]) -> Self {
        let length = units.len() + centroids.len();
        let (mut means, mut weights) = (vec![0.0; length], vec![unit_weight; length]);
        let (mut unit, mut centroid) = (0, 0);
        for (mean, weight) in means.iter_mut().zip(&mut weights) {
            let (Some(&raw), Some(folded)) = (units.get(unit), centroids.get(centroid)) else { break };
            let other = Unit::new(folded.mean);
            let first = raw <= other;
            // Which comes first is chance: chosen between numbers, as a jump would be mistaken a third of the time.
            *mean = raw.min(other).value();
            *weight = f64::from_bits(if first { unit_weight.to_bits() } else { folded.weight.to_bits() });
            unit += usize::from(first);
            centroid += usize::from(!first);
        }
        let (rest, at) = (&centroids[centroid..], unit + centroid);
        means[at..].iter_mut().zip(&units[unit..]).for_each(|(mean, unit)| *mean = unit.value());
        means[at..].iter_mut().zip(rest).for_each(|(mean, centroid)| *mean = centroid.mean);
        weights[at..].iter_mut().zip(rest).for_each(|(weight, centroid)| *weight = centroid.weight);
        Self { means, weights }
    }

    pub(super) fn len(&self) -> usize {
        self.means.len()
    }

    pub(super) fn centroids(&self) -> impl Iterator<Item = Centroid> {
        self.means.iter().zip(&self.weights).map(|(&mean, &weight)| Centroid { mean, weight })
    }

    /// Joins neighbours; true when any were joined.
    pub(super) fn fold(&mut self, total: f64, grain: &Grain) -> bool {
        let before = self.len();
        let (mut share, mut edges_count) = (grain.share, true);
        self.pass(&Limits::new(total, share), edges_count);
        while self.len() > grain.kept {
            // Twice the share at most before edges are given up: with edges everywhere, no edge is worth more than
            // another.
            if share < 1.9 * grain.share || !edges_count {
                share *= 1.25;
            } else {
                edges_count = false;
            }
            self.pass(&Limits::new(total, share), edges_count);
        }
        self.len() < before
    }

    /// Joins each centroid into the one before it while the result keeps the limits.
    fn pass(&mut self, limits: &Limits, edges_count: bool) {
        let (Some(&mean), Some(&weight)) = (self.means.first(), self.weights.first()) else { return };
        let edges = if edges_count { edge::all(&self.means, &self.weights) } else { Vec::new() };
        let mut edges = edges.into_iter().chain([self.len() - 1]);
        let mut edge = edges.next().unwrap_or(0);
        let mut stretch = self.stretch(0, edge, 0.0);
        let (mut kept, mut below, mut open) = (0, 0.0, Centroid { mean, weight });
        for next in 1..self.len() {
            let here = Centroid { mean: self.means[next], weight: self.weights[next] };
            let weight = open.weight + here.weight;
            let joins = if next > edge {
                edge = edges.next().unwrap_or(edge);
                stretch = self.stretch(next, edge, below + open.weight);
                limits.allow(weight * ACROSS, below, weight)
            } else {
                both(limits.allow(weight, below, weight), limits.allow_within(&stretch, below, weight))
            };
            if joins {
                open.mean = between(open.mean, here.mean, here.weight / weight);
                open.weight = weight;
            } else {
                (self.means[kept], self.weights[kept]) = (open.mean, open.weight);
                kept += 1;
                below += open.weight;
                open = here;
            }
        }
        (self.means[kept], self.weights[kept]) = (open.mean, open.weight);
        self.means.truncate(kept + 1);
        self.weights.truncate(kept + 1);
    }

    fn stretch(&self, first: usize, last: usize, start: f64) -> Stretch {
        let within = &self.weights[first..=last];
        let whole = last + 1 == self.len();
        Stretch {
            start: if first == 0 { f64::NEG_INFINITY } else { start },
            end: if whole { f64::INFINITY } else { start + within.iter().sum::<f64>() },
            constant: self.means[first] >= self.means[last],
        }
    }
}

/// Whether both hold, without a jump between them: which fails is chance, and is mistaken too often.
fn both(one: bool, other: bool) -> bool {
    one & other
}

/// What a centroid may weigh, by where it lies: squared and multiplied out, so that no test divides or takes a root.
struct Limits {
    total: f64,
    heaviest: f64,
    tail: f64,
    near_edge: f64,
}

/// The weight range between two edges; infinite towards the ends of the distribution, which are none.
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

    /// Whether `counted` fits at both ends of a centroid of `weight`. The outermost values never join: rank 0 allows 0.
    fn allow(&self, counted: f64, below: f64, weight: f64) -> bool {
        let (squared, through) = (counted * counted * self.tail, below + weight);
        let (at_start, at_end) = (below * (self.total - below), through * (self.total - through));
        both(counted <= self.heaviest, both(squared <= at_start, squared <= at_end))
    }

    fn allow_within(&self, stretch: &Stretch, below: f64, weight: f64) -> bool {
        let squared = weight * weight * self.near_edge;
        let (from_start, to_end) = (below - stretch.start, stretch.end - below - weight);
        stretch.constant || both(squared <= from_start, squared <= to_end)
    }
}
