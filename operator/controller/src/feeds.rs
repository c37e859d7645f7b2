//! What other tasks tell the reconciliation: pods that ask for a sidecar, and whether the webhook is reached.
//!
//! Each is a `watch`, so that only the newest counts and nobody waits. A change of either wakes the pipelines it is
//! about. Until a task has spoken, the conditions say that nothing was observed, or who may not look.

use std::sync::Arc;

use futures::{Stream, stream};
use tokio::sync::watch;
use veneur_operator_api::{InjectionReason, InjectionStatus, VeneurPipeline, WebhookReason};

use crate::{
    evict::{Permitted, evicts},
    injection::{cluster_default, id, path},
    pipelines::Pipelines,
    pods::{Counts, Snapshot},
    probe::Probe,
    reconcile::apply::Permission,
    watching::Watching,
};

/// Reasons for which a pod rightly gets no sidecar: somebody meant it so.
const MEANT: [&str; 3] = ["NamespaceDisabled", "OptedOut", "UnsupportedOS"];

/// What the message says besides where pods are to be evicted and may not be.
const MAY_NOT_EVICT: &str = "; onMissed: Evict does nothing, since the operator may not create pods/eviction: set the \
                             chart's value rbac.evictMissed to true";

/// Namespace and name of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Of these two.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// From `NAMESPACE/NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_once('/').map(|(namespace, name)| Self::new(namespace, name))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The pods of one pipeline that ask for a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectionReport {
    /// Counts, as they are in the status; none where pods were never counted.
    pub status: Option<InjectionStatus>,
    /// What is wrong, the worst first; [`InjectionReason::AllInjected`] or [`InjectionReason::NonePending`] if nothing is.
    pub reason: InjectionReason,
    /// One sentence with the next step.
    pub message: String,
}

/// How the last probe of the webhook went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookReport {
    /// What it found.
    pub reason: WebhookReason,
    /// One sentence with the next step.
    pub message: String,
}

/// What other tasks have told last.
#[derive(Debug, Clone)]
pub struct Feeds {
    /// The pods that ask.
    pub pods: watch::Receiver<Arc<Snapshot>>,
    /// Whether the webhook is reached.
    pub webhook: watch::Receiver<Probe>,
    /// Whether missed pods may be evicted.
    pub evicting: watch::Receiver<Permitted>,
    /// Every pipeline.
    pub pipelines: Pipelines,
    /// The watches without which pods are not known, each by the word of what it watches.
    pub watches: Vec<(&'static str, Watching)>,
    /// The watch of the webhook configuration.
    pub configuration: Watching,
}

impl Feeds {
    /// What is known of one pipeline's pods; nothing until all pods were seen once.
    pub fn injection_of(&self, pipeline: &VeneurPipeline) -> Option<InjectionReport> {
        let snapshot = self.pods.borrow();
        let counts = || injection(snapshot.pipelines.get(&path(pipeline)).unwrap_or(&Counts::default()));
        let counted = snapshot.listed.then(counts);
        if let Some(message) = self.watches.iter().find_map(|(what, watching)| unseen(what, watching)) {
            let (status, reason) = (counted.and_then(|report| report.status), InjectionReason::PermissionMissing);
            return Some(InjectionReport { status, reason, message });
        }
        let mut report = counted?;
        let may_not_evict = evicts(pipeline) && *self.evicting.borrow() == Permitted::No;
        if may_not_evict && report.reason == InjectionReason::PodsMissed {
            report.message.push_str(MAY_NOT_EVICT);
        }
        Some(report)
    }

    /// The older pipeline that is the cluster's default in place of this one, which says that it is.
    pub fn older_default(&self, pipeline: &VeneurPipeline) -> Option<Key> {
        if !pipeline.spec.injection.cluster_default {
            return None;
        }
        self.pipelines.with(|pipelines| {
            let default = cluster_default(pipelines).map(id).filter(|default| *default != id(pipeline))?;
            Some(Key::new(default.0, default.1))
        })
    }

    /// How the webhook is doing; nothing until it was probed.
    pub fn webhook(&self) -> Option<WebhookReport> {
        // What was seen once can be probed, whoever may look now.
        webhook(&self.webhook.borrow()).or_else(|| {
            let message = unseen("MutatingWebhookConfiguration", &self.configuration)?;
            Some(WebhookReport { reason: WebhookReason::PermissionMissing, message })
        })
    }

