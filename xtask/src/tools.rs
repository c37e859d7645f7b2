//! Cargo tools that the checks need, installed by version into the cache.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::cluster::cache_folder;
use crate::cluster::progress::Progress;

const CARGO_DENY: &str = "0.20.2";

/// cargo-deny, installed when it is not there.
pub(crate) fn cargo_deny(progress: &Progress) -> Result<PathBuf> {
    let root = cache_folder()?.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        progress.step(&format!("install cargo-deny {CARGO_DENY}"), |_| {
            let installed = cargo::command()
                .args(["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
                .arg(&root)
                .status()
                .context("cannot run cargo install")?;
            ensure!(installed.success(), "cargo install cargo-deny failed, see above");
            Ok(())
        })?;
    }
    Ok(program)
}
