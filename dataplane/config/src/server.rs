//! A local or a global.

mod check;
mod node;

pub use node::{Node, TagCardinality};

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Every, ForwardTls, ListenTls, LocalSettings, NameMatch, Reload, ScopeRule, Secret, Sink, SinkRoute, changes,
    key::{Field, Report, Shape, leaf, section},
};

section! {
    /// Configuration of a local or a global. An instance with a `forward_address` is a local, one without is a global.
    pub struct Server {
        /// Flush period, whole seconds. Equal on all tiers, or global counters come in bursts.
        fixed interval: Every = Every::seconds(10),
        /// Flush on wall-clock multiples of the interval, and stamp what is forwarded. The operator always sets it; the
        /// original's default is false, and unaligned instances neither stamp nor read stamps.
        fixed synchronize_with_interval: bool = false,
        /// Ours: how long after a boundary a global waits for its partials before it publishes. `null`: the smaller of
        /// 2 s and a quarter of the interval. Nothing for a local.
        fixed lateness: Option<Every> = None,
        /// End the process, with exit code 1, when no flush has started for this many intervals; 0: never.
        fixed flush_watchdog_missed_flushes: u32 = 0,
        /// Accepted for the original's files. A stopping instance always publishes the interval under way.
        fixed flush_on_shutdown: bool = false,
        /// Name of this instance: the `host` of a pod's own points. Empty: the machine's host name.
        fixed hostname: String = String::new(),
        /// Leave an empty `hostname` empty, instead of taking the machine's.
        fixed omit_empty_hostname: bool = false,

        /// Percentiles of histograms and timers, each above 0 and below 1 with at most five digits, no two equal.
        live percentiles: Vec<f64> = Vec::new(),
        /// Aggregates of histograms and timers: `min`, `max`, `median`, `avg`, `count`, `sum`, `hmean`, none twice.
        live aggregates: Vec<Aggregate> = vec![Aggregate::Min, Aggregate::Max, Aggregate::Count],
        /// Tags added to every context formed here; they replace a client's tags of the same key.
        live extend_tags: Vec<String> = Vec::new(),
        /// Of 14.2.0: tags that the sinks of this instance add to all that they publish, and that it adds to finished points
        /// it forwards. They are in no context, and no partial carries them.
        fixed tags: Vec<String> = Vec::new(),
        /// Ours: tags of this instance alone, in place of those of `extend_tags` with the same key.
        fixed instance_tags: Vec<String> = Vec::new(),
        /// Ours: keys of tags that are taken off before a context is formed, so that what differs in them alone is one series.
        live drop_tags: Vec<String> = Vec::new(),
        /// Tags kept from sinks, by their beginning: `tag` from all, `tag|sink|sink` from those named.
        fixed tags_exclude: Vec<String> = Vec::new(),
        /// Ours: scopes given by name, first match wins.
        live metric_scopes: Vec<ScopeRule> = Vec::new(),
        /// Ours: names whose histograms and timers are kept in a sketch of relative error (at most 1 % of the value at
        /// every percentile), for heavy tails: `{kind: any|exact|prefix, value: NAME}`.
        live relative_error_sketches: Vec<NameMatch> = Vec::new(),
        /// Ours: most contexts of this process in one interval, and as many imported ones; beyond, samples and imports fold
        /// into one overflow series a type.
        live max_contexts: usize = 1_000_000,
        /// Ours: the same for each origin that is known (the peer on a Unix socket), at each reader; 0: no limit of its own.
        live max_contexts_per_origin: usize = 0,
        /// Ours: most bytes of aggregation state, imports included; beyond, what is new folds into the overflow series.
        live max_state_bytes: usize = 512 * 1024 * 1024,
        /// Ours: for how many intervals the name of a context is remembered after its last sample.
        live context_idle_intervals: u32 = 6,

        /// Where `DogStatsD` is read: `udp://HOST:PORT`, `tcp://HOST:PORT` (also `udp4`, `udp6`, `tcp4`, `tcp6`);
        /// `unixgram:///PATH` or `unixgram:@NAME` for datagrams; ours: `unix:///PATH` or `unix:@NAME` for streams, and
        /// `fd://N` for a socket inherited from systemd, whose first is 3.
        fixed statsd_listen_addresses: Vec<String> = Vec::new(),
        /// Where `DogStatsD` is read over gRPC: `tcp://HOST:PORT`.
        fixed grpc_listen_addresses: Vec<String> = Vec::new(),
        /// Sockets per UDP address, each with its own reader.
        fixed num_readers: usize = 1,
        /// Receive buffer asked of the kernel per socket, in bytes; the kernel caps it at `net.core.rmem_max`.
        fixed read_buffer_size_bytes: usize = 2 * 1024 * 1024,
        /// Longest datagram accepted, in bytes; longer ones are dropped whole and counted.
        fixed metric_max_length: usize = 4096,
        /// Ours: a TCP connection that sends nothing for so long is closed.
        fixed tcp_idle_timeout: Every = Every::seconds(600),
        /// Key of `tls_certificate`, PEM. Secret. With both, `tcp://` and `grpc_listen_addresses` speak TLS.
        fixed tls_key: Secret = Secret::default(),
        /// Certificate that clients are shown, PEM.
        fixed tls_certificate: String = String::new(),
        /// Authority whose certificate a client must show, PEM. Empty: clients show none.
        fixed tls_authority_certificate: String = String::new(),

        /// Ours: node mode, in which one instance serves all pods of a node, and samples get tags of the pod that sent them.
        fixed node: Node = Node::default(),

        /// Where partials and points are imported over gRPC, `HOST:PORT`; empty: nowhere.
        fixed grpc_address: String = String::new(),
        /// Ours: TLS at `grpc_address`: what senders are shown, and asked for. Without a certificate it is plain text.
        fixed grpc_tls: ListenTls = ListenTls::default(),
        /// Where the admin port listens, `HOST:PORT`, or the path of a Unix socket; empty: nowhere.
        fixed http_address: String = String::new(),
        /// What the admin port shows.
        fixed http: Http = Http::default(),
        /// Allow `POST /quitquitquit`, without authentication.
        fixed http_quit: bool = false,
        /// Allow profiles to be taken through the admin port, below `/debug/pprof/`.
        fixed enable_profiling: bool = false,
        /// Log what helps to find an error; the variable `VENEUR_LOG` says more exactly what, and then this is not heeded.
        live debug: bool = false,

        /// Where partials are forwarded, `HOST:PORT`; empty: this instance is a global. `http://HOST:PORT` posts them to
        /// `/import` there, as instances up to 14.2.0 do.
        fixed forward_address: String = String::new(),
        /// Of 14.2.0, for peers that read nothing newer: `true` forwards in one message over gRPC, `false` by
        /// `POST /import`. `null`: as `forward_address` says, by a stream over gRPC unless it begins with `http://`.
        fixed forward_use_grpc: Option<bool> = None,
        /// Ours: take the live keys of this configuration from whoever answers at `forward_address`, if it offers them
        /// (`local_settings` there), and every change of them. The operator sets it for sidecars.
        fixed follow_settings: bool = false,
        /// Ours: live keys offered to those who forward here and follow, `{percentiles: [0.5, 0.99]}`; empty:
        /// nothing is offered, and they keep what they have.
        live local_settings: LocalSettings = LocalSettings::default(),
        /// Ours: TLS towards `forward_address` and `handover_address`.
        fixed forward_tls: ForwardTls = ForwardTls::default(),
        /// Ours: also forward this instance's own finished points, instead of posting them to sinks from here. Needs a
        /// `forward_address`; what the operator calls `delivery: ViaGlobal`.
        fixed forward_points: bool = false,
        /// Ours: a proxy, `HOST:PORT`, through which a stopping global gives away what it cannot publish within
        /// `shutdown_timeout`; empty: it publishes that early.
        fixed handover_address: String = String::new(),
        /// Ours: bytes of undelivered data held in memory, for forwarding and for each sink.
        fixed buffer_max_bytes: usize = 16 * 1024 * 1024,
        /// Ours: how long undelivered data is held.
        fixed buffer_max_age: Every = Every::seconds(60),
        /// Ours: how long a stopping instance may take to publish and deliver what it holds.
        fixed shutdown_timeout: Every = Every::seconds(36),

        /// Ours: whether this instance reports on itself with metrics that begin with `veneur.`; `/metrics` shows the same
        /// counts. The operator sets it to false for sidecars.
        fixed self_metrics: bool = true,
        /// Where self-metrics are sent, `HOST:PORT` or `unix:///PATH`; empty: into this instance's own pipeline.
        fixed stats_address: String = String::new(),
        /// Scopes of self-metrics by type.
        fixed veneur_metrics_scopes: MetricsScopes = MetricsScopes::default(),
        /// Tags added to self-metrics.
        fixed veneur_metrics_additional_tags: Vec<String> = Vec::new(),
        /// Report in `veneur.flush.unique_timeseries_total` how many series each interval publishes.
        fixed count_unique_timeseries: bool = false,
        /// Switches of the original.
        fixed features: Features = Features::default(),
        /// Accepted for the original's files; errors are not sent to Sentry. Secret.
        fixed sentry_dsn: Secret = Secret::default(),

        /// Where points end.
        fixed metric_sinks: Vec<Sink> = Vec::new(),
        /// Ours: which of them get some metrics, first match wins: `{name: {kind: any|exact|prefix, value: NAME}, tags:
        /// [env:prod], sinks: [NAME]}`. What none matches, and events and service checks, go to all.
        live sink_routes: Vec<SinkRoute> = Vec::new(),
    }
}