    /// Says when a refusal of any of these watches begins or ends.
    pub fn refusals(&self) -> impl Stream<Item = ()> + use<> {
        let watches = self.watches.iter().map(|(_, watching)| watching).chain([&self.configuration]);
        stream::select_all(watches.map(|watching| {
            let changes = stream::unfold(watching.refusals(), async |mut refusals| {
                refusals.changed().await.ok()?;
                Some(((), refusals))
            });
            Box::pin(changes)
        }))
    }
}

/// What is to be said of a watch that the API server refuses.
fn unseen(what: &str, watching: &Watching) -> Option<String> {
    let why = watching.refused()?;
    let why = Permission::missing_in(&why).map_or(why, |permission| permission.to_string());
    Some(format!("changes of {what} are not seen: {why}"))
}

/// The pipelines of whose pods two snapshots tell something else.
pub(crate) fn differing(before: &Snapshot, now: &Snapshot) -> Vec<Key> {
    let one = now.pipelines.iter().filter(|(name, counts)| before.pipelines.get(*name) != Some(*counts));
    let gone = before.pipelines.keys().filter(|name| !now.pipelines.contains_key(*name));
    one.map(|(name, _)| name).chain(gone).filter_map(|name| Key::parse(name)).collect()
}

fn injection(counts: &Counts) -> InjectionReport {
    let Counts { wanted, injected, outdated, missed, failing, skipped, outdated_workloads, missed_workloads } = counts;
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let status = InjectionStatus {
        summary: format!("{injected}/{wanted}"),
        wanted: number(*wanted),
        injected: number(*injected),
        outdated: number(*outdated),
        missed: number(*missed),
        failing: number(failing.pods),
        skipped: skipped.iter().map(|(reason, count)| (reason.clone(), number(*count))).collect(),
        missed_workloads: missed_workloads.clone(),
        outdated_workloads: outdated_workloads.clone(),
    };
    let wrongly: Vec<String> = skipped
        .iter()
        .filter(|(reason, _)| !MEANT.contains(&reason.as_str()))
        .map(|(reason, count)| format!("{reason}: {count}"))
        .collect();
    // The application of such a pod may not start either.
    let (reason, message) = if failing.pods > 0 {
        let (namespace, name) = failing.first.split_once('/').unwrap_or_default();
        let message = format!(
            "{} sidecars do not run, as that of {}: {}; next: kubectl -n {namespace} describe pod {name}",
            failing.pods, failing.first, failing.why
        );
        (InjectionReason::SidecarsFailing, message)
    } else if *missed > 0 {
        let message = format!(
            "{missed} pods asked while the webhook was away and have no sidecar: {}; next: {}",
            missed_workloads.join(", "),
            restart(missed_workloads.first()),
        );
        (InjectionReason::PodsMissed, message)
    } else if !wrongly.is_empty() {
        let message = format!(
            "pods that ask got no sidecar ({}); next: kubectl get events -A --field-selector reason=VeneurInjectionSkipped",
            wrongly.join(", ")
        );
        (InjectionReason::PodsSkipped, message)
    } else if *wanted == 0 {
        (InjectionReason::NonePending, "no pod asks for a sidecar of this pipeline".to_owned())
    } else {
        (InjectionReason::AllInjected, format!("all {injected} pods that ask have a sidecar"))
    };
    InjectionReport { status: Some(status), reason, message }
}

/// `shop/Deployment/web` is restarted by `kubectl -n shop rollout restart deployment/web`.
fn restart(workload: Option<&String>) -> String {
    let mut parts = workload.map(|workload| workload.splitn(3, '/')).into_iter().flatten();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(namespace), Some(kind @ ("Deployment" | "StatefulSet" | "DaemonSet")), Some(name)) => {
            format!("kubectl -n {namespace} rollout restart {}/{name}", kind.to_lowercase())
        }
        _ => "create them anew".to_owned(),
    }
}

