//! Where CPU time goes, by thread, in the format of `go tool pprof`.
//!
//! A profile of functions would take an unwinder that runs in a signal handler, which no crate offers without unsafe code
//! that can deadlock; `perf` does that from outside. What the kernel counts for each thread costs two looks at `/proc`:
//! readers, workers and the rest are told apart by their names.

use std::{collections::BTreeMap, time::Duration};

use prost::Message;

/// A user-space tick in `/proc`, where the kernel does not count nanoseconds: 100 a second on every Linux of today.
const TICK_NS: u64 = 10_000_000;

/// CPU time of each thread: by thread id, its name and nanoseconds.
pub(super) type Threads = BTreeMap<u64, (String, u64)>;

/// The threads of this process.
pub(super) fn threads() -> Threads {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Threads::new() };
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u64| Some((id, thread(id)?))).collect()
}

/// `None`: it ended meanwhile.
fn thread(id: u64) -> Option<(String, u64)> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/task/{id}/{file}")).ok();
    let name = read("comm")?.trim_end().to_owned();
    let exact = read("schedstat").and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    let ticks = || {
        let stat = read("stat")?;
        // Behind the name, which may hold anything: the 14th and 15th fields are user and system ticks.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: Vec<u64> = fields.split_ascii_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
        Some(ticks.iter().sum::<u64>() * TICK_NS)
    };
    Some((name, exact.or_else(ticks)?))
}

/// The difference of two looks as a profile.
pub(super) fn encode(before: &Threads, after: &Threads, began_ns: u64, took: Duration) -> Vec<u8> {
    let mut profile = Profile {
        string_table: vec![String::new()],
        time_nanos: i64::try_from(began_ns).unwrap_or(i64::MAX),
        duration_nanos: i64::try_from(took.as_nanos()).unwrap_or(i64::MAX),
        period: 1,
        ..Profile::default()
    };
    let (cpu, nanoseconds, tid) =
        (profile.text("cpu".into()), profile.text("nanoseconds".into()), profile.text("tid".into()));
    profile.sample_type = vec![ValueType { kind: cpu, unit: nanoseconds }];
    profile.period_type = Some(ValueType { kind: cpu, unit: nanoseconds });
    let mut functions: BTreeMap<&str, u64> = BTreeMap::new();
    for (id, (name, now)) in after {
        let spent = now.saturating_sub(before.get(id).map_or(0, |(_, before)| *before));
        if spent == 0 {
            continue;
        }
        let next = functions.len() as u64 + 1;
        let function = *functions.entry(name).or_insert(next);
        if function == next {
            let name = profile.text(name.clone());
            profile.function.push(Function { id: function, name, system_name: name, filename: 0 });
            let line = vec![Line { function_id: function, line: 0 }];
            profile.location.push(Location { id: function, line });
        }
        let label = vec![Label { key: tid, num: i64::try_from(*id).unwrap_or_default() }];
        let value = vec![i64::try_from(spent).unwrap_or(i64::MAX)];
        profile.sample.push(Sample { location_id: vec![function], value, label });
    }
    profile.encode_to_vec()
}

impl Profile {
    /// Index of a text in the table of texts.
    fn text(&mut self, text: String) -> i64 {
        self.string_table.push(text);
        i64::try_from(self.string_table.len() - 1).unwrap_or_default()
    }
}

// As much of pprof's profile.proto as is written here.

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "3")]
    num: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_tells_threads_by_their_names() {
        let thread = |name: &str, ns| (name.to_owned(), ns);
        let before = Threads::from([(1, thread("veneur", 5)), (2, thread("udp", 10))]);
        let after = Threads::from([
            (1, thread("veneur", 5)),
            (2, thread("udp", 110)),
            (3, thread("udp", 7)),
            (4, thread("x", 1)),
        ]);
        let bytes = encode(&before, &after, 1_000, Duration::from_secs(1));
        let profile = Profile::decode(bytes.as_slice()).expect("a profile");
        let name = |function: u64| {
            let found = profile.function.iter().find(|known| known.id == function).expect("known");
            profile.string_table[usize::try_from(found.name).expect("an index")].as_str()
        };
        let samples: Vec<_> = profile
            .sample
            .iter()
            .map(|sample| (name(sample.location_id[0]), sample.value[0], sample.label[0].num))
            .collect();
        assert_eq!(samples, [("udp", 100, 2), ("udp", 7, 3), ("x", 1, 4)]);
        assert_eq!(profile.function.len(), 2, "one for each name");
    }

    #[test]
    fn this_threads_time_is_seen() {
        let before: u64 = threads().values().map(|(_, ns)| ns).sum();
        let mut number = 1_u64;
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(50) {
            number = std::hint::black_box(number.wrapping_mul(31));
        }
        let after: u64 = threads().values().map(|(_, ns)| ns).sum();
        assert!(after > before + 1_000_000, "{} ns", after - before);
    }
}
