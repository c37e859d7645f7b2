//! The proxies' Deployment.

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::PodSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Validated,
    config_map::restart_hash,
    configuration,
    pod::{Pods, port},
    tier::{self, Replacement},
};
use crate::labels::{IMPORT_PORT, IMPORT_PORT_NAME, Role, tier_name};

pub(super) fn deployment(pipeline: &Validated) -> Option<Deployment> {
    let proxy = pipeline.proxy.as_ref()?;
    let pods = Pods {
        role: Role::Proxy,
        settings: &proxy.tier,
        config_hash: restart_hash(&configuration::proxy(pipeline, proxy)),
        command: "proxy",
        env: Vec::new(),
        ports: vec![port(IMPORT_PORT_NAME, IMPORT_PORT, "TCP")],
        shows_certificate: true,
        pod: PodSpec {
            service_account_name: Some(tier_name(&pipeline.name, Role::Proxy)),
            // Only to find members.
            automount_service_account_token: Some(pipeline.global.is_some()),
            ..PodSpec::default()
        },
    };
    Some(tier::deployment(pipeline, pods, Replacement::Surge(IntOrString::Int(1))))
}
