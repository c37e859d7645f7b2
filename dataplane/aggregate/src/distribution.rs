//! The values of a histogram or timer within one interval.

use veneur_metric::PartialValue;
use veneur_sketch::{RelativeSketch, Summary, TDigest};

/// A sketch of everything, and what of it this instance sampled itself.
///
/// What a sample touches comes first, and so lies in one cache line.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Distribution {
    sketch: Sketch,
    pub(crate) samples: u32,
    /// `None` while every value in the sketch is this instance's own, which is nearly always.
    own: Option<Box<Summary>>,
}

#[derive(Debug)]
enum Sketch {
    Digest(TDigest),
    Relative(Box<RelativeSketch>),
}

impl Default for Sketch {
    fn default() -> Self {
        Self::Digest(TDigest::new())
    }
}

impl Distribution {
    /// One whose quantiles are to be within 1 % of their values.
    pub(crate) fn relative() -> Self {
        Self { sketch: Sketch::Relative(Box::default()), ..Self::default() }
    }

    /// Bytes that one more value would make this grow by.
    #[inline]
    pub(crate) fn grows(&self, value: f64, weight: f64) -> usize {
        match &self.sketch {
            Sketch::Digest(digest) => digest.grows(value, weight),
            Sketch::Relative(sketch) => sketch.grows(value),
        }
    }

    /// The bits of some value added lately.
    #[inline]
    pub(crate) fn newest(&self) -> u64 {
        match &self.sketch {
            Sketch::Digest(digest) => digest.newest(),
            Sketch::Relative(_) => 0,
        }
    }

    /// Adds one observation; `false`, and unchanged, if the sketch refuses it.
    #[inline]
    pub(crate) fn insert(&mut self, value: f64, weight: f64) -> bool {
        debug_assert!(self.own.is_none(), "samples come in before partials are merged");
        self.samples = self.samples.saturating_add(1);
        match &mut self.sketch {
            Sketch::Digest(digest) => digest.insert(value, weight),
            Sketch::Relative(sketch) => sketch.insert(value, weight),
        }
    }

    /// Merges what other instances sampled.
    pub(crate) fn import_digest(&mut self, digest: TDigest) {
        self.keep_own();
        match &mut self.sketch {
            Sketch::Digest(mine) if mine.is_empty() => *mine = digest,
            Sketch::Digest(mine) => mine.merge(&digest),
            // Some pods follow a new rule and some do not yet: one series all the same.
            Sketch::Relative(mine) => insert_centroids(mine, digest),
        }
    }

    /// The same for a sketch of relative error. A digest gives way to it.
    pub(crate) fn import_relative(&mut self, sketch: &RelativeSketch) {
        self.keep_own();
        self.as_relative().merge(sketch);
    }

    /// Adds what another context of the same series holds.
    pub(crate) fn import(&mut self, other: &Self) {
        match &other.sketch {
            Sketch::Digest(digest) => self.import_digest(digest.clone()),
            Sketch::Relative(sketch) => self.import_relative(sketch),
        }
    }

    /// Adds the same context's state from another table of this instance.
    pub(crate) fn absorb(&mut self, other: &Self) {
        if self.own.is_some() || other.own.is_some() {
            self.own = Some(Box::new(sum(&self.own(), &other.own())));
        }
        self.samples = self.samples.saturating_add(other.samples);
        match (&mut self.sketch, &other.sketch) {
            (Sketch::Digest(mine), Sketch::Digest(digest)) => mine.merge(digest),
            (Sketch::Relative(mine), Sketch::Digest(digest)) => insert_centroids(mine, digest.clone()),
            (_, Sketch::Relative(sketch)) => self.as_relative().merge(sketch),
        }
    }

    /// What this instance sampled itself.
    pub(crate) fn own(&self) -> Summary {
        self.own.as_deref().copied().unwrap_or_else(|| self.all())
    }

    /// Everything, imports included.
    pub(crate) fn all(&self) -> Summary {
        match &self.sketch {
            Sketch::Digest(digest) => digest.summary(),
            Sketch::Relative(sketch) => sketch.summary(),
        }
    }

    /// Bytes held.
    pub(crate) fn size_bytes(&self) -> usize {
        let sketch = match &self.sketch {
            Sketch::Digest(digest) => digest.size_bytes(),
            Sketch::Relative(sketch) => sketch.size_bytes(),
        };
        sketch + self.own.as_ref().map_or(0, |_| size_of::<Summary>())
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.sketch {
            Sketch::Digest(digest) => digest.is_empty(),
            Sketch::Relative(sketch) => sketch.is_empty(),
        }
    }

    /// The values that shares of the weight lie below.
    pub(crate) fn quantiles(&mut self, shares: &[f64]) -> Vec<Option<f64>> {
        match &mut self.sketch {
            Sketch::Digest(digest) => digest.quantiles(shares).collect(),
            Sketch::Relative(sketch) => sketch.quantiles(shares).collect(),
        }
    }

    /// What travels.
    pub(crate) fn into_partial(self) -> PartialValue {
        match self.sketch {
            Sketch::Digest(digest) => PartialValue::Digest(digest),
            Sketch::Relative(sketch) => PartialValue::Relative(sketch),
        }
    }

    fn keep_own(&mut self) {
        if self.own.is_none() {
            self.own = Some(Box::new(self.all()));
        }
    }

    fn as_relative(&mut self) -> &mut RelativeSketch {
        if let Sketch::Digest(digest) = &mut self.sketch {
            let mut sketch = Box::<RelativeSketch>::default();
            insert_centroids(&mut sketch, std::mem::take(digest));
            self.sketch = Sketch::Relative(sketch);
        }
        match &mut self.sketch {
            Sketch::Relative(sketch) => sketch,
            Sketch::Digest(_) => unreachable!("it was replaced above"),
        }
    }
}

/// A centroid is within a digest's own error of the values it stands for; count and sum stay what they are.
fn insert_centroids(sketch: &mut RelativeSketch, mut digest: TDigest) {
    for centroid in digest.centroids() {
        // Refuses only what no digest holds.
        let taken = sketch.insert(centroid.mean, centroid.weight);
        debug_assert!(taken, "a digest's means are finite and its weights positive");
    }
}

fn sum(one: &Summary, other: &Summary) -> Summary {
    Summary {
        count: one.count + other.count,
        sum: one.sum + other.sum,
        min: one.min.min(other.min),
        max: one.max.max(other.max),
        reciprocal_sum: one.reciprocal_sum + other.reciprocal_sum,
    }
}
