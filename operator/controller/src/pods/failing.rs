//! Sidecars that do not run, of the pods that have one.
//!
//! The counts of pods need metadata only; whether a container runs is in a pod's status. So this watch is of injected pods
//! alone, and what is kept of a pod is nothing unless its sidecar fails.
//!
//! A container that ends is no failure yet: an exchange of its image ends it too. It fails when the kubelet stands back
//! from starting it, and runs again only when it has run for a while, or each try would be news.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Resource, ResourceExt as _,
    runtime::watcher::{self, Event},
};
use serde::Deserialize;

use crate::{
    container::{lacks_its_image, last_line, shorten},
    injection::{INJECTED, SIDECAR},
    labels::{PIPELINE, PIPELINE_NAMESPACE},
};

/// A sidecar that failed has to run for so long to be well. The kubelet waits up to five minutes between two tries, and
/// what fails does so at once or not at all.
const WELL_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// Pods of one page of a list: they come whole.
const PAGE: u32 = 100;

/// Longest text of a process that is passed on, in characters.
const LONGEST: usize = 200;

/// What is read of a pod.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub(super) struct Seen {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SeenSpec,
    #[serde(default)]
    status: SeenStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SeenSpec {
    init_containers: Vec<SeenContainer>,
    containers: Vec<SeenContainer>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SeenContainer {
    name: String,
    image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SeenStatus {
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

/// Sidecars of one pipeline that do not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failing {
    /// How many.
    pub pods: u32,
    /// One of them, `NAMESPACE/NAME`: always the first by name, so that it changes only when it must.
    pub first: String,
    /// Why that one does not run.
    pub why: String,
}

/// Every sidecar that fails.
#[derive(Debug, Default)]
pub(super) struct Failures {
    all: HashMap<Name, Failure>,
    listing: HashMap<Name, Failure>,
    listed: bool,
}

/// Namespace and name of a pod.
type Name = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    pipeline: String,
    cause: Cause,
    /// Of the first time that it was seen.
    why: Arc<str>,
    /// Since when it runs again.
    running: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Image,
    Configuration,
    Crash,
}

/// How a sidecar does.
enum Look {
    Fails(Cause, String),
    /// It runs, since then.
    Runs(Timestamp),
    /// On its way: nothing follows from that.
    Nothing,
}

/// Which pods are watched.
pub(super) fn selected() -> watcher::Config {
    let config = watcher::Config::default().labels(&format!("{INJECTED}=true")).page_size(PAGE);
    config.fields("status.phase!=Succeeded,status.phase!=Failed")
}

impl Failures {
    /// Whether all were seen at least once.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether anything that is said changed.
    pub(super) fn take(&mut self, event: Event<Seen>) -> bool {
        match event {
            Event::Init => {
                self.listing.clear();
                false
            }
            Event::InitApply(pod) => {
                let name = name(&pod);
                if let Some(failure) = next(self.all.get(&name), &pod) {
                    self.listing.insert(name, failure);
                }
                false
            }
            Event::InitDone => {
                let before = std::mem::replace(&mut self.all, std::mem::take(&mut self.listing));
                let first = !std::mem::replace(&mut self.listed, true);
                first || said(&before).ne(said(&self.all))
            }
            Event::Apply(pod) => {
                let name = name(&pod);
                let before = self.all.remove(&name);
                let now = next(before.as_ref(), &pod);
                let news = before.as_ref().map(|failure| &failure.why) != now.as_ref().map(|failure| &failure.why);
                self.all.extend(now.map(|failure| (name, failure)));
                news
            }
            Event::Delete(pod) => self.all.remove(&name(&pod)).is_some(),
        }
    }

    /// Forgets those that have run for long enough at `now`, and says whether there were any.
    pub(super) fn forget_well(&mut self, now: Timestamp) -> bool {
        let before = self.all.len();
        self.all.retain(|_, failure| failure.running.is_none_or(|since| now.duration_since(since) < WELL_AFTER));
        self.all.len() != before
    }

    /// By pipeline, `NAMESPACE/NAME`.
    pub(super) fn counted(&self) -> BTreeMap<String, Failing> {
        let mut counted = BTreeMap::<String, Failing>::new();
        for ((namespace, name), failure) in &self.all {
            let failing = counted.entry(failure.pipeline.clone()).or_default();
            let this = format!("{namespace}/{name}");
            if failing.pods == 0 || this < failing.first {
                (failing.first, failing.why) = (this, failure.why.to_string());
            }
            failing.pods += 1;
        }
        counted
    }
}

/// What is told of failures, in an order of its own.
fn said(all: &HashMap<Name, Failure>) -> std::collections::btree_map::IntoIter<&Name, &Arc<str>> {
    all.iter().map(|(name, failure)| (name, &failure.why)).collect::<BTreeMap<_, _>>().into_iter()
}

fn name(pod: &Seen) -> Name {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

/// What is kept of a pod after another look at it. A pod that ends is nobody's concern.
fn next(before: Option<&Failure>, pod: &Seen) -> Option<Failure> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    match look(pod) {
        Look::Fails(cause, why) => {
            let label = |key: &str| pod.labels().get(key).map(String::as_str);
            let pipeline = format!("{}/{}", label(PIPELINE_NAMESPACE)?, label(PIPELINE)?);
            let same = before.filter(|before| before.cause == cause && before.pipeline == pipeline);
            let why = same.map_or_else(|| why.into(), |before| Arc::clone(&before.why));
            Some(Failure { pipeline, cause, why, running: None })
        }
        Look::Runs(since) => before.map(|before| Failure { running: Some(since), ..before.clone() }),
        Look::Nothing => before.map(|before| Failure { running: None, ..before.clone() }),
    }
}

fn look(pod: &Seen) -> Look {
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let Some(status) = statuses.into_iter().find(|status| status.name == SIDECAR) else { return Look::Nothing };
    let state = status.state.as_ref();
    if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        let since = running.started_at.as_ref().filter(|_| status.started != Some(false));
        return since.map_or(Look::Nothing, |since| Look::Runs(since.0));
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    match reason {
        _ if lacks_its_image(reason) => {
            // The status may still have the image before.
            let containers = pod.spec.init_containers.iter().chain(&pod.spec.containers);
            let image = containers.into_iter().find(|container| container.name == SIDECAR).map(|found| &*found.image);
            Look::Fails(Cause::Image, format!("image {} cannot be pulled", image.unwrap_or(&status.image)))
        }
        "CreateContainerConfigError" => {
            let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or(reason);
            Look::Fails(Cause::Configuration, shorten(message, LONGEST))
        }
        "CrashLoopBackOff" | "CreateContainerError" | "RunContainerError" => Look::Fails(Cause::Crash, ended(status)),
        _ => Look::Nothing,
    }
}

/// How a container ended last, with what it said.
fn ended(status: &ContainerStatus) -> String {
    let state = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let Some(ended) = state else { return "it cannot be started".to_owned() };
    let how = format!("it ended with {} ({})", ended.exit_code, ended.reason.as_deref().unwrap_or("Error"));
    last_line(ended).map_or_else(|| how.clone(), |line| format!("{how}: {}", shorten(line, LONGEST)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "what a test writes down is written down once")]
    fn pod(name: &str, list: &str, state: Value, last: Value, started: bool) -> Seen {
        let labels = json!({PIPELINE: "default", PIPELINE_NAMESPACE: "metrics"});
        let status = |name: &str, state: &Value| {
            json!({"name": name, "image": "registry.example/veneur:before", "imageID": "", "ready": started,
                "restartCount": 0, "started": started, "state": state, "lastState": last})
        };
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name, "labels": labels},
            "spec": {"containers": [{"name": "app"}, {"name": "veneur", "image": "registry.example/veneur:typo"}]},
            "status": {list: [status("app", &waiting("ImagePullBackOff")), status("veneur", &state)]},
        }))
        .expect("a pod")
    }

    fn waiting(reason: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": "Back-off 10s, again in 20s"}})
    }

    fn running() -> Value {
        json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    }

    fn terminated(code: i32, message: &str) -> Value {
        json!({"terminated": {"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
            "message": message}})
    }

    /// Each look in turn, and what is said then.
    fn follow(looks: &[(Value, Value, bool, Option<&str>)]) {
        for list in ["initContainerStatuses", "containerStatuses"] {
            let mut failures = Failures::default();
            for (step, (state, last, started, expected)) in looks.iter().enumerate() {
                failures.take(Event::Apply(pod("a", list, state.clone(), last.clone(), *started)));
                let counted = failures.counted();
                let why = counted.get("metrics/default").map(|failing| failing.why.as_str());
                assert_eq!(why, *expected, "{list}, step {step}");
            }
        }
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named_as_the_pod_asks_for_it() {
        let why = Some("image registry.example/veneur:typo cannot be pulled");
        follow(&[
            (waiting("PodInitializing"), json!({}), false, None),
            (waiting("ErrImagePull"), json!({}), false, why),
            (waiting("ImagePullBackOff"), terminated(0, ""), false, why),
        ]);
    }

    #[test]
    fn an_exchange_of_the_image_is_no_failure() {
        follow(&[
            (running(), json!({}), true, None),
            (terminated(0, ""), json!({}), false, None),
            (running(), terminated(0, ""), false, None),
            (running(), terminated(0, ""), true, None),
        ]);
    }

    #[test]
    fn a_crash_loop_is_one_failure_with_its_first_words() {
        let why = Some("it ended with 78 (Error): 10:00:00 VENEUR_CONFIG: wrong");
        let [first, second] =
            ["10:00:00", "10:00:20"].map(|time| terminated(78, &format!("starting\n{time} VENEUR_CONFIG: wrong\n")));
        follow(&[
            (terminated(78, "first"), json!({}), false, None),
            (waiting("CrashLoopBackOff"), first.clone(), false, why),
            (running(), first, true, why),
            (second.clone(), json!({}), false, why),
            (waiting("CrashLoopBackOff"), second, false, why),
        ]);
    }

    #[test]
    fn what_failed_is_well_once_it_has_run_for_a_while() {
        let mut failures = Failures::default();
        let list = "initContainerStatuses";
        assert!(failures.take(Event::Apply(pod("a", list, waiting("CrashLoopBackOff"), json!({}), false))));
        assert!(!failures.take(Event::Apply(pod("a", list, running(), json!({}), true))), "that may not last");
        let started: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        assert!(!failures.forget_well(started + SignedDuration::from_secs(59)));
        assert!(failures.forget_well(started + SignedDuration::from_secs(60)));
        assert!(failures.counted().is_empty());
    }

    #[test]
    fn failures_are_counted_by_pipeline_and_the_first_by_name_is_named() {
        let bad = |name: &str| pod(name, "initContainerStatuses", waiting("ErrImagePull"), json!({}), false);
        let good = |name: &str| pod(name, "initContainerStatuses", running(), json!({}), true);
        let mut failures = Failures::default();
        failures.take(Event::Init);
        failures.take(Event::InitApply(bad("b")));
        failures.take(Event::InitApply(good("c")));
        assert!(failures.take(Event::InitDone) && failures.is_listed());
        assert!(failures.take(Event::Apply(bad("a"))));
        assert!(!failures.take(Event::Apply(bad("a"))), "nothing new");
        let counted = failures.counted();
        assert_eq!((counted["metrics/default"].pods, &*counted["metrics/default"].first), (2, "shop/a"));
        failures.take(Event::Init);
        failures.take(Event::InitApply(bad("a")));
        assert!(failures.take(Event::InitDone), "one is gone");
        assert!(failures.take(Event::Delete(bad("a"))) && failures.counted().is_empty());
    }
}
