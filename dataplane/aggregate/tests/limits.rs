//! What finds no room: in the overflow series of its kind, and counted.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use veneur_aggregate::{Budget, Flush, Interval, Joined, Limits, Publishing, Rules, Seed, Table};
use veneur_metric::{Context, Kind, Partial, PartialValue, Sample, Scope, Tags, Value};
use veneur_sketch::{HyperLogLog, TDigest};

fn budget(limits: Limits) -> Arc<Budget> {
    Arc::new(Budget::new(limits))
}

fn partial(kind: Kind, name: u32) -> Partial {
    let mut digest = TDigest::new();
    (0..100).for_each(|value| assert!(digest.insert(f64::from(value), 1.0)));
    let mut members = HyperLogLog::new();
    members.insert(&name.to_le_bytes());
    let (scope, value) = match kind {
        Kind::Counter => (Scope::Global, PartialValue::Counter(1.0)),
        Kind::Gauge => (Scope::Global, PartialValue::Gauge(1.0)),
        Kind::Histogram | Kind::Timer => (Scope::Mixed, PartialValue::Digest(digest)),
        Kind::Set => (Scope::Mixed, PartialValue::Set(members)),
    };
    let context = Context { name: format!("m{name}").as_str().into(), tags: Tags::none(), kind, scope };
    Partial { context, value, stamp: None }
}

fn flush(interval: Interval) -> Flush {
    let mut whole = Flush::default();
    let publishing = Publishing::default();
    interval.flush(&publishing, None, 10, Duration::from_secs(10), |part| {
        whole.points.extend(part.points);
        whole.partials.extend(part.partials);
    });
    whole
}

fn overflowing(flush: &Flush) -> Vec<f64> {
    let of_overflow = |name: &str| name.starts_with("veneur.overflow");
    flush.points.iter().filter(|point| of_overflow(&point.name)).map(|point| point.value).collect()
}

proptest! {
    #[test]
    fn imports_stay_within_the_budget_and_none_is_lost(
        sent in prop::collection::vec((
            prop_oneof![Just(Kind::Counter), Just(Kind::Gauge), Just(Kind::Timer), Just(Kind::Set)],
            0_u32..100,
        ), 1..300),
        contexts in 1_usize..60,
        bytes in 20_000_usize..100_000,
    ) {
        let budget = budget(Limits { contexts, contexts_per_origin: 0, bytes });
        let mut interval = Interval::within(Seed::FIXED, Arc::clone(&budget));
        let (mut counters, mut own) = (0, std::collections::BTreeSet::new());
        for (kind, name) in sent {
            counters += i32::from(kind == Kind::Counter);
            if interval.merge(partial(kind, name), false) == Ok(Joined::Own) {
                own.insert((kind, name));
            }
        }
        prop_assert!(own.len() <= contexts);
        // The overflow series themselves, one for each kind, and the last step of each value's growth are beyond it.
        prop_assert!(budget.bytes() <= bytes + 30_000, "{} of {bytes}", budget.bytes());
        let total: f64 = flush(interval).points.iter().filter(|point| point.interval.as_secs() == 10)
            .filter(|point| point.kind == veneur_metric::PointKind::Count && !point.name.ends_with(".count"))
            .map(|point| point.value).sum();
        prop_assert!((total - f64::from(counters)).abs() < 1e-9, "{total} of {counters}");
        prop_assert_eq!(budget.bytes(), 0, "all is given back");
    }
}

#[test]
fn an_import_without_room_joins_the_overflow_series_and_is_named() {
    let budget = budget(Limits { contexts: 1, ..Limits::default() });
    let mut interval = Interval::within(Seed::FIXED, Arc::clone(&budget));
    assert_eq!(interval.merge(partial(Kind::Counter, 1), false), Ok(Joined::Own));
    assert_eq!(interval.merge(partial(Kind::Counter, 2), false), Ok(Joined::Overflow));
    assert_eq!(interval.merge(partial(Kind::Counter, 3), false), Ok(Joined::Overflow));
    assert_eq!(interval.merge(partial(Kind::Counter, 1), false), Ok(Joined::Own), "it has its room");
    let top = interval.top(10);
    assert!(top.folded.iter().any(|(name, _)| &**name == "m2"), "{top:?}");
    assert!(top.contexts.iter().any(|(name, _)| &**name == "m1"), "{top:?}");

    // Each interval has the bound to itself: they overlap.
    let mut next = Interval::within(Seed::FIXED, budget);
    assert_eq!(next.merge(partial(Kind::Counter, 2), false), Ok(Joined::Own));
    assert_eq!(overflowing(&flush(interval)), [2.0]);
}

#[test]
fn an_origin_that_is_known_has_a_limit_of_its_own_and_everybody_else_has_not() {
    let limits = Limits { contexts: 100, contexts_per_origin: 2, bytes: 0 };
    let mut table = Table::new(Seed::FIXED, Arc::new(Rules::default()), budget(limits));
    let mut folded = |origin: u32, name: &str| {
        let value = Value::Number(1.0);
        let sample = Sample { name: name.as_bytes(), kind: Kind::Counter, value, ..Sample::NONE };
        table.insert(&[sample], 0, origin, |_| (Tags::none(), Scope::Mixed)).folded
    };
    assert_eq!(["a", "b", "c", "a"].map(|name| folded(1, name)), [0, 0, 1, 0]);
    assert_eq!(["d", "e", "f"].map(|name| folded(2, name)), [0, 0, 1], "another origin");
    assert_eq!(["g", "h", "i", "j"].map(|name| folded(0, name)), [0; 4], "unknown ones share none");
}

#[test]
fn a_value_of_its_own_second_counts_as_a_context() {
    let limits = Limits { contexts: 1, ..Limits::default() };
    let mut table = Table::new(Seed::FIXED, Arc::new(Rules::default()), budget(limits));
    let mut folded = |second: u64| {
        let sample = Sample {
            name: b"t",
            kind: Kind::Counter,
            value: Value::Number(1.0),
            timestamp: std::num::NonZeroU64::new(second),
            ..Sample::NONE
        };
        table.insert(&[sample], 1_000, 0, |_| (Tags::none(), Scope::Mixed)).folded
    };
    assert_eq!([990, 990, 991, 990].map(&mut folded), [0, 0, 1, 0]);
    let mut interval = Interval::new(Seed::FIXED);
    interval.absorb(table.take());
    let top = interval.top(1);
    assert_eq!((top.samples, top.contexts), (vec![("t".into(), 3)], vec![("t".into(), 1)]), "and is told as one");
}
