//! What backends get to read: golden files, and conservation of points.

use std::io::Read;
use std::time::Duration;

use proptest::prelude::*;
use veneur_metric::{AlertType, Check, Event, Point, PointKind, Priority, Status, Tags};
use veneur_sinks::{
    DatadogError, DatadogSettings, DatadogSink, DebugSink, Items, Part, Payload, PrefixTags, Sink, TagsExclude,
};

fn point(name: &str, tags: &[&str], kind: PointKind, value: f64, interval_ms: u64) -> Point {
    Point {
        name: name.into(),
        tags: Tags::new(tags.iter().copied()),
        kind,
        value,
        timestamp: 1_700_000_010,
        interval: Duration::from_millis(interval_ms),
    }
}

fn points() -> Vec<Point> {
    vec![
        point("api.calls", &["env:prod", "zone:a"], PointKind::Count, 25.0, 10_000),
        point("api.latency.99percentile", &[], PointKind::Gauge, 12.75, 10_000),
        point("disk.free", &["device:sda1", "host:web-3", "hostname:kept"], PointKind::Gauge, 1e9, 10_000),
        point("\"quoted\"\u{e9}", &["plain"], PointKind::Count, -3.0, 1_600),
    ]
}

fn events() -> Vec<Event> {
    let full = Event {
        title: "deploy".into(),
        text: "of \"api\"\nv2.1".into(),
        timestamp: Some(1_700_000_003),
        host: Some("web-1".into()),
        aggregation_key: Some("rollout".into()),
        priority: Priority::Low,
        source_type: Some("ci".into()),
        alert_type: AlertType::Success,
        tags: Tags::new(["env:prod", "zone:a"]),
    };
    let bare = Event {
        timestamp: None,
        host: None,
        aggregation_key: None,
        priority: Priority::Normal,
        source_type: None,
        alert_type: AlertType::Info,
        tags: Tags::none(),
        ..full.clone()
    };
    vec![full, bare]
}

fn checks() -> Vec<Check> {
    let full = Check {
        name: "db.up".into(),
        status: Status::Critical,
        timestamp: Some(1_700_000_004),
        host: Some("web-1".into()),
        message: Some("no route\nto host".into()),
        tags: Tags::new(["shard:3", "env:prod"]),
    };
    let of_a_host = Check { tags: Tags::new(["host:db-1"]), status: Status::Ok, message: None, ..full.clone() };
    vec![full, of_a_host]
}

