//! An instance of an example, on loopback instead of a cluster: its own configuration but for addresses, sinks and the
//! interval.

use std::{net::SocketAddr, path::Path, sync::Arc};

use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use veneur_intake::Intake;

use crate::process::{Process, Program, free, free_udp};

/// What Datadog would get.
pub(crate) struct Sink {
    pub(crate) intake: Arc<Intake>,
    address: SocketAddr,
    _serving: JoinSet<std::io::Result<()>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
        serving.spawn(Arc::clone(&intake).serve(listener));
        Self { intake, address, _serving: serving }
    }
}

/// A running instance of an example.
pub(crate) struct Placed {
    pub(crate) process: Process,
    pub(crate) statsd: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

/// What takes the place of names and addresses of the cluster.
#[derive(Default)]
pub(crate) struct Elsewhere<'a> {
    /// Of `forward_address`.
    pub(crate) forward: Option<SocketAddr>,
    /// Of a proxy's `endpoints`.
    pub(crate) members: Vec<SocketAddr>,
    /// Of `handover_address`.
    pub(crate) handover: Option<SocketAddr>,
    /// Variables of the container.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Of `metric_sinks`.
    pub(crate) sink: Option<&'a Sink>,
}

impl Placed {
    /// Starts an instance with an example's configuration and waits until it is ready.
    pub(crate) async fn start(
        role: &'static str,
        folder: &Path,
        name: &str,
        mut configuration: Value,
        elsewhere: Elsewhere<'_>,
    ) -> Self {
        let (http, grpc, statsd) = (free(), free(), free_udp());
        let keys = configuration.as_object_mut().expect("keys");
        let mut replace = |key: &str, value: Option<Value>| {
            assert_eq!(keys.contains_key(key), value.is_some(), "{name}: {key} and what takes its place");
            if let Some(value) = value {
                keys.insert(key.to_owned(), value);
            }
        };
        replace("interval", Some(json!("1s")));
        replace("http_address", Some(json!(http)));
        replace("handover_address", elsewhere.handover.map(|address| json!(address)));
        replace("forward_address", elsewhere.forward.map(|address| json!(address)));
        let sinks = elsewhere.sink.map(|sink| {
            let config = json!({"api_key": "key", "api_hostname": format!("http://{}", sink.address)});
            json!([{"name": "datadog", "kind": "datadog", "config": config}])
        });
        replace("metric_sinks", sinks);
        if keys.contains_key("statsd_listen_addresses") {
            keys.insert("statsd_listen_addresses".to_owned(), json!([format!("udp://{statsd}")]));
        }
        if keys.contains_key("grpc_address") {
            keys.insert("grpc_address".to_owned(), json!(grpc));
        }
        if keys.remove("endpoints").is_some() {
            keys.insert("forward_addresses".to_owned(), json!(elsewhere.members));
        }
        let text = configuration.to_string();
        assert!(!text.contains(".svc"), "{name} would leave this machine: {text}");
        let program =
            elsewhere.variables.into_iter().fold(Program::ours(role), |program, (key, value)| program.with(key, value));
        let mut process = Process::start(program, folder, name, http, &text);
        process.ready().await;
        Self { process, statsd, grpc }
    }
}
