//! Every field of the spec as a page, from the same schema as `kubectl explain`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::crd;

/// Every field with its type, default and meaning: `docs/pipeline.md`.
///
/// # Panics
///
/// As [`crd()`].
pub fn reference_md() -> String {
    let crd = serde_json::to_value(crd()).expect("a definition is plain JSON");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut page = String::from(
        "# Every field of a pipeline\n\n\
         Printed from the resource's definition by `cargo xtask gen`; `kubectl explain vnr.spec.global` shows the same. \
         [`manifests/examples`](../manifests/examples) has an example for each option.\n",
    );
    writeln!(page, "\n{}", text(schema)).expect("a text grows");
    let properties = schema["properties"].as_object();
    let (sections, plain): (Vec<_>, Vec<_>) =
        properties.into_iter().flatten().partition(|(_, field)| is_section(field));
    table(&mut page, &plain);
    for (name, section) in sections {
        writeln!(page, "\n## {name}\n\n{}", text(section)).expect("a text grows");
        let mut rows = Vec::new();
        collect(section, "", &mut rows);
        let rows: Vec<_> = rows.iter().map(|(path, field)| (path, *field)).collect();
        table(&mut page, &rows);
    }
    page
}

/// Types of Kubernetes' own, which are explained elsewhere.
const KUBERNETES_OWN: [&str; 3] = ["affinity", "tolerations", "topologySpreadConstraints"];

fn is_section(field: &Value) -> bool {
    members(field).is_some()
}

/// The fields of an object, or of the objects in a list.
fn members(field: &Value) -> Option<&Map<String, Value>> {
    field["properties"].as_object().or_else(|| field["items"]["properties"].as_object())
}

fn collect<'a>(section: &'a Value, path: &str, rows: &mut Vec<(String, &'a Value)>) {
    for (name, field) in members(section).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        rows.push((path.clone(), field));
        if !KUBERNETES_OWN.contains(&name.as_str()) {
            collect(field, &path, rows);
        }
    }
}

fn table(page: &mut String, rows: &[(impl AsRef<str>, &Value)]) {
    if rows.is_empty() {
        return;
    }
    page.push_str("\n| field | type | |\n|---|---|---|\n");
    for (path, field) in rows {
        writeln!(page, "| `{}` | {} | {} |", path.as_ref(), kind(field), text(field).replace('|', "\\|"))
            .expect("a text grows");
    }
}

fn kind(field: &Value) -> String {
    let word = |schema: &Value| match schema["type"].as_str() {
        _ if schema["x-kubernetes-int-or-string"] == true => "quantity",
        Some("integer") => "number",
        Some("string") => "text",
        Some("boolean") => "true or false",
        _ => "section",
    };
    match field["type"].as_str() {
        _ if field["enum"].is_array() => {
            let words = field["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
            words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
        }
        Some("array") if field["items"]["enum"].is_array() => format!("list of {}", kind(&field["items"])),
        Some("array") => format!("list of {}s", word(&field["items"])),
        Some("object") if field["additionalProperties"].is_object() => {
            format!("map to {}", word(&field["additionalProperties"]))
        }
        _ => word(field).to_owned(),
    }
}

fn text(field: &Value) -> &str {
    field["description"].as_str().unwrap_or_default()
}
