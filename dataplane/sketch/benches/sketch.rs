//! Two tables: accuracy, size and speed of these sketches beside the crates that could replace them.
//!
//! `cargo xtask bench sketch`, in under a minute. Errors are the worst of several seeds, in percent: of rank at p50,
//! p99 and p99.9, of one summary of 100,000 values and of 100 of 1,000 each, carried over the wire and merged in order;
//! and of value, the worst of the three quantiles after those merges. Times are medians.

#[path = "../tests/draw/distributions.rs"]
mod distributions;
#[path = "sketch/opponents.rs"]
mod opponents;
#[path = "../tests/draw/rank.rs"]
mod rank;

use datasketches::tdigest::TDigestMut;
use distributions::{ALL, Distribution, Draw};
use hyperloglogplus::{HyperLogLog as _, HyperLogLogPlus};
use opponents::{Sorted, Summary};
use rank::rank_error;
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::time::Instant;
use veneur_sketch::{HyperLogLog, RelativeSketch, TDigest};

const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
const COUNT: usize = 100_000;
const PARTS: usize = 100;
const SEEDS: u64 = 5;

/// Values in one summary, for the time of an insert: an interval's, a busy one's, and the long run.
const INSERTED: [usize; 3] = [100, 1_000, 1_000_000];

/// Nanoseconds of one of `operations`, the median of five runs.
fn nanoseconds_per<T>(operations: usize, mut work: impl FnMut() -> T) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_secs_f64() * 1e9 / operations as f64
    });
    median(times.collect())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn quantiles() {
    println!(
        "{:<10} {:<17} {:<19} {:<19} {:>7} {:>7}  {:>5} {:>5} {:>5} {:>9}",
        "values", "", "rank % of one", "after 100 merges", "value %", "bytes", "at100", "1,000", "10^6", "ns/merge"
    );
    for from in ALL {
        row::<TDigest>(from);
        row::<RelativeSketch>(from);
        row::<tdigest::TDigest>(from);
        row::<TDigestMut>(from);
        row::<Sorted>(from);
    }
}

fn row<S: Summary>(from: Distribution) {
    let (mut one, mut merged, mut of_value) = ([0.0_f64; 3], [0.0_f64; 3], 0.0_f64);
    let mut wire_bytes = 0;
    for seed in 0..SEEDS {
        let mut values = Draw(seed).values(from, COUNT);
        let parts: Vec<S> = values.chunks(COUNT / PARTS).map(|part| S::of(part).forwarded()).collect();
        let (mut whole, mut union) = (S::of(&values), S::merged(&parts));
        values.sort_by(f64::total_cmp);
        for (at, q) in QUANTILES.into_iter().enumerate() {
            one[at] = one[at].max(rank_error(&values, q, whole.read(q)));
            merged[at] = merged[at].max(rank_error(&values, q, union.read(q)));
            of_value = of_value.max(value_error(&values, q, union.read(q)));
        }
        wire_bytes = union.wire_bytes();
    }
    let values = Draw(SEEDS).values(from, INSERTED[2]);
    let inserts = INSERTED.map(|count| {
        // As many summaries as give some 100,000 values, one after the other.
        let parts = &values[..values.len().min((COUNT / count).max(1) * count)];
        let time = nanoseconds_per(parts.len(), || parts.chunks(count).for_each(|part| drop(black_box(S::of(part)))));
        format!("{time:>5.0}")
    });
    let parts: Vec<S> = values[..COUNT].chunks(COUNT / PARTS).map(|part| S::of(part).forwarded()).collect();
    let merge = nanoseconds_per(PARTS, || S::merged(&parts));
    let percent = |errors: [f64; 3]| errors.map(|error| format!("{:.3}", 100.0 * error)).join(" ");
    println!(
        "{:<10} {:<17} {:<19} {:<19} {:>7.2} {wire_bytes:>7}  {} {merge:>9.0}",
        format!("{from:?}"),
        S::NAME,
        percent(one),
        percent(merged),
        100.0 * of_value,
        inserts.join(" ")
    );
}

/// Distance from the nearest value that is a quantile of ascending values, relative to it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "indices from a share of the length")]
fn value_error(ascending: &[f64], q: f64, v: f64) -> f64 {
    let target = q * ascending.len() as f64;
    let (low, high) = (ascending[(target.ceil() as usize).saturating_sub(1)], ascending[target.floor() as usize]);
    (v / v.clamp(low, high) - 1.0).abs()
}

fn sets() {
    println!(
        "\n{:>10} {:>7} {:>15} {:>7} {:>7} {:>10} {:>10} {:>11}",
        "members", "ours %", "hyperloglog++ %", "sent", "held", "ns/insert", "ns/repeat", "++ ns"
    );
    for count in [10_u64, 100, 1_000, 4_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let build = BuildHasherDefault::<metrohash::MetroHash64>::default;
        // Of small sets many, or the clock is what is measured.
        let sets = usize::try_from(50_000 / count).unwrap_or(0).max(1);
        let insert = |all: &mut [HyperLogLog], seed| {
            let mut draw = Draw(seed);
            all.iter_mut().for_each(|set| (0..count).for_each(|_| set.insert(&draw.bits().to_le_bytes())));
        };
        let theirs = |seed| {
            let mut draw = Draw(seed);
            let mut one = || {
                let mut set = HyperLogLogPlus::<u64, _>::new(14, build()).expect("14 is a precision");
                (0..count).for_each(|_| set.insert(&draw.bits()));
                set
            };
            (0..sets).map(|_| one()).collect::<Vec<_>>()
        };
        let seeds = if count > 1_000_000 { 1 } else { 5 };
        let error = |estimate: f64| 100.0 * (estimate - count as f64).abs() / count as f64;
        let timed = |times: &mut Vec<f64>, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            times.push(start.elapsed().as_secs_f64() * 1e9 / (count as f64 * sets as f64));
        };
        let (mut worst, mut their_worst, mut sent, mut held) = (0.0_f64, 0.0_f64, 0, 0);
        let (mut new, mut repeated, mut their_new) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 0..seeds {
            let mut all = vec![HyperLogLog::new(); sets];
            timed(&mut new, &mut || insert(&mut all, seed));
            timed(&mut repeated, &mut || insert(&mut all, seed));
            let mut their_all = Vec::new();
            timed(&mut their_new, &mut || their_all = theirs(seed));
            worst = all.iter().map(|set| error(set.estimate() as f64)).fold(worst, f64::max);
            their_worst = their_all.iter_mut().map(|set| error(set.count())).fold(their_worst, f64::max);
            (sent, held) = (all[0].encode().len(), all[0].size_bytes());
        }
        let [new, repeated, their_new] = [new, repeated, their_new].map(median);
        println!(
            "{count:>10} {worst:>7.2} {their_worst:>15.2} {sent:>7} {held:>7} {new:>10.0} {repeated:>10.0} {their_new:>11.0}"
        );
    }
}

fn main() {
    quantiles();
    sets();
}
