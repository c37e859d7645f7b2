//! Each aggregate of a distribution, to the last digit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use veneur_aggregate::{Aggregate, Budget, Inserted, Interval, Limits, Publishing, Rules, Seed, Table};
use veneur_metric::{Kind, PointKind, Sample, Scope, Tags, Value};

const EVERY: [Aggregate; 7] = [
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::Median,
    Aggregate::Avg,
    Aggregate::Count,
    Aggregate::Sum,
    Aggregate::Hmean,
];

/// What an instance that forwards nothing publishes of these values.
fn published(kind: Kind, values: &[f64], aggregates: &[Aggregate]) -> BTreeMap<String, (PointKind, f64)> {
    let budget = Arc::new(Budget::new(Limits::default()));
    let mut table = Table::new(Seed::FIXED, Arc::new(Rules::default()), budget);
    for value in values {
        let sample = Sample { name: b"a", kind, value: Value::Number(*value), ..Sample::NONE };
        let inserted = table.insert(&[sample], 1_000_000, 0, |_: &Sample<'_>| (Tags::none(), Scope::Mixed));
        assert_eq!(inserted, Inserted { aggregated: 1, ..Inserted::default() });
    }
    let mut interval = Interval::new(Seed::FIXED);
    interval.absorb(table.take());
    let publishing = Publishing { forwards: false, percentiles: Vec::new(), aggregates: aggregates.to_vec() };
    let mut points = BTreeMap::new();
    interval.flush(&publishing, None, 10, Duration::from_secs(10), |part| {
        assert_eq!(part.overflowed, 0);
        for point in part.points {
            let before = points.insert(point.name.to_string(), (point.kind, point.value));
            assert_eq!(before, None, "{} is published once", point.name);
        }
    });
    points
}

#[test]
fn every_aggregate_has_its_name_kind_and_exact_value() {
    use PointKind::{Count, Gauge};
    // In the order of `EVERY`. A median is halfway between the midpoints beside the middle value, as the original's. The
    // values of the second add up to 0, which is a sum and an average.
    let tables = [
        ([1.0, 2.0, 4.0], [1.0, 4.0, 2.25, 7.0 / 3.0, 3.0, 7.0, 3.0 / 1.75]),
        ([-2.0, 1.0, 1.0], [-2.0, 1.0, 0.25, 0.0, 3.0, 0.0, 2.0]),
    ];
    let names = ["a.min", "a.max", "a.median", "a.avg", "a.count", "a.sum", "a.hmean"];
    for (values, expected) in tables {
        for kind in [Kind::Histogram, Kind::Timer] {
            let kinds = names.map(|name| if name == "a.count" { Count } else { Gauge });
            let all: BTreeMap<String, (PointKind, f64)> = names
                .iter()
                .zip(kinds.into_iter().zip(expected))
                .map(|(name, value)| ((*name).to_owned(), value))
                .collect();
            assert_eq!(published(kind, &values, &EVERY), all, "{kind} of {values:?}");
            for (aggregate, name) in EVERY.into_iter().zip(names) {
                let alone = published(kind, &values, &[aggregate]);
                assert_eq!(alone, BTreeMap::from([(name.to_owned(), all[name])]), "{kind} of {values:?}");
            }
        }
    }
    assert_eq!(published(Kind::Timer, &[1.0], &[]), BTreeMap::new(), "none is asked for");
}
