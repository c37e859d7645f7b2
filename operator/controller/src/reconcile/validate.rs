//! A spec becomes values that `build` can use as they are.
//!
//! The API server has checked nearly everything by the rules in the schema, but for what a rule cannot read: certificates.
//! What is checked here again would only be wrong under an older definition; all of it is reported at once.

mod aggregation;
mod sinks;
mod tiers;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource as _, ResourceExt as _};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use veneur_config::{Every, NameMatch, SinkRoute};
use veneur_operator_api::{CardinalityLimit, Monitoring, NetworkPolicy, PullPolicy, Tls, TlsMode, VeneurPipeline};

use crate::{
    context::Defaults,
    labels::{Role, import_address},
};

pub use sinks::ValidSink;
pub use tiers::{ValidBuffer, ValidGlobal, ValidNode, ValidProxy, ValidTier};

/// A pipeline that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// Name of the pipeline.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Makes the pipeline the owner of its objects.
    pub owner: Option<OwnerReference>,
    /// Image of all tiers, with its tag or digest.
    pub image: String,
    /// When nodes pull it.
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with, in the pipeline's namespace.
    pub pull_secrets: Vec<String>,
    /// The flush interval.
    pub interval: Every,
    /// Percentiles, in (0, 1).
    pub percentiles: Vec<f64>,
    /// Aggregates.
    pub aggregates: Vec<veneur_config::Aggregate>,
    /// Scope rules.
    pub scopes: Vec<veneur_config::ScopeRule>,
    /// Names whose distributions have a sketch of relative error.
    pub relative_error: Vec<NameMatch>,
    /// Constant tags, `key:value`, sorted.
    pub tags: Vec<String>,
    /// Keys of tags that no series has.
    pub exclude: Vec<String>,
    /// Labels of pods and the keys of their tags.
    pub from_pod_labels: BTreeMap<String, String>,
    /// Most series.
    pub cardinality: CardinalityLimit,
    /// Resources of a sidecar.
    pub sidecar: ResourceRequirements,
    /// The proxies, if there are any.
    pub proxy: Option<ValidProxy>,
    /// The globals, if there are any.
    pub global: Option<ValidGlobal>,
    /// The agents of nodes, if there are any.
    pub node: Option<ValidNode>,
    /// Where another pipeline takes what this one sends.
    pub forward_to: Option<String>,
    /// Where metrics end, in the spec's order.
    pub sinks: Vec<ValidSink>,
    /// Tags that a sink does not get, as `tag|sink`.
    pub tags_exclude: Vec<String>,
    /// Which sinks some metrics go to.
    pub routes: Vec<SinkRoute>,
    /// Encryption between the tiers.
    pub tls: Tls,
    /// Who may speak to the tiers.
    pub network_policy: NetworkPolicy,
    /// How Prometheus finds them.
    pub monitoring: Monitoring,
}

impl Validated {
    /// Where sidecars and the agents of nodes forward to, `HOST:PORT`: the proxies, or else the global, or else another
    /// pipeline.
    pub fn entry(&self) -> String {
        let tier = match (&self.proxy, &self.global) {
            (Some(_), _) => Role::Proxy,
            (None, Some(_)) => Role::Global,
            (None, None) => return self.forward_to.clone().unwrap_or_default(),
        };
        import_address(&self.name, &self.namespace, tier)
    }

    /// Whether the tiers speak TLS.
    pub fn is_encrypted(&self) -> bool {
        self.tls.mode != TlsMode::Disabled
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
    let percentiles = aggregation::percentiles(&spec.aggregation.percentiles, &mut problems);
    let sinks = sinks::sinks(&spec.sinks, &mut problems);
    let routes = sinks::routes(&spec.routing, &spec.sinks, &mut problems);
    let sidecar = tiers::sidecar(spec, &mut problems);
    let proxy = tiers::proxy(spec, &mut problems);
    let global = tiers::global(spec, &mut problems);
    let node = tiers::node(spec, &mut problems);
    if spec.sinks.is_empty() && spec.global.forward_to.is_none() {
        problems.push("spec.sinks: needs at least one entry".to_owned());
    }
    if !spec.sidecar.enabled && !spec.node.enabled {
        problems.push("spec.sidecar.enabled: nothing can receive metrics, unless spec.node.enabled is true".to_owned());
    }
    if let Some(problem) = spec.tls.ca_bundle.as_deref().and_then(|bundle| ca_bundle(bundle).err()) {
        problems.push(format!("spec.tls.caBundle: {problem}"));
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
        pull_secrets: spec.image.pull_secrets.clone(),
        interval: Every(interval),
        percentiles,
        aggregates: spec.aggregation.aggregates.iter().copied().map(aggregation::aggregate).collect(),
        scopes: spec.aggregation.scopes.iter().flat_map(aggregation::scope_rules).collect(),
        relative_error: spec.aggregation.relative_error.iter().cloned().map(NameMatch::Prefix).collect(),
        tags: spec.tags.add.iter().map(|(key, value)| format!("{key}:{value}")).collect(),
        exclude: spec.tags.exclude.clone(),
        from_pod_labels: spec.tags.from_pod_labels.clone(),
        cardinality: spec.tags.cardinality_limit.clone(),
        sidecar,
        proxy,
        global,
        node,
        forward_to: spec.global.forward_to.clone(),
        sinks,
        tags_exclude: sinks::tags_exclude(&spec.sinks),
        routes,
        tls: spec.tls.clone(),
        network_policy: spec.network_policy.clone(),
        monitoring: spec.monitoring.clone(),
    })
}

fn image(pipeline: &VeneurPipeline, defaults: &Defaults) -> String {
    let or = |given: &str, default: &str| {
        if given.is_empty() { default.to_owned() } else { given.to_owned() }
    };
    let image = &pipeline.spec.image;
    let repository = or(&image.repository, &defaults.repository);
    if !image.digest.is_empty() {
        return format!("{repository}@{}", image.digest);
    }
    format!("{repository}:{}", or(&pipeline.spec.version, &defaults.version))
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

/// Read as a sidecar reads it, which ends at once where it cannot, and with it no pod that is injected starts.
fn ca_bundle(pem: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        if !certificate.is_ok_and(|certificate| roots.add(certificate).is_ok()) {
            return Err(format!(
                "certificate {} cannot be read: paste it whole, from -----BEGIN CERTIFICATE----- to \
                 -----END CERTIFICATE-----",
                index + 1
            ));
        }
    }
    if roots.is_empty() { Err("holds no certificate in PEM".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
