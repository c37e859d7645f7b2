//! How the tiers are found.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Validated, tier_metadata};
use crate::labels::{self, DOGSTATSD_PORT, DOGSTATSD_PORT_NAME, IMPORT_PORT, IMPORT_PORT_NAME, Role};

/// One for each tier there is.
pub(super) fn services(pipeline: &Validated) -> Vec<Service> {
    let proxy = pipeline.proxy.as_ref().map(|proxy| {
        let traffic_distribution = proxy.traffic.map(|traffic| traffic.as_str().to_owned());
        service(pipeline, Role::Proxy, ServiceSpec { traffic_distribution, ..ServiceSpec::default() })
    });
    let global = pipeline.global.as_ref().map(|_| service(pipeline, Role::Global, headless()));
    let node = pipeline.node.as_ref().map(|_| node(pipeline));
    [proxy, global, node].into_iter().flatten().collect()
}

/// Its slices list the members of the ring, each with its own address. A member that is not ready yet must not own keys.
fn headless() -> ServiceSpec {
    ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(false),
        ..ServiceSpec::default()
    }
}

fn service(pipeline: &Validated, role: Role, spec: ServiceSpec) -> Service {
    let plain = !pipeline.is_encrypted();
    let import = ServicePort {
        app_protocol: plain.then(|| "kubernetes.io/h2c".to_owned()),
        ..port(IMPORT_PORT_NAME, IMPORT_PORT, "TCP")
    };
    of_tier(pipeline, role, ServiceSpec { ports: Some(vec![import]), ..spec })
}

/// Leads to the agent of the sender's own node, or nowhere.
fn node(pipeline: &Validated) -> Service {
    let ports = vec![
        port(DOGSTATSD_PORT_NAME, DOGSTATSD_PORT, "UDP"),
        port(&format!("{DOGSTATSD_PORT_NAME}-tcp"), DOGSTATSD_PORT, "TCP"),
    ];
    let spec =
        ServiceSpec { internal_traffic_policy: Some("Local".to_owned()), ports: Some(ports), ..ServiceSpec::default() };
    of_tier(pipeline, Role::Node, spec)
}

fn of_tier(pipeline: &Validated, role: Role, spec: ServiceSpec) -> Service {
    Service {
        metadata: tier_metadata(pipeline, role),
        spec: Some(ServiceSpec { selector: Some(labels::selector(&pipeline.name, role)), ..spec }),
        ..Service::default()
    }
}

fn port(name: &str, port: u16, protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some(protocol.to_owned()),
        ..ServicePort::default()
    }
}
