//! A spec becomes values that `build` can use as they are.
//!
//! The API server has checked nearly everything by the rules in the schema. What is checked here again would only be
//! wrong under an older definition; all of it is reported at once.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::ResourceRequirements,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::OwnerReference},
};
use kube::{Resource as _, ResourceExt as _};
use veneur_config::{Every, KindName, NameMatch, ScopeName};
use veneur_operator_api::{
    Aggregate, MetricType, Placement, PullPolicy, Resources, Scaling, Scope, ScopeRule, SecretKey, Sink, VeneurPipeline,
};

use crate::context::Defaults;

/// Proxies where the spec says nothing: one may be replaced while the other serves.
const DEFAULT_PROXIES: i32 = 2;
/// Globals where the spec says nothing.
const DEFAULT_GLOBALS: i32 = 3;

/// What a container of ours can ask for.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// A pipeline that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// Name of the pipeline.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Makes the pipeline the owner of its objects.
    pub owner: Option<OwnerReference>,
    /// Image of all tiers, tag included.
    pub image: String,
    /// When nodes pull it.
    pub pull_policy: PullPolicy,
    /// The flush interval.
    pub interval: Every,
    /// Percentiles, in (0, 1).
    pub percentiles: Vec<f64>,
    /// Aggregates.
    pub aggregates: Vec<veneur_config::Aggregate>,
    /// Scope rules.
    pub scopes: Vec<veneur_config::ScopeRule>,
    /// Constant tags, `key:value`, sorted.
    pub tags: Vec<String>,
    /// Resources of a sidecar.
    pub sidecar: ResourceRequirements,
    /// The proxies.
    pub proxy: ValidTier,
    /// The globals.
    pub global: ValidTier,
    /// Where metrics end, in the spec's order.
    pub sinks: Vec<ValidSink>,
}

/// A tier with its defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidTier {
    /// How many pods.
    pub replicas: i32,
    /// Resources of each.
    pub resources: ResourceRequirements,
}

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
}

/// Everything that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidSpec(pub Vec<String>);

/// Checks a pipeline and fills in what it leaves out.
pub fn validate(pipeline: &VeneurPipeline, defaults: &Defaults) -> Result<Validated, InvalidSpec> {
    let spec = &pipeline.spec;
    let mut problems = Vec::new();
    let interval = interval(&spec.flush.interval).unwrap_or_else(|problem| {
        problems.push(format!("spec.flush.interval: {problem}"));
        Duration::ZERO
    });
    let mut percentiles = Vec::new();
    for (index, text) in spec.aggregation.percentiles.iter().enumerate() {
        match percentile(text) {
            // p50 and p50.0 are one: their points would bear the same name.
            Some(percentile) if percentiles.contains(&percentile) => {}
            Some(percentile) => percentiles.push(percentile),
            None => problems.push(format!("spec.aggregation.percentiles[{index}]: {text:?} is not like p99 or p99.9")),
        }
    }
    let mut sinks = Vec::new();
    for (index, sink) in spec.sinks.iter().enumerate() {
        match valid_sink(sink) {
            Some(sink) => sinks.push(sink),
            None => {
                problems.push(format!("spec.sinks[{index}]: each sink needs exactly one of datadog, debug, blackhole"))
            }
        }
    }
    let tiers = [
        ("sidecar", &spec.sidecar.resources),
        ("proxy", &spec.proxy.placement.resources),
        ("global", &spec.global.placement.resources),
    ];
    for (tier, resources) in tiers {
        problems.extend(resources.iter().flat_map(|resources| wrong_amounts(tier, resources)));
    }
    if spec.sinks.is_empty() {
        problems.push("spec.sinks: needs at least one entry".to_owned());
    }
    if !problems.is_empty() {
        return Err(InvalidSpec(problems));
    }
    Ok(Validated {
        name: pipeline.name_any(),
        namespace: pipeline.namespace().unwrap_or_default(),
        owner: pipeline.controller_owner_ref(&()),
        image: image(pipeline, defaults),
        pull_policy: spec.image.pull_policy,
        interval: Every(interval),
        percentiles,
        aggregates: spec.aggregation.aggregates.iter().copied().map(aggregate).collect(),
        scopes: spec.aggregation.scopes.iter().flat_map(scope_rules).collect(),
        tags: spec.tags.add.iter().map(|(key, value)| format!("{key}:{value}")).collect(),
        sidecar: spec.sidecar.resources.as_ref().map_or_else(sidecar_default, requirements),
        proxy: valid_tier(&spec.proxy.scaling, &spec.proxy.placement, DEFAULT_PROXIES),
        global: valid_tier(&spec.global.scaling, &spec.global.placement, DEFAULT_GLOBALS),
        sinks,
    })
}

