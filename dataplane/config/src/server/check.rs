//! What a local or global can be told.

use std::time::Duration;

use crate::{
    ForwardProtocol, Invalid, Listen, Note, SelfScope, Server, Validate, Weight,
    listen::{bind_problem, is_host_port},
    routes, sink,
};

/// A second, the resolution of a point's time.
const SECOND: Duration = Duration::from_secs(1);

impl Validate for Server {
    fn problems(&self) -> Vec<Invalid> {
        let mut problems = Vec::new();
        self.times(&mut problems);
        self.publishing(&mut problems);
        self.limits(&mut problems);
        self.listeners(&mut problems);
        self.node.check(&mut problems);
        self.ways(&mut problems);
        self.forward_tls.check(&mut problems);
        problems.extend(sink::problems(&self.metric_sinks));
        problems.extend(routes::problems(&self.sink_routes, &self.metric_sinks));
        problems
    }

    fn remarks(&self) -> Vec<Note> {
        let mut remarks = Vec::new();
        let mut remark = |key: &str, weight, text: &str| {
            remarks.push(Note { key: key.to_owned(), text: format!("accepted, no effect here: {text}"), weight });
        };
        if !self.sentry_dsn.is_empty() {
            remark("sentry_dsn", Weight::Warning, "errors are logged, not sent to Sentry");
        }
        if self.flush_on_shutdown {
            let text = "a stopping instance always publishes the interval under way";
            remark("flush_on_shutdown", Weight::Info, text);
        }
        for (key, scope) in [("set", self.veneur_metrics_scopes.set), ("status", self.veneur_metrics_scopes.status)] {
            if scope != SelfScope::Default {
                let text = "no self-metric is a set or a service check";
                remark(&format!("veneur_metrics_scopes.{key}"), Weight::Info, text);
            }
        }
        if !self.self_metrics {
            let unused = [
                ("stats_address", !self.stats_address.is_empty()),
                ("count_unique_timeseries", self.count_unique_timeseries),
                ("features.diagnostics_metrics_enabled", self.features.diagnostics_metrics_enabled),
            ];
            for (key, _) in unused.into_iter().filter(|(_, set)| *set) {
                remark(key, Weight::Warning, "self_metrics is false");
            }
        }
        if self.http_address.is_empty() {
            let unused = [
                ("http.config", self.http.config),
                ("http_quit", self.http_quit),
                ("enable_profiling", self.enable_profiling),
            ];
            for (key, _) in unused.into_iter().filter(|(_, set)| *set) {
                remark(key, Weight::Warning, "without an http_address there is no admin port");
            }
        }
        remarks
    }
}

impl Server {
    /// Smallest `max_state_bytes`: less holds not even the overflow series and the process's own.
    pub const SMALLEST_STATE_BYTES: usize = 1024 * 1024;

    fn times(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: &str, problem: String| problems.push(Invalid::new(key, problem));
        if self.interval.0 < SECOND || self.interval.0.subsec_nanos() != 0 {
            wrong("interval", format!("{:?} must be whole seconds, at least 1s", self.interval.0));
        }
        if self.lateness() >= self.interval.0 {
            wrong("lateness", format!("{:?} must be shorter than the interval {:?}", self.lateness(), self.interval.0));
        }
    }

    fn publishing(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: String, problem: String| problems.push(Invalid::new(key, problem));
        for (index, percentile) in self.percentiles.iter().enumerate() {
            let key = format!("percentiles[{index}]");
            if !(*percentile > 0.0 && *percentile < 1.0) {
                wrong(key, format!("{percentile} must lie between 0 and 1, as 0.99 does"));
            } else if percentile.to_string().len() > "0.99999".len() {
                wrong(key, format!("{percentile} must have at most five digits, as 0.99999 has"));
            } else if self.percentiles[..index].contains(percentile) {
                wrong(key, format!("{percentile} appears twice: its points would bear the same name, remove one"));
            }
        }
        for (index, aggregate) in self.aggregates.iter().enumerate() {
            if self.aggregates[..index].contains(aggregate) {
                let name = serde_json::json!(aggregate);
                let problem = format!("{name} appears twice: its points would be published twice, remove one");
                wrong(format!("aggregates[{index}]"), problem);
            }
        }
        for (index, excluded) in self.tags_exclude.iter().enumerate() {
            if excluded.split('|').any(str::is_empty) {
                let problem = format!("{excluded:?} must look like tag, or tag|sink|sink");
                wrong(format!("tags_exclude[{index}]"), problem);
            }
        }
    }

