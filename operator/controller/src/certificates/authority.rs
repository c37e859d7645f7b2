//! Where a keyring is kept: one Secret in the operator's namespace, which every replica follows.
//!
//! Whichever replica comes first creates the Secret; the others lose the race to create it and read it. From then on
//! only the leader writes it, and only the version that it has read, so that two leaders could not undo each other's
//! steps.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    certificates::keyring::{Keyring, Lifetimes, pace, step},
    labels::{FIELD_MANAGER, MANAGED_BY},
};

/// A keyring in its Secret.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The authorities.
    pub keyring: Arc<Keyring>,
    /// The Secret's version; none where it was deleted since.
    version: Option<String>,
}

/// The Secret of one keyring, and what every replica knows of it.
#[derive(Clone)]
pub struct Safe {
    client: Client,
    namespace: String,
    name: String,
    subject: &'static str,
    lifetimes: Lifetimes,
    kept: watch::Sender<Kept>,
}

impl std::fmt::Debug for Safe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Safe").field("namespace", &self.namespace).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Safe {
    /// Reads the Secret, or makes the one that all replicas will read.
    pub async fn open(
        client: Client,
        namespace: &str,
        name: &str,
        subject: &'static str,
        lifetimes: Lifetimes,
    ) -> anyhow::Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let found = secrets.get_opt(name).await.with_context(|| format!("reading secret {namespace}/{name}"))?;
        let kept = if let Some(found) = found {
            read(&found, subject)?
        } else {
            let keyring = Keyring::found(subject, SystemTime::now(), &lifetimes)?;
            match secrets.create(&PostParams::default(), &secret(name, &keyring, None)).await {
                Ok(created) => {
                    tracing::info!(%namespace, secret = name, "Created an authority");
                    Kept { keyring: Arc::new(keyring), version: created.resource_version() }
                }
                Err(kube::Error::Api(status)) if status.code == 409 => read(&secrets.get(name).await?, subject)?,
                Err(error) => return Err(error).with_context(|| format!("creating secret {namespace}/{name}")),
            }
        };
        let (kept, _) = watch::channel(kept);
        Ok(Self { client, namespace: namespace.to_owned(), name: name.to_owned(), subject, lifetimes, kept })
    }

    /// The authorities as last read, and each change of them.
    pub fn keyring(&self) -> watch::Receiver<Kept> {
        self.kept.subscribe()
    }

    /// How long its authorities and leaves last.
    pub fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// Keeps what is known as the Secret is, until `stop`.
    pub async fn follow(self, stop: CancellationToken) {
        let fields = format!("metadata.name={}", self.name);
        let events = watcher(self.secrets(), watcher::Config::default().fields(&fields)).default_backoff();
        let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => {
                    match read(&found, self.subject) {
                        Ok(kept) => self.learnt(kept),
                        Err(error) => {
                            tracing::error!(error = format!("{error:#}"), "Going on with the authority known before");
                        }
                    }
                }
                Ok(watcher::Event::Delete(_)) => {
                    tracing::warn!(
                        namespace = self.namespace,
                        secret = self.name,
                        "Secret deleted; the leader restores it"
                    );
                    self.kept.send_modify(|kept| kept.version = None);
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => {
                    tracing::warn!(secret = self.name, %error, "Watching the authority's secret failed, trying again");
                }
            }
        }
    }

    fn learnt(&self, kept: Kept) {
        self.kept.send_if_modified(|known| {
            let news = known.version != kept.version;
            if news {
                *known = kept;
            }
            news
        });
    }

    /// Takes the step that is due, if any; for the leader alone. `everywhere` as in [`step`].
    pub async fn advance(&self, everywhere: Option<bool>) -> anyhow::Result<()> {
        let Kept { keyring, version } = self.kept.borrow().clone();
        let now = SystemTime::now();
        let due = step(keyring.ends(), everywhere, now, &self.lifetimes);
        let after = match due {
            Some(step) => Arc::new(keyring.after(step, self.subject, now, &self.lifetimes)?),
            None if version.is_none() => keyring,
            None => return Ok(()),
        };
        let object = secret(&self.name, &after, version.as_deref());
        let written = if version.is_some() {
            self.secrets().replace(&self.name, &PostParams::default(), &object).await
        } else {
            self.secrets().create(&PostParams::default(), &object).await
        };
        match written {
            Ok(written) => {
                tracing::info!(secret = self.name, step = ?due, "Authority's secret written");
                self.learnt(Kept { keyring: after, version: written.resource_version() });
                Ok(())
            }
            // Somebody else wrote it: the watch will say what.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.kept.send_modify(|kept| kept.version = None);
                Ok(())
            }
            Err(error) => Err(error).with_context(|| format!("writing secret {}/{}", self.namespace, self.name)),
        }
    }

    /// How long to wait before it is asked again whether a step is due.
    pub fn pace(&self) -> Duration {
        let expires = self.kept.borrow().keyring.ends().current;
        pace(&self.lifetimes, expires.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn secret(name: &str, keyring: &Keyring, version: Option<&str>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())])),
            resource_version: version.map(str::to_owned),
            ..ObjectMeta::default()
        },
        data: Some(keyring.to_data()),
        ..Secret::default()
    }
}

fn read(object: &Secret, subject: &'static str) -> anyhow::Result<Kept> {
    let keyring = Keyring::from_data(subject, object.data.as_ref().unwrap_or(&BTreeMap::new()));
    let keyring = keyring.with_context(|| {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        format!("secret {namespace}/{name} holds no usable authority; `kubectl -n {namespace} delete secret {name}`, and it is made anew")
    })?;
    Ok(Kept { keyring: Arc::new(keyring), version: object.resource_version() })
}

#[cfg(test)]
mod tests;
