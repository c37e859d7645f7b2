//! A real one-node Kubernetes on this machine: API server, etcd, controller manager, scheduler, kubelet, containerd,
//! kube-proxy and `CoreDNS` as plain processes in one network namespace.
//!
//! Invariants: addresses are the same in every cluster, because each has a network namespace of its own; whatever is
//! global to the machine (network namespace, state folder, cgroups) carries the cluster's name; containerd and kubelet
//! live in a private mount namespace, so no mount of a pod is ever visible, or left, outside it; only processes that
//! were recorded, or that sit in the cluster's own cgroups, are ever killed.

pub(crate) mod image;
pub(crate) mod packages;
pub(crate) mod process;
pub(crate) mod progress;

mod certificates;
mod cgroup;
mod control_plane;
mod dns;
mod name;
mod network;
mod node;
mod parts;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use image::Image;
pub(crate) use name::{Name, workspace};
pub(crate) use parts::{Parts, cache_folder};
use process::Daemons;
use progress::Progress;

/// Kept short: unix socket paths below it must stay under 108 bytes.
const STATE: &str = "/var/lib/veneur-xtask";

/// One named cluster, running or not; everything about it follows from its name.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: Name,
    state: PathBuf,
    parts: Parts,
}

/// What a look at the machine says about a cluster.
enum Health {
    Absent,
    Ready,
    /// Something of it is there, but not all; the reason reads after "because".
    Broken(String),
}

/// Starts the cluster of this name, or finds it running; returns when its node is ready and names resolve.
///
/// A start that fails leaves its processes and logs to look at; the next one, or [`Cluster::stop`], clears them away.
pub(crate) fn start(name: &Name, progress: &Progress) -> Result<Cluster> {
    let cluster = Cluster::named(name)?;
    if !rustix::process::geteuid().is_root() {
        // As much as needs no root is done as the user, so that it lands in the user's cache.
        cluster.parts.build_missing(progress)?;
    }
    require_root(&format!("up --name {name}"))?;
    let _lock = cluster.lock()?;
    match cluster.health() {
        Health::Ready => {
            progress.say(&format!("cluster {name} is running"));
            return Ok(cluster);
        }
        Health::Broken(why) => {
            progress.say(&format!("cluster {name} is started anew, because {why}"));
            progress.step("remove the old one", |_| cluster.clear())?;
        }
        Health::Absent => {}
    }
    packages::install_missing(progress)?;
    cluster.parts.build_missing(progress)?;
    cluster.boot(progress)?;
    progress.say(&format!("cluster {name} is ready after {:.1} s", progress.elapsed().as_secs_f64()));
    Ok(cluster)
}

/// Starts etcd and the API server alone, anew: what is stored there, nothing acts on. Requests that `audit_policy` names
/// are written to [`Cluster::audit_log`]. `task` is the command that asks, for whoever lacks the rights.
pub(crate) fn start_api(task: &str, name: &Name, audit_policy: Option<&str>, progress: &Progress) -> Result<Cluster> {
    let cluster = Cluster::named(name)?;
    cluster.parts.build_missing(progress)?;
    require_root(task)?;
    let _lock = cluster.lock()?;
    if !matches!(cluster.health_at_rest(), Some(Health::Absent)) {
        progress.step("remove the old one", |_| cluster.clear())?;
    }
    fs::create_dir_all(&cluster.state).with_context(|| format!("cannot create {}", cluster.state.display()))?;
    progress.step("etcd and API server", |_| {
        cgroup::create(&cluster.name)?;
        network::create(&cluster)?;
        certificates::issue(&cluster.state)?;
        control_plane::start_api(&cluster, audit_policy)?;
        control_plane::wait_for_api(&cluster)
    })?;
    Ok(cluster)
}

impl Cluster {
    /// The cluster of this name, without asking whether it runs.
    pub(crate) fn named(name: &Name) -> Result<Self> {
        Ok(Self { name: name.clone(), state: Path::new(STATE).join(name.as_str()), parts: Parts::in_cache()? })
    }

    /// The cluster of this name, which somebody has started.
    pub(crate) fn running(name: &Name) -> Result<Self> {
        require_root(&format!("kubectl --name {name}"))?;
        let cluster = Self::named(name)?;
        ensure!(
            cluster.state.exists(),
            "no cluster {name} on this machine: start it with `cargo xtask up --name {name}`"
        );
        Ok(cluster)
    }

