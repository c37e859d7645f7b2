//! Mergeable summaries with stated error: a weighted t-digest and a HyperLogLog.
//!
//! [`TDigest`] answers quantiles of a timer or histogram, [`HyperLogLog`] the number of distinct members of a set.
//! Both are what a local forwards and a global merges, so both speak in the original's terms: centroids for the
//! former, [`HyperLogLog::encode`] for the latter. Nothing here reads a clock, draws a random number or does I/O;
//! equal calls in equal order give equal sketches.
//!
//! Not here: names, tags and messages. The wire room puts centroids and payloads into protobuf.

mod digest;
mod hll;
mod totals;

pub use digest::{Centroid, DigestError, TDigest};
pub use hll::{HllError, HyperLogLog};
pub use totals::Summary;
