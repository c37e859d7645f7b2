//! Sidecars on a real cluster: what pods say last arrives, images are exchanged under them, missed pods are found.

use std::time::Duration;

use serde_json::{Value, json};
use veneur_e2e::{Fleet, Namespace, apply, eventually, get, intake, kubectl, pipeline, sample_image, script, secret};
use veneur_intake::Received;

/// A kubelet starts a pod in seconds; a busy machine's slack.
const SOON: Duration = Duration::from_mins(2);
/// A hundred pods, ten at a time.
const JOB: Duration = Duration::from_mins(10);
/// From the end of an interval until its points are out.
const PUBLISHED: Duration = Duration::from_secs(40);

fn running(metrics: &Namespace) -> Fleet<'_> {
    apply(&intake(metrics));
    apply(&secret(metrics));
    apply(&pipeline(metrics));
    let fleet = Fleet(metrics);
    fleet.ready();
    fleet
}

fn total(received: &[Received], metric: &str) -> f64 {
    received.iter().filter(|point| point.metric == metric).map(Received::total).sum()
}

/// Waits until so much of each metric is published, and no more than that comes.
fn published(fleet: &Fleet<'_>, wanted: &[(&str, f64)]) {
    eventually(&format!("{wanted:?} is published"), PUBLISHED, || {
        let received = fleet.try_received()?;
        let got: Vec<(&str, f64)> = wanted.iter().map(|(metric, _)| (*metric, total(&received, metric))).collect();
        if got == wanted { Ok(()) } else { Err(format!("{got:?}")) }
    });
    assert_eq!(fleet.problems(), Value::Array(Vec::new()), "the intake refused nothing");
}

#[test]
fn a_job_that_emits_once_and_exits_arrives_a_hundred_times_of_a_hundred() {
    let (metrics, shop) = (Namespace::new("job"), Namespace::new("job-shop"));
    let fleet = running(&metrics);
    // Half of them by the real client over the socket, half by a bare datagram over UDP; and at once away.
    let once = "import os, socket
from datadog.dogstatsd import DogStatsd
if int(os.environ['JOB_COMPLETION_INDEX']) % 2:
    DogStatsd().increment('once.socket')
else:
    host, port = os.environ['STATSD_ADDR'].split(':')
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'once.udp:1|c\\nonce.took:3|ms', (host, int(port)))
";
    apply(&script(&shop, "once", once));
    apply(&format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{ name: once, namespace: {0} }}
spec:
  completions: 100
  parallelism: 10
  completionMode: Indexed
  backoffLimit: 0
  template:
    metadata: {{ annotations: {{ veneur.dev/inject: {1}/fleet }} }}
    spec:
      restartPolicy: Never
      containers:
        - name: once
          image: {2}
          imagePullPolicy: IfNotPresent
          command: [python3, /app/app.py]
          volumeMounts: [{{ name: app, mountPath: /app }}]
      volumes: [{{ name: app, configMap: {{ name: once }} }}]
",
        shop.0,
        metrics.0,
        sample_image()
    ));
    eventually("the job is done", JOB, || {
        let job = get(&["-n", &shop.0, "job", "once"]).map_err(|refusal| refusal.0)?;
        if job["status"]["succeeded"] == 100 { Ok(()) } else { Err(job["status"].to_string()) }
    });
    published(&fleet, &[("once.socket", 50.0), ("once.udp", 50.0), ("once.took.count", 50.0)]);
    println!("job: 100 of 100");
}

