//! The tiers with their defaults filled in.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use veneur_config::{Every, RingHash};
use veneur_operator_api::{
    self as api, Autoscaling, Buffer, DrainPolicy, Exposure, Placement, PodTags, Resources, RolloutStrategy, Scaling,
    TrafficDistribution, VeneurPipelineSpec,
};

/// Proxies where the spec says nothing: one may be replaced while the other serves.
const DEFAULT_PROXIES: i32 = 2;
/// Globals where the spec says nothing.
const DEFAULT_GLOBALS: i32 = 3;
/// Globals without proxies, which nobody could share series among.
const LONE_GLOBAL: i32 = 1;

/// What a container of ours can ask for.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Pods of a tier.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidTier {
    /// How many pods; `None` where an autoscaler says.
    pub replicas: Option<i32>,
    /// Who says how many.
    pub autoscaling: Option<Autoscaling>,
    /// Pods that a drain of nodes may take away at once.
    pub max_unavailable: i32,
    /// How they spread, in place of the default.
    pub spread: Vec<k8s_openapi::api::core::v1::TopologySpreadConstraint>,
    /// Resources of each.
    pub resources: ResourceRequirements,
    /// Where they run and how they end.
    pub placement: Placement,
}

/// The proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidProxy {
    /// Their pods.
    pub tier: ValidTier,
    /// Age at which connections of senders are closed.
    pub max_connection_age: Every,
    /// Which of them senders are sent to.
    pub traffic: Option<TrafficDistribution>,
    /// How the globals share series.
    pub ring: RingHash,
    /// What waits for a member.
    pub buffer: ValidBuffer,
}

/// The globals.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidGlobal {
    /// Their pods.
    pub tier: ValidTier,
    /// How new ones take the place of old ones.
    pub rollout: RolloutStrategy,
    /// What a leaving one does with its interval.
    pub drain_policy: DrainPolicy,
    /// What waits for a sink.
    pub buffer: ValidBuffer,
}

/// The agents of nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidNode {
    /// Their pods.
    pub tier: ValidTier,
    /// How pods reach them.
    pub exposure: Exposure,
    /// Which tags a sample gets of its sender.
    pub pod_tags: PodTags,
    /// Whether the kubelet is asked without checking who it is.
    pub kubelet_insecure: bool,
}

/// What waits in memory; `None` is the data plane's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ValidBuffer {
    /// Most bytes.
    pub max_bytes: Option<usize>,
    /// For how long.
    pub max_age: Option<Every>,
}

pub(super) fn proxy(spec: &VeneurPipelineSpec, problems: &mut Vec<String>) -> Option<ValidProxy> {
    let proxy = spec.proxy.enabled.then_some(&spec.proxy)?;
    let age = proxy.max_connection_age.length();
    let age = age.filter(|age| (Duration::from_secs(10)..=Duration::from_hours(24)).contains(age));
    if age.is_none() {
        problems.push("spec.proxy.maxConnectionAge: must be between 10s and 24h".to_owned());
    }
    Some(ValidProxy {
        tier: tier("proxy", Some(&proxy.scaling), &proxy.placement, DEFAULT_PROXIES, problems),
        max_connection_age: Every(age.unwrap_or_default()),
        traffic: proxy.traffic_distribution,
        ring: match spec.global.ring.hash {
            api::RingHash::Rendezvous => RingHash::Rendezvous,
            api::RingHash::Veneur => RingHash::Veneur,
        },
        buffer: buffer("proxy", proxy.buffer.as_ref(), problems),
    })
}

pub(super) fn global(spec: &VeneurPipelineSpec, problems: &mut Vec<String>) -> Option<ValidGlobal> {
    if !spec.global.enabled && spec.global.forward_to.is_none() {
        problems
            .push("spec.global.enabled: false needs global.forwardTo, the address that takes what is sent".to_owned());
    }
    let global = spec.global.enabled.then_some(&spec.global)?;
    let several = global.scaling.autoscaling.is_some() || global.scaling.replicas.is_some_and(|count| count != 1);
    if !spec.proxy.enabled && several {
        problems
            .push("spec.global.replicas: must be 1 without proxies, which share the series among several".to_owned());
    }
    let default = if spec.proxy.enabled { DEFAULT_GLOBALS } else { LONE_GLOBAL };
    Some(ValidGlobal {
        tier: tier("global", Some(&global.scaling), &global.placement, default, problems),
        rollout: global.ring.rollout.strategy,
        drain_policy: global.drain_policy,
        buffer: buffer("global", global.buffer.as_ref(), problems),
    })
}

