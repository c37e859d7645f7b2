//! `veneur-operator run` watches pipelines and answers the webhook; `veneur-operator crd` prints the definition.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use http::{HeaderValue, header};
use k8s_openapi::jiff::SignedDuration;
use tokio::{net::TcpListener, signal::unix, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use veneur_operator::{
    certificates::{
        authority::Safe,
        bundle::Configuration,
        keyring::Lifetimes,
        leaf::{Shown, Source},
        tier::TierCertificates,
    },
    context::{Context, Defaults},
    controller,
    election::Candidate,
    events::Events,
    evict,
    feeds::Feeds,
    fleet::{self, Fleet},
    gauges::Gauges,
    health::Readiness,
    live::{Live, Staleness},
    namespaces::{NamespaceWatch, namespaces},
    pipelines::{PipelineWatch, Pipelines, pipelines},
    pods::{PodWatch, Pods, Unresolved, pods},
    probe,
    rivals::Rivals,
    selftest::Selftest,
    serve::{address, serve},
    telemetry::Telemetry,
    upgrade,
    watching::Watching,
    webhook::{Webhook, notices},
};

/// The operator of Veneur pipelines.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch pipelines and answer the webhook, until SIGTERM.
    Run(Box<Run>),
    /// Print the definition of the resource as YAML.
    Crd,
    /// Wait until tiers are ready, or send one sample through a pipeline and wait for it: what `helm test` runs.
    #[command(subcommand)]
    Selftest(Selftest),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Image of the data plane where a pipeline names none, `repository:version`.
    #[arg(long, env = "VENEUR_IMAGE")]
    image: String,
    /// Namespace of the operator, for the Secret with the webhook's authority and the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "veneur-system")]
    namespace: String,
    /// Name of this replica among those that may lead; by default that of the host.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Name of the Lease of the replica that leads.
    #[arg(long, default_value = "veneur-operator")]
    lease: String,
    /// How long a leader that is gone without a word is waited for, in whole seconds from 3 s to 1 h.
    #[arg(long, default_value = "15s", value_parser = |text: &str| duration(text, 3, 3600))]
    lease_duration: Duration,
    /// Name of the webhook's Service in that namespace.
    #[arg(long, default_value = "veneur-operator-webhook")]
    webhook_service: String,
    /// Name of the mutating webhook configuration that gets the authority's certificate.
    #[arg(long, default_value = "veneur-operator")]
    webhook_configuration: String,
    /// Name of the Secret with the webhook's authority; made where it is missing.
    #[arg(long, default_value = "veneur-operator-webhook-ca")]
    webhook_secret: String,
    /// Folder with `tls.crt` and `tls.key` for the webhook, kept by somebody else, as cert-manager does; then the operator
    /// has no authority of its own and leaves the webhook configuration alone.
    #[arg(long)]
    webhook_certificate_folder: Option<PathBuf>,
    /// Life of the webhook's authority, from 30 s on. The next one is published when a third of it is left.
    #[arg(long, default_value = "8760h", value_parser = |text: &str| duration(text, 30, u64::MAX))]
    authority_lifetime: Duration,
    /// Life of each replica's certificate, signed anew at half of it; at most half of the authority's.
    #[arg(long, default_value = "168h", value_parser = |text: &str| duration(text, 10, u64::MAX))]
    certificate_lifetime: Duration,
    /// Name of the Secret with the authority of the tiers, made where it is missing; without, no pipeline can have
    /// certificates of the operator's.
    #[arg(long)]
    tiers_secret: Option<String>,
    /// Life of the tiers' authority, from 30 s on.
    #[arg(long, default_value = "87600h", value_parser = |text: &str| duration(text, 30, u64::MAX))]
    tiers_authority_lifetime: Duration,
    /// Life of a pipeline's certificate, renewed at two thirds of it; at most half of the authority's.
    #[arg(long, default_value = "2160h", value_parser = |text: &str| duration(text, 10, u64::MAX))]
    tiers_certificate_lifetime: Duration,
    /// Where the webhook listens.
    #[arg(long, default_value = "0.0.0.0:10250", value_parser = address)]
    webhook_address: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` listen.
    #[arg(long, default_value = "0.0.0.0:8080", value_parser = address)]
    health_address: SocketAddr,
    /// Namespaces whose pods the webhook never sees, with commas between them.
    #[arg(long, value_delimiter = ',', default_value = "kube-system,kube-node-lease")]
    excluded_namespaces: Vec<String>,
    /// What is logged: a level, or a filter as `info,kube=debug`.
    #[arg(long, default_value = "info")]
    log: String,
    /// Log in lines of JSON.
    #[arg(long)]
    log_json: bool,
}

/// After SIGTERM the webhook is served on for this long: until then the API server may still send pods here.
const LINGER: Duration = Duration::from_secs(3);

/// Subject of the webhook's authority.
const WEBHOOK_AUTHORITY: &str = "veneur-operator webhook authority";
/// By then every API server has read a bundle.
const SETTLE: Duration = Duration::from_mins(1);
/// Subject of the tiers' authority.
const TIERS_AUTHORITY: &str = "veneur-operator tiers authority";
/// By then every proxy, global and agent has read the bundle, and those who run workloads have had a day to restart them:
/// a sidecar trusts what its pod was made with.
const TIERS_SETTLE: Duration = Duration::from_hours(24);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before the first TLS configuration is built, whoever builds it.
    let installed = rustls::crypto::ring::default_provider().install_default();
    assert!(installed.is_ok(), "nothing ran before this that could install a provider");
    match Arguments::parse().command {
        Command::Run(options) => run(*options).await,
        Command::Selftest(what) => what.run().await,
        Command::Crd => Ok(std::io::stdout().write_all(veneur_operator_api::crd_yaml().as_bytes())?),
    }
}

async fn run(options: Run) -> anyhow::Result<()> {
    log(&options)?;
    let client = client().await.context("no cluster is configured")?;
    let defaults = Defaults::of_image(&options.image);
    let telemetry = Telemetry::new();
    let (namespaces, namespace_watch) = namespaces();
    let (pipelines, pipeline_watch) = pipelines();
    let excluded = options.excluded_namespaces.iter().chain([&options.namespace]).cloned().collect();
    let (pods, pod_watch) = pods(pipelines.clone(), namespaces.clone(), defaults.clone(), excluded);
    let (reachable, evicting) = (watch::Sender::default(), watch::Sender::default());
    let configuration = Configuration::new(client.clone(), &options.webhook_configuration);
    let (metadata, sidecars) = pod_watch.watching();
    let feeds = Feeds {
        pods: pods.changes(),
        webhook: reachable.subscribe(),
        evicting: evicting.subscribe(),
        pipelines: pipelines.clone(),
        watches: vec![("Namespace", namespace_watch.watching()), ("Pod", metadata), ("Pod", sidecars)],
        configuration: configuration.watching(),
    };
    let certificates = tier_certificates(&client, &options).await?;
    let context = Arc::new(Context {
        client: client.clone(),
        defaults,
        failures: <_>::default(),
        live: Arc::new(Live::new()),
        contests: <_>::default(),
        fleet: Arc::new(Fleet::default()),
        feeds,
        events: Events::new(client.clone(), Some(identity(&options))),
        telemetry: telemetry.clone(),
        accounts: <_>::default(),
        certificates: certificates.clone(),
    });
    let others = watching(&pipeline_watch, &namespace_watch, &pod_watch, &configuration);
    telemetry.collect(Box::new(Staleness { live: Arc::clone(&context.live), others }));
    telemetry.collect(Box::new(fleet::Accounts(Arc::clone(&context.fleet))));
    telemetry.collect(Box::new(Unresolved(pods.clone())));
    let (safe, leaf) = webhook_certificate(&client, &options).await?;
    let readiness = Readiness::new(pipelines.clone(), namespaces.clone(), telemetry);
    let (ending, end) = (CancellationToken::new(), CancellationToken::new());
    let health_listener = listen(options.health_address).await?;
    let webhook_listener = listen(options.webhook_address).await?;

    let mut tasks = JoinSet::new();
    let probes = readiness.clone();
    tasks.spawn(serve(health_listener, None, end.clone(), move |request| {
        let answer = probes.answer(&request);
        async move { answer }
    }));
    let (notices, notice_writer) = notices();
    tasks.spawn(pod_watch.run(client.clone(), end.clone()));
    let webhook = Webhook::new(pipelines.clone(), namespaces, context.defaults.clone(), notices)
        .trusting(certificates.clone())
        .counted(context.telemetry.clone());
    tasks.spawn(serve(webhook_listener, Some(leaf.acceptor()), end.clone(), move |request| {
        let webhook = webhook.clone();
        async move { webhook.answer(request).await }
    }));
    for safe in safe.iter().chain(certificates.iter().map(|certificates| certificates.safe())) {
        tasks.spawn(safe.clone().follow(end.clone()));
    }
    let authorities = [("webhook_ca", safe.as_ref()), ("tiers_ca", certificates.as_ref().map(|made| made.safe()))];
    let authorities = authorities.into_iter().filter_map(|(name, safe)| Some((name, safe?.keyring()))).collect();
    let shown = leaf.certificate();
    tasks.spawn(leaf.keep(end.clone()));
    tasks.spawn(probe::run(configuration.seen(), configuration.name().to_owned(), reachable, end.clone()));
    tasks.spawn(configuration.clone().follow(end.clone()));
    tasks.spawn(pipeline_watch.run(client.clone(), end.clone()));
    tasks.spawn(namespace_watch.run(client.clone(), end.clone()));
    tasks.spawn(notice_writer.run(context.events.clone(), end.clone()));
    let (seeing, until) = (Arc::clone(&context), end.clone());
    tasks.spawn(async move { seeing.live.run(&seeing.client, &until).await });
    let rivals = Rivals::new(
        client.clone(),
        &options.namespace,
        &options.lease,
        context.events.clone(),
        context.telemetry.clone(),
    );
    let candidate =
        Candidate::new(client, &options.namespace, &options.lease, &identity(&options), options.lease_duration);
    tasks.spawn(
        Gauges { leaf: shown, authorities, leading: candidate.leading() }.run(context.telemetry.clone(), end.clone()),
    );
    let leader = Leader { context, pods, pipelines, evicting, rivals, safe, configuration, certificates };
    tasks.spawn(candidate.run(ending.clone(), move |stop| leader.clone().work(stop)));

    tracing::info!(webhook = %options.webhook_address, health = %options.health_address, image = options.image, "Running");
    let early = tokio::select! {
        signal = terminated() => { signal?; false }
        ended = tasks.join_next() => { tracing::error!(?ended, "A task ended, so the others end too"); true }
    };
    readiness.leaving();
    ending.cancel();
    tokio::time::sleep(LINGER).await;
    end.cancel();
    let results = tasks.join_all().await;
    tracing::info!(tasks = results.len(), "Ended");
    anyhow::ensure!(!early, "a task ended by itself");
    Ok(())
}

/// The watches on which injection lives, by the words of the metrics.
fn watching(
    pipelines: &PipelineWatch,
    namespaces: &NamespaceWatch,
    pods: &PodWatch,
    configuration: &Configuration,
) -> Vec<(&'static str, Watching)> {
    let (metadata, sidecars) = pods.watching();
    vec![
        ("VeneurPipeline", pipelines.watching()),
        ("Namespace", namespaces.watching()),
        ("PodMetadata", metadata),
        ("InjectedPod", sidecars),
        ("MutatingWebhookConfiguration", configuration.watching()),
    ]
}

fn log(options: &Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log).with_context(|| format!("--log {:?} is no filter", options.log))?;
    let colours = std::io::stdout().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    if options.log_json {
        builder.json().init();
    } else {
        builder.init();
    }
    Ok(())
}

/// By its user agent the API server's logs tell the operator's requests from others'.
async fn client() -> anyhow::Result<kube::Client> {
    let mut config = kube::Config::infer().await?;
    let agent = HeaderValue::from_static(concat!("veneur-operator/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, agent));
    Ok(kube::Client::try_from(config)?)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// What the replica that leads works with.
#[derive(Clone)]
struct Leader {
    context: Arc<Context>,
    pods: Pods,
    pipelines: Pipelines,
    evicting: watch::Sender<evict::Permitted>,
    rivals: Rivals,
    safe: Option<Safe>,
    configuration: Configuration,
    certificates: Option<Arc<TierCertificates>>,
}

impl Leader {
    /// What only one replica does at a time, until `stop`.
    async fn work(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        // The webhook is this release's own, whichever of them reconciles.
        if let Some(safe) = self.safe.clone() {
            tasks.spawn(self.configuration.clone().publish(safe, stop.clone()));
        }
        let until = stop.clone();
        tasks.spawn(async move { self.rivals.alone(&until, || self.clone().reconcile(until.clone())).await });
        all(tasks, stop).await;
    }

    /// What only one operator of a cluster does at a time, until `stop`.
    async fn reconcile(self, stop: CancellationToken) {
        let Self { context, pods, pipelines, evicting, certificates, .. } = self;
        let mut tasks = JoinSet::new();
        if let Some(certificates) = certificates {
            tasks.spawn(certificates.rotate(pipelines.clone(), stop.clone()));
        }
        let (client, live) = (context.client.clone(), Arc::clone(&context.live));
        tasks.spawn(evict::run(client, pods.clone(), pipelines.clone(), evicting, live, stop.clone()));
        tasks.spawn(upgrade::run(context.client.clone(), context.events.clone(), pods, pipelines, stop.clone()));
        let (asking, until) = (Arc::clone(&context), stop.clone());
        tasks.spawn(async move { asking.fleet.run(&asking.live, &asking.telemetry, &until).await });
        tasks.spawn(controller::run(context, stop.clone()));
        all(tasks, stop).await;
    }
}

/// Waits for what only one replica does at a time; dropping it ends it. One that ends before it is told to takes the
/// process with it.
async fn all(mut tasks: JoinSet<()>, stop: CancellationToken) {
    while let Some(ended) = tasks.join_next().await {
        if !stop.is_cancelled() {
            tracing::error!(?ended, "A task of the leader ended");
            return;
        }
    }
}

/// The certificates of the tiers, where the operator makes them.
async fn tier_certificates(client: &kube::Client, options: &Run) -> anyhow::Result<Option<Arc<TierCertificates>>> {
    let Some(secret) = &options.tiers_secret else { return Ok(None) };
    let lifetimes =
        Lifetimes::within(options.tiers_authority_lifetime, options.tiers_certificate_lifetime, TIERS_SETTLE);
    let safe = Safe::open(client.clone(), &options.namespace, secret, TIERS_AUTHORITY, lifetimes).await?;
    Ok(Some(Arc::new(TierCertificates::new(client.clone(), safe))))
}

/// Where the webhook's certificate comes from, and the first one.
async fn webhook_certificate(client: &kube::Client, options: &Run) -> anyhow::Result<(Option<Safe>, Shown)> {
    if let Some(folder) = &options.webhook_certificate_folder {
        return Ok((None, Shown::first(Source::Files(folder.clone()))?));
    }
    let lifetimes = Lifetimes::within(options.authority_lifetime, options.certificate_lifetime, SETTLE);
    let (namespace, secret) = (&options.namespace, &options.webhook_secret);
    let safe = Safe::open(client.clone(), namespace, secret, WEBHOOK_AUTHORITY, lifetimes).await?;
    // The names under which the API server asks for the webhook.
    let name = format!("{}.{}.svc", options.webhook_service, options.namespace);
    let names = vec![name.clone(), format!("{name}.cluster.local")];
    let leaf = Shown::first(Source::signed(&safe, names))?;
    Ok((Some(safe), leaf))
}

fn identity(options: &Run) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    options.identity.clone().unwrap_or_else(|| format!("{}-{}", host().trim(), std::process::id()))
}

/// A duration such as `15s` or `8760h`, in whole seconds within bounds.
fn duration(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is no duration: write it as 90s, 15m or 8760h"))?;
    let seconds = u64::try_from(parsed.as_secs()).unwrap_or(0);
    if !(least..=most).contains(&seconds) || parsed.subsec_nanos() != 0 {
        return Err(format!("{text:?} is not in whole seconds, or not within the bounds that `--help` says"));
    }
    Ok(Duration::from_secs(seconds))
}

async fn terminated() -> anyhow::Result<()> {
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("Told to end");
    Ok(())
}
