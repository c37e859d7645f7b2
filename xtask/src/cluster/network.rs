//! The cluster's network namespace: loopback, one bridge that carries the node's address, no uplink.

use std::process::Command;

use anyhow::Result;

use super::{Cluster, process};

/// The node's address; the API server and `CoreDNS` listen on it.
pub(crate) const NODE: &str = "10.250.0.1";
/// The one node's pods.
pub(crate) const PODS: &str = "10.244.0.0/24";
/// Every node's pods.
pub(crate) const CLUSTER: &str = "10.244.0.0/16";
/// Addresses of Services; by convention the first is the API server's.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
pub(crate) const API_SERVICE: &str = "10.96.0.1";
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";

/// A bridge, as not every kernel has the `dummy` link type. The default route only lets programs that ask "which
/// address would I send from?" find the node's.
const SETUP: &str = r#"
ip link set lo up
ip link add veneur0 type bridge
ip address add "$1/24" dev veneur0
ip link set veneur0 up
ip route add default dev veneur0
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
"#;

/// Creates and configures the namespace.
pub(crate) fn create(cluster: &Cluster) -> Result<()> {
    // Either may be built into the kernel; what is really missing shows at once below.
    drop(process::output(Command::new("modprobe").args(["--all", "br_netfilter", "overlay"])));
    process::output(Command::new("ip").args(["netns", "add", &cluster.name.global()]))?;
    let mut setup = Command::new("sh");
    setup.args(["-ec", SETUP, "sh", NODE]);
    process::output(&mut cluster.enter(&setup)).map(drop)
}

/// Removes the namespace with all that is in it, once no process uses it.
pub(crate) fn remove(cluster: &Cluster) -> Result<()> {
    if cluster.netns().exists() {
        process::output(Command::new("ip").args(["netns", "delete", &cluster.name.global()]))?;
    }
    Ok(())
}
