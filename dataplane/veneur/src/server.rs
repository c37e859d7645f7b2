//! A local or a global: listeners, import, intervals, ways out.

mod follow;
mod sinks;
mod stop;
mod view;

pub use sinks::{Unusable, usable};

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use veneur_aggregate::{Budget, Intervals};
use veneur_config::Server;
use veneur_forward::{
    Account,
    connect::{Manner, Target},
    import,
    lane::{Lane, Limits},
    offer::{Follower, Offer},
};

use crate::{
    account::IngestAccount,
    admin::{self, Admin, Import},
    aside::Aside,
    clock,
    flush::Flusher,
    handover::Way,
    import::{Merger, Open},
    kubelet::Kubelet,
    listen::{self, Listener, intake::Shared},
    observe::Observer,
    output::Output,
    server::{follow::Guidance, view::ServerView},
    settings, tiers,
    watchdog::Watchdog,
};

/// A running local or global.
#[derive(Debug)]
pub struct Running {
    /// Where DogStatsD is read, as far as it has a host and port.
    pub dogstatsd: Vec<SocketAddr>,
    /// Where partials are imported.
    pub grpc: Option<SocketAddr>,
    /// Where the admin port listens.
    pub http: Option<SocketAddr>,
    shutdown_timeout: Duration,
    lateness: Duration,
    limits: Limits,
    /// Through whom a global gives away what it cannot publish in time.
    handover_to: Option<Target>,
    handover: Way,
    budget: Arc<Budget>,
    guidance: Guidance,
    /// As it runs now.
    config: Arc<RwLock<Server>>,
    flusher: Arc<Flusher>,
    quit: CancellationToken,
    watchdog: Option<Watchdog>,
    lanes: JoinSet<()>,
    flushing: CancellationToken,
    flush: JoinSet<()>,
    importing: CancellationToken,
    import: JoinSet<anyhow::Result<()>>,
    serving: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// Starts an instance: every socket is bound when this returns.
pub async fn start(config: &Server) -> anyhow::Result<Running> {
    start_listening(config, &settings::listening(config)).await
}

/// Starts an instance that listens on what `listening` says.
pub async fn start_listening(config: &Server, listening: &listen::Settings) -> anyhow::Result<Running> {
    let interval = config.interval.0;
    let aligned = config.synchronize_with_interval;
    let imports = !config.grpc_address.is_empty();
    // Who publishes waits for what is under way; who forwards must not, or it is late at the next tier.
    let lateness = if imports && !config.forwards() { config.lateness() } else { Duration::ZERO };
    let account = Arc::new(Account::default());
    let limits = Limits { max_bytes: config.buffer_max_bytes, max_age: config.buffer_max_age.0 };

    let mut lanes = JoinSet::new();
    let follower = config.follow_settings.then(Follower::default);
    let guidance = Guidance::new(config, follower.as_ref());
    let manner = Arc::new(Manner { tls: tiers::trust(&config.forward_tls)?, follower, ..Manner::default() });
    let target = |address: &String| Target { address: address.clone(), manner: Arc::clone(&manner) };
    let lane = config.forwards().then(|| {
        let lane = Lane::new(target(&config.forward_destination()), limits, Arc::clone(&account));
        lanes.spawn(lane.clone().run());
        lane
    });
    let sinks =
        config.metric_sinks.iter().map(|sink| sinks::delivery(sink, config)).collect::<anyhow::Result<Vec<_>>>()?;
    let output = Arc::new(Output::new(config, lane, sinks, Arc::clone(&account)));

    let (flushing, importing, serving) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let budget = Arc::new(Budget::new(settings::limits(config)));
    let kubelet = Kubelet::start(&config.node, &serving, &mut tasks);
    let shared = Shared::new(settings::rules(config), Arc::clone(&budget), kubelet.clone());
    let listeners = Arc::new(listen::start(listening, &shared, &mut tasks)?);
    let intervals = Intervals::new(shared.seed, clock::now_ms(), interval, lateness, aligned);
    let intervals = intervals.within(Arc::clone(&budget));
    let open = Arc::new(Mutex::new(Open { intervals, closed: false }));

    let (mut grpc, mut import, handover) = (None, JoinSet::new(), Way::default());
    let merger =
        Arc::new(Merger { open: Arc::clone(&open), output: Arc::clone(&output), handover: Arc::clone(&handover) });
    if imports {
        grpc = Some(start_importing(config, guidance.offers(), Arc::clone(&merger), &importing, &mut import).await?);
    }

    let flusher = Arc::new(Flusher {
        interval,
        aligned,
        publishing: RwLock::new(Arc::new(settings::publishing(config))),
        rules: RwLock::new(Arc::clone(&shared.rules)),
        listeners: Arc::clone(&listeners),
        kubelet,
        open,
        output,
        last: Arc::default(),
        published_ms: watch::Sender::new(0),
        observer: Observer::new(config).await,
        begun: AtomicU64::new(0),
    });
    let mut flush = JoinSet::new();
    flush.spawn({
        let (flusher, stop) = (Arc::clone(&flusher), flushing.clone());
        let aside = Aside::start("veneur-flush").context("cannot start the thread of flushes")?;
        async move { flusher.run(&aside, &stop).await }
    });

    let watchdog = watchdog(config, &flusher)?;
    let mut http = None;
    let (running, quit) = (Arc::new(RwLock::new(config.clone())), CancellationToken::new());
    if !config.http_address.is_empty() {
        let view = Arc::new(ServerView {
            role: role(config),
            interval,
            config: Arc::clone(&running),
            budget: Arc::clone(&budget),
            flusher: Arc::clone(&flusher),
            followed: guidance.followed(),
            offers: guidance.offers(),
        });
        let quit = config.http_quit.then(|| quit.clone());
        let import = config.imports_over_http().then(|| http_import(config, merger, account));
        let admin = Admin { view, quit, profiling: config.enable_profiling, import };
        http = admin::start(&config.http_address, admin, serving.clone(), &mut tasks).await?;
    }
    tracing::info!(role = role(config), ?grpc, ?http, interval = ?interval, "Running");
    Ok(Running {
        dogstatsd: listeners.iter().filter_map(|listener| listener.socket).collect(),
        grpc,
        http,
        shutdown_timeout: config.shutdown_timeout.0,
        lateness,
        limits,
        handover_to: Some(&config.handover_address).filter(|address| !address.is_empty()).map(target),
        handover,
        budget,
        guidance,
        config: running,
        flusher,
        quit,
        watchdog,
        lanes,
        flushing,
        flush,
        importing,
        import,
        serving,
        tasks,
    })
}

/// Ends the process when flushes stop, where that is asked for.
fn watchdog(config: &Server, flusher: &Arc<Flusher>) -> anyhow::Result<Option<Watchdog>> {
    let (most, flusher) = (config.flush_watchdog_missed_flushes, Arc::clone(flusher));
    if most == 0 {
        return Ok(None);
    }
    let begun = move || flusher.begun.load(Ordering::Relaxed);
    Watchdog::start(config.interval.0, most, begun).context("cannot start the watchdog's thread").map(Some)
}

impl Running {
    /// Completes when a task ends that should not have; the instance is then of no use.
    pub async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.tasks.join_next() => ended,
            Some(ended) = self.import.join_next() => ended,
            Some(ended) = self.flush.join_next() => ended.map(Ok),
            Some(ended) = self.lanes.join_next() => ended.map(Ok),
        };
        match ended {
            Ok(Err(error)) => error,
            Err(panicked) => anyhow::Error::new(panicked).context("a task panicked"),
            Ok(Ok(())) => anyhow::anyhow!("a task ended early"),
        }
    }

    /// Completes when `POST /quitquitquit` asks for a stop, where `http_quit` allows that.
    pub fn told_to_quit(&self) -> impl Future<Output = ()> + use<> {
        self.quit.clone().cancelled_owned()
    }

    /// Values found in datagrams so far.
    pub fn samples_parsed(&self) -> u64 {
        IngestAccount::total(self.listeners().iter().map(|listener| &*listener.account)).samples.parsed
    }

    /// What it listens on.
    pub fn listeners(&self) -> &[Listener] {
        &self.flusher.listeners
    }
}

async fn start_importing(
    config: &Server,
    offered: watch::Receiver<Option<Offer>>,
    merger: Arc<Merger>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(&config.grpc_address)
        .await
        .with_context(|| format!("cannot import on grpc_address {}", config.grpc_address))?;
    let address = listener.local_addr()?;
    let tls = tiers::guard(&config.grpc_tls, "grpc_tls")?;
    let settings = import::Settings { tls, offered, ..import::Settings::default() };
    let stop = stop.clone().cancelled_owned();
    tasks.spawn(
        async move { import::serve(listener, settings, merger, stop).await.context("the import server failed") },
    );
    Ok(address)
}

/// Imports over HTTP, which the original's instances all take. Who is not made to import holds no more for one than for
/// anything else.
fn http_import(config: &Server, merger: Arc<Merger>, account: Arc<Account>) -> Import {
    let import = Import::new(merger, account);
    let made_for_it = !config.forwards() || !config.grpc_address.is_empty();
    if made_for_it { import } else { import.at_most(config.buffer_max_bytes) }
}

fn role(config: &Server) -> &'static str {
    if config.forwards() { "local" } else { "global" }
}
