//! Whether a run has the disk that it takes: said before half an hour is spent, not after.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cluster::progress::Progress;
use crate::cluster::{cache_folder, workspace};

/// Gigabytes that `cargo xtask test` writes below `target` from nothing; measured.
const RUN: u64 = 8;
/// Gigabytes that building the cluster's parts takes, for once; most of it is given back.
const PARTS: u64 = 10;

/// Says how much is free, and whether that is too little for a run from nothing.
pub(crate) fn say_free(progress: &Progress) -> Result<()> {
    let cache = cache_folder()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let (here, there) = (free(workspace())?, free(&cache)?);
    progress.say(&format!("disk: {here} GB free for target, {there} GB for {}", cache.display()));
    if here.min(there) < RUN + PARTS {
        let takes =
            format!("a run from nothing takes {RUN} GB, and {PARTS} GB while the cluster's parts are built, once");
        progress.say(&format!("disk: that may be TOO LITTLE: {takes}"));
    }
    Ok(())
}

/// In gigabytes, for a user who is not root.
fn free(folder: &Path) -> Result<u64> {
    let asked = rustix::fs::statvfs(folder);
    let disk = asked.with_context(|| format!("cannot tell the free space of {}", folder.display()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) / 1_000_000_000)
}
