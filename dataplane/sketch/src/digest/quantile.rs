//! Reading a quantile from centroids.

use super::{Centroid, edge};

pub(super) fn at(centroids: &[Centroid], target: f64, (min, max): (f64, f64), folded: bool) -> f64 {
    let mut below = 0.0;
    for (index, here) in centroids.iter().enumerate() {
        if target <= below + here.weight || index + 1 == centroids.len() {
            let low = index.checked_sub(1).map_or(min, |before| border(centroids, before, folded).1);
            let high = if index + 1 == centroids.len() { max } else { border(centroids, index, folded).0 };
            let part = ((target - below) / here.weight).clamp(0.0, 1.0);
            if folded && here.weight > 1.0 {
                let same = |other: Option<usize>| other.and_then(|o| centroids.get(o)).is_some_and(|o| o.mean == here.mean);
                if same(index.checked_sub(1)) || same(Some(index + 1)) { return here.mean; }
                let middle = if std::env::var("LIN").is_ok() {f64::midpoint(low,high)} else {(2.0 * here.mean - f64::midpoint(low, high)).clamp(low, high)};
                return if part < 0.5 { low + (middle - low) * 2.0 * part } else { middle + (high - middle) * (2.0 * part - 1.0) };
            }
            return (low + (high - low) * part).clamp(min, max);
        }
        below += here.weight;
    }
    max
}

fn border(centroids: &[Centroid], at: usize, folded: bool) -> (f64, f64) {
    let (here, next) = (centroids[at], centroids[at + 1]);
    if folded && here.weight + next.weight > 2.0 && let Some(e) = edge::after(centroids, at) { return e; }
    let m = here.mean + (next.mean - here.mean) * (here.weight / (here.weight + next.weight));
    (m, m)
}
