//! Who may speak to each tier, and to whom it may speak.
//!
//! A policy knows pods and addresses, no names: what is outside the cluster is allowed by port, and what is a Service, whose
//! pods may listen on another port than it, by namespace.

mod peers;

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use veneur_operator_api::PodTags;

use super::{Validated, tier::selector, tier_metadata};
use crate::labels::{ADMIN_PORT, DOGSTATSD_PORT, IMPORT_PORT, Role};

/// Ports of name servers: 5353 is that of their pods on `OpenShift`.
const DNS: [(&str, u16); 4] = [("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353)];
/// Ports of API servers.
const API_SERVER: [(&str, u16); 2] = [("TCP", 443), ("TCP", 6443)];
/// Port of kubelets.
const KUBELET: [(&str, u16); 1] = [("TCP", 10_250)];
/// Where tiers import.
const IMPORT: [(&str, u16); 1] = [("TCP", IMPORT_PORT)];

/// One for each tier there is, unless they are turned off.
pub(super) fn policies(pipeline: &Validated) -> Vec<NetworkPolicy> {
    if !pipeline.network_policy.enabled {
        return Vec::new();
    }
    let proxy = pipeline.proxy.as_ref().map(|_| proxy(pipeline));
    let global = pipeline.global.as_ref().map(|_| global(pipeline));
    let node = pipeline.node.as_ref().map(|node| node_agent(pipeline, node.pod_tags != PodTags::None));
    [proxy, global, node].into_iter().flatten().collect()
}

/// Imports from every pod: sidecars are everywhere.
fn proxy(pipeline: &Validated) -> NetworkPolicy {
    let ingress = vec![from(None, &[("TCP", IMPORT_PORT), ("TCP", ADMIN_PORT)])];
    let mut egress = match pipeline.global {
        Some(_) => vec![to(vec![tier(pipeline, Role::Global)], &IMPORT), to(Vec::new(), &API_SERVER)],
        None => Vec::new(),
    };
    egress.extend(
        pipeline.forward_to.iter().filter(|_| pipeline.global.is_none()).map(|to| peers::address(pipeline, to)),
    );
    policy(pipeline, Role::Proxy, ingress, egress)
}

/// Imports from proxies alone, unless there are none.
fn global(pipeline: &Validated) -> NetworkPolicy {
    let proxies = pipeline.proxy.as_ref().map(|_| tier(pipeline, Role::Proxy));
    let ingress = vec![from(proxies.clone(), &IMPORT), from(None, &[("TCP", ADMIN_PORT)])];
    // A leaving one hands over through a proxy.
    let mut egress: Vec<_> = proxies.into_iter().map(|proxies| to(vec![proxies], &IMPORT)).collect();
    match &pipeline.forward_to {
        Some(address) => egress.push(peers::address(pipeline, address)),
        None => egress.extend(peers::sinks(pipeline)),
    }
    policy(pipeline, Role::Global, ingress, egress)
}

/// Reads from every pod.
fn node_agent(pipeline: &Validated, asks_kubelet: bool) -> NetworkPolicy {
    let ports = [("UDP", DOGSTATSD_PORT), ("TCP", DOGSTATSD_PORT), ("TCP", ADMIN_PORT)];
    let mut egress = vec![match (&pipeline.proxy, &pipeline.global, &pipeline.forward_to) {
        (None, None, Some(address)) => peers::address(pipeline, address),
        (None, _, _) => to(vec![tier(pipeline, Role::Global)], &IMPORT),
        (Some(_), _, _) => to(vec![tier(pipeline, Role::Proxy)], &IMPORT),
    }];
    egress.extend(asks_kubelet.then(|| to(Vec::new(), &KUBELET)));
    policy(pipeline, Role::Node, vec![from(None, &ports)], egress)
}

fn policy(
    pipeline: &Validated,
    role: Role,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    let names = to(Vec::new(), &DNS);
    let extra = pipeline.network_policy.extra_egress.iter().map(peers::extra);
    NetworkPolicy {
        metadata: tier_metadata(pipeline, role),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(pipeline, role)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(std::iter::once(names).chain(egress).chain(extra).collect()),
        }),
    }
}

/// The pods of a tier of this pipeline.
fn tier(pipeline: &Validated, role: Role) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(selector(pipeline, role)), ..NetworkPolicyPeer::default() }
}

fn from(peer: Option<NetworkPolicyPeer>, ports: &[(&str, u16)]) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: peer.map(|peer| vec![peer]), ports: Some(ports.iter().map(port).collect()) }
}

/// To these peers, or to everybody, on these ports.
fn to(peers: Vec<NetworkPolicyPeer>, ports: &[(&str, u16)]) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: (!peers.is_empty()).then_some(peers), ports: Some(ports.iter().map(port).collect()) }
}

fn port((protocol, port): &(&str, u16)) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some((*protocol).to_owned()),
        port: Some(IntOrString::Int(i32::from(*port))),
        ..NetworkPolicyPort::default()
    }
}