pub(super) fn node(spec: &VeneurPipelineSpec, problems: &mut Vec<String>) -> Option<ValidNode> {
    let node = spec.node.enabled.then_some(&spec.node)?;
    Some(ValidNode {
        tier: tier("node", None, &node.placement, 0, problems),
        exposure: node.exposure,
        pod_tags: node.pod_tags,
        kubelet_insecure: node.kubelet_insecure,
    })
}

fn tier(
    name: &str,
    scaling: Option<&Scaling>,
    placement: &Placement,
    default_replicas: i32,
    problems: &mut Vec<String>,
) -> ValidTier {
    let drain = &placement.drain;
    let needed = drain.pre_stop_seconds.saturating_add(drain.shutdown_seconds);
    if drain.termination_grace_period_seconds <= needed {
        problems.push(format!(
            "spec.{name}.drain: terminationGracePeriodSeconds ({}) must be larger than preStopSeconds + shutdownSeconds \
             ({needed}), or the last flush is killed",
            drain.termination_grace_period_seconds,
        ));
    }
    problems.extend(placement.resources.iter().flat_map(|resources| wrong_amounts(name, resources)));
    let scaling = scaling.cloned().unwrap_or_default();
    if let Some(Autoscaling { min_replicas, max_replicas, .. }) = &scaling.autoscaling {
        if scaling.replicas.is_some() {
            problems.push(format!("spec.{name}: replicas and autoscaling are mutually exclusive: remove replicas"));
        }
        if min_replicas > max_replicas {
            problems.push(format!("spec.{name}.autoscaling.minReplicas must not exceed autoscaling.maxReplicas"));
        }
    }
    ValidTier {
        replicas: scaling.autoscaling.is_none().then(|| scaling.replicas.unwrap_or(default_replicas)),
        autoscaling: scaling.autoscaling,
        max_unavailable: scaling.disruption_budget.max_unavailable,
        spread: scaling.topology_spread_constraints,
        resources: placement.resources.as_ref().map(requirements).unwrap_or_default(),
        placement: placement.clone(),
    }
}

fn buffer(tier: &str, buffer: Option<&Buffer>, problems: &mut Vec<String>) -> ValidBuffer {
    let Some(buffer) = buffer else { return ValidBuffer::default() };
    let mut wrong = |field: &str, problem: &str| problems.push(format!("spec.{tier}.buffer.{field}: {problem}"));
    let max_bytes = buffer.max_bytes.as_ref().and_then(|amount| {
        let bytes = amount.bytes().filter(|bytes| (1 << 16..=1 << 36).contains(bytes));
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        if bytes.is_none() {
            wrong("maxBytes", "must be between 64Ki and 64Gi");
        }
        bytes
    });
    let max_age = buffer.max_age.as_ref().and_then(|age| {
        let age = age.length();
        if age.is_none() {
            wrong("maxAge", "is whole seconds, minutes or hours, as 30s, 2m or 1h");
        }
        age.map(Every)
    });
    ValidBuffer { max_bytes, max_age }
}

/// The sidecar's resources.
pub(super) fn sidecar(spec: &VeneurPipelineSpec, problems: &mut Vec<String>) -> ResourceRequirements {
    let resources = spec.sidecar.resources.as_ref();
    problems.extend(resources.iter().flat_map(|resources| wrong_amounts("sidecar", resources)));
    resources.map_or_else(sidecar_default, requirements)
}

fn requirements(resources: &Resources) -> ResourceRequirements {
    let amounts = |amounts: &BTreeMap<String, api::Quantity>| {
        let amounts: BTreeMap<_, _> =
            amounts.iter().map(|(key, amount)| (key.clone(), Quantity(amount.0.clone()))).collect();
        (!amounts.is_empty()).then_some(amounts)
    };
    ResourceRequirements {
        requests: amounts(&resources.requests),
        limits: amounts(&resources.limits),
        ..ResourceRequirements::default()
    }
}

/// An amount that would let the API server refuse the pods, the application's included.
fn wrong_amounts(tier: &str, resources: &Resources) -> Vec<String> {
    let mut problems = Vec::new();
    for (list, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (key, amount) in amounts {
            let path = format!("spec.{tier}.resources.{list}.{key}");
            if !RESOURCES.contains(&key.as_str()) {
                problems.push(format!("{path}: only {} can be given", RESOURCES.join(", ")));
            } else if amount.0.starts_with('-') {
                problems.push(format!("{path}: {} must not be negative", amount.0));
            }
        }
    }
    problems
}

/// Requests are always set: without them an autoscaler of the application cannot compute a utilisation. No CPU
/// limit: a throttled sidecar drops datagrams.
fn sidecar_default() -> ResourceRequirements {
    let amounts = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, amount)| ((*key).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "10m"), ("memory", "32Mi")]),
        limits: amounts(&[("memory", "64Mi")]),
        ..ResourceRequirements::default()
    }
}
