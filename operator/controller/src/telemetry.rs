//! What the operator counts of itself, at `/metrics` beside the probes. `docs/operator-metrics.md` lists it all.
//!
//! A [`Telemetry`] is a handle: it is cloned to whoever counts. Labels come from closed lists; only the account of a
//! fleet is by pipeline.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use prometheus_client::{
    collector::Collector,
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use crate::injection::SkipReason;

/// One label.
type One = [(&'static str, &'static str); 1];
/// Two labels.
type Two = [(&'static str, String); 2];

/// How the webhook answered for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It has a sidecar now.
    Injected,
    /// It asked and got none.
    Skipped,
    /// It did not ask.
    Untouched,
    /// By a fault of the operator it got none: the review could not be answered, or deciding failed.
    Failed,
}

impl Decision {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Skipped => "skipped",
            Self::Untouched => "untouched",
            Self::Failed => "failed",
        }
    }
}

/// The operator's metrics; clones count together.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Mutex<Registry>>,
    reconciliations: Family<One, Counter>,
    reconcile_seconds: Histogram,
    objects_written: Family<One, Counter>,
    status_writes: Counter,
    admissions: Family<Two, Counter>,
    admission_seconds: Histogram,
    certificate_days: Family<One, Gauge>,
    leader: Gauge,
    rivals: Gauge,
    polls: Family<One, Counter>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Everything at zero.
    pub fn new() -> Self {
        // 1 ms to 32 s.
        let reconcile_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        // 0.1 ms to 3.2 s: the API server waits five.
        let admission_seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let telemetry = Self {
            registry: Arc::default(),
            reconciliations: Family::default(),
            reconcile_seconds,
            objects_written: Family::default(),
            status_writes: Counter::default(),
            admissions: Family::default(),
            admission_seconds,
            certificate_days: Family::default(),
            leader: Gauge::default(),
            rivals: Gauge::default(),
            polls: Family::default(),
        };
        telemetry.register();
        telemetry
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.sub_registry_with_prefix("veneur_operator");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This operator", version);
        let reconciliations = self.reconciliations.clone();
        registry.register("reconciliations", "Reconciliations of a pipeline, by outcome", reconciliations);
        let seconds = self.reconcile_seconds.clone();
        registry.register("reconcile_seconds", "How long a reconciliation took", seconds);
        let written = self.objects_written.clone();
        registry.register("objects_written", "Objects created, changed, corrected or removed", written);
        registry.register("status_writes", "Statuses that said something new", self.status_writes.clone());
        let admissions = self.admissions.clone();
        registry.register("admissions", "Pods that the webhook saw, by decision and reason", admissions);
        let seconds = self.admission_seconds.clone();
        registry.register("admission_seconds", "How long the webhook took for a pod", seconds);
        let days = self.certificate_days.clone();
        registry.register("certificate_days", "Whole days until a certificate is over", days);
        registry.register("leader", "Whether this replica reconciles: 1, or 0", self.leader.clone());
        let help = "Other operators that would reconcile the same pipelines: 0, or one has to go";
        registry.register("rivals", help, self.rivals.clone());
        registry.register("tier_polls", "Questions to pods of tiers for their state, by outcome", self.polls.clone());
    }

    /// Adds what is read when somebody asks.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// A reconciliation ended so.
    pub fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciliations.get_or_create(&[("outcome", outcome)]).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// An object was written: `created`, `changed`, `corrected` or `removed`.
    pub fn object_written(&self, action: &'static str) {
        self.objects_written.get_or_create(&[("action", action)]).inc();
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.status_writes.inc();
    }

    /// The webhook answered for a pod.
    pub fn admitted(&self, decision: Decision, reason: Option<SkipReason>, took: Duration) {
        let reason = reason.map(|reason| format!("{reason:?}")).unwrap_or_default();
        self.admissions.get_or_create(&[("decision", decision.as_str().to_owned()), ("reason", reason)]).inc();
        self.admission_seconds.observe(took.as_secs_f64());
    }

    /// A certificate is valid until then. `certificate` is from a closed list: `webhook_ca`, `webhook_leaf`, `tiers_ca` …
    pub fn certificate(&self, certificate: &'static str, until: SystemTime, now: SystemTime) {
        const DAY: u64 = 24 * 60 * 60;
        let left = until.duration_since(now).map_or(0, |left| left.as_secs() / DAY);
        self.certificate_days
            .get_or_create(&[("certificate", certificate)])
            .set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    /// Whether this replica reconciles.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// So many other operators were found.
    pub fn rivals(&self, count: usize) {
        self.rivals.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A pod of a tier was asked, and `answered` or `failed`.
    pub fn polled(&self, answered: bool) {
        self.polls.get_or_create(&[("outcome", if answered { "answered" } else { "failed" })]).inc();
    }

    /// Everything in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string cannot fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn names(text: &str) -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect()
    }

    #[test]
    fn every_metric_is_in_the_documentation_and_no_other_is() {
        let telemetry = Telemetry::new();
        let live = Arc::new(crate::live::Live::new());
        let fleet = Arc::new(crate::fleet::Fleet::example());
        telemetry.collect(Box::new(crate::live::Staleness { live, others: Vec::new() }));
        telemetry.collect(Box::new(crate::fleet::Accounts(fleet)));
        let (pipelines, namespaces) = (crate::pipelines::pipelines().0, crate::namespaces::Namespaces::of([]));
        let (pods, _) = crate::pods::pods(pipelines, namespaces, crate::test_support::defaults(), Vec::new());
        telemetry.collect(Box::new(crate::pods::Unresolved(pods)));
        telemetry.reconciled("settled", Duration::from_millis(2));
        telemetry.object_written("created");
        telemetry.status_written();
        telemetry.admitted(Decision::Injected, None, Duration::from_micros(300));
        telemetry.certificate("webhook_ca", SystemTime::now(), SystemTime::now());
        telemetry.leads(true);
        telemetry.rivals(0);
        telemetry.polled(true);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operator-metrics.md");
        let page = fs::read_to_string(path).expect("the page");
        let listed: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(|name| name.trim_end_matches("_total").trim_end_matches("_info").to_owned())
            .collect();
        assert_eq!(listed, names(&telemetry.text()), "\n{}", telemetry.text());
    }

    #[test]
    fn days_are_whole_and_never_below_zero() {
        let telemetry = Telemetry::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(10 * 24);
        telemetry.certificate("webhook_ca", now + Duration::from_hours(47), now);
        telemetry.certificate("webhook_leaf", now - Duration::from_hours(1), now);
        let text = telemetry.text();
        assert!(text.contains("certificate_days{certificate=\"webhook_ca\"} 1"), "{text}");
        assert!(text.contains("certificate_days{certificate=\"webhook_leaf\"} 0"), "{text}");
    }
}
