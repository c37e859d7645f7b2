//! Configuration from a file or the environment, in the words of the rooms.

use anyhow::Context as _;
use veneur_aggregate::{Aggregate, Limits, NameRule, Percentile, Publishing, Rules, ScopeRule};
use veneur_config::{
    KindName, LocalSettings, NameMatch, Parsed, Proxy, Role, ScopeName, Server, Weight, every_family, tags_of_one,
};
use veneur_forward::offer::Offer;
use veneur_metric::{Kind, Scope};

use crate::listen;

/// Reads a variable; a function, so that tests need no process environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variable that carries a sidecar's whole configuration.
const CONFIG: &str = "VENEUR_CONFIG";

/// A local's or global's configuration: `file`, else `VENEUR_CONFIG`, else defaults; then variables on top. `strict`
/// refuses unknown keys.
pub fn server(file: Option<&str>, environment: Environment<'_>, strict: bool) -> anyhow::Result<Server> {
    Ok(named(told(load::<Server>(file, environment, strict)?)))
}

/// A proxy's configuration, from the same places.
pub fn proxy(file: Option<&str>, environment: Environment<'_>, strict: bool) -> anyhow::Result<Proxy> {
    Ok(with_hosts(told(load::<Proxy>(file, environment, strict)?)))
}

/// Gives a proxy's addresses a host where they have none.
pub fn with_hosts(mut proxy: Proxy) -> Proxy {
    with_host(&mut proxy.grpc_address);
    with_host(&mut proxy.grpc_tls_address);
    with_host(&mut proxy.http_address);
    proxy
}

/// Reads and validates a role's configuration, and leaves the saying to the caller; `strict` refuses unknown keys.
pub fn load<T: Role>(file: Option<&str>, environment: Environment<'_>, strict: bool) -> anyhow::Result<Parsed<T>> {
    let (origin, text) = match (file, environment(CONFIG)) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read configuration {file}"))?;
            (file.to_owned(), text)
        }
        (None, Some(text)) => (CONFIG.to_owned(), text),
        (None, None) => ("defaults".to_owned(), String::new()),
    };
    let read = if strict { veneur_config::read_strictly } else { veneur_config::read };
    Ok(read(&origin, &text, environment)?)
}

/// Logs what was noticed, each once.
pub fn told<T>(parsed: Parsed<T>) -> T {
    for note in &parsed.notes {
        match note.weight {
            Weight::Info => tracing::info!(key = note.key, "Configuration: {}", note.text),
            Weight::Warning => tracing::warn!(key = note.key, "Configuration: {}", note.text),
        }
    }
    for unknown in &parsed.unknown {
        tracing::warn!(key = unknown.key, nearest = unknown.nearest, "Configuration has a key that nothing reads");
    }
    parsed.config
}

/// Whether the process has variables that configure a server, its whole configuration or a key of it.
pub fn are_variables() -> bool {
    let known = veneur_config::variable_names::<Server>();
    variables().any(|name| name == CONFIG || known.contains(&name))
}

/// Names of the process's variables.
fn variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Logs which variables look like a role's and are not.
pub fn tell_unknown_variables<T: Role>() {
    let names: Vec<String> = variables().collect();
    for unknown in veneur_config::unknown_variables::<T>(names.iter().map(String::as_str)) {
        tracing::warn!(variable = unknown.key, nearest = unknown.nearest, "Nothing reads this variable");
    }
}

/// Gives an instance the machine's name where it has none of its own, and its addresses a host where they have none.
pub fn named(mut server: Server) -> Server {
    with_host(&mut server.grpc_address);
    with_host(&mut server.http_address);
    if server.hostname.is_empty() && !server.omit_empty_hostname {
        server.hostname = machine();
    }
    server
}

fn with_host(address: &mut String) {
    *address = every_family(address).into_owned();
}

