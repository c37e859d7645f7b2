//! Bodies of requests.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::ZlibEncoder};
use serde::Serialize;
use veneur_metric::{Check, Event, Point, PointKind, Tags};

use super::rules::Rules;

#[derive(Serialize)]
struct SeriesBody<'a> {
    series: Vec<Series<'a>>,
}

#[derive(Serialize)]
struct Series<'a> {
    metric: &'a str,
    points: [(i64, f64); 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<u32>,
}

#[derive(Serialize)]
struct EventsBody<'a> {
    events: EventLists<'a>,
}

/// Events by where they come from; all of ours come through the API.
#[derive(Serialize)]
struct EventLists<'a> {
    api: Vec<ApiEvent<'a>>,
}

#[derive(Serialize)]
struct ApiEvent<'a> {
    msg_title: &'a str,
    msg_text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregation_key: Option<&'a str>,
    priority: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_type_name: Option<&'a str>,
    alert_type: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct CheckRun<'a> {
    check: &'a str,
    status: u8,
    // The API wants these two even where they are empty.
    host_name: &'a str,
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// Body of `/api/v1/series`.
pub(super) fn series(points: &[&Point], rules: &Rules) -> Bytes {
    deflated(&SeriesBody { series: points.iter().map(|point| one_series(point, rules)).collect() })
}

/// Body of `/intake`.
pub(super) fn events(events: &[&Event], rules: &Rules) -> Bytes {
    let api = events.iter().map(|event| ApiEvent {
        msg_title: &event.title,
        msg_text: &event.text,
        timestamp: event.timestamp,
        host: event.host.as_deref(),
        aggregation_key: event.aggregation_key.as_deref(),
        priority: event.priority.as_str(),
        source_type_name: event.source_type.as_deref(),
        alert_type: event.alert_type.as_str(),
        tags: event.tags.iter().filter(|tag| rules.keep_tag(tag, &[])).collect(),
    });
    deflated(&EventsBody { events: EventLists { api: api.collect() } })
}

/// Body of `/api/v1/check_run`.
pub(super) fn checks(checks: &[&Check], rules: &Rules) -> Bytes {
    let runs = checks.iter().map(|check| {
        let Split { tags, host, device_name: _ } = split(&check.name, &check.tags, rules);
        CheckRun {
            check: &check.name,
            status: check.status.number(),
            host_name: host.or(check.host.as_deref()).unwrap_or_default(),
            tags,
            timestamp: check.timestamp,
            message: check.message.as_deref(),
        }
    });
    Bytes::from(json(&runs.collect::<Vec<_>>()))
}

fn one_series<'a>(point: &'a Point, rules: &Rules) -> Series<'a> {
    let (r#type, value, interval) = match point.kind {
        PointKind::Gauge => ("gauge", point.value, None),
        PointKind::Count => {
            // Whole seconds, as the API has it. Dividing by the same number it is told keeps rate · interval = count.
            let seconds = u32::try_from((point.interval.as_millis() + 500) / 1_000).unwrap_or(u32::MAX).max(1);
            ("rate", point.value / f64::from(seconds), Some(seconds))
        }
    };
    let Split { tags, host, device_name } = split(&point.name, &point.tags, rules);
    Series { metric: &point.name, points: [(point.timestamp, value)], tags, r#type, host, device_name, interval }
}

/// Tags that have a field of their own, and the rest.
struct Split<'a> {
    tags: Vec<&'a str>,
    host: Option<&'a str>,
    device_name: Option<&'a str>,
}

fn split<'a>(name: &str, tags: &'a Tags, rules: &Rules) -> Split<'a> {
    let of_name = rules.of_name(name);
    let mut split = Split { tags: Vec::new(), host: None, device_name: None };
    for tag in tags.iter() {
        match tag.split_once(':') {
            // Without a value they name nothing, and the intake refuses the whole request for them.
            Some(("host" | "device", "")) => {}
            Some(("host", name)) => split.host = Some(name),
            Some(("device", name)) => split.device_name = Some(name),
            _ if rules.keep_tag(tag, &of_name) => split.tags.push(tag),
            _ => {}
        }
    }
    split
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("text and numbers into memory cannot fail")
}

fn deflated(value: &impl Serialize) -> Bytes {
    let json = json(value);
    let mut deflated = ZlibEncoder::new(Vec::with_capacity(json.len() / 8), Compression::default());
    deflated.write_all(&json).expect("memory takes all");
    Bytes::from(deflated.finish().expect("memory takes all"))
}
