//! The self-metrics: names and tags are the original's where it has them.

use std::collections::BTreeMap;

use veneur_metric::Stamp;

use super::{Counts, Flushed, Observer, lines::Lines};
use crate::{output::Output, telemetry::sink_unaccounted};

/// Why something that was imported is in no table.
const IMPORT_REFUSALS: [&str; 8] =
    ["incomplete", "type_mismatch", "local_scope", "not_finite", "bad_stamp", "bad_entry", "bad_digest", "bad_set"];

/// Writes what has changed between `before` and `now`.
pub(super) fn write(
    lines: &mut Lines<'_>,
    observer: &Observer,
    boundary: Stamp,
    since: &Flushed,
    before: &Counts,
    now: &Counts,
    output: &Output,
) {
    flush(lines, observer, boundary, since);
    ingest(lines, before, now);
    forward(lines, observer.forwards, since, before, now, output);
    sinks(lines, &observer.sinks, before, now, output);
    let at_sinks: i128 = now.sinks.iter().map(sink_unaccounted).sum();
    let unaccounted = now.ingest.samples.unaccounted() + now.forward.unaccounted() + at_sinks;
    lines.gauge("unaccounted", unaccounted, &[]);
}

fn flush(lines: &mut Lines<'_>, observer: &Observer, boundary: Stamp, since: &Flushed) {
    lines.gauge("flush.flush_timestamp_ns", u128::from(boundary.boundary_ms) * 1_000_000, &[]);
    for took in since.took.iter() {
        lines.took("flush.total_duration_ns", took.as_nanos(), &[]);
    }
    if observer.counts_series {
        let global = if observer.forwards { "false" } else { "true" };
        lines.dense("flush.unique_timeseries_total", since.series as u64, &[("global_veneur", global)]);
    }
    lines.count("worker.metrics_flushed_total", since.contexts as u64, &[]);
    lines.count("worker.metrics_flushed_total", since.checks as u64, &[("metric_type", "status")]);
    lines.count("worker.other_samples_flushed_total", since.events as u64, &[]);
}

fn ingest(lines: &mut Lines<'_>, before: &Counts, now: &Counts) {
    let (old, new) = (&before.ingest, &now.ingest);
    lines.dense("worker.metrics_processed_total", new.samples.aggregated - old.samples.aggregated, &[]);
    let mut by_protocol: BTreeMap<&str, u64> = BTreeMap::new();
    for (index, (protocol, account)) in now.listeners.iter().enumerate() {
        let before = before.listeners.get(index).map_or(0, |(_, account)| account.samples.parsed);
        *by_protocol.entry(protocol).or_default() += account.samples.parsed - before;
    }
    for (protocol, received) in by_protocol {
        lines.count("listen.received_per_protocol_total", received, &[("protocol", protocol)]);
    }
    for (cause, count) in more(&old.samples.refused, &new.samples.refused) {
        let (packet_type, reason) = of_original(cause);
        let tags = [("packet_type", packet_type), ("reason", reason), ("cause", cause)];
        lines.count("packet.error_total", count, &tags);
    }
    let dropped = new.datagrams.kernel_dropped.saturating_sub(old.datagrams.kernel_dropped);
    lines.count("datagrams.kernel_dropped_total", dropped, &[]);
    lines.count("samples.folded_total", new.samples.folded - old.samples.folded, &[]);
    let (old, new) = (&before.connections, &now.connections);
    lines.count("tcp.connects", new.connects - old.connects, &[]);
    lines.count("tcp.disconnects", new.disconnects - old.disconnects, &[]);
    lines.count("tcp.tls_handshake_failures", new.tls_handshake_failures - old.tls_handshake_failures, &[]);
}

/// The original's `packet_type` and `reason` of one of our reasons.
fn of_original(cause: &str) -> (&'static str, &'static str) {
    match cause {
        "too_long" => ("unknown", "toolong"),
        "cut_off" | "no_room" => ("unknown", "parse"),
        "notice_limit" => ("event", "parse"),
        cause if cause.starts_with("bad_event") => ("event", "parse"),
        cause if cause.starts_with("bad_check") => ("service_check", "parse"),
        _ => ("metric", "parse"),
    }
}

fn forward(lines: &mut Lines<'_>, forwards: bool, since: &Flushed, before: &Counts, now: &Counts, output: &Output) {
    let (old, new) = (&before.forward, &now.forward);
    let imported = new.imported - old.imported;
    lines.count("worker.metrics_imported_total", imported, &[]);
    lines.count("import.metrics_total", imported, &[("protocol", "grpc")]);
    let dropped = more(&old.dropped, &new.dropped);
    let (refused, lost): (Vec<_>, Vec<_>) =
        dropped.into_iter().partition(|(reason, _)| IMPORT_REFUSALS.contains(reason));
    for (cause, count) in refused {
        lines.count("import.request_error_total", count, &[("cause", cause)]);
    }
    for (cause, count) in lost {
        lines.count("forward.error_total", count, &[("cause", cause)]);
    }
    if forwards {
        lines.count("forward.error_total", new.uncertain - old.uncertain, &[("cause", "uncertain")]);
        // As in the original: there is always one, so that its absence means something.
        lines.dense("forward.error_total", 0, &[]);
        lines.gauge("forward.metrics_total", since.partials, &[]);
        lines.count("forward.post_metrics_total", new.acknowledged - old.acknowledged, &[]);
    }
    for took in output.lane.iter().flat_map(veneur_forward::lane::Lane::take_durations) {
        lines.took("forward.duration_ns", took.as_nanos(), &[("part", "grpc")]);
    }
}

fn sinks(lines: &mut Lines<'_>, names: &[(String, &'static str)], before: &Counts, now: &Counts, output: &Output) {
    let none = veneur_sinks::SinkLedger::default();
    for (index, (new, (name, kind))) in now.sinks.iter().zip(names).enumerate() {
        let old = before.sinks.get(index).unwrap_or(&none);
        let sink = ("sink_name", name.as_str());
        let kind = ("sink_kind", *kind);
        let published = new.published - old.published;
        let (mut skipped, mut lost) = (0, 0);
        for (reason, count) in more(&old.dropped, &new.dropped) {
            if reason == veneur_sinks::Reason::Filtered.as_str() {
                skipped += count;
            } else {
                lost += count;
                lines.fleet("dropped_metrics", count, &[sink, kind, ("reason", reason)]);
            }
        }
        lines.fleet("flushed_metrics", published, &[sink, kind, ("status", "flushed")]);
        lines.fleet("flushed_metrics", skipped, &[sink, kind, ("status", "skipped")]);
        lines.count("sink.metrics_flushed_total", published, &[sink, kind]);
        lines.count("sink.metrics_skipped_total", skipped, &[sink, kind]);
        lines.count("sink.metrics_dropped_total", lost, &[sink, kind]);
        for took in output.sinks.get(index).map(veneur_sinks::Delivery::take_durations).unwrap_or_default() {
            lines.took("sink.metric_flush_total_duration_ms", took.as_secs_f64() * 1_000.0, &[sink, kind]);
        }
    }
}

/// What has been added, by reason.
pub(super) fn more(old: &BTreeMap<&'static str, u64>, new: &BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    let more = new.iter().map(|(reason, count)| (*reason, count - old.get(reason).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}
