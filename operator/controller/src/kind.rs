//! The kinds of objects that belong to a pipeline.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind of object that the operator applies, or in the case of [`Kind::Pod`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "Kubernetes' own words")]
pub enum Kind {
    ConfigMap,
    ServiceAccount,
    Role,
    RoleBinding,
    Service,
    Deployment,
    DaemonSet,
    HorizontalPodAutoscaler,
    PodDisruptionBudget,
    NetworkPolicy,
    PodMonitor,
    Certificate,
    Pod,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::ConfigMap,
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::Service,
        Self::Deployment,
        Self::DaemonSet,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
        Self::NetworkPolicy,
        Self::PodMonitor,
        Self::Certificate,
        Self::Pod,
    ];

    /// Group, version, kind and plural.
    const fn names(self) -> [&'static str; 4] {
        match self {
            Self::ConfigMap => ["", "v1", "ConfigMap", "configmaps"],
            Self::ServiceAccount => ["", "v1", "ServiceAccount", "serviceaccounts"],
            Self::Role => ["rbac.authorization.k8s.io", "v1", "Role", "roles"],
            Self::RoleBinding => ["rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"],
            Self::Service => ["", "v1", "Service", "services"],
            Self::Deployment => ["apps", "v1", "Deployment", "deployments"],
            Self::DaemonSet => ["apps", "v1", "DaemonSet", "daemonsets"],
            Self::HorizontalPodAutoscaler => {
                ["autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"]
            }
            Self::PodDisruptionBudget => ["policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"],
            Self::NetworkPolicy => ["networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"],
            Self::PodMonitor => ["monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"],
            Self::Certificate => ["cert-manager.io", "v1", "Certificate", "certificates"],
            Self::Pod => ["", "v1", "Pod", "pods"],
        }
    }

    /// The kind's word, as in a manifest.
    pub const fn as_str(self) -> &'static str {
        self.names()[2]
    }

    /// The plural, as in a role.
    pub const fn plural(self) -> &'static str {
        self.names()[3]
    }

    /// The group, as in a role: empty for the core.
    pub const fn group(self) -> &'static str {
        self.names()[0]
    }

    /// Whether pipelines own objects of it: all but pods, which Deployments own.
    pub const fn is_owned(self) -> bool {
        !matches!(self, Self::Pod)
    }

    /// Whether a cluster may lack it: kinds of others, for which the chart grants nothing where they are not installed.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::PodMonitor | Self::Certificate)
    }

    /// Whether a pipeline works as its spec asks without objects of it: what only tells others where it is.
    pub const fn is_dispensable(self) -> bool {
        matches!(self, Self::PodMonitor)
    }

    /// The kind of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// As kube's dynamic API takes it.
    pub fn resource(self) -> ApiResource {
        let [group, version, kind, plural] = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}
