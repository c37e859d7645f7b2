//! The bill of materials of an executable: every crate that is compiled into it, as `CycloneDX` 1.5.
//!
//! Made from what Cargo has resolved, `Cargo.lock` and features included. Without a time and a serial number, so that the
//! same sources give the same file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cargo;
use crate::cluster::{process, workspace};

/// Writes the bill of `package` to `folder`; returns where.
pub(super) fn write(package: &str, folder: &Path) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = cargo::command();
    cargo.args(["metadata", "--format-version=1", "--locked", "--filter-platform", &triple]).current_dir(workspace());
    let metadata = serde_json::from_str(&process::output(&mut cargo)?).context("cargo's metadata is no JSON")?;
    let bill = bill(package, &metadata).with_context(|| format!("cargo knows no package {package}"))?;
    let path = folder.join(format!("{package}.cdx.json"));
    // Its time of change decides whether the image is packed anew.
    let text = format!("{bill:#}\n");
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

fn bill(package: &str, metadata: &Value) -> Option<Value> {
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        metadata["resolve"]["nodes"].as_array()?.iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let root = *packages.iter().find(|(_, found)| found["name"] == package)?.0;
    let (mut seen, mut next) = (BTreeSet::new(), vec![root]);
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            next.extend(compiled_in(nodes.get(id)?));
        }
    }
    let component = |id: &str| {
        let package = packages.get(id)?;
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        let kind = if id == root { "application" } else { "library" };
        let mut component = json!({
            "type": kind, "bom-ref": reference(name, version), "name": name, "version": version,
            "purl": reference(name, version),
        });
        if let Some(license) = package["license"].as_str() {
            // An old way to write it, which is no expression.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        Some(component)
    };
    let of = |id: &str| {
        let package = packages.get(id)?;
        Some(reference(package["name"].as_str()?, package["version"].as_str()?))
    };
    let dependencies: Vec<Value> = seen
        .iter()
        .filter_map(|id| {
            let on: BTreeSet<String> = compiled_in(nodes.get(id)?).filter_map(of).collect();
            Some(json!({"ref": of(id)?, "dependsOn": on}))
        })
        .collect();
    Some(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": component(root)?},
        "components": seen.iter().filter(|id| **id != root).filter_map(|id| component(id)).collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

/// What a package needs at run time: neither build scripts nor tests.
fn compiled_in(node: &Value) -> impl Iterator<Item = &str> {
    let dependencies = node["deps"].as_array().into_iter().flatten();
    let normal = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    dependencies.filter(normal).filter_map(|dependency| dependency["pkg"].as_str())
}

fn reference(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_holds_what_is_compiled_in_and_nothing_else() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT"});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let packages = ["app", "used", "deep", "tested", "elsewhere"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "app", "deps": [needs("used", Value::Null), needs("tested", json!("dev"))]},
                {"id": "used", "deps": [needs("deep", Value::Null)]},
                {"id": "deep", "deps": []},
                {"id": "tested", "deps": []},
                {"id": "elsewhere", "deps": []},
            ]},
        });
        let bill = bill("app", &metadata).expect("a bill");
        let names: Vec<_> = bill["components"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["deep", "used"]);
        assert_eq!(bill["metadata"]["component"]["purl"], "pkg:cargo/app@1.0.0");
        assert_eq!(
            bill["dependencies"][0],
            json!({"ref": "pkg:cargo/app@1.0.0", "dependsOn": ["pkg:cargo/used@1.0.0"]})
        );
    }

    #[test]
    fn the_operators_bill_names_its_crates() {
        let folder = tempfile::tempdir().unwrap();
        let path = write("veneur-operator", folder.path()).unwrap();
        let bill: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let has = |name: &str| bill["components"].as_array().unwrap().iter().any(|one| one["name"] == name);
        assert!(has("kube") && has("rustls") && !has("proptest") && !has("aws-lc-rs"));
    }
}
