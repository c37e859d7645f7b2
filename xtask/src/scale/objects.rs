//! What the cluster is filled with: pipelines, and pods as they are after injection.

use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::cluster::progress::Step;

/// Of the operator.
pub(super) const OWN_NAMESPACE: &str = "veneur-system";
/// Namespaces of pipelines and pods.
const NAMESPACES: u32 = 50;
/// kubectl holds itself to 50 requests a second.
const PARALLEL: usize = 8;

fn namespace(index: u32) -> String {
    format!("scale-{}", index % NAMESPACES)
}

fn name(index: u32) -> String {
    format!("p{index}")
}

/// The definition, the operator's namespace, and the webhook configuration that it keeps the bundle of, which calls nobody.
pub(super) fn install(cluster: &Cluster) -> Result<()> {
    cluster.define_pipelines()?;
    let own = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN_NAMESPACE}});
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "veneur-operator"},
        "webhooks": [{
            "name": "pod.inject.veneur.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "veneur-operator-webhook", "namespace": OWN_NAMESPACE, "path": "/inject"}},
            "rules": [],
        }],
    });
    let mut manifests = vec![own, webhook];
    for index in 0..NAMESPACES {
        let name = namespace(index);
        manifests.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        // Without controllers nobody else makes it, and without it no pod is admitted.
        let account = json!({"name": "default", "namespace": name});
        manifests.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}));
    }
    cluster.apply(&list(&manifests))
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Creates everything, several at a time.
pub(super) fn fill(cluster: &Cluster, pipelines: u32, pods: u32, step: &Step) -> Result<()> {
    step.detail("pipelines".to_owned());
    create(cluster, &(0..pipelines).map(pipeline).collect::<Vec<_>>())?;
    step.detail("pods".to_owned());
    create(cluster, &(0..pods).map(|index| pod(index, index % pipelines)).collect::<Vec<_>>())
}

fn create(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let share = objects.len().div_ceil(PARALLEL).max(1);
    thread::scope(|scope| {
        let running: Vec<_> =
            objects.chunks(share).map(|chunk| scope.spawn(move || create_in_turn(cluster, chunk))).collect();
        for one in running {
            match one.join() {
                Ok(created) => created?,
                Err(_) => bail!("creating objects panicked"),
            }
        }
        Ok(())
    })
}

fn create_in_turn(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let mut kubectl = cluster.command("kubectl", ["create", "--validate=false", "--filename=-"]);
    let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // Dropping the pipe at the end of the statement is what tells kubectl that the manifests are complete.
    let mut stdin = child.stdin.take().context("stdin is piped above")?;
    std::io::Write::write_all(&mut stdin, list(objects).as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl create failed: {}", stderr.lines().next().unwrap_or_default());
    Ok(())
}

fn pipeline(index: u32) -> Value {
    json!({
        "apiVersion": "veneur.dev/v1alpha1",
        "kind": "VeneurPipeline",
        "metadata": {"name": name(index), "namespace": namespace(index)},
        "spec": {
            "tags": {"add": {"cluster": "bench"}},
            "global": {"resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}},
            "sinks": [{"name": "datadog", "datadog": {"apiKeySecret": {"name": "datadog", "key": "api-key"}}}],
        },
    })
}

/// A pod as an application's is after injection, with a sidecar and what the webhook stamps.
fn pod(index: u32, of_pipeline: u32) -> Value {
    let (pipeline, namespace) = (name(of_pipeline), namespace(of_pipeline));
    let stamp = json!({
        "pipeline": format!("{namespace}/{pipeline}"), "revision": "bench", "image": "registry.example/veneur:bench",
        "mode": "native", "containers": ["app"], "kept": [],
    });
    let mounts = json!([{"name": "veneur-socket", "mountPath": "/var/run/veneur"}]);
    let configuration = "forward_address: default-proxy.metrics.svc:8128\ninterval: 10s\n".repeat(8);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("app-{index}"),
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "app", "veneur.dev/injected": "true", "veneur.dev/pipeline": pipeline,
                "veneur.dev/pipeline-ns": namespace,
            },
            "annotations": {"veneur.dev/inject": format!("{namespace}/{pipeline}"), "veneur.dev/status": stamp.to_string()},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "registry.example/app:1", "volumeMounts": mounts,
                "env": [{"name": "DD_DOGSTATSD_URL", "value": "unix:///var/run/veneur/dsd.sock"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            }],
            "initContainers": [{
                "name": "veneur", "image": "registry.example/veneur:bench", "args": ["local"], "restartPolicy": "Always",
                "env": [{"name": "VENEUR_CONFIG", "value": configuration}],
                "ports": [{"containerPort": 8127, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                "volumeMounts": mounts,
            }],
            "volumes": [{"name": "veneur-socket", "emptyDir": {"medium": "Memory"}}],
        },
    })
}

/// One change of a pipeline that replaces pods: an object is applied, and the status tells.
pub(super) fn change(cluster: &Cluster, index: u32, to: u32) -> Result<()> {
    let cpu = format!("{}m", 101 + to);
    let patch = json!({"spec": {"global": {"resources": {"requests": {"cpu": cpu}}}}}).to_string();
    let (name, namespace) = (name(index), namespace(index));
    let arguments = ["--namespace", &namespace, "patch", "veneurpipelines", &name, "--type=merge", "--patch", &patch];
    cluster.kubectl(arguments).map(drop)
}
