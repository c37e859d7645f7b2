//! Where metrics end, in the data plane's words.

use veneur_config::{NameMatch, SinkKind, SinkRoute};
use veneur_operator_api::{Route, SecretKey, Sink};

/// A sink and the Secret that its environment is filled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidSink {
    /// The data plane's entry.
    pub sink: veneur_config::Sink,
    /// Where its API key is.
    pub api_key: Option<SecretKey>,
}

impl ValidSink {
    /// The variable that the data plane reads the API key from: the sink's name, upper-cased.
    pub fn api_key_variable(&self) -> String {
        format!("{}_APIKEY", self.sink.name.to_uppercase())
    }

    /// Scheme and host that it posts to.
    pub fn address(&self) -> Option<&str> {
        match &self.sink.kind {
            SinkKind::Datadog(datadog) => Some(&datadog.api_hostname),
            SinkKind::Debug {} | SinkKind::Blackhole {} => None,
        }
    }
}

pub(super) fn sinks(sinks: &[Sink], problems: &mut Vec<String>) -> Vec<ValidSink> {
    let mut valid = Vec::new();
    for (index, sink) in sinks.iter().enumerate() {
        match valid_sink(sink) {
            Some(sink) => valid.push(sink),
            None => {
                problems.push(format!("spec.sinks[{index}]: each sink needs exactly one of datadog, debug, blackhole"));
            }
        }
    }
    valid
}

fn valid_sink(sink: &Sink) -> Option<ValidSink> {
    let (kind, api_key) = match (&sink.datadog, &sink.debug, &sink.blackhole) {
        (Some(datadog), None, None) => {
            let site = datadog.site.as_deref().unwrap_or("datadoghq.com");
            let default = veneur_config::Datadog::default();
            let most = datadog.max_per_request.and_then(|most| usize::try_from(most).ok());
            let settings = veneur_config::Datadog {
                api_hostname: datadog.url.clone().unwrap_or_else(|| format!("https://api.{site}")),
                flush_max_per_body: most.unwrap_or(default.flush_max_per_body),
                metric_name_prefix_drops: datadog.drop_name_prefixes.clone(),
                ..default
            };
            (SinkKind::Datadog(settings), Some(datadog.api_key_secret.clone()))
        }
        (None, Some(_), None) => (SinkKind::Debug {}, None),
        (None, None, Some(_)) => (SinkKind::Blackhole {}, None),
        _ => return None,
    };
    Some(ValidSink { sink: veneur_config::Sink { name: sink.name.clone(), kind }, api_key })
}

/// `tag|sink`, as the data plane names what a sink does not get.
pub(super) fn tags_exclude(sinks: &[Sink]) -> Vec<String> {
    let of_sink = |sink: &Sink| {
        let name = sink.name.clone();
        sink.tags_exclude.clone().into_iter().map(move |tag| format!("{tag}|{name}"))
    };
    sinks.iter().flat_map(of_sink).collect()
}

pub(super) fn routes(routing: &[Route], sinks: &[Sink], problems: &mut Vec<String>) -> Vec<SinkRoute> {
    for (index, route) in routing.iter().enumerate() {
        for name in route.sinks.iter().filter(|name| !sinks.iter().any(|sink| sink.name == **name)) {
            problems.push(format!("spec.routing[{index}].sinks: {name:?} is not the name of an entry of spec.sinks"));
        }
    }
    let route = |route: &Route| {
        let test = route.r#match.clone().unwrap_or_default();
        let name = if test.name_prefix.is_empty() { NameMatch::Any } else { NameMatch::Prefix(test.name_prefix) };
        SinkRoute { name, tags: test.tags, sinks: route.sinks.clone() }
    };
    routing.iter().map(route).collect()
}
