//! Datadog's v1 API: series, events and service checks.

mod body;
mod rules;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;
use thiserror::Error;
use veneur_metric::Point;

use crate::http::{self as client, HttpClient};
use crate::{Encoded, Items, Part, Payload, SendError, Sink};

pub use rules::PrefixTags;
use rules::Rules;

/// Most events or checks in one request: with 4 KiB each, still below the intake's 3.2 MB.
const MOST_NOTICES: usize = 500;

/// Posts JSON: deflated series to `{api_hostname}/api/v1/series`, deflated events to `/intake`, and service checks to
/// `/api/v1/check_run`, each with `?api_key=…`. What there is none of is not posted.
///
/// A count becomes a rate per second. The tags `host:x` and `device:x` become the series' host and device name and
/// leave its tags, and `host:x` is the host of a check too; a series without a host tag has no host, so what a global computes keeps its identity when its
/// owner changes.
pub struct DatadogSink {
    name: String,
    series: Uri,
    events: Uri,
    checks: Uri,
    flush_max_per_body: usize,
    rules: Rules,
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
    /// Tags that begin with one of these are left out; [`TagsExclude`](crate::TagsExclude) has them.
    pub tags_exclude: Vec<String>,
    /// Points and checks whose name begins with one of these are left out, and counted as `filtered`.
    pub metric_name_prefix_drops: Vec<String>,
    /// Tags that are left out of some points and checks only.
    pub exclude_tags_prefix_by_prefix_metric: Vec<PrefixTags>,
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
        let sink = name.into();
        let DatadogSettings { api_key, api_hostname, flush_max_per_body, timeout, .. } = settings;
        if !api_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(DatadogError::Key { sink });
        }
        let at = |path: &str| {
            let uri: Option<Uri> =
                format!("{}{path}?api_key={api_key}", api_hostname.trim_end_matches('/')).parse().ok();
            let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
            uri.ok_or_else(|| DatadogError::Hostname { sink: sink.clone(), api_hostname: api_hostname.clone() })
        };
        let (series, events, checks) = (at("/api/v1/series")?, at("/intake")?, at("/api/v1/check_run")?);
        let rules = Rules {
            tags_exclude: settings.tags_exclude,
            metric_name_prefix_drops: settings.metric_name_prefix_drops,
            exclude_tags_prefix_by_prefix_metric: settings.exclude_tags_prefix_by_prefix_metric,
        };
        let client = HttpClient::new(timeout, api_key);
        let flush_max_per_body = flush_max_per_body.max(1);
        Ok(Self { name: sink, series, events, checks, flush_max_per_body, rules, client })
    }
}

impl Sink for DatadogSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn encode(&self, items: &Items) -> Encoded {
        let Self { rules, flush_max_per_body, .. } = self;
        let points: Vec<&Point> = items.points.iter().filter(|point| rules.keep(&point.name)).collect();
        let checks: Vec<_> = items.checks.iter().filter(|check| rules.keep(&check.name)).collect();
        let filtered = items.points.len() - points.len() + items.checks.len() - checks.len();
        let events: Vec<_> = items.events.iter().collect();
        let mut payloads = split(Part::Points, &points, *flush_max_per_body, |chunk| body::series(chunk, rules));
        payloads.extend(split(Part::Events, &events, MOST_NOTICES, |chunk| body::events(chunk, rules)));
        payloads.extend(split(Part::Checks, &checks, MOST_NOTICES, |chunk| body::checks(chunk, rules)));
        Encoded { payloads, filtered }
    }

    async fn send(&self, payload: &Payload) -> Result<(), SendError> {
        let (uri, deflated) = match payload.part {
            Part::Points => (&self.series, true),
            Part::Events => (&self.events, true),
            Part::Checks => (&self.checks, false),
        };
        let mut request =
            Request::post(uri).header(CONTENT_TYPE, "application/json").header(USER_AGENT, client::USER_AGENT);
        if deflated {
            request = request.header(CONTENT_ENCODING, "deflate");
        }
        let request = request.body(Full::new(payload.body.clone())).expect("a checked URL and constant headers");
        self.client.send(request).await
    }
}

/// As few bodies as the limit allows, then of equal size: no straggler with three items.
fn split<T>(part: Part, items: &[T], limit: usize, body: impl Fn(&[T]) -> Bytes) -> Vec<Payload> {
    let bodies = items.len().div_ceil(limit).max(1);
    let chunks = items.chunks(items.len().div_ceil(bodies).max(1));
    chunks.map(|chunk| Payload { part, items: chunk.len(), body: body(chunk) }).collect()
}

impl Default for DatadogSettings {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            api_hostname: "https://api.datadoghq.com".to_owned(),
            flush_max_per_body: 25_000,
            timeout: Duration::from_secs(10),
            tags_exclude: Vec::new(),
            metric_name_prefix_drops: Vec::new(),
            exclude_tags_prefix_by_prefix_metric: Vec::new(),
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
            .field("tags_exclude", &self.tags_exclude)
            .field("metric_name_prefix_drops", &self.metric_name_prefix_drops)
            .field("exclude_tags_prefix_by_prefix_metric", &self.exclude_tags_prefix_by_prefix_metric)
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
