//! What the benches run: ours as users get it, the load generator, and the original.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::progress::Progress;
use crate::cluster::{Parts, workspace};

/// Paths of executables.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) ours: PathBuf,
    pub(crate) load: PathBuf,
    pub(crate) original: PathBuf,
    pub(crate) original_proxy: PathBuf,
}

impl Programs {
    /// Builds all of them, in release.
    pub(crate) fn build(progress: &Progress) -> Result<Self> {
        Parts::opponents()?.build_missing(progress)?;
        Self::own(progress)
    }

    /// Builds what is of this workspace. The original stays where it would be.
    pub(crate) fn own(progress: &Progress) -> Result<Self> {
        progress.step("compile veneur and veneur-load in release", |_| {
            let executables = compile(&["veneur", "veneur-load"])?;
            let find = |name: &str| {
                let found = executables.iter().find(|path| path.file_name().is_some_and(|file| file == name));
                found.cloned().with_context(|| format!("cargo built no executable {name}"))
            };
            let opponents = Parts::opponents()?;
            Ok(Self {
                ours: find("veneur")?,
                load: find("veneur-load")?,
                original: opponents.binary("veneur"),
                original_proxy: opponents.binary("veneur-proxy"),
            })
        })
    }
}

/// Builds these in release; returns their executables.
pub(crate) fn compile(packages: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--message-format=json-render-diagnostics"]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = cargo.current_dir(workspace()).stderr(Stdio::inherit()).output().context("cannot run cargo build")?;
    ensure!(output.status.success(), "`cargo build --release` failed, see above");
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    Ok(messages.lines().filter_map(executable).collect())
}
