//! The test command: everything that has to hold, cheapest first.

use std::env;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::cluster::progress::Progress;
use crate::cluster::{self, Cluster, Name, Parts, workspace};
use crate::images::{self, Images};
use crate::{bench::Admission, chart, demo::install, disk, endurance, fuzz, scale::Scale, tidy, tools};

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What needs neither root nor the original: all but endurance, the mixed fleets and the cluster tests.
    Checks,
    /// Fleets mixed with the original's instances alone.
    Mixed,
    /// The runs of `endurance` alone.
    Endurance,
    /// What the webhook takes for a pod, and the operator at scale, alone.
    Scale,
    /// The cluster tests alone.
    Cluster,
    /// What every change has to pass.
    Normal,
    /// Also what takes long: the runs of `endurance`, the bars of the operator, and the cluster tests three times over.
    All,
}

/// Times that the cluster tests are run in full: a test that passes once may still be a flaky one.
const ROUNDS: usize = 3;

/// Runs the tests, of the cluster's those of one file where it is named; stops at the first step that fails.
pub(crate) fn run(extent: Extent, file: Option<&str>, keep: bool, progress: &Progress) -> Result<()> {
    disk::say_free(progress)?;
    if matches!(extent, Extent::Checks | Extent::Normal | Extent::All) {
        checks(progress)?;
    }
    if matches!(extent, Extent::Mixed | Extent::Normal | Extent::All) {
        mixed(progress)?;
    }
    if matches!(extent, Extent::Endurance | Extent::All) {
        endurance::run(progress)?;
    }
    if matches!(extent, Extent::Scale | Extent::All) {
        Admission::default().run(progress)?;
        Scale::default().run(progress)?;
    }
    if matches!(extent, Extent::Cluster | Extent::Normal | Extent::All) {
        let rounds = if extent == Extent::All { ROUNDS } else { 1 };
        on_a_cluster(rounds, file, keep, progress)?;
    }
    progress.say(&format!("all passed in {:.0} s", progress.elapsed().as_secs_f64()));
    Ok(())
}

