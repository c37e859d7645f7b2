//! What an instance says of itself: at each flush, the counts since the last one.
//!
//! Three things come of one look at the ledgers: self-metrics, by the original's names; rates of the listeners for
//! `/status`; and lines in the log when something that is wrong begins or is over.
//!
//! Self-metrics are written as DogStatsD and go into an intake of their own, whose values join the interval like any
//! other, or to `stats_address`. The intake has a budget of its own, so that a flood of names does not silence the report
//! of it, and a ledger of its own that is in no listener's: what clients sent and what this process says of itself are
//! counted apart. Laws: the series are as many as there are names, sinks, listeners' protocols and reasons, whatever is
//! sent; a report counts the report before it as points, and so is not larger for it.

mod conditions;
mod diagnostics;
mod lines;
mod proxy;
mod report;
mod stats;

pub(crate) use conditions::Losses;
pub(crate) use proxy::{ProxyObserver, Seen};

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use veneur_aggregate::{Budget, Limits, Rules};
use veneur_config::{Server, SinkKind};
use veneur_forward::Ledger;
use veneur_metric::{Durations, Stamp};
use veneur_sinks::SinkLedger;

use self::{
    conditions::Conditions,
    lines::{Lines, Style},
    stats::Stats,
};
use crate::{
    account::{Ingest, IngestAccount},
    listen::{
        ConnectionCounts, Listener,
        intake::{Intake, Shared, Taken},
        origin::Origin,
    },
    output::Output,
    settings,
};

/// Room for self-metrics: many times what their names take.
const LIMITS: Limits = Limits { contexts: 4_096, contexts_per_origin: 0, bytes: 8 * 1024 * 1024 };

/// Looks at an instance's ledgers.
#[derive(Debug)]
pub(crate) struct Observer {
    style: Style,
    /// Name and kind of each sink.
    sinks: Vec<(String, &'static str)>,
    counts_series: bool,
    diagnoses: bool,
    forwards: bool,
    way: Way,
    state: Mutex<State>,
}

/// Where self-metrics go.
#[derive(Debug)]
enum Way {
    Nowhere,
    /// Into this instance's own intervals.
    Pipeline(Box<Intake>, Arc<IngestAccount>),
    /// To `stats_address`.
    Elsewhere(Stats),
}

#[derive(Debug)]
struct State {
    before: Counts,
    /// When the ledgers were looked at last.
    looked: Instant,
    rates: Vec<Rates>,
    since: Flushed,
    conditions: Conditions,
}

/// Counts since the process started.
#[derive(Debug, Clone, Default)]
struct Counts {
    listeners: Vec<(&'static str, Ingest)>,
    ingest: Ingest,
    connections: ConnectionCounts,
    forward: Ledger,
    sinks: Vec<SinkLedger>,
}

/// What a listener read over the last interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(crate) struct Rates {
    pub(crate) samples_per_second: f64,
    pub(crate) datagrams_per_second: f64,
}

/// What was published since the last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flushed {
    pub(crate) contexts: usize,
    pub(crate) partials: usize,
    /// Series among its points.
    pub(crate) series: usize,
    pub(crate) events: usize,
    pub(crate) checks: usize,
    /// How long flushes took.
    pub(crate) took: Durations,
}

impl Observer {
    pub(crate) async fn new(config: &Server) -> Self {
        let own = config.self_metrics && config.stats_address.is_empty();
        let way = if own {
            let account = Arc::new(IngestAccount::default());
            let shared = Shared::new(settings::rules(config), Arc::new(Budget::new(LIMITS)), None);
            Way::Pipeline(Box::new(Intake::new(&shared, Arc::clone(&account))), account)
        } else if config.self_metrics {
            Way::Elsewhere(Stats::new(&config.stats_address).await)
        } else {
            Way::Nowhere
        };
        let kind = |kind: &SinkKind| match kind {
            SinkKind::Blackhole {} => "blackhole",
            SinkKind::Datadog(_) => "datadog",
            SinkKind::Debug {} => "debug",
        };
        Self {
            style: Style::new(config, own),
            sinks: config.metric_sinks.iter().map(|sink| (sink.name.clone(), kind(&sink.kind))).collect(),
            counts_series: config.self_metrics && config.count_unique_timeseries,
            diagnoses: config.features.diagnostics_metrics_enabled,
            forwards: config.forwards(),
            way,
            state: Mutex::new(State::new(Instant::now())),
        }
    }

