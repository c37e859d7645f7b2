//! What the pods of every tier can be told, and how many there are.

#![expect(clippy::struct_field_names, reason = "users read a field's unit in its name, as in a pod's own")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Resources;

/// What the pods of a tier need, where they run, and how they end.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Resources of each pod. Default: none requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels a node must have; at most 16. Default: any node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods put up with, as in a pod; at most 32. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Near which nodes and pods, as in a pod. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Name of a `PriorityClass`. Default: the cluster's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub priority_class_name: String,
    /// Labels of the pods beside the operator's own; at most 16. A change replaces the pods. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(validation = Rule::new("!self.exists(key, key.matches('^(veneur[.]dev|app[.]kubernetes[.]io)/'))")
        .message("podLabels cannot begin with veneur.dev/ or app.kubernetes.io/: the operator finds its pods by those"))]
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of the pods beside the operator's own; at most 16. A change replaces the pods. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    #[x_kube(validation = Rule::new("!self.exists(key, key.startsWith('veneur.dev/'))")
        .message("podAnnotations cannot begin with veneur.dev/: the operator writes those"))]
    pub pod_annotations: BTreeMap<String, String>,
    /// How long a pod may take to end, and for what.
    #[serde(default)]
    pub drain: Drain,
}

/// How long a pod may take to end, and for what.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
// Not with the numbers: an API server takes no computed message that numbers are part of, as it cannot bound its cost.
#[x_kube(validation = Rule::new("self.preStopSeconds + self.shutdownSeconds < self.terminationGracePeriodSeconds")
    .message("terminationGracePeriodSeconds must be larger than preStopSeconds + shutdownSeconds, or the last flush is killed"))]
pub struct Drain {
    /// Seconds between the pod's deletion and SIGTERM, in which it works on as before; 0 to 600. Default 0: tiers learn of
    /// a leaving pod by themselves, at once. Give it what a load balancer before the proxies needs to notice.
    #[serde(default)]
    #[schemars(range(min = 0, max = 600))]
    pub pre_stop_seconds: i32,
    /// Seconds from SIGTERM in which the pod publishes the interval under way (half of them) and delivers what it holds
    /// (the other half); 1 to 3600. Default 36, which reaches the next boundary of intervals up to 12s; with longer ones a
    /// leaving global does what `global.drainPolicy` says.
    #[serde(default = "Drain::default_shutdown")]
    #[schemars(range(min = 1, max = 3600))]
    pub shutdown_seconds: i32,
    /// Seconds after which the kubelet kills the pod; 2 to 7200. Default 40.
    #[serde(default = "Drain::default_grace")]
    #[schemars(range(min = 2, max = 7200))]
    pub termination_grace_period_seconds: i32,
}

impl Drain {
    const fn default_shutdown() -> i32 {
        36
    }

    const fn default_grace() -> i32 {
        40
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            pre_stop_seconds: 0,
            shutdown_seconds: Self::default_shutdown(),
            termination_grace_period_seconds: Self::default_grace(),
        }
    }
}

/// How many pods a tier has, and how many of them may be away.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.autoscaling))")
        .message("replicas and autoscaling are mutually exclusive: remove replicas, the HPA owns the count"),
    validation = Rule::new("!has(self.autoscaling) || (has(self.resources) && [has(self.resources.requests) ? self.resources.requests : {}, has(self.resources.limits) ? self.resources.limits : {}].exists(amounts, 'cpu' in amounts))")
        .message("autoscaling needs resources.requests.cpu: its target is a share of what is requested")
)]
pub struct Scaling {
    /// How many pods, 1 to 1000. Default: 2 proxies; 3 globals, or 1 where there are no proxies. Excludes `autoscaling`. With
    /// one pod, an upgrade still starts the new one first, but for a global without proxies.
    // No schema default: it would make this field always present, and `autoscaling` excludes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i32>,
    /// Let a `HorizontalPodAutoscaler` choose the number, by CPU. Excludes `replicas`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// How many pods a drain of nodes may take away at once.
    #[serde(default)]
    pub disruption_budget: DisruptionBudget,
    /// How pods spread over the cluster, as in a pod but for the selector, which is the tier's where none is given; at most
    /// 8. Default: evenly over zones and over nodes, where that is possible. Given, it replaces the default whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
}

/// A `HorizontalPodAutoscaler`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("autoscaling.minReplicas must not exceed autoscaling.maxReplicas"))]
pub struct Autoscaling {
    /// Fewest pods, 1 to 1000. Default 2.
    #[serde(default = "Autoscaling::default_fewest")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most pods, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// CPU use that is aimed at, in percent of `resources.requests.cpu`, 1 to 1000. Default 60. Pods are taken away one a
    /// minute at the most, after five minutes below it: each change of globals moves series.
    #[serde(default = "Autoscaling::default_utilization")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_utilization: i32,
}

impl Autoscaling {
    const fn default_fewest() -> i32 {
        2
    }

    const fn default_utilization() -> i32 {
        60
    }
}

/// A `PodDisruptionBudget`. Pods that are not ready can always be evicted, so that a broken tier holds up no drain.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudget {
    /// Pods that may be away at once because nodes are drained, 1 to 1000. Default 1. There is no `minAvailable`: with one
    /// replica it would block drains for ever.
    #[serde(default = "DisruptionBudget::default_unavailable")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: i32,
}

impl DisruptionBudget {
    const fn default_unavailable() -> i32 {
        1
    }
}

impl Default for DisruptionBudget {
    fn default() -> Self {
        Self { max_unavailable: Self::default_unavailable() }
    }
}