fn image(pipeline: &VeneurPipeline, defaults: &Defaults) -> String {
    let or = |given: &str, default: &str| {
        if given.is_empty() { default.to_owned() } else { given.to_owned() }
    };
    let repository = or(&pipeline.spec.image.repository, &defaults.repository);
    let version = or(&pipeline.spec.version, &defaults.version);
    format!("{repository}:{version}")
}

fn interval(text: &str) -> Result<Duration, String> {
    let unreadable = || format!("{text:?} is not like 10s or 1m");
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(unreadable)?;
    let count: u64 = digits.parse().map_err(|_| unreadable())?;
    let seconds = match unit {
        "s" => count,
        "m" => count.saturating_mul(60),
        _ => return Err(unreadable()),
    };
    if (1..=300).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("must be between 1s and 5m".to_owned())
    }
}

/// `p99.9` is 0.999. The decimal point is moved in the text: dividing by 100 would leave 0.9990000000000001.
fn percentile(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('p')?;
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=2).contains(&whole.len()) || !plain(whole) || !plain(decimals) {
        return None;
    }
    let value: f64 = format!("0.{whole:0>2}{decimals}").parse().ok()?;
    (value > 0.0).then_some(value)
}

fn valid_sink(sink: &Sink) -> Option<ValidSink> {
    let (kind, api_key) = match (&sink.datadog, &sink.debug, &sink.blackhole) {
        (Some(datadog), None, None) => {
            let site = datadog.site.as_deref().unwrap_or("datadoghq.com");
            let api_hostname = datadog.url.clone().unwrap_or_else(|| format!("https://api.{site}"));
            let settings = veneur_config::Datadog { api_hostname, ..veneur_config::Datadog::default() };
            (veneur_config::SinkKind::Datadog(settings), Some(datadog.api_key_secret.clone()))
        }
        (None, Some(_), None) => (veneur_config::SinkKind::Debug {}, None),
        (None, None, Some(_)) => (veneur_config::SinkKind::Blackhole {}, None),
        _ => return None,
    };
    Some(ValidSink { sink: veneur_config::Sink { name: sink.name.clone(), kind }, api_key })
}

fn valid_tier(scaling: &Scaling, placement: &Placement, default_replicas: i32) -> ValidTier {
    ValidTier {
        replicas: scaling.replicas.unwrap_or(default_replicas),
        resources: placement.resources.as_ref().map(requirements).unwrap_or_default(),
    }
}

fn requirements(resources: &Resources) -> ResourceRequirements {
    let amounts = |amounts: &BTreeMap<String, veneur_operator_api::Quantity>| {
        let amounts: BTreeMap<_, _> =
            amounts.iter().map(|(key, amount)| (key.clone(), Quantity(amount.0.clone()))).collect();
        (!amounts.is_empty()).then_some(amounts)
    };
    ResourceRequirements {
        requests: amounts(&resources.requests),
        limits: amounts(&resources.limits),
        ..ResourceRequirements::default()
    }
}

/// An amount that would let the API server refuse the pods, the application's included.
fn wrong_amounts(tier: &str, resources: &Resources) -> Vec<String> {
    let mut problems = Vec::new();
    for (list, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (key, amount) in amounts {
            let path = format!("spec.{tier}.resources.{list}.{key}");
            if !RESOURCES.contains(&key.as_str()) {
                problems.push(format!("{path}: only {} can be given", RESOURCES.join(", ")));
            } else if amount.0.starts_with('-') {
                problems.push(format!("{path}: {} must not be negative", amount.0));
            }
        }
    }
    problems
}

