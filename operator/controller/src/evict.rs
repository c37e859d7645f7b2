//! Pods that the webhook has not seen are evicted, where their pipeline says so: their controller makes them anew, and the
//! webhook sees those.
//!
//! Through the Eviction API, so that disruption budgets hold: a refusal is waited for. One pod of a workload at a time;
//! and where its successor is missed too, the webhook is the cause, and each further try waits twice as long.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::EvictParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use veneur_operator_api::{Management, OnMissed, VeneurPipeline};

use crate::{
    feeds::Key,
    injection::path,
    live::Live,
    pipelines::Pipelines,
    pods::{Missed, Pods},
    reconcile::apply::Permission,
};

/// Between two evictions of any pods.
const PACE: Duration = Duration::from_secs(1);
/// Between two evictions of one workload's pods; doubled each time that a successor is missed too.
const WORKLOAD_PACE: Duration = Duration::from_secs(15);
/// Most of that.
const LONGEST_PACE: Duration = Duration::from_hours(1);
/// A workload that was let alone for so long is forgotten.
const MEMORY: Duration = Duration::from_hours(3);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the operator may evict, as far as it has tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Permitted {
    /// Yes, or it was not tried.
    #[default]
    Yes,
    /// No: its role lacks it.
    No,
}

/// Evicts until `stop`. Whether that is permitted is told, and the pipelines that it concerns are looked at.
pub async fn run(
    client: Client,
    mut pods: Pods,
    pipelines: Pipelines,
    permitted: watch::Sender<Permitted>,
    live: Arc<Live>,
    stop: CancellationToken,
) {
    let mut workloads = Workloads::default();
    let work = async {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                more = pods.changed() => if !more { return },
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            if now < next {
                continue;
            }
            let snapshot = pods.snapshot();
            let wanted = pipelines.with(evicting);
            let candidates = snapshot.missed.iter().filter(|pod| wanted.contains(&pod.pipeline));
            let Some(pod) = workloads.choose(candidates, now) else {
                next = now + WORKLOAD_PACE;
                continue;
            };
            workloads.tried(pod, now, unix_seconds());
            if let Some(now) = evict(&client, pod).await
                && permitted.send_replace(now) != now
            {
                for pipeline in wanted.iter().filter_map(|pipeline| Key::parse(pipeline)) {
                    live.wake(pipeline).await;
                }
            }
            next = Instant::now() + PACE;
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Pipelines, `NAMESPACE/NAME`, whose missed pods are to go.
fn evicting(pipelines: &[&VeneurPipeline]) -> Vec<String> {
    pipelines.iter().filter(|pipeline| evicts(pipeline)).map(|pipeline| path(pipeline)).collect()
}

/// Whether the missed pods of a pipeline are to go.
pub fn evicts(pipeline: &VeneurPipeline) -> bool {
    pipeline.spec.injection.on_missed == OnMissed::Evict && pipeline.spec.management == Management::Managed
}

/// Evicts a pod; whether that is permitted, if the answer says so.
async fn evict(client: &Client, pod: &Missed) -> Option<Permitted> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace);
    let (namespace, name, workload, action) = (&*pod.namespace, &*pod.name, &*pod.workload, "evict");
    match timeout(PATIENCE, api.evict(name, &EvictParams::default())).await {
        Ok(Ok(_)) => {
            tracing::info!(namespace, pod = name, workload, action, pipeline = pod.pipeline, "Missed pod evicted");
            Some(Permitted::Yes)
        }
        // A disruption budget, for now; the next turn asks again.
        Ok(Err(kube::Error::Api(status))) if status.code == 429 => {
            tracing::info!(
                namespace,
                pod = name,
                workload,
                action,
                why = status.message,
                "Missed pod is not evicted yet"
            );
            Some(Permitted::Yes)
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
        Ok(Err(error)) => {
            tracing::warn!(namespace, pod = name, workload, action, %error, "Missed pod cannot be evicted");
            refused(&error).then_some(Permitted::No)
        }
        Err(_) => {
            tracing::warn!(
                namespace,
                pod = name,
                workload,
                action,
                "Missed pod: the API server did not answer in time"
            );
            None
        }
    }
}

/// Whether the operator's role is what refuses. Another webhook that denies it answers with the same code.
fn refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && Permission::missing_in(&status.message).is_some())
}

