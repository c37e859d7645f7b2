//! Resources of one pod's sidecar: the pipeline's, the pod's own wishes, and what keeps the pod's quality of service.

use serde_json::{Map, Value, json};

use super::{annotations::Wishes, pod::Pod, quantity::nanos, sidecar};

/// Least CPU of a sidecar that has a limit: with the default request as its limit, it would be stopped most of the time,
/// and drop datagrams.
const LEAST_LIMITED_CPU: &str = "100m";

/// The `resources` of the sidecar. `base` are the pipeline's; notes say what could not be heeded.
pub(super) fn of(base: &Value, wishes: &mut Wishes, keep_guaranteed: bool) -> Value {
    let mut wanted = base.clone();
    for ((list, resource), amount) in &wishes.resources {
        wanted[*list][*resource] = json!(amount);
    }
    let above = ["cpu", "memory"].into_iter().find(|resource| {
        let amount = |list: &str| wanted[list][*resource].as_str().and_then(nanos);
        matches!((amount("requests"), amount("limits")), (Some(request), Some(limit)) if request > limit)
    });
    if let Some(resource) = above
        && !wishes.resources.is_empty()
    {
        let amount = |list: &str| wanted[list][resource].as_str().unwrap_or_default().to_owned();
        wishes.notes.push(format!(
            "veneur.dev/{resource}-request: {} is above the limit of {}: all resources are left out",
            amount("requests"),
            amount("limits")
        ));
        wishes.resources.clear();
        wanted = base.clone();
    }
    if keep_guaranteed { guaranteed(&wanted) } else { wanted }
}

/// Requests that equal limits, for CPU and memory.
fn guaranteed(wanted: &Value) -> Value {
    let mut both = Map::new();
    for (resource, default) in [("cpu", LEAST_LIMITED_CPU), ("memory", "64Mi")] {
        let amount = |list: &str| wanted[list][resource].as_str();
        let requested = amount("requests").filter(|request| nanos(request) >= nanos(default)).unwrap_or(default);
        both.insert(resource.to_owned(), json!(amount("limits").unwrap_or(requested)));
    }
    let mut equal = wanted.clone();
    for list in ["requests", "limits"] {
        for (resource, amount) in &both {
            equal[list][resource] = amount.clone();
        }
    }
    equal
}

/// Whether a pod, its sidecar aside, is of the quality of service `Guaranteed`: each container has limits of CPU and
/// memory, and requests no less.
pub(super) fn is_guaranteed(pod: &Pod<'_>) -> bool {
    pod.all_containers().filter(|container| super::pod::name(container) != sidecar::NAME).all(|container| {
        ["cpu", "memory"].into_iter().all(|resource| {
            let amount = |list: &str| {
                let amount = container.get("resources")?.get(list)?.get(resource)?;
                amount.as_str().map(str::to_owned).or_else(|| amount.as_number().map(ToString::to_string))
            };
            let limit = amount("limits").and_then(|limit| nanos(&limit)).filter(|limit| *limit > 0);
            limit.is_some() && amount("requests").is_none_or(|request| nanos(&request) == limit)
        })
    })
}
