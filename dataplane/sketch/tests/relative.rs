//! Laws of the sketch of relative error.

#![expect(clippy::float_cmp, reason = "these numbers are equal to the bit, or wrong")]

#[path = "draw/distributions.rs"]
mod distributions;

use distributions::{ALL, Draw};
use proptest::prelude::*;
use veneur_sketch::{RelativeError, RelativeSketch, Summary};

const QUANTILES: [f64; 12] = [0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];

fn sketch(values: &[f64], weight: f64) -> RelativeSketch {
    let mut sketch = RelativeSketch::new();
    for &value in values {
        let (before, grows) = (sketch.size_bytes(), sketch.grows(value));
        assert!(sketch.insert(value, weight));
        assert_eq!(sketch.size_bytes(), before + grows, "{value}");
    }
    sketch
}

fn union(mut left: RelativeSketch, right: &RelativeSketch) -> RelativeSketch {
    left.merge(right);
    left
}

fn again(sketch: &RelativeSketch) -> Result<RelativeSketch, RelativeError> {
    RelativeSketch::from_parts(sketch.positive(), sketch.negative(), sketch.zero(), &sketch.summary())
}

/// The least value at or below which a share `q` of the values lies.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index from a share of the length")]
fn exact(ascending: &[f64], q: f64) -> f64 {
    ascending[((q * ascending.len() as f64).ceil() as usize).saturating_sub(1)]
}

/// Of both signs and zero, over a factor of 10^16: within the 2,048 bins of each.
fn value() -> impl Strategy<Value = f64> {
    let magnitude = (-8.0..8.0).prop_map(|exponent| 10_f64.powf(exponent));
    prop_oneof![4 => magnitude.clone(), 4 => magnitude.prop_map(|magnitude| -magnitude), 1 => Just(0.0)]
}

