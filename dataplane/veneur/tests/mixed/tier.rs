//! Instances of either kind, with configurations that differ only where they must.

use std::{
    env,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{net::TcpListener, task::JoinSet};
use veneur_intake::Intake;

use crate::{
    consul::Consul,
    last,
    process::{Process, Program, free, free_udp},
    way::Dialect,
};

/// Seconds. Long enough that what is sent within a part of one arrives within it, on a busy machine too.
pub(crate) const INTERVAL: u64 = 3;

/// Who made an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    /// Of the original's last release, 14.2.0.
    Original,
    /// Of the original's last commit.
    Last,
}

/// An instance, and where it is spoken to.
pub(crate) struct Instance {
    pub(crate) whose: Whose,
    pub(crate) process: Process,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) statsd: SocketAddr,
}

/// What Datadog would get.
pub(crate) struct Sink {
    pub(crate) intake: Arc<Intake>,
    address: SocketAddr,
    /// Where instances of the original have to send what they say of themselves. Nobody reads it.
    stats: UdpSocket,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
        serving.spawn(Arc::clone(&intake).serve(listener));
        let stats = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        Self { intake, address, stats, _serving: serving }
    }
}

fn executable(variable: &str) -> PathBuf {
    env::var_os(variable).expect("set by cargo xtask test --only mixed").into()
}

impl Instance {
    /// A local or a global. Both kinds read the same file, in the original's words.
    pub(crate) fn server(whose: Whose, folder: &Path, name: &str, sink: &Sink, own: &str) -> Self {
        let (http, grpc, statsd) = (free(), free(), free_udp());
        let keys = match whose {
            Whose::Ours | Whose::Original => format!(
                "datadog_api_key: key\ndatadog_api_hostname: \"http://{}\"\ndatadog_flush_max_per_body: 25000\n",
                sink.address
            ),
            Whose::Last => last::sink_keys(sink.address),
        };
        // `own` may have another.
        let interval = if own.contains("interval: ") { String::new() } else { format!("interval: {INTERVAL}s\n") };
        let text = format!(
            "{interval}synchronize_with_interval: true\nhostname: {name}\n\
             aggregates: [min, max, count]\npercentiles: [0.5, 0.99]\n\
             num_workers: 2\nnum_readers: 1\nnum_span_workers: 1\nread_buffer_size_bytes: 4194304\n\
             metric_max_length: 4096\nstats_address: \"{}\"\n\
             http_address: \"{http}\"\ngrpc_address: \"{grpc}\"\nstatsd_listen_addresses: [\"udp://{statsd}\"]\n\
             {keys}{own}",
            sink.stats.local_addr().expect("bound"),
        );
        let program = match whose {
            Whose::Ours => Program::ours("global"),
            Whose::Original => Program::original(executable("ORIGINAL_VENEUR")),
            Whose::Last => Program::original(executable("LAST_VENEUR")),
        };
        Self { whose, process: Process::start(program, folder, name, http, &text), http, grpc, statsd }
    }

    /// What a local is told to forward to this instance, in the original's words.
    pub(crate) fn forward_keys(&self, dialect: Dialect) -> String {
        let (address, protocol) = match dialect {
            Dialect::A => (format!("http://{}", self.http), "json"),
            Dialect::B => (self.grpc.to_string(), "grpc-single"),
            Dialect::C => (self.grpc.to_string(), "grpc-stream"),
        };
        format!("forward_address: \"{address}\"\nfeatures: {{proxy_protocol: {protocol}}}\n")
    }

    /// A proxy; `own` says to whom it forwards, or what it asks of `consul`.
    pub(crate) fn proxy(whose: Whose, folder: &Path, name: &str, own: &str, consul: Option<&Consul>) -> Self {
        let (http, grpc) = (free(), free());
        // Its own metrics are points, which a member of the original's cannot carry. No key of the original's.
        let keys = match whose {
            Whose::Ours | Whose::Original => "forward_timeout: 10s\nself_metrics: false\n".to_owned(),
            Whose::Last => last::proxy_keys(folder),
        };
        let text = format!("http_address: \"{http}\"\ngrpc_address: \"{grpc}\"\n{keys}{own}");
        let mut program = match whose {
            Whose::Ours => Program::ours("proxy"),
            Whose::Original => Program::original(executable("ORIGINAL_VENEUR_PROXY")),
            Whose::Last => Program::original(executable("LAST_VENEUR_PROXY")),
        };
        if let Some(consul) = consul {
            program = program.with("CONSUL_HTTP_ADDR", consul.address.to_string());
        }
        Self { whose, process: Process::start(program, folder, name, http, &text), http, grpc, statsd: grpc }
    }

    /// How a proxy of ours is told to speak to this instance.
    pub(crate) fn destination(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::A => format!("http://{}", self.http),
            Dialect::B => format!("grpc+unary://{}", self.grpc),
            Dialect::C => self.grpc.to_string(),
        }
    }

    /// Waits until it answers on every port.
    pub(crate) async fn ready(&mut self) {
        self.process.ready().await;
        // The original says that it is well before it imports.
        while tokio::net::TcpStream::connect(self.grpc).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
