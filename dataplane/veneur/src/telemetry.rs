//! The ledgers as JSON for people and as metrics for Prometheus, from one snapshot.

mod ring;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde_json::{Value, json};
use veneur_forward::{Ledger, router::RingView};
use veneur_sinks::SinkLedger;

use crate::{account::Ingest, kubelet::Counts, listen::ConnectionCounts};

/// The ledgers of an instance at one moment. Each was taken under its own lock and closes by itself.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) role: &'static str,
    pub(crate) ingest: Option<Ingest>,
    /// In node mode.
    pub(crate) node: Option<Counts>,
    /// Of all listeners together.
    pub(crate) connections: ConnectionCounts,
    pub(crate) forward: Ledger,
    pub(crate) sinks: Vec<(String, SinkLedger)>,
    pub(crate) ring: Option<RingView>,
}

impl Snapshot {
    /// Everything that came in and is nowhere, over all ledgers: 0, or there is a defect.
    fn unaccounted(&self) -> i128 {
        let samples = self.ingest.as_ref().map_or(0, |ingest| ingest.samples.unaccounted());
        let sinks: i128 = self.sinks.iter().map(|(_, ledger)| sink_unaccounted(ledger)).sum();
        samples + self.forward.unaccounted() + sinks
    }

    /// The `/status` page: `explained` and the ledgers.
    pub(crate) fn status(&self, explained: Value) -> Value {
        let mut status = json!({
            "role": self.role,
            "version": env!("CARGO_PKG_VERSION"),
            "unaccounted": self.unaccounted(),
            "ledgers": {
                "datagrams": self.ingest.as_ref().map(|ingest| &ingest.datagrams),
                "samples": self.ingest.as_ref().map(|ingest| &ingest.samples),
                "forward": self.forward,
                "sinks": self.sinks.iter().map(|(name, ledger)| (name.clone(), sink_json(ledger))).collect::<serde_json::Map<_, _>>(),
            },
        });
        if let (Value::Object(status), Value::Object(explained)) = (&mut status, explained) {
            status.extend(explained);
        }
        status
    }
}

/// The snapshot in the OpenMetrics text format.
pub(crate) fn prometheus_text(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        if let Some(Ingest { datagrams, samples }) = &self.ingest {
            page.counter("veneur_datagrams_read", "Datagrams read", datagrams.read)?;
            let dropped = datagrams.kernel_dropped;
            page.counter("veneur_datagrams_kernel_dropped", "Datagrams the kernel dropped", dropped)?;
            let skipped = samples.skipped_sections;
            page.counter("veneur_datagrams_arrived", "Datagrams the kernel took in for us", datagrams.arrived)?;
            page.counter("veneur_skipped_sections", "Sections of unknown meaning, whose values are kept", skipped)?;
            page.counter("veneur_samples_parsed", "Values found in datagrams", samples.parsed)?;
            page.counter("veneur_samples_aggregated", "Values in an interval's table", samples.aggregated)?;
            page.counter("veneur_samples_folded", "Of these, in an overflow series for want of room", samples.folded)?;
            page.counter("veneur_samples_untimely", "Of these, whose own time was ignored", samples.untimely)?;
            let refused: Vec<_> =
                samples.refused.iter().map(|(reason, count)| ([("reason", *reason)], *count)).collect();
            page.family("veneur_samples_refused", "Values in no table, by reason", &refused)?;
        }
        let ConnectionCounts { connects, disconnects, tls_handshake_failures, idle } = self.connections;
        for (name, help, count) in [
            ("veneur_tcp_connects", "Connections to listeners of DogStatsD", connects),
            ("veneur_tcp_disconnects", "Those of them that have ended", disconnects),
            ("veneur_tcp_tls_handshake_failures", "Those that ended without agreeing on TLS", tls_handshake_failures),
            ("veneur_tcp_idle_disconnects", "Those that ended because no line came", idle),
        ] {
            page.counter(name, help, count)?;
        }
        if let Some(node) = &self.node {
            page.node(node)?;
        }
        if let Some(ring) = &self.ring {
            page.ring(ring)?;
        }
        let Ledger {
            produced,
            imported,
            acknowledged,
            merged,
            held,
            uncertain,
            dropped,
            lost_with_member,
            rehomed,
            failover_merged,
            late,
            skewed,
            folded,
        } = &self.forward;
        for (name, help, count) in [
            ("veneur_forward_produced", "Partials and points made here", produced),
            ("veneur_forward_imported", "Partials and points read from other instances", imported),
            ("veneur_forward_acknowledged", "Answered OK by the next tier", acknowledged),
            ("veneur_forward_merged", "Merged here, or taken over by sinks", merged),
            ("veneur_forward_uncertain", "Sent, neither answered nor certainly unread", uncertain),
            ("veneur_forward_lost_with_member", "Acknowledged by a member that died with them", lost_with_member),
            ("veneur_forward_rehomed", "Given to another member than the one they waited for", rehomed),
            (
                "veneur_forward_failover_merged",
                "Merged here in place of a member that does not answer",
                failover_merged,
            ),
            ("veneur_forward_late", "Merged into a later interval than their own", late),
            ("veneur_forward_skewed", "Stamped more than an interval ahead", skewed),
            ("veneur_forward_folded", "Merged into an overflow series, for lack of room", folded),
        ] {
            page.counter(name, help, *count)?;
        }
        page.gauge("veneur_forward_held", "Waiting or on the way", (*held).into())?;
        let dropped: Vec<_> = dropped.iter().map(|(reason, count)| ([("reason", *reason)], *count)).collect();
        page.family("veneur_forward_dropped", "Lost here, by reason", &dropped)?;
        for (name, help, count) in sink_counts() {
            let rows: Vec<_> =
                self.sinks.iter().map(|(sink, ledger)| ([("sink", sink.as_str())], count(ledger))).collect();
            page.family(name, help, &rows)?;
        }
        let lost: Vec<_> = self
            .sinks
            .iter()
            .flat_map(|(sink, ledger)| {
                ledger.dropped.iter().map(|(reason, count)| ([("sink", sink.as_str()), ("reason", *reason)], *count))
            })
            .collect();
        page.family("veneur_sink_dropped", "Points lost on the way to a sink, by reason", &lost)?;
        page.gauge("veneur_unaccounted", "What came in and is nowhere: 0, or a defect", self.unaccounted())
    }
}