/// Requests are always set: without them an autoscaler of the application cannot compute a utilisation. No CPU
/// limit: a throttled sidecar drops datagrams.
fn sidecar_default() -> ResourceRequirements {
    let amounts = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(key, amount)| ((*key).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "10m"), ("memory", "32Mi")]),
        limits: amounts(&[("memory", "64Mi")]),
        ..ResourceRequirements::default()
    }
}

fn aggregate(aggregate: Aggregate) -> veneur_config::Aggregate {
    match aggregate {
        Aggregate::Min => veneur_config::Aggregate::Min,
        Aggregate::Max => veneur_config::Aggregate::Max,
        Aggregate::Median => veneur_config::Aggregate::Median,
        Aggregate::Avg => veneur_config::Aggregate::Avg,
        Aggregate::Count => veneur_config::Aggregate::Count,
        Aggregate::Sum => veneur_config::Aggregate::Sum,
        Aggregate::HMean => veneur_config::Aggregate::Hmean,
    }
}

/// The data plane's rules for one of the spec's. `Fleet` is global for every type but gauges, and ends the search for those
/// too.
fn scope_rules(rule: &ScopeRule) -> Vec<veneur_config::ScopeRule> {
    let name = match &rule.r#match {
        Some(test) => NameMatch::Prefix(test.name_prefix.clone()),
        None => NameMatch::Any,
    };
    let types: Vec<KindName> = rule.types.iter().copied().map(kind).collect();
    let with = |types: Vec<KindName>, scope| veneur_config::ScopeRule { name: name.clone(), types, scope };
    match rule.scope {
        Scope::Global => vec![with(types, ScopeName::Global)],
        Scope::Local => vec![with(types, ScopeName::Local)],
        Scope::Mixed => vec![with(types, ScopeName::Mixed)],
        Scope::Fleet => {
            let asked = |kind: &KindName| types.is_empty() || types.contains(kind);
            let summed = [KindName::Counter, KindName::Histogram, KindName::Timer, KindName::Set];
            let mut rules = vec![with(summed.into_iter().filter(asked).collect(), ScopeName::Global)];
            if asked(&KindName::Gauge) {
                rules.push(with(vec![KindName::Gauge], ScopeName::Mixed));
            }
            rules
        }
    }
}

fn kind(kind: MetricType) -> KindName {
    match kind {
        MetricType::Counter => KindName::Counter,
        MetricType::Gauge => KindName::Gauge,
        MetricType::Histogram => KindName::Histogram,
        MetricType::Timer => KindName::Timer,
        MetricType::Set => KindName::Set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_become_the_nearest_fraction() {
        for (text, fraction) in
            [("p50", 0.5), ("p5", 0.05), ("p05", 0.05), ("p99.9", 0.999), ("p99.999", 0.999_99), ("p0.1", 0.001)]
        {
            assert_eq!(percentile(text), Some(fraction), "{text}");
        }
        for text in ["p0", "p00.0", "p150", "p", "50", "p-5", "p5e1", "p.5", ""] {
            assert_eq!(percentile(text), None, "{text}");
        }
    }

    #[test]
    fn percentiles_of_one_value_count_once() {
        let spec =
            "{sinks: [{name: debug, debug: {}}], aggregation: {percentiles: [p50, p5, p50.0, p99, p05, p50.00]}}";
        assert_eq!(crate::test_support::validated(spec).percentiles, [0.5, 0.05, 0.99]);
    }

    #[test]
    fn amounts_that_no_pod_could_have_are_refused() {
        let resources = "{requests: {cpu: -1, 'example.com/gpu': 1}, limits: {memory: 1Gi, ephemeral-storage: 1Gi}}";
        let spec = format!("{{sinks: [{{name: debug, debug: {{}}}}], sidecar: {{resources: {resources}}}}}");
        let pipeline = crate::test_support::pipeline("default", &spec);
        assert_eq!(
            validate(&pipeline, &crate::test_support::defaults()).expect_err("two are wrong").0,
            [
                "spec.sidecar.resources.requests.cpu: -1 must not be negative",
                "spec.sidecar.resources.requests.example.com/gpu: only cpu, memory, ephemeral-storage can be given",
            ]
        );
    }

    #[test]
    fn intervals_are_whole_seconds_within_five_minutes() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(interval("10m"), Err("must be between 1s and 5m".to_owned()));
        for text in ["", "s", "abc", "10", "1500ms", "-1s", "1é"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
