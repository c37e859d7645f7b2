//! The agents of nodes: a `DaemonSet`.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet},
        core::v1::{EnvVar, PodSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use veneur_operator_api::PodTags;

use super::{
    Validated,
    config_map::restart_hash,
    configuration::{self, on_host_port},
    pod::{Pods, from_field, port},
    tier::selector,
    tier_metadata,
};
use crate::labels::{DOGSTATSD_PORT, DOGSTATSD_PORT_NAME, Role, tier_name};

pub(super) fn daemon_set(pipeline: &Validated) -> Option<DaemonSet> {
    let node = pipeline.node.as_ref()?;
    let asks = node.pod_tags != PodTags::None;
    // Points of the node's own are told apart by its name, which outlives the agent.
    let mut env = vec![from_field("VENEUR_HOSTNAME", "spec.nodeName")];
    if asks {
        env.push(from_field("NODE_IP", "status.hostIP"));
        env.push(EnvVar {
            name: "VENEUR_NODE_KUBELETURL".to_owned(),
            value: Some("https://$(NODE_IP):10250".to_owned()),
            ..EnvVar::default()
        });
    }
    let mut ports = vec![
        port(DOGSTATSD_PORT_NAME, DOGSTATSD_PORT, "UDP"),
        port(&format!("{DOGSTATSD_PORT_NAME}-tcp"), DOGSTATSD_PORT, "TCP"),
    ];
    if on_host_port(node) {
        ports.iter_mut().for_each(|port| port.host_port = Some(port.container_port));
    }
    let pods = Pods {
        role: Role::Node,
        settings: &node.tier,
        config_hash: restart_hash(&configuration::node(pipeline, node)),
        command: "local",
        env,
        ports,
        shows_certificate: false,
        pod: PodSpec {
            service_account_name: Some(tier_name(&pipeline.name, Role::Node)),
            automount_service_account_token: Some(asks),
            ..PodSpec::default()
        },
    };
    Some(DaemonSet {
        metadata: tier_metadata(pipeline, Role::Node),
        spec: Some(DaemonSetSpec {
            selector: selector(pipeline, Role::Node),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                // Never two on a node: both would publish points of one name, time and host.
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::Int(1)),
                    max_surge: Some(IntOrString::Int(0)),
                }),
            }),
            template: pods.template(pipeline),
            ..DaemonSetSpec::default()
        }),
        ..DaemonSet::default()
    })
}
