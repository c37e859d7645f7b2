//! What a proxy says of itself: names of the original's proxies, of both generations where they mean the same.
//!
//! A report goes to `stats_address`, or as finished points through the proxy's own members to their sinks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use veneur_aggregate::{Budget, Interval, Publishing};
use veneur_config::{Proxy, Server};
use veneur_forward::{Ledger, dialect::Dialect, discovery::TallyView, lane::Counts, router::RingView};
use veneur_metric::{Point, Stamp};
use veneur_wire::{encode_point, metricpb::Metric};

use super::{
    LIMITS,
    lines::{Lines, Style},
    stats::Stats,
};
use crate::{
    account::IngestAccount,
    listen::{
        intake::{Intake, Shared},
        origin::Origin,
    },
    settings,
};

/// What every self-metric of a proxy begins with.
const PREFIX: &str = "veneur_proxy.";

/// Looks at a proxy's ledgers.
#[derive(Debug)]
pub(crate) struct ProxyObserver {
    style: Style,
    way: Way,
    before: Seen,
}

#[derive(Debug)]
enum Way {
    Nowhere,
    Members(Box<Members>),
    Elsewhere(Stats),
}

/// Turns lines into points.
#[derive(Debug)]
struct Members {
    intake: Intake,
    shared: Shared,
}

/// Counts since the process started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) ledger: Ledger,
    /// By address, and how long batches to it took since the last look.
    pub(crate) members: BTreeMap<String, (Counts, Vec<Duration>)>,
    pub(crate) discovery: Option<TallyView>,
}

impl ProxyObserver {
    /// `name`: of this proxy, as the host of its series.
    pub(crate) async fn new(config: &Proxy, name: &str) -> Self {
        let address = config.stats_address();
        let way = if !config.self_metrics {
            Way::Nowhere
        } else if address.is_empty() {
            let shared = Shared::new(settings::rules(&Server::default()), Arc::new(Budget::new(LIMITS)), None);
            let intake = Intake::new(&shared, Arc::new(IngestAccount::default()));
            Way::Members(Box::new(Members { intake, shared }))
        } else {
            Way::Elsewhere(Stats::new(address).await)
        };
        let host = matches!(way, Way::Members(_)).then(|| format!("host:{name}"));
        Self { style: Style::plain(PREFIX, host), way, before: Seen::default() }
    }

    /// Takes a look at the end of an interval; what is for the members is returned.
    pub(crate) async fn look(&mut self, now: Seen, ring: &RingView, stamp: Stamp) -> Vec<Metric> {
        if matches!(self.way, Way::Nowhere) {
            return Vec::new();
        }
        let mut lines = Lines::new(&self.style);
        write(&mut lines, &self.before, &now, ring);
        self.before = now;
        match &self.way {
            Way::Nowhere => Vec::new(),
            Way::Members(members) => members.points(lines.as_bytes(), stamp),
            Way::Elsewhere(stats) => {
                stats.offer(lines.into_text());
                stats.send().await;
                Vec::new()
            }
        }
    }
}

impl Members {
    fn points(&self, lines: &[u8], stamp: Stamp) -> Vec<Metric> {
        self.intake.open().packet(lines, Origin::UNKNOWN);
        let mut interval = Interval::new(self.shared.seed);
        interval.absorb(self.intake.take().cells);
        // Counters and gauges of no other instance: their points are finished here.
        let publishing = Publishing { forwards: true, percentiles: Vec::new(), aggregates: Vec::new() };
        let mut points: Vec<Point> = Vec::new();
        interval
            .flush(&publishing, Some(stamp), stamp.timestamp(), stamp.interval(), |part| points.extend(part.points));
        points.into_iter().map(|point| encode_point(point, stamp)).collect()
    }
}