fn checks(progress: &Progress) -> Result<()> {
    cargo(progress, "formatting", &["fmt", "--all", "--check"])?;
    progress.step("house rules", |_| tidy::check())?;
    cargo(progress, "lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])?;
    cargo(progress, "unit and law tests, drift of generated files", &["test", "--locked", "--no-fail-fast"])?;
    fuzz::run(Duration::from_secs(fuzz::SECONDS), &[], progress)?;
    documentation(progress)?;
    dependencies(progress)?;
    chart::check(progress)
}

fn cargo(progress: &Progress, what: &str, arguments: &[&str]) -> Result<()> {
    progress.step(what, |_| succeed(cargo::command().args(arguments)))
}

fn documentation(progress: &Progress) -> Result<()> {
    progress.step("documentation", |_| {
        let mut command = cargo::command();
        command.args(["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
        succeed(command.env("RUSTDOCFLAGS", "--deny warnings"))
    })
}

/// Bans, licences and sources always; advisories where their database can be had.
fn dependencies(progress: &Progress) -> Result<()> {
    let deny = tools::cargo_deny(progress)?;
    progress.step("dependencies: bans, licences, sources", |_| {
        succeed(Command::new(&deny).args(["--log-level", "warn", "check", "bans", "licenses", "sources"]))
    })?;
    let fetched = Command::new(&deny).args(["fetch", "db"]).current_dir(workspace()).output()?;
    if !fetched.status.success() {
        progress.say("dependencies: advisories NOT checked, their database cannot be reached from here");
        return Ok(());
    }
    progress.step("dependencies: advisories", |_| {
        succeed(Command::new(&deny).args(["--log-level", "warn", "--offline", "check", "advisories"]))
    })
}

/// Runs the tests in which our processes and those of the original stand side by side, on loopback.
fn mixed(progress: &Progress) -> Result<()> {
    let original = Parts::opponents()?;
    let veneur = original.built("veneur", progress)?;
    let proxy = original.built("veneur-proxy", progress)?;
    progress.step("fleets mixed with Veneur 14.2.0", |_| {
        let mut tests = cargo::command();
        tests.args(["test", "--quiet", "--package", "veneur", "--test", "mixed", "--locked", "--", "--ignored"]);
        // One after another: what the original publishes depends on each instance getting its share of the processor.
        tests.args(["--nocapture", "--test-threads=1"]);
        succeed(tests.env("ORIGINAL_VENEUR", veneur).env("ORIGINAL_VENEUR_PROXY", proxy))
    })
}

/// Starts a cluster, installs the project on it, runs the cluster tests inside its network namespace, and removes it.
fn on_a_cluster(rounds: usize, file: Option<&str>, keep: bool, progress: &Progress) -> Result<()> {
    images::compile(progress)?;
    cargo(progress, "compile the cluster tests", &["test", "--package", "veneur-e2e", "--locked", "--no-run"])?;
    let name = Name::of_workspace("test");
    // One run at a time: the first to end would remove the cluster under the other.
    let lock = File::create(workspace().join("target/test.lock")).context("cannot open the lock file of the tests")?;
    if lock.try_lock().is_err() {
        bail!("another `cargo xtask test` of this checkout is using cluster {name}: wait until it has ended");
    }
    let outcome =
        cluster::start(&name, progress).and_then(|cluster| install_and_test(&cluster, rounds, file, progress));
    if keep {
        progress.say(&format!("the cluster is kept: `cargo xtask kubectl --name {name} get pods -A`"));
        return outcome;
    }
    let removed = Cluster::named(&name)?.stop(progress);
    outcome.and(removed)
}

fn install_and_test(cluster: &Cluster, rounds: usize, file: Option<&str>, progress: &Progress) -> Result<()> {
    let images = images::build(progress)?;
    images.load(cluster, progress)?;
    let pipeline = install::previous(cluster, &images, progress)?;
    install::operator(cluster, &images, progress)?;
    progress.step("the pipeline from before the upgrade is there and served", |step| pipeline.is_served(step))?;
    for round in 1..=rounds {
        let what = if rounds == 1 { "cluster tests".to_owned() } else { format!("cluster tests, round {round}") };
        progress.step(&what, |_| cluster_tests(cluster, &images, file))?;
    }
    Ok(())
}

/// A second tag of the data plane's image: another version to the operator, the same program to the tests.
const NEXT: &str = "next";

fn cluster_tests(cluster: &Cluster, images: &Images, file: Option<&str>) -> Result<()> {
    cluster.tag_image(&images.veneur.reference, &format!("{}:{NEXT}", images.veneur.name_and_tag().0))?;
    let kubectl = Parts::in_cache()?.binary("kubectl");
    let own = env::var_os("PATH").unwrap_or_default();
    let helm = Parts::in_cache()?.binary("helm");
    let tools = [kubectl, helm].into_iter().filter_map(|tool| tool.parent().map(PathBuf::from));
    let path = env::join_paths(tools.chain(env::split_paths(&own)))?;
    let mut tests = cargo::command();
    // Offline: inside the cluster's network namespace there is no way out. All was compiled before.
    tests
        .args(["test", "--package", "veneur-e2e", "--locked", "--offline", "--no-fail-fast"])
        .args(file.into_iter().flat_map(|file| ["--test", file]))
        .args(["--", "--nocapture"])
        .env("PATH", path)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("VENEUR_IMAGE", &images.veneur.reference)
        .env("VENEUR_NEXT_VERSION", NEXT)
        .env("VENEUR_SAMPLE_IMAGE", &images.sample.reference)
        .env("VENEUR_INTAKE_IMAGE", &images.intake.reference)
        .current_dir(workspace());
    succeed(&mut cluster.enter(&tests))
}

/// Runs the benches of a package.
pub(crate) fn bench(package: &str) -> Result<()> {
    succeed(cargo::command().args(["bench", "--quiet", "--locked", "--package", package]))
}

fn succeed(command: &mut Command) -> Result<()> {
    let shown: Vec<String> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let status = command.current_dir(workspace()).status().with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed, see above", shown.join(" "));
    }
    Ok(())
}
