//! The proxies' Deployment.

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::PodSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Validated, tier::Tier};
use crate::labels::{Role, tier_name};

pub(super) fn deployment(pipeline: &Validated, configuration: &str) -> Deployment {
    Tier {
        role: Role::Proxy,
        settings: &pipeline.proxy,
        configuration,
        max_surge: IntOrString::Int(1),
        env: Vec::new(),
        pod: PodSpec {
            service_account_name: Some(tier_name(&pipeline.name, Role::Proxy)),
            automount_service_account_token: Some(true),
            ..PodSpec::default()
        },
    }
    .deployment(pipeline)
}