    /// Kills what runs and removes what is left; does nothing for a cluster that is not there.
    pub(crate) fn stop(&self, progress: &Progress) -> Result<()> {
        require_root(&format!("down --name {}", self.name))?;
        let _lock = self.lock()?;
        if matches!(self.health_at_rest(), Some(Health::Absent)) {
            progress.say(&format!("no cluster {} on this machine", self.name));
            return Ok(());
        }
        progress.step(&format!("remove cluster {}", self.name), |_| self.clear())
    }

    /// Administrator's kubeconfig; its server address is reachable in the cluster's network namespace only.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// `inner` as it runs inside the cluster's network namespace. Program, arguments, environment and folder are kept;
    /// redirections are not: set them on the result.
    pub(crate) fn enter(&self, inner: &Command) -> Command {
        process::wrap(["nsenter", &format!("--net={}", self.netns().display()), "--"], inner)
    }

    /// Runs kubectl and returns what it printed.
    pub(crate) fn kubectl<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Result<String> {
        process::output(&mut self.command("kubectl", args))
    }

    /// Applies the definition of pipelines and waits until it is served.
    pub(crate) fn define_pipelines(&self) -> Result<()> {
        let definition = workspace().join("crds/veneurpipelines.veneur.dev.yaml");
        let definition = definition.to_str().context("the path is not UTF-8")?;
        self.kubectl(["apply", "--server-side", "--filename", definition])?;
        // One that was stored a moment ago has no conditions, which kubectl does not wait for.
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "--filename", definition];
        let conditions = ["get", "--filename", definition, "--output=jsonpath={.status.conditions}"];
        let begun = Instant::now();
        while self.kubectl(conditions)?.is_empty() && begun.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kubectl(wait).map(drop)
    }

    /// Applies manifests, YAML or JSON, server-side.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        let mut child = self
            .command("kubectl", ["apply", "--server-side", "--filename=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        // Dropping the pipe at the end of the statement is what tells kubectl that the manifests are complete.
        child.stdin.take().expect("stdin is piped above").write_all(manifests.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl apply failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// A tool of the cluster (`kubectl`, `helm`) with its kubeconfig, in its network namespace, caching inside its state.
    pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, tool: &str, args: I) -> Command {
        let mut command = Command::new(self.parts.binary(tool));
        command.args(args).env("KUBECONFIG", self.kubeconfig());
        // All clusters share one server address, so a discovery cache in the home folder would mix them up.
        command.env("KUBECACHEDIR", self.state.join("cache/kubectl"));
        for folder in ["CACHE", "CONFIG", "DATA"] {
            let path = self.state.join("cache/helm").join(folder.to_lowercase());
            command.env(format!("HELM_{folder}_HOME"), path);
        }
        // A proxy of the machine's own cannot reach into the namespace.
        command.env("NO_PROXY", "*").env("no_proxy", "*");
        self.enter(&command)
    }

    /// Starts a daemon of this command's own in the cluster's network namespace; [`Cluster::stop`] ends it too.
    pub(crate) fn start_daemon(&self, name: &str, command: &Command) -> Result<()> {
        self.daemons().start(name, &self.enter(command))
    }

    /// Its pid, while it runs.
    pub(crate) fn daemon(&self, name: &str) -> Option<i32> {
        self.daemons().pid(name)
    }

    /// Kills it.
    pub(crate) fn stop_daemon(&self, name: &str) -> Result<()> {
        process::kill(&self.daemons().pid(name).into_iter().collect::<Vec<_>>())
    }

    /// The end of its log, for a message.
    pub(crate) fn tail(&self, name: &str) -> String {
        self.daemons().tail(name)
    }

    /// Where the API server writes what its audit policy names.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.state.join("log/audit.log")
    }

    /// Packs an image and loads it into the node; returns its reference.
    pub(crate) fn load(&self, image: &Image) -> Result<String> {
        let archive = self.state.join("image.tar");
        let reference = image::pack(image, &archive)?;
        self.import_image(&archive)?;
        fs::remove_file(&archive)?;
        Ok(reference)
    }

    /// References of the images that the node has.
    pub(crate) fn images(&self) -> Result<Vec<String>> {
        node::images(self)
    }

    /// Gives an image of the node a second reference.
    pub(crate) fn tag_image(&self, from: &str, to: &str) -> Result<()> {
        node::tag_image(self, from, to)
    }

    /// Loads the images of an OCI archive into the node.
    pub(crate) fn import_image(&self, archive: &Path) -> Result<()> {
        node::import_image(self, archive)
    }

    fn boot(&self, progress: &Progress) -> Result<()> {
        fs::create_dir_all(&self.state).with_context(|| format!("cannot create {}", self.state.display()))?;
        progress.step("network namespace, cgroups, certificates", |_| {
            cgroup::create(&self.name)?;
            network::create(self)?;
            certificates::issue(&self.state)
        })?;
        progress.step("containerd, etcd, API server", |_| {
            node::start_containerd(self)?;
            control_plane::start_api(self, None)?;
            node::import_pause_image(self)?;
            control_plane::wait_for_api(self)
        })?;
        progress.step("controller manager, scheduler, kubelet, kube-proxy, CoreDNS", |_| {
            control_plane::start_controllers(self)?;
            node::start_kubelet(self)?;
            dns::start(self)?;
            node::wait_until_ready(self)?;
            control_plane::wait_for_first_objects(self)?;
            dns::wait_until_ready(self)
        })?;
        fs::write(self.completion_mark(), parts::versions()).context("cannot record that the start is complete")
    }

    fn health(&self) -> Health {
        if let Some(health) = self.health_at_rest() {
            return health;
        }
        match node::is_ready(self) {
            Ok(true) => Health::Ready,
            Ok(false) => Health::Broken("its node is not ready".into()),
            Err(error) => Health::Broken(format!("its API server does not answer ({error:#})")),
        }
    }

    /// The part of the health check that asks no server; `None` where only the API server can tell.
    fn health_at_rest(&self) -> Option<Health> {
        if !self.state.exists() {
            return Some(if self.netns().exists() || cgroup::exists(&self.name) {
                Health::Broken("an earlier one left something behind".into())
            } else {
                Health::Absent
            });
        }
        match fs::read_to_string(self.completion_mark()) {
            Err(_) => return Some(Health::Broken("its start was not completed".into())),
            Ok(versions) if versions != parts::versions() => {
                return Some(Health::Broken("its parts have other versions than this checkout".into()));
            }
            Ok(_) => {}
        }
        let stopped = self.daemons().stopped();
        stopped.first().map(|daemon| Health::Broken(format!("its {daemon} is not running")))
    }

    fn clear(&self) -> Result<()> {
        self.daemons().kill_recorded()?;
        cgroup::kill_all(&self.name)?;
        network::remove(self)?;
        cgroup::remove(&self.name)?;
        match fs::remove_dir_all(&self.state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("cannot remove {}: {error}", self.state.display())
            }
            // The parent goes with its last cluster; while it holds another, this fails, as it should.
            _ => drop(fs::remove_dir(STATE)),
        }
        Ok(())
    }

    /// Two commands on one cluster take turns. The lock file lives in the cache, so that `down` leaves nothing behind.
    fn lock(&self) -> Result<File> {
        let path = self.parts.lock_file(self.name.as_str())?;
        let file = File::create(&path).with_context(|| format!("cannot open lock file {}", path.display()))?;
        if file.try_lock().is_err() {
            eprintln!("waiting for another command on cluster {}", self.name);
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }

    fn daemons(&self) -> Daemons {
        Daemons::new(&self.state, cgroup::of_daemons(&self.name))
    }

    /// The network namespace, as a file.
    pub(crate) fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(self.name.global())
    }

    fn completion_mark(&self) -> PathBuf {
        self.state.join("complete")
    }

    /// Polls until `condition` holds. Fails early when `daemon`, which should bring it about, has stopped.
    fn wait_for(&self, daemon: &str, what: &str, limit: Duration, condition: impl Fn() -> Result<bool>) -> Result<()> {
        self.daemons().wait_for(daemon, what, limit, condition)
    }
}

/// `env` hands PATH and HOME past sudo's own: Go and the cache of parts are found through them.
fn require_root(task: &str) -> Result<()> {
    let this = std::env::current_exe().unwrap_or_else(|_| "cargo xtask".into());
    ensure!(
        rustix::process::geteuid().is_root(),
        "network namespaces, mounts and cgroups need root: run `sudo env \"PATH=$PATH\" \"HOME=$HOME\" {} {task}`",
        this.display()
    );
    Ok(())
}
