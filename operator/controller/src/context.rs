//! What every reconciliation shares.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::Client;

use crate::{
    certificates::tier::TierCertificates,
    events::Events,
    feeds::{Feeds, Key},
    fleet::Fleet,
    live::Live,
    reconcile::apply::Contests,
    telemetry::Telemetry,
};

/// What every reconciliation shares.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// What applies where a pipeline says nothing.
    pub defaults: Defaults,
    /// Failures in a row, by pipeline.
    pub failures: Failures,
    /// Objects of all pipelines, as last seen.
    pub live: Arc<Live>,
    /// Objects that somebody else keeps changing.
    pub contests: Arc<Contests>,
    /// What the tiers say of themselves.
    pub fleet: Arc<Fleet>,
    /// What other tasks know.
    pub feeds: Feeds,
    /// Where transitions are told.
    pub events: Events,
    /// What is counted.
    pub telemetry: Telemetry,
    /// When a pipeline's account was written last.
    pub accounts: Accounts,
    /// The tiers' certificates, where the operator makes them.
    pub certificates: Option<Arc<TierCertificates>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("defaults", &self.defaults).finish_non_exhaustive()
    }
}

/// When accounts were written: they change all the time, and each write wakes everybody who watches.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<HashMap<Key, Instant>>);

/// An account alone is not written more often.
const ACCOUNT_EVERY: Duration = Duration::from_mins(10);

impl Accounts {
    /// Whether it is time to write a pipeline's account. At first sight it is not, or a restart would write them all.
    pub fn is_due(&self, pipeline: &Key, now: Instant) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= MOST_REMEMBERED {
            written.clear();
        }
        let last = written.entry(pipeline.clone()).or_insert(now);
        let due = now.duration_since(*last) >= ACCOUNT_EVERY;
        if due {
            *last = now;
        }
        due
    }
}

/// What applies where a pipeline says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Image without tag.
    pub repository: String,
    /// Its tag.
    pub version: String,
}

impl Defaults {
    /// Splits `repository:version`. A registry's port is no version; without one it is `latest`.
    pub fn of_image(image: &str) -> Self {
        let name_starts = image.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, version) = match image[name_starts..].rfind(':') {
            Some(colon) => (&image[..name_starts + colon], &image[name_starts + colon + 1..]),
            None => (image, "latest"),
        };
        Self { repository: repository.to_owned(), version: version.to_owned() }
    }
}

/// Failures in a row, by pipeline: each backs off on its own, so that a broken one does not slow its neighbours.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<Key, u32>>);

/// Keys of pipelines that were deleted while failing are never cleared one by one; beyond this many all are.
const MOST_REMEMBERED: usize = 10_000;

impl Failures {
    /// Counts one more and answers how long to wait: 1 s, doubling, at most 5 min.
    pub fn failed(&self, pipeline: &Key) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_REMEMBERED {
            failures.clear();
        }
        let count = failures.entry(pipeline.clone()).or_insert(0);
        let wait = Duration::from_secs(1 << (*count).min(9)).min(Duration::from_mins(5));
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets a pipeline's failures.
    pub fn succeeded(&self, pipeline: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(pipeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_port_is_no_version() {
        for (image, repository, version) in [
            ("veneur:1.2", "veneur", "1.2"),
            ("veneur", "veneur", "latest"),
            ("registry.example:5000/team/veneur", "registry.example:5000/team/veneur", "latest"),
            ("registry.example:5000/team/veneur:dev", "registry.example:5000/team/veneur", "dev"),
        ] {
            let defaults = Defaults::of_image(image);
            assert_eq!((defaults.repository.as_str(), defaults.version.as_str()), (repository, version), "{image}");
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_only_for_the_failing_one() {
        let failures = Failures::default();
        let waits: Vec<u64> = (0..11).map(|_| failures.failed(&Key::new("metrics", "bad")).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(failures.failed(&Key::new("metrics", "good")).as_secs(), 1);
        failures.succeeded(&Key::new("metrics", "bad"));
        assert_eq!(failures.failed(&Key::new("metrics", "bad")).as_secs(), 1);
    }
}
