//! What backends get to read: golden files, and conservation of points.

use std::io::Read;
use std::time::Duration;

use proptest::prelude::*;
use veneur_metric::{Point, PointKind, Tags};
use veneur_sinks::{DatadogError, DatadogSettings, DatadogSink, DebugSink, Payload, Sink};

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
    let payloads = datadog(25_000).encode(&points());
    let golden = include_str!("golden/datadog_series.json");
    assert_eq!(payloads.len(), 1);
    assert_eq!(inflated(&payloads[0]), serde_json::from_str::<serde_json::Value>(golden).expect("JSON"));
}

#[test]
fn debug_lines_are_the_golden_ones() {
    let payloads = DebugSink::new("debug", tokio::io::sink()).encode(&points());
    let lines: Vec<_> = payloads.iter().map(|payload| String::from_utf8_lossy(&payload.body)).collect();
    assert_eq!(lines.concat(), include_str!("golden/debug.jsonl"));
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
        let payloads = datadog(flush_max_per_body).encode(&points);
        let mut names = Vec::new();
        for payload in &payloads {
            let body = inflated(payload);
            let series = body["series"].as_array().expect("a list");
            prop_assert_eq!(series.len(), payload.points);
            prop_assert!(payload.points >= 1 && payload.points <= flush_max_per_body.max(1));
            names.extend(series.iter().map(|series| series["metric"].as_str().expect("text").to_owned()));
        }
        prop_assert_eq!(names, points.iter().map(|point| point.name.to_string()).collect::<Vec<_>>());

        let lines = DebugSink::new("debug", tokio::io::sink()).encode(&points);
        prop_assert_eq!(lines.iter().map(|payload| payload.points).sum::<usize>(), count);
    }

    #[test]
    fn a_rate_times_its_interval_is_the_count(count in 1_u32..1_000_000, interval_ms in 1_u64..120_000) {
        let points = [point("c", &[], PointKind::Count, f64::from(count), interval_ms)];
        let body = inflated(&datadog(1).encode(&points)[0]);
        let series = &body["series"][0];
        let rate = series["points"][0][1].as_f64().expect("a number");
        let total = rate * series["interval"].as_f64().expect("a number");
        prop_assert!((total - f64::from(count)).abs() <= f64::from(count) * 1e-15 * 4.0);
    }
}
