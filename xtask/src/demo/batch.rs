//! What the sample application says it emitted, read from its pods' logs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What several pods emitted within one interval, exactly.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// Milliseconds, in ascending order.
    pub(crate) latencies: Vec<f64>,
    pub(crate) users: BTreeSet<String>,
    /// Messages that clients could not send: with any, the rest is not what was sent.
    pub(crate) dropped: u64,
}

/// One printed line; a pod prints several for each batch.
struct Part {
    pod: String,
    number: u64,
    parts: u64,
    batch: Batch,
}

/// The batches that all of `pods` have printed to the end, by the Unix second in which their interval ends.
pub(crate) fn complete(logs: &str, pods: &BTreeSet<String>) -> BTreeMap<i64, Batch> {
    let mut parts: BTreeMap<i64, Vec<Part>> = BTreeMap::new();
    for (boundary, part) in logs.lines().filter_map(Part::of_line) {
        parts.entry(boundary).or_default().push(part);
    }
    parts.retain(|_, parts| {
        let numbers = |pod| parts.iter().filter(move |part| &part.pod == pod).map(|part| part.number);
        let wanted = |pod| parts.iter().find(|part| &part.pod == pod).map(|part| part.parts);
        pods.iter().all(|pod| wanted(pod).is_some_and(|wanted| numbers(pod).eq(1..=wanted)))
    });
    parts.into_iter().map(|(boundary, parts)| (boundary, Batch::of(parts))).collect()
}

impl Batch {
    fn of(parts: Vec<Part>) -> Self {
        let mut all = Self::default();
        for Part { batch, .. } in parts {
            all.latencies.extend(batch.latencies);
            all.users.extend(batch.users);
            all.dropped += batch.dropped;
        }
        all.latencies.sort_by(f64::total_cmp);
        all
    }
}

impl Part {
    /// `None` for a line that is none of the application's batches.
    fn of_line(line: &str) -> Option<(i64, Self)> {
        let line: Value = serde_json::from_str(line).ok()?;
        let latencies = line["fleet_latency"].as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
        let users = line["users"].as_array()?.iter().map(|user| user.as_str().map(str::to_owned));
        let batch =
            Batch { latencies, users: users.collect::<Option<_>>()?, dropped: line["dropped"].as_u64().unwrap_or(0) };
        let (number, parts) = (line["part"].as_u64()?, line["parts"].as_u64()?);
        Some((line["boundary"].as_i64()?, Self { pod: line["pod"].as_str()?.to_owned(), number, parts, batch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGS: &str = r#"
{"boundary":20,"pod":"a","part":1,"parts":2,"fleet_latency":[3.5,1.0],"users":["u1","u2"]}
{"boundary":20,"pod":"b","part":1,"parts":1,"fleet_latency":[2.0],"users":["u2"],"requests":7,"dropped":1}
{"boundary":20,"pod":"a","part":2,"parts":2,"fleet_latency":[9],"users":[],"requests":5,"dropped":2}
Traceback (most recent call last):
{"boundary":30,"pod":"a","part":1,"parts":2,"fleet_latency":[1.0],"users":["u1"]}
{"boundary":30,"pod":"b","part":1,"parts":1,"fleet_latency":[1.0],"users":["u1"],"dropped":0}
"#;

    fn pods(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_batch_is_complete_when_every_pod_has_printed_every_part() {
        let batches = complete(LOGS, &pods(&["a", "b"]));
        let expected = Batch { latencies: vec![1.0, 2.0, 3.5, 9.0], users: pods(&["u1", "u2"]), dropped: 3 };
        assert_eq!(batches, BTreeMap::from([(20, expected)]), "at 30, a part of pod a is missing");
        assert!(complete(LOGS, &pods(&["a", "b", "c"])).is_empty(), "pod c has printed nothing");
    }
}
