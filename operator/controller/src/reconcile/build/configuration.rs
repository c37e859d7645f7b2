//! Configuration of each tier: the data plane's own types.

use k8s_openapi::api::core::v1::ResourceRequirements;
use veneur_config::{
    Endpoints, Every, ForwardTls, GrpcServer, ListenTls, LocalSettings, Node, Proxy, RingKeys, Server, TagCardinality,
};
use veneur_operator_api::{DrainPolicy, Exposure, PodTags, Quantity};

use crate::{
    labels::{ADMIN_PORT, DOGSTATSD_PORT, IMPORT_PORT, IMPORT_PORT_NAME, Role, import_address, tier_host, tier_name},
    reconcile::validate::{ValidGlobal, ValidNode, ValidProxy, ValidTier, Validated},
};

/// Where the Secret with the tier's certificate is mounted.
pub(super) const TLS_FOLDER: &str = "/etc/veneur-tls";

/// A proxy's.
pub(super) fn proxy(pipeline: &Validated, proxy: &ValidProxy) -> Proxy {
    let default = Proxy::default();
    let import = format!("0.0.0.0:{IMPORT_PORT}");
    let (grpc_address, grpc_tls_address) =
        if pipeline.is_encrypted() { (String::new(), import) } else { (import, String::new()) };
    let members = pipeline.global.is_some();
    // Without globals there is one member: the other pipeline's address, whichever of its pods answers there.
    let elsewhere = pipeline.forward_to.iter().filter(|_| !members).cloned();
    Proxy {
        grpc_address,
        grpc_tls_address,
        // Sidecars hold no certificate, so none is asked for.
        tls: if pipeline.is_encrypted() { listen_tls(false) } else { ListenTls::default() },
        grpc_server: GrpcServer { max_connection_age: proxy.max_connection_age, ..GrpcServer::default() },
        http_address: format!("0.0.0.0:{ADMIN_PORT}"),
        forward_addresses: elsewhere.collect(),
        endpoints: members.then(|| Endpoints {
            namespace: pipeline.namespace.clone(),
            service: tier_name(&pipeline.name, Role::Global),
            port: IMPORT_PORT_NAME.to_owned(),
        }),
        ring: RingKeys { hash: proxy.ring },
        local_settings: offered(pipeline).unwrap_or_default(),
        forward_tls: if pipeline.is_encrypted() { members_tls(pipeline) } else { ForwardTls::default() },
        interval: pipeline.interval,
        buffer_max_bytes: proxy.buffer.max_bytes.unwrap_or(default.buffer_max_bytes),
        buffer_max_age: proxy.buffer.max_age.unwrap_or(default.buffer_max_age),
        shutdown_timeout: shutdown(&proxy.tier),
        ..default
    }
}

/// A global's. Scope rules and constant tags are left out: they apply where contexts are formed from samples.
pub(super) fn global(pipeline: &Validated, global: &ValidGlobal) -> Server {
    let default = Server::default();
    let hands_over = pipeline.proxy.is_some() && global.drain_policy == DrainPolicy::Handoff;
    let chained = pipeline.forward_to.clone();
    let encrypted = pipeline.is_encrypted();
    Server {
        interval: pipeline.interval,
        synchronize_with_interval: true,
        percentiles: pipeline.percentiles.clone(),
        aggregates: pipeline.aggregates.clone(),
        tags_exclude: pipeline.tags_exclude.clone(),
        relative_error_sketches: pipeline.relative_error.clone(),
        max_contexts: count(pipeline.cardinality.per_global),
        max_state_bytes: state_bytes(&global.tier.resources),
        grpc_address: format!("0.0.0.0:{IMPORT_PORT}"),
        // Proxies show a certificate; without them sidecars come, which have none.
        grpc_tls: if encrypted { listen_tls(pipeline.proxy.is_some()) } else { ListenTls::default() },
        http_address: format!("0.0.0.0:{ADMIN_PORT}"),
        forward_points: chained.is_some(),
        metric_sinks: match &chained {
            Some(_) => Vec::new(),
            None => pipeline.sinks.iter().map(|sink| sink.sink.clone()).collect(),
        },
        sink_routes: if chained.is_some() { Vec::new() } else { pipeline.routes.clone() },
        forward_address: chained.unwrap_or_default(),
        // Without proxies sidecars come here.
        local_settings: offered(pipeline).filter(|_| pipeline.proxy.is_none()).unwrap_or_default(),
        handover_address: if hands_over {
            import_address(&pipeline.name, &pipeline.namespace, Role::Proxy)
        } else {
            String::new()
        },
        // Proxies, and another pipeline's, are known by the host of their address.
        forward_tls: if encrypted { forward_tls(String::new()) } else { ForwardTls::default() },
        buffer_max_bytes: global.buffer.max_bytes.unwrap_or(default.buffer_max_bytes),
        buffer_max_age: global.buffer.max_age.unwrap_or(default.buffer_max_age),
        shutdown_timeout: shutdown(&global.tier),
        ..default
    }
}

