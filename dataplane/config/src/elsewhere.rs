//! Keys of the original that have no place here: without effect, not yet there, or replaced.
//!
//! A file of the original has to start, so what does no harm is accepted, and said. What would be lost or sent in the
//! open without a word is refused. A key that is empty, 0 or false asks for nothing, and nothing is said about it.

use serde_json::{Map, Value};

use crate::{Weight, key::Report, sink};

/// What becomes of a key. A name that ends in `*` stands for all that begin so; the first that matches counts.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// Accepted; the reason why it does nothing.
    NoEffect(&'static str),
    /// Accepted, but it asks for traces.
    Traces,
    /// Accepted, but it belongs to a sink that does not exist yet.
    OfSink(&'static str),
    /// Refused: it asks for a sink that does not exist yet.
    NeedsSink(&'static str),
    /// Refused; what to do instead.
    Refused(&'static str),
}

use Verdict::{NeedsSink, NoEffect, OfSink, Refused, Traces};

const GO: &str = "there is no Go runtime to profile; enable_profiling allows profiles of this process";

pub(crate) const SERVER: &[(&str, Verdict)] = &[
    ("num_workers", NoEffect("each reader aggregates what it reads, and num_readers says how many there are")),
    ("mutex_profile_fraction", NoEffect(GO)),
    ("block_profile_rate", NoEffect(GO)),
    ("num_span_workers", NoEffect("traces are not carried yet")),
    ("span_channel_capacity", NoEffect("traces are not carried yet")),
    ("ssf_listen_addresses", Traces),
    ("span_sinks", Traces),
    ("indicator_span_timer_name", Traces),
    ("objective_span_timer_name", Traces),
    ("trace_max_length_bytes", Traces),
    // What is left of it once its own keys are read.
    (
        "tls",
        Refused(
            "is read as forward_tls, and has to be a section of ca_file, cert_file, key_file and server_name alone: partials would leave in plain text",
        ),
    ),
    (
        "sources",
        Refused("sources do not exist yet: scrape with another program and send DogStatsD, then remove the key"),
    ),
    (
        "metric_sink_routing",
        NoEffect(
            "the original heeds it only with features.enable_metric_sink_routing; sink_routes says here which sinks get what",
        ),
    ),
    ("features.migrate_metric_sinks", NoEffect("sinks are read in either form")),
    ("features.migrate_span_sinks", NoEffect("traces are not carried yet")),
    // Up to 14.2.0.
    ("ssf_buffer_size", Traces),
    ("debug_ingested_spans", Traces),
    ("datadog_trace_api_address", Traces),
    ("datadog_span_buffer_size", Traces),
    ("falconer_address", Traces),
    ("kafka_span_*", Traces),
    ("lightstep_*", Traces),
    ("newrelic_trace_observer_url", Traces),
    ("splunk_*", Traces),
    ("trace_lightstep_*", Traces),
    ("xray_*", Traces),
    ("aws_s3_bucket", NeedsSink("s3")),
    ("aws_*", OfSink("s3")),
    ("flush_file", NeedsSink("localfile")),
    ("kafka_broker", NeedsSink("kafka")),
    ("kafka_*", OfSink("kafka")),
    ("newrelic_insert_key", NeedsSink("newrelic")),
    ("newrelic_*", OfSink("newrelic")),
    ("prometheus_repeater_address", NeedsSink("prometheus")),
    ("prometheus_*", OfSink("prometheus")),
    ("signalfx_api_key", NeedsSink("signalfx")),
    ("signalfx_*", OfSink("signalfx")),
    // Up to 3.0.0.
    ("ssf_address", Traces),
    ("trace_address", Traces),
    ("trace_api_address", Traces),
];

const ONE_CONNECTION: &str = "there is one connection for each member, which is kept";
const MEMBERS: &str = "members are not asked from Consul: name the globals' Service in endpoints, a name of theirs (Consul's own, as veneur-global.service.consul:8128, is one) in dns, or their addresses in forward_addresses";
const WATCHED: &str = "endpoints are watched, and dns.refresh says how often a name is resolved";
const METRICS: &str = "self-metrics go out at each interval";

pub(crate) const PROXY: &[(&str, Verdict)] = &[
    ("discovery_interval", NoEffect(WATCHED)),
    ("forward_service", Refused(MEMBERS)),
    ("runtime_metrics_interval", NoEffect(METRICS)),
    ("send_buffer_size", NoEffect("buffer_max_bytes bounds what waits for a member, in bytes")),
    (
        "tls.server_name",
        NoEffect("who connects checks a name; forward_tls.server_name is the one that members must bear"),
    ),
    // Up to 14.2.0.
    ("consul_forward_grpc_service_name", Refused(MEMBERS)),
    ("consul_forward_service_name", Refused(MEMBERS)),
    ("consul_trace_service_name", Traces),
    ("consul_refresh_interval", NoEffect(WATCHED)),
    ("idle_connection_timeout", NoEffect(ONE_CONNECTION)),
    ("max_idle_conns", NoEffect(ONE_CONNECTION)),
    ("max_idle_conns_per_host", NoEffect(ONE_CONNECTION)),
    ("ssf_destination_address", Traces),
    ("trace_address", Traces),
    ("trace_api_address", Traces),
    ("tracing_client_*", Traces),
];

/// Takes such keys out of a tree, and says what becomes of them.
pub(crate) fn take(tree: &mut Map<String, Value>, table: &[(&str, Verdict)], report: &mut Report) {
    let names: Vec<String> = tree
        .iter()
        .flat_map(|(key, value)| {
            let nested = value.as_object().into_iter().flat_map(|map| map.keys());
            nested.map(|inner| format!("{key}.{inner}")).chain([key.clone()]).collect::<Vec<_>>()
        })
        .collect();
    for name in names {
        let Some((_, verdict)) = table.iter().find(|(pattern, _)| matches(pattern, &name)) else { continue };
        let value = match name.split_once('.') {
            Some((section, key)) => {
                tree.get_mut(section).and_then(Value::as_object_mut).and_then(|map| map.remove(key))
            }
            None => tree.remove(&name),
        };
        if value.as_ref().is_none_or(asks_for_nothing) {
            continue;
        }
        match verdict {
            NoEffect(why) => report.note(&name, Weight::Info, format!("accepted, no effect here: {why}")),
            Traces => {
                report.note(
                    &name,
                    Weight::Warning,
                    "accepted, but traces are not carried yet: nothing is read or sent",
                );
            }
            OfSink(kind) => {
                let text = format!("accepted, no effect here: the {kind} sink does not exist yet");
                report.note(&name, Weight::Warning, text);
            }
            NeedsSink(kind) => {
                let kinds = sink::kinds();
                let problem = format!(
                    "asks for a {kind} sink, which does not exist yet: remove the key; kinds of sinks are {kinds}"
                );
                report.problem(&name, problem);
            }
            Refused(what) => report.problem(&name, *what),
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Whether a value is what the original takes for absent.
pub(crate) fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        // What a variable holds is a text.
        Value::String(text) => matches!(text.as_str(), "" | "0" | "false" | "0s"),
        Value::Array(list) => list.iter().all(asks_for_nothing),
        Value::Object(map) => map.values().all(asks_for_nothing),
    }
}