/// Writes what has changed between `before` and `now`.
fn write(lines: &mut Lines<'_>, before: &Seen, now: &Seen, ring: &RingView) {
    let (old, new) = (&before.ledger, &now.ledger);
    let imported = new.imported - old.imported;
    for name in ["import.metrics_total", "proxy.metrics_total", "ingest.metrics_count"] {
        lines.dense(name, imported, &[]);
    }
    let acknowledged = new.acknowledged - old.acknowledged;
    lines.dense("proxy.proxied_metrics_total", acknowledged, &[]);
    lines.dense("forward.metrics_count", acknowledged, &[("error", "false")]);
    let dropped = |ledger: &Ledger, reason: &str| ledger.dropped.get(reason).copied().unwrap_or_default();
    let mut lost: Vec<(&str, u64)> =
        new.dropped.iter().map(|(reason, count)| (*reason, count - dropped(old, reason))).collect();
    lost.push(("uncertain", new.uncertain - old.uncertain));
    // They were answered OK, and are among those already.
    let answered = ("lost_with_member", new.lost_with_member - old.lost_with_member);
    for (cause, count) in lost.iter().copied().chain([answered]) {
        let cause = [("cause", cause)];
        lines.count("proxy.proxied_metrics_failed", count, &cause);
        lines.count("forward.error_total", count, &cause);
    }
    for (_, count) in lost {
        lines.count("forward.metrics_count", count, &[("error", "dropped")]);
    }
    let unrouted = dropped(new, "no_member") - dropped(old, "no_member");
    lines.count("handle.metrics_count", imported - unrouted.min(imported), &[("error", "false")]);
    lines.count("handle.metrics_count", unrouted, &[("error", "destination")]);
    lines.count("forward.rehomed_total", new.rehomed - old.rehomed, &[]);
    for (destination, (counts, took)) in &now.members {
        let earlier = before.members.get(destination).map_or(0, |(counts, _)| counts.acknowledged);
        // A lane that was made anew counts from zero.
        let more = counts.acknowledged.checked_sub(earlier).unwrap_or(counts.acknowledged);
        let protocol = match Dialect::of(destination).0 {
            Dialect::Stream | Dialect::Unary => "grpc",
            Dialect::Http => "http",
        };
        lines.count("metrics_by_destination", more, &[("destination", destination), ("protocol", protocol)]);
        for took in took {
            lines.gauge("forward.send_latency_ns", took.as_nanos(), &[("destination", destination)]);
        }
    }
    for member in &ring.members {
        let destination = [("destination", member.address.as_str())];
        lines.gauge("forward.buffer_bytes", member.waiting_bytes, &destination);
        lines.gauge("forward.absent", u8::from(member.absent), &destination);
    }
    for name in ["discoverer.destination_number", "discovery.destinations"] {
        lines.gauge(name, ring.members.len(), &[]);
    }
    let (was, is) = (before.discovery.unwrap_or_default(), now.discovery.unwrap_or_default());
    lines.count("discoverer.errors", is.errors - was.errors, &[]);
    lines.count("discovery.count", is.errors - was.errors, &[("status", "fail")]);
    lines.count("discovery.count", is.answers - was.answers, &[("status", "success")]);
    lines.count("discovery.duration_total_ms", (is.took_us - was.took_us) / 1_000, &[]);
    lines.gauge("unaccounted", new.unaccounted(), &[]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use veneur_forward::router::MemberView;

    #[test]
    fn what_was_lost_is_told_by_cause_and_what_was_delivered_by_destination() {
        let style = Style::plain(PREFIX, None);
        let mut lines = Lines::new(&style);
        let ledger = Ledger {
            imported: 10,
            acknowledged: 7,
            uncertain: 1,
            dropped: [("queue_full", 2)].into(),
            lost_with_member: 3,
            ..Ledger::default()
        };
        let counts = Counts { acknowledged: 7, ..Counts::default() };
        let posted = Counts { acknowledged: 2, ..Counts::default() };
        let members =
            [("g:8128".to_owned(), (counts.clone(), Vec::new())), ("http://h:8127".to_owned(), (posted, Vec::new()))]
                .into();
        let member = MemberView {
            name: "g".into(),
            address: "g:8128".into(),
            absent: false,
            waiting_batches: 0,
            waiting_bytes: 3,
            counts,
        };
        let ring = RingView { hash: String::new(), blind: None, members: vec![member], left: Vec::new() };
        write(&mut lines, &Seen::default(), &Seen { ledger, members, discovery: None }, &ring);
        let text = lines.into_text();
        for line in [
            "veneur_proxy.import.metrics_total:10|c",
            "veneur_proxy.proxy.proxied_metrics_total:7|c",
            "veneur_proxy.proxy.proxied_metrics_failed:2|c|#cause:queue_full",
            "veneur_proxy.forward.error_total:1|c|#cause:uncertain",
            "veneur_proxy.metrics_by_destination:7|c|#destination:g:8128,protocol:grpc",
            "veneur_proxy.metrics_by_destination:2|c|#destination:http://h:8127,protocol:http",
            "veneur_proxy.forward.error_total:3|c|#cause:lost_with_member",
            "veneur_proxy.forward.buffer_bytes:3|g|#destination:g:8128",
            "veneur_proxy.discoverer.destination_number:1|g",
            "veneur_proxy.unaccounted:0|g",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        let dropped: Vec<&str> = text.lines().filter(|line| line.contains("error:dropped")).collect();
        let each = ["2", "1"].map(|count| format!("veneur_proxy.forward.metrics_count:{count}|c|#error:dropped"));
        assert_eq!(dropped, each, "what was answered OK before its member died is no second loss");
    }
}