/// Tags of all instances, and those of one in place of the ones with the same key.
pub fn tags_of_one(of_all: &[String], own: &[String]) -> Vec<String> {
    fn key(tag: &str) -> &str {
        tag.split(':').next().unwrap_or_default()
    }
    let replaced = |tag: &&String| own.iter().any(|own| key(own) == key(tag));
    of_all.iter().filter(|tag| !replaced(tag)).chain(own).cloned().collect()
}

section! {
    /// What the admin port shows.
    #[derive(Eq)]
    pub struct Http {
        /// Show the configuration at `/config/json` and `/config/yaml`, without secrets.
        fixed config: bool = false,
        /// Ours: whether partials are imported there too, in plain text, by `POST /import`. `null`: unless `grpc_tls` has a
        /// certificate.
        fixed import: Option<bool> = None,
    }
}

section! {
    /// Switches of the original.
    #[derive(Eq)]
    pub struct Features {
        /// Send each sink what `metric_sink_routing` says. `true` is refused: `sink_routes` does that here.
        fixed enable_metric_sink_routing: bool = false,
        /// Report the process's own memory, threads and age.
        fixed diagnostics_metrics_enabled: bool = false,
        /// Of 14.2.0, above `forward_use_grpc`: `grpc-stream`, `grpc-single` or `json`.
        fixed proxy_protocol: ForwardProtocol = ForwardProtocol::Default,
    }
}

