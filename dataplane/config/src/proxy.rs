//! A proxy.

mod check;
mod members;
mod senders;

pub use members::{Dns, Endpoints, ForwardTls, IgnoreTag, RingHash, RingKeys, TagKind};
pub use senders::{GrpcServer, ListenTls};

use std::time::Duration;

use crate::{Every, LocalSettings, Secret, key::section};

section! {
    /// Configuration of a proxy.
    #[derive(Eq)]
    pub struct Proxy {
        /// Where partials and points are imported over gRPC, `HOST:PORT`; empty: only over TLS.
        fixed grpc_address: String = String::new(),
        /// Where they are imported over gRPC with TLS, `HOST:PORT`; empty: nowhere. Needs `tls`.
        fixed grpc_tls_address: String = String::new(),
        /// What `grpc_tls_address` shows its senders and asks of them.
        fixed tls: ListenTls = ListenTls::default(),
        /// How long the connections of senders last, and how many there may be.
        fixed grpc_server: GrpcServer = GrpcServer::default(),
        /// Where the admin port listens, `HOST:PORT`, or the path of a Unix socket; empty: nowhere.
        fixed http_address: String = String::new(),
        /// What the admin port shows.
        fixed http: ProxyHttp = ProxyHttp::default(),

        /// Members known beforehand, `HOST:PORT`. Each is dialled again for ever.
        fixed forward_addresses: Vec<String> = Vec::new(),
        /// Ours: members found through the Kubernetes API, in place of `forward_addresses`.
        fixed endpoints: Option<Endpoints> = None,
        /// Ours: members found by a name that is resolved again and again, in place of both.
        fixed dns: Option<Dns> = None,
        /// Ours: how members share the contexts. All proxies of a fleet need the same.
        fixed ring: RingKeys = RingKeys::default(),
        /// Tags that do not decide which member owns a context: contexts that differ in these alone go to one member, as
        /// the buckets of a histogram with `{kind: prefix, value: "le:"}`. What is forwarded keeps them. All proxies of a
        /// fleet need the same.
        fixed ignore_tags: Vec<IgnoreTag> = Vec::new(),

        /// How long a connection to a member may take to come about. `0s`: as by default.
        fixed dial_timeout: Every = Every::seconds(3),
        /// How long a member may take to answer a batch; then it is uncertain whether it arrived, and it is not sent again.
        /// `0s`: as by default.
        fixed forward_timeout: Every = Every::seconds(10),
        /// Ours: TLS towards members.
        fixed forward_tls: ForwardTls = ForwardTls::default(),
        /// Ours: the tiers' flush interval; ring changes take effect at its boundaries.
        fixed interval: Every = Every::seconds(10),
        /// Ours: bytes waiting for one member at the most; beyond, the oldest are dropped and counted. In place of the
        /// original's `send_buffer_size`, which counts metrics, and stops the sender when there are too many.
        fixed buffer_max_bytes: usize = 64 * 1024 * 1024,
        /// Ours: how long undelivered data is held.
        fixed buffer_max_age: Every = Every::seconds(60),
        /// How long a stopping proxy may take to deliver what it holds.
        fixed shutdown_timeout: Every = Every::seconds(10),

        /// Ours: live keys of a local's configuration, offered to those who forward here and follow (`follow_settings`), as
        /// `{percentiles: [0.5, 0.99]}`; empty: nothing is offered, and they keep what they have.
        live local_settings: LocalSettings = LocalSettings::default(),

        /// Ours: whether this proxy reports on itself with metrics that begin with `veneur_proxy.`; `/metrics` shows the same
        /// counts.
        fixed self_metrics: bool = true,
        /// Where self-metrics are sent, `HOST:PORT` or `unix:///PATH`; empty: through the members to their sinks.
        fixed stats_address: String = String::new(),
        /// The same by the newest files' name.
        fixed statsd: Statsd = Statsd::default(),
        /// Log what helps to find an error; the variable `VENEUR_LOG` says more exactly what, and then this is not heeded.
        live debug: bool = false,
        /// Accepted for the original's files; errors are not sent to Sentry. Secret.
        fixed sentry_dsn: Secret = Secret::default(),
    }
}

impl Proxy {
    /// Whether partials are imported over HTTP.
    pub fn imports_over_http(&self) -> bool {
        self.http.import.unwrap_or(self.grpc_tls_address.is_empty() || !self.grpc_address.is_empty())
    }

    /// Where self-metrics are sent; empty: through the members.
    pub fn stats_address(&self) -> &str {
        if self.stats_address.is_empty() { &self.statsd.address } else { &self.stats_address }
    }

    /// How long a connection to a member may take to come about.
    pub fn dial_timeout(&self) -> Duration {
        or_default(self.dial_timeout, Self::default().dial_timeout)
    }

    /// How long a member may take to answer a batch.
    pub fn forward_timeout(&self) -> Duration {
        or_default(self.forward_timeout, Self::default().forward_timeout)
    }
}

fn or_default(time: Every, default: Every) -> Duration {
    if time.0.is_zero() { default.0 } else { time.0 }
}

section! {
    /// What a proxy's admin port shows.
    #[derive(Eq)]
    pub struct ProxyHttp {
        /// Show the configuration at `/config/json` and `/config/yaml`, without secrets.
        fixed enable_config: bool = false,
        /// Allow profiles to be taken, below `/debug/pprof/`.
        fixed enable_profiling: bool = false,
        /// Ours: whether partials are imported there too, in plain text, by `POST /import`. `null`: unless there is a
        /// `grpc_tls_address` and no `grpc_address`.
        fixed import: Option<bool> = None,
    }
}

section! {
    /// The original's client of `DogStatsD` in a proxy. A report goes out at each interval, and so there is nothing to
    /// gather.
    #[derive(Eq)]
    pub struct Statsd {
        /// Where self-metrics are sent.
        fixed address: String = String::new(),
        /// Accepted for the original's files.
        fixed aggregation_interval: Every = Every::seconds(0),
        /// Accepted for the original's files.
        fixed channel_buffer_size: usize = 0,
        /// Accepted for the original's files.
        fixed messages_per_payload: usize = 0,
    }
}
