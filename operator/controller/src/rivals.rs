//! Other operators in the cluster that would reconcile the same pipelines.
//!
//! Replicas of one release share a Lease. A second release, in another namespace or under another name, has a Lease of its
//! own, so both would lead, and undo each other's writes. Every operator's Lease bears one label: who finds an older one
//! that is renewed stands back until that ends, and both tell.

use std::time::Duration;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ObjectReference},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use tokio_util::sync::CancellationToken;

use crate::{
    events::{Events, Told},
    labels::{FIELD_MANAGER, MANAGED_BY},
    telemetry::Telemetry,
};

/// How often it is looked. A Lease runs out in 15 s.
const LOOK: Duration = Duration::from_secs(15);

/// Looks for others.
#[derive(Clone)]
pub struct Rivals {
    leases: Api<Lease>,
    namespace: String,
    lease: String,
    events: Events,
    telemetry: Telemetry,
}

impl std::fmt::Debug for Rivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rivals").field("namespace", &self.namespace).field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// Another operator that leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Namespace and name of its Lease.
    pub lease: String,
    /// The pod that holds it.
    pub holder: String,
    /// Whether it was there before this one.
    pub older: bool,
}

impl Rivals {
    /// For the operator with this Lease.
    pub fn new(client: Client, namespace: &str, lease: &str, events: Events, telemetry: Telemetry) -> Self {
        let (namespace, lease) = (namespace.to_owned(), lease.to_owned());
        Self { leases: Api::all(client), namespace, lease, events, telemetry }
    }

    /// Returns when no older operator leads, or when told to stop.
    pub async fn until_alone(&self, stop: &CancellationToken) {
        let mut told = false;
        loop {
            let older = self.look().await.into_iter().find(|rival| rival.older);
            let Some(rival) = older else {
                if told {
                    tracing::info!(action = "lead", "The other operator is gone: reconciling");
                }
                return;
            };
            if !told {
                told = true;
                self.tell(&format!(
                    "operator {} (lease {}) reconciles the pipelines of this cluster already, so this one stands back: \
                     uninstall one of the two releases",
                    rival.holder, rival.lease
                ))
                .await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Tells of younger ones that stand back, until told to stop.
    pub async fn watch(self, stop: CancellationToken) {
        let mut known = Vec::new();
        loop {
            let rivals = self.look().await;
            for rival in rivals.iter().filter(|rival| !known.contains(*rival)) {
                self.tell(&format!(
                    "operator {} (lease {}) would reconcile the same pipelines and stands back: uninstall one of the two \
                     releases",
                    rival.holder, rival.lease
                ))
                .await;
            }
            known = rivals;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Vec<Rival> {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
        let rivals = match self.leases.list(&ours).await {
            Ok(leases) => rivals(&leases.items, &self.namespace, &self.lease, Timestamp::now()),
            Err(error) => {
                tracing::warn!(%error, "Cannot look for other operators: install the chart's roles of this version");
                Vec::new()
            }
        };
        self.telemetry.rivals(rivals.len());
        rivals
    }

    async fn tell(&self, note: &str) {
        tracing::warn!(namespace = self.namespace, lease = self.lease, "Not alone: {note}");
        let lease = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.lease.clone()),
            ..ObjectReference::default()
        };
        let told = Told { warning: true, reason: "AnotherOperator".to_owned(), note: note.to_owned() };
        self.events.tell_of(&lease, "Reconcile", &[told]).await;
    }
}

/// The operators other than that of `namespace` and `name` whose Lease is held and was renewed within its duration. Of two
/// Leases of one second, that with the lesser name is the older.
pub fn rivals(leases: &[Lease], namespace: &str, name: &str, now: Timestamp) -> Vec<Rival> {
    let id = |lease: &Lease| (lease.namespace().unwrap_or_default(), lease.name_any());
    let age = |lease: &Lease| (lease.creation_timestamp().map(|time| time.0), id(lease));
    let own = leases.iter().find(|lease| id(lease) == (namespace.to_owned(), name.to_owned()));
    leases
        .iter()
        .filter(|lease| id(lease) != (namespace.to_owned(), name.to_owned()))
        .filter_map(|lease| {
            let spec = lease.spec.as_ref()?;
            let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
            let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds?));
            let (namespace, name) = id(lease);
            // Twice, as clocks differ: standing back too long is better than two that write.
            (now.duration_since(spec.renew_time.as_ref()?.0) <= lasts * 2).then(|| Rival {
                lease: format!("{namespace}/{name}"),
                holder,
                older: own.is_none_or(|own| age(lease) < age(own)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(namespace: &str, created: &str, renewed: &str, holder: &str) -> Lease {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": "veneur-operator", "creationTimestamp": created},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
        }))
        .expect("a lease")
    }

    fn of(other: Lease) -> Vec<Rival> {
        let own = lease("own", "2026-11-26T09:00:00Z", "2026-11-26T10:00:00.000000Z", "own-1");
        let now = "2026-11-26T10:00:10Z".parse().expect("a time");
        rivals(&[own, other], "own", "veneur-operator", now)
    }

    #[test]
    fn the_older_of_two_operators_goes_on_and_the_other_stands_back() {
        let older = of(lease("a", "2026-11-26T08:00:00Z", "2026-11-26T10:00:05.000000Z", "a-1"));
        assert_eq!(older, [Rival { lease: "a/veneur-operator".to_owned(), holder: "a-1".to_owned(), older: true }]);
        let younger = of(lease("b", "2026-11-26T09:30:00Z", "2026-11-26T10:00:05.000000Z", "b-1"));
        assert!(!younger[0].older);
        let twin = of(lease("zzz", "2026-11-26T09:00:00Z", "2026-11-26T10:00:05.000000Z", "z-1"));
        assert!(!twin[0].older, "of one second: by name, so that exactly one of them goes on");
    }

    #[test]
    fn one_that_is_gone_is_no_rival() {
        assert!(of(lease("a", "2026-11-26T08:00:00Z", "2026-11-26T09:59:00.000000Z", "a-1")).is_empty(), "not renewed");
        assert!(of(lease("a", "2026-11-26T08:00:00Z", "2026-11-26T10:00:05.000000Z", "")).is_empty(), "given back");
    }
}