#[test]
fn what_a_deleted_pod_said_last_arrives() {
    let (metrics, shop) = (Namespace::new("last"), Namespace::new("last-shop"));
    let fleet = running(&metrics);
    // One leaves when it is told to, and says something then; one does not listen and is killed.
    let last = "import os, signal, sys, time
from datadog.dogstatsd import DogStatsd
client = DogStatsd()
def end(*_):
    client.increment('last.farewell')
    client.flush()
    sys.exit(0)
signal.signal(signal.SIGTERM, end if os.environ['LISTENS'] == 'yes' else signal.SIG_IGN)
client.increment('last.before')
client.flush()
print('emitted', flush=True)
while True:
    time.sleep(1)
";
    apply(&script(&shop, "last", last));
    for (name, listens) in [("polite", "yes"), ("deaf", "no")] {
        apply(&format!(
            "apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: {0}, annotations: {{ veneur.dev/inject: {1}/fleet }} }}
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - name: app
      image: {2}
      imagePullPolicy: IfNotPresent
      command: [python3, /app/app.py]
      env: [{{ name: LISTENS, value: '{listens}' }}]
      volumeMounts: [{{ name: app, mountPath: /app }}]
  volumes: [{{ name: app, configMap: {{ name: last }} }}]
",
            shop.0,
            metrics.0,
            sample_image()
        ));
    }
    for name in ["polite", "deaf"] {
        eventually(&format!("{name} has emitted"), SOON, || {
            let log = kubectl(&["-n", &shop.0, "logs", name, "-c", "app"]).map_err(|refusal| refusal.0)?;
            if log.contains("emitted") { Ok(()) } else { Err(log) }
        });
        kubectl(&["-n", &shop.0, "delete", "pod", name, "--wait=false"]).expect("deleted");
    }
    published(&fleet, &[("last.before", 2.0), ("last.farewell", 1.0)]);
}

#[test]
fn an_image_is_exchanged_while_the_application_runs_and_the_socket_loses_nothing() {
    let (metrics, shop) = (Namespace::new("exchange"), Namespace::new("exchange-shop"));
    let fleet = running(&metrics);
    // Sends over both ways, counts what was taken, and stops ten seconds after the sidecar was away and came back.
    let send = "import json, os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
path = os.environ['DD_DOGSTATSD_URL'].removeprefix('unix://')
host, port = os.environ['STATSD_ADDR'].split(':')
unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
unix.settimeout(1)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken = refused = sent = 0
first = last = None
while last is None or time.monotonic() < last + 10:
    try:
        unix.sendto(b'exchange.socket:1|c', path)
        taken += 1
    except OSError:
        refused += 1
        last = time.monotonic()
        first = first or last
    udp.sendto(b'exchange.udp:1|c', (host, int(port)))
    sent += 1
    time.sleep(0.002)
print(json.dumps({'taken': taken, 'refused': refused, 'sent': sent, 'away': last - first}), flush=True)
while True:
    time.sleep(1)
";
    apply(&script(&shop, "send", send));
    apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: send, namespace: {0} }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: send }} }}
  template:
    metadata:
      labels: {{ app: send }}
      annotations: {{ veneur.dev/inject: {1}/fleet }}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: app
          image: {2}
          imagePullPolicy: IfNotPresent
          command: [python3, /app/app.py]
          volumeMounts: [{{ name: app, mountPath: /app }}]
      volumes: [{{ name: app, configMap: {{ name: send }} }}]
