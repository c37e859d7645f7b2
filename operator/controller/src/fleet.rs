//! The tiers asked what they know: the ring's members, how sinks are doing, the account.
//!
//! Each pod's admin port is asked every 15 s; with many pods less often, so that asking stays cheap. A pod that does not
//! answer costs its own question only. What is learnt wakes a pipeline when it says something new.

mod poll;
mod report;

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use veneur_operator_api::AccountStatus;

use crate::{
    feeds::Key,
    kind::Kind,
    labels::{ADMIN_PORT, Role, role_of},
    live::{Live, Stored},
    telemetry::Telemetry,
};

pub use poll::PollError;
pub use report::{Answer, FleetReport, StatusPage};

/// How often each pod is asked.
const EVERY: Duration = Duration::from_secs(15);
/// Questions a second at the most. With 5,000 pods of tiers a round takes 100 s.
const RATE: u32 = 50;
/// Questions under way.
const CONCURRENCY: usize = 16;

/// What the tiers of every pipeline have said last.
#[derive(Debug, Default)]
pub struct Fleet(Mutex<HashMap<Key, FleetReport>>);

/// A pod that can be asked.
struct Target {
    pod: String,
    role: Role,
    address: Option<String>,
}

impl Fleet {
    /// What the pipeline's tiers said last.
    pub fn report_of(&self, pipeline: &Key) -> Option<FleetReport> {
        self.reports().get(pipeline).cloned()
    }

    fn reports(&self) -> MutexGuard<'_, HashMap<Key, FleetReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until `stop`.
    pub async fn run(&self, live: &Live, telemetry: &Telemetry, stop: &CancellationToken) {
        live.settled().await;
        let mut before = Instant::now();
        loop {
            let begun = Instant::now();
            let round = self.round(live, telemetry, begun - before);
            let asked = tokio::select! {
                asked = round => asked,
                () = stop.cancelled() => return,
            };
            before = begun;
            let pause = EVERY.max(Duration::from_secs(1) * asked / RATE);
            tokio::select! {
                () = sleep_until(begun + pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Asks every pod once; returns how many.
    async fn round(&self, live: &Live, telemetry: &Telemetry, passed: Duration) -> u32 {
        let pipelines = targets(live);
        self.reports().retain(|pipeline, _| pipelines.contains_key(pipeline));
        let begun = Instant::now();
        let mut asked = 0;
        let mut plan = Vec::with_capacity(pipelines.len());
        for (pipeline, targets) in pipelines {
            let due = begun + Duration::from_secs(1) * asked / RATE;
            asked += u32::try_from(targets.len()).unwrap_or(u32::MAX);
            plan.push((due, pipeline, targets));
        }
        let questions = futures::stream::iter(plan).map(|(due, pipeline, targets)| async move {
            sleep_until(due).await;
            let answers = futures::stream::iter(targets).map(|target| ask(target, telemetry)).buffered(CONCURRENCY / 4);
            (pipeline, answers.collect::<Vec<_>>().await)
        });
        let mut questions = std::pin::pin!(questions.buffer_unordered(CONCURRENCY / 4));
        while let Some((pipeline, answers)) = questions.next().await {
            if self.learn(&pipeline, &answers, passed) {
                live.wake(pipeline).await;
            }
        }
        asked
    }

    /// Whether the answers say something new.
    fn learn(&self, pipeline: &Key, answers: &[Answer], passed: Duration) -> bool {
        let mut reports = self.reports();
        let before = reports.get(pipeline);
        let report = FleetReport::of(answers, before, passed);
        let news = before.is_none_or(|before| !before.says_the_same(&report));
        reports.insert(pipeline.clone(), report);
        news
    }

    /// One that knows one pipeline.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let page = serde_json::from_str("{}").expect("everything has a default");
        let answer = Answer { pod: "default-global-a".to_owned(), role: Role::Global, page: Ok(page) };
        let fleet = Self::default();
        fleet.learn(&Key::new("metrics", "default"), &[answer], Duration::ZERO);
        fleet
    }
}

fn targets(live: &Live) -> HashMap<Key, Vec<Target>> {
    let all = live.all(Kind::Pod).into_iter();
    all.map(|(pipeline, pods)| (pipeline, pods.iter().filter_map(target).collect::<Vec<_>>()))
        .filter(|(_, targets)| !targets.is_empty())
        .collect()
}

/// A pod that runs. One that is leaving still answers, but what it says is of yesterday.
fn target(stored: &Stored) -> Option<Target> {
    let pod: Pod = stored.read()?;
    let status = pod.status.as_ref()?;
    let runs = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
    let role = role_of(&pod.metadata)?;
    runs.then(|| Target { pod: stored.name.to_string(), role, address: status.pod_ip.clone() })
}

async fn ask(target: Target, telemetry: &Telemetry) -> Answer {
    let Target { pod, role, address } = target;
    let page = match address.as_deref().and_then(|address| address.parse::<IpAddr>().ok()) {
        Some(address) => poll::status((address, ADMIN_PORT).into()).await.map_err(|error| error.to_string()),
        None => Err("it has no address yet".to_owned()),
    };
    telemetry.polled(page.is_ok());
    Answer { pod, role, page }
}

/// The account of every pipeline, when somebody asks for the metrics.
#[derive(Debug)]
pub struct Accounts(pub Arc<Fleet>);

impl Collector for Accounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Partials and points of a pipeline's tiers, since the processes that run now have started";
        let mut family = encoder.encode_descriptor("veneur_operator_fleet_points", help, None, MetricType::Gauge)?;
        for (pipeline, report) in &*self.0.reports() {
            let Some(account) = &report.account else { continue };
            let AccountStatus { imported, published, dropped, uncertain, unaccounted } = *account;
            for (outcome, count) in [
                ("imported", imported),
                ("published", published),
                ("dropped", dropped),
                ("uncertain", uncertain),
                ("unaccounted", unaccounted),
            ] {
                let labels = [
                    ("namespace", pipeline.namespace.as_str()),
                    ("pipeline", pipeline.name.as_str()),
                    ("outcome", outcome),
                ];
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
