//! A proxy.

use std::time::Duration;

use crate::{Every, Invalid, Validate, key::section};

section! {
    /// Configuration of a proxy.
    #[derive(Eq)]
    pub struct Proxy {
        /// Where partials and points are imported over gRPC, `HOST:PORT`.
        fixed grpc_address: String = String::new(),
        /// Where the admin port listens, `HOST:PORT`, or the path of a Unix socket; empty: nowhere.
        fixed http_address: String = String::new(),
        /// Members known beforehand, `HOST:PORT`.
        fixed forward_addresses: Vec<String> = Vec::new(),
        /// Ours: members found through the Kubernetes API, in place of `forward_addresses`.
        fixed endpoints: Option<Endpoints> = None,
        /// Ours: the tiers' flush interval; ring changes take effect at its boundaries.
        fixed interval: Every = Every::seconds(10),
        /// Ours: bytes waiting for one member at the most; beyond, the oldest are dropped and counted.
        fixed buffer_max_bytes: usize = 64 * 1024 * 1024,
        /// Ours: how long undelivered data is held.
        fixed buffer_max_age: Every = Every::seconds(60),
        /// How long a stopping proxy may take to deliver what it holds.
        fixed shutdown_timeout: Every = Every::seconds(10),
        /// What the admin port shows.
        fixed http: ProxyHttp = ProxyHttp::default(),
        /// Log what helps to find an error; the variable `VENEUR_LOG` says more exactly what, and then this is not heeded.
        live debug: bool = false,
    }
}

section! {
    /// A Kubernetes Service whose EndpointSlices list the members.
    #[derive(Eq)]
    pub struct Endpoints {
        /// Namespace of the Service.
        fixed namespace: String = String::new(),
        /// Name of the Service.
        fixed service: String = String::new(),
        /// Name of its port.
        fixed port: String = String::new(),
    }
}

section! {
    /// What a proxy's admin port shows.
    #[derive(Eq)]
    pub struct ProxyHttp {
        /// Show the configuration at `/config/json` and `/config/yaml`, without secrets.
        fixed enable_config: bool = false,
        /// Allow profiles to be taken, below `/debug/pprof/`.
        fixed enable_profiling: bool = false,
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
        if let Some(endpoints) = &self.endpoints {
            for (key, value) in
                [("namespace", &endpoints.namespace), ("service", &endpoints.service), ("port", &endpoints.port)]
            {
                if value.is_empty() {
                    problems.push(Invalid::new(format!("endpoints.{key}"), "is empty: all three keys are needed"));
                }
            }
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