pub(crate) fn webhook(probe: &Probe) -> Option<WebhookReport> {
    let (reason, message) = match probe {
        Probe::Unknown => return None,
        Probe::Reachable { .. } => (WebhookReason::ProbeSucceeded, "the webhook answers".to_owned()),
        Probe::Unreachable { reason, message } => (*reason, message.clone()),
    };
    Some(WebhookReport { reason, message })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        pods::Failing,
        test_support::{self, SMALLEST, api_server, pipeline, status},
    };

    fn counts(injected: u32, missed: u32, skipped: &[(&str, u32)]) -> Counts {
        Counts {
            wanted: injected + missed,
            injected,
            missed,
            skipped: skipped.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            missed_workloads: (missed > 0).then(|| "shop/Deployment/web".to_owned()).into_iter().collect(),
            ..Counts::default()
        }
    }

    #[test]
    fn what_is_worst_about_pods_is_said_with_the_next_step() {
        let why = "image a cannot be pulled".to_owned();
        let failing = Failing { pods: 1, first: "shop/web-1".to_owned(), why };
        for (counts, reason) in [
            (counts(0, 0, &[]), InjectionReason::NonePending),
            (counts(3, 0, &[("OptedOut", 2)]), InjectionReason::AllInjected),
            (counts(3, 0, &[("PortInUse", 2)]), InjectionReason::PodsSkipped),
            (counts(3, 2, &[("PortInUse", 2)]), InjectionReason::PodsMissed),
            (Counts { failing: failing.clone(), ..counts(3, 2, &[]) }, InjectionReason::SidecarsFailing),
        ] {
            assert_eq!(injection(&counts).reason, reason);
        }
        let report = injection(&Counts { failing, ..counts(3, 0, &[]) });
        assert_eq!(report.status.as_ref().expect("counted").failing, 1);
        assert!(
            report.message.ends_with("cannot be pulled; next: kubectl -n shop describe pod web-1"),
            "{}",
            report.message
        );
        let report = injection(&counts(118, 2, &[]));
        assert_eq!(report.status.expect("counted").summary, "118/120");
        assert!(report.message.ends_with("next: kubectl -n shop rollout restart deployment/web"), "{}", report.message);
    }

    #[test]
    fn where_pods_are_to_be_evicted_and_may_not_be_the_message_says_what_to_set() {
        let counted = BTreeMap::from([("metrics/default".to_owned(), counts(3, 2, &[]))]);
        let snapshot = Arc::new(Snapshot { listed: true, pipelines: counted, ..Snapshot::default() });
        let says_so = |permitted, on_missed: &str| {
            let feeds = Feeds {
                pods: watch::channel(Arc::clone(&snapshot)).1,
                evicting: watch::channel(permitted).1,
                ..test_support::feeds()
            };
            let pipeline = pipeline("default", &format!("{{{SMALLEST}, injection: {{onMissed: {on_missed}}}}}"));
            feeds.injection_of(&pipeline).expect("listed").message.contains("rbac.evictMissed to true")
        };
        assert!(says_so(Permitted::No, "Evict"));
        assert!(!says_so(Permitted::Yes, "Evict"));
        assert!(!says_so(Permitted::No, "Report"));
    }

    #[tokio::test]
    async fn where_namespaces_may_not_be_watched_the_condition_says_who_lacks_what() {
        let (client, _) = api_server(|_, _, _| {
            let said = "namespaces is forbidden: User \"system:serviceaccount:veneur-system:veneur-operator\" cannot list \
                        resource \"namespaces\" in API group \"\" at the cluster scope";
            Some((403, status(403, said)))
        });
        let (_, namespaces) = crate::namespaces::namespaces();
        let watching = namespaces.watching();
        let (mut refusals, stop) = (watching.refusals(), tokio_util::sync::CancellationToken::new());
        let feeds = Feeds { watches: vec![("Namespace", watching)], ..test_support::feeds() };
        let pipeline = pipeline("default", SMALLEST);
        assert!(feeds.injection_of(&pipeline).is_none(), "nobody was asked yet");
        let told = async {
            refusals.changed().await.expect("its sender lives");
            stop.cancel();
        };
        futures::future::join(told, namespaces.run(client, stop.clone())).await;
        let report = feeds.injection_of(&pipeline).expect("it is refused");
        assert_eq!((report.status, report.reason), (None, InjectionReason::PermissionMissing));
        let said = "changes of Namespace are not seen: service account veneur-system/veneur-operator may not list \
                    namespaces in all namespaces: install the chart's roles";
        assert!(report.message.starts_with(said), "{}", report.message);
    }

    #[test]
    fn only_pipelines_whose_counts_differ_are_woken() {
        let snapshot = |all: &[(&str, u32)]| Snapshot {
            pipelines: all
                .iter()
                .map(|(name, injected)| ((*name).to_owned(), counts(*injected, 0, &[])))
                .collect::<BTreeMap<_, _>>(),
            ..Snapshot::default()
        };
        let woken = differing(
            &snapshot(&[("n/same", 1), ("n/more", 1), ("n/gone", 1)]),
            &snapshot(&[("n/same", 1), ("n/more", 2), ("n/new", 1)]),
        );
        assert_eq!(woken, [Key::new("n", "more"), Key::new("n", "new"), Key::new("n", "gone")]);
    }
}
