//! The bundle in the webhook configuration, by which the API server knows the webhook: watched by every replica, written
//! by the leader.
//!
//! The chart renders no certificate, and owns every other field. A configuration that is rendered anew gets its bundle
//! back as soon as the watch tells.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher::watch_object},
};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{certificates::authority::Safe, labels::CA_MANAGER, watching::Watching};

/// Wait after a first failure to publish, doubled up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The webhook configuration as last seen.
#[derive(Debug, Clone, Default)]
pub enum Seen {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It does not exist.
    Missing,
    /// It exists.
    Present(Arc<MutatingWebhookConfiguration>),
}

/// The webhook configuration of this name.
#[derive(Clone)]
pub struct Configuration {
    client: Client,
    name: String,
    seen: watch::Sender<Seen>,
    watching: Watching,
}

impl std::fmt::Debug for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Configuration").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Configuration {
    /// Nothing is asked before [`Self::follow`].
    pub fn new(client: Client, name: &str) -> Self {
        Self { client, name: name.to_owned(), seen: watch::Sender::default(), watching: Watching::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration as last seen, and each change of it.
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// How the watch of it does.
    pub fn watching(&self) -> Watching {
        self.watching.clone()
    }

    /// Keeps what is seen current, until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        let events = self.watching.object(|| watch_object(self.api(), &self.name).default_backoff());
        let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
        while let Some(event) = events.next().await {
            match event {
                Ok(Some(found)) => drop(self.seen.send_replace(Seen::Present(Arc::new(found)))),
                Ok(None) => {
                    tracing::warn!(configuration = self.name, "No webhook configuration: no pod reaches the webhook");
                    self.seen.send_replace(Seen::Missing);
                }
                Err(error) => {
                    tracing::warn!(configuration = self.name, %error, "Watching the webhook configuration failed");
                }
            }
        }
    }

    /// Keeps the bundle of every webhook at the keyring's, and takes the keyring's steps, until `stop`; for the leader
    /// alone.
    pub async fn publish(self, safe: Safe, stop: CancellationToken) {
        let (mut keyring, mut seen) = (safe.keyring(), self.seen());
        let mut retry = FIRST_RETRY;
        loop {
            let kept = Arc::clone(&keyring.borrow_and_update().keyring);
            let bundle = kept.bundle();
            let configuration = seen.borrow_and_update().clone();
            let done = async {
                let mut everywhere = None;
                if let Seen::Present(configuration) = &configuration {
                    // Forgetting a predecessor changes the bundle, and takes nothing from the next one's time.
                    let next = kept.next.as_ref().map(|next| next.authority.certificate().pem.as_bytes());
                    everywhere = next.map(|next| each(configuration, |bundle| contains(bundle, next)));
                    if !each(configuration, |published| published == bundle.as_bytes()) {
                        self.apply(configuration, &bundle).await?;
                        tracing::info!(configuration = self.name, "Published the webhook's authority");
                    }
                }
                safe.advance(everywhere).await
            };
            let wait = match done.await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    safe.pace()
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "Cannot keep the webhook's authority, trying again");
                    retry = (retry * 2).min(LONGEST_RETRY);
                    retry / 2
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = keyring.changed() => {}
                Ok(()) = seen.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Only the bundles: every other field stays its owner's.
    async fn apply(&self, configuration: &MutatingWebhookConfiguration, bundle: &str) -> anyhow::Result<()> {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let webhooks = configuration.webhooks.iter().flatten();
        let ours: Vec<_> =
            webhooks.map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}})).collect();
        let body = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.name},
            "webhooks": ours,
        });
        let params = PatchParams::apply(CA_MANAGER).force();
        let applied = self.api().patch(&self.name, &params, &Patch::Apply(body)).await;
        applied.with_context(|| format!("applying the bundle to webhook configuration {}", self.name)).map(drop)
    }

    fn api(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }
}

/// Whether the bundle of every webhook is so.
fn each(configuration: &MutatingWebhookConfiguration, is_so: impl Fn(&[u8]) -> bool) -> bool {
    let bundle = |webhook: &MutatingWebhook| webhook.client_config.ca_bundle.as_ref().is_some_and(|one| is_so(&one.0));
    configuration.webhooks.iter().flatten().all(bundle)
}

fn contains(bundle: &[u8], certificate: &[u8]) -> bool {
    bundle.windows(certificate.len()).any(|part| part == certificate)
}