    /// Whether [`Flushed::series`] is wanted.
    pub(crate) fn counts_series(&self) -> bool {
        self.counts_series
    }

    /// Forms contexts by other rules from now on.
    pub(crate) fn follow(&self, rules: &Arc<Rules>) {
        if let Way::Pipeline(intake, _) = &self.way {
            intake.follow(rules);
        }
    }

    /// Remembers what was published, for the next look.
    pub(crate) fn flushed(&self, more: Flushed) {
        let since = &mut self.state().since;
        let Flushed { contexts, partials, series, events, checks, took } = more;
        since.contexts += contexts;
        since.partials += partials;
        since.series += series;
        since.events += events;
        since.checks += checks;
        took.iter().for_each(|took| since.took.push(took));
    }

    /// Takes a look, at the end of an interval. What it says of the instance is returned, if that is to join the
    /// interval.
    pub(crate) fn look(&self, boundary: Stamp, listeners: &[Listener], output: &Output) -> Option<Taken> {
        let counts = Counts::now(listeners, output);
        let mut state = self.state();
        let now = Instant::now();
        let elapsed = now.duration_since(std::mem::replace(&mut state.looked, now));
        state.rates = counts.rates(&state.before, elapsed);
        let State { conditions, before, .. } = &mut *state;
        conditions.look(&counts, before, &self.sinks);
        let before = std::mem::replace(&mut state.before, counts.clone());
        let since = std::mem::take(&mut state.since);
        drop(state);
        if matches!(self.way, Way::Nowhere) {
            return None;
        }
        let mut lines = Lines::new(&self.style);
        report::write(&mut lines, self, boundary, &since, &before, &counts, output);
        if self.diagnoses {
            diagnostics::write(&mut lines, elapsed);
        }
        match &self.way {
            Way::Nowhere => None,
            Way::Pipeline(intake, _) => {
                intake.open().packet(lines.as_bytes(), Origin::UNKNOWN);
                Some(intake.take())
            }
            Way::Elsewhere(stats) => {
                stats.offer(lines.into_text());
                None
            }
        }
    }

    /// Sends what is for `stats_address`; nothing else waits for long.
    pub(crate) async fn send(&self) {
        if let Way::Elsewhere(stats) = &self.way {
            stats.send().await;
        }
    }

    /// Of each listener.
    pub(crate) fn rates(&self) -> Vec<Rates> {
        self.state().rates.clone()
    }

    /// Samples that this instance wrote of itself into its own intervals.
    pub(crate) fn account(&self) -> Option<Ingest> {
        match &self.way {
            Way::Pipeline(_, account) => Some(account.lock().clone()),
            Way::Nowhere | Way::Elsewhere(_) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            before: Counts::default(),
            looked: now,
            rates: Vec::new(),
            since: Flushed::default(),
            conditions: Conditions::default(),
        }
    }
}

impl Counts {
    fn now(listeners: &[Listener], output: &Output) -> Self {
        let of_each: Vec<_> =
            listeners.iter().map(|listener| (listener.protocol, listener.account.lock().clone())).collect();
        let mut ingest = Ingest::default();
        of_each.iter().for_each(|(_, account)| ingest.add(account));
        Self {
            listeners: of_each,
            ingest,
            connections: listeners.iter().map(|listener| listener.connections.counts()).sum(),
            forward: output.account.snapshot(),
            sinks: output.sinks.iter().map(veneur_sinks::Delivery::ledger).collect(),
        }
    }

    fn rates(&self, before: &Self, elapsed: Duration) -> Vec<Rates> {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let none = Ingest::default();
        let rates = self.listeners.iter().enumerate().map(|(index, (_, now))| {
            let before = before.listeners.get(index).map_or(&none, |(_, before)| before);
            Rates {
                samples_per_second: (now.samples.parsed - before.samples.parsed) as f64 / seconds,
                datagrams_per_second: (now.datagrams.read - before.datagrams.read) as f64 / seconds,
            }
        });
        rates.collect()
    }
}
