//! Which namespaces a pipeline admits.

use veneur_operator_api::{From, NamespaceSelector, SelectorOperator, VeneurPipeline};

use super::{Skip, SkipReason, choice::Namespace, id};

/// Whether pods of the namespace may use the pipeline.
pub(super) fn admitted(pipeline: &VeneurPipeline, namespace: &Namespace) -> Result<(), Skip> {
    let (own, name) = id(pipeline);
    let injection = &pipeline.spec.injection;
    let refused = |admits: &str, but: &str| {
        let detail = format!("pipeline {own}/{name} admits {admits}; {but}. Its injection.from decides");
        Err(SkipReason::NotAllowed.because(detail))
    };
    match (injection.from, &injection.selector) {
        (From::All, _) => Ok(()),
        (From::Same, _) if namespace.name == own => Ok(()),
        (From::Same, _) => {
            refused(&format!("pods of namespace {own} only"), &format!("this one is of {}", namespace.name))
        }
        (From::Selector, Some(selector)) if selector.matches(&namespace.labels) => Ok(()),
        (From::Selector, selector) => {
            let wanted = selector.as_ref().map(words).unwrap_or_default();
            refused(&format!("namespaces with {wanted}"), &format!("namespace {} has not", namespace.name))
        }
    }
}

/// A selector as `kubectl -l` takes it.
fn words(selector: &NamespaceSelector) -> String {
    let labels = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let tests = selector.match_expressions.iter().map(|test| {
        let (key, values) = (&test.key, test.values.join(","));
        match test.operator {
            SelectorOperator::In => format!("{key} in ({values})"),
            SelectorOperator::NotIn => format!("{key} notin ({values})"),
            SelectorOperator::Exists => key.clone(),
            SelectorOperator::DoesNotExist => format!("!{key}"),
        }
    });
    labels.chain(tests).collect::<Vec<_>>().join(",")
}

/// Whether the pipeline is meant for pods whose namespace has none.
pub(super) fn is_default(pipeline: &VeneurPipeline) -> bool {
    pipeline.spec.injection.cluster_default
}
