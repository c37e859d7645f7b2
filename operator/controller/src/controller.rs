//! What wakes a reconciliation.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, Resource as _,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{self, Config},
        predicates,
        reflector::{self, ObjectRef},
        utils::PredicateConfig,
        watcher,
    },
};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    feeds::{self, Key, differing},
    pods::Snapshot,
    reconcile::{self, Watched},
};

/// Pipelines reconciled at a time.
const CONCURRENCY: u16 = 8;
/// A rollout changes its Deployment many times a second; one look is enough.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Reconciles pipelines, until `stop`; what is under way is finished. Starts when the objects of all pipelines are known:
/// before, everything would look as if it were missing.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let woken = context.live.wakes();
    tokio::select! {
        () = context.live.settled() => {}
        () = stop.cancelled() => return,
    }
    tracing::info!(action = "start", "Reconciling: the objects of all pipelines are known");
    let (store, writer) = reflector::store();
    let pipelines = pipelines(context.client.clone()).reflect(writer).applied_objects();
    // A status is written by nobody else, and writing it is no reason to look again.
    let changed = pipelines.predicate_filter(predicates::generation, PredicateConfig::default());
    let injection =
        WatchStream::from_changes(context.feeds.pods.clone()).scan(Arc::<Snapshot>::default(), |before, now| {
            let changed = if before.listed { differing(before, &now) } else { Vec::new() };
            *before = now;
            futures::future::ready(Some(futures::stream::iter(changed)))
        });
    // When a certificate ends is no news to a pipeline; whether the webhook is reached is.
    let webhook = WatchStream::from_changes(context.feeds.webhook.clone()).scan(None, |before, now| {
        let now = feeds::webhook(&now);
        let news = *before != now;
        *before = now;
        futures::future::ready(Some(futures::stream::iter(news.then_some(()))))
    });
    // Before they were counted, the pods of no pipeline were known.
    let counted = context.feeds.pods.borrow().listed;
    let counted = WatchStream::from_changes(context.feeds.pods.clone()).scan(counted, |before, now| {
        let news = now.listed && !std::mem::replace(before, now.listed);
        futures::future::ready(Some(futures::stream::iter(news.then_some(()))))
    });
    let refusals = context.feeds.refusals();
    Controller::for_stream(changed, store)
        .reconcile_on(ReceiverStream::new(woken).map(|key| reference(&key)))
        .reconcile_on(injection.flatten().map(|key| reference(&key)))
        .reconcile_all_on(webhook.flatten())
        .reconcile_all_on(counted.flatten())
        .reconcile_all_on(refusals)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile::reconcile, |watched, error, context| reconcile::retry(&watched, error, &context), context)
        .for_each(|result| async {
            if let Err(error) = result
                && is_news(&error)
            {
                tracing::warn!(%error, "Watching failed, trying again");
            }
        })
        .await;
}

/// All pipelines as they change, without what nobody here reads.
pub fn pipelines(client: Client) -> impl Stream<Item = watcher::Result<watcher::Event<Watched>>> + Send {
    watcher(Api::<Watched>::all(client), watcher::Config::default())
        .modify(|pipeline| pipeline.meta_mut().managed_fields = None)
        .default_backoff()
}

fn reference(key: &Key) -> ObjectRef<Watched> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

/// Whether nobody else reports it. A reconciliation's own failure is reported where its wait is chosen; that a pipeline
/// is gone when its turn comes is how each deletion ends.
fn is_news<R: std::error::Error, Q: std::error::Error>(error: &controller::Error<R, Q>) -> bool {
    !matches!(error, controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(..))
}

#[cfg(test)]
mod tests;
