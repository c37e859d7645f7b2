//! Other ways for a pod to take part than the native sidecar that sends all through the globals: a classic one, and one that
//! posts what is its pod's own itself.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use veneur_e2e::{
    Fleet, Namespace, apply, condition, eventually, get, intake, is_ready, kubectl, sample_image, script, secret,
};

/// A kubelet starts a pod in seconds; a busy machine's slack.
const SOON: Duration = Duration::from_mins(2);

/// A pod's template that runs the script `name`, indented by `indent`.
fn template(name: &str, annotations: &str, restart: &str, indent: usize) -> String {
    let lines = format!(
        "metadata: {{ labels: {{ app: {name} }}, annotations: {{ {annotations} }} }}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 12
  containers:
    - name: app
      image: {}
      imagePullPolicy: IfNotPresent
      command: [python3, /app/app.py]
      volumeMounts: [{{ name: app, mountPath: /app }}]
  volumes: [{{ name: app, configMap: {{ name: {name} }} }}]",
        sample_image()
    );
    lines.replace('\n', &format!("\n{}", " ".repeat(indent)))
}

fn job(namespace: &Namespace, name: &str, annotations: &str) -> String {
    let template = template("once", annotations, "Never", 4);
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{ name: {name}, namespace: {} }}
spec:
  backoffLimit: 0
  template:
    {template}
",
        namespace.0
    )
}

/// What the globals of the pipeline `classic` have published of a counter.
fn counted(metrics: &Namespace, metric: &str) -> Result<f64, String> {
    let selector = "veneur.dev/pipeline=classic,veneur.dev/role=global";
    let logs = kubectl(&["-n", &metrics.0, "logs", "-l", selector, "--tail=-1"]).map_err(|refusal| refusal.0)?;
    let points = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(points.filter(|point| point["name"] == metric).filter_map(|point| point["value"].as_f64()).sum())
}

fn published(metrics: &Namespace, metric: &str, wanted: f64) {
    eventually(&format!("{wanted} of {metric} are published"), SOON, || {
        let counted = counted(metrics, metric)?;
        if (counted - wanted).abs() < 1e-9 { Ok(()) } else { Err(format!("{counted}")) }
    });
}

/// Waits until the application has said all, and its client has dropped nothing of it.
fn emitted(namespace: &Namespace, workload: &str) {
    let log = eventually("the application has emitted", SOON, || {
        let log = kubectl(&["-n", &namespace.0, "logs", workload, "-c", "app"]).map_err(|refusal| refusal.0)?;
        if log.contains("dropped") { Ok(log) } else { Err(log) }
    });
    assert_eq!(log.trim(), "dropped 0");
}

/// The only pod with this label.
fn pod(namespace: &Namespace, selector: &str) -> Value {
    let listed = get(&["-n", &namespace.0, "pods", "-l", selector]).expect("listed");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{selector}: {listed:#}");
    listed["items"][0].clone()
}

fn names(containers: &Value) -> Vec<&str> {
    containers.as_array().into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
}

#[test]
fn a_classic_sidecar_hears_its_pod_to_the_end_and_a_job_that_it_would_block_is_left_alone() {
    let (metrics, shop) = (Namespace::new("classic"), Namespace::new("classic-shop"));
    apply(&format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: classic, namespace: {} }}
spec:
  flush: {{ interval: 1s }}
  sidecar: {{ mode: Classic }}
  proxy: {{ replicas: 1 }}
  global: {{ replicas: 1 }}
  sinks: [{{ name: debug, debug: {{}} }}]
",
        metrics.0
    ));
    is_ready(&metrics, "classic");
    // It starts beside the application's container, not before it: what is said before its socket is there is lost.
    let web = "import os, signal, sys, time
from datadog.dogstatsd import DogStatsd
socket = os.environ['DD_DOGSTATSD_URL'].removeprefix('unix://')
while not os.path.exists(socket):
    time.sleep(0.1)
client = DogStatsd(socket_timeout=1)
def end(*_):
    client.increment('classic.last')
    client.flush()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
for _ in range(100):
    client.increment('classic.hits')
client.flush()
print('dropped', client.packets_dropped, flush=True)
while True:
    time.sleep(1)
";
    let once = "import os
from datadog.dogstatsd import DogStatsd
if 'DD_DOGSTATSD_URL' in os.environ:
    DogStatsd().increment('classic.job')
";
    apply(&script(&shop, "web", web));
    apply(&script(&shop, "once", once));
    let inject = format!("veneur.dev/inject: {}/classic", metrics.0);
    apply(&job(&shop, "blocked", &inject));
    apply(&job(&shop, "native", &format!("{inject}, veneur.dev/mode: native")));
    apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web, namespace: {} }}
