//! House rules that a machine can check: directions between rooms, lints, file sizes, words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo;
use crate::cluster::workspace;

/// Lines above which a file is refused: split it by what it is about.
const LONGEST_FILE: usize = 600;

/// What pure rooms must not have anywhere below them.
const IMPURE: [&str; 6] = ["tokio", "hyper", "tonic", "kube", "socket2", "tracing"];

/// Crates that have to appear once: their types meet in signatures, or two providers of one thing would fight.
const ONCE: [&str; 6] = ["kube", "k8s-openapi", "schemars", "rustls", "tonic", "prost"];

/// Crates that must not appear at all: the project has one TLS provider, ring.
const NEVER: [&str; 3] = ["aws-lc-rs", "openssl-sys", "native-tls"];

/// Checks everything and reports every violation.
pub(crate) fn check() -> Result<()> {
    let metadata = metadata()?;
    let mut wrong = Vec::new();
    wrong.extend(directions(&metadata)?);
    wrong.extend(purity(&metadata)?);
    wrong.extend(single_versions(&metadata)?);
    wrong.extend(manifests(&metadata)?);
    wrong.extend(sources()?);
    ensure!(wrong.is_empty(), "{} house rules are broken:\n  {}", wrong.len(), wrong.join("\n  "));
    Ok(())
}

/// Every edge between rooms is one that the table in ARCHITECTURE.md allows, and every room is in it.
fn directions(metadata: &Value) -> Result<Vec<String>> {
    let allowed = table()?;
    let rooms = rooms(metadata)?;
    let by_name: BTreeMap<&str, &str> = rooms.iter().map(|(room, package)| (name(package), room.as_str())).collect();
    let mut wrong = Vec::new();
    for (room, package) in &rooms {
        let Some(may) = allowed.get(room) else {
            wrong.push(format!("ARCHITECTURE.md: its table of rooms lacks {room}"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_dev = dependency["kind"] == "dev";
            if let Some(target) = by_name.get(name(dependency))
                && !is_dev
                && !may.contains(*target)
            {
                wrong.push(format!("{room} must not depend on {target}: see the table in ARCHITECTURE.md"));
            }
        }
    }
    Ok(wrong)
}

/// Rooms to what they may depend on, from the table `| layer | room | may depend on |`.
fn table() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let path = workspace().join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let (room, may) = (cells.get(1)?, cells.get(2)?);
        let room = room.strip_prefix('`')?.strip_suffix('`')?;
        let may = may.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((room.to_owned(), may))
    });
    Ok(rows.collect())
}

/// Pure rooms reach no runtime, socket or API client through any dependency.
fn purity(metadata: &Value) -> Result<Vec<String>> {
    let pure = ["sketch", "ring", "config", "metric", "dogstatsd", "aggregate", "wire"];
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata has no resolve graph")?
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let names: BTreeMap<&str, &str> =
        packages(metadata)?.iter().filter_map(|package| Some((package["id"].as_str()?, name(package)))).collect();
    let mut wrong = Vec::new();
    for room in pure {
        let package = format!("veneur-{room}");
        let Some((start, _)) = names.iter().find(|(_, name)| **name == package) else {
            wrong.push(format!("there is no package {package}, whose purity was to be checked"));
            continue;
        };
        let mut open: Vec<&str> = vec![start];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let found = names.get(id).copied().unwrap_or_default();
            if IMPURE.contains(&found) {
                wrong.push(format!("dataplane/{room} is pure and must not reach {found}"));
            }
            for edge in nodes.get(id).and_then(|node| node["deps"].as_array()).into_iter().flatten() {
                let normal = edge["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null());
                if let (true, Some(next)) = (normal, edge["pkg"].as_str()) {
                    open.push(next);
                }
            }
        }
    }
    Ok(wrong)
}

fn single_versions(metadata: &Value) -> Result<Vec<String>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages(metadata)? {
        versions.entry(name(package)).or_default().insert(package["version"].as_str().unwrap_or_default());
    }
    let twice = ONCE.iter().filter_map(|name| {
        let found = versions.get(name).filter(|found| found.len() > 1)?;
        Some(format!("Cargo.lock: {name} has to appear once, and does as {found:?}"))
    });
    let never = NEVER.iter().filter(|name| versions.contains_key(*name));
    Ok(twice.chain(never.map(|name| format!("Cargo.lock: {name} must not be in the tree"))).collect())
}

/// Every package takes its lints and its dependencies from the workspace.
fn manifests(metadata: &Value) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in rooms(metadata)?.values() {
        let path = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        let text = std::fs::read_to_string(&path)?;
        let shown = path.strip_prefix(workspace()).unwrap_or(&path).display();
        if !text.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{shown}: lacks `[lints] workspace = true`"));
        }
        let stray = text.lines().skip_while(|line| !line.contains("dependencies]")).find(|line| {
            line.split_once(" = ").is_some_and(|(_, value)| value.starts_with('"') || value.contains("version ="))
        });
        if let Some(line) = stray.filter(|line| !line.starts_with("path") && !line.starts_with("name")) {
            wrong.push(format!("{shown}: `{line}` belongs into the workspace's dependencies"));
        }
    }
    Ok(wrong)
}

/// Sizes, unfinished work, and files that no module declares.
fn sources() -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(workspace())
        .output()?;
    let files: Vec<String> = String::from_utf8(listed.stdout)?.lines().map(str::to_owned).collect();
    let mut wrong = Vec::new();
    // Built from halves, so that this file does not find itself.
    let unfinished = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["todo", "!("].concat()];
    for file in &files {
        let path = workspace().join(file);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let lines = text.lines().count();
        if lines > LONGEST_FILE && !file.contains("/gen/") {
            wrong.push(format!("{file}: {lines} lines, {LONGEST_FILE} are the most: split it by what it is about"));
        }
        if let Some(word) = unfinished.iter().find(|word| text.contains(word.as_str())) {
            wrong.push(format!("{file}: {word}: finish it"));
        }
        if !declared(file, &files) {
            wrong.push(format!("{file}: no module declares it, so nothing compiles it"));
        }
    }
    Ok(wrong)
}

/// Whether cargo or a `mod` line reaches the file.
fn declared(file: &str, files: &[String]) -> bool {
    let path = Path::new(file);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let roots = ["/tests/", "/benches/", "/fuzz_targets/", "/examples/", "/gen/"];
    if matches!(stem, "lib" | "main" | "build") || roots.iter().any(|root| file.contains(root)) {
        return true;
    }
    let lines = [format!("mod {stem};"), format!("mod r#{stem};")];
    files
        .iter()
        .filter(|other| {
            Path::new(other).parent() == path.parent()
                || Path::new(other).with_extension("") == path.parent().unwrap_or(path)
        })
        .any(|other| {
            std::fs::read_to_string(workspace().join(other))
                .is_ok_and(|text| lines.iter().any(|line| text.contains(line)))
        })
}

/// The workspace's own packages by folder.
fn rooms(metadata: &Value) -> Result<BTreeMap<String, &Value>> {
    let root = workspace();
    let own = packages(metadata)?.iter().filter_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let room = manifest.parent()?.strip_prefix(root).ok()?;
        Some((room.to_str()?.to_owned(), package))
    });
    Ok(own.collect())
}

fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("cargo metadata lists no packages")
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap_or_default()
}

fn metadata() -> Result<Value> {
    let output = cargo::command()
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(workspace())
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
