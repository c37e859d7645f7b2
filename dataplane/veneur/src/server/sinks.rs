//! Sinks as a configuration describes them.

use std::time::Duration;

use veneur_config::{Datadog, Server, Sink, SinkKind};
use veneur_sinks::{
    BlackholeSink, DatadogError, DatadogSettings, DatadogSink, DebugSink, Delivery, Limits, PrefixTags, TagsExclude,
};

use crate::{listen::tls, settings};

/// Longest time for one request to a sink.
const SINK_TIMEOUT: Duration = Duration::from_secs(10);

/// A sink and what brings points to it.
pub(super) fn delivery(sink: &Sink, config: &Server) -> anyhow::Result<Delivery> {
    let limits = Limits { max_bytes: config.buffer_max_bytes, max_age: config.buffer_max_age.0 };
    Ok(match &sink.kind {
        SinkKind::Blackhole {} => Delivery::new(BlackholeSink::new(&sink.name), limits),
        SinkKind::Debug {} => {
            let sink = DebugSink::new(&sink.name, tokio::io::stdout()).without(tags_exclude(&sink.name, config));
            Delivery::new(sink, limits)
        }
        SinkKind::Datadog(datadog) => Delivery::new(datadog_sink(&sink.name, datadog, config)?, limits),
    })
}

fn datadog_sink(name: &str, datadog: &Datadog, config: &Server) -> Result<DatadogSink, DatadogError> {
    let tags_exclude = tags_exclude(name, config);
    let settings = DatadogSettings {
        api_key: datadog.api_key.expose().to_owned(),
        api_hostname: datadog.api_hostname.clone(),
        flush_max_per_body: datadog.flush_max_per_body,
        timeout: SINK_TIMEOUT,
        tags_exclude,
        metric_name_prefix_drops: datadog.metric_name_prefix_drops.clone(),
        exclude_tags_prefix_by_prefix_metric: datadog
            .exclude_tags_prefix_by_prefix_metric
            .iter()
            .map(|rule| PrefixTags { metric_prefix: rule.metric_prefix.clone(), tags: rule.tags.clone() })
            .collect(),
    };
    DatadogSink::new(name, settings)
}

/// Beginnings of tags that a sink leaves out.
fn tags_exclude(sink: &str, config: &Server) -> Vec<String> {
    TagsExclude::new(&config.tags_exclude).for_sink(sink)
}

/// Why a configuration that is valid key by key cannot be used, a line for each reason.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Unusable(Vec<String>);

/// Looks for what [`start`](super::start) would refuse one by one: a certificate of another key, a sink that cannot be made.
/// Files that are named are left alone, as they may be on another machine.
pub fn usable(config: &Server) -> Result<(), Unusable> {
    let tls = tls::acceptor(&settings::listening(config).tls, &[]).err();
    let tls = tls.map(|error| format!("tls_certificate, tls_key: {error:#}"));
    let sinks = config.metric_sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Datadog(datadog) => datadog_sink(&sink.name, datadog, config).err(),
        SinkKind::Blackhole {} | SinkKind::Debug {} => None,
    });
    let reasons: Vec<String> = tls.into_iter().chain(sinks.map(|error| error.to_string())).collect();
    if reasons.is_empty() { Ok(()) } else { Err(Unusable(reasons)) }
}
