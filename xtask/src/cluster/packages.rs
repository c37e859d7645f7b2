//! Programs that the distribution provides: looked for by name, so that any origin will do; installed by apt if missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::process;
use super::progress::Progress;

/// Program and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("debootstrap", "debootstrap"),
];

/// Where distributions put CNI plugins.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Installs what is missing.
pub(crate) fn install_missing(progress: &Progress) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    install(&packages, progress)?;
    let (list, still) = (packages.join(" "), missing());
    ensure!(still.is_empty(), "apt-get installed {list}, but nothing of {} is found on PATH", still.join(" "));
    Ok(())
}

/// Installs these Debian packages.
pub(crate) fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    let list = packages.join(" ");
    ensure!(
        find("apt-get").is_some(),
        "programs are missing and there is no apt-get: install the counterparts of: {list}"
    );
    progress.step(&format!("install {list}"), |_| {
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        process::output(Command::new("apt-get").arg("update"))?;
        process::output(&mut install).map(drop)
    })
}

/// The Debian packages to install, empty when all programs are there.
pub(crate) fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> = PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|it| it.1).collect();
    packages.extend(cni_folder().is_err().then_some("containernetworking-plugins"));
    packages.extend(static_busybox().is_err().then_some("busybox-static"));
    packages.dedup();
    packages
}

/// The folder of the CNI plugins.
pub(crate) fn cni_folder() -> Result<PathBuf> {
    let folder = CNI_FOLDERS.iter().map(Path::new).find(|folder| folder.join("bridge").exists());
    folder.map(Path::to_owned).context("no CNI plugins found: install containernetworking-plugins")
}

/// A busybox that needs no shared library, fit for an image without any other file.
pub(crate) fn static_busybox() -> Result<PathBuf> {
    let path = find("busybox").context("no busybox on PATH: install busybox-static")?;
    let program = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // A dynamic executable names its loader (`/lib64/ld-linux-…`, `/lib/ld-musl-…`) right behind its headers.
    let head = &program[..program.len().min(4096)];
    if head.windows(4).any(|window| window == b"/ld-") {
        bail!("{} is not static: install busybox-static", path.display());
    }
    Ok(path)
}

/// The first program of this name on PATH, or in the administrator's folders, which a user's PATH may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