    fn limits(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: &str, problem: String| problems.push(Invalid::new(key, problem));
        if self.max_contexts == 0 {
            wrong("max_contexts", "0 would keep nothing: at least 1".to_owned());
        }
        let smallest = Self::SMALLEST_STATE_BYTES;
        if self.max_state_bytes < smallest {
            let problem = format!("{} must be at least {smallest} bytes", self.max_state_bytes);
            wrong("max_state_bytes", problem);
        }
        if self.num_readers == 0 {
            wrong("num_readers", "0 would leave every socket unread: at least 1".to_owned());
        }
        if !(16..=65_507).contains(&self.metric_max_length) {
            wrong("metric_max_length", format!("{} must lie between 16 and 65507 bytes", self.metric_max_length));
        }
        if self.tcp_idle_timeout.0.is_zero() {
            wrong("tcp_idle_timeout", "0s would close every connection at once: at least 1ms".to_owned());
        }
    }

    fn listeners(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: String, problem: String| problems.push(Invalid::new(key, problem));
        for (index, address) in self.statsd_listen_addresses.iter().enumerate() {
            if let Err(problem) = Listen::parse(address) {
                wrong(format!("statsd_listen_addresses[{index}]"), problem);
            }
        }
        for (index, address) in self.grpc_listen_addresses.iter().enumerate() {
            if !matches!(Listen::parse(address), Ok(Listen::Tcp(..))) {
                let problem = format!("{address:?} must look like tcp://127.0.0.1:8181");
                wrong(format!("grpc_listen_addresses[{index}]"), problem);
            }
        }
        let mut pem = |key: &str, text: &str, label: &str| {
            if !text.is_empty() && !text.contains(&format!("{label}-----")) {
                let problem =
                    format!("must hold PEM, \"-----BEGIN … {label}-----\" and what follows, not a file's name");
                wrong(key.to_owned(), problem);
            }
        };
        pem("tls_key", self.tls_key.expose(), "PRIVATE KEY");
        pem("tls_certificate", &self.tls_certificate, "CERTIFICATE");
        pem("tls_authority_certificate", &self.tls_authority_certificate, "CERTIFICATE");
        match (self.tls_key.is_empty(), self.tls_certificate.is_empty()) {
            (false, true) => wrong("tls_certificate".into(), "is empty, but tls_key is set: TLS needs both".into()),
            (true, false) => wrong("tls_key".into(), "is empty, but tls_certificate is set: TLS needs both".into()),
            (true, true) if !self.tls_authority_certificate.is_empty() => {
                let problem = "needs tls_key and tls_certificate: without them no client is asked for a certificate";
                wrong("tls_authority_certificate".into(), problem.into());
            }
            _ => {}
        }
    }

    fn ways(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: &str, problem: String| problems.push(Invalid::new(key, problem));
        if !self.grpc_address.is_empty() && !is_host_port(&self.grpc_address) {
            wrong("grpc_address", format!("{:?} must look like 0.0.0.0:8128", self.grpc_address));
        }
        if let Some(problem) = bind_problem(&self.http_address) {
            wrong("http_address", problem);
        }
        let http = self.forward_address.strip_prefix("http://");
        match (self.forward_protocol(), http) {
            _ if !self.forwards() => {}
            (ForwardProtocol::Json, Some(rest)) if is_http_host(rest) => {}
            (ForwardProtocol::Json, Some(_)) => {
                let problem = format!("{:?} must look like http://veneur-proxy:8127", self.forward_address);
                wrong("forward_address", problem);
            }
            (_, Some(_)) => {
                let problem = format!(
                    "{:?} asks for POST /import, but forward_use_grpc or features.proxy_protocol for gRPC: give HOST:PORT, or remove that",
                    self.forward_address
                );
                wrong("forward_address", problem);
            }
            (_, None) if is_host_port(&self.forward_address) => {}
            (_, None) => wrong(
                "forward_address",
                format!("{:?} must look like veneur-proxy.metrics.svc:8128", self.forward_address),
            ),
        }
        if self.forward_points && self.forwards() && self.forward_protocol() == ForwardProtocol::Json {
            let problem = "true needs gRPC: POST /import carries no finished points, and they would be lost".to_owned();
            wrong("forward_points", problem);
        }
        if self.forward_points && !self.forwards() {
            wrong("forward_points", "true needs a forward_address: without one there is nowhere to forward".to_owned());
        }
        let unix = self.stats_address.strip_prefix("unix://");
        if !self.stats_address.is_empty() && unix.map_or(!is_host_port(&self.stats_address), str::is_empty) {
            let problem = format!("{:?} must look like 127.0.0.1:8125 or unix:///run/statsd.sock", self.stats_address);
            wrong("stats_address", problem);
        }
        if self.features.enable_metric_sink_routing {
            wrong(
                "features.enable_metric_sink_routing",
                "true needs metric_sink_routing, which is not read: write its rules as sink_routes, and remove this key"
                    .into(),
            );
        }
    }
}

/// A host, with a port or without, and perhaps a path.
fn is_http_host(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    let fits = is_host_port(host) || is_host_port(&format!("{host}:80"));
    fits && !host.is_empty()
        && !host.starts_with(':')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
}