spec:
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    {}
",
        shop.0,
        template("web", &inject, "Always", 4)
    ));
    kubectl(&["-n", &shop.0, "rollout", "status", "deployment/web", "--timeout=120s"]).expect("the pod starts");

    let web = pod(&shop, "app=web");
    assert_eq!(names(&web["spec"]["containers"]), ["app", "veneur"], "an ordinary container, the last");
    assert_eq!(web["spec"]["initContainers"], Value::Null);
    let stamp = web["metadata"]["annotations"]["veneur.dev/status"].as_str().expect("a stamp");
    assert!(stamp.contains("\"mode\":\"classic\""), "{stamp}");
    emitted(&shop, "deployment/web");
    published(&metrics, "classic.hits", 100.0);

    for name in ["blocked", "native"] {
        eventually(&format!("job {name} is done"), SOON, || {
            let job = get(&["-n", &shop.0, "job", name]).map_err(|refusal| refusal.0)?;
            if job["status"]["succeeded"] == 1 { Ok(()) } else { Err(job["status"].to_string()) }
        });
    }
    let blocked = pod(&shop, "job-name=blocked");
    assert_eq!(names(&blocked["spec"]["containers"]), ["app"], "nothing was injected");
    assert_eq!(blocked["spec"]["initContainers"], Value::Null);
    let why = "ClassicWouldBlockJob: the pod belongs to a Job, and a classic sidecar would never let it end: set \
               veneur.dev/mode: native";
    assert_eq!(blocked["metadata"]["annotations"]["veneur.dev/skipped"], why);
    eventually("the Job is told", SOON, || {
        let events = get(&["-n", &shop.0, "events.events.k8s.io"]).map_err(|refusal| refusal.0)?;
        let told = events["items"].as_array().into_iter().flatten().any(|event| {
            let regarding = &event["regarding"];
            event["reason"] == "VeneurInjectionSkipped"
                && (&regarding["kind"], &regarding["name"]) == (&"Job".into(), &"blocked".into())
                && event["note"] == why
        });
        if told { Ok(()) } else { Err("not yet".to_owned()) }
    });
    // What the reason advises.
    published(&metrics, "classic.job", 1.0);

    // Both containers are told to end at once, and the sidecar stays for what is said then.
    kubectl(&["-n", &shop.0, "delete", "deployment", "web"]).expect("deleted");
    published(&metrics, "classic.last", 1.0);
}

#[test]
fn a_sidecar_that_delivers_directly_posts_what_is_its_pods_own_and_globals_the_rest() {
    let (metrics, shop) = (Namespace::new("direct"), Namespace::new("direct-shop"));
    apply(&intake(&metrics));
    apply(&secret(&metrics));
    apply(&format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: direct, namespace: {0} }}
spec:
  flush: {{ interval: 1s }}
  aggregation: {{ percentiles: [p50], aggregates: [Max, Count] }}
  sidecar: {{ delivery: Direct }}
  proxy: {{ replicas: 1 }}
  global: {{ replicas: 1 }}
  sinks:
    - name: datadog
      datadog: {{ url: \"http://intake.{0}.svc:8080\", apiKeySecret: {{ name: datadog, key: api-key }} }}
",
        metrics.0
    ));
    is_ready(&metrics, "direct");
    let emit = "import signal, sys, time
from datadog.dogstatsd import DogStatsd
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
client = DogStatsd(socket_timeout=1)
for number in range(100):
    client.increment('direct.hits')
    client.timing('direct.took', number)
    client.set('direct.users', 'user-%d' % number)
client.gauge('direct.depth', 7)
client.flush()
print('dropped', client.packets_dropped, flush=True)
while True:
    time.sleep(1)
";
    apply(&script(&shop, "emit", emit));
    let template = template("emit", &format!("veneur.dev/inject: {}/direct", metrics.0), "Always", 0);
    let named = template.replacen("metadata: {", &format!("metadata: {{ name: emit, namespace: {},", shop.0), 1);
    apply(&format!("apiVersion: v1\nkind: Pod\n{named}\n"));

    // A sidecar needs the key where its pod is; until it is there, the pipeline says whose is missing.
    eventually("the condition names the Secret", SOON, || {
        let pipeline = get(&["-n", &metrics.0, "veneurpipeline", "direct"]).map_err(|refusal| refusal.0)?;
        let healthy = condition(&pipeline, "InjectionHealthy");
        let message = healthy["message"].as_str().unwrap_or_default();
        let names_it = message.contains(&format!("{}/emit: secret \"datadog\" not found", shop.0));
        if healthy["reason"] == "SidecarsFailing" && names_it { Ok(()) } else { Err(healthy.to_string()) }
    });
    apply(&secret(&shop));
    emitted(&shop, "emit");

    let fleet = Fleet(&metrics);
    let received = eventually("all of it is published", SOON, || {
        let received = fleet.try_received()?;
        let of = |metric: &str| received.iter().filter(|point| point.metric == metric).collect::<Vec<_>>();
        let totals: Vec<f64> = ["direct.hits", "direct.took.count"]
            .map(|metric| of(metric).into_iter().map(veneur_intake::Received::total).sum())
            .into();
        let others = ["direct.depth", "direct.took.max", "direct.took.50percentile", "direct.users"];
        let seen = others.map(|metric| !of(metric).is_empty());
        if totals == [100.0, 100.0] && seen == [true; 4] { Ok(received) } else { Err(format!("{totals:?}, {seen:?}")) }
    });
    assert_eq!(fleet.problems(), Value::Array(Vec::new()), "the intake refused nothing");
    let pod = get(&["-n", &shop.0, "pod", "emit"]).expect("it is there");
    let address = pod["status"]["podIP"].as_str().expect("an address").to_owned();
    let selector = "veneur.dev/pipeline=direct,veneur.dev/role=global";
    let of_global = ["-n", &metrics.0, "get", "pods", "-l", selector, "-o", "jsonpath={.items[0].status.podIP}"];
    let global = kubectl(&of_global).expect("listed");
    for (metric, sender, host) in [
        ("direct.hits", &address, Some("emit")),
        ("direct.depth", &address, Some("emit")),
        ("direct.took.count", &address, Some("emit")),
        ("direct.took.max", &address, Some("emit")),
        ("direct.took.50percentile", &global, None),
        ("direct.users", &global, None),
    ] {
        let points = received.iter().filter(|point| point.metric == metric);
        let said: BTreeSet<_> = points.map(|point| (point.sender.to_string(), point.host.as_deref())).collect();
        assert_eq!(said, BTreeSet::from([(sender.clone(), host)]), "{metric}");
    }
}
