//! A proxy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Every, Invalid, Validate};

/// Configuration of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proxy {
    /// Where partials and points are imported over gRPC, `host:port`.
    pub grpc_address: String,
    /// Where the admin port listens, `host:port`; empty: nowhere.
    pub http_address: String,
    /// Members known beforehand, `host:port`.
    pub forward_addresses: Vec<String>,
    /// Ours: members found through the Kubernetes API.
    pub endpoints: Option<Endpoints>,
    /// Ours: the tiers' flush interval; ring changes take effect at its boundaries.
    pub interval: Every,
    /// Ours: bytes waiting for one member at the most; beyond, the oldest are dropped and counted.
    pub buffer_max_bytes: usize,
    /// Ours: how long undelivered data is held.
    pub buffer_max_age: Every,
    /// How long a stopping proxy may take to deliver what it holds.
    pub shutdown_timeout: Every,
}

/// A Kubernetes Service whose EndpointSlices list the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Name of its port.
    pub port: String,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            grpc_address: String::new(),
            http_address: String::new(),
            forward_addresses: Vec::new(),
            endpoints: None,
            interval: Every::seconds(10),
            buffer_max_bytes: 64 * 1024 * 1024,
            buffer_max_age: Every::seconds(60),
            shutdown_timeout: Every::seconds(10),
        }
    }
}

impl Validate for Proxy {
    fn problems(&self) -> Vec<Invalid> {
        let mut problems = Vec::new();
        if self.grpc_address.is_empty() {
            problems.push(Invalid::new("grpc_address", "is empty: a proxy imports somewhere, as 0.0.0.0:8128"));
        }
        if self.interval.0 < Duration::from_secs(1) || self.interval.0.subsec_nanos() != 0 {
            let problem = format!("{:?} must be whole seconds, at least 1s", self.interval.0);
            problems.push(Invalid::new("interval", problem));
        }
        match (&self.endpoints, self.forward_addresses.is_empty()) {
            (None, true) => problems.push(Invalid::new(
                "forward_addresses",
                "is empty and there is no endpoints section: a proxy needs one of them to find its members",
            )),
            (Some(_), false) => {
                problems.push(Invalid::new("forward_addresses", "excludes endpoints: keep one of the two"));
            }
            _ => {}
        }
        problems
    }
}
