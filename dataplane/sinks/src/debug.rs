//! Items for people: one JSON object per line.

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use veneur_metric::{Check, Event, Point, PointKind, Tags};

use crate::{Encoded, Items, Part, Payload, SendError, Sink, exclude::begins_with_one_of};

/// Writes each point, event and check as one line of JSON.
#[derive(Debug)]
pub struct DebugSink<W> {
    name: String,
    output: Mutex<W>,
    tags_exclude: Vec<String>,
}

#[derive(Serialize)]
struct PointLine<'a> {
    timestamp: i64,
    name: &'a str,
    value: f64,
    r#type: &'static str,
    tags: Vec<&'a str>,
    interval_s: f64,
}

#[derive(Serialize)]
struct EventLine<'a> {
    timestamp: Option<i64>,
    event: &'a str,
    text: &'a str,
    host: Option<&'a str>,
    aggregation_key: Option<&'a str>,
    priority: &'static str,
    source_type: Option<&'a str>,
    alert_type: &'static str,
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct CheckLine<'a> {
    timestamp: Option<i64>,
    check: &'a str,
    status: &'static str,
    host: Option<&'a str>,
    message: Option<&'a str>,
    tags: Vec<&'a str>,
}

impl<W> DebugSink<W> {
    /// Writes to `output`, usually standard output.
    pub fn new(name: impl Into<String>, output: W) -> Self {
        Self { name: name.into(), output: Mutex::new(output), tags_exclude: Vec::new() }
    }

    /// Leaves out tags that begin with one of these.
    #[must_use]
    pub fn without(mut self, tags_exclude: Vec<String>) -> Self {
        self.tags_exclude = tags_exclude;
        self
    }

    fn shortened(&self, mut items: Items) -> Items {
        let kept = |tag: &&str| !begins_with_one_of(tag, &self.tags_exclude);
        let shorten = |tags: &mut Tags| *tags = Tags::new(tags.iter().filter(kept));
        items.points.iter_mut().for_each(|point| shorten(&mut point.tags));
        items.events.iter_mut().for_each(|event| shorten(&mut event.tags));
        items.checks.iter_mut().for_each(|check| shorten(&mut check.tags));
        items
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Sink for DebugSink<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, items: &Items) -> Encoded {
        if !self.tags_exclude.is_empty() {
            return encoded(&self.shortened(items.clone()));
        }
        encoded(items)
    }

    async fn send(&self, payload: &Payload) -> Result<(), SendError> {
        let mut output = self.output.lock().await;
        let written = async {
            output.write_all(&payload.body).await?;
            output.flush().await
        };
        written.await.map_err(|error| SendError::Unavailable(error.to_string()))
    }
}

fn encoded(items: &Items) -> Encoded {
    let payloads = [
        lines(Part::Points, &items.points, point),
        lines(Part::Events, &items.events, event),
        lines(Part::Checks, &items.checks, check),
    ];
    payloads.into_iter().flatten().collect::<Vec<_>>().into()
}

fn lines<'a, T, L: Serialize>(part: Part, items: &'a [T], line: fn(&'a T) -> L) -> Option<Payload> {
    let mut body = Vec::with_capacity(items.len() * 128);
    for item in items {
        serde_json::to_writer(&mut body, &line(item)).expect("text and numbers into memory cannot fail");
        body.push(b'\n');
    }
    (!items.is_empty()).then(|| Payload { part, items: items.len(), body: Bytes::from(body) })
}

fn point(point: &Point) -> PointLine<'_> {
    PointLine {
        timestamp: point.timestamp,
        name: &point.name,
        value: point.value,
        r#type: match point.kind {
            PointKind::Count => "count",
            PointKind::Gauge => "gauge",
        },
        tags: point.tags.iter().collect(),
        interval_s: point.interval.as_secs_f64(),
    }
}

fn event(event: &Event) -> EventLine<'_> {
    EventLine {
        timestamp: event.timestamp,
        event: &event.title,
        text: &event.text,
        host: event.host.as_deref(),
        aggregation_key: event.aggregation_key.as_deref(),
        priority: event.priority.as_str(),
        source_type: event.source_type.as_deref(),
        alert_type: event.alert_type.as_str(),
        tags: event.tags.iter().collect(),
    }
}

fn check(check: &Check) -> CheckLine<'_> {
    CheckLine {
        timestamp: check.timestamp,
        check: &check.name,
        status: check.status.as_str(),
        host: check.host.as_deref(),
        message: check.message.as_deref(),
        tags: check.tags.iter().collect(),
    }
}
