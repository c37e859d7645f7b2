//! Developer commands of this repository, run as `cargo xtask COMMAND`.

mod bench;
mod cargo;
mod chart;
mod cluster;
mod demo;
mod disk;
mod endurance;
mod fuzz;
mod r#gen;
mod images;
mod scale;
mod tidy;
mod tools;
mod verify;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use cluster::progress::Progress;
use cluster::{Cluster, Name};
use demo::{Own, Reference};

#[derive(Parser)]
#[command(name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start a real one-node Kubernetes, install the operator, run a sample application, and print what was published
    /// beside what was sent. With `--context`, install the operator on a cluster of your own instead, and nothing else.
    Up(Up),
    /// Stop the cluster and remove everything it left on this machine, the cache of built parts excepted.
    Down(Which),
    /// Load the images of an OCI archive into the cluster's node.
    Load(Archive),
    /// Run kubectl against the cluster: `cargo xtask kubectl get pods -A`.
    Kubectl(Passed),
    /// Run helm against the cluster: `cargo xtask helm list -A`.
    Helm(Passed),
    /// Run every test: formatting, house rules, lints, unit and law tests, documentation, dependencies, chart, fleets mixed
    /// with the original's instances, and the cluster tests on a cluster of their own.
    Test(Test),
    /// Run a bench, and print its figures beside those of others and beside their bars.
    Bench {
        #[command(subcommand)]
        which: bench::Bench,
    },
    /// Run every fuzz target for a while, or those that are named.
    Fuzz(fuzz::Fuzz),
    /// Rewrite what is generated: the resource's definition, protocol code, golden files, `manifests/install.yaml`.
    Gen,
    /// Check the house rules: directions between rooms, lints, file sizes.
    Tidy,
}

#[derive(Args)]
struct Which {
    /// The cluster's name; by default one that belongs to this checkout.
    #[arg(long, value_parser = Name::parse)]
    name: Option<Name>,
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    which: Which,
    /// Only the cluster.
    #[arg(long)]
    cluster_only: bool,
    /// Your own cluster, by its context in your kubeconfig: none is started, nothing is compiled, and the chart of this
    /// checkout is installed or upgraded there, with the images of `--image`.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "cluster_only"])]
    context: Option<String>,
    /// The data plane's image as your cluster pulls it, REPOSITORY:TAG; the operator's is REPOSITORY-operator:TAG. A plain
    /// `up` leaves both in `target/image/packed`, as OCI archives to push.
    #[arg(long, value_name = "REF", value_parser = Reference::parse)]
    image: Option<Reference>,
}

#[derive(Args)]
struct Test {
    /// Also what takes long: floods of contexts and datagrams, the operator's admissions and the operator at scale, and the
    /// cluster tests three times over.
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// Only a part of it.
    #[arg(long)]
    only: Option<Part>,
    /// Of the cluster tests only those of this file in e2e/tests, without its ending.
    #[arg(long)]
    file: Option<String>,
    /// Keep the cluster afterwards, to look at it.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Part {
    /// What needs neither root nor the original: all but endurance, the mixed fleets and the cluster tests.
    Checks,
    /// Fleets of our instances and the original's, Veneur 14.2.0, which is built with Go once.
    Mixed,
    /// What must not bring an instance down: floods of contexts and datagrams; needs root.
    Endurance,
    /// What the operator's webhook takes for a pod, and the operator with 1,000 pipelines and 10,000 pods; needs root.
    Scale,
    /// The cluster tests.
    Cluster,
}

#[derive(Args)]
struct Archive {
    #[command(flatten)]
    which: Which,
    /// An OCI archive (tar).
    archive: PathBuf,
}

#[derive(Args)]
#[command(disable_help_flag = true)]
struct Passed {
    #[command(flatten)]
    which: Which,
    /// Everything from the first other word on is passed through.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Which {
    fn name(self) -> Name {
        self.name.unwrap_or_else(|| Name::of_workspace("demo"))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Up(Up { which, cluster_only, context, image }) => match Own::asked(context, image)? {
            Some(own) => own.up(&Progress::start()),
            None if cluster_only => cluster::start(&which.name(), &Progress::start()).map(drop),
            None => demo::up(&which.name(), &Progress::start()),
        },
        Task::Down(which) => Cluster::named(&which.name())?.stop(&Progress::start()),
        Task::Load(Archive { which, archive }) => Cluster::running(&which.name())?.import_image(&archive),
        Task::Test(Test { all, only, file, keep }) => {
            let extent = match only {
                Some(Part::Checks) => verify::Extent::Checks,
                Some(Part::Mixed) => verify::Extent::Mixed,
                Some(Part::Endurance) => verify::Extent::Endurance,
                Some(Part::Scale) => verify::Extent::Scale,
                Some(Part::Cluster) => verify::Extent::Cluster,
                None if all => verify::Extent::All,
                None => verify::Extent::Normal,
            };
            verify::run(extent, file.as_deref(), keep, &Progress::start())
        }
        Task::Bench { which } => bench::run(&which, &Progress::start()),
        Task::Fuzz(what) => what.run(&Progress::start()),
        Task::Gen => r#gen::write(&Progress::start()),
        Task::Tidy => tidy::check(),
        Task::Kubectl(passed) => become_command("kubectl", passed),
        Task::Helm(passed) => become_command("helm", passed),
    }
}

/// Replaces this process by `program`, so that terminal, signals and exit status are the program's own.
fn become_command(program: &str, passed: Passed) -> anyhow::Result<()> {
    let mut command = Cluster::running(&passed.which.name())?.command(program, passed.args);
    let error = command.exec();
    anyhow::bail!("cannot run {program} in the cluster's network namespace: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_ones_own_is_neither_named_nor_only_started() {
        let up = |more: &[&str]| Cli::try_parse_from(["xtask", "up", "--context=staging"].iter().chain(more));
        assert!(up(&["--image=registry.example/veneur:0.1.0"]).is_ok());
        for other in ["--name=demo", "--cluster-only", "--image=veneur"] {
            assert!(up(&[other]).is_err(), "{other}");
        }
    }
}
