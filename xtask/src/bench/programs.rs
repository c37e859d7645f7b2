//! What the benches run: ours as users get it, from the images; the load generator; and the original.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo;
use crate::cluster::progress::Progress;
use crate::cluster::{Parts, workspace};
use crate::images;

/// Paths of executables.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) ours: PathBuf,
    pub(crate) load: PathBuf,
    pub(crate) original: PathBuf,
    pub(crate) original_proxy: PathBuf,
}

impl Programs {
    /// Builds all of them.
    pub(crate) fn build(progress: &Progress) -> Result<Self> {
        Parts::opponents()?.build_missing(progress)?;
        Self::own(progress)
    }

    /// Builds what is of this workspace. The original stays where it would be.
    pub(crate) fn own(progress: &Progress) -> Result<Self> {
        let opponents = Parts::opponents()?;
        Ok(Self {
            ours: images::compile(progress)?.join("veneur"),
            load: load(progress)?,
            original: opponents.binary("veneur"),
            original_proxy: opponents.binary("veneur-proxy"),
        })
    }
}

/// Builds the load generator, in release; returns its executable.
pub(crate) fn load(progress: &Progress) -> Result<PathBuf> {
    progress.step("compile veneur-load in release", |_| {
        let mut cargo = cargo::command();
        cargo.args(["build", "--release", "--locked", "--message-format=json-render-diagnostics"]);
        cargo.args(["--package", "veneur-load"]);
        let output =
            cargo.current_dir(workspace()).stderr(Stdio::inherit()).output().context("cannot run cargo build")?;
        ensure!(output.status.success(), "`cargo build --release` failed, see above");
        let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
        let executable = |line: &str| {
            let message: Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        };
        messages.lines().find_map(executable).context("cargo built no veneur-load")
    })
}
