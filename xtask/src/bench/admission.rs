//! What an admission costs: reviews posted straight to the operator's webhook over TLS, the operator being the real one
//! beside a real API server.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;

use super::{median, programs, readings, verdict};
use crate::cluster::progress::Progress;
use crate::cluster::{self, Cluster, Name, process, workspace};
use crate::images;

const ADDRESS: &str = "127.0.0.1:10250";
const PIPELINES: usize = 100;
/// The bar of the product: half of what its field calls good, as one pod in a hundred waits so long.
const BAR_MS: f64 = 10.0;

/// How to bench admission.
#[derive(Args)]
pub(crate) struct Admission {
    /// Reviews a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seconds of load.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Times that this is done; the bar is for the middle one, as one in a hundred is what a busy neighbour decides.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// The operator, which ends with this.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self { rate: 100, seconds: 60, rounds: 3 }
    }
}

impl Admission {
    /// Starts what is needed, measures, and removes it; fails where the bar is missed.
    pub(crate) fn run(&self, progress: &Progress) -> Result<()> {
        let (operator, load) = (images::compile(progress)?.join("veneur-operator"), programs::load(progress)?);
        let name = Name::of_workspace("bench");
        let cluster = cluster::start_api("bench admission", &name, None, progress)?;
        let outcome = self.measure(&cluster, &operator, &load, progress);
        let removed = cluster.stop(progress);
        outcome.and(removed)
    }

    fn measure(&self, cluster: &Cluster, operator: &Path, load: &Path, progress: &Progress) -> Result<()> {
        let folder = workspace().join("target/bench");
        fs::create_dir_all(&folder)?;
        let _operator = progress.step(&format!("{PIPELINES} pipelines, the operator"), |_| {
            cluster.define_pipelines()?;
            cluster.apply(&objects())?;
            let log = File::create(folder.join("veneur-operator.log"))?;
            let mut command = Command::new(operator);
            command.args([
                "run",
                "--image=veneur:bench",
                "--namespace=veneur-system",
                "--health-address=127.0.0.1:8080",
            ]);
            command.arg(format!("--webhook-address={ADDRESS}")).env("KUBECONFIG", cluster.kubeconfig());
            let mut command = cluster.enter(&command);
            Ok(Operator(command.stdout(log.try_clone()?).stderr(log).spawn().context("cannot run the operator")?))
        })?;
        let authority = folder.join("webhook-ca.crt");
        progress.step("wait for the webhook's authority", |_| {
            fs::write(&authority, bundle(cluster)?).map_err(Into::into)
        })?;
        println!("{}", readings::machine());
        let rounds = (1..=self.rounds).map(|_| self.round(cluster, load, &authority, progress));
        let p99 = median(rounds.collect::<Result<_>>()?);
        verdict(&format!("p99 of an admission, median of {}", self.rounds), p99, "ms", BAR_MS);
        ensure!(p99 <= BAR_MS, "a bar is missed, see above");
        Ok(())
    }

    /// Posts reviews for a while, and says how long one of a hundred took at least, in milliseconds.
    fn round(&self, cluster: &Cluster, load: &Path, authority: &Path, progress: &Progress) -> Result<f64> {
        let figures = progress.step(&format!("{} reviews a second for {} s", self.rate, self.seconds), |_| {
            let mut command = Command::new(load);
            command.args(["admission", ADDRESS, "--name=veneur-operator-webhook.veneur-system.svc"]);
            command.arg("--authority").arg(authority).arg("--inject=metrics/bench-7");
            command.args([format!("--rate={}", self.rate), format!("--seconds={}", self.seconds)]);
            let printed = process::output(&mut cluster.enter(&command))?;
            serde_json::from_str::<Value>(&printed).context("veneur-load printed no JSON")
        })?;
        let figure = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
        println!("  {} reviews answered, {} of them with a patch", figures["answered"], figures["patched"]);
        ensure!(figures["answered"] == figures["patched"], "some pods got no sidecar: see target/bench");
        println!("  p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", figure("p50_ms"), figure("p99_ms"), figure("max_ms"));
        Ok(figure("p99_ms"))
    }
}

/// Namespaces, and as many pipelines as a big cluster has.
fn objects() -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: { name: veneur-system }\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: { name: metrics }\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n",
    );
    let pipelines = (0..PIPELINES).map(|number| {
        format!(
            "---\napiVersion: veneur.dev/v1alpha1\nkind: VeneurPipeline\n\
             metadata: {{ name: bench-{number}, namespace: metrics }}\nspec: {{ sinks: [{{ name: debug, debug: {{}} }}] }}\n"
        )
    });
    text.extend(pipelines);
    text
}

/// What the API server would trust, once the operator has made it.
fn bundle(cluster: &Cluster) -> Result<Vec<u8>> {
    let get = ["get", "secret", "veneur-operator-webhook-ca", "--namespace=veneur-system"];
    let begin = Instant::now();
    loop {
        let certificate = cluster.kubectl(get.into_iter().chain(["--output=jsonpath={.data.ca\\.crt}"]));
        match certificate {
            Ok(encoded) if !encoded.is_empty() => return STANDARD.decode(encoded.trim()).context("no base64"),
            Err(error) if begin.elapsed() > Duration::from_secs(30) => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
