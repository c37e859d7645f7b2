//! Where metrics end.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One backend: a name and exactly one kind.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.datadog), has(self.debug), has(self.blackhole)].filter(given, given).size() == 1")
    .message("each sink needs exactly one of datadog, debug, blackhole"))]
pub struct Sink {
    /// Unique name, in metrics and error messages. Starts with a letter, then letters, digits and `-`, lower-case, at
    /// most 40 characters.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Datadog's series API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datadog: Option<DatadogSink>,
    /// The log of the globals: one JSON object per line for each point, for a first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<DebugSink>,
    /// Nowhere: takes everything and does nothing with it, for measurements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blackhole: Option<BlackholeSink>,
    /// Beginnings of tags that this sink does not get, as `pod:` for every tag with the key `pod`; at most 32. Unlike
    /// `tags.exclude` it makes no series one. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(start, !start.matches('[,|\\n]'))")
            .message("tagsExclude are beginnings of tags, as pod: or env:dev; they hold no comma, no | and no line break"))]
    pub tags_exclude: Vec<String>,
}

/// Datadog's series API.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.site) && has(self.url))")
        .message("datadog takes site or url, not both: a url already names the intake"),
    validation = Rule::new("!has(self.url) || self.url.matches('^https?://[^/?#@[:space:]]+$')")
        .message("datadog.url is a scheme and a host, as https://intake.example:8443: no path, no credentials, no white space")
)]
pub struct DatadogSink {
    /// Site of the account, as `datadoghq.eu`. Default `datadoghq.com`. Excludes `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub site: Option<String>,
    /// Scheme and host of an intake that is not a site: a proxy, or a test. Excludes `site`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 300))]
    pub url: Option<String>,
    /// The API key, in a Secret of the pipeline's namespace. Only the globals' pods read it, never the operator; with
    /// `sidecar.delivery: Direct` also sidecars, each from a Secret of that name in its own namespace.
    pub api_key_secret: SecretKey,
    /// Most points in one request, 1 to 100000; more go out in several. Default 25000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_per_request: Option<i32>,
    /// Beginnings of names that are not posted; at most 32. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub drop_name_prefixes: Vec<String>,
}

/// The log of the globals; there is nothing to set.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugSink {}

/// Nowhere; there is nothing to set.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlackholeSink {}

/// One key of a Secret in the pipeline's namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret. It may be created after the pipeline: the globals start when it exists.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}
