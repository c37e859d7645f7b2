//! What is published of histograms and timers, and by which tier.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is published of histograms and timers, and by which tier.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Aggregation {
    /// Percentiles of histograms and timers, as `p50`, `p99` or `p99.9`, over all pods; at most 16. Default
    /// `[p50, p75, p99]`; an empty list publishes none.
    #[serde(default = "Aggregation::default_percentiles")]
    #[schemars(length(max = 16), inner(length(max = 8)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(p, p.matches('^p[0-9]{1,2}([.][0-9]{1,3})?$') && !p.matches('^p0{1,2}([.]0{1,3})?$'))")
            .message("aggregation.percentiles are written p50, p99 or p99.9: above p0 and below p100, at most three decimals")
    )]
    pub percentiles: Vec<String>,
    /// Aggregates of histograms and timers. Default `[Min, Max, Count]`, published for each pod unless the scope is
    /// `Global`; an empty list publishes none.
    #[serde(default = "Aggregation::default_aggregates")]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub aggregates: Vec<Aggregate>,
    /// Scopes given by name, without a change in the application; at most 64. The first rule that matches decides, a
    /// scope tag set by the application wins over all. `[{scope: Fleet}]` makes one series of each statistic for all
    /// pods. Default: none, so counters and gauges are published for each pod and percentiles and sets over all pods.
    /// Running sidecars take a change within two minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub scopes: Vec<ScopeRule>,
    /// Beginnings of names of histograms and timers with heavy tails; at most 32. They are kept in a sketch that is
    /// within 1 % of the value at every percentile, in place of one that is exact in rank. Default: none. Running
    /// sidecars take a change within two minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub relative_error: Vec<String>,
}

impl Aggregation {
    fn default_percentiles() -> Vec<String> {
        ["p50", "p75", "p99"].map(str::to_owned).to_vec()
    }

    fn default_aggregates() -> Vec<Aggregate> {
        vec![Aggregate::Min, Aggregate::Max, Aggregate::Count]
    }
}

impl Default for Aggregation {
    fn default() -> Self {
        Self {
            percentiles: Self::default_percentiles(),
            aggregates: Self::default_aggregates(),
            scopes: Vec::new(),
            relative_error: Vec::new(),
        }
    }
}

/// Which metrics get which scope.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.scope != 'Fleet' || !has(self.types) || self.types.size() == 0 || self.types.exists(t, t != 'Gauge')")
    .message("scope Fleet leaves gauges one for each pod: use Global to keep the last value that any pod sent"))]
pub struct ScopeRule {
    /// Which names. Absent: every name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#match: Option<ScopeMatch>,
    /// Which types. Absent or empty: every type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub types: Vec<MetricType>,
    /// The scope they get. `Global`: one series for all pods, of a gauge the last value that any of them sent. `Fleet`: as
    /// `Global`, but gauges stay one for each pod, since one pod's value says nothing of the others. `Local`: one series for
    /// each pod, percentiles included. `Mixed`: the default split, aggregates for each pod and percentiles over all.
    pub scope: Scope,
}

/// A test on a metric's name.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeMatch {
    /// The name starts with this, 1 to 200 characters. To name one metric write it whole.
    #[schemars(length(min = 1, max = 200))]
    pub name_prefix: String,
}

/// An aggregate of a histogram or timer.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it; doc comments on variants would change the schema's shape")]
pub enum Aggregate {
    Min,
    Max,
    Median,
    Avg,
    Count,
    Sum,
    HMean,
}

/// A type of metric.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it; doc comments on variants would change the schema's shape")]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
    Timer,
    Set,
}

/// Which tier publishes.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it; doc comments on variants would change the schema's shape")]
pub enum Scope {
    Global,
    Local,
    Mixed,
    Fleet,
}
