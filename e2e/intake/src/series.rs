//! The body of `/api/v1/series`, read as strictly as its documentation allows.

use std::{net::IpAddr, time::Duration};

use serde::Deserialize;

use crate::Received;

/// How far from now a point may be, in seconds: the real intake's one hour back and ten minutes ahead.
const PAST: i64 = 3_600;
const FUTURE: i64 = 600;

/// Longest metric name.
const LONGEST_NAME: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    series: Vec<Series>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    metric: String,
    points: Vec<(i64, f64)>,
    r#type: String,
    #[serde(default)]
    interval: Option<u64>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    device_name: Option<String>,
}

pub(crate) fn read(text: &str, sender: IpAddr, now: Duration) -> Result<Vec<Received>, String> {
    let body: Body = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut received = Vec::new();
    for series in body.series {
        check(&series, seconds).map_err(|problem| format!("series {:?}: {problem}", series.metric))?;
        received.extend(series.points.iter().map(|(timestamp, value)| Received {
            sender,
            at_ms,
            metric: series.metric.clone(),
            timestamp: *timestamp,
            value: *value,
            kind: series.r#type.clone(),
            interval: series.interval,
            tags: series.tags.clone(),
            host: series.host.clone(),
        }));
    }
    Ok(received)
}

fn check(series: &Series, now: i64) -> Result<(), String> {
    if series.metric.is_empty() || series.metric.len() > LONGEST_NAME {
        return Err(format!("the name has {} bytes, 1 to {LONGEST_NAME} are allowed", series.metric.len()));
    }
    if series.points.is_empty() {
        return Err("there are no points".to_owned());
    }
    for (timestamp, value) in &series.points {
        if *timestamp < now - PAST || *timestamp > now + FUTURE {
            return Err(format!("timestamp {timestamp} is too far from {now}"));
        }
        if !value.is_finite() {
            return Err(format!("value {value} is not finite"));
        }
    }
    match (series.r#type.as_str(), series.interval) {
        ("rate", Some(interval)) if interval > 0 => {}
        ("gauge", _) => {}
        (kind, interval) => return Err(format!("type {kind:?} with interval {interval:?}")),
    }
    let reserved = series.tags.iter().find(|tag| tag.starts_with("host:") || tag.starts_with("device:"));
    if let Some(tag) = reserved {
        return Err(format!("tag {tag:?} belongs into its own field"));
    }
    if series.host.as_deref() == Some("") || series.device_name.as_deref() == Some("") {
        return Err("host and device_name are left out rather than empty".to_owned());
    }
    Ok(())
}