fn items() -> Items {
    Items { points: points(), events: events(), checks: checks() }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

fn datadog(flush_max_per_body: usize) -> DatadogSink {
    let settings = DatadogSettings { api_key: "0123abcd".to_owned(), flush_max_per_body, ..DatadogSettings::default() };
    DatadogSink::new("datadog", settings).expect("valid settings")
}

fn inflated(payload: &Payload) -> serde_json::Value {
    let mut json = String::new();
    flate2::read::ZlibDecoder::new(&payload.body[..]).read_to_string(&mut json).expect("zlib");
    serde_json::from_str(&json).expect("JSON")
}

#[test]
fn datadog_body_is_the_golden_one() {
    let payloads = datadog(25_000).encode(&points().into()).payloads;
    let golden = include_str!("golden/datadog_series.json");
    assert_eq!(payloads.len(), 1);
    assert_eq!(inflated(&payloads[0]), serde_json::from_str::<serde_json::Value>(golden).expect("JSON"));
}

#[test]
fn datadog_events_and_checks_are_the_golden_ones() {
    let payloads = datadog(25_000).encode(&items()).payloads;
    assert_eq!(
        payloads.iter().map(|payload| payload.part).collect::<Vec<_>>(),
        [Part::Points, Part::Events, Part::Checks]
    );
    assert_eq!(inflated(&payloads[1]), json(include_str!("golden/datadog_events.json")));
    // Not deflated, as the original sends them.
    let checks = std::str::from_utf8(&payloads[2].body).expect("plain text");
    assert_eq!(json(checks), json(include_str!("golden/datadog_checks.json")));
}

#[test]
fn nothing_is_posted_for_what_there_is_none_of() {
    let parts = |items: Items| datadog(1).encode(&items).payloads.into_iter().map(|payload| payload.part).collect();
    let (only_checks, only_events, none): (Vec<_>, Vec<_>, Vec<_>) =
        (parts(checks()[..1].to_vec().into()), parts(events().into()), parts(Items::default()));
    assert_eq!((only_checks, only_events, none), (vec![Part::Checks], vec![Part::Events], vec![]));
}

#[test]
fn datadog_leaves_out_what_the_configuration_says() {
    let rule = |prefix: &str, tag: &str| PrefixTags { metric_prefix: prefix.to_owned(), tags: vec![tag.to_owned()] };
    let settings = DatadogSettings {
        api_key: "0123abcd".to_owned(),
        tags_exclude: TagsExclude::new(["zo|datadog|other", "shard|other"]).for_sink("datadog"),
        metric_name_prefix_drops: vec!["disk.".to_owned(), "db".to_owned()],
        exclude_tags_prefix_by_prefix_metric: vec![rule("api", "env"), rule("api.x", "zone"), rule("deploy", "env")],
        ..DatadogSettings::default()
    };
    let encoded = DatadogSink::new("datadog", settings).expect("valid settings").encode(&items());
    assert_eq!(encoded.filtered, 3, "a point, and both checks");
    let [series, events] = encoded.payloads.as_slice() else { panic!("{:?}", encoded.payloads) };
    let series = inflated(series);
    assert_eq!(series["series"].as_array().map(Vec::len), Some(3));
    assert_eq!(series["series"][0]["tags"], serde_json::Value::Null, "zone everywhere, env for api");
    assert_eq!(inflated(events)["events"]["api"][0]["tags"], json(r#"["env:prod"]"#), "titles are no metric names");
}

#[test]
fn debug_lines_are_the_golden_ones() {
    let payloads = DebugSink::new("debug", tokio::io::sink()).encode(&items()).payloads;
    let lines: Vec<_> = payloads.iter().map(|payload| String::from_utf8_lossy(&payload.body)).collect();
    assert_eq!(lines.concat(), include_str!("golden/debug.jsonl"));
}

#[test]
fn debug_lines_lack_what_is_excluded() {
    let sink = DebugSink::new("debug", tokio::io::sink()).without(vec!["env".to_owned()]);
    let payloads = sink.encode(&items()).payloads;
    let lines: String = payloads.iter().map(|payload| String::from_utf8_lossy(&payload.body)).collect();
    let golden = include_str!("golden/debug.jsonl");
    assert!(golden.contains("\"env:") && !lines.contains("\"env:"), "{lines}");
    assert_eq!(lines.lines().count(), golden.lines().count());
}

#[test]
fn no_output_shows_the_key() {
    let settings = DatadogSettings { api_key: "s3cret".to_owned(), ..DatadogSettings::default() };
    assert!(!format!("{settings:?}").contains("s3cret"));
    let sink = DatadogSink::new("dd", settings).expect("valid settings");
    assert!(!format!("{sink:?}").contains("s3cret"));
    let settings = DatadogSettings { api_key: "s3cret \"".to_owned(), ..DatadogSettings::default() };
    let error = DatadogSink::new("dd", settings).expect_err("a key with a space");
    assert!(!error.to_string().contains("s3cret"));
}

#[test]
fn a_hostname_without_a_scheme_is_refused() {
    for api_hostname in ["app.datadoghq.com", "", "ftp://x", "https://a b"] {
        let settings = DatadogSettings { api_hostname: api_hostname.to_owned(), ..DatadogSettings::default() };
        let error = DatadogSink::new("dd", settings).expect_err("not a URL");
        assert!(matches!(error, DatadogError::Hostname { .. }), "{api_hostname:?}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payloads_carry_exactly_the_points(count in 0_usize..200, flush_max_per_body in 0_usize..50) {
        let points: Vec<Point> =
            (0..count).map(|n| point(&format!("n{n}"), &["a:b"], PointKind::Gauge, 1.0, 10_000)).collect();
        let payloads = datadog(flush_max_per_body).encode(&points.clone().into()).payloads;
        let mut names = Vec::new();
        for payload in &payloads {
            let body = inflated(payload);
            let series = body["series"].as_array().expect("a list");
            prop_assert_eq!(series.len(), payload.items);
            prop_assert!(payload.items >= 1 && payload.items <= flush_max_per_body.max(1));
            names.extend(series.iter().map(|series| series["metric"].as_str().expect("text").to_owned()));
        }
        prop_assert_eq!(names, points.iter().map(|point| point.name.to_string()).collect::<Vec<_>>());

        let lines = DebugSink::new("debug", tokio::io::sink()).encode(&points.into()).payloads;
        prop_assert_eq!(lines.iter().map(|payload| payload.items).sum::<usize>(), count);
    }

    #[test]
    fn a_rate_times_its_interval_is_the_count(count in 1_u32..1_000_000, interval_ms in 1_u64..120_000) {
        let points = vec![point("c", &[], PointKind::Count, f64::from(count), interval_ms)];
        let body = inflated(&datadog(1).encode(&points.into()).payloads[0]);
        let series = &body["series"][0];
        let rate = series["points"][0][1].as_f64().expect("a number");
        let total = rate * series["interval"].as_f64().expect("a number");
        prop_assert!((total - f64::from(count)).abs() <= f64::from(count) * 1e-15 * 4.0);
    }
}
