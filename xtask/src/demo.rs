//! `cargo xtask up`: the product doing its main job on this machine, from nothing to a table of what it published beside
//! what was really sent.

mod batch;
pub(crate) mod install;
mod lacking;
mod own;
mod published;
mod table;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cluster::progress::{Progress, Step};
use crate::cluster::{self, Cluster, Name};
use crate::disk;
use crate::images;
use batch::Batch;
pub(crate) use own::{Own, Reference};
use published::Published;

const POLL: Duration = Duration::from_millis(300);
/// Four intervals of the pipeline: the table takes two at most.
const TABLE_LIMIT: Duration = Duration::from_secs(40);
/// How far back logs are read: the newest interval that is complete everywhere lies within.
const LOOK_BACK: &str = "--since=45s";

/// Brings everything up, or finds it there, and prints the table.
pub(crate) fn up(name: &Name, progress: &Progress) -> Result<()> {
    disk::say_free(progress)?;
    // First, as it needs no root: what is compiled by a user stays the user's.
    images::compile(progress)?;
    let cluster = cluster::start(name, progress)?;
    let images = images::build(progress)?;
    images.load(&cluster, progress)?;
    install::operator(&cluster, &images, progress)?;
    install::pipeline(&cluster, &images, progress)?;
    let application = install::application(&cluster, &images, progress)?;
    let newest = progress.step("wait for an interval that all pods filled", |step| {
        wait(step, TABLE_LIMIT, || newest_interval(&cluster, &application.pods))
    })?;
    print(name, &application, &newest);
    Ok(())
}

/// The sample application's pods, all ready.
struct Application {
    pods: BTreeSet<String>,
    /// When the last of them was seen to become ready; `None` if all were before.
    ready: Option<Instant>,
}

/// An interval that all pods filled with a batch, and that the globals have published.
struct Interval {
    /// Unix seconds.
    end: i64,
    published: Published,
    batch: Batch,
}

/// Polls until `look` breaks with what it looked for; where it says what there is instead, that is shown, and told at
/// the deadline.
fn wait<T>(step: &Step, limit: Duration, mut look: impl FnMut() -> Result<ControlFlow<T, String>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        // A server may be starting or restarting: only the last failure counts.
        let seen = match look() {
            Ok(ControlFlow::Break(found)) => return Ok(found),
            Ok(ControlFlow::Continue(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() >= deadline {
            bail!("gave up after {} s: {seen}", limit.as_secs());
        }
        step.detail(format!("({seen})"));
        thread::sleep(POLL);
    }
}

/// Looks for the newest interval that is complete in the pods' logs and in the globals'.
fn newest_interval(cluster: &Cluster, pods: &BTreeSet<String>) -> Result<ControlFlow<Interval, String>> {
    let logs = |namespace: &str, labels: &str, container: &str| {
        let select = ["logs", "--namespace", namespace, "--selector", labels, "--container", container];
        cluster.kubectl(select.into_iter().chain(["--tail=-1", LOOK_BACK]))
    };
    let mut batches = batch::complete(&logs(install::SHOP, install::APPLICATION_LABEL, "app")?, pods);
    let Some((&last, _)) = batches.last_key_value() else {
        return Ok(ControlFlow::Continue(format!("{} pods emit their first batch", pods.len())));
    };
    let mut published = published::by_interval(&logs(install::METRICS, install::GLOBALS_LABEL, "veneur")?);
    let both = batches.keys().rev().find_map(|end| Some((*end, (*published.get(end)?).as_ref().ok().copied()?)));
    Ok(match both {
        Some((end, published)) => {
            let batch = batches.remove(&end).expect("found among them above");
            ControlFlow::Break(Interval { end, published, batch })
        }
        None => ControlFlow::Continue(match published.remove(&last) {
            Some(Err(lacking)) => format!("of the interval to {}, {lacking}", clock(last)),
            _ => format!("the interval to {} is not published yet", clock(last)),
        }),
    })
}

fn print(name: &Name, application: &Application, interval: &Interval) {
    let own = Name::of_workspace("demo");
    let which = if *name == own { String::new() } else { format!(" --name {name}") };
    let pods = application.pods.len();
    println!("\nsample.fleet.latency and sample.users of {pods} pods, interval to {} UTC:\n", clock(interval.end));
    print!("{}", table::render(&interval.published, &interval.batch));
    if interval.batch.dropped > 0 {
        println!("\n  {} messages were dropped by the application's own clients", interval.batch.dropped);
    }
    if let Some(ready) = application.ready {
        println!("\nprinted {:.1} s after the last pod was ready", ready.elapsed().as_secs_f64());
    }
    println!(
        "\nnext:  cargo xtask kubectl{which} get veneurpipelines --all-namespaces\
         \n       cargo xtask kubectl{which} logs --namespace {} --selector {} --follow\
         \n       annotate pods of your own: veneur.dev/inject: {}/{}\
         \n       cargo xtask down{which}",
        install::METRICS,
        install::GLOBALS_LABEL,
        install::METRICS,
        install::PIPELINE,
    );
}

/// Time of day, UTC.
fn clock(unix_seconds: i64) -> String {
    let second = unix_seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}
