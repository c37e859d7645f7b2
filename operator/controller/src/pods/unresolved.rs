//! Pods that are in no pipeline's status, as no pipeline is theirs: in the operator's metrics.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::Pods;
use crate::injection::SkipReason;

/// Reason of pods whose annotation holds none of ours: whoever makes a pod can write it.
const OTHER: &str = "Other";

/// How many pods asked for no pipeline that exists or admits them, by reason, as last counted.
#[derive(Debug)]
pub struct Unresolved(pub Pods);

impl Collector for Unresolved {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Pods that asked for no pipeline that exists or admits them, by reason";
        let mut family = encoder.encode_descriptor("veneur_operator_pods_unresolved", help, None, MetricType::Gauge)?;
        for (reason, count) in by_known_reason(&self.0.snapshot().unresolved) {
            ConstGauge::new(i64::from(count)).encode(family.encode_family(&[("reason", reason.as_str())])?)?;
        }
        Ok(())
    }
}

fn by_known_reason(unresolved: &BTreeMap<String, u32>) -> BTreeMap<String, u32> {
    let known = SkipReason::ALL.map(|reason| format!("{reason:?}"));
    let mut counts = BTreeMap::new();
    for (reason, count) in unresolved {
        let reason = if known.contains(reason) { reason.clone() } else { OTHER.to_owned() };
        *counts.entry(reason).or_default() += count;
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::{pods::Snapshot, telemetry::Telemetry};

    #[test]
    fn pods_without_a_pipeline_are_in_the_metrics_and_their_texts_are_not() {
        let unresolved = [("NotAllowed", 2), ("PipelineNotFound", 3), ("text of a pod", 4), ("another", 5)];
        let unresolved = unresolved.map(|(reason, count)| (reason.to_owned(), count)).into();
        let (_keep, counted) = watch::channel(Arc::new(Snapshot { unresolved, ..Snapshot::default() }));
        let telemetry = Telemetry::new();
        telemetry.collect(Box::new(Unresolved(Pods(counted))));
        let text = telemetry.text();
        let lines: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("veneur_operator_pods_unresolved")).collect();
        let expected = ["{reason=\"NotAllowed\"} 2", "{reason=\"Other\"} 9", "{reason=\"PipelineNotFound\"} 3"];
        assert_eq!(lines, expected, "{text}");
    }
}
