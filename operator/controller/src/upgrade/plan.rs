//! Which pods are next.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Allowed, Workload, workload};
use crate::pods::Outdated;

/// Exchanges under way at a time, of all workloads.
const MOST_UNDER_WAY: usize = 50;
/// Failures in a row after which a workload is left alone.
const MOST_FAILURES: u32 = 2;
/// For so long.
const LEFT_ALONE: Duration = Duration::from_mins(10);

/// What is under way, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Progress {
    under_way: HashMap<Workload, HashSet<Box<str>>>,
    failures: HashMap<Workload, (u32, Instant)>,
    /// Pods whose exchange has ended well, until that is counted.
    settled: HashSet<Place>,
}

impl Progress {
    /// Pods to begin with, of those of pipelines that are ready for it; they count as under way.
    pub(super) fn next(&mut self, outdated: &[Outdated], upgrading: &HashMap<String, Allowed>) -> Vec<Outdated> {
        let now = Instant::now();
        self.failures.retain(|_, (_, at)| now.duration_since(*at) < LEFT_ALONE);
        let unsettled: HashSet<Place> = outdated.iter().filter(|pod| *pod.image == *pod.wanted).map(place).collect();
        self.settled.retain(|pod| unsettled.contains(pod));
        let mut free = MOST_UNDER_WAY.saturating_sub(self.under_way.values().map(HashSet::len).sum());
        let mut next = Vec::new();
        for pod in outdated {
            let Some(allowed) = upgrading.get(&pod.pipeline) else { continue };
            let workload = workload(pod);
            let failures = self.failures.get(&workload).map_or(0, |(count, _)| *count);
            // After a failure the next one goes alone.
            let most = if failures == 0 { allowed.at_a_time } else { 1 };
            let busy = self.under_way.get(&workload);
            let is_free = busy.is_none_or(|busy| busy.len() < most && !busy.contains(&pod.name));
            let is_wanted = allowed.image.as_ref().is_none_or(|image| *image == pod.wanted);
            if free == 0 || !is_wanted || failures >= MOST_FAILURES || !is_free || self.settled.contains(&place(pod)) {
                continue;
            }
            self.under_way.entry(workload).or_default().insert(pod.name.clone());
            free -= 1;
            next.push(pod.clone());
        }
        next
    }

    /// One ended; whether its workload is left alone from now on.
    pub(super) fn ended(&mut self, pod: &Outdated, well: bool) -> bool {
        let workload = workload(pod);
        if let Some(busy) = self.under_way.get_mut(&workload) {
            busy.remove(&pod.name);
            if busy.is_empty() {
                self.under_way.remove(&workload);
            }
        }
        if well {
            self.settled.insert(place(pod));
            self.failures.remove(&workload);
            return false;
        }
        let (count, at) = self.failures.entry(workload).or_insert((0, Instant::now()));
        (*count, *at) = (*count + 1, Instant::now());
        *count == MOST_FAILURES
    }
}

/// Namespace and name of a pod.
type Place = (Arc<str>, Box<str>);

fn place(pod: &Outdated) -> Place {
    (Arc::clone(&pod.namespace), pod.name.clone())
}

#[cfg(test)]
impl Progress {
    pub(super) fn busy(&self, namespace: &str, name: &str) -> usize {
        let key: Workload = (namespace.into(), name.into());
        self.under_way.get(&key).map_or(0, HashSet::len)
    }
}
