//! A local or a global.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Every, Invalid, ScopeRule, Sink, Validate, sink};

/// Configuration of a local or a global. An instance with a `forward_address` is a local, one without is a global.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Flush period, whole seconds. Equal on all tiers, or global counters come in bursts.
    pub interval: Every,
    /// Flush on wall-clock multiples of the interval, and stamp what is forwarded. The operator always sets it; the
    /// original's default is false, and unaligned instances neither stamp nor read stamps.
    pub synchronize_with_interval: bool,
    /// Ours: how long after a boundary a global waits for its partials before it publishes. `null`: the smaller of 2 s
    /// and a quarter of the interval. Nothing for a local.
    pub lateness: Option<Every>,
    /// Name of this instance: the `host` of a pod's own points. Empty: the machine's host name.
    pub hostname: String,
    /// Percentiles of histograms and timers, each in (0, 1), no two equal.
    pub percentiles: Vec<f64>,
    /// Aggregates of histograms and timers.
    pub aggregates: Vec<Aggregate>,
    /// Tags added to every context formed here; they replace a client's tags of the same key.
    pub extend_tags: Vec<String>,
    /// Ours: scopes given by name, first match wins.
    pub metric_scopes: Vec<ScopeRule>,
    /// Where DogStatsD is read: `udp://host:port`.
    pub statsd_listen_addresses: Vec<String>,
    /// Sockets per UDP address, each with its own reader.
    pub num_readers: usize,
    /// Receive buffer asked of the kernel per socket, in bytes; the kernel caps it at `net.core.rmem_max`.
    pub read_buffer_size_bytes: usize,
    /// Longest datagram accepted, in bytes; longer ones are dropped whole and counted.
    pub metric_max_length: usize,
    /// Where partials and points are imported over gRPC, `host:port`; empty: nowhere.
    pub grpc_address: String,
    /// Where the admin port listens, `host:port`; empty: nowhere.
    pub http_address: String,
    /// Where partials are forwarded, `host:port`; empty: this instance is a global.
    pub forward_address: String,
    /// Ours: also forward this instance's own finished points, instead of posting them to sinks from here. Needs a
    /// `forward_address`; what the operator calls `delivery: ViaGlobal`.
    pub forward_points: bool,
    /// Ours: bytes of undelivered data held in memory, for forwarding and for each sink.
    pub buffer_max_bytes: usize,
    /// Ours: how long undelivered data is held.
    pub buffer_max_age: Every,
    /// Ours: how long a stopping instance may take to publish and deliver what it holds.
    pub shutdown_timeout: Every,
    /// Where points end.
    pub metric_sinks: Vec<Sink>,
}

/// Aggregates of a histogram or timer, by the original's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it, but for hmean")]
pub enum Aggregate {
    Min,
    Max,
    Median,
    Avg,
    Count,
    Sum,
    /// Harmonic mean.
    Hmean,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            interval: Every::seconds(10),
            synchronize_with_interval: false,
            lateness: None,
            hostname: String::new(),
            percentiles: Vec::new(),
            aggregates: vec![Aggregate::Min, Aggregate::Max, Aggregate::Count],
            extend_tags: Vec::new(),
            metric_scopes: Vec::new(),
            statsd_listen_addresses: Vec::new(),
            num_readers: 1,
            read_buffer_size_bytes: 2 * 1024 * 1024,
            metric_max_length: 4096,
            grpc_address: String::new(),
            http_address: String::new(),
            forward_address: String::new(),
            forward_points: false,
            buffer_max_bytes: 16 * 1024 * 1024,
            buffer_max_age: Every::seconds(60),
            shutdown_timeout: Every::seconds(36),
            metric_sinks: Vec::new(),
        }
    }
}

impl Server {
    /// Whether partials leave for another tier.
    pub fn forwards(&self) -> bool {
        !self.forward_address.is_empty()
    }

    /// How long after a boundary partials are waited for.
    pub fn lateness(&self) -> Duration {
        self.lateness.map_or_else(|| (self.interval.0 / 4).min(Duration::from_secs(2)), |every| every.0)
    }
}

impl Validate for Server {
    fn problems(&self) -> Vec<Invalid> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, problem: String| problems.push(Invalid::new(key, problem));
        if self.interval.0 < Duration::from_secs(1) || self.interval.0.subsec_nanos() != 0 {
            wrong("interval", format!("{:?} must be whole seconds, at least 1s", self.interval.0));
        }
        if self.lateness() >= self.interval.0 {
            wrong("lateness", format!("{:?} must be shorter than the interval {:?}", self.lateness(), self.interval.0));
        }
        for (index, percentile) in self.percentiles.iter().enumerate() {
            if !(*percentile > 0.0 && *percentile < 1.0) {
                wrong(&format!("percentiles[{index}]"), format!("{percentile} must lie between 0 and 1, as 0.99 does"));
            }
            if self.percentiles[..index].contains(percentile) {
                wrong(
                    &format!("percentiles[{index}]"),
                    format!("{percentile} appears twice: its points would bear the same name, remove one"),
                );
            }
        }
        for (index, address) in self.statsd_listen_addresses.iter().enumerate() {
            let udp = ["udp://", "udp4://", "udp6://"].iter().find_map(|scheme| address.strip_prefix(scheme));
            if udp.is_none_or(|rest| rest.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())) {
                wrong(
                    &format!("statsd_listen_addresses[{index}]"),
                    format!("{address:?} must look like udp://127.0.0.1:8126"),
                );
            }
        }
        if self.num_readers == 0 {
            wrong("num_readers", "0 would leave every socket unread: at least 1".to_owned());
        }
        if !(16..=65_507).contains(&self.metric_max_length) {
            wrong("metric_max_length", format!("{} must lie between 16 and 65507 bytes", self.metric_max_length));
        }
        if self.forward_points && !self.forwards() {
            wrong("forward_points", "true needs a forward_address: without one there is nowhere to forward".to_owned());
        }
        problems.extend(sink::problems(&self.metric_sinks));
        problems
    }
}
