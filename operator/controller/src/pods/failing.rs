//! Sidecars that do not run, of the pods that have one.
//!
//! The counts of pods need metadata only; whether a container runs is in a pod's status. So this watch is of injected pods
//! alone, and what is kept of a pod is nothing unless its sidecar fails.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Resource, ResourceExt as _,
    runtime::watcher::{self, Event},
};
use serde::Deserialize;

use crate::{
    injection::{INJECTED, SIDECAR},
    labels::{PIPELINE, PIPELINE_NAMESPACE},
};

/// Longest text of a process that is passed on, in characters.
const LONGEST: usize = 200;

/// What is read of a pod.
#[derive(Debug, Clone, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub(super) struct Seen {
    metadata: ObjectMeta,
    #[serde(default)]
    status: SeenStatus,
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
    all: HashMap<(String, String), Failure>,
    listing: HashMap<(String, String), Failure>,
}

#[derive(Debug, PartialEq, Eq)]
struct Failure {
    pipeline: String,
    why: Arc<str>,
}

/// Which pods are watched.
pub(super) fn selected() -> watcher::Config {
    watcher::Config::default()
        .labels(&format!("{INJECTED}=true"))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
}

impl Failures {
    /// Whether anything that is said changed.
    pub(super) fn take(&mut self, event: Event<Seen>) -> bool {
        match event {
            Event::Init => {
                self.listing.clear();
                false
            }
            Event::InitApply(pod) => {
                if let Some(failure) = failure(&pod) {
                    self.listing.insert(key(&pod), failure);
                }
                false
            }
            Event::InitDone => {
                let before = std::mem::replace(&mut self.all, std::mem::take(&mut self.listing));
                before != self.all
            }
            Event::Apply(pod) => match failure(&pod) {
                Some(failure) => {
                    let same = self.all.get(&key(&pod)) == Some(&failure);
                    self.all.insert(key(&pod), failure);
                    !same
                }
                None => self.all.remove(&key(&pod)).is_some(),
            },
            Event::Delete(pod) => self.all.remove(&key(&pod)).is_some(),
        }
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

fn key(pod: &Seen) -> (String, String) {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Why a pod's sidecar does not run, if it does not. A pod that ends is nobody's concern.
fn failure(pod: &Seen) -> Option<Failure> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let label = |key: &str| pod.labels().get(key).map(String::as_str);
    let pipeline = format!("{}/{}", label(PIPELINE_NAMESPACE)?, label(PIPELINE)?);
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let why = statuses.filter(|status| status.name == SIDECAR).find_map(why)?;
    Some(Failure { pipeline, why: why.into() })
}

/// In words that stay the same while the kubelet tries again and again.
fn why(status: &ContainerStatus) -> Option<String> {
    if status.started == Some(true) {
        return None;
    }
    let state = status.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "RegistryUnavailable" => {
            return Some(format!("image {} cannot be pulled", status.image));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or(reason);
            return Some(shorten(message));
        }
        _ => {}
    }
    let ended = state.and_then(|state| state.terminated.as_ref());
    let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = ended.or(before)?;
    let said = ended.message.as_deref().unwrap_or_default();
    let last_line = said.lines().rev().find(|line| !line.trim().is_empty());
    let how = format!("it ended with {} ({})", ended.exit_code, ended.reason.as_deref().unwrap_or("Error"));
    Some(last_line.map_or_else(|| how.clone(), |line| format!("{how}: {}", shorten(line))))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "what a test writes down is written down once")]
    fn pod(name: &str, list: &str, status: Value) -> Seen {
        let labels = json!({PIPELINE: "default", PIPELINE_NAMESPACE: "metrics"});
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name, "labels": labels},
            "spec": {"containers": [{"name": "app"}]},
            "status": {list: [status, {"name": "app", "image": "app", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
        }))
        .expect("a pod")
    }

    #[expect(clippy::needless_pass_by_value, reason = "what a test writes down is written down once")]
    fn status(state: Value, last: Value, started: bool) -> Value {
        json!({"name": "veneur", "image": "registry.example/veneur:typo", "imageID": "", "ready": started,
            "restartCount": 0, "started": started, "state": state, "lastState": last})
    }

    #[test]
    fn what_keeps_a_sidecar_from_running_is_said_once_for_all_its_tries() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "Back-off 10s, again in 20s"}});
        let ended =
            json!({"terminated": {"exitCode": 78, "reason": "Error", "message": "first\nVENEUR_CONFIG: wrong\n"}});
        let crashed = "it ended with 78 (Error): VENEUR_CONFIG: wrong";
        let running = json!({"running": {}});
        for (state, last, started, expected) in [
            (waiting("ErrImagePull"), json!({}), false, Some("image registry.example/veneur:typo cannot be pulled")),
            (
                waiting("ImagePullBackOff"),
                json!({}),
                false,
                Some("image registry.example/veneur:typo cannot be pulled"),
            ),
            (waiting("PodInitializing"), json!({}), false, None),
            (waiting("CrashLoopBackOff"), ended.clone(), false, Some(crashed)),
            (ended.clone(), json!({}), false, Some(crashed)),
            (running.clone(), ended.clone(), false, Some(crashed)),
            (running.clone(), ended, true, None),
            (running, json!({}), false, None),
        ] {
            for list in ["initContainerStatuses", "containerStatuses"] {
                let found = failure(&pod("a", list, status(state.clone(), last.clone(), started)));
                assert_eq!(found.as_ref().map(|failure| &*failure.why), expected, "{list}: {state}");
            }
        }
    }

    #[test]
    fn failures_are_counted_by_pipeline_until_they_are_over() {
        let bad = || status(json!({"waiting": {"reason": "ErrImagePull"}}), json!({}), false);
        let good = || status(json!({"running": {}}), json!({}), true);
        let mut failures = Failures::default();
        failures.take(Event::Init);
        failures.take(Event::InitApply(pod("b", "initContainerStatuses", bad())));
        failures.take(Event::InitApply(pod("c", "initContainerStatuses", good())));
        assert!(failures.take(Event::InitDone));
        assert!(failures.take(Event::Apply(pod("a", "initContainerStatuses", bad()))));
        assert!(!failures.take(Event::Apply(pod("a", "initContainerStatuses", bad()))), "nothing new");
        let counted = failures.counted();
        assert_eq!((counted["metrics/default"].pods, &*counted["metrics/default"].first), (2, "shop/a"));
        assert!(failures.take(Event::Apply(pod("a", "initContainerStatuses", good()))));
        assert!(failures.take(Event::Delete(pod("b", "initContainerStatuses", bad()))));
        assert!(failures.counted().is_empty());
    }
}
