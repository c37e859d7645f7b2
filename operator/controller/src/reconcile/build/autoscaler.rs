//! Who says how many pods a tier has.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget, ResourceMetricSource,
};
use veneur_operator_api::Autoscaling;

use super::{Validated, tier_metadata};
use crate::labels::{Role, tier_name};

/// For each tier that asks for one.
pub(super) fn autoscalers(pipeline: &Validated) -> Vec<HorizontalPodAutoscaler> {
    let proxy = pipeline.proxy.as_ref().and_then(|proxy| Some((Role::Proxy, proxy.tier.autoscaling.as_ref()?)));
    let global = pipeline.global.as_ref().and_then(|global| Some((Role::Global, global.tier.autoscaling.as_ref()?)));
    proxy.into_iter().chain(global).map(|(role, settings)| autoscaler(pipeline, role, settings)).collect()
}

fn autoscaler(pipeline: &Validated, role: Role, settings: &Autoscaling) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler {
        metadata: tier_metadata(pipeline, role),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: tier_name(&pipeline.name, role),
            },
            min_replicas: Some(settings.min_replicas),
            max_replicas: settings.max_replicas,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(settings.cpu_utilization),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                // Each change of members moves series, so they go slowly, one a minute.
                scale_down: Some(HPAScalingRules {
                    stabilization_window_seconds: Some(300),
                    policies: Some(vec![HPAScalingPolicy { type_: "Pods".to_owned(), value: 1, period_seconds: 60 }]),
                    ..HPAScalingRules::default()
                }),
                ..HorizontalPodAutoscalerBehavior::default()
            }),
        },
        ..HorizontalPodAutoscaler::default()
    }
}
