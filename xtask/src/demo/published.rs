//! What the globals published of the sample application, read from their debug sinks' output.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the globals published for one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Published {
    pub(crate) count: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) users: f64,
}

/// By the Unix second in which an interval ends: a full set of values, or what is wrong with it.
pub(crate) fn by_interval(logs: &str) -> BTreeMap<i64, Result<Published, String>> {
    let mut points: BTreeMap<i64, Vec<(String, f64)>> = BTreeMap::new();
    for (timestamp, name, value) in logs.lines().filter_map(point) {
        points.entry(timestamp).or_default().push((name, value));
    }
    points.into_iter().map(|(timestamp, points)| (timestamp, Published::of(&points))).collect()
}

impl Published {
    fn of(points: &[(String, f64)]) -> Result<Self, String> {
        let one = |name: &str| {
            let values: Vec<f64> = points.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect();
            match values[..] {
                [value] => Ok(value),
                [] => Err(format!("{name} is not published yet")),
                _ => Err(format!("{name} is published {} times for one interval", values.len())),
            }
        };
        Ok(Self {
            count: one("sample.fleet.latency.count")?,
            min: one("sample.fleet.latency.min")?,
            max: one("sample.fleet.latency.max")?,
            p50: one("sample.fleet.latency.50percentile")?,
            p99: one("sample.fleet.latency.99percentile")?,
            users: one("sample.users")?,
        })
    }
}

/// `None` for a line that is no point, such as one of a global's own log.
fn point(line: &str) -> Option<(i64, String, f64)> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some((line["timestamp"].as_i64()?, line["name"].as_str()?.to_owned(), line["value"].as_f64()?))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The lines of one interval, as two globals write them.
    fn lines(timestamp: i64) -> String {
        let names = ["fleet.latency.max", "fleet.latency.min", "fleet.latency.count", "fleet.latency.50percentile"];
        let names = names.into_iter().chain(["fleet.latency.99percentile", "users"]);
        names.enumerate().fold(String::new(), |mut lines, (value, name)| {
            let point = r#","type":"gauge","tags":["service:checkout"],"interval_s":10.0}"#;
            writeln!(lines, r#"{{"timestamp":{timestamp},"name":"sample.{name}","value":{value}.5{point}"#).unwrap();
            lines
        })
    }

    #[test]
    fn intervals_are_told_apart_and_other_lines_are_passed_over() {
        let logs = format!("2026-01-01T00:00:00Z  INFO veneur: Ready\n{}{{\"x\":1}}\n{}", lines(10), lines(20));
        let expected = Published { max: 0.5, min: 1.5, count: 2.5, p50: 3.5, p99: 4.5, users: 5.5 };
        assert_eq!(by_interval(&logs), BTreeMap::from([(10, Ok(expected)), (20, Ok(expected))]));
    }

    #[test]
    fn a_statistic_that_is_missing_or_there_twice_is_named() {
        let of = |logs: &str| by_interval(logs).remove(&10).unwrap().unwrap_err();
        let all = lines(10);
        let (most, last) = all.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(of(most), "sample.users is not published yet");
        assert_eq!(of(&format!("{all}{last}\n")), "sample.users is published 2 times for one interval");
    }
}
