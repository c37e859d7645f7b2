//! The cluster's cgroups: `/veneur-NAME` in every hierarchy, version 1, 2 or both (hybrid).
//!
//! `daemons` below it, in one hierarchy, holds every process that this command started and the shims they started;
//! `kubepods` holds the containers. So whatever sits below the cgroup is the cluster's, also after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Name;
use super::process;

/// The kernel frees a cgroup a moment after its last process is gone.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

struct Hierarchy {
    mount: PathBuf,
    unified: bool,
}

/// The path that kubelet takes as its root, the same in every hierarchy.
pub(crate) fn root(name: &Name) -> String {
    format!("/{}", name.global())
}

/// The cgroup of the daemons, in the one hierarchy that every process is in.
pub(crate) fn of_daemons(name: &Name) -> PathBuf {
    let mut all = hierarchies();
    // The unified hierarchy where there is one: no resource limits hang on it in hybrid mode.
    all.sort_by_key(|hierarchy| !hierarchy.unified);
    let mount = all.into_iter().next().map_or_else(|| "/sys/fs/cgroup".into(), |hierarchy| hierarchy.mount);
    mount.join(name.global()).join("daemons")
}

/// Creates the cluster's cgroup in every hierarchy; kubelet refuses to start below a root that is not there.
pub(crate) fn create(name: &Name) -> Result<()> {
    for hierarchy in hierarchies() {
        let own = hierarchy.mount.join(name.global());
        fs::create_dir_all(&own).with_context(|| format!("cannot create cgroup {}", own.display()))?;
        if hierarchy.unified {
            delegate(&hierarchy.mount);
            delegate(&own);
        }
        // A version 1 cpuset is born empty, and no process may enter it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !hierarchy.unified && own.join(file).exists() {
                let all = fs::read(hierarchy.mount.join(file))?;
                fs::write(own.join(file), all).with_context(|| format!("cannot fill {}/{file}", own.display()))?;
            }
        }
    }
    let daemons = of_daemons(name);
    fs::create_dir_all(&daemons).with_context(|| format!("cannot create cgroup {}", daemons.display()))
}

/// Whether any hierarchy has a cgroup of this cluster.
pub(crate) fn exists(name: &Name) -> bool {
    hierarchies().iter().any(|hierarchy| hierarchy.mount.join(name.global()).exists())
}

/// Kills every process below the cluster's cgroups: daemons, shims, containers.
pub(crate) fn kill_all(name: &Name) -> Result<()> {
    // Again until none is found: a process may fork while its list is read.
    loop {
        let pids: Vec<i32> = folders(name)
            .iter()
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
            .collect();
        if pids.is_empty() {
            return Ok(());
        }
        process::kill(&pids)?;
    }
}

/// Removes the cluster's cgroups, innermost first.
pub(crate) fn remove(name: &Name) -> Result<()> {
    let deadline = Instant::now() + REMOVE_LIMIT;
    loop {
        let mut left = None;
        for folder in folders(name).iter().rev() {
            if let Err(error) = fs::remove_dir(folder) {
                left = Some((folder.clone(), error));
            }
        }
        let Some((folder, error)) = left else { return Ok(()) };
        ensure!(Instant::now() < deadline, "cannot remove cgroup {}: {error}", folder.display());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Every cgroup of the cluster in every hierarchy, parents before children.
fn folders(name: &Name) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for hierarchy in hierarchies() {
        let own = hierarchy.mount.join(name.global());
        if own.exists() {
            descend(own, &mut all);
        }
    }
    all
}

fn descend(folder: PathBuf, all: &mut Vec<PathBuf>) {
    let children = fs::read_dir(&folder).into_iter().flatten().flatten();
    let children: Vec<PathBuf> = children.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    all.push(folder);
    for child in children {
        descend(child, all);
    }
}

/// Lets children of a unified cgroup use what its parent offers. One by one: a controller that cannot be delegated
/// (held by version 1, or real-time processes in the way of `cpu`) must not take the others with it.
fn delegate(folder: &Path) {
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in offered.split_whitespace() {
        if let Err(error) = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")) {
            eprintln!("warning: cgroup controller {controller} cannot be delegated in {}: {error}", folder.display());
        }
    }
}

/// Where cgroup hierarchies are mounted (proc(5), mountinfo: field 5, and the type behind the lone hyphen).
fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let kind = right.split(' ').next()?;
        let mount = PathBuf::from(left.split(' ').nth(4)?);
        matches!(kind, "cgroup" | "cgroup2").then(|| Hierarchy { mount, unified: kind == "cgroup2" })
    };
    mounts.lines().filter_map(parse).collect()
}
