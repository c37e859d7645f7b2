//! `CoreDNS` as a process on the node's address, behind a `kube-dns` Service whose endpoint is written by hand.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::network::{DNS_SERVICE, NODE};
use super::{Cluster, packages, process};

/// `CoreDNS`'s name to the API server.
pub(crate) const USER: &str = "system:coredns";

const LIMIT: Duration = Duration::from_mins(1);

/// Starts `CoreDNS` and makes it the cluster's resolver.
pub(crate) fn start(cluster: &Cluster) -> Result<()> {
    let corefile = cluster.state.join("Corefile");
    fs::write(&corefile, configuration(cluster))?;
    let mut coredns = Command::new(cluster.parts.binary("coredns"));
    coredns.arg("-conf").arg(&corefile);
    cluster.apply(&manifests())?;
    cluster.daemons().start("coredns", &cluster.enter(&coredns))
}

/// Waits until a name resolves by way of the Service, so through kube-proxy too.
pub(crate) fn wait_until_ready(cluster: &Cluster) -> Result<()> {
    let mut lookup = Command::new(packages::static_busybox()?);
    lookup.args(["nslookup", "-type=a", "kubernetes.default.svc.cluster.local", DNS_SERVICE]);
    cluster.wait_for("coredns", "answer through the kube-dns service", LIMIT, || {
        process::output(&mut cluster.enter(&lookup)).map(|_| true)
    })
}

/// There is no uplink: a name outside the cluster does not exist, and saying so at once spares clients a time-out.
fn configuration(cluster: &Cluster) -> String {
    let kubeconfig = cluster.state.join("pki/coredns.kubeconfig");
    format!(
        "cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {NODE}
    errors
    kubernetes {{
        kubeconfig {}
        ttl 5
    }}
}}
.:53 {{
    bind {NODE}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig.display()
    )
}

fn manifests() -> String {
    let ports = || {
        let port = |protocol: &str| {
            let name = format!("dns-{}", protocol.to_lowercase());
            json!({"name": name, "protocol": protocol, "port": 53})
        };
        json!([port("UDP"), port("TCP")])
    };
    let role = json!({"name": USER});
    let list = json!({
        "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": role,
                "rules": [
                    {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
                ],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": role,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
            },
            {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
                "spec": {"clusterIP": DNS_SERVICE, "ports": ports()},
            },
            {
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {
                    "name": "kube-dns-node", "namespace": "kube-system",
                    "labels": {"kubernetes.io/service-name": "kube-dns"},
                },
                "endpoints": [{"addresses": [NODE], "conditions": {"ready": true}}],
                "ports": ports(),
            },
        ],
    });
    list.to_string()
}