type SinkCount = (&'static str, &'static str, fn(&SinkLedger) -> u64);

fn sink_counts() -> [SinkCount; 3] {
    [
        ("veneur_sink_produced", "Points offered to a sink", |ledger| ledger.produced),
        ("veneur_sink_published", "Points a sink has taken", |ledger| ledger.published),
        ("veneur_sink_held", "Points waiting for a sink", |ledger| ledger.held),
    ]
}

/// What a sink's ledger is short of: 0, or there is a defect.
pub(crate) fn sink_unaccounted(ledger: &SinkLedger) -> i128 {
    let SinkLedger { produced, published, held, dropped } = ledger;
    i128::from(*produced) - i128::from(published + held + dropped.values().sum::<u64>())
}

fn sink_json(ledger: &SinkLedger) -> Value {
    let SinkLedger { produced, published, held, dropped } = ledger;
    json!({ "produced": produced, "published": published, "held": held, "dropped": dropped })
}

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn node(&mut self, node: &Counts) -> fmt::Result {
        let formed = [
            ([("origin", "resolved")], node.contexts_resolved),
            ([("origin", "unresolved")], node.contexts_unresolved),
            ([("origin", "none")], node.contexts_without_origin),
        ];
        self.family("veneur_node_contexts_formed", "Contexts formed, by what was known of who sends them", &formed)?;
        let requests =
            [([("outcome", "answered")], node.requests_answered), ([("outcome", "failed")], node.requests_failed)];
        self.family("veneur_node_kubelet_requests", "Requests to the kubelet", &requests)?;
        for (name, help, count) in [
            ("veneur_node_pods", "Pods known by the kubelet's list", node.pods),
            ("veneur_node_containers", "Containers known by the kubelet's list", node.containers),
            ("veneur_node_unknown_origins", "Origins that the kubelet is asked for", node.unknown_origins),
        ] {
            self.gauge(name, help, i128::try_from(count).unwrap_or(i128::MAX))?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let counter = ConstCounter::new(count);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauge(&mut self, name: &str, help: &str, state: i128) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(state).unwrap_or(i64::MAX));
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    /// One counter a row, told apart by labels.
    fn family<const N: usize>(&mut self, name: &str, help: &str, rows: &[([(&str, &str); N], u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in rows {
            ConstCounter::new(*count).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}
