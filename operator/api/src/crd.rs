//! The `CustomResourceDefinition`, from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

use crate::VeneurPipeline;

/// The definition as it is installed.
///
/// Two things of the derived schema are taken out. `nullable`, which every `Option` gets: with it an explicit `null`
/// is stored instead of pruned, defaults do not apply and `has()` is true for it. And Kubernetes' own descriptions within
/// its own types, which would be most of the definition: `kubectl explain pod.spec` has them.
///
/// # Panics
///
/// If the types derive no valid definition; then the tests here fail first.
pub fn crd() -> CustomResourceDefinition {
    let mut tree = serde_json::to_value(VeneurPipeline::crd()).expect("a definition is plain JSON");
    strip(&mut tree, "nullable");
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
    if let Some(items) = tree.pointer_mut(&format!("{schema}/status/properties/conditions/items")) {
        strip(items, "description");
    }
    for tier in ["node", "proxy", "global"] {
        for field in KUBERNETES_OWN {
            if let Some(field) = tree.pointer_mut(&format!("{schema}/spec/properties/{tier}/properties/{field}")) {
                let description = field["description"].take();
                strip(field, "description");
                field["description"] = description;
            }
        }
    }
    unwrap_lines(&mut tree);
    serde_json::from_value(tree).expect("only optional keys were removed and texts changed")
}

/// The definition as YAML: `crds/veneurpipelines.veneur.dev.yaml`.
///
/// # Panics
///
/// As [`crd`].
pub fn crd_yaml() -> String {
    printed(&crd())
}

/// Indented by one: the schema is deep, and half of its file would be spaces.
fn printed(crd: &CustomResourceDefinition) -> String {
    let options = serde_saphyr::ser_options! { indent_step: 1 };
    serde_saphyr::to_string_with_options(crd, options).expect("a definition is plain YAML")
}

/// The definition as a template of the chart: kept when the release is uninstalled, left out on request.
///
/// # Panics
///
/// As [`crd`].
pub fn chart_crd_yaml() -> String {
    let mut crd = crd();
    crd.metadata.annotations.get_or_insert_default().insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    let inert = printed(&crd).replace("{{", "{{ \"{{\" }}");
    format!("{{{{- if .Values.crds.enabled }}}}\n{inert}{{{{- end }}}}\n")
}

/// Fields of tiers whose types are Kubernetes' own.
const KUBERNETES_OWN: [&str; 3] = ["affinity", "tolerations", "topologySpreadConstraints"];

/// Makes one line of each paragraph of a description: `kubectl explain` wraps them itself, and would keep ours too.
fn unwrap_lines(tree: &mut Value) {
    match tree {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    value => unwrap_lines(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

/// Removes a keyword of the schema. A property may bear the same name: its value is a schema, never a bool or a text.
fn strip(tree: &mut Value, keyword: &str) {
    match tree {
        Value::Object(members) => {
            members.retain(|key, value| key != keyword || value.is_object());
            members.values_mut().for_each(|value| strip(value, keyword));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, keyword)),
        _ => {}
    }
}