/// The machine's name, as the kernel knows it.
pub fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// How contexts are formed.
pub fn rules(server: &Server) -> Rules {
    let scopes = server.metric_scopes.iter().map(|rule| {
        let kinds = rule.types.iter().map(|kind| match kind {
            KindName::Counter => Kind::Counter,
            KindName::Gauge => Kind::Gauge,
            KindName::Histogram => Kind::Histogram,
            KindName::Timer => Kind::Timer,
            KindName::Set => Kind::Set,
        });
        let scope = match rule.scope {
            ScopeName::Mixed => Scope::Mixed,
            ScopeName::Local => Scope::Local,
            ScopeName::Global => Scope::Global,
        };
        ScopeRule { name: name_rule(&rule.name), kinds: kinds.collect(), scope }
    });
    Rules {
        drop_tags: server.drop_tags.clone(),
        extend_tags: tags_of_one(&server.extend_tags, &server.instance_tags),
        scopes: scopes.collect(),
        relative: server.relative_error_sketches.iter().map(name_rule).collect(),
        by_origin: server.node.is_on(),
        idle_intervals: server.context_idle_intervals,
    }
}

/// What is offered to locals, if something is.
pub(crate) fn offer(settings: &LocalSettings) -> Option<Offer> {
    (!settings.is_empty()).then(|| Offer::new(&settings.to_text()))
}

pub(crate) fn name_rule(name: &NameMatch) -> NameRule {
    let (prefix, exact) = match name {
        NameMatch::Any => (String::new(), false),
        NameMatch::Prefix(prefix) => (prefix.clone(), false),
        NameMatch::Exact(name) => (name.clone(), true),
    };
    NameRule { prefix, exact }
}

/// How much is kept.
pub fn limits(server: &Server) -> Limits {
    Limits {
        contexts: server.max_contexts,
        contexts_per_origin: server.max_contexts_per_origin,
        bytes: server.max_state_bytes,
    }
}

/// What is listened on.
pub fn listening(server: &Server) -> listen::Settings {
    listen::Settings {
        addresses: server.statsd_listen_addresses.clone(),
        readers: server.num_readers,
        read_buffer_bytes: server.read_buffer_size_bytes,
        grpc_addresses: server.grpc_listen_addresses.clone(),
        max_length: server.metric_max_length,
        idle_timeout: server.tcp_idle_timeout.0,
        tls: listen::tls::Pem {
            key: server.tls_key.expose().to_owned(),
            certificate: server.tls_certificate.clone(),
            authority_certificate: server.tls_authority_certificate.clone(),
        },
        ..listen::Settings::default()
    }
}

/// What is published.
pub fn publishing(server: &Server) -> Publishing {
    let aggregates = server.aggregates.iter().map(|aggregate| match aggregate {
        veneur_config::Aggregate::Min => Aggregate::Min,
        veneur_config::Aggregate::Max => Aggregate::Max,
        veneur_config::Aggregate::Median => Aggregate::Median,
        veneur_config::Aggregate::Avg => Aggregate::Avg,
        veneur_config::Aggregate::Count => Aggregate::Count,
        veneur_config::Aggregate::Sum => Aggregate::Sum,
        veneur_config::Aggregate::Hmean => Aggregate::Hmean,
    });
    Publishing {
        forwards: server.forwards(),
        percentiles: server.percentiles.iter().map(|quantile| Percentile::new(*quantile)).collect(),
        aggregates: aggregates.collect(),
    }
}

#[cfg(test)]
mod tests {
    use veneur_config::SinkKind;

    use super::*;

    #[test]
    fn a_sidecar_reads_its_configuration_from_its_environment() {
        let environment = |name: &str| match name {
            "VENEUR_CONFIG" => {
                Some("interval: 20s\nmetric_sinks: [{name: dd-eu, kind: datadog, config: {}}]".to_owned())
            }
            "VENEUR_HOSTNAME" => Some("web-0".to_owned()),
            "DD-EU_APIKEY" => Some("hunter2".to_owned()),
            _ => None,
        };
        let server = server(None, &environment, false).expect("valid");
        assert_eq!((server.interval.0.as_secs(), server.hostname.as_str()), (20, "web-0"));
        let SinkKind::Datadog(datadog) = &server.metric_sinks[0].kind else { panic!("a datadog sink") };
        assert_eq!(datadog.api_key.expose(), "hunter2");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = server(Some("/nonexistent/veneur.yaml"), &|_| None, false).expect_err("no such file");
        let line = format!("{error:#}");
        assert!(line.starts_with("cannot read configuration /nonexistent/veneur.yaml: No such file"), "{line}");
    }
}
