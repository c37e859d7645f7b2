//! Limits on CPU and memory of one process, in cgroups of version 1 or 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::process::wrap;

/// The scheduler's period, as a kubelet sets it.
const PERIOD_US: u64 = 100_000;

/// Enters the cgroups up to `--`, then becomes the process.
const ENTER: &str = r#"while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@""#;

/// Cgroups of this process's own making; removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    cpu: Folder,
    memory: Folder,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    unified: bool,
}

impl Cgroup {
    /// Creates them; needs root.
    pub(crate) fn create(name: &str, millicores: Option<u64>, memory_bytes: Option<u64>) -> Result<Self> {
        let name = format!("veneur-bench-{name}-{}", std::process::id());
        let cgroup = Self { cpu: Folder::create("cpu", &name)?, memory: Folder::create("memory", &name)? };
        if let Some(millicores) = millicores {
            let quota = millicores * PERIOD_US / 1_000;
            if cgroup.cpu.unified {
                cgroup.cpu.write("cpu.max", &format!("{quota} {PERIOD_US}"))?;
            } else {
                cgroup.cpu.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                cgroup.cpu.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        if let Some(bytes) = memory_bytes {
            let file = if cgroup.memory.unified { "memory.max" } else { "memory.limit_in_bytes" };
            cgroup.memory.write(file, &bytes.to_string())?;
        }
        Ok(cgroup)
    }

    /// `command`, run inside.
    pub(crate) fn wrap(&self, command: &Command) -> Command {
        let path = |folder: &Folder| folder.path.to_string_lossy().into_owned();
        wrap(["sh", "-c", ENTER, "sh", &path(&self.cpu), &path(&self.memory), "--"], command)
    }

    /// How often a process inside was killed for its memory.
    pub(crate) fn killed(&self) -> Result<u64> {
        let file = if self.memory.unified { "memory.events" } else { "memory.oom_control" };
        let text = self.memory.read(file)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).with_context(|| format!("{file} does not say oom_kill"))
    }

    /// Most memory that was charged to it.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        let file = if self.memory.unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        self.memory.read(file)?.trim().parse().with_context(|| format!("{file} is no number"))
    }

    /// How often its time was used up, for people.
    pub(crate) fn throttling(&self) -> String {
        let stat = self.cpu.read("cpu.stat").unwrap_or_default();
        let field = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").to_owned();
        format!("throttled in {} of {} periods", field("nr_throttled "), field("nr_periods "))
    }
}

impl Folder {
    fn create(controller: &str, name: &str) -> Result<Self> {
        let (mount, unified) = mount_of(controller)?;
        if unified {
            // Refused where it is on already by another way; then the files below are there.
            drop(fs::write(mount.join("cgroup.subtree_control"), format!("+{controller}")));
        }
        let path = mount.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot create cgroup {}: limits need root", path.display()))?;
        Ok(Self { path, unified })
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {text:?} to {}", path.display()))
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A process that is still being torn down holds it for a moment; an empty folder harms nobody.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Where a controller is, and whether that is version 2 (proc(5), mountinfo: field 5; type and options behind the lone
/// hyphen).
fn mount_of(controller: &str) -> Result<(PathBuf, bool)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4).map(Path::new) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
        let has = match kind {
            "cgroup" => options.split(',').any(|option| option == controller),
            "cgroup2" => fs::read_to_string(mount.join("cgroup.controllers"))
                .is_ok_and(|all| all.split_whitespace().any(|one| one == controller)),
            _ => false,
        };
        if has {
            return Ok((mount.to_owned(), kind == "cgroup2"));
        }
    }
    bail!("this machine has no cgroup controller {controller}")
}
