//! The objects of the demonstration: the operator by its chart, the pipeline and the application by the example.

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

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
const RELEASE: &str = "veneur-operator";
const SYSTEM: &str = "veneur-system";
const LIMIT: Duration = Duration::from_mins(2);

/// Installs or upgrades the operator, and waits until the API server trusts its webhook.
pub(crate) fn operator(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<()> {
    progress.step("helm upgrade --install the operator", |step| {
        // A command that was interrupted leaves its release locked; its own record is all that says so.
        let pending = "owner=helm,name=veneur-operator,status in (pending-install,pending-upgrade,pending-rollback)";
        cluster.kubectl(["delete", "secret", "--namespace", SYSTEM, "--selector", pending])?;
        let chart = workspace().join("charts/veneur-operator");
        let mut helm =
            vec!["upgrade", "--install", RELEASE, chart.to_str().context("the checkout's path is not UTF-8")?];
        helm.extend(["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout=2m"]);
        let (operator, operator_tag) = images.operator.name_and_tag();
        let (veneur, veneur_tag) = images.veneur.name_and_tag();
        // As text: a tag of digits alone would be read as a number.
        let values = format!(
            "image.repository={operator},image.tag={operator_tag},\
             dataplane.image.repository={veneur},dataplane.image.tag={veneur_tag}"
        );
        helm.extend(["--set-string", &values]);
        process::output(&mut cluster.command("helm", helm)).map(drop)?;
        wait(step, LIMIT, || {
            let webhooks =
                ["get", "mutatingwebhookconfigurations", "--selector", "app.kubernetes.io/instance=veneur-operator"];
            let trusted = "jsonpath={.items[*].webhooks[*].clientConfig.caBundle}";
            let bundle = cluster.kubectl(webhooks.into_iter().chain(["--output", trusted]))?;
            Ok(until(bundle.is_empty().then(|| "the webhook has no CA bundle yet".to_owned())))
        })
    })
}

/// Applies the pipeline and waits until all its tiers run the image of now.
pub(super) fn pipeline(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<()> {
    let (pipeline, _) = example(images)?;
    progress.step("apply the pipeline, wait until it is ready", |step| {
        cluster.apply(&pipeline)?;
        wait(step, LIMIT, || {
            let get = ["get", "veneurpipelines.veneur.dev", PIPELINE, "--namespace", METRICS, "--output=json"];
            Ok(until(pipeline_lacks(&json(cluster, &get)?, &images.veneur.reference)))
        })
    })
}

/// Applies the application, and waits until its pods are ready and have sidecars of the image of now.
pub(super) fn application(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<Application> {
    let (_, application) = example(images)?;
    progress.step("apply the sample application, wait for its pods", |step| {
        cluster.apply(&application)?;
        // Sidecars are placed when a pod is created, and stay as they are.
        let pods = pods(cluster)?;
        if pods
            .iter()
            .any(|pod| sidecar(pod).is_some_and(|sidecar| sidecar["image"] != images.veneur.reference.as_str()))
        {
            cluster.kubectl(["rollout", "restart", "deployment/sample", "--namespace", SHOP])?;
        }
        wait_for_pods(cluster, step)
    })
}

fn wait_for_pods(cluster: &Cluster, step: &Step) -> Result<Application> {
    let mut looks = 0;
    let pods = wait(step, LIMIT, || {
        looks += 1;
        let deployment = json(cluster, &["get", "deployment", "sample", "--namespace", SHOP, "--output=json"])?;
        let pods = pods(cluster)?;
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

/// What keeps a pipeline from being ready with this image; `None` when it is.
fn pipeline_lacks(pipeline: &Value, image: &str) -> Option<String> {
    let status = &pipeline["status"];
    let tier = |role: &str| {
        let tier = &status[role];
        let all = tier["updated"] == tier["desired"] && tier["ready"] == tier["desired"];
        let summary = tier["summary"].as_str().unwrap_or("0");
        (tier["image"] == image && all, format!("{role} {summary}"))
    };
    let ((proxies, proxy), (globals, global)) = (tier("proxy"), tier("global"));
    let ready = condition(status, "Ready");
    let current = status["observedGeneration"] == pipeline["metadata"]["generation"];
    if current && proxies && globals && ready["status"] == "True" {
        return None;
    }
    let said = if ready["status"] == "False" { ready["message"].as_str() } else { None };
    Some([Some(proxy.as_str()), Some(&global), said].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What keeps the application from running as it was applied; `None` when it does.
fn deployment_lacks(deployment: &Value, pods: &[Value]) -> Option<String> {
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    let all = ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|count| status[count] == *wanted);
    let current = status["observedGeneration"] == deployment["metadata"]["generation"];
    if current && all && Some(pods.len()) == wanted.as_u64().and_then(|wanted| usize::try_from(wanted).ok()) {
        return None;
    }
    let ready = pods.iter().filter(|pod| condition(&pod["status"], "Ready")["status"] == "True").count();
    let waiting = pods.iter().find_map(|pod| {
        let status = |list: &str| pod["status"][list].as_array().cloned().unwrap_or_default();
        let mut containers = status("initContainerStatuses").into_iter().chain(status("containerStatuses"));
        // Of both, the message says more; `ContainerCreating` and `PodInitializing` have none and are no cause.
        containers.find_map(|container| Some(container["state"]["waiting"]["message"].as_str()?.to_owned()))
    });
    Some(format!("{ready} of {wanted} ready{}", waiting.map(|why| format!(": {why}")).unwrap_or_default()))
}

/// The application's pods, those that are ending excepted.
fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    let get = ["get", "pods", "--namespace", SHOP, "--selector", APPLICATION_LABEL, "--output=json"];
    let mut list = json(cluster, &get)?;
    let Value::Array(mut pods) = list["items"].take() else { bail!("kubectl's list of pods has no items") };
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

fn sidecar(pod: &Value) -> Option<&Value> {
    pod["spec"]["initContainers"].as_array()?.iter().find(|container| container["name"] == "veneur")
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Goes on while something is lacking.
fn until(lacking: Option<String>) -> ControlFlow<(), String> {
    lacking.map_or(ControlFlow::Break(()), ControlFlow::Continue)
}

fn json(cluster: &Cluster, get: &[&str]) -> Result<Value> {
    serde_json::from_str(&cluster.kubectl(get)?).context("kubectl printed no JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn a_pipeline_is_ready_only_with_the_image_that_was_asked_for() {
        let tier = json!({"summary": "2/2", "desired": 2, "ready": 2, "updated": 2, "image": "veneur:1"});
        let mut pipeline = json!({
            "metadata": {"generation": 3},
            "status": {
                "observedGeneration": 3, "proxy": tier, "global": tier,
                "conditions": [{"type": "Ready", "status": "True", "message": "all well"}],
            },
        });
        assert_eq!(pipeline_lacks(&pipeline, "veneur:1"), None);
        assert_eq!(pipeline_lacks(&pipeline, "veneur:2").as_deref(), Some("proxy 2/2, global 2/2"));
        pipeline["status"]["conditions"][0] = json!({"type": "Ready", "status": "False", "message": "no image"});
        assert_eq!(pipeline_lacks(&pipeline, "veneur:1").as_deref(), Some("proxy 2/2, global 2/2, no image"));
        assert_eq!(pipeline_lacks(&json!({"metadata": {"generation": 1}}), "x").as_deref(), Some("proxy 0, global 0"));
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let deployment = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let waiting = json!({"waiting": {"reason": "ErrImageNeverPull", "message": "image x is not present"}});
        let pod = json!({"status": {"containerStatuses": [{"state": {"running": {}}}, {"state": waiting}]}});
        assert_eq!(deployment_lacks(&deployment, &[pod]).as_deref(), Some("0 of 1 ready: image x is not present"));
    }
}
