//! The sample application: Python from the distribution, the client from `PyPI`, and one script.
//!
//! The root folder is made once by debootstrap and pip, from wherever apt and pip of this machine get theirs, and kept
//! in the cache under what it depends on.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::USER;
use crate::cluster::image::{Entry, Image};
use crate::cluster::progress::{Progress, Step};
use crate::cluster::{cache_folder, packages, process, workspace};

/// Changes whenever this file makes another folder of the same requirements.
const RECIPE: &str = "1";

/// Where Debian's Python looks for modules.
const MODULES: &str = "usr/lib/python3/dist-packages";

/// What neither Python nor the script opens: documentation, translations, package management, perl.
const NOT_NEEDED: [&str; 17] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/zoneinfo",
    "usr/share/perl5",
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/bin/perl",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
    "debootstrap",
    "dev",
];

/// The root folder, made if the cache lacks it.
pub(super) fn root(progress: &Progress) -> Result<PathBuf> {
    let requirements = folder().join("requirements.txt");
    let text = fs::read_to_string(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let source = Source::of_apt()?;
    let depends = format!("{RECIPE}\n{}\n{}\n{text}", std::env::consts::ARCH, source.suite);
    let key = format!("{:x}", Sha256::digest(depends));
    let cache = cache_folder()?.join("sample");
    let root = cache.join(&key[..12]);
    if root.exists() {
        return Ok(root);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "the sample application's root folder is made by debootstrap, which needs root: run this command by sudo once"
    );
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    // Another checkout may be at it: then its result is waited for.
    let lock = File::create(cache.join("lock")).context("cannot open the lock file of the sample application")?;
    lock.lock().context("cannot lock the sample application's root folder")?;
    if root.exists() {
        return Ok(root);
    }
    if process::output(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        packages::install(&["python3-pip"], progress)?;
    }
    let unfinished = cache.join("unfinished");
    remove(&unfinished)?;
    progress.step("make the sample application's root folder, once", |step| {
        bootstrap(&source, &unfinished, step)?;
        trim(&unfinished)?;
        step.detail("(client)".into());
        install_client(&requirements, &unfinished)
    })?;
    fs::rename(&unfinished, &root).context("cannot keep the sample application's root folder")?;
    Ok(root)
}

/// The image: the root folder, and the script above it.
pub(super) fn image(root: PathBuf) -> Image {
    let script = Entry::File { path: "app.py".into(), source: folder().join("app.py"), mode: 0o644 };
    Image {
        reference: "localhost/veneur-sample".into(),
        layers: vec![vec![Entry::Tree { path: PathBuf::new(), source: root }], vec![script]],
        entrypoint: ["/usr/bin/python3", "/app.py"].map(String::from).to_vec(),
        user: USER.into(),
        ..Image::default()
    }
}

fn folder() -> PathBuf {
    workspace().join("e2e/sample")
}

/// Where apt gets this machine's own distribution from.
struct Source {
    /// The release's code name.
    suite: String,
    address: String,
}

impl Source {
    fn of_apt() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("cannot tell this machine's distribution")?;
        let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = name.context("/etc/os-release has no VERSION_CODENAME: a Debian or Ubuntu is needed")?;
        let suite = suite.trim_matches('"').to_owned();
        let mut apt = Command::new("apt-get");
        apt.args(["indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages", "Component: main"]);
        let targets = process::output(&mut apt)?;
        let address = targets.lines().find_map(|line| line.strip_prefix(&suite)?.strip_prefix(' '));
        let Some(address) = address.map(str::to_owned) else {
            bail!("apt has no source of component main of {suite}: see `apt-get indextargets`")
        };
        Ok(Self { suite, address })
    }
}

fn bootstrap(source: &Source, root: &Path, step: &Step) -> Result<()> {
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", "--include=python3", &source.suite]).arg(root).arg(&source.address);
    // What it mounts in there goes with it, however it ends: a folder with a mounted /proc must never be removed.
    let private = process::wrap(["unshare", "--mount", "--propagation", "private"], &debootstrap);
    process::watch(private, |line| step.detail(format!("({})", line.trim_start_matches("I: "))))
}

fn trim(root: &Path) -> Result<()> {
    NOT_NEEDED.iter().try_for_each(|path| remove(&root.join(path)))?;
    // perl's modules are in a folder named after the architecture; Python is all that is left to run.
    for folder in fs::read_dir(root.join("usr/lib"))? {
        let folder = folder?.path();
        ["perl-base", "gconv"].iter().try_for_each(|path| remove(&folder.join(path)))?;
    }
    Ok(())
}

/// Without the client's own requirements: see `requirements.txt`.
fn install_client(requirements: &Path, root: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--disable-pip-version-check"]);
    pip.arg("--requirement").arg(requirements).arg("--target").arg(root.join(MODULES));
    // Older pips have no such flag, and pass over the variable.
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    process::output(&mut pip).map(drop)
}

/// Removes a file or folder that need not be there.
fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            bail!("cannot remove {}: {error}", path.display())
        }
        _ => Ok(()),
    }
}
