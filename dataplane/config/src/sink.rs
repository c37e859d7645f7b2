//! Sinks: the original's `metric_sinks` entries.

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// One entry of `metric_sinks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// Unique name; labels the sink in metrics and errors. Upper-cased it is the prefix of the sink's environment
    /// variables: `DATADOG_APIKEY` for a sink named `datadog`.
    pub name: String,
    /// Backend and its settings.
    #[serde(flatten)]
    pub kind: SinkKind,
}

/// Backends, by the original's `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "config", rename_all = "lowercase")]
pub enum SinkKind {
    /// Writes each point as one line of JSON to standard output.
    Debug {},
    /// Posts series to Datadog's v1 API.
    Datadog(Datadog),
}

/// Settings of the Datadog sink.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Datadog {
    /// Key sent with each request. Secret: prefer the environment (`<SINK NAME>_APIKEY`). Never printed.
    pub api_key: String,
    /// Scheme and host of the intake, without a path.
    pub api_hostname: String,
    /// Most points in one request; more are sent in several. The original's 14.2.0 default is 25,000.
    pub flush_max_per_body: usize,
}

impl Default for Datadog {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            api_hostname: "https://api.datadoghq.com".to_owned(),
            flush_max_per_body: 25_000,
        }
    }
}

impl std::fmt::Debug for Datadog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datadog")
            .field("api_key", &if self.api_key.is_empty() { "" } else { "REDACTED" })
            .field("api_hostname", &self.api_hostname)
            .field("flush_max_per_body", &self.flush_max_per_body)
            .finish()
    }
}

pub(crate) fn problems(sinks: &[Sink]) -> Vec<Invalid> {
    let mut problems = Vec::new();
    for (index, sink) in sinks.iter().enumerate() {
        let key = format!("metric_sinks[{index}]");
        if sink.name.is_empty() {
            problems.push(Invalid::new(format!("{key}.name"), "is empty: give each sink a name"));
        }
        if let Some(earlier) = sinks[..index].iter().position(|other| other.name == sink.name) {
            let problem = format!("{:?} is also the name of metric_sinks[{earlier}]: names are unique", sink.name);
            problems.push(Invalid::new(format!("{key}.name"), problem));
        }
        if let SinkKind::Datadog(datadog) = &sink.kind {
            let host = &datadog.api_hostname;
            if !(host.starts_with("http://") || host.starts_with("https://")) {
                let problem = format!("{host:?} must start with http:// or https://");
                problems.push(Invalid::new(format!("{key}.config.api_hostname"), problem));
            }
            if datadog.flush_max_per_body == 0 {
                problems.push(Invalid::new(format!("{key}.config.flush_max_per_body"), "0 must be at least 1"));
            }
        }
    }
    problems
}
