//! How the tiers are found.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Validated, metadata};
use crate::labels::{self, IMPORT_PORT, IMPORT_PORT_NAME, Role, tier_name};

/// Sidecars reach some proxy through one address.
pub(super) fn proxy(pipeline: &Validated) -> Service {
    service(pipeline, Role::Proxy, ServiceSpec::default())
}

/// Headless: its slices list the members of the ring, each with its own address. A member that is not ready yet must
/// not own keys.
pub(super) fn global(pipeline: &Validated) -> Service {
    let headless = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(false),
        ..ServiceSpec::default()
    };
    service(pipeline, Role::Global, headless)
}

fn service(pipeline: &Validated, role: Role, spec: ServiceSpec) -> Service {
    Service {
        metadata: metadata(pipeline, tier_name(&pipeline.name, role), Some(role)),
        spec: Some(ServiceSpec {
            selector: Some(labels::selector(&pipeline.name, role)),
            ports: Some(vec![ServicePort {
                name: Some(IMPORT_PORT_NAME.to_owned()),
                port: i32::from(IMPORT_PORT),
                target_port: Some(IntOrString::String(IMPORT_PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("kubernetes.io/h2c".to_owned()),
                ..ServicePort::default()
            }]),
            ..spec
        }),
        ..Service::default()
    }
}
