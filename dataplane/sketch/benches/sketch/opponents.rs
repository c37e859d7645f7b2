//! What summarises values: ours, the crates that could replace it, and a sort that loses nothing.

use datasketches::tdigest::TDigestMut;
use veneur_sketch::{RelativeSketch, TDigest};

/// Protobuf bytes of one centroid: two tagged doubles in a tagged, counted message.
const CENTROID_BYTES: usize = 20;

/// What all of them can do.
pub(crate) trait Summary: Clone {
    const NAME: &str;
    fn of(values: &[f64]) -> Self;
    /// As the next tier sees it, where that differs.
    fn forwarded(&mut self) -> Self {
        self.clone()
    }
    fn merged(parts: &[Self]) -> Self;
    fn read(&mut self, q: f64) -> f64;
    fn wire_bytes(&mut self) -> usize;
}

impl Summary for TDigest {
    const NAME: &str = "ours: t-digest";

    fn of(values: &[f64]) -> Self {
        let mut digest = Self::new();
        for &value in values {
            digest.insert(value, 1.0);
        }
        digest
    }

    fn forwarded(&mut self) -> Self {
        let (centroids, of) = (self.centroids().to_vec(), self.summary());
        Self::from_centroids(centroids, of.min, of.max, of.reciprocal_sum).expect("ours is valid")
    }

    fn merged(parts: &[Self]) -> Self {
        parts.iter().fold(Self::new(), |mut all, part| {
            all.merge(part);
            all
        })
    }

    fn read(&mut self, q: f64) -> f64 {
        self.quantile(q).unwrap_or(f64::NAN)
    }

    fn wire_bytes(&mut self) -> usize {
        CENTROID_BYTES * self.centroids().len() + 36
    }
}

impl Summary for RelativeSketch {
    const NAME: &str = "ours: relative";

    fn of(values: &[f64]) -> Self {
        let mut sketch = Self::new();
        for &value in values {
            sketch.insert(value, 1.0);
        }
        sketch
    }

    fn merged(parts: &[Self]) -> Self {
        parts.iter().fold(Self::new(), |mut all, part| {
            all.merge(part);
            all
        })
    }

    fn read(&mut self, q: f64) -> f64 {
        self.quantile(q).unwrap_or(f64::NAN)
    }

    /// A byte for the distance to the bin before, and the count in as few as hold seven bits each.
    fn wire_bytes(&mut self) -> usize {
        let sevens = |weight: f64| (1..8).take_while(|&bytes| weight >= 2_f64.powi(7 * bytes)).count();
        let bytes = |(_, weight)| 2 + sevens(weight);
        self.positive().chain(self.negative()).map(bytes).sum::<usize>() + 50
    }
}

impl Summary for tdigest::TDigest {
    const NAME: &str = "tdigest 100";

    fn of(values: &[f64]) -> Self {
        let mut digest = Self::new_with_size(100);
        digest.extend_values(values.iter().copied());
        digest.flush();
        digest
    }

    fn merged(parts: &[Self]) -> Self {
        Self::merge_digests(parts.to_vec())
    }

    fn read(&mut self, q: f64) -> f64 {
        self.estimate_quantile(q).unwrap_or(f64::NAN)
    }

    fn wire_bytes(&mut self) -> usize {
        CENTROID_BYTES * self.centroids().len() + 36
    }
}

impl Summary for TDigestMut {
    const NAME: &str = "datasketches 200";

    fn of(values: &[f64]) -> Self {
        let mut digest = Self::new(200).expect("200 is a size");
        values.iter().for_each(|&value| digest.update(value));
        digest
    }

    fn merged(parts: &[Self]) -> Self {
        let mut all = Self::new(200).expect("200 is a size");
        parts.iter().for_each(|part| all.merge(part));
        all
    }

    fn read(&mut self, q: f64) -> f64 {
        self.quantile(q).ok().flatten().unwrap_or(f64::NAN)
    }

    fn wire_bytes(&mut self) -> usize {
        self.serialize().len()
    }
}

/// Nothing lost: the floor for errors, the ceiling for bytes.
#[derive(Clone)]
pub(crate) struct Sorted(Vec<f64>);

impl Summary for Sorted {
    const NAME: &str = "exact sort";

    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    fn merged(parts: &[Self]) -> Self {
        Self::of(&parts.iter().flat_map(|part| part.0.iter().copied()).collect::<Vec<_>>())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index from a share of the length")]
    fn read(&mut self, q: f64) -> f64 {
        self.0[((q * self.0.len() as f64) as usize).min(self.0.len() - 1)]
    }

    fn wire_bytes(&mut self) -> usize {
        8 * self.0.len()
    }
}