",
        shop.0,
        metrics.0,
        sample_image()
    ));
    kubectl(&["-n", &shop.0, "rollout", "status", "deployment/send", "--timeout=120s"]).expect("the pods start");
    eventually("something is published", SOON, || {
        if total(&fleet.try_received()?, "exchange.socket") > 0.0 { Ok(()) } else { Err("nothing yet".to_owned()) }
    });

    let next = std::env::var("VENEUR_NEXT_VERSION").expect("VENEUR_NEXT_VERSION is a second tag of the image");
    let version = json!({ "spec": { "version": next } }).to_string();
    kubectl(&["-n", &metrics.0, "patch", "veneurpipeline", "fleet", "--type=merge", "-p", &version]).expect("patched");
    let pods = || get(&["-n", &shop.0, "pods", "-l", "app=send"]).expect("listed")["items"].clone();
    eventually("both sidecars run the new image", Duration::from_mins(5), || {
        let pods = pods();
        let is_next = |image: &str| image.ends_with(&format!(":{next}"));
        // Never before those it sends to, not even one of them.
        if pods.as_array().into_iter().flatten().filter_map(asked_image).any(is_next) {
            for tier in ["proxy", "global"] {
                let tier = format!("fleet-{tier}");
                let tier = get(&["-n", &metrics.0, "deployment", &tier]).map_err(|refusal| refusal.0)?;
                let image = tier["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
                assert!(is_next(image), "a sidecar is newer than {tier:#}");
                assert_eq!(tier["status"]["observedGeneration"], tier["metadata"]["generation"], "{tier:#}");
                assert_eq!(tier["status"]["updatedReplicas"], tier["spec"]["replicas"], "{tier:#}");
            }
        }
        let images: Vec<&str> = pods.as_array().into_iter().flatten().filter_map(sidecar_image).collect();
        let stamped = pods.as_array().into_iter().flatten().filter(|pod| stamped_image(pod).ends_with(&next)).count();
        let done = images.len() == 2 && images.iter().all(|image| is_next(image)) && stamped == 2;
        if done { Ok(()) } else { Err(format!("{images:?}, {stamped} stamps")) }
    });
    let (mut taken, mut sent) = (0.0, 0.0);
    for pod in pods().as_array().expect("a list") {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let line: Value = eventually(&format!("{name} has sent all"), SOON, || {
            let log = kubectl(&["-n", &shop.0, "logs", name, "-c", "app"]).map_err(|refusal| refusal.0)?;
            log.lines().last().and_then(|line| serde_json::from_str(line).ok()).ok_or(log)
        });
        println!("exchange in {name}: {line}");
        taken += line["taken"].as_f64().expect("a number");
        sent += line["sent"].as_f64().expect("a number");
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        assert_eq!(restarts, Some(0), "the application is not restarted");
    }
    published(&fleet, &[("exchange.socket", taken)]);
    let arrived = total(&fleet.received(), "exchange.udp");
    assert!(arrived <= sent && arrived > 0.0);
    println!(
        "exchange: over the socket {taken} of {taken}; over UDP {arrived} of {sent}, a gap of {:.1} s a pod",
        (sent - arrived) / 2.0 * 0.002
    );
}

fn stamped_image(pod: &Value) -> String {
    let text = pod["metadata"]["annotations"]["veneur.dev/status"].as_str().unwrap_or_default();
    let stamp: Value = serde_json::from_str(text).unwrap_or_default();
    stamp["image"].as_str().unwrap_or_default().to_owned()
}

/// The image that a pod's sidecar is to run, whether it does already or not.
fn asked_image(pod: &Value) -> Option<&str> {
    let containers = pod["spec"]["initContainers"].as_array()?;
    containers.iter().find(|container| container["name"] == "veneur")?["image"].as_str()
}

fn sidecar_image(pod: &Value) -> Option<&str> {
    let statuses = pod["status"]["initContainerStatuses"].as_array()?;
    let ready = statuses.iter().any(|status| status["name"] == "veneur" && status["started"] == true);
    asked_image(pod).filter(|_| ready)
}

#[test]
fn pods_that_the_webhook_missed_are_evicted_where_their_pipeline_says_so() {
    let (metrics, shop) = (Namespace::new("missed"), Namespace::new("missed-shop"));
    running(&metrics);
    // As if the webhook were away: it does not see the pods of such a namespace.
    kubectl(&["label", "namespace", &shop.0, "veneur.dev/injection=disabled"]).expect("labelled");
    apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: quiet, namespace: {0} }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: quiet }} }}
  template:
    metadata: {{ labels: {{ app: quiet }}, annotations: {{ veneur.dev/inject: {1}/fleet }} }}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: {2}
          imagePullPolicy: IfNotPresent
