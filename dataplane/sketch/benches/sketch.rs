//! One table: accuracy, size and speed of these sketches beside the crates that could replace them.
//!
//! `cargo bench -p veneur-sketch`. Rank errors are the worst of several seeds, in percent; "merged" is 100 digests of
//! 1,000 values each, carried over the wire and merged in order.

#[path = "../tests/draw/distributions.rs"]
mod distributions;
#[path = "../tests/draw/rank.rs"]
mod rank;

use datasketches::tdigest::TDigestMut;
use distributions::{ALL, Distribution, Draw};
use hyperloglogplus::{HyperLogLog as _, HyperLogLogPlus};
use rank::rank_error;
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::time::Instant;
use veneur_sketch::{HyperLogLog, TDigest};

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
const COUNT: usize = 100_000;
const PARTS: usize = 100;
const SEEDS: u64 = 5;

/// Protobuf bytes of one centroid: two tagged doubles in a tagged, counted message.
const CENTROID_BYTES: usize = 20;

/// What all digests in the table can do.
trait Digest: Clone {
    const NAME: &str;
    fn of(values: &[f64]) -> Self;
    fn merged(parts: &[Self]) -> Self;
    fn read(&mut self, q: f64) -> f64;
    fn wire_bytes(&mut self) -> usize;
}

impl Digest for TDigest {
    const NAME: &str = "ours";

    fn of(values: &[f64]) -> Self {
        let mut digest = Self::new();
        for &value in values {
            digest.insert(value, 1.0);
        }
        let (min, max, reciprocal_sum) = (digest.min(), digest.max(), digest.reciprocal_sum());
        Self::from_centroids(digest.centroids().to_vec(), min, max, reciprocal_sum).expect("ours is valid")
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

impl Digest for tdigest::TDigest {
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

impl Digest for TDigestMut {
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
struct Sorted(Vec<f64>);

impl Digest for Sorted {
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

fn nanoseconds_per<T>(operations: usize, mut work: impl FnMut() -> T) -> f64 {
    // The best of five: what the machine does besides only ever adds.
    let once = |work: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64() * 1e9
    };
    (0..5).map(|_| once(&mut work)).fold(f64::INFINITY, f64::min) / operations as f64
}

fn row<D: Digest>(from: Distribution) {
    let (mut one, mut merged) = ([0.0_f64; 4], [0.0_f64; 4]);
    let mut wire_bytes = 0;
    for seed in 0..SEEDS {
        let mut values = Draw(seed).values(from, COUNT);
        let parts: Vec<D> = values.chunks(COUNT / PARTS).map(D::of).collect();
        let (mut whole, mut union) = (D::of(&values), D::merged(&parts));
        values.sort_by(f64::total_cmp);
        for (at, q) in QUANTILES.into_iter().enumerate() {
            one[at] = one[at].max(rank_error(&values, q, whole.read(q)));
            merged[at] = merged[at].max(rank_error(&values, q, union.read(q)));
        }
        wire_bytes = union.wire_bytes();
    }
    let values = Draw(SEEDS).values(from, COUNT);
    let parts: Vec<D> = values.chunks(COUNT / PARTS).map(D::of).collect();
    let insert = nanoseconds_per(COUNT, || D::of(&values));
    let merge = nanoseconds_per(PARTS, || D::merged(&parts));
    let percent = |errors: [f64; 4]| errors.map(|error| format!("{:.3}", 100.0 * error)).join(" ");
    println!(
        "{:<10} {:<17} {:<24} {:<24} {wire_bytes:>7} {insert:>7.0} {merge:>8.0}",
        format!("{from:?}"),
        D::NAME,
        percent(one),
        percent(merged)
    );
}

fn sets() {
    println!(
        "\n{:>10} {:>10} {:>16} {:>8} {:>10} {:>10}",
        "members", "ours %", "hyperloglog++ %", "bytes", "ns/insert", "theirs ns"
    );
    for count in [10_u64, 100, 1_000, 4_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let build = BuildHasherDefault::<metrohash::MetroHash64>::default;
        let ours = |seed| {
            let (mut set, mut draw) = (HyperLogLog::new(), Draw(seed));
            (0..count).for_each(|_| set.insert(&draw.bits().to_le_bytes()));
            set
        };
        let theirs = |seed| {
            let mut set = HyperLogLogPlus::<u64, _>::new(14, build()).expect("14 is a precision");
            let mut draw = Draw(seed);
            (0..count).for_each(|_| set.insert(&draw.bits()));
            set
        };
        let seeds = if count > 1_000_000 { 1 } else { 3 };
        let error = |estimate: f64| 100.0 * (estimate - count as f64).abs() / count as f64;
        let (mut worst, mut their_worst, mut bytes) = (0.0_f64, 0.0_f64, 0);
        let (mut best, mut their_best) = (f64::INFINITY, f64::INFINITY);
        for seed in 0..seeds {
            let start = Instant::now();
            let set = ours(seed);
            best = best.min(start.elapsed().as_secs_f64() * 1e9 / count as f64);
            let start = Instant::now();
            let mut their_set = theirs(seed);
            their_best = their_best.min(start.elapsed().as_secs_f64() * 1e9 / count as f64);
            worst = worst.max(error(set.estimate() as f64));
            their_worst = their_worst.max(error(their_set.count()));
            bytes = set.encode().len();
        }
        println!("{count:>10} {worst:>10.2} {their_worst:>16.2} {bytes:>8} {best:>10.0} {their_best:>10.0}");
    }
}

fn main() {
    println!(
        "{:<10} {:<17} {:<24} {:<24} {:>7} {:>7} {:>8}",
        "values", "digest", "% at p50 p90 p99 p99.9", "% after 100 merges", "bytes", "ns/ins", "ns/merge"
    );
    for from in ALL {
        row::<TDigest>(from);
        row::<tdigest::TDigest>(from);
        row::<TDigestMut>(from);
        row::<Sorted>(from);
    }
    sets();
}
