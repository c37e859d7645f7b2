//! Which contexts change their scope without a change in the application.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::{Field, Report, Shape, leaf};

/// The first rule that matches a context decides its scope. A magic tag, being explicit, wins over every rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeRule {
    /// Which names.
    pub name: NameMatch,
    /// Which kinds; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<KindName>,
    /// The scope they get.
    pub scope: ScopeName,
}

/// A test on a name, written as in the original's sink routing: `{kind: prefix, value: api.}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum NameMatch {
    /// Every name.
    Any,
    /// The name equals the value.
    Exact(String),
    /// The name starts with the value.
    Prefix(String),
}

/// A kind, by the original's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum KindName {
    Counter,
    Gauge,
    Histogram,
    Timer,
    Set,
}

/// A scope, by the original's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeName {
    /// Split between the tiers.
    Mixed,
    /// Published by the receiving instance.
    Local,
    /// Published by the global tier.
    Global,
}

impl Field for ScopeRule {
    const SHAPE: Shape = Shape::Map;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        let allowed = "a rule such as {name: {kind: prefix, value: api.}, types: [timer], scope: global}, with \
                       kind any, exact or prefix and scope mixed, local or global";
        leaf(value, path, report, allowed)
    }
}

impl Field for NameMatch {
    const SHAPE: Shape = Shape::Map;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "a match such as {kind: prefix, value: api.}, with kind any, exact or prefix")
    }
}