",
        shop.0,
        metrics.0,
        sample_image()
    ));
    kubectl(&["-n", &shop.0, "rollout", "status", "deployment/quiet", "--timeout=120s"]).expect("the pods start");
    let injected = || {
        let pods = get(&["-n", &shop.0, "pods", "-l", "app=quiet,veneur.dev/injected=true"]).expect("listed");
        pods["items"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(injected(), 0);
    kubectl(&["label", "namespace", &shop.0, "veneur.dev/injection-"]).expect("the label is removed");
    let counted = |missed: u64, workloads: &[String]| {
        eventually(&format!("the status counts {missed} missed pods"), SOON, || {
            let pipeline = get(&["-n", &metrics.0, "veneurpipeline", "fleet"]).map_err(|refusal| refusal.0)?;
            let status = &pipeline["status"]["injection"];
            let named = status["missedWorkloads"].as_array().cloned().unwrap_or_default();
            if status["missed"] == missed && named == workloads { Ok(()) } else { Err(status.to_string()) }
        });
    };
    counted(2, &[format!("{}/Deployment/quiet", shop.0)]);
    assert_eq!(injected(), 0, "they are only reported, until their pipeline says otherwise");
    let evict = json!({"spec": {"injection": {"onMissed": "Evict"}}}).to_string();
    kubectl(&["-n", &metrics.0, "patch", "veneurpipeline", "fleet", "--type=merge", "-p", &evict]).expect("patched");
    eventually("all pods are made anew, with a sidecar", SOON, || {
        let injected = injected();
        if injected == 2 { Ok(()) } else { Err(format!("{injected} of 2")) }
    });
    counted(0, &[]);
}

#[test]
fn a_labelled_namespace_of_the_restricted_standard_gets_sidecars_and_owners_are_told() {
    let (metrics, shop) = (Namespace::new("labelled"), Namespace::new("labelled-shop"));
    running(&metrics);
    for label in ["veneur.dev/injection=enabled", "pod-security.kubernetes.io/enforce=restricted"] {
        kubectl(&["label", "namespace", &shop.0, label]).expect("labelled");
    }
    let named = format!("veneur.dev/pipeline={}/fleet", metrics.0);
    kubectl(&["annotate", "namespace", &shop.0, &named]).expect("annotated");
    let deployment = |name: &str, annotations: &str| {
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name}, namespace: {0} }}
spec:
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }}, annotations: {{ {annotations} }} }}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {{ runAsNonRoot: true, seccompProfile: {{ type: RuntimeDefault }} }}
      containers:
        - name: app
          image: {1}
          imagePullPolicy: IfNotPresent
          securityContext: {{ allowPrivilegeEscalation: false, capabilities: {{ drop: [ALL] }} }}
",
            shop.0,
            sample_image()
        )
    };
    apply(&deployment("app", ""));
    apply(&deployment("mistyped", &format!("veneur.dev/inject: {}/fleeet", metrics.0)));
    for name in ["app", "mistyped"] {
        let of = format!("deployment/{name}");
        kubectl(&["-n", &shop.0, "rollout", "status", &of, "--timeout=120s"]).expect("the pods start");
    }
    let annotations = |app: &str| {
        let pods = get(&["-n", &shop.0, "pods", "-l", &format!("app={app}")]).expect("listed");
        pods["items"][0]["metadata"]["annotations"].clone()
    };
    assert!(annotations("app")["veneur.dev/status"].is_string(), "{}", annotations("app"));
    let hint = format!("PipelineNotFound: {0}/fleeet; did you mean {0}/fleet?", metrics.0);
    assert_eq!(annotations("mistyped")["veneur.dev/skipped"], hint);
    for (reason, note) in [("VeneurInjected", format!("{}/fleet", metrics.0)), ("VeneurInjectionSkipped", hint)] {
        eventually(&format!("the event {reason} is on a ReplicaSet"), SOON, || {
            let events = get(&["-n", &shop.0, "events.events.k8s.io"]).map_err(|refusal| refusal.0)?;
            let told = events["items"].as_array().into_iter().flatten().any(|event| {
                event["reason"] == reason
                    && event["regarding"]["kind"] == "ReplicaSet"
                    && event["note"].as_str().is_some_and(|text| text.contains(&note))
            });
            if told { Ok(()) } else { Err("not yet".to_owned()) }
        });
    }
}
