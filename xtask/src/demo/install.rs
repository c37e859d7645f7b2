//! The objects of the demonstration: the operator by its chart, the pipeline and the application by the example.

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::lacking::{deployment_lacks, pipeline_lacks, sidecar};
use super::{Application, wait};
use crate::cluster::progress::{Progress, Step};
use crate::cluster::{Cluster, process, workspace};
use crate::images::Images;

/// Namespace, name and labels in `manifests/examples/demo.yaml`.
pub(super) const METRICS: &str = "metrics";
pub(super) const PIPELINE: &str = "demo";
pub(super) const GLOBALS_LABEL: &str = "veneur.dev/pipeline=demo,veneur.dev/role=global";
pub(super) const SHOP: &str = "shop";
pub(super) const APPLICATION_LABEL: &str = "app=sample";

const EXAMPLE: &str = "manifests/examples/demo.yaml";
/// What the example has in place of the application's image.
const PLACEHOLDER: &str = "localhost/veneur-sample:dev";
/// The chart as it was released before this one.
const PREVIOUS: &str = "xtask/charts/veneur-operator-0.1.0.tgz";
const OLDER: [&str; 5] = ["get", "veneurpipelines.veneur.dev", "older", "--namespace", SYSTEM];
pub(super) const RELEASE: &str = "veneur-operator";
pub(super) const SYSTEM: &str = "veneur-system";
const OPERATOR_LABEL: &str = "app.kubernetes.io/instance=veneur-operator";
const LIMIT: Duration = Duration::from_mins(2);

/// Runs kubectl on some cluster, and returns what it printed.
type Kubectl<'a> = &'a dyn Fn(&[&str]) -> Result<String>;

fn on(cluster: &Cluster) -> impl Fn(&[&str]) -> Result<String> {
    |args: &[&str]| cluster.kubectl(args)
}

/// Installs or upgrades the operator, and waits until the API server trusts its webhook.
pub(crate) fn operator(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<()> {
    progress.step("helm upgrade --install the operator", |step| {
        // A command that was interrupted leaves its release locked; its own record is all that says so.
        let pending = "owner=helm,name=veneur-operator,status in (pending-install,pending-upgrade,pending-rollback)";
        cluster.kubectl(["delete", "secret", "--namespace", SYSTEM, "--selector", pending])?;
        let mut helm = upgrade(&values(of(images)))?;
        // Not a default: a cluster's administrator decides who may evict pods.
        helm.extend(["--set", "rbac.evictMissed=true"].map(str::to_owned));
        process::output(&mut cluster.command("helm", helm)).map(drop)?;
        operator_serves(&on(cluster), LIMIT, step)
    })
}

/// What helm is asked for: the chart of this checkout, with these values.
pub(super) fn upgrade(values: &str) -> Result<Vec<String>> {
    let chart = workspace().join("charts/veneur-operator");
    let chart = chart.to_str().context("the checkout's path is not UTF-8")?;
    let release = ["upgrade", "--install", RELEASE, chart, "--namespace", SYSTEM, "--create-namespace"];
    Ok(release.into_iter().chain(["--set-string", values]).map(str::to_owned).collect())
}

/// Waits until the operator runs as it was installed, and the API server trusts its webhook.
pub(super) fn operator_serves(kubectl: Kubectl<'_>, limit: Duration, step: &Step) -> Result<()> {
    wait(step, limit, || {
        let running = json(kubectl, &["get", "deployment", RELEASE, "--namespace", SYSTEM, "--output=json"])?;
        Ok(until(deployment_lacks(&running, &pods(kubectl, SYSTEM, OPERATOR_LABEL)?)))
    })?;
    wait(step, limit, || {
        let trusted = "--output=jsonpath={.items[*].webhooks[*].clientConfig.caBundle}";
        let bundle = kubectl(&["get", "mutatingwebhookconfigurations", "--selector", OPERATOR_LABEL, trusted])?;
        Ok(until(bundle.is_empty().then(|| "the webhook has no CA bundle yet".to_owned())))
    })
}

/// A pipeline that was made under the previous chart.
pub(crate) struct Older<'a> {
    cluster: &'a Cluster,
    uid: String,
}

/// Installs the previous chart and makes a pipeline, for an upgrade to find.
pub(crate) fn previous<'a>(cluster: &'a Cluster, images: &Images, progress: &Progress) -> Result<Older<'a>> {
    progress.step(&format!("install the previous chart, {PREVIOUS}"), |step| {
        let chart = workspace().join(PREVIOUS);
        let chart = chart.to_str().context("the checkout's path is not UTF-8")?;
        let values = values(of(images));
        let helm = ["install", RELEASE, chart, "--namespace", SYSTEM, "--create-namespace", "--set-string", &values];
        process::output(&mut cluster.command("helm", helm))?;
        wait(step, LIMIT, || {
            // The definition was created just now, and is not served yet.
            let spec = r#"{"sinks":[{"name":"none","debug":{}}],"proxy":{"replicas":1},"global":{"replicas":1}}"#;
            let metadata = format!(r#"{{"name":"older","namespace":"{SYSTEM}"}}"#);
            let pipeline = format!(
                r#"{{"apiVersion":"veneur.dev/v1alpha1","kind":"VeneurPipeline","metadata":{metadata},"spec":{spec}}}"#
            );
            Ok(until(cluster.apply(&pipeline).err().map(|error| format!("{error:#}"))))
        })?;
        let uid = cluster.kubectl(OLDER.into_iter().chain(["--output=jsonpath={.metadata.uid}"]))?;
        Ok(Older { cluster, uid })
    })
}

