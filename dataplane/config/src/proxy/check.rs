//! What a proxy can be told.

use std::time::Duration;

use crate::{
    GrpcServer, Invalid, Note, Proxy, TagKind, Validate, Weight,
    listen::{bind_problem, is_host_port},
};

impl Validate for Proxy {
    fn problems(&self) -> Vec<Invalid> {
        let mut problems = Vec::new();
        self.senders(&mut problems);
        self.members(&mut problems);
        self.hashing(&mut problems);
        self.times(&mut problems);
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
        for (index, _) in self.ignore_tags.iter().enumerate().filter(|(_, ignored)| ignored.unset) {
            let key = format!("ignore_tags[{index}].unset");
            remark(&key, Weight::Info, "tags that match are ignored, as by the original's proxies");
        }
        if !self.grpc_server.max_connection_idle.0.is_zero() {
            let text = "a connection ends by its age, or when nobody answers";
            remark("grpc_server.max_connection_idle", Weight::Info, text);
        }
        let gathering = [
            ("aggregation_interval", !self.statsd.aggregation_interval.0.is_zero()),
            ("channel_buffer_size", self.statsd.channel_buffer_size > 0),
            ("messages_per_payload", self.statsd.messages_per_payload > 0),
        ];
        for (key, _) in gathering.into_iter().filter(|(_, set)| *set) {
            remark(
                &format!("statsd.{key}"),
                Weight::Info,
                "a report goes out at each interval, and nothing is gathered",
            );
        }
        for (key, time) in [("dial_timeout", self.dial_timeout), ("forward_timeout", self.forward_timeout)] {
            if time.0.is_zero() {
                remark(key, Weight::Info, "a member that is silent is not waited for without end, but as by default");
            }
        }
        if self.grpc_tls_address.is_empty() && [&self.tls.cert_file, &self.tls.key_file].iter().any(|f| !f.is_empty()) {
            remark("tls", Weight::Warning, "without a grpc_tls_address nothing is imported over TLS");
        }
        if self.http_address.is_empty() {
            let unused = [("enable_config", self.http.enable_config), ("enable_profiling", self.http.enable_profiling)];
            for (key, _) in unused.into_iter().filter(|(_, set)| *set) {
                remark(&format!("http.{key}"), Weight::Warning, "without an http_address there is no admin port");
            }
        }
        remarks
    }
}

impl Proxy {
    fn senders(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: &str, problem: String| problems.push(Invalid::new(key, problem));
        if self.grpc_address.is_empty() && self.grpc_tls_address.is_empty() {
            wrong("grpc_address", "is empty: a proxy imports somewhere, as 0.0.0.0:8128".into());
        }
        for (key, address) in [("grpc_address", &self.grpc_address), ("grpc_tls_address", &self.grpc_tls_address)] {
            if !address.is_empty() && !is_host_port(address) {
                wrong(key, format!("{address:?} must look like 0.0.0.0:8128"));
            }
        }
        if !self.grpc_address.is_empty()
            && self.grpc_address == self.grpc_tls_address
            && !self.grpc_address.ends_with(":0")
        {
            wrong(
                "grpc_tls_address",
                format!("{:?} is grpc_address: plain text and TLS need a port each", self.grpc_address),
            );
        }
        if let Some(problem) = bind_problem(&self.http_address) {
            wrong("http_address", problem);
        }
        let GrpcServer { max_connections, max_streams, .. } = self.grpc_server;
        for (key, none) in [("max_connections", max_connections == 0), ("max_streams", max_streams == 0)] {
            if none {
                wrong(&format!("grpc_server.{key}"), "0 would let nobody send: at least 1".into());
            }
        }
        if !self.grpc_tls_address.is_empty() {
            for (key, file) in [("tls.cert_file", &self.tls.cert_file), ("tls.key_file", &self.tls.key_file)] {
                if file.is_empty() {
                    wrong(key, "is empty: grpc_tls_address needs a certificate and its key".into());
                }
            }
        }
    }

    fn members(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: &str, problem: String| problems.push(Invalid::new(key, problem));
        for (index, address) in self.forward_addresses.iter().enumerate() {
            let peer = ["http://", "grpc+unary://"].iter().find_map(|dialect| address.strip_prefix(dialect));
            if !is_member(peer.unwrap_or(address)) {
                let problem = format!(
                    "{address:?} must look like 10.0.0.7:8128, or http://10.0.0.7:8127 for a member that imports by POST alone"
                );
                wrong(&format!("forward_addresses[{index}]"), problem);
            }
        }
        if let Some(endpoints) = &self.endpoints {
            for (key, value) in
                [("namespace", &endpoints.namespace), ("service", &endpoints.service), ("port", &endpoints.port)]
            {
                if value.is_empty() {
                    wrong(&format!("endpoints.{key}"), "is empty: all three keys are needed".into());
                }
            }
        }
        if let Some(dns) = &self.dns {
            if !is_member(&dns.address) {
                wrong("dns.address", format!("{:?} must look like veneur-global.metrics.svc:8128", dns.address));
            }
            if dns.refresh.0 < Duration::from_secs(1) || dns.refresh.0.subsec_nanos() != 0 {
                wrong("dns.refresh", format!("{:?} must be whole seconds, at least 1s", dns.refresh.0));
            }
        }
        let ways = [
            ("forward_addresses", !self.forward_addresses.is_empty()),
            ("endpoints", self.endpoints.is_some()),
            ("dns", self.dns.is_some()),
        ];
        let given: Vec<&str> = ways.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();
        match given.as_slice() {
            [] => wrong(
                "forward_addresses",
                "is empty, and there is no endpoints section and no dns section: a proxy needs one of them to find its \
                 members"
                    .into(),
            ),
            [_] => {}
            [first, others @ ..] => wrong(first, format!("excludes {}: keep one of them", others.join(" and "))),
        }
        self.forward_tls.check(problems);
    }

    fn hashing(&self, problems: &mut Vec<Invalid>) {
        for (index, ignored) in
            self.ignore_tags.iter().enumerate().filter(|(_, ignored)| ignored.kind == TagKind::Regex)
        {
            if let Err(error) = regex::Regex::new(&ignored.value) {
                // The last line says what is wrong, those before draw where.
                let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let problem = format!("{:?} is no regular expression: {why}", ignored.value);
                problems.push(Invalid::new(format!("ignore_tags[{index}].value"), problem));
            }
        }
    }

    fn times(&self, problems: &mut Vec<Invalid>) {
        if self.interval.0 < Duration::from_secs(1) || self.interval.0.subsec_nanos() != 0 {
            let problem = format!("{:?} must be whole seconds, at least 1s", self.interval.0);
            problems.push(Invalid::new("interval", problem));
        }
    }
}

/// `HOST:PORT` with a host.
fn is_member(address: &str) -> bool {
    is_host_port(address) && !address.starts_with(':')
}
