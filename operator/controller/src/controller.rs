//! What wakes a reconciliation.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        Controller,
        controller::{self, Config},
        reflector::ObjectRef,
        watcher,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    labels::{FIELD_MANAGER, PIPELINE, ROLE},
    reconcile::{self, Watched},
};

/// Pipelines reconciled at a time.
const CONCURRENCY: u16 = 8;
/// A rollout changes its Deployment many times a second; one look is enough.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// The watches on pipelines and on what belongs to them.
pub struct Watches(Controller<Watched>);

impl std::fmt::Debug for Watches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watches")
    }
}

impl Watches {
    /// Prepares the watches; nothing is asked before [`Self::run`].
    pub fn new(context: &Context) -> Self {
        let client = &context.client;
        let ours =
            watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER},{PIPELINE}"));
        let tier_pods =
            watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER},{ROLE}"));
        let controller = Controller::new(Api::<Watched>::all(client.clone()), watcher::Config::default())
            .owns(Api::<Deployment>::all(client.clone()), ours.clone())
            .owns(Api::<Service>::all(client.clone()), ours.clone())
            .owns(Api::<ConfigMap>::all(client.clone()), ours.clone())
            .owns(Api::<ServiceAccount>::all(client.clone()), ours.clone())
            .owns(Api::<Role>::all(client.clone()), ours.clone())
            .owns(Api::<RoleBinding>::all(client.clone()), ours)
            // Why a pod does not start is said by the pod, not by its Deployment.
            .watches(Api::<Pod>::all(client.clone()), tier_pods, |pod| {
                let name = pod.labels().get(PIPELINE)?;
                Some(ObjectRef::new(name).within(pod.namespace().as_deref()?))
            })
            .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE));
        Self(controller)
    }

    /// Reconciles until `stop`; what is under way is finished.
    pub async fn run(self, context: Arc<Context>, stop: CancellationToken) {
        self.0
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
}

/// Whether nobody else reports it. A reconciliation's own failure is reported where its wait is chosen; that a pipeline
/// is gone when its turn comes is how each deletion ends.
fn is_news<R: std::error::Error, Q: std::error::Error>(error: &controller::Error<R, Q>) -> bool {
    !matches!(error, controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(..))
}

#[cfg(test)]
mod tests;
