//! Laws of aggregation.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use veneur_aggregate::{
    Aggregate, Budget, Cells, Flush, Inserted, Interval, Limits, Percentile, Publishing, Rules, Seed, Table,
};
use veneur_metric::{Kind, PointKind, Sample, Scope, Stamp, Tags, Value};

const TEN: Duration = Duration::from_secs(10);
const NOW_S: u64 = 1_000_000;

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

fn flush(interval: Interval, forwards: bool) -> Flush {
    let stamp = Stamp { boundary_ms: 10_000, interval_ms: 10_000 };
    let mut whole = Flush::default();
    interval.flush(&publishing(forwards), Some(stamp), 10, TEN, |part| {
        whole.points.extend(part.points);
        whole.partials.extend(part.partials);
        whole.overflowed += part.overflowed;
    });
    whole
}

fn flush_cells(cells: Cells, forwards: bool) -> Flush {
    let mut interval = Interval::new(Seed::FIXED);
    interval.absorb(cells);
    flush(interval, forwards)
}

fn table(limits: Limits) -> (Table, Arc<Budget>) {
    let budget = Arc::new(Budget::new(limits));
    let rules = Rules { idle_intervals: 2, ..Rules::default() };
    (Table::new(Seed::FIXED, Arc::new(rules), Arc::clone(&budget)), budget)
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

fn insert_sample(table: &mut Table, sample: Sample<'_>, scope: Scope) -> Inserted {
    let read = |sample: &Sample<'_>| (Tags::new([std::str::from_utf8(sample.tags).expect("ascii")]), scope);
    table.insert(&[sample], NOW_S, 0, read)
}

fn insert(table: &mut Table, &(kind, scope, tags, number): &Emitted) {
    let member = number.to_string();
    let value = if kind == Kind::Set { Value::Member(member.as_bytes()) } else { Value::Number(number) };
    // Points do not say which kind and scope they came from, so the name does.
    let name = format!("{kind}.{scope:?}");
    let sample = Sample { name: name.as_bytes(), kind, value, tags: tags.as_bytes(), ..Sample::NONE };
    assert_eq!(insert_sample(table, sample, scope), Inserted { aggregated: 1, ..Inserted::default() });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_statistic_of_a_context_is_published_by_exactly_one_tier(
        emitted in prop::collection::vec(emitted(), 1..60)
    ) {
        let (mut local, _) = table(Limits::default());
        emitted.iter().for_each(|one| insert(&mut local, one));
        let mut global = Interval::new(Seed::FIXED);
        let mut published: BTreeMap<String, usize> = BTreeMap::new();
        let local = flush_cells(local.take(), true);
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
        let mut tables: Vec<Table> = (0..readers).map(|_| table(Limits::default()).0).collect();
        let mut expected = BTreeMap::<&str, f64>::new();
        for (index, one) in emitted.iter().enumerate() {
            insert(&mut tables[index % readers], one);
            match one.0 {
                Kind::Counter => *expected.entry("counter").or_default() += one.3,
                Kind::Histogram | Kind::Timer => *expected.entry("count").or_default() += 1.0,
                _ => {}
            }
        }
        let mut whole = Interval::new(Seed::FIXED);
        tables.iter_mut().for_each(|table| whole.absorb(table.take()));
        let points = flush(whole, false).points;
        let sum = |name: &str| points.iter().filter(|point| point.name.ends_with(name)).map(|point| point.value).sum::<f64>();
        prop_assert!((sum(".count") - expected.get("count").copied().unwrap_or_default()).abs() < 1e-9);
        let counters: f64 = points
            .iter()
            .filter(|point| point.name.starts_with("counter.") && point.kind == PointKind::Count)
            .map(|point| point.value)
            .sum();
        prop_assert!((counters - expected.get("counter").copied().unwrap_or_default()).abs() < 1e-9);
    }

    #[test]
    fn permuting_tags_makes_no_second_series(values in prop::collection::vec(1_i32..100, 2..20)) {
        let (mut table, _) = table(Limits::default());
        for (index, value) in values.iter().enumerate() {
            let tags = if index % 2 == 0 { "a:1,b:2" } else { "b:2,a:1" };
            insert(&mut table, &(Kind::Counter, Scope::Mixed, tags, f64::from(*value)));
            insert(&mut table, &(Kind::Gauge, Scope::Mixed, tags, f64::from(*value)));
        }
        let points = flush_cells(table.take(), false).points;
        prop_assert_eq!(points.len(), 2);
        let shown: Vec<String> = points.iter().map(|point| point.value.to_string()).collect();
        let last = values.last().expect("two at least");
        prop_assert_eq!(shown, [values.iter().sum::<i32>().to_string(), last.to_string()], "the last spelling wins");
    }

    #[test]
    fn what_is_kept_stays_within_the_budget_and_every_sample_is_somewhere(
        sent in prop::collection::vec((emitted(), 0_u32..200, 1_usize..80), 1..200),
        limits in (1_usize..60, 0_usize..20, 20_000_usize..200_000)
            .prop_map(|(contexts, contexts_per_origin, bytes)| Limits { contexts, contexts_per_origin, bytes }),
        origins in 1_u32..4,
        following in 1_usize..90,
    ) {
        let (mut table, budget) = table(limits);
        let (mut total, mut published, mut folded) = (0_u64, 0.0, 0);
        for (index, ((_, scope, tags, number), name, times)) in sent.iter().enumerate() {
            let name = format!("timer.{name}");
            let sample = Sample {
                name: name.as_bytes(),
                tags: tags.as_bytes(),
                kind: Kind::Timer,
                value: Value::Number(*number),
                ..Sample::NONE
            };
            for _ in 0..*times {
                let read = |_: &Sample<'_>| (Tags::none(), *scope);
                let origin = u32::try_from(index).expect("few") % origins;
                let inserted = table.insert(&[sample], NOW_S, origin, read);
                prop_assert_eq!((inserted.aggregated, inserted.overflow), (1, 0));
                folded += inserted.folded;
                total += 1;
            }
            prop_assert!(budget.contexts() <= limits.contexts);
            prop_assert!(budget.bytes() <= limits.bytes, "{} of {}", budget.bytes(), limits.bytes);
            if index % following == following - 1 {
                table.follow(Arc::new(Rules { idle_intervals: 1, ..Rules::default() }));
            }
            if index % 50 == 49 {
                published += count(&flush_cells(table.take(), false));
            }
        }
        let last = flush_cells(table.take(), false);
        published += count(&last);
        prop_assert!((published - total as f64).abs() < 1e-9, "{} of {}", published, total);
        let overflowing = |flush: &Flush| flush.points.iter().any(|point| &*point.name == "veneur.overflow.count");
        prop_assert!(folded > 0 || !overflowing(&last));
        drop(table);
        prop_assert_eq!((budget.contexts(), budget.bytes()), (0, 0), "all is given back");
    }
}

fn count(flush: &Flush) -> f64 {
    flush.points.iter().filter(|point| point.name.ends_with(".count")).map(|point| point.value).sum()
}

#[test]
fn a_context_of_the_overflow_is_the_instances_own_and_says_so() {
    let (mut table, _) = table(Limits { contexts: 1, ..Limits::default() });
    for name in ["a", "b", "c"] {
        let sample = Sample { name: name.as_bytes(), value: Value::Number(2.0), ..Sample::NONE };
        insert_sample(&mut table, sample, Scope::Global);
    }
    let Flush { points, partials, .. } = flush_cells(table.take(), true);
    assert_eq!((partials.len(), points.len()), (1, 1));
    let shown = (&*points[0].name, points[0].tags.joined(), points[0].value);
    assert_eq!(shown, ("veneur.overflow", "metric_type:counter,veneur_overflow:true", 4.0));
}

#[test]
fn a_spelling_is_remembered_for_the_idle_intervals_and_then_forgotten() {
    let (mut table, budget) = table(Limits::default());
    let emit = |table: &mut Table, name: &str| {
        let sample = Sample { name: name.as_bytes(), value: Value::Number(1.0), ..Sample::NONE };
        insert_sample(table, sample, Scope::Mixed);
    };
    emit(&mut table, "once");
    for interval in 1..=3 {
        table.take();
        assert_eq!(table.spellings(), if interval == 1 { 1 } else { 2 }, "interval {interval}");
        emit(&mut table, "always");
        emit(&mut table, "always");
    }
    table.take();
    // A sweep goes on with what is inserted, a few slots at a time.
    for _ in 0..8 {
        emit(&mut table, "always");
    }
    assert_eq!(table.spellings(), 1, "two idle intervals are over");
    assert!(budget.bytes() > 0);
}

#[test]
fn who_follows_other_rules_forms_each_context_anew_when_it_comes_next() {
    let (mut table, budget) = table(Limits::default());
    let emit = |table: &mut Table, name: &str, tags: &'static str| {
        let sample = Sample { name: name.as_bytes(), value: Value::Number(1.0), ..Sample::NONE };
        table.insert(&[sample], NOW_S, 0, |_: &Sample<'_>| (Tags::new([tags]), Scope::Mixed));
    };
    let tags = |table: &mut Table| -> Vec<String> {
        let points = flush_cells(table.take(), false).points;
        let mut tags: Vec<_> = points.iter().map(|point| format!("{}={}", point.tags.joined(), point.value)).collect();
        tags.sort();
        tags
    };
    emit(&mut table, "a", "pod:unknown");
    emit(&mut table, "gone", "pod:unknown");
    table.take();
    let rules = Arc::new(Rules { idle_intervals: 1, ..Rules::default() });
    emit(&mut table, "a", "pod:never asked, as the spelling is known");
    table.follow(Arc::clone(&rules));
    let bytes = budget.bytes();
    emit(&mut table, "a", "pod:web-0");
    emit(&mut table, "a", "pod:never asked, as the spelling is known");
    assert_eq!(tags(&mut table), ["pod:unknown=1", "pod:web-0=2"], "what was formed in this interval stays");
    table.follow(rules);
    emit(&mut table, "a", "pod:unknown");
    assert_eq!(tags(&mut table), ["pod:unknown=1"]);
    for _ in 0..4 {
        table.take();
        (0..8).for_each(|_| emit(&mut table, "b", ""));
    }
    assert_eq!(table.spellings(), 1, "what never came again is swept out");
    assert!(budget.bytes() < bytes, "and so is what it cost");
}

#[test]
fn a_value_with_its_own_second_is_published_there_and_an_untimely_one_now() {
    let (mut table, _) = table(Limits::default());
    let emit = |table: &mut Table, kind, second: u64, number| {
        let timestamp = std::num::NonZeroU64::new(second);
        let sample = Sample { name: b"x", kind, value: Value::Number(number), rate: 0.5, timestamp, ..Sample::NONE };
        insert_sample(table, sample, Scope::Mixed)
    };
    for (second, number) in [(NOW_S - 60, 1.0), (NOW_S - 60, 2.0), (NOW_S - 59, 4.0)] {
        assert_eq!(emit(&mut table, Kind::Counter, second, number).untimely, 0);
    }
    emit(&mut table, Kind::Gauge, NOW_S - 60, 7.0);
    emit(&mut table, Kind::Gauge, NOW_S - 60, 8.0);
    assert_eq!(emit(&mut table, Kind::Counter, NOW_S - 3_601, 8.0).untimely, 1);
    assert_eq!(emit(&mut table, Kind::Counter, NOW_S + 60, 16.0).untimely, 1);
    assert_eq!(emit(&mut table, Kind::Counter, u64::MAX, 0.0).untimely, 1, "no time overflows");
    let mut points: Vec<(PointKind, i64, f64)> = flush_cells(table.take(), false)
        .points
        .iter()
        .map(|point| (point.kind, point.timestamp, point.value))
        .collect();
    points.sort_by(|a, b| (a.1, a.2).partial_cmp(&(b.1, b.2)).expect("finite"));
    let minute_ago = i64::try_from(NOW_S).expect("fits") - 60;
    assert_eq!(
        points,
        [
            (PointKind::Count, 10, 48.0),
            (PointKind::Count, minute_ago, 6.0),
            (PointKind::Gauge, minute_ago, 8.0),
            (PointKind::Count, minute_ago + 1, 8.0)
        ]
    );
}

#[test]
fn the_heaviest_names_are_told() {
    let (mut table, _) = table(Limits { contexts: 60, ..Limits::default() });
    for number in 0..1_000_u32 {
        let tags = format!("user:{number}");
        let sample = Sample { name: b"bomb", tags: tags.as_bytes(), value: Value::Number(1.0), ..Sample::NONE };
        insert_sample(&mut table, sample, Scope::Mixed);
        let sample = Sample { name: b"busy", value: Value::Number(1.0), ..Sample::NONE };
        insert_sample(&mut table, sample, Scope::Mixed);
    }
    let mut interval = Interval::new(Seed::FIXED);
    interval.absorb(table.take());
    let top = interval.top(2);
    assert_eq!(top.samples[0], ("busy".into(), 1_000));
    assert_eq!(top.contexts[0], ("bomb".into(), 59));
    let (name, samples) = &top.folded[0];
    assert!(&**name == "bomb" && (900..=941).contains(samples), "{name} {samples}");
}

#[test]
fn of_one_gauge_in_two_tables_the_value_set_last_is_published() {
    let (mut busy, budget) = table(Limits::default());
    let mut idle = Table::new(Seed::FIXED, Arc::new(Rules::default()), budget);
    let set = |table: &mut Table, name: &str, value: f64, timestamp: Option<u64>| {
        let timestamp = timestamp.and_then(std::num::NonZeroU64::new);
        let (name, value) = (name.as_bytes(), Value::Number(value));
        insert_sample(table, Sample { name, kind: Kind::Gauge, value, timestamp, ..Sample::NONE }, Scope::Mixed);
    };
    (0..1_000).for_each(|other| set(&mut busy, &format!("other.{other}"), 0.0, None));
    for second in [None, Some(NOW_S - 5)] {
        set(&mut busy, "g", 1.0, second);
        set(&mut idle, "g", 2.0, second);
    }
    let (idle, busy) = (idle.take(), busy.take());
    let mut interval = Interval::new(Seed::FIXED);
    [idle, busy].into_iter().for_each(|cells| interval.absorb(cells));
    let points = flush(interval, false).points;
    let published = points.iter().filter(|point| &*point.name == "g").map(|point| point.value);
    assert_eq!(published.collect::<Vec<_>>(), [2.0, 2.0], "in whichever order they come together");
}

#[test]
fn a_late_gauge_never_overwrites_a_newer_one() {
    use veneur_metric::{Context, Partial, PartialValue};
    let gauge = |value| Partial {
        context: Context { name: "g".into(), tags: Tags::none(), kind: Kind::Gauge, scope: Scope::Global },
        value: PartialValue::Gauge(value),
        stamp: None,
    };
    let mut table = Interval::new(Seed::FIXED);
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
    let mut table = Interval::new(Seed::FIXED);
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
    let (mut table, _) = table(Limits::default());
    let value = Value::Number(1e308);
    for kind in [Kind::Counter, Kind::Timer] {
        let sample = Sample { name: b"x", kind, value, rate: f64::MIN_POSITIVE, ..Sample::NONE };
        assert_eq!(insert_sample(&mut table, sample, Scope::Mixed).overflow, 1, "{kind}");
    }
    let Flush { points, partials, .. } = flush_cells(table.take(), true);
    assert!(points.is_empty() && partials.is_empty(), "{points:?} {partials:?}");
}
