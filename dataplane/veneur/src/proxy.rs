//! A proxy: import, ring, a lane to each member.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use veneur_config::{Proxy, RingHash, TagKind};
use veneur_forward::{
    Account, Ledger, connect::Manner, dialect::Dialect, discovery, import, lane::Limits, offer::Offer, router::Router,
};
use veneur_metric::Stamp;
use veneur_ring::{Algorithm, Hashing, Member, TagMatch};

use crate::{
    admin::{self, Admin, Form, Import, View},
    clock,
    listen::ConnectionCounts,
    observe::{Losses, ProxyObserver, Seen},
    settings,
    telemetry::Snapshot,
    tiers,
};

/// A running proxy.
#[derive(Debug)]
pub struct Running {
    /// Where partials and points are imported.
    pub grpc: SocketAddr,
    /// Where the admin port listens.
    pub http: Option<SocketAddr>,
    router: Arc<Router>,
    account: Arc<Account>,
    /// As it runs now.
    config: Arc<RwLock<Proxy>>,
    /// What it offers to those who forward to it.
    offers: watch::Sender<Option<Offer>>,
    shutdown_timeout: Duration,
    importing: CancellationToken,
    serving: CancellationToken,
    importer: JoinSet<anyhow::Result<()>>,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// Starts a proxy: every socket is bound when this returns.
pub async fn start(config: &Proxy) -> anyhow::Result<Running> {
    let account = Arc::new(Account::default());
    let limits = Limits { max_bytes: config.buffer_max_bytes, max_age: config.buffer_max_age.0 };
    let name = settings::machine();
    let router = Router::new(name.clone(), config.interval.0, limits, Arc::clone(&account));
    let manner = Manner {
        tls: tiers::trust(&config.forward_tls)?,
        connect_timeout: config.dial_timeout(),
        answer_timeout: config.forward_timeout(),
        ..Manner::default()
    };
    let offers = watch::Sender::new(settings::offer(&config.local_settings));
    let router = Arc::new(router.with_hashing(hashing(config)?).with_manner(manner));
    let discovered = Arc::new(discovery::Tally::default());
    let (importing, serving) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();

    if let Some(endpoints) = &config.endpoints {
        let service = discovery::Service {
            namespace: endpoints.namespace.clone(),
            name: endpoints.service.clone(),
            port: endpoints.port.clone(),
        };
        let client = kube::Client::try_default().await.context("cannot reach the Kubernetes API to find members")?;
        let (router, discovered) = (Arc::clone(&router), Arc::clone(&discovered));
        tasks.spawn(async move {
            discovery::follow(client, &service, &router, &discovered).await;
            Ok(())
        });
    } else if let Some(veneur_config::Dns { address, refresh }) = config.dns.clone() {
        let (router, discovered) = (Arc::clone(&router), Arc::clone(&discovered));
        tasks.spawn(async move {
            discovery::dns::follow(&address, refresh.0, &router, &discovered).await;
            Ok(())
        });
    } else {
        // By their addresses alone: proxies that speak to a member in different dialects mean the same one.
        let member = |address: &String| Member { name: Dialect::of(address).1.to_owned(), address: address.clone() };
        router.change(0, config.forward_addresses.iter().map(member).collect());
    }
    tasks.spawn({
        let (router, stop) = (Arc::clone(&router), serving.clone());
        async move {
            router.tend(stop).await;
            Ok(())
        }
    });

    let mut importer = JoinSet::new();
    let plain = start_importing(config, false, &offers, &router, &importing, &mut importer).await?;
    let encrypted = start_importing(config, true, &offers, &router, &importing, &mut importer).await?;
    let grpc = plain.or(encrypted).context("a proxy imports somewhere: set grpc_address or grpc_tls_address")?;

    tasks.spawn({
        let observer = ProxyObserver::new(config, &name).await;
        let (router, account) = (Arc::clone(&router), Arc::clone(&account));
        let (discovered, interval, stop) = (Arc::clone(&discovered), config.interval.0, serving.clone());
        async move {
            observe(observer, &router, &account, &discovered, interval, &stop).await;
            Ok(())
        }
    });

    let mut http = None;
    let running = Arc::new(RwLock::new(config.clone()));
    if !config.http_address.is_empty() {
        let view = ProxyView {
            router: Arc::clone(&router),
            account: Arc::clone(&account),
            discovered,
            config: Arc::clone(&running),
            offers: offers.subscribe(),
        };
        let import =
            config.imports_over_http().then(|| Import::new(Arc::<Router>::clone(&router), Arc::clone(&account)));
        let admin = Admin { view: Arc::new(view), quit: None, profiling: config.http.enable_profiling, import };
        http = admin::start(&config.http_address, admin, serving.clone(), &mut tasks).await?;
    }
    tracing::info!(role = "proxy", %grpc, ?http, interval = ?config.interval.0, now_ms = clock::now_ms(), "Running");
    let shutdown_timeout = config.shutdown_timeout.0;
    Ok(Running {
        grpc,
        http,
        router,
        account,
        config: running,
        offers,
        shutdown_timeout,
        importing,
        serving,
        importer,
        tasks,
    })
}

/// Imports at `grpc_address`, or at `grpc_tls_address`, if that is set.
async fn start_importing(
    config: &Proxy,
    encrypted: bool,
    offers: &watch::Sender<Option<Offer>>,
    router: &Arc<Router>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Option<SocketAddr>> {
    let (key, address) =
        if encrypted { ("grpc_tls_address", &config.grpc_tls_address) } else { ("grpc_address", &config.grpc_address) };
    if address.is_empty() {
        return Ok(None);
    }
    let tls = if encrypted { tiers::guard(&config.tls, "tls")? } else { None };
    let settings = import::Settings { tls, offered: offers.subscribe(), ..tiers::serving(&config.grpc_server) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot import on {key} {address}"))?;
    let bound = listener.local_addr()?;
    let (router, stop) = (Arc::clone(router), stop.clone().cancelled_owned());
    tasks.spawn(
        async move { import::serve(listener, settings, router, stop).await.context("the import server failed") },
    );
    Ok(Some(bound))
}

/// At each boundary tells what was lost, in the log, and what was done, as self-metrics.
async fn observe(
    mut observer: ProxyObserver,
    router: &Router,
    account: &Account,
    discovered: &discovery::Tally,
    interval: Duration,
    stop: &CancellationToken,
) {
    let (mut losses, mut before) = (Losses::default(), Ledger::default());
    loop {
        let boundary = Stamp::under_way(clock::now_ms(), interval);
        if stop.run_until_cancelled(clock::sleep_until(boundary.boundary_ms)).await.is_none() {
            return;
        }
        let ledger = account.snapshot();
        losses.look(&before, &ledger);
        before = ledger.clone();
        let seen = Seen { ledger, members: router.take_counts(), discovery: Some(discovered.view()) };
        router.produce(&observer.look(seen, &router.view(), boundary).await);
    }
}

/// How contexts become keys, by the configuration.
fn hashing(config: &Proxy) -> anyhow::Result<Hashing> {
    let algorithm = match config.ring.hash {
        RingHash::Rendezvous => Algorithm::Rendezvous,
        RingHash::Veneur => Algorithm::Veneur,
    };
    let ignored = config.ignore_tags.iter().map(|ignored| match ignored.kind {
        TagKind::Exact => Ok(TagMatch::Exact(ignored.value.clone())),
        TagKind::Prefix => Ok(TagMatch::Prefix(ignored.value.clone())),
        TagKind::Regex => TagMatch::regex(&ignored.value).with_context(|| format!("ignore_tags: {:?}", ignored.value)),
    });
    Ok(Hashing { algorithm, ignored: ignored.collect::<anyhow::Result<_>>()? })
}

impl Running {
    /// Completes when a task ends that should not have; the proxy is then of no use.
    pub async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            ended = self.tasks.join_next() => ended,
            ended = self.importer.join_next() => ended,
        };
        match ended {
            Some(Ok(Err(error))) => error,
            Some(Err(panicked)) => anyhow::Error::new(panicked).context("a task panicked"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a task ended early"),
        }
    }

    /// Takes a membership that was written at `written_ms`, as from a discovery of its own.
    pub fn change(&self, written_ms: u64, members: Vec<Member>) {
        self.router.change(written_ms, members);
    }

    /// Follows a changed configuration, as far as it needs no restart.
    pub fn follow(&self, config: &Proxy) {
        self.offers.send_replace(settings::offer(&config.local_settings));
        let mut running = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *running = veneur_config::followed(&*running, config);
    }

    /// Takes no new connections, answers the calls under way, and delivers what is held, within the configured time. Returns the closing
    /// ledger.
    pub async fn stop(mut self) -> Ledger {
        self.importing.cancel();
        let half = self.shutdown_timeout / 2;
        if tokio::time::timeout(half, async { while self.importer.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("Senders keep their connections: what they still send is refused");
        }
        self.router.drain(half).await;
        self.importer.shutdown().await;
        let ledger = self.account.snapshot();
        tracing::info!(?ledger, "Stopped");
        self.serving.cancel();
        self.tasks.shutdown().await;
        ledger
    }
}

/// What the admin port shows of a proxy.
struct ProxyView {
    router: Arc<Router>,
    account: Arc<Account>,
    discovered: Arc<discovery::Tally>,
    /// As it runs now.
    config: Arc<RwLock<Proxy>>,
    offers: watch::Receiver<Option<Offer>>,
}

impl View for ProxyView {
    fn ready(&self) -> bool {
        self.router.ready()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            role: "proxy",
            ingest: None,
            node: None,
            connections: ConnectionCounts::default(),
            forward: self.account.snapshot(),
            sinks: Vec::new(),
            ring: Some(self.router.view()),
        }
    }

    fn status(&self) -> serde_json::Value {
        let interval = self.configured().interval.0;
        let discovery = self.discovered.view();
        let offered = self.offers.borrow().as_ref().map(|offer| Arc::clone(&offer.revision));
        json!({
            "interval_seconds": interval.as_secs(),
            "settings": { "offered": offered.as_deref() },
            "ring": self.router.view(),
            "discovery": discovery,
        })
    }

    fn config(&self, form: Form) -> Option<String> {
        let config = self.configured();
        config.http.enable_config.then(|| form.of(&*config))
    }
}

impl ProxyView {
    fn configured(&self) -> RwLockReadGuard<'_, Proxy> {
        self.config.read().unwrap_or_else(PoisonError::into_inner)
    }
}
