//! Mergeable summaries with stated error: a weighted t-digest, a HyperLogLog, and a sketch of relative error.
//!
//! [`TDigest`] answers quantiles of a timer or histogram, [`HyperLogLog`] the number of distinct members of a set.
//! Both are what a local forwards and a global merges, so both speak in the original's terms: centroids for the
//! former, [`HyperLogLog::encode`] for the latter. [`RelativeSketch`] is for tails so long that a small error of rank
//! is a large one of value; the original has nothing like it. Nothing here reads a clock, draws a random number or does I/O;
//! equal calls in equal order give equal sketches.
//!
//! Not here: names, tags and messages. The wire room puts centroids and payloads into protobuf.

mod digest;
mod hll;
mod relative;
mod totals;

pub use digest::{Centroid, DigestError, TDigest};
pub use hll::{HllError, HyperLogLog};
pub use relative::{RelativeError, RelativeSketch};
pub use totals::Summary;
