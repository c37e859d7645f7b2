//! The crates that others use, as oracles: ours is at least as close to the truth.

#[path = "draw/distributions.rs"]
mod distributions;
#[path = "draw/rank.rs"]
mod rank;

use distributions::{ALL, Distribution, Draw};
use hyperloglogplus::{HyperLogLog as _, HyperLogLogPlus};
use rank::rank_error;
use std::hash::BuildHasherDefault;
use veneur_sketch::{HyperLogLog, TDigest};

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

#[test]
fn worst_rank_error_is_below_that_of_the_tdigest_crate() {
    for from in ALL {
        // Of several draws: a single one may be either's lucky day.
        let errors = (0..4).map(|seed| errors(from, seed));
        let (ours, theirs) = errors.fold((0.0_f64, 0.0_f64), |(ours, theirs), (a, b)| (ours.max(a), theirs.max(b)));
        assert!(ours <= theirs && ours <= 0.0015, "{from:?}: {ours}, theirs {theirs}");
    }
}

/// The worst rank errors, ours and theirs, of 100 digests merged into one.
fn errors(from: Distribution, seed: u64) -> (f64, f64) {
    let mut values = Draw(seed).values(from, 50_000);
    let (mut ours, mut theirs) = (TDigest::new(), Vec::new());
    for part in values.chunks(500) {
        let mut digest = TDigest::new();
        part.iter().for_each(|&value| assert!(digest.insert(value, 1.0)));
        ours.merge(&digest);
        theirs.push(tdigest::TDigest::new_with_size(100).merge_unsorted(part.to_vec()));
    }
    let theirs = tdigest::TDigest::merge_digests(theirs);
    values.sort_by(f64::total_cmp);
    let worst = |read: &mut dyn FnMut(f64) -> f64| {
        QUANTILES.iter().map(|&q| rank_error(&values, q, read(q))).fold(0.0, f64::max)
    };
    let ours = worst(&mut |q| ours.quantile(q).expect("not empty"));
    (ours, worst(&mut |q| theirs.estimate_quantile(q).expect("not empty")))
}

#[test]
fn estimates_agree_with_the_hyperloglogplus_crate() {
    let build = BuildHasherDefault::<metrohash::MetroHash64>::default();
    let mut theirs = HyperLogLogPlus::<u64, _>::new(14, build).expect("14 is a precision");
    let mut ours = HyperLogLog::new();
    let mut draw = Draw(5);
    for count in 1..=100_000_u64 {
        let member = draw.bits();
        ours.insert(&member.to_le_bytes());
        theirs.insert(&member);
        if [10, 1_000, 30_000, 100_000].contains(&count) {
            let (ours, theirs) = (ours.estimate() as f64, theirs.count());
            assert!((ours - theirs).abs() <= 0.02 * count as f64, "{count}: {ours}, theirs {theirs}");
        }
    }
}
