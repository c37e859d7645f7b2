//! A local or a global: listeners, import, intervals, ways out.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use veneur_aggregate::{Budget, Intervals};
use veneur_config::{Server, SinkKind};
use veneur_forward::{
    Account, Ledger,
    lane::{Lane, Limits},
};
use veneur_metric::Stamp;
use veneur_sinks::{BlackholeSink, DatadogSettings, DatadogSink, DebugSink, Delivery, PrefixTags};

use crate::{
    account::IngestAccount,
    admin::{self, Admin, Form, View},
    aside::Aside,
    clock,
    flush::{Flusher, LastFlush},
    import::{Merger, Open, lock},
    kubelet::Kubelet,
    listen::{self, Listener, intake::Shared},
    observe::Observer,
    output::Output,
    settings,
    telemetry::Snapshot,
    watchdog::Watchdog,
};

/// What part of a stopping instance's time forwarding may take, and what part the sinks; the rest is for publishing.
const DELIVERY_SHARE: u32 = 4;

/// How long import calls under way may take to end once an instance stops.
const CALLS_UNDER_WAY: Duration = Duration::from_secs(1);

/// Senders that `/status` names for each listener.
const ORIGINS_SHOWN: usize = 10;

/// Longest time for one request to a sink.
const SINK_TIMEOUT: Duration = Duration::from_secs(10);

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
    budget: Arc<Budget>,
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
    let lane = config.forwards().then(|| {
        let lane = Lane::new(&config.forward_address, limits, Arc::clone(&account));
        lanes.spawn(lane.clone().run());
        lane
    });
    let sinks = config.metric_sinks.iter().map(|sink| delivery(sink, config)).collect::<anyhow::Result<Vec<_>>>()?;
    let output =
        Arc::new(Output::new(config.hostname.clone(), lane, config.forward_points, sinks, Arc::clone(&account)));

    let (flushing, importing, serving) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let budget = Arc::new(Budget::new(settings::limits(config)));
    let kubelet = Kubelet::start(&config.node, &serving, &mut tasks);
    let shared = Shared::new(settings::rules(config), Arc::clone(&budget), kubelet.clone());
    let listeners = Arc::new(listen::start(listening, &shared, &mut tasks)?);
    let intervals = Intervals::new(shared.seed, clock::now_ms(), interval, lateness, aligned);
    let open = Arc::new(Mutex::new(Open { intervals, closed: false }));

    let mut grpc = None;
    let mut import = JoinSet::new();
    if imports {
        let listener = TcpListener::bind(&config.grpc_address)
            .await
            .with_context(|| format!("cannot import on grpc_address {}", config.grpc_address))?;
        grpc = Some(listener.local_addr()?);
        let merger = Arc::new(Merger { open: Arc::clone(&open), output: Arc::clone(&output) });
        let stop = importing.clone().cancelled_owned();
        import.spawn(async move {
            veneur_forward::import::serve(listener, merger, stop).await.context("the import server failed")
        });
    }

    let flusher = Arc::new(Flusher {
        interval,
        aligned,
        publishing: RwLock::new(Arc::new(settings::publishing(config))),
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

    let watchdog = match config.flush_watchdog_missed_flushes {
        0 => None,
        most => {
            let flusher = Arc::clone(&flusher);
            let begun = move || flusher.begun.load(Ordering::Relaxed);
            Some(Watchdog::start(interval, most, begun).context("cannot start the watchdog's thread")?)
        }
    };

    let mut http = None;
    let (running, quit) = (Arc::new(RwLock::new(config.clone())), CancellationToken::new());
    if !config.http_address.is_empty() {
        let view = Arc::new(ServerView {
            role: role(config),
            interval,
            config: Arc::clone(&running),
            budget: Arc::clone(&budget),
            flusher: Arc::clone(&flusher),
        });
        let quit = config.http_quit.then(|| quit.clone());
        let admin = Admin { view, quit, profiling: config.enable_profiling };
        http = admin::start(&config.http_address, admin, serving.clone(), &mut tasks).await?;
    }
    tracing::info!(role = role(config), ?grpc, ?http, interval = ?interval, "Running");
    Ok(Running {
        dogstatsd: listeners.iter().filter_map(|listener| listener.socket).collect(),
        grpc,
        http,
        shutdown_timeout: config.shutdown_timeout.0,
        budget,
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

    /// Follows a changed configuration, as far as that needs no restart. No sample is lost: values of the interval under
    /// way stay, and names are formed anew.
    pub fn follow(&self, config: &Server) {
        self.budget.limit(settings::limits(config));
        let publishing = Arc::new(settings::publishing(config));
        *self.flusher.publishing.write().unwrap_or_else(PoisonError::into_inner) = publishing;
        let rules = Arc::new(settings::rules(config));
        self.listeners().iter().for_each(|listener| listener.follow(&rules));
        self.flusher.observer.follow(&rules);
        let mut running = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *running = veneur_config::followed(&*running, config);
    }

    /// What it listens on.
    pub fn listeners(&self) -> &[Listener] {
        &self.flusher.listeners
    }

    /// Publishes and delivers everything, within the configured time, and returns the closing ledger.
    ///
    /// A global first waits for the boundary at which proxies stop naming it the owner of anything, and publishes that
    /// interval as always; then nothing is left to hand over. A local has nobody to wait for. The order after that is
    /// what makes an OK worth something: no more imports, no more flushes, the last flush, delivery.
    pub async fn stop(mut self) -> Ledger {
        let deliver_within = self.shutdown_timeout / DELIVERY_SHARE;
        let publish_within = self.shutdown_timeout.saturating_sub(2 * deliver_within);
        if self.grpc.is_some() {
            let leave = Stamp::under_way(clock::now_ms() + veneur_ring::SETTLE_MS, self.flusher.interval);
            let last = self.flusher.published(leave.boundary_ms);
            if tokio::time::timeout(publish_within, last).await.is_err() {
                tracing::warn!("The next boundary is too far off: publishing what there is");
            }
        }
        self.importing.cancel();
        // Senders that keep their connection are refused from the last flush on.
        drop(tokio::time::timeout(CALLS_UNDER_WAY, self.import.join_next()).await);
        // From here on there are no flushes to miss.
        drop(self.watchdog.take());
        self.flushing.cancel();
        while self.flush.join_next().await.is_some() {}
        self.flusher.finish().await;
        let output = &self.flusher.output;
        if let Some(lane) = &output.lane {
            lane.close();
            let delivered =
                tokio::time::timeout(deliver_within, async { while self.lanes.join_next().await.is_some() {} }).await;
            if delivered.is_err() {
                self.lanes.shutdown().await;
            }
            lane.abandon();
        }
        output.drain(deliver_within).await;
        let ledger = output.account.snapshot();
        tracing::info!(?ledger, "Stopped");
        self.serving.cancel();
        self.tasks.shutdown().await;
        self.import.shutdown().await;
        ledger
    }
}

fn role(config: &Server) -> &'static str {
    if config.forwards() { "local" } else { "global" }
}

fn delivery(sink: &veneur_config::Sink, config: &Server) -> anyhow::Result<Delivery> {
    let limits = veneur_sinks::Limits { max_bytes: config.buffer_max_bytes, max_age: config.buffer_max_age.0 };
    Ok(match &sink.kind {
        SinkKind::Blackhole {} => Delivery::new(BlackholeSink::new(&sink.name), limits),
        SinkKind::Debug {} => Delivery::new(DebugSink::new(&sink.name, tokio::io::stdout()), limits),
        SinkKind::Datadog(datadog) => {
            let settings = DatadogSettings {
                api_key: datadog.api_key.expose().to_owned(),
                api_hostname: datadog.api_hostname.clone(),
                flush_max_per_body: datadog.flush_max_per_body,
                timeout: SINK_TIMEOUT,
                tags_exclude: veneur_sinks::TagsExclude::new(&config.tags_exclude).for_sink(&sink.name),
                metric_name_prefix_drops: datadog.metric_name_prefix_drops.clone(),
                exclude_tags_prefix_by_prefix_metric: datadog
                    .exclude_tags_prefix_by_prefix_metric
                    .iter()
                    .map(|rule| PrefixTags { metric_prefix: rule.metric_prefix.clone(), tags: rule.tags.clone() })
                    .collect(),
            };
            Delivery::new(DatadogSink::new(&sink.name, settings)?, limits)
        }
    })
}

/// What the admin port shows of a local or global.
struct ServerView {
    role: &'static str,
    interval: Duration,
    config: Arc<RwLock<Server>>,
    budget: Arc<Budget>,
    flusher: Arc<Flusher>,
}

impl View for ServerView {
    fn ready(&self) -> bool {
        true
    }

    fn snapshot(&self) -> Snapshot {
        let Flusher { listeners, output, .. } = &*self.flusher;
        Snapshot {
            role: self.role,
            node: self.flusher.kubelet.as_ref().map(|kubelet| kubelet.counts()),
            ingest: Some(IngestAccount::total(listeners.iter().map(|listener: &Listener| &*listener.account))),
            connections: listeners.iter().map(|listener| listener.connections.counts()).sum(),
            forward: output.account.snapshot(),
            sinks: output.sinks.iter().map(|sink| (sink.name().to_owned(), sink.ledger())).collect(),
            ring: None,
        }
    }

    fn config(&self, form: Form) -> Option<String> {
        let config = self.configured();
        config.http.config.then(|| form.of(&*config))
    }

    fn status(&self) -> serde_json::Value {
        let last: LastFlush = self.flusher.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = lock(&self.flusher.open).intervals.contexts();
        let Flusher { output, observer, .. } = &*self.flusher;
        let rates = observer.rates();
        let mut status = json!({
            "interval_seconds": self.interval.as_secs(),
            "instance": output.name,
            "last_flush": last,
            "unpublished_contexts": waiting,
            "contexts": self.budget.contexts(),
            "state_bytes": self.budget.bytes(),
            "self_metrics": observer.account().map(|ingest| ingest.samples),
            "listeners": self.flusher.listeners.iter().enumerate().map(|(index, listener)| json!({
                "protocol": listener.protocol,
                "address": listener.address,
                "rates": rates.get(index),
                "ledger": *listener.account.lock(),
                "connections": listener.connections.counts(),
                "origins": listener.origins().into_iter().take(ORIGINS_SHOWN).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "sinks": output.sinks.iter().map(sink_status).collect::<Vec<_>>(),
        });
        if let Some(kubelet) = &self.flusher.kubelet {
            status["node"] = kubelet.status();
        }
        status
    }
}

impl ServerView {
    fn configured(&self) -> RwLockReadGuard<'_, Server> {
        self.config.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sink_status(sink: &Delivery) -> serde_json::Value {
    let state = sink.state();
    json!({
        "name": sink.name(),
        "consecutive_failures": state.consecutive_failures,
        "last_error": state.last_error,
        "seconds_since_success": state.last_success.map(|when| when.elapsed().as_secs()),
    })
}
