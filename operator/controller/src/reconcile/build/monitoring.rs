//! How Prometheus finds the tiers: Prometheus Operator's `PodMonitor`.

use kube::api::DynamicObject;
use serde_json::json;
use veneur_operator_api::PodMonitor;

use super::{Validated, foreign, metadata};
use crate::labels::{PIPELINE, ROLE};

/// For every pod of every tier. Sidecars are in other namespaces, and their numbers are in the globals' account.
pub(super) fn pod_monitor(pipeline: &Validated) -> Option<DynamicObject> {
    let monitoring = &pipeline.monitoring;
    (monitoring.pod_monitor == PodMonitor::Auto).then(|| {
        let mut metadata = metadata(pipeline, pipeline.name.clone(), None);
        let ours = metadata.labels.take().unwrap_or_default();
        let mut labels = monitoring.labels.clone();
        labels.extend(ours);
        metadata.labels = Some(labels);
        let spec = json!({
            "selector": {
                "matchLabels": {PIPELINE: pipeline.name},
                "matchExpressions": [{"key": ROLE, "operator": "Exists"}],
            },
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics"}],
            "podTargetLabels": [PIPELINE, ROLE],
        });
        foreign("monitoring.coreos.com/v1", "PodMonitor", metadata, &spec)
    })
}
