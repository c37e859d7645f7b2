//! Which replica writes: leader election by a Lease.
//!
//! Laws: at most one replica leads; one that could not renew stops before another may begin; one that is told to stop
//! gives the Lease back, so that the next begins at once.
//!
//! Clocks are not compared. A Lease of somebody else is over when this replica has watched it unchanged for the duration
//! written in it, by its own monotonic clock; the leader counts from before its last successful write. Every write
//! carries the version that it replaces. Not here: what the leader does.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt as _};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watch_object},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::labels::{FIELD_MANAGER, MANAGED_BY};

/// Between two tries of what failed.
const RETRY: Duration = Duration::from_secs(1);

/// A candidate for a Lease.
#[derive(Clone)]
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
    leading: watch::Sender<bool>,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate").field("name", &self.name).field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What a candidate may do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chance {
    /// Nobody holds it, or its holder is gone.
    Free,
    /// Somebody holds it for this long at least.
    Held(Duration),
}

/// What `me` may do about a Lease that was seen unchanged for `unchanged`.
pub fn chance(spec: Option<&LeaseSpec>, me: &str, unchanged: Duration) -> Chance {
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    // A Lease of this very name is what an earlier process of this pod left.
    if holder.is_empty() || holder == me {
        return Chance::Free;
    }
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    match Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_sub(unchanged) {
        Duration::ZERO => Chance::Free,
        left => Chance::Held(left),
    }
}

impl Candidate {
    /// A candidate called `identity` for the Lease `name`. A leader that is gone without a word is followed by another
    /// after `duration`, in whole seconds.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, duration: Duration) -> Self {
        let leases = Api::namespaced(client, namespace);
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Self { leases, name, identity, duration, leading: watch::Sender::new(false) }
    }

    /// Whether this replica leads, and each change of it.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// Does `work` whenever this replica leads, until `stop`; returns early only where `work` does.
    ///
    /// Work that is told to stop may finish what it is at. Where the Lease is lost it is dropped where it stands.
    pub async fn run<W: Future<Output = ()>>(self, stop: CancellationToken, work: impl Fn(CancellationToken) -> W) {
        loop {
            let Some(lease) = self.elected(&stop).await else { return };
            tracing::info!(lease = self.name, identity = self.identity, "Leading");
            let told = stop.child_token();
            self.leading.send_replace(true);
            let end = self.lead(lease, work(told)).await;
            self.leading.send_replace(false);
            let Some(held) = end else {
                tracing::warn!(lease = self.name, "Lost the lease; not leading any more");
                continue;
            };
            return self.release(&held).await;
        }
    }

    /// Waits for the Lease and takes it; none when told to stop.
    async fn elected(&self, stop: &CancellationToken) -> Option<Held> {
        let mut events = std::pin::pin!(self.events());
        let mut seen: Option<Option<Lease>> = None;
        let mut since = Instant::now();
        loop {
            let next = match &seen {
                None => RETRY,
                Some(lease) => {
                    match chance(lease.as_ref().and_then(|lease| lease.spec.as_ref()), &self.identity, since.elapsed())
                    {
                        Chance::Held(left) => left,
                        Chance::Free => {
                            let started = Instant::now();
                            match self.write(lease.as_ref(), &self.identity, self.duration).await {
                                Ok(lease) => return Some(Held { lease, since: started }),
                                // Somebody was faster: the watch will say who.
                                Err(kube::Error::Api(status)) if status.code == 409 => {}
                                Err(error) => {
                                    tracing::warn!(lease = self.name, %error, "Cannot take the lease, trying again");
                                }
                            }
                            RETRY
                        }
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(next) => {}
                Some(event) = events.next() => match event {
                    Ok(lease) => {
                        let version = |lease: &Option<Lease>| lease.as_ref().and_then(Lease::resource_version);
                        if seen.as_ref().is_none_or(|seen| version(seen) != version(&lease)) {
                            since = Instant::now();
                        }
                        seen = Some(lease);
                    }
                    Err(error) => tracing::warn!(lease = self.name, %error, "Watching the lease failed, trying again"),
                },
            }
        }
    }

    /// Renews while `work` goes on. The Lease where the work ended, none where the Lease was lost before.
    async fn lead(&self, mut held: Held, work: impl Future<Output = ()>) -> Option<Held> {
        let mut work = std::pin::pin!(work);
        loop {
            let renewal = async {
                sleep_until(held.since + self.duration / 3).await;
                self.renew(&held).await
            };
            tokio::select! {
                () = &mut work => return Some(held),
                renewed = renewal => held = renewed?,
            }
        }
    }

    /// The Lease for another while; none when it is lost, or so late that another may soon think so.
    async fn renew(&self, held: &Held) -> Option<Held> {
        let deadline = held.since + self.duration * 2 / 3;
        loop {
            let started = Instant::now();
            match timeout_at(deadline, self.write(Some(&held.lease), &self.identity, self.duration)).await {
                Ok(Ok(lease)) => return Some(Held { lease, since: started }),
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                    return self.still_ours(deadline).await;
                }
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "Cannot renew the lease, trying again"),
                Err(_) => return None,
            }
            timeout_at(deadline, sleep(RETRY)).await.ok()?;
        }
    }

    /// After a conflict: a write of ours whose answer was lost, or somebody's label, is no loss.
    async fn still_ours(&self, deadline: Instant) -> Option<Held> {
        let started = Instant::now();
        let lease = timeout_at(deadline, self.leases.get_opt(&self.name)).await.ok()?.ok()??;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(&self.identity) {
            return None;
        }
        let lease = timeout_at(deadline, self.write(Some(&lease), &self.identity, self.duration)).await.ok()?.ok()?;
        Some(Held { lease, since: started })
    }

    /// Gives the Lease back.
    async fn release(&self, held: &Held) {
        let end = held.since + self.duration;
        match timeout_at(end, self.write(Some(&held.lease), "", Duration::from_secs(1))).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "Gave the lease back"),
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "Cannot give the lease back; it will run out"),
            Err(_) => tracing::warn!(lease = self.name, "Cannot give the lease back in time; it will run out"),
        }
    }

    /// Writes the Lease in place of the one that was seen.
    async fn write(&self, seen: Option<&Lease>, holder: &str, duration: Duration) -> kube::Result<Lease> {
        let now = MicroTime(Timestamp::now());
        let old = seen.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let same = old.holder_identity.as_deref() == Some(holder);
        let taken = !same && !holder.is_empty();
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if taken { Some(now.clone()) } else { old.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(taken)),
            ..LeaseSpec::default()
        };
        let Some(seen) = seen else {
            // By the label other operators find it.
            let labels = BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())]);
            let metadata = ObjectMeta { name: Some(self.name.clone()), labels: Some(labels), ..ObjectMeta::default() };
            return self.leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await;
        };
        let lease = Lease { metadata: seen.metadata.clone(), spec: Some(spec) };
        self.leases.replace(&self.name, &PostParams::default(), &lease).await
    }

    fn events(&self) -> impl Stream<Item = watcher::Result<Option<Lease>>> + Send + use<> {
        watch_object(self.leases.clone(), &self.name).default_backoff()
    }
}

/// A Lease that this replica holds, counted from before the write that says so.
struct Held {
    lease: Lease,
    since: Instant,
}

#[cfg(test)]
mod tests;
