//! Sinks: the original's `metric_sinks` entries.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Invalid, Secret, Weight,
    key::{Field, Key, Report, Section, Shape, join, section, shown},
};

/// One entry of `metric_sinks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sink {
    /// Unique name; labels the sink in metrics and errors. Upper-cased it is the prefix of the sink's environment
    /// variables: `DATADOG_APIKEY` for a sink named `datadog`.
    pub name: String,
    /// Backend and its settings.
    #[serde(flatten)]
    pub kind: SinkKind,
}

/// Backends, by the original's `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "config", rename_all = "lowercase")]
pub enum SinkKind {
    /// Takes each point and does nothing with it.
    Blackhole {},
    /// Posts series to Datadog's v1 API.
    Datadog(Datadog),
    /// Writes each point as one line of JSON to standard output.
    Debug {},
}

section! {
    /// Settings of the Datadog sink.
    #[derive(Eq)]
    pub struct Datadog {
        /// Key sent with each request. Secret: prefer the environment (`<SINK NAME>_APIKEY`). Never printed.
        fixed api_key: Secret = Secret::default(),
        /// Scheme and host of the intake, without a path.
        fixed api_hostname: String = "https://api.datadoghq.com".to_owned(),
        /// Most points in one request; more are sent in several. The original's 14.2.0 default is 25,000.
        fixed flush_max_per_body: usize = 25_000,
        /// Metrics whose name begins with one of these are not posted.
        fixed metric_name_prefix_drops: Vec<String> = Vec::new(),
        /// Tags left out of metrics by name.
        fixed exclude_tags_prefix_by_prefix_metric: Vec<TagExclusion> = Vec::new(),
    }
}

section! {
    /// Tags that some metrics are posted without.
    #[derive(Eq)]
    pub struct TagExclusion {
        /// Metrics whose name begins so.
        fixed metric_prefix: String = String::new(),
        /// Tags that begin with one of these are left out.
        fixed tags: Vec<String> = Vec::new(),
    }
}

/// Kinds and the keys of their `config`.
pub(crate) const KINDS: [(&str, &[Key]); 3] = [("blackhole", &[]), ("datadog", Datadog::KEYS), ("debug", &[])];

/// One of each kind.
pub(crate) fn examples() -> [SinkKind; 3] {
    [SinkKind::Datadog(Datadog::default()), SinkKind::Debug {}, SinkKind::Blackhole {}]
}

/// The original's kinds that do not exist yet.
const NOT_YET: [&str; 8] = ["cloudwatch", "cortex", "kafka", "localfile", "newrelic", "prometheus", "s3", "signalfx"];

/// The original's limits of one sink, which it heeds only with `features.enable_metric_sink_routing`.
const LIMITS: [&str; 6] =
    ["max_name_length", "max_tag_length", "max_tags", "strip_tags", "add_tags", "dropped_metrics_add_tags"];

impl Field for Sink {
    const SHAPE: Shape = Shape::Sink;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        let Value::Object(mut map) = value else {
            report.problem(path, "must be a section with kind, name and config");
            return None;
        };
        let kind_path = join(path, "kind");
        let Some(kind) = map.remove("kind") else {
            report.problem(&kind_path, format!("is missing: it must be one of {}", kinds()));
            return None;
        };
        let kind = String::read(kind, &kind_path, report)?;
        let name = report.field(&mut map, path, "name", || kind.clone());
        let config = match map.remove("config") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(config)) => config,
            Some(_) => {
                report.problem(&join(path, "config"), "must be a section of keys");
                return None;
            }
        };
        for limit in LIMITS {
            if map.remove(limit).is_some() {
                report.note(
                    &join(path, limit),
                    Weight::Warning,
                    "no effect: the original heeds it only with features.enable_metric_sink_routing, \
                     which does not exist yet",
                );
            }
        }
        report.rest(map, path, ENTRY);
        let path = join(path, "config");
        let kind = match kind.as_str() {
            "datadog" => SinkKind::Datadog(Datadog::read_map(config, &path, report)),
            "blackhole" | "debug" => {
                report.rest(config, &path, &[]);
                if kind == "debug" { SinkKind::Debug {} } else { SinkKind::Blackhole {} }
            }
            _ => {
                let why = if NOT_YET.contains(&kind.as_str()) { "does not exist yet" } else { "is not a kind" };
                let kind = shown(&Value::String(kind));
                report.problem(&kind_path, format!("{kind} {why}: it must be one of {}", kinds()));
                return None;
            }
        };
        Some(Self { name, kind })
    }
}

/// The keys beside a sink's own.
const ENTRY: &[Key] = &[known("kind"), known("name"), known("config")];

const fn known(name: &'static str) -> Key {
    Key { name, doc: &[], live: false, shape: Shape::Map }
}

/// The kinds that exist, for messages.
pub(crate) fn kinds() -> String {
    KINDS.map(|(kind, _)| kind).join(", ")
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
