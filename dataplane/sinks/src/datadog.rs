//! Datadog's v1 series API.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compression, write::ZlibEncoder};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;
use serde::Serialize;
use thiserror::Error;
use veneur_metric::{Point, PointKind};

use crate::http::{self as client, HttpClient};
use crate::{Payload, SendError, Sink};

/// Posts series, `POST {api_hostname}/api/v1/series?api_key=…`, as deflated JSON.
///
/// A count becomes a rate per second. The tags `host:x` and `device:x` become the series' host and device name and
/// leave its tags; a series without a host tag has no host, so what a global computes keeps its identity when its
/// owner changes.
pub struct DatadogSink {
    name: String,
    series: Uri,
    flush_max_per_body: usize,
    client: HttpClient,
}

/// Settings of a [`DatadogSink`].
#[derive(Clone)]
pub struct DatadogSettings {
    /// Sent with each request. Secret.
    pub api_key: String,
    /// Scheme and host of the intake, without a path.
    pub api_hostname: String,
    /// Most points in one request; 0 counts as 1.
    pub flush_max_per_body: usize,
    /// Longest time for one request, from connecting to the end of the answer.
    pub timeout: Duration,
}

/// Why settings do not make a sink.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DatadogError {
    /// No URL begins like this.
    #[error("sink {sink:?}: api_hostname {api_hostname:?} is not a URL: write https://host")]
    Hostname {
        /// Name of the sink.
        sink: String,
        /// What was given.
        api_hostname: String,
    },
    /// A key that cannot stand in a URL. The key itself is not repeated.
    #[error(
        "sink {sink:?}: api_key has characters other than letters, digits, `-` and `_`: check for spaces and quotes"
    )]
    Key {
        /// Name of the sink.
        sink: String,
    },
}

impl DatadogSink {
    /// A sink with these settings. Connects when the first payload is sent.
    pub fn new(name: impl Into<String>, settings: DatadogSettings) -> Result<Self, DatadogError> {
        let (sink, DatadogSettings { api_key, api_hostname, flush_max_per_body, timeout }) = (name.into(), settings);
        if !api_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(DatadogError::Key { sink });
        }
        let series: Result<Uri, _> =
            format!("{}/api/v1/series?api_key={api_key}", api_hostname.trim_end_matches('/')).parse();
        let series = series.ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(series) = series else {
            return Err(DatadogError::Hostname { sink, api_hostname });
        };
        let client = HttpClient::new(timeout, api_key);
        Ok(Self { name: sink, series, flush_max_per_body: flush_max_per_body.max(1), client })
    }
}

impl Sink for DatadogSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, points: &[Point]) -> Vec<Payload> {
        // As few bodies as the limit allows, then of equal size: no straggler with three points.
        let bodies = points.len().div_ceil(self.flush_max_per_body).max(1);
        let chunks = points.chunks(points.len().div_ceil(bodies).max(1));
        chunks.map(|chunk| Payload { points: chunk.len(), body: body(chunk) }).collect()
    }

    async fn send(&self, payload: &Payload) -> Result<(), SendError> {
        let request = Request::post(&self.series)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "deflate")
            .header(USER_AGENT, client::USER_AGENT)
            .body(Full::new(payload.body.clone()))
            .expect("a checked URL and constant headers");
        self.client.send(request).await
    }
}

#[derive(Serialize)]
struct Body<'a> {
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

fn body(points: &[Point]) -> Bytes {
    let json = serde_json::to_vec(&Body { series: points.iter().map(series).collect() })
        .expect("text and numbers into memory cannot fail");
    let mut deflated = ZlibEncoder::new(Vec::with_capacity(json.len() / 8), Compression::default());
    deflated.write_all(&json).expect("memory takes all");
    Bytes::from(deflated.finish().expect("memory takes all"))
}

fn series(point: &Point) -> Series<'_> {
    let (r#type, value, interval) = match point.kind {
        PointKind::Gauge => ("gauge", point.value, None),
        PointKind::Count => {
            // Whole seconds, as the API has it. Dividing by the same number it is told keeps rate · interval = count.
            let seconds = u32::try_from((point.interval.as_millis() + 500) / 1_000).unwrap_or(u32::MAX).max(1);
            ("rate", point.value / f64::from(seconds), Some(seconds))
        }
    };
    let (mut tags, mut host, mut device_name) = (Vec::new(), None, None);
    for tag in point.tags.iter() {
        match tag.split_once(':') {
            // Without a value they name nothing, and the intake refuses the whole request for them.
            Some(("host" | "device", "")) => {}
            Some(("host", name)) => host = Some(name),
            Some(("device", name)) => device_name = Some(name),
            _ => tags.push(tag),
        }
    }
    Series { metric: &point.name, points: [(point.timestamp, value)], tags, r#type, host, device_name, interval }
}

impl Default for DatadogSettings {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            api_hostname: "https://api.datadoghq.com".to_owned(),
            flush_max_per_body: 25_000,
            timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for DatadogSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatadogSettings")
            .field("api_key", &"REDACTED")
            .field("api_hostname", &self.api_hostname)
            .field("flush_max_per_body", &self.flush_max_per_body)
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl fmt::Debug for DatadogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatadogSink")
            .field("name", &self.name)
            .field("host", &self.series.host())
            .finish_non_exhaustive()
    }
}
