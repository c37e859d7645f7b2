//! Other operators in the cluster that would reconcile the same pipelines.
//!
//! Replicas of one release share a Lease. A second release, in another namespace or under another name, has a Lease of its
//! own, so both would lead, and undo each other's writes. Every operator's Lease bears one label: who finds an older one
//! that is renewed stands back until that ends, also in the middle of its work, and both tell. Nobody is alone who cannot
//! look.

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
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(3);
/// A Lease that was given back counts as held for twice this, as one that was not: the next replica of a rolling upgrade
/// takes it within seconds, and the duration written in it is that of nobody.
const GIVEN_BACK: SignedDuration = SignedDuration::from_secs(15);

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
    /// The pod that holds it; empty, where one has just given it back.
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

    /// Does `work` whenever no older operator leads, until `stop`; returns early only where `work` does. Where an older one
    /// comes, the work is dropped where it stands.
    pub async fn alone<W: Future<Output = ()>>(&self, stop: &CancellationToken, work: impl Fn() -> W) {
        loop {
            self.until_alone(stop).await;
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                () = work() => return,
                () = self.until_older() => tracing::warn!(action = "lead", "An older operator leads: not reconciling any more"),
            }
        }
    }

    /// Returns when no older operator leads, or when told to stop.
    async fn until_alone(&self, stop: &CancellationToken) {
        let (mut told, mut failing, mut given_time) = (false, false, false);
        loop {
            let wait = match self.look(&mut failing).await {
                None => RETRY,
                Some(rivals) => match rivals.iter().find(|rival| rival.older) {
                    Some(rival) => {
                        if !told {
                            told = true;
                            self.tell(&format!(
                                "{rival} reconciles the pipelines of this cluster already, so this one stands back: \
                                 uninstall one of the two releases"
                            ))
                            .await;
                        }
                        LOOK
                    }
                    // A younger one that leads looks as often, and gives way.
                    None if !rivals.is_empty() && !given_time => {
                        given_time = true;
                        LOOK + RETRY
                    }
                    None => {
                        if told {
                            tracing::info!(action = "lead", "The other operator is gone: reconciling");
                        }
                        return;
                    }
                },
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Returns when an older operator leads; tells of younger ones, which stand back.
    async fn until_older(&self) {
        let (mut known, mut failing) = (Vec::new(), false);
        loop {
            if let Some(rivals) = self.look(&mut failing).await {
                if rivals.iter().any(|rival| rival.older) {
                    return;
                }
                for rival in rivals.iter().filter(|rival| !known.contains(*rival)) {
                    self.tell(&format!(
                        "{rival} would reconcile the same pipelines and stands back: uninstall one of the two releases"
                    ))
                    .await;
                }
                known = rivals;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The others; none where that cannot be seen, which is told when it begins.
    async fn look(&self, failing: &mut bool) -> Option<Vec<Rival>> {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
        match self.leases.list(&ours).await {
            Ok(leases) => {
                *failing = false;
                let rivals = rivals(&leases.items, &self.namespace, &self.lease, Timestamp::now());
                self.telemetry.rivals(rivals.len());
                Some(rivals)
            }
            Err(error) => {
                if !std::mem::replace(failing, true) {
                    tracing::warn!(
                        %error,
                        "Cannot look for other operators, and who does not reconcile yet waits for that: are the chart's \
                         roles of this version installed?"
                    );
                }
                None
            }
        }
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

impl std::fmt::Display for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.holder.as_str() {
            "" => write!(f, "the operator of lease {}", self.lease),
            holder => write!(f, "operator {holder} (lease {})", self.lease),
        }
    }
}

/// The operators other than that of `namespace` and `name` whose Lease is held and was renewed within its duration. Of two
/// Leases of one second, that with the lesser name is the older. A younger one that has given its Lease back is none.
pub fn rivals(leases: &[Lease], namespace: &str, name: &str, now: Timestamp) -> Vec<Rival> {
    let id = |lease: &Lease| (lease.namespace().unwrap_or_default(), lease.name_any());
    let age = |lease: &Lease| (lease.creation_timestamp().map(|time| time.0), id(lease));
    let own = leases.iter().find(|lease| id(lease) == (namespace.to_owned(), name.to_owned()));
    leases
        .iter()
        .filter(|lease| id(lease) != (namespace.to_owned(), name.to_owned()))
        .filter_map(|lease| {
            let spec = lease.spec.as_ref()?;
            let holder = spec.holder_identity.clone().unwrap_or_default();
            let written = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds?));
            let lasts = if holder.is_empty() { GIVEN_BACK } else { written };
            let (namespace, name) = id(lease);
            let older = own.is_none_or(|own| age(lease) < age(own));
            // Twice, as clocks differ: standing back too long is better than two that write.
            let is_there = now.duration_since(spec.renew_time.as_ref()?.0) <= lasts * 2;
            (is_there && (older || !holder.is_empty())).then(|| Rival {
                lease: format!("{namespace}/{name}"),
                holder,
                older,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use serde_json::json;

    use super::*;
    use crate::test_support::{api_server, status};

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
        assert!(of(lease("a", "2026-11-26T08:00:00Z", "2026-11-26T09:59:30.000000Z", "")).is_empty(), "given back");
        assert!(of(lease("b", "2026-11-26T09:30:00Z", "2026-11-26T10:00:09.000000Z", "")).is_empty(), "a younger one");
    }

    #[test]
    fn an_older_one_whose_replicas_follow_each_other_is_still_there() {
        let mut between = lease("a", "2026-11-26T08:00:00Z", "2026-11-26T10:00:05.000000Z", "");
        between.spec.as_mut().expect("a spec").lease_duration_seconds = Some(1);
        let older = of(between);
        assert!(older[0].older);
        assert_eq!(older[0].to_string(), "the operator of lease a/veneur-operator");
    }

    /// An operator of `own` beside what the API server lists; the number of a look, from 0 on, decides.
    fn beside(answer: impl Fn(usize) -> Option<Vec<Lease>> + Clone + Send + 'static) -> (Rivals, Arc<AtomicUsize>) {
        let looks = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&looks);
        let (client, _) = api_server(move |_, path, body| {
            if !path.contains("/leases") {
                return Some((201, body.clone()));
            }
            Some(match answer(count.fetch_add(1, Ordering::SeqCst)) {
                Some(items) => {
                    let own = lease("own", "2026-11-26T09:00:00Z", &Timestamp::now().to_string(), "own-1");
                    let items: Vec<Lease> = items.into_iter().chain([own]).collect();
                    let kind = "LeaseList";
                    (200, json!({"apiVersion": "coordination.k8s.io/v1", "kind": kind, "metadata": {}, "items": items}))
                }
                None => (500, status(500, "etcdserver: leader changed")),
            })
        });
        let events = Events::new(client.clone(), None);
        (Rivals::new(client, "own", "veneur-operator", events, Telemetry::new()), looks)
    }

    fn now(namespace: &str, created: &str) -> Lease {
        lease(namespace, created, &Timestamp::now().to_string(), "other-1")
    }

    const OLDER: &str = "2026-11-26T08:00:00Z";
    const YOUNGER: &str = "2026-11-26T09:30:00Z";

    #[tokio::test(start_paused = true)]
    async fn who_cannot_look_is_not_alone() {
        let (rivals, looks) = beside(|look| (look >= 3).then(Vec::new));
        rivals.until_alone(&CancellationToken::new()).await;
        assert_eq!(looks.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_one_that_comes_back_ends_the_work_until_it_is_gone() {
        // Alone, an error while working, the older one for three looks, alone again.
        let (rivals, looks) = beside(|look| match look {
            0..=2 | 7.. => Some(Vec::new()),
            3 => None,
            _ => Some(vec![now("a", OLDER)]),
        });
        let (begun, stop) = (AtomicUsize::new(0), CancellationToken::new());
        let work = || async {
            if begun.fetch_add(1, Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
        };
        let done = tokio::time::timeout(Duration::from_hours(1), rivals.alone(&stop, work)).await;
        done.expect("the work of the second time ends by itself");
        assert_eq!((begun.load(Ordering::SeqCst), looks.load(Ordering::SeqCst)), (2, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn the_older_one_gives_a_younger_one_that_leads_time_to_see_it() {
        let (rivals, _) = beside(|_| Some(vec![now("b", YOUNGER)]));
        let begun = tokio::time::Instant::now();
        rivals.until_alone(&CancellationToken::new()).await;
        assert!(begun.elapsed() > LOOK, "{:?}", begun.elapsed());
    }
}