section! {
    /// Scopes of self-metrics by type: `default`, `global` or `local`.
    #[derive(Eq)]
    pub struct MetricsScopes {
        /// Of counters.
        fixed counter: SelfScope = SelfScope::Default,
        /// Of gauges.
        fixed gauge: SelfScope = SelfScope::Default,
        /// Of histograms and timers.
        fixed histogram: SelfScope = SelfScope::Default,
        /// Of sets.
        fixed set: SelfScope = SelfScope::Default,
        /// Of service checks.
        fixed status: SelfScope = SelfScope::Default,
    }
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

impl Field for Aggregate {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "one of min, max, median, avg, count, sum, hmean")
    }
}

/// Scope of a type of self-metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelfScope {
    /// As any sample without a scope tag.
    #[default]
    #[serde(alias = "")]
    Default,
    /// Published by the global tier.
    Global,
    /// Published by this instance.
    Local,
}

impl Field for SelfScope {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "one of default, global, local")
    }
}

/// How an instance forwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardProtocol {
    /// As `forward_use_grpc` says, or else `forward_address`.
    #[default]
    #[serde(alias = "")]
    Default,
    /// A stream over gRPC.
    GrpcStream,
    /// One message over gRPC.
    GrpcSingle,
    /// `POST /import`.
    Json,
}

impl Field for ForwardProtocol {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "one of default, grpc-stream, grpc-single, json")
    }
}

impl Server {
    /// What `veneur local` starts from: a local listens where clients send.
    #[must_use]
    pub fn as_local(mut self) -> Self {
        if self.statsd_listen_addresses.is_empty() {
            self.statsd_listen_addresses = vec!["udp://127.0.0.1:8126".to_owned()];
        }
        self
    }

    /// What `veneur global` starts from: a global imports.
    #[must_use]
    pub fn as_global(mut self) -> Self {
        if self.grpc_address.is_empty() {
            "0.0.0.0:8128".clone_into(&mut self.grpc_address);
        }
        self
    }

    /// Which keys `new` changes, and which of them a running instance takes.
    pub fn changes_live(&self, new: &Self) -> Reload {
        changes(self, new)
    }

    /// Whether partials are imported over HTTP.
    pub fn imports_over_http(&self) -> bool {
        self.http.import.unwrap_or(self.grpc_tls.cert_file.is_empty())
    }

    /// Whether partials leave for another tier.
    pub fn forwards(&self) -> bool {
        !self.forward_address.is_empty()
    }

    /// How it forwards, by the one of three keys that decides.
    pub fn forward_protocol(&self) -> ForwardProtocol {
        match (self.features.proxy_protocol, self.forward_use_grpc) {
            (ForwardProtocol::Default, Some(true)) => ForwardProtocol::GrpcSingle,
            (ForwardProtocol::Default, Some(false)) => ForwardProtocol::Json,
            (ForwardProtocol::Default, None) if self.forward_address.starts_with("http://") => ForwardProtocol::Json,
            (ForwardProtocol::Default, None) => ForwardProtocol::GrpcStream,
            (protocol, _) => protocol,
        }
    }

    /// Where it forwards, and how, in one text: `HOST:PORT`, `grpc+unary://HOST:PORT` or `http://HOST:PORT`.
    pub fn forward_destination(&self) -> String {
        let address = &self.forward_address;
        match self.forward_protocol() {
            ForwardProtocol::GrpcSingle => format!("grpc+unary://{address}"),
            ForwardProtocol::Json if !address.starts_with("http://") => format!("http://{address}"),
            ForwardProtocol::Json | ForwardProtocol::GrpcStream | ForwardProtocol::Default => address.clone(),
        }
    }

    /// How long after a boundary partials are waited for.
    pub fn lateness(&self) -> Duration {
        self.lateness.map_or_else(|| (self.interval.0 / 4).min(Duration::from_secs(2)), |every| every.0)
    }
}