impl Older<'_> {
    /// Waits until the pipeline is ready under the chart of now, and removes it.
    pub(crate) fn is_served(&self, step: &Step) -> Result<()> {
        wait(step, LIMIT, || {
            let pipeline = json(&on(self.cluster), &[&OLDER[..], &["--output=json"]].concat())?;
            if pipeline["metadata"]["uid"] != self.uid.as_str() {
                bail!("the upgrade removed the pipeline and made another");
            }
            let conditions = pipeline["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
            Ok(until((ready["status"] != "True").then(|| format!("Ready is {ready}"))))
        })?;
        self.cluster.kubectl(["delete", "veneurpipelines.veneur.dev", "older", "--namespace", SYSTEM]).map(drop)
    }
}

/// Repository and tag of the operator and of the data plane.
fn of(images: &Images) -> [(&str, &str); 2] {
    [images.operator.name_and_tag(), images.veneur.name_and_tag()]
}

/// As text: a tag of digits alone would be read as a number.
pub(super) fn values([(operator, operator_tag), (veneur, veneur_tag)]: [(&str, &str); 2]) -> String {
    format!(
        "image.repository={operator},image.tag={operator_tag},\
         dataplane.image.repository={veneur},dataplane.image.tag={veneur_tag}"
    )
}

/// Applies the pipeline and waits until all its tiers run the image of now.
pub(super) fn pipeline(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<()> {
    let (pipeline, _) = example(images)?;
    progress.step("apply the pipeline, wait until it is ready", |step| {
        cluster.apply(&pipeline)?;
        wait(step, LIMIT, || {
            let get = ["get", "veneurpipelines.veneur.dev", PIPELINE, "--namespace", METRICS, "--output=json"];
            Ok(until(pipeline_lacks(&json(&on(cluster), &get)?, &images.veneur.reference)))
        })
    })
}

/// Applies the application, and waits until its pods are ready and have sidecars of the image of now.
pub(super) fn application(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<Application> {
    let (_, application) = example(images)?;
    progress.step("apply the sample application, wait for its pods", |step| {
        // Sidecars are placed when a pod is created, and stay as they are.
        let wanted = images.veneur.reference.as_str();
        let current = |pod: &Value| sidecar(pod).is_some_and(|sidecar| sidecar["image"] == wanted);
        let stale = !pods(&on(cluster), SHOP, APPLICATION_LABEL)?.iter().all(current);
        cluster.apply(&application)?;
        if stale {
            cluster.kubectl(["rollout", "restart", "deployment/sample", "--namespace", SHOP])?;
        }
        wait_for_pods(cluster, step)
    })
}

fn wait_for_pods(cluster: &Cluster, step: &Step) -> Result<Application> {
    let mut looks = 0;
    let pods = wait(step, LIMIT, || {
        looks += 1;
        let deployment = json(&on(cluster), &["get", "deployment", "sample", "--namespace", SHOP, "--output=json"])?;
        let pods = pods(&on(cluster), SHOP, APPLICATION_LABEL)?;
        Ok(match deployment_lacks(&deployment, &pods) {
            Some(lacking) => ControlFlow::Continue(lacking),
            None => ControlFlow::Break(pods),
        })
    })?;
    for pod in &pods {
        if sidecar(pod).is_none() {
            let why = pod["metadata"]["annotations"]["veneur.dev/skipped"].as_str();
            bail!("pod {} got no sidecar: {}", name(pod), why.unwrap_or("the webhook was not asked"));
        }
    }
    let ready = (looks > 1).then(Instant::now);
    Ok(Application { pods: pods.iter().map(|pod| name(pod).to_owned()).collect(), ready })
}

/// The example in two: what comes before the application, and the application.
fn example(images: &Images) -> Result<(String, String)> {
    let path = workspace().join(EXAMPLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    split(&text, &images.sample.reference)
        .with_context(|| format!("{EXAMPLE} has no Deployment with image {PLACEHOLDER} as its last document"))
}

fn split(example: &str, image: &str) -> Option<(String, String)> {
    let (before, application) = example.rsplit_once("\n---\n")?;
    let application = application.replace(PLACEHOLDER, image);
    application.contains(image).then(|| (before.to_owned(), application))
}

/// Pods with this label, those that are ending excepted.
fn pods(kubectl: Kubectl<'_>, namespace: &str, label: &str) -> Result<Vec<Value>> {
    let get = ["get", "pods", "--namespace", namespace, "--selector", label, "--output=json"];
    let mut list = json(kubectl, &get)?;
    let Value::Array(mut pods) = list["items"].take() else { bail!("kubectl's list of pods has no items") };
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Goes on while something is lacking.
fn until(lacking: Option<String>) -> ControlFlow<(), String> {
    lacking.map_or(ControlFlow::Break(()), ControlFlow::Continue)
}

fn json(kubectl: Kubectl<'_>, get: &[&str]) -> Result<Value> {
    serde_json::from_str(&kubectl(get)?).context("kubectl printed no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_ends_in_the_application_and_gets_its_image() {
        let path = workspace().join(EXAMPLE);
        let (pipeline, application) =
            split(&fs::read_to_string(path).unwrap(), "localhost/veneur-sample:0123").unwrap();
        assert!(pipeline.contains("kind: VeneurPipeline") && !pipeline.contains("kind: Deployment"));
        assert!(application.contains("image: localhost/veneur-sample:0123\n"));
        for name in [METRICS, PIPELINE, SHOP] {
            assert!(pipeline.contains(&format!("name: {name}")), "{name}");
        }
    }
}
