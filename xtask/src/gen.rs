//! Rewrites what is generated: the resource's definition, the protocol code, golden files, manifests.

use anyhow::{Result, ensure};

use crate::cargo;
use crate::chart;
use crate::cluster::progress::Progress;
use crate::cluster::workspace;

/// Packages whose tests compare generated files; with `UPDATE_GOLDEN` set they write them instead.
const GENERATORS: [&str; 4] = ["veneur", "veneur-forward", "veneur-operator-api", "veneur-operator"];

/// Runs every generator.
pub(crate) fn write(progress: &Progress) -> Result<()> {
    for package in GENERATORS {
        progress.step(&format!("generate what {package} compares"), |_| {
            let status = cargo::command()
                .args(["test", "--quiet", "--package", package])
                .env("UPDATE_GOLDEN", "1")
                .current_dir(workspace())
                .status()?;
            ensure!(status.success(), "cargo test --package {package} failed: see above");
            Ok(())
        })?;
    }
    chart::generate(progress)?;
    progress.say("see what changed with `git status`");
    Ok(())
}
