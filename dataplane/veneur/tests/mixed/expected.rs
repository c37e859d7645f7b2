//! What is sent, and what has to be published of it.

use std::collections::{BTreeMap, BTreeSet};

use veneur_intake::Received;

/// Sent last.
pub(crate) const MARKER: &str = "mixed.marker";

/// Series of each kind.
const SERIES: usize = 2;

/// Digests of global scope that each local sends: timers and histograms.
pub(crate) const DEEP: u64 = 2 * SERIES as u64;

/// Partials of a local in an interval: counters, gauges, digests and two sets.
pub(crate) const PARTIALS: u64 = 6 * SERIES as u64 + 2;

/// Its own points: three aggregates of each mixed digest, and a counter.
pub(crate) const POINTS: u64 = 2 * 3 * SERIES as u64 + 1;

/// Values of each timer: 1, 2, … of which each local gets every other one.
const VALUES: usize = 200;

/// Members of the large set: each local has 600, 200 are with both.
const MEMBERS: usize = 1_000;

/// Names of digests, their types and whether they are of global scope.
const DIGESTS: [(&str, &str, bool); 4] = [
    ("mixed.latency", "ms", false),
    ("mixed.size", "h", false),
    ("mixed.deep.latency", "ms", true),
    ("mixed.deep.size", "h", true),
];

/// What local 0 or 1 is sent.
pub(crate) fn lines(local: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for series in 0..SERIES {
        for _ in 0..=local {
            lines.push(format!("mixed.hits.{series}:{}|c|#veneurglobalonly,b:2,a:1", series + 1));
        }
        lines.push(format!("mixed.level.{series}:{series}.5|g|#veneurglobalonly,b:2,a:1"));
        for value in (1..=VALUES).filter(|value| value % 2 == local) {
            // 7 and 200 have no common divisor: a permutation.
            let value = value * 7 % VALUES + 1;
            for (name, kind, global) in DIGESTS {
                let scope = if global { "veneurglobalonly," } else { "" };
                lines.push(format!("{name}.{series}:{value}|{kind}|#{scope}b:2,a:1"));
            }
        }
    }
    lines.extend((0..600).map(|member| format!("mixed.users:{}|s|#b:2,a:1", local * 400 + member)));
    lines.extend((0..4).map(|member| format!("mixed.few:{}|s", local + member)));
    lines.extend((0..10).map(|_| "mixed.own:1|c|#b:2,a:1".to_owned()));
    lines
}

/// What a point says: of a counter its total.
fn value(point: &Received) -> f64 {
    if point.kind == "rate" { point.total() } else { point.value }
}

/// Problems of what the global published. `deep`: whether digests of global scope get there.
pub(crate) fn of_the_global(received: &[Received], deep: bool) -> Vec<String> {
    let mut wanted: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for series in 0..SERIES {
        wanted.insert(format!("mixed.hits.{series}"), (3.0 * (series + 1) as f64, 0.0));
        wanted.insert(format!("mixed.level.{series}"), (series as f64 + 0.5, 0.0));
        for (name, _, global) in DIGESTS {
            if global && !deep {
                continue;
            }
            let name = format!("{name}.{series}");
            wanted.insert(format!("{name}.50percentile"), ((VALUES + 1) as f64 / 2.0, 1.0));
            wanted.insert(format!("{name}.99percentile"), (VALUES as f64 * 0.99 + 0.5, 1.0));
            if global {
                wanted.insert(format!("{name}.count"), (VALUES as f64, 0.0));
                wanted.insert(format!("{name}.min"), (1.0, 0.0));
                wanted.insert(format!("{name}.max"), (VALUES as f64, 0.0));
            }
        }
    }
    wanted.insert("mixed.users".to_owned(), (MEMBERS as f64, 0.0));
    wanted.insert("mixed.few".to_owned(), (5.0, 0.0));
    wanted.insert(MARKER.to_owned(), (1.0, 0.0));
    let mut problems = Vec::new();
    let mut points: BTreeMap<&str, Vec<&Received>> = BTreeMap::new();
    for point in received.iter().filter(|point| point.metric.starts_with("mixed.")) {
        points.entry(&point.metric).or_default().push(point);
    }
    for (name, (right, within)) in &wanted {
        let found = points.remove(name.as_str()).unwrap_or_default();
        let [point] = found.as_slice() else {
            problems.push(format!("{name} was published {} times: {found:?}", found.len()));
            continue;
        };
        let got = value(point);
        if (got - right).abs() > within + 1e-6 {
            problems.push(format!("{name} is {got} instead of {right}"));
        }
        let tagged = name != "mixed.few" && name != MARKER;
        if tagged && point.tags != ["a:1", "b:2"] {
            problems.push(format!("{name} has tags {:?}", point.tags));
        }
    }
    problems.extend(points.keys().map(|name| format!("{name} was published by the global")));
    problems
}

/// Problems of what the locals published.
pub(crate) fn of_the_locals(received: &[Received]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for point in received.iter().filter(|point| point.metric.starts_with("mixed.")) {
        if !seen.insert((&point.metric, &point.host)) {
            problems.push(format!("{} was published twice by {:?}", point.metric, point.host));
        }
        *totals.entry(&point.metric).or_default() += value(point);
    }
    let mut wanted = vec![("mixed.own".to_owned(), 20.0)];
    for (name, _, _) in DIGESTS.iter().filter(|(_, _, global)| !global) {
        for series in 0..SERIES {
            wanted.push((format!("{name}.{series}.count"), VALUES as f64));
            wanted.push((format!("{name}.{series}.min"), 3.0));
            wanted.push((format!("{name}.{series}.max"), (2 * VALUES - 1) as f64));
        }
    }
    for (name, right) in &wanted {
        let got = totals.remove(name.as_str()).unwrap_or_default();
        if (got - right).abs() > 1e-6 {
            problems.push(format!("{name} is {got} at the locals instead of {right}"));
        }
    }
    problems.extend(totals.keys().map(|name| format!("{name} was published by a local")));
    problems
}
