//! Whose pods may use the pipeline.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose pods may use the pipeline, and what becomes of those that the webhook did not see.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from != 'Selector' || has(self.selector)")
    .message("injection.selector is required when injection.from is Selector"))]
pub struct Injection {
    /// Which namespaces' pods may use this pipeline: `All`, `Same` (the pipeline's own), or `Selector`. Default `All`. Pods
    /// of others start without a sidecar and are told why.
    #[serde(default)]
    pub from: From,
    /// Labels of the namespaces, for `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
    /// Whether pods that ask for a sidecar without naming a pipeline, in a namespace that has none, get this one. Default
    /// false. Of two in a cluster the older counts, and the younger says so in its conditions.
    #[serde(default)]
    pub cluster_default: bool,
    /// What becomes of pods that asked while the webhook was away, and run without a sidecar: `Report` lists them in the
    /// status, `Evict` also evicts those that a controller makes anew, as far as disruption budgets allow. Default
    /// `Report`.
    #[serde(default)]
    pub on_missed: OnMissed,
}

/// Which namespaces.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum From {
    #[default]
    All,
    Same,
    Selector,
}

/// What becomes of pods that the webhook did not see.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum OnMissed {
    #[default]
    Report,
    Evict,
}

/// A test on a namespace's labels: all of it must hold. An empty one holds for every namespace.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels it must have; at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub match_labels: BTreeMap<String, String>,
    /// Further tests; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<SelectorTest>,
}

/// A test on one label.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
    .message("a matchExpression has values with In and NotIn, and none with Exists and DoesNotExist"))]
pub struct SelectorTest {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In` (its value is one of `values`), `NotIn` (it is none of them, or the label is absent), `Exists`,
    /// `DoesNotExist`.
    pub operator: SelectorOperator,
    /// Values for `In` and `NotIn`; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is tested.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own words; doc comments on variants would change the schema's shape")]
pub enum SelectorOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl NamespaceSelector {
    /// Whether a namespace with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|test| test.matches(labels.get(&test.key)))
    }
}

impl SelectorTest {
    fn matches(&self, value: Option<&String>) -> bool {
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            SelectorOperator::In => listed,
            SelectorOperator::NotIn => !listed,
            SelectorOperator::Exists => value.is_some(),
            SelectorOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_tests_labels_as_kubernetes_does() {
        let labels = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
        for (selector, meant) in [
            ("{}", true),
            ("{matchLabels: {team: shop}}", true),
            ("{matchLabels: {team: shop, env: prod}}", false),
            ("{matchExpressions: [{key: team, operator: In, values: [shop, web]}]}", true),
            ("{matchExpressions: [{key: env, operator: In, values: ['']}]}", false),
            ("{matchExpressions: [{key: env, operator: NotIn, values: [prod]}]}", true),
            ("{matchExpressions: [{key: team, operator: NotIn, values: [shop]}]}", false),
            ("{matchExpressions: [{key: team, operator: Exists}, {key: env, operator: DoesNotExist}]}", true),
            ("{matchExpressions: [{key: team, operator: DoesNotExist}]}", false),
        ] {
            let parsed: NamespaceSelector = serde_saphyr::from_str(selector).expect("a selector");
            assert_eq!(parsed.matches(&labels), meant, "{selector}");
        }
    }
}