/// Bins without the sums beside them, which round.
fn bins(sketch: &RelativeSketch) -> [Vec<(i32, f64)>; 3] {
    [sketch.positive().collect(), sketch.negative().collect(), vec![(0, sketch.zero())]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merge_of_bins_is_associative_and_commutative(
        [a, b, c] in prop::array::uniform3(prop::collection::vec(any::<f64>().prop_filter("finite", |n| n.is_finite()), 0..200)),
        weight in 1..1000_u32,
    ) {
        // Numbers of all sizes: far more bins than are kept, so that every merge collapses some.
        let [a, b, c] = [a, b, c].map(|values| sketch(&values, f64::from(weight)));
        let left = union(union(a.clone(), &b), &c);
        prop_assert_eq!(bins(&left), bins(&union(a.clone(), &union(b.clone(), &c))));
        prop_assert_eq!(bins(&union(a.clone(), &b)), bins(&union(b, &a)));
        prop_assert!(left.size_bytes() <= size_of::<RelativeSketch>() + 2 * 2_048 * 8, "{} bytes", left.size_bytes());
    }

    #[test]
    fn merge_equals_the_sketch_of_all_values(a in prop::collection::vec(value(), 0..200), b in prop::collection::vec(value(), 0..200)) {
        let merged = union(sketch(&a, 1.0), &sketch(&b, 1.0));
        prop_assert_eq!(bins(&merged), bins(&sketch(&[a, b].concat(), 1.0)));
    }

    #[test]
    fn every_quantile_is_within_one_percent(mut values in prop::collection::vec(value(), 1..500)) {
        let sketch = sketch(&values, 1.0);
        values.sort_by(f64::total_cmp);
        for (q, read) in QUANTILES.iter().zip(sketch.quantiles(&QUANTILES)) {
            let (read, exact) = (read.expect("not empty"), exact(&values, *q));
            prop_assert!((read - exact).abs() <= 0.01 * exact.abs(), "q {q}: {read} for {exact}");
        }
    }

    #[test]
    fn parts_give_the_sketch_back(values in prop::collection::vec(value(), 0..300), weight in 0.1..10.0) {
        let sketch = sketch(&values, weight);
        prop_assert_eq!(again(&sketch), Ok(sketch));
    }

    #[test]
    fn parts_from_elsewhere_are_refused_or_read(
        positive in prop::collection::vec((-40_000..40_000, any::<f64>()), 0..20),
        negative in prop::collection::vec((any::<i32>(), -1.0..1e9), 0..20),
        [zero, min, max, sum, reciprocal_sum] in prop::array::uniform5(prop_oneof![any::<f64>(), -1.0..1.0]),
    ) {
        let summary = Summary { count: 1.0, sum, min, max, reciprocal_sum };
        if let Ok(sketch) = RelativeSketch::from_parts(positive, negative, zero, &summary) {
            prop_assert!(sketch.quantile(0.5).is_none_or(|value| value >= min && value <= max));
            prop_assert_eq!(bins(&again(&sketch).expect("was read before")), bins(&sketch));
        }
    }
}

#[test]
fn a_hundred_merges_keep_one_percent_for_every_distribution() {
    for from in ALL {
        let mut values = Draw(17).values(from, 50_000);
        let parts = values.chunks(500).map(|part| sketch(part, 1.0));
        let merged = parts.fold(RelativeSketch::new(), |all, part| union(all, &part));
        let one = sketch(&values, 1.0);
        values.sort_by(f64::total_cmp);
        for q in QUANTILES {
            let (read, exact) = (merged.quantile(q).expect("not empty"), exact(&values, q));
            assert!((read - exact).abs() <= 0.01 * exact, "{from:?} q {q}: {read} for {exact}");
            assert_eq!(one.quantile(q), Some(read), "{from:?} q {q}");
        }
        assert_eq!(merged.count(), 50_000.0);
    }
}

#[test]
fn aggregates_are_those_of_the_values() {
    let sketch = sketch(&[1.0, -2.0, 4.0, 0.5], 2.0);
    let Summary { count, sum, min, max, reciprocal_sum } = sketch.summary();
    assert_eq!((count, sum, min, max, reciprocal_sum), (8.0, 7.0, -2.0, 4.0, 5.5));
    assert_eq!(union(sketch, &self::sketch(&[-0.0], 1.0)).summary().reciprocal_sum, f64::INFINITY);
}

#[test]
fn the_smallest_collapse_and_the_largest_stay_exact() {
    let sketch = sketch(&[1e-300, 1e-200, 1.0, 1e6], 1.0);
    assert_eq!((sketch.positive().count(), sketch.quantile(0.0)), (3, Some(1e-300)));
    assert!((sketch.quantile(0.75).expect("not empty") - 1.0).abs() <= 0.01);
    // The lowest of 2,048 bins below a million.
    assert!(sketch.quantile(0.5).is_some_and(|value| (1e-12..1e-11).contains(&value)));
}

#[test]
fn what_is_not_a_number_changes_nothing() {
    let mut sketch = RelativeSketch::default();
    for (value, weight) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, f64::NAN)] {
        assert!(!sketch.insert(value, weight), "{value} · {weight}");
    }
    assert!(sketch.is_empty() && sketch.quantile(0.5).is_none());
    assert_eq!((sketch.size_bytes(), again(&sketch)), (size_of::<RelativeSketch>(), Ok(sketch)));
}

#[test]
fn errors_name_the_part_at_fault() {
    let read = |bins: &[(i32, f64)], min, max| {
        let summary = Summary { count: 0.0, sum: 0.0, min, max, reciprocal_sum: 0.0 };
        RelativeSketch::from_parts(bins.iter().copied(), [], 0.0, &summary)
    };
    assert_eq!(read(&[(36_000, 1.0)], 1.0, 1.0), Err(RelativeError::Index(36_000)));
    assert_eq!(read(&[(0, -1.0)], 1.0, 1.0), Err(RelativeError::Weight(-1.0)));
    assert_eq!(read(&[(0, 1.0)], 2.0, 1.0), Err(RelativeError::Extremes { min: 2.0, max: 1.0 }));
    assert_eq!(read(&[(500, 1.0)], 1.0, 1.0), Err(RelativeError::Extremes { min: 1.0, max: 1.0 }));
    let many: Vec<(i32, f64)> = (0..2_049).map(|index| (index, 1.0)).collect();
    assert_eq!(read(&many, 1.0, 1.0), Err(RelativeError::TooMany));
    // Nothing but zeros.
    let zeros = RelativeSketch::from_parts([], [], 3.0, &sketch(&[0.0], 3.0).summary());
    assert_eq!(zeros.map(|zeros| zeros.quantile(0.5)), Ok(Some(0.0)));
}
