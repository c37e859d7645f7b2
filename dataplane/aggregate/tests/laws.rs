//! Laws of aggregation.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use veneur_aggregate::{Aggregate, Flush, Percentile, Publishing, Rules, Table};
use veneur_metric::{Kind, Sample, Scope, Stamp, Tags, Value};

const TEN: Duration = Duration::from_secs(10);

fn publishing(forwards: bool) -> Publishing {
    Publishing {
        forwards,
        percentiles: vec![Percentile::new(0.5), Percentile::new(0.99)],
        aggregates: vec![
            Aggregate::Min,
            Aggregate::Max,
            Aggregate::Count,
            Aggregate::Sum,
            Aggregate::Avg,
            Aggregate::Median,
        ],
    }
}

fn flush(table: Table, forwards: bool) -> Flush {
    let stamp = Stamp { boundary_ms: 10_000, interval_ms: 10_000 };
    table.flush(&publishing(forwards), Some(stamp), 10, TEN)
}

/// Kind, scope, tag section and value of a sample of some name.
type Emitted = (Kind, Scope, &'static str, f64);

fn emitted() -> impl Strategy<Value = Emitted> {
    (
        prop_oneof![Just(Kind::Counter), Just(Kind::Gauge), Just(Kind::Histogram), Just(Kind::Timer), Just(Kind::Set)],
        prop_oneof![Just(Scope::Mixed), Just(Scope::Local), Just(Scope::Global)],
        prop_oneof![Just("a:1,b:2"), Just("b:2,a:1"), Just("c:3"), Just("")],
        (1_i32..1_000).prop_map(f64::from),
    )
}

fn insert(table: &mut Table, &(kind, scope, tags, number): &Emitted) {
    let member = number.to_string();
    let value = if kind == Kind::Set { Value::Member(member.as_bytes()) } else { Value::Number(number) };
    // Points do not say which kind and scope they came from, so the name does.
    let name = format!("{kind}.{scope:?}");
    let sample = Sample { name: name.as_bytes(), kind, value, rate: 1.0, tags: tags.as_bytes(), scope };
    let read = |raw: &[u8]| Tags::new([std::str::from_utf8(raw).expect("ascii")]);
    assert!(table.insert(&Rules::default(), &sample, read));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_statistic_of_a_context_is_published_by_exactly_one_tier(
        emitted in prop::collection::vec(emitted(), 1..60)
    ) {
        let mut local = Table::default();
        emitted.iter().for_each(|one| insert(&mut local, one));
        let mut global = Table::default();
        let mut published: BTreeMap<String, usize> = BTreeMap::new();
        let local = flush(local, true);
        for partial in local.partials {
            let scope = partial.context.scope;
            global.merge(partial, false).map_err(|refused| TestCaseError::fail(format!("{refused}: {scope:?}")))?;
        }
        let mut tiers = local.points;
        tiers.extend(flush(global, false).points);
        for point in &tiers {
            *published.entry(format!("{} {:?}", point.name, point.tags)).or_default() += 1;
        }
        for (series, times) in &published {
            prop_assert_eq!(*times, 1, "{}", series);
        }
        let contexts: std::collections::BTreeSet<_> = emitted
            .iter()
            .map(|(kind, scope, tags, _)| (*kind, *scope, Tags::new([*tags])))
            .collect();
        let statistics = |kind| if matches!(kind, Kind::Histogram | Kind::Timer) { 8 } else { 1 };
        prop_assert_eq!(published.len(), contexts.iter().map(|(kind, ..)| statistics(*kind)).sum::<usize>());
    }

    #[test]
    fn counts_are_conserved_through_any_grouping_of_tables(
        emitted in prop::collection::vec(emitted(), 1..60),
        readers in 1_usize..4,
    ) {
        let mut tables: Vec<Table> = (0..readers).map(|_| Table::default()).collect();
        let mut expected = BTreeMap::<&str, f64>::new();
        for (index, one) in emitted.iter().enumerate() {
            insert(&mut tables[index % readers], one);
            match one.0 {
                Kind::Counter => *expected.entry("counter").or_default() += one.3,
                Kind::Histogram | Kind::Timer => *expected.entry("count").or_default() += 1.0,
                _ => {}
            }
        }
        let mut whole = Table::default();
        tables.into_iter().for_each(|table| whole.absorb(table));
        let points = flush(whole, false).points;
        let sum = |name: &str| points.iter().filter(|point| point.name.ends_with(name)).map(|point| point.value).sum::<f64>();
        prop_assert!((sum(".count") - expected.get("count").copied().unwrap_or_default()).abs() < 1e-9);
        let counters: f64 = points
            .iter()
            .filter(|point| point.name.starts_with("counter.") && point.kind == veneur_metric::PointKind::Count)
            .map(|point| point.value)
            .sum();
        prop_assert!((counters - expected.get("counter").copied().unwrap_or_default()).abs() < 1e-9);
    }

    #[test]
    fn permuting_tags_makes_no_second_series(values in prop::collection::vec(1_i32..100, 2..20)) {
        let mut table = Table::default();
        for (index, value) in values.iter().enumerate() {
            let tags = if index % 2 == 0 { "a:1,b:2" } else { "b:2,a:1" };
            insert(&mut table, &(Kind::Counter, Scope::Mixed, tags, f64::from(*value)));
        }
        prop_assert_eq!(table.len(), 1);
    }
}

#[test]
fn a_late_gauge_never_overwrites_a_newer_one() {
    use veneur_metric::{Context, Partial, PartialValue};
    let gauge = |value| Partial {
        context: Context { name: "g".into(), tags: Tags::none(), kind: Kind::Gauge, scope: Scope::Global },
        value: PartialValue::Gauge(value),
        stamp: None,
    };
    let mut table = Table::default();
    table.merge(gauge(1.0), true).expect("fits");
    table.merge(gauge(2.0), false).expect("fits");
    table.merge(gauge(3.0), true).expect("fits");
    let points = flush(table, false).points;
    assert_eq!(points.iter().map(|point| point.value).collect::<Vec<_>>(), [2.0]);
}

#[test]
fn one_name_in_two_scopes_has_one_percentile_over_both() {
    use veneur_metric::{Context, Partial, PartialValue};
    use veneur_sketch::TDigest;
    let partial = |scope, value| {
        let mut digest = TDigest::new();
        assert!(digest.insert(value, 1.0));
        let context = Context { name: "x".into(), tags: Tags::none(), kind: Kind::Timer, scope };
        Partial { context, value: PartialValue::Digest(digest), stamp: None }
    };
    let mut table = Table::default();
    table.merge(partial(Scope::Global, 100.0), false).expect("fits");
    table.merge(partial(Scope::Mixed, 1.0), false).expect("fits");
    let points = flush(table, false).points;
    let named = |name: &str| -> Vec<f64> {
        points.iter().filter(|point| &*point.name == name).map(|point| point.value).collect()
    };
    assert_eq!(named("x.50percentile").len(), 1, "{points:?}");
    assert!(named("x.99percentile")[0] > 90.0, "{points:?}");
    assert_eq!(named("x.count"), [1.0], "aggregates are of what was global; pods publish those of the rest");
}

#[test]
fn a_refused_value_leaves_no_series() {
    let mut table = Table::default();
    let value = Value::Number(1e308);
    let sample = Sample { name: b"x", kind: Kind::Counter, value, rate: 1e-300, tags: b"", scope: Scope::Mixed };
    assert!(!table.insert(&Rules::default(), &sample, |_| Tags::none()));
    assert!(table.is_empty());
}