/// The agent's of a node.
pub(super) fn node(pipeline: &Validated, node: &ValidNode) -> Server {
    let listeners = ["udp", "tcp"].map(|protocol| format!("{protocol}://0.0.0.0:{DOGSTATSD_PORT}"));
    let labels = pipeline.from_pod_labels.iter().map(|(label, tag)| format!("{label}={tag}"));
    Server {
        node: Node {
            cardinality: cardinality(node.pod_tags),
            labels_as_tags: labels.collect(),
            kubelet_insecure: node.kubelet_insecure,
            ..Node::default()
        },
        statsd_listen_addresses: listeners.to_vec(),
        max_contexts: count(pipeline.cardinality.per_global),
        max_state_bytes: state_bytes(&node.tier.resources),
        // It checks certificates and has none.
        forward_tls: ForwardTls {
            ca_file: if pipeline.is_encrypted() { format!("{TLS_FOLDER}/ca.crt") } else { String::new() },
            ..ForwardTls::default()
        },
        shutdown_timeout: shutdown(&node.tier),
        self_metrics: true,
        ..local(pipeline)
    }
}

/// What every local of the pipeline starts from, sidecars and agents of nodes: how contexts are formed, and where they are
/// forwarded to. Where it listens is the caller's, and whom it trusts (`forward_tls`) where
/// [`Validated::is_encrypted`]: a sidecar has no file, so it gets the authority's certificate as text in `forward_tls.ca`,
/// of `tls.caBundle` or of the operator's own authority; the name it checks is the host of [`Validated::entry`].
pub fn local(pipeline: &Validated) -> Server {
    Server {
        interval: pipeline.interval,
        synchronize_with_interval: true,
        percentiles: pipeline.percentiles.clone(),
        aggregates: pipeline.aggregates.clone(),
        drop_tags: pipeline.exclude.clone(),
        extend_tags: pipeline.tags.clone(),
        metric_scopes: pipeline.scopes.clone(),
        relative_error_sketches: pipeline.relative_error.clone(),
        max_contexts: count(pipeline.cardinality.per_pod),
        max_state_bytes: state_bytes(&pipeline.sidecar),
        http_address: format!("0.0.0.0:{ADMIN_PORT}"),
        forward_address: pipeline.entry(),
        forward_points: true,
        // Some twenty series for each pod would cost more than they tell: a sidecar's ledgers are on its admin port.
        self_metrics: false,
        ..Server::default()
    }
}

/// What sidecars of the pipeline follow while they run. `None`: none of its own tiers answers them, or it is too long to
/// travel; then it reaches a pod when that is made anew.
pub fn offered(pipeline: &Validated) -> Option<LocalSettings> {
    let answered = pipeline.proxy.is_some() || pipeline.global.is_some();
    answered.then(|| LocalSettings::of(&local(pipeline))).flatten()
}

/// Whether the agent of a node is reached through a port of the node.
pub(super) fn on_host_port(node: &ValidNode) -> bool {
    node.exposure == Exposure::HostPort
}

fn listen_tls(mutual: bool) -> ListenTls {
    ListenTls {
        ca_file: if mutual { format!("{TLS_FOLDER}/ca.crt") } else { String::new() },
        cert_file: format!("{TLS_FOLDER}/tls.crt"),
        key_file: format!("{TLS_FOLDER}/tls.key"),
    }
}

/// Members are dialled by the addresses of their pods, which no certificate names: each has to show one for the globals'
/// Service. Another pipeline has to show one for its own name.
fn members_tls(pipeline: &Validated) -> ForwardTls {
    let elsewhere = pipeline.forward_to.as_deref().filter(|_| pipeline.global.is_none());
    let host = elsewhere.map_or_else(
        || tier_host(&pipeline.name, &pipeline.namespace, Role::Global),
        |address| address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned(),
    );
    forward_tls(host)
}

fn forward_tls(server_name: String) -> ForwardTls {
    ForwardTls {
        ca: String::new(),
        ca_file: format!("{TLS_FOLDER}/ca.crt"),
        cert_file: format!("{TLS_FOLDER}/tls.crt"),
        key_file: format!("{TLS_FOLDER}/tls.key"),
        server_name,
    }
}

fn cardinality(tags: PodTags) -> TagCardinality {
    match tags {
        PodTags::None => TagCardinality::None,
        PodTags::Low => TagCardinality::Low,
        PodTags::Orchestrator => TagCardinality::Orchestrator,
        PodTags::High => TagCardinality::High,
    }
}

fn shutdown(tier: &ValidTier) -> Every {
    Every::seconds(tier.placement.drain.shutdown_seconds.unsigned_abs().into())
}

/// Half of what a container may take: the rest is for what waits, for what is read, and for the process itself.
fn state_bytes(resources: &ResourceRequirements) -> usize {
    let limit = resources.limits.as_ref().and_then(|limits| limits.get("memory"));
    let half = limit.and_then(|limit| usize::try_from(Quantity(limit.0.clone()).bytes()? / 2).ok());
    half.map_or(Server::default().max_state_bytes, |half| half.max(Server::SMALLEST_STATE_BYTES))
}

fn count(most: i32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}