/// When each workload may be tried again.
#[derive(Debug, Default)]
struct Workloads(HashMap<(Arc<str>, Arc<str>), Tried>);

#[derive(Debug, Clone, Copy)]
struct Tried {
    at: Instant,
    /// The same in Unix seconds, to compare with when pods were made.
    at_unix: i64,
    pace: Duration,
}

impl Workloads {
    /// A pod of a workload whose turn it is. A pod without a controller would be gone for good, and with a Job's the work
    /// that it has done, perhaps the Job.
    fn choose<'a>(&mut self, mut missed: impl Iterator<Item = &'a Missed>, now: Instant) -> Option<&'a Missed> {
        self.0.retain(|_, tried| now.duration_since(tried.at) < MEMORY);
        missed.find(|pod| {
            let made_anew = pod.owned && !pod.workload.starts_with("Job/");
            made_anew && self.0.get(&key(pod)).is_none_or(|tried| now.duration_since(tried.at) >= tried.pace)
        })
    }

    fn tried(&mut self, pod: &Missed, now: Instant, now_unix: i64) {
        let before = self.0.get(&key(pod)).copied();
        let pace = match before {
            Some(tried) if pod.created >= tried.at_unix => (tried.pace * 2).min(LONGEST_PACE),
            Some(tried) => tried.pace,
            None => WORKLOAD_PACE,
        };
        self.0.insert(key(pod), Tried { at: now, at_unix: now_unix, pace });
    }
}

fn key(pod: &Missed) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&pod.namespace), Arc::clone(&pod.workload))
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{api_server, status};

    fn missed(workload: &str, name: &str, created: i64, owned: bool) -> Missed {
        Missed {
            namespace: "shop".into(),
            workload: workload.into(),
            name: name.into(),
            owned,
            created,
            pipeline: "metrics/default".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_missing_permission_is_told_from_a_refusal() {
        let said = "pods \"a1\" is forbidden: User \"u\" cannot create resource \"pods/eviction\" in API group \"\" in the \
                    namespace \"shop\"";
        let denied = "admission webhook \"guard\" denied the request";
        for (code, message, expected) in [
            (201, "", Some(Permitted::Yes)),
            (403, said, Some(Permitted::No)),
            (403, denied, None),
            (429, "a disruption budget", Some(Permitted::Yes)),
            (404, "gone", None),
        ] {
            let (client, _) = api_server(move |_, _, _| Some((code, status(code, message))));
            assert_eq!(evict(&client, &missed("a", "a1", 0, true)).await, expected, "{code} {message}");
        }
    }

    #[test]
    fn a_workload_loses_one_pod_at_a_time_and_the_others_have_their_turn() {
        let (mut workloads, now) = (Workloads::default(), Instant::now());
        let all = [
            missed("Pod/bare", "bare", 0, false),
            missed("Job/j", "j", 0, true),
            missed("a", "a1", 0, true),
            missed("a", "a2", 0, true),
        ];
        let other = [missed("b", "b1", 0, true)];
        let mut names = Vec::new();
        for step in 0..4 {
            let now = now + Duration::from_secs(step);
            if let Some(pod) = workloads.choose(all.iter().chain(&other), now) {
                names.push(pod.name.to_string());
                workloads.tried(pod, now, 100);
            }
        }
        assert_eq!(names, ["a1", "b1"]);
        let later = workloads.choose(all[3..].iter(), now + WORKLOAD_PACE).map(|pod| pod.name.to_string());
        assert_eq!(later.as_deref(), Some("a2"));
    }

    #[test]
    fn where_successors_are_missed_too_each_try_waits_twice_as_long() {
        let (mut workloads, mut now, mut tries) = (Workloads::default(), Instant::now(), 0);
        let begun = now;
        // The pod is made anew at once, every time, and missed every time.
        while now < begun + Duration::from_hours(6) {
            let unix = i64::try_from(now.duration_since(begun).as_secs()).expect("small");
            let pod = missed("a", "again", unix, true);
            if let Some(pod) = workloads.choose([&pod].into_iter(), now) {
                workloads.tried(pod, now, unix);
                tries += 1;
            }
            now += Duration::from_secs(5);
        }
        assert!((8..=20).contains(&tries), "{tries} evictions within six hours");
    }
}
