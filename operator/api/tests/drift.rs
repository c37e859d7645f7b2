//! The definition in `crds/` is the one these types print, and an API server will take it.

use std::{fs, path::Path};

use serde_json::Value;

/// Compares a generated file; `UPDATE_GOLDEN=1` writes it.
fn same(file: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, printed).expect("the file can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == printed, "{file} is not what the types print: run `cargo xtask gen`");
}

#[test]
fn stored_definition_is_the_printed_one() {
    same("crds/veneurpipelines.veneur.dev.yaml", &veneur_operator_api::crd_yaml());
}

#[test]
fn page_of_fields_is_the_printed_one() {
    same("docs/pipeline.md", &veneur_operator_api::reference_md());
}

#[test]
fn chart_holds_the_printed_definition() {
    same(
        "charts/veneur-operator/templates/crds/veneurpipelines.veneur.dev.yaml",
        &veneur_operator_api::chart_crd_yaml(),
    );
}

#[test]
fn definition_stays_small_enough_for_client_side_apply() {
    assert!(veneur_operator_api::crd_yaml().len() < 128 * 1024);
}

#[test]
fn everything_a_rule_reads_is_bounded_and_every_field_is_documented() {
    let crd = serde_json::to_value(veneur_operator_api::crd()).expect("plain JSON");
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    walk("spec", spec);
    assert!(!crd.to_string().contains("nullable"));
    // An API server refuses the whole definition for one whose cost it cannot bound, as that of a number in a text.
    assert!(!crd.to_string().contains("messageExpression"));
}

/// No rule reads what is below these: Kubernetes' own types, which `kubectl explain pod.spec` describes.
const KUBERNETES_OWN: [&str; 3] = ["affinity", "tolerations", "topologySpreadConstraints"];

fn walk(path: &str, schema: &Value) {
    assert!(schema["description"].is_string() || path.ends_with(']'), "{path} has no description");
    let elsewhere = KUBERNETES_OWN.iter().any(|field| path.ends_with(field));
    match schema["type"].as_str() {
        Some("array") => {
            assert!(schema["maxItems"].is_number(), "{path} has no maxItems");
            if !elsewhere {
                walk(&format!("{path}[]"), &schema["items"]);
            }
        }
        Some("string") => {
            assert!(schema["maxLength"].is_number() || schema["enum"].is_array(), "{path} has no maxLength");
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            assert!(schema["maxProperties"].is_number(), "{path} has no maxProperties");
            walk(&format!("{path}[]"), &schema["additionalProperties"]);
        }
        _ => {}
    }
    let properties = schema["properties"].as_object().filter(|_| !elsewhere);
    for (name, property) in properties.into_iter().flatten() {
        walk(&format!("{path}.{name}"), property);
    }
}
