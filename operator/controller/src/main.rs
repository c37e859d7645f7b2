//! `veneur-operator run` watches pipelines and answers the webhook; `veneur-operator crd` prints the definition.

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::{net::TcpListener, signal::unix, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use veneur_operator::{
    authority,
    certificate::{Authority, CurrentLeaf, LEAF_LIFE},
    context::{Context, Defaults, Failures},
    controller::Watches,
    health::Readiness,
    pipelines::pipelines,
    serve::serve,
    webhook::Webhook,
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
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Image of the data plane where a pipeline names none, `repository:version`.
    #[arg(long, env = "VENEUR_IMAGE")]
    image: String,
    /// Namespace of the operator, for the Secret with the webhook's authority.
    #[arg(long, env = "POD_NAMESPACE", default_value = "veneur-system")]
    namespace: String,
    /// Name of the webhook's Service in that namespace.
    #[arg(long, default_value = "veneur-operator-webhook")]
    webhook_service: String,
    /// Name of the mutating webhook configuration that gets the authority's certificate.
    #[arg(long, default_value = "veneur-operator")]
    webhook_configuration: String,
    /// Name of the Secret with the webhook's authority; made where it is missing.
    #[arg(long, default_value = "veneur-operator-webhook-ca")]
    webhook_secret: String,
    /// Where the webhook listens.
    #[arg(long, default_value = "0.0.0.0:10250")]
    webhook_address: SocketAddr,
    /// Where `/healthz` and `/readyz` listen.
    #[arg(long, default_value = "0.0.0.0:8080")]
    health_address: SocketAddr,
    /// What is logged: a level, or a filter as `info,kube=debug`.
    #[arg(long, default_value = "info")]
    log: String,
    /// Log in lines of JSON.
    #[arg(long)]
    log_json: bool,
}

/// After SIGTERM the webhook is served on for this long: until then the API server may still send pods here.
const LINGER: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before the first TLS configuration is built, whoever builds it.
    let installed = rustls::crypto::ring::default_provider().install_default();
    assert!(installed.is_ok(), "nothing ran before this that could install a provider");
    match Arguments::parse().command {
        Command::Run(options) => run(*options).await,
        Command::Crd => Ok(std::io::stdout().write_all(veneur_operator_api::crd_yaml().as_bytes())?),
    }
}

async fn run(options: Run) -> anyhow::Result<()> {
    log(&options)?;
    let client = kube::Client::try_default().await.context("no cluster is configured")?;
    let defaults = Defaults::of_image(&options.image);
    let context = Arc::new(Context { client: client.clone(), defaults, failures: Failures::default() });
    let authority = authority::load_or_create(&client, &options.namespace, &options.webhook_secret).await?;
    let (pipelines, pipeline_watch) = pipelines();
    let (readiness, ending, end) =
        (Readiness::new(pipelines.clone()), CancellationToken::new(), CancellationToken::new());
    let health_listener = listen(options.health_address).await?;
    let webhook_listener = listen(options.webhook_address).await?;

    let mut tasks = JoinSet::new();
    let probes = readiness.clone();
    tasks.spawn(serve(health_listener, None, end.clone(), move |request| {
        let answer = probes.answer(&request);
        async move { answer }
    }));
    let webhook = Webhook::new(pipelines, context.defaults.clone());
    let (tls, leaf) = tls(&authority, &options)?;
    tasks.spawn(serve(webhook_listener, Some(tls), end.clone(), move |request| {
        let webhook = webhook.clone();
        async move { webhook.answer(request).await }
    }));
    let bundle = authority.certificate_pem().to_owned();
    tasks.spawn(authority::publish(client.clone(), options.webhook_configuration.clone(), bundle, end.clone()));
    tasks.spawn(renew(authority, leaf, names(&options), end.clone()));
    tasks.spawn(pipeline_watch.run(client, end.clone()));
    tasks.spawn(Watches::new(&context).run(context, ending.clone()));

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

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Names under which the API server asks for the webhook.
fn names(options: &Run) -> Vec<String> {
    let name = format!("{}.{}.svc", options.webhook_service, options.namespace);
    vec![name.clone(), format!("{name}.cluster.local")]
}

fn tls(authority: &Authority, options: &Run) -> anyhow::Result<(TlsAcceptor, Arc<CurrentLeaf>)> {
    let leaf = Arc::new(CurrentLeaf::new(authority.sign(&names(options), SystemTime::now())?));
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::clone(&leaf) as _);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), leaf))
}

/// Signs a new leaf when half of the old one's life is over.
async fn renew(authority: Authority, leaf: Arc<CurrentLeaf>, names: Vec<String>, stop: CancellationToken) {
    let mut wait = LEAF_LIFE / 2;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = match authority.sign(&names, SystemTime::now()) {
            Ok(new) => {
                leaf.exchange(new);
                LEAF_LIFE / 2
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot sign a new certificate, trying again in an hour");
                Duration::from_hours(1)
            }
        };
    }
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
