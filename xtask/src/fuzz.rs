//! The fuzz command: every target of every room, with libFuzzer, on the compiler that this project builds with.
//!
//! Coverage is a pass of LLVM that a stable compiler runs when asked by `-C` options, so neither a nightly toolchain nor
//! cargo-fuzz has to be installed. Address sanitizing is left out: it would need the former, and these rooms forbid
//! `unsafe`; arithmetic and assertions are checked as in a debug build.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::cargo;
use crate::cluster::progress::Progress;
use crate::cluster::{process, workspace};

/// How long `cargo xtask test` runs each.
pub(crate) const SECONDS: u64 = 20;

/// Counters and comparisons of every edge, as cargo-fuzz asks for them, in one unit of code so that none is lost.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// Bytes of an input: what fits into a datagram.
const LONGEST: u32 = 65_507;

/// How long, and what.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// Seconds for each target.
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The same in minutes.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// Only these; by default all.
    targets: Vec<String>,
}

impl Fuzz {
    /// Runs what was asked for.
    pub(crate) fn run(&self, progress: &Progress) -> Result<()> {
        let seconds = self.minutes.map_or(self.seconds, |minutes| minutes * 60);
        run(Duration::from_secs(seconds), &self.targets, progress)
    }
}

/// A `[[bin]]` of a room's folder `fuzz`.
struct Target {
    name: String,
    /// The room's folder `fuzz`.
    folder: PathBuf,
}

/// Runs every target, or those that are named, for so long each; stops at the first that finds something.
pub(crate) fn run(each: Duration, only: &[String], progress: &Progress) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|target| target.name != **name)) {
        let names: Vec<&str> = all.iter().map(|target| target.name.as_str()).collect();
        bail!("there is no fuzz target {unknown}; there are {}", names.join(", "));
    }
    for target in all.iter().filter(|target| only.is_empty() || only.contains(&target.name)) {
        let program = progress.step(&format!("compile fuzz target {}", target.name), |_| target.compile())?;
        progress.step(&format!("fuzz {}", target.name), |step| {
            target.fuzz(&program, each, |line| {
                // `#131072 pulse cov: 412 ft: 1702 corp: …`: how far it is.
                if line.starts_with('#') {
                    step.detail(line.split_whitespace().take(5).collect::<Vec<_>>().join(" "));
                }
            })
        })?;
    }
    Ok(())
}

/// The targets of all rooms, by what cargo says of their packages.
fn targets() -> Result<Vec<Target>> {
    let mut all = Vec::new();
    let rooms = workspace().join("dataplane");
    for room in fs::read_dir(&rooms).with_context(|| format!("cannot list {}", rooms.display()))? {
        let folder = room?.path().join("fuzz");
        if !folder.join("Cargo.toml").exists() {
            continue;
        }
        let mut metadata = cargo::command();
        metadata.args(["metadata", "--format-version=1", "--no-deps", "--locked"]).current_dir(&folder);
        let metadata: Value = serde_json::from_str(&process::output(&mut metadata)?)?;
        for package in metadata["packages"].as_array().into_iter().flatten() {
            for bin in package["targets"].as_array().into_iter().flatten().filter(|bin| bin["kind"][0] == "bin") {
                let name = bin["name"].as_str().context("cargo metadata: a target has no name")?.to_owned();
                all.push(Target { name, folder: folder.clone() });
            }
        }
    }
    ensure!(!all.is_empty(), "no room has a fuzz target");
    all.sort_by(|one, other| (&one.folder, &one.name).cmp(&(&other.folder, &other.name)));
    Ok(all)
}

impl Target {
    fn compile(&self) -> Result<PathBuf> {
        // The target by name: with it, the flags do not reach build scripts and macros.
        let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        let mut cargo = cargo::command();
        cargo.args(["build", "--release", "--locked", "--quiet", "--target", &triple, "--bin", &self.name]);
        cargo.arg("--target-dir").arg(work().join("build"));
        cargo.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS").current_dir(&self.folder);
        process::output(&mut cargo)?;
        Ok(work().join("build").join(triple).join("release").join(&self.name))
    }

    /// Begins with the committed corpus and with what earlier runs on this machine found.
    fn fuzz(&self, program: &Path, each: Duration, mut on_line: impl FnMut(&str)) -> Result<()> {
        let (grown, found) = (work().join("corpus").join(&self.name), work().join("artifacts").join(&self.name));
        for folder in [&grown, &found] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut command = Command::new(program);
        command.args([
            &format!("-max_total_time={}", each.as_secs()),
            &format!("-max_len={LONGEST}"),
            // A single input that takes that long, or that much memory, is a finding.
            "-timeout=5",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
        ]);
        command.arg(format!("-artifact_prefix={}/", found.display())).arg(&grown);
        let committed = self.folder.join("corpus").join(&self.name);
        if committed.exists() {
            command.arg(committed);
        }
        process::watch(command, &mut on_line).with_context(|| {
            format!(
                "fuzz target {} found something; its input is in {}, `{} FILE` runs it again",
                self.name,
                found.display(),
                program.display(),
            )
        })
    }
}

/// Where targets are built, and where inputs are kept from run to run.
fn work() -> PathBuf {
    workspace().join("target/fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_themselves() {
        let names: Vec<String> = targets().unwrap().into_iter().map(|target| target.name).collect();
        assert!(["datagram", "import"].iter().all(|name| names.iter().any(|found| found == name)), "{names:?}");
    }
}
