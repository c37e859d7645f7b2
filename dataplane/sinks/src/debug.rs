//! Points for people: one JSON object per line.

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use veneur_metric::{Point, PointKind};

use crate::{Payload, SendError, Sink};

/// Writes each point as one line of JSON.
#[derive(Debug)]
pub struct DebugSink<W> {
    name: String,
    output: Mutex<W>,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: i64,
    name: &'a str,
    value: f64,
    r#type: &'static str,
    tags: Vec<&'a str>,
    interval_s: f64,
}

impl<W> DebugSink<W> {
    /// Writes to `output`, usually standard output.
    pub fn new(name: impl Into<String>, output: W) -> Self {
        Self { name: name.into(), output: Mutex::new(output) }
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Sink for DebugSink<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, points: &[Point]) -> Vec<Payload> {
        let mut body = Vec::with_capacity(points.len() * 128);
        for point in points {
            let line = Line {
                timestamp: point.timestamp,
                name: &point.name,
                value: point.value,
                r#type: match point.kind {
                    PointKind::Count => "count",
                    PointKind::Gauge => "gauge",
                },
                tags: point.tags.iter().collect(),
                interval_s: point.interval.as_secs_f64(),
            };
            serde_json::to_writer(&mut body, &line).expect("text and numbers into memory cannot fail");
            body.push(b'\n');
        }
        vec![Payload { points: points.len(), body: Bytes::from(body) }]
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
