//! Every example is one that an API server takes, and together they show every field of the spec's first two levels.

use std::{collections::BTreeSet, fs, path::Path};

use kube::core::cel::Validator;
use serde_json::Value;

fn pipelines() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        for object in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(object).expect("YAML");
            if object["kind"] == "VeneurPipeline" {
                found.push((name.clone(), object));
            }
        }
    }
    found
}

fn schema() -> Value {
    let crd = serde_json::to_value(veneur_operator_api::crd()).expect("plain JSON");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Keys that the schema does not know.
fn unknown(value: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let path = format!("{path}.{key}");
                let known = &schema["properties"][key];
                match (known.is_object(), schema["additionalProperties"].is_object()) {
                    (true, _) => unknown(member, known, &path, found),
                    (false, true) => unknown(member, &schema["additionalProperties"], &path, found),
                    (false, false) => found.push(path),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| unknown(item, &schema["items"], path, found)),
        _ => {}
    }
}

#[test]
fn every_example_is_accepted() {
    let (schema, validator) = (schema(), Validator::new());
    let pipelines = pipelines();
    assert!(pipelines.len() > 20, "{} examples only", pipelines.len());
    for (name, object) in pipelines {
        let mut found = Vec::new();
        unknown(&object["spec"], &schema["properties"]["spec"], "spec", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{name}");
        if let Err(errors) = validator.validate_with_defaults(&schema, &object, None) {
            panic!("{name}: {errors:?}");
        }
        let read: Result<veneur_operator_api::VeneurPipeline, _> = serde_json::from_value(object);
        read.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_examples_show_every_option() {
    let mut shown = BTreeSet::new();
    for (_, object) in pipelines() {
        for (section, value) in object["spec"].as_object().expect("a spec") {
            shown.insert(section.clone());
            let keys = value.as_object().into_iter().flatten();
            shown.extend(keys.map(|(key, _)| format!("{section}.{key}")));
        }
    }
    let schema = schema();
    let mut missing = Vec::new();
    for (section, below) in schema["properties"]["spec"]["properties"].as_object().expect("sections") {
        let keys = below["properties"].as_object().into_iter().flatten();
        let paths = keys.map(|(key, _)| format!("{section}.{key}")).chain([section.clone()]);
        missing.extend(paths.filter(|path| !shown.contains(path)));
    }
    // Shown for another tier.
    let elsewhere = |path: &String| {
        let (tier, key) = path.split_once('.').unwrap_or((path, ""));
        ["node", "proxy", "global"].contains(&tier)
            && ["proxy", "global", "node"].iter().any(|other| shown.contains(&format!("{other}.{key}")))
    };
    missing.retain(|path| !elsewhere(path));
    assert_eq!(missing, Vec::<String>::new());
}
