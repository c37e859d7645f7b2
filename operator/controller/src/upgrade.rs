//! A new image reaches the sidecars of running pods: the image in the pod is exchanged, and the kubelet restarts that
//! container and no other.
//!
//! Last of all tiers: a sidecar may be older than what it sends to, never newer. Of each workload some pods at a time, each
//! until its sidecar runs again; where it does not, its old image comes back, and after two in a row the workload is left
//! alone for a while. The pod itself says to what it goes back, so that a leader ends what another has begun.

mod exchange;
mod plan;

use std::{collections::HashMap, sync::Arc, time::Duration};

use kube::{Client, Resource as _};
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;
use veneur_operator_api::{ImageUpgrade, Management, VeneurPipeline};

use crate::{
    events::{Events, Told},
    injection::{path, rolled_out},
    pipelines::Pipelines,
    pods::{Outdated, Pods},
};
use plan::Progress;

/// Between two looks, where nothing changes: a pipeline's tiers may have become ready.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Upgrades until `stop`.
pub async fn run(client: Client, events: Events, mut pods: Pods, pipelines: Pipelines, stop: CancellationToken) {
    let mut progress = Progress::default();
    let mut under_way = JoinSet::new();
    let work = async {
        let mut look = interval(LOOK_AGAIN);
        loop {
            tokio::select! {
                more = pods.changed() => if !more { return },
                _ = look.tick() => {}
                Some(ended) = under_way.join_next() => match ended {
                    Ok((pod, result)) => settle(&events, &pipelines, &mut progress, &pod, result).await,
                    Err(error) => tracing::error!(%error, "Exchanging an image panicked"),
                }
            }
            let snapshot = pods.snapshot();
            if snapshot.outdated.is_empty() {
                continue;
            }
            let upgrading = pipelines.with(upgrading);
            for pod in progress.next(&snapshot.outdated, &upgrading) {
                let client = client.clone();
                under_way.spawn(async move {
                    let result = Box::pin(exchange::exchange(&client, &pod)).await;
                    (pod, result)
                });
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// What a pipeline's sidecars may do now.
#[derive(Debug, PartialEq, Eq)]
struct Allowed {
    /// The image they may take; `None`, where the pipeline has no tiers to wait for: any.
    image: Option<String>,
    /// So many of a workload at a time.
    at_a_time: usize,
}

/// Pipelines, `NAMESPACE/NAME`, whose tiers are done.
fn upgrading(pipelines: &[&VeneurPipeline]) -> HashMap<String, Allowed> {
    let wanted = pipelines.iter().filter(|pipeline| {
        pipeline.spec.sidecar.upgrade.image == ImageUpgrade::InPlace && pipeline.spec.management == Management::Managed
    });
    wanted
        .filter_map(|pipeline| {
            let at_a_time = usize::try_from(pipeline.spec.sidecar.upgrade.max_concurrent).unwrap_or(1).max(1);
            let image = image_of_tiers(pipeline).ok()?;
            Some((path(pipeline), Allowed { image, at_a_time }))
        })
        .collect()
}

/// Some tier does not run the image that another runs in full, or the status is of an older spec.
#[derive(Debug, PartialEq, Eq)]
struct NotDone;

/// The image that all globals and proxies of a pipeline run; none, where it has neither.
fn image_of_tiers(pipeline: &VeneurPipeline) -> Result<Option<String>, NotDone> {
    let status = pipeline.status.as_ref().ok_or(NotDone)?;
    if status.observed_generation != pipeline.metadata.generation {
        return Err(NotDone);
    }
    if !pipeline.spec.global.enabled && !pipeline.spec.proxy.enabled {
        return Ok(None);
    }
    // Not from the tiers' counts: those may still be of a Deployment's spec before.
    rolled_out(pipeline).map(|image| Some(image.to_owned())).ok_or(NotDone)
}

/// Takes note of how an exchange ended. A workload that is left alone from now on is told of.
async fn settle(
    events: &Events,
    pipelines: &Pipelines,
    progress: &mut Progress,
    pod: &Outdated,
    result: Result<(), exchange::ExchangeError>,
) {
    let (namespace, name, workload, action) = (&*pod.namespace, &*pod.name, &*pod.workload, "upgrade");
    match &result {
        Ok(()) => {
            tracing::info!(namespace, pod = name, workload, action, image = pod.wanted, "Sidecar upgraded in place");
        }
        Err(error) => {
            tracing::warn!(namespace, pod = name, workload, action, image = pod.wanted, %error, "Sidecar not upgraded");
        }
    }
    let Err(error) = &result else {
        progress.ended(pod, true);
        return;
    };
    // A pod that ended meanwhile says nothing of the image.
    let harmless = matches!(error, exchange::ExchangeError::Gone);
    if progress.ended(pod, harmless) {
        let note = format!(
            "Sidecars of {namespace}/{workload} are not upgraded to {} for now: {error}. They keep their old image; tried \
             again in ten minutes",
            pod.wanted
        );
        tell(events, pipelines, pod, note).await;
    }
}

/// An event on the pod's pipeline.
async fn tell(events: &Events, pipelines: &Pipelines, pod: &Outdated, note: String) {
    let regarding = pipelines.with(|pipelines| {
        let own = pipelines.iter().find(|pipeline| path(pipeline) == pod.pipeline);
        own.map(|pipeline| pipeline.object_ref(&()))
    });
    let Some(regarding) = regarding else { return };
    let told = Told { warning: true, reason: "RestartLimited".to_owned(), note };
    events.tell_of(&regarding, "UpgradeSidecars", &[told]).await;
}

/// Pods of one workload share this.
type Workload = (Arc<str>, Arc<str>);

fn workload(pod: &Outdated) -> Workload {
    (Arc::clone(&pod.namespace), Arc::clone(&pod.workload))
}

#[cfg(test)]
mod tests;
