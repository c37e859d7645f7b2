//! What the tiers may speak to outside of the pipeline.

use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicyEgressRule, NetworkPolicyPeer},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use veneur_operator_api::ExtraEgress;

use super::{Validated, to};
use crate::reconcile::build::pod::map;

/// The backends of all sinks, each rule once.
pub(super) fn sinks(pipeline: &Validated) -> Vec<NetworkPolicyEgressRule> {
    let mut rules = Vec::new();
    for url in pipeline.sinks.iter().filter_map(|sink| sink.address()) {
        let (scheme, authority) = url.split_once("://").unwrap_or(("https", url));
        let (host, port) = split(authority);
        let rule = egress(pipeline, host, port.unwrap_or(if scheme == "http" { 80 } else { 443 }));
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

/// `HOST:PORT`.
pub(super) fn address(pipeline: &Validated, address: &str) -> NetworkPolicyEgressRule {
    let (host, port) = split(address);
    egress(pipeline, host, port.unwrap_or(443))
}

/// A range of addresses.
pub(super) fn extra(extra: &ExtraEgress) -> NetworkPolicyEgressRule {
    let block = IPBlock { cidr: extra.cidr.clone(), ..IPBlock::default() };
    let peer = NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() };
    let ports: Vec<(&str, u16)> =
        extra.ports.iter().filter_map(|port| Some(("TCP", u16::try_from(*port).ok()?))).collect();
    let rule = to(vec![peer], &ports);
    if ports.is_empty() { NetworkPolicyEgressRule { ports: None, ..rule } } else { rule }
}

fn egress(pipeline: &Validated, host: &str, port: u16) -> NetworkPolicyEgressRule {
    let Some(namespace) = namespace_of(host, &pipeline.namespace) else { return to(Vec::new(), &[("TCP", port)]) };
    let labels = map([("kubernetes.io/metadata.name", namespace)]);
    let peer = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }),
        ..NetworkPolicyPeer::default()
    };
    // Its Service's port says nothing of its pods' port.
    NetworkPolicyEgressRule { to: Some(vec![peer]), ports: None }
}

/// The namespace of a host that is a Service of this cluster: `NAME`, `NAME.NAMESPACE.svc` or that with the cluster's domain.
fn namespace_of<'a>(host: &'a str, own: &'a str) -> Option<&'a str> {
    if host.contains(':') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    let mut parts = host.split('.').skip(1);
    match (parts.next(), parts.next()) {
        (None, _) => Some(own),
        (Some(namespace), Some("svc")) => Some(namespace),
        _ => None,
    }
}

/// A host, and the port where there is one.
fn split(authority: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_name() {
        let namespace = |host| namespace_of(host, "own");
        assert_eq!(namespace("intake"), Some("own"));
        assert_eq!(namespace("intake.test.svc"), Some("test"));
        assert_eq!(namespace("intake.test.svc.cluster.local"), Some("test"));
        for host in ["api.datadoghq.eu", "datadoghq.eu", "10.0.0.1", "fd00::1"] {
            assert_eq!(namespace(host), None, "{host}");
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(split("a.b:80"), ("a.b", Some(80)));
        assert_eq!(split("a.b"), ("a.b", None));
        assert_eq!(split("[fd00::1]:80"), ("fd00::1", Some(80)));
        assert_eq!(split("[fd00::1]"), ("fd00::1", None));
    }
}
