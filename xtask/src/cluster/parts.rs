//! Programs of others, built from public Go modules and cached by version: the cluster's own parts, pinned in
//! `xtask/cluster/parts`, and what this project is measured against, pinned in `xtask/opponents`.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::name::workspace;
use super::packages;
use super::process;
use super::progress::{Progress, Step};

/// The newest that a part's go.mod asks for. From 1.21 on, an older Go fetches it by itself.
const GO: &str = "1.26";
const GO_MINOR_THAT_FETCHES: u32 = 21;

#[derive(Debug)]
struct Part {
    name: &'static str,
    version: &'static str,
    /// Program and the Go package of its `main`.
    programs: &'static [(&'static str, &'static str)],
    /// Packages whose version variables are stamped: without them kubelet and API server report v0.0.0.
    stamps: &'static [&'static str],
}

const PARTS: [Part; 4] = [
    Part {
        name: "kubernetes",
        version: "1.34.4",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
        stamps: &["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"],
    },
    // A folder of its own each, as their requirements contradict each other's.
    Part { name: "etcd", version: "3.6.16", programs: &[("etcd", "go.etcd.io/etcd/server/v3")], stamps: &[] },
    Part { name: "coredns", version: "1.14.7", programs: &[("coredns", "github.com/coredns/coredns")], stamps: &[] },
    Part { name: "helm", version: "3.22.0", programs: &[("helm", "helm.sh/helm/v3/cmd/helm")], stamps: &[] },
];

/// What this project is measured against.
const OPPONENTS: [Part; 1] = [Part {
    name: "veneur",
    version: "14.2.0",
    programs: &[
        ("veneur", "github.com/stripe/veneur/v14/cmd/veneur"),
        ("veneur-proxy", "github.com/stripe/veneur/v14/cmd/veneur-proxy"),
        ("veneur-emit", "github.com/stripe/veneur/v14/cmd/veneur-emit"),
    ],
    stamps: &[],
}];

/// The cache of built parts, shared by all clusters and checkouts of a user.
#[derive(Debug)]
pub(crate) struct Parts {
    cache: PathBuf,
    list: &'static [Part],
    /// The folder of pinned modules, below the workspace.
    pins: &'static str,
}

/// What survives the clusters and is shared by all checkouts of a user: `$XDG_CACHE_HOME`, else `~/.cache`.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.context("no home folder to cache in: set HOME or XDG_CACHE_HOME")?.join("veneur"))
}

/// Every part with its version, on one line.
pub(crate) fn versions() -> String {
    PARTS.map(|part| part.folder()).join(" ")
}

impl Parts {
    /// The parts in the user's cache folder.
    pub(crate) fn in_cache() -> Result<Self> {
        Ok(Self { cache: cache_folder()?, list: &PARTS, pins: "xtask/cluster/parts" })
    }

    /// The opponents, in the same cache.
    pub(crate) fn opponents() -> Result<Self> {
        Ok(Self { cache: cache_folder()?, list: &OPPONENTS, pins: "xtask/opponents" })
    }

    /// Where a program of the parts is, or will be.
    pub(crate) fn binary(&self, program: &str) -> PathBuf {
        let part = self.list.iter().find(|part| part.programs.iter().any(|(name, _)| *name == program));
        self.folder(part.expect("callers name programs of the list")).join(program)
    }

    /// A lock file of this name, in the cache.
    pub(crate) fn lock_file(&self, name: &str) -> Result<PathBuf> {
        let folder = self.cache.join("locks");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder.join(name))
    }

    /// One program, built if the cache lacks it.
    pub(crate) fn built(&self, program: &str, progress: &Progress) -> Result<PathBuf> {
        self.build_if(progress, |name| name == program)?;
        Ok(self.binary(program))
    }

    /// Builds what the cache lacks; on two cores about 15 minutes for everything.
    pub(crate) fn build_missing(&self, progress: &Progress) -> Result<()> {
        self.build_if(progress, |_| true)
    }

    fn build_if(&self, progress: &Progress, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let missing = || self.missing().into_iter().filter(|(_, program, _)| wanted(program));
        if missing().next().is_none() {
            return Ok(());
        }
        require_go()?;
        // Another checkout may be at it: then its result is waited for, and nothing is built twice.
        let lock = File::create(self.lock_file("parts")?).context("cannot open the lock file of the parts")?;
        lock.lock().context("cannot lock the parts")?;
        for (part, program, package) in missing() {
            let title = format!("build {program} {}, once", part.version);
            progress.step(&title, |step| self.build(part, program, package, step))?;
        }
        // Five gigabytes that serve no other version; an interrupted build finds them again. There are none if another
        // checkout has built everything meanwhile.
        let objects = self.objects();
        if objects.exists() {
            fs::remove_dir_all(&objects).with_context(|| format!("cannot remove {}", objects.display()))?;
        }
        Ok(())
    }

    fn missing(&self) -> Vec<(&'static Part, &'static str, &'static str)> {
        let all =
            self.list.iter().flat_map(|part| part.programs.iter().map(move |(program, go)| (part, *program, *go)));
        all.filter(|(_, program, _)| !self.binary(program).exists()).collect()
    }

    /// Builds under another name and renames: an interrupted build leaves no half program.
    fn build(&self, part: &Part, program: &str, package: &str, step: &Step) -> Result<()> {
        let unfinished = self.folder(part).join(format!(".{program}.unfinished"));
        let mut build = Command::new("go");
        build.args(["build", "-v", "-trimpath", "-ldflags", &part.linker_flags(), "-o"]).arg(&unfinished).arg(package);
        build.current_dir(workspace().join(self.pins).join(part.name)).env("CGO_ENABLED", "0");
        build.env("GOCACHE", self.objects());
        let mut compiled = 0;
        process::watch(build, |_| {
            compiled += 1;
            step.detail(format!("({compiled} packages compiled)"));
        })?;
        fs::rename(&unfinished, self.binary(program)).with_context(|| format!("cannot keep the built {program}"))
    }

    /// What is compiled on the way to the programs.
    fn objects(&self) -> PathBuf {
        self.cache.join("objects")
    }

    fn folder(&self, part: &Part) -> PathBuf {
        self.cache.join("parts").join(part.folder())
    }
}

impl Part {
    fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    fn linker_flags(&self) -> String {
        let mut numbers = self.version.split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let stamp = |package: &&str| {
            let version = self.version;
            format!(" -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
        };
        format!("-s -w{}", self.stamps.iter().map(stamp).collect::<String>())
    }
}

fn require_go() -> Result<()> {
    let hint =
        format!("the cluster's parts and opponents are built with Go: install Go {GO} or newer from https://go.dev/dl");
    ensure!(packages::find("go").is_some(), "no go on PATH; {hint}");
    let version = process::output(Command::new("go").args(["env", "GOVERSION"]).current_dir(Path::new("/")))?;
    let minor = version.trim().strip_prefix("go1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    // A version that does not read `go1.N…` is a development build: newer than any bound here.
    ensure!(minor.is_none_or(|minor| minor >= GO_MINOR_THAT_FETCHES), "{} is too old; {hint}", version.trim());
    Ok(())
}
