//! The closed set of reasons, one enum a condition. Each has a section of its own in `docs/conditions.md`.

use super::ConditionType;

macro_rules! reasons {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $reason:ident,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $reason,)+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$reason),+];

            /// The word in `status.conditions[].reason`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason)),+ }
            }
        }
    };
}

reasons! {
    /// Why the spec can or cannot be used.
    AcceptedReason {
        /// It can be.
        Valid,
        /// It was not looked at yet.
        Reconciling,
        /// It contradicts a rule.
        Invalid,
        /// It was stored under another definition than this operator's.
        Undecodable,
        /// It can be used, but another pipeline is the cluster's default.
        DuplicateClusterDefault,
    }
}

reasons! {
    /// Why the objects are or are not as the spec asks.
    ReconciledReason {
        /// They are.
        Applied,
        /// Not looked at yet, or not touched as the spec is not accepted.
        Reconciling,
        /// `management: Paused`: they are looked at and left alone.
        Paused,
        /// A tier waits for the one before it to be rolled out.
        UpgradeWaiting,
        /// An object of that name exists and is someone else's.
        NameTaken,
        /// The operator may not do what it has to.
        PermissionMissing,
        /// A quota of the namespace refused an object.
        QuotaExceeded,
        /// A rule or webhook of the cluster refused an object.
        AdmissionDenied,
        /// The API server did not take an object for another cause.
        ApplyFailed,
        /// What is there could not be read.
        ObserveFailed,
        /// Someone else undoes what the operator applies, again and again.
        Contested,
    }
}

reasons! {
    /// Why a tier is or is not available.
    TierReason {
        /// It is.
        MinimumReplicasAvailable,
        /// The spec has no such tier.
        Disabled,
        /// Not looked at.
        NotObserved,
        /// Pods are being started or replaced.
        Progressing,
        /// The same for longer than a rollout may take, without a known cause.
        RolloutStalled,
        /// A node cannot get the image.
        ImagePullFailed,
        /// No node takes a pod.
        Unschedulable,
        /// The process ended.
        CrashLoop,
        /// The kubelet cannot set up the container.
        ConfigRejected,
        /// A quota refused pods.
        QuotaExceeded,
        /// A rule or webhook of the cluster refused pods.
        AdmissionDenied,
        /// A Secret, or a key in it, is missing.
        SecretNotFound,
        /// An autoscaler or someone else set the replicas to none.
        ScaledToZero,
        /// A pod runs and says that it is not ready.
        NotReady,
    }
}

reasons! {
    /// Why proxies do or do not agree on the owner of each series.
    RingReason {
        /// They do.
        AllProxiesAgree,
        /// There is no proxy, so there is nothing to agree on.
        NoProxies,
        /// No proxy was asked yet, or none answered.
        NotObserved,
        /// They changed a moment ago.
        Converging,
        /// Some have other members than others, for longer than a change takes.
        ProxiesDisagree,
        /// The ring has no member: nothing is aggregated.
        NoMembers,
        /// A proxy may not watch its members.
        EndpointsUnreadable,
        /// A proxy sees no changes of members at present.
        Stale,
    }
}

reasons! {
    /// Why pods that ask do or do not have a sidecar.
    InjectionReason {
        /// They do.
        AllInjected,
        /// None asks.
        NonePending,
        /// Pods were not looked at yet.
        NotObserved,
        /// The sidecar of some does not run.
        SidecarsFailing,
        /// Some were created while the webhook was away.
        PodsMissed,
        /// Some got none, for a reason in their annotation.
        PodsSkipped,
        /// The operator may not look at pods or namespaces.
        PermissionMissing,
    }
}

reasons! {
    /// Why sinks do or do not take what they are sent.
    SinksReason {
        /// They do.
        Delivering,
        /// Nothing was sent yet, or no global answered.
        NotObserved,
        /// The backend refuses the key.
        AuthRejected,
        /// The backend asks for less.
        Throttled,
        /// The backend cannot be reached.
        Unreachable,
        /// The backend's certificate is not trusted.
        TlsFailed,
        /// The backend refuses what it is sent.
        Rejected,
    }
}

reasons! {
    /// Why pods that ask do or do not reach the operator.
    WebhookReason {
        /// They do.
        ProbeSucceeded,
        /// Not tried yet.
        NotProbed,
        /// No answer came through the API server in time.
        ProbeTimeout,
        /// The certificate is over.
        CertificateExpired,
        /// The API server does not trust the certificate.
        CertificateUntrusted,
        /// No ready pod stands behind the webhook's Service.
        NoEndpoints,
        /// The webhook configuration is missing, or does not name this operator.
        ConfigMissing,
        /// The operator may not look at the webhook configuration.
        PermissionMissing,
    }
}

reasons! {
    /// Why the pipeline is or is not ready, where no other condition says it.
    ReadyReason {
        /// Everything is well.
        AllTiersReady,
        /// Nothing was looked at yet.
        Reconciling,
    }
}

/// Every pair of a condition and a reason of its own.
pub fn all_reasons() -> Vec<(ConditionType, &'static str)> {
    fn of<R: Copy>(
        condition: ConditionType,
        all: &[R],
        word: fn(R) -> &'static str,
    ) -> impl Iterator<Item = (ConditionType, &'static str)> {
        all.iter().map(move |reason| (condition, word(*reason)))
    }
    of(ConditionType::Ready, ReadyReason::ALL, ReadyReason::as_str)
        .chain(of(ConditionType::Accepted, AcceptedReason::ALL, AcceptedReason::as_str))
        .chain(of(ConditionType::Reconciled, ReconciledReason::ALL, ReconciledReason::as_str))
        .chain(of(ConditionType::ProxyAvailable, TierReason::ALL, TierReason::as_str))
        .chain(of(ConditionType::GlobalAvailable, TierReason::ALL, TierReason::as_str))
        .chain(of(ConditionType::NodeAvailable, TierReason::ALL, TierReason::as_str))
        .chain(of(ConditionType::RingConverged, RingReason::ALL, RingReason::as_str))
        .chain(of(ConditionType::InjectionHealthy, InjectionReason::ALL, InjectionReason::as_str))
        .chain(of(ConditionType::SinksHealthy, SinksReason::ALL, SinksReason::as_str))
        .chain(of(ConditionType::WebhookReachable, WebhookReason::ALL, WebhookReason::as_str))
        .collect()
}
