//! Wrong input gets one clear answer, and its good neighbours are unharmed.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use veneur_e2e::{Namespace, apply, apply_refused, condition, eventually, get, is_ready, kubectl, raw, sample_image};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn each_wrong_pipeline_is_refused_with_its_sentence() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let manifest = fs::read_to_string(&file).expect("readable");
        let (first, _) = manifest.split_once('\n').expect("more than a line");
        let expected = first.strip_prefix("# expect: ").expect("the first line says what is expected");
        let said = apply_refused(&manifest);
        assert!(said.contains(expected), "{}: expected {expected:?}, was told: {said}", file.display());
        assert!(!said.contains("rule evaluation error"), "{}: {said}", file.display());
    }
}

/// What a rule on a change says, which no single object shows.
#[test]
fn a_ring_changes_its_hash_only_where_that_is_accepted() {
    let namespace = Namespace::new("rehash");
    let ring = |ring: &str| {
        format!(
            "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: ring, namespace: {} }}
spec:
  proxy: {{ replicas: 1 }}
  global: {{ replicas: 1, ring: {ring} }}
  sinks: [{{ name: debug, debug: {{}} }}]
",
            namespace.0
        )
    };
    apply(&ring("{}"));
    let said = apply_refused(&ring("{ hash: Veneur }"));
    let expected =
        "ring.hash moves every key when changed; set ring.allowRehash: true to accept one interval of split series";
    assert!(said.contains(expected), "{said}");
    apply(&ring("{ hash: Veneur, allowRehash: true }"));
}

#[test]
fn a_missing_secret_is_named_and_its_arrival_noticed() {
    let namespace = Namespace::new("secretless");
    apply(&format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: keyless, namespace: {0} }}
spec:
  flush: {{ interval: 1s }}
  proxy: {{ replicas: 1 }}
  global: {{ replicas: 1 }}
  sinks:
    - {{ name: datadog, datadog: {{ url: \"http://intake.{0}.svc\", apiKeySecret: {{ name: absent, key: api-key }} }} }}
",
        namespace.0
    ));
    let seen = || get(&["-n", &namespace.0, "veneurpipeline", "keyless"]).map_err(|refusal| refusal.0);
    eventually("the condition names the secret", SOON, || {
        let available = condition(&seen()?, "GlobalAvailable");
        let message = available["message"].as_str().unwrap_or_default();
        let names_it = available["reason"] == "SecretNotFound"
            && message.contains(&format!("secret \"absent\" not found in namespace {}", namespace.0))
            && message.contains("sinks[0]");
        if names_it { Ok(()) } else { Err(available.to_string()) }
    });
    let listed = kubectl(&["-n", &namespace.0, "get", "vnr", "keyless"]).expect("listed");
    assert!(listed.contains("SecretNotFound"), "one glance tells why: {listed}");

    apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: absent, namespace: {} }}\nstringData: {{ api-key: abc }}\n",
        namespace.0
    ));
    eventually("the globals start by themselves", Duration::from_mins(2), || {
        let available = condition(&seen()?, "GlobalAvailable");
        if available["status"] == "True" { Ok(()) } else { Err(available.to_string()) }
    });
    // Nobody answers there: the next thing that is wrong is said in its turn.
    eventually("the condition names the sink", Duration::from_mins(2), || {
        let healthy = condition(&seen()?, "SinksHealthy");
        let names_it = healthy["reason"] == "Unreachable" && healthy.to_string().contains("datadog");
        if names_it { Ok(()) } else { Err(healthy.to_string()) }
    });
}

#[test]
fn a_quota_without_room_is_the_cause_that_is_told_until_it_is_lifted() {
    let namespace = Namespace::new("quota");
    apply(&format!(
        "apiVersion: v1
kind: ResourceQuota
metadata: {{ name: full, namespace: {} }}
spec: {{ hard: {{ pods: 0 }} }}
",
        namespace.0
    ));
    eventually("the quota is in force", SOON, || {
        let quota = get(&["-n", &namespace.0, "resourcequota", "full"]).map_err(|refusal| refusal.0)?;
        if quota["status"]["hard"]["pods"] == "0" { Ok(()) } else { Err(quota["status"].to_string()) }
    });
    apply(&small_pipeline(&namespace));
    eventually("the conditions have the API server's words", SOON, || {
        let pipeline = get(&["-n", &namespace.0, "veneurpipeline", "small"]).map_err(|refusal| refusal.0)?;
        let conditions = ["Ready", "GlobalAvailable", "ProxyAvailable"].map(|kind| condition(&pipeline, kind));
        let says = |condition: &Value| {
            let message = condition["message"].as_str().unwrap_or_default();
            condition["status"] == "False"
                && condition["reason"] == "QuotaExceeded"
                && message.contains("exceeded quota: full, requested: pods=1, used: pods=0, limited: pods=0")
        };
        if conditions.iter().all(says) { Ok(()) } else { Err(format!("{conditions:?}")) }
    });
    let listed = kubectl(&["-n", &namespace.0, "get", "vnr", "small"]).expect("listed");
    assert!(listed.contains("QuotaExceeded"), "one glance tells why: {listed}");
    kubectl(&["-n", &namespace.0, "delete", "resourcequota", "full"]).expect("deleted");
    is_ready(&namespace, "small");
}

#[test]
fn a_mistyped_pipeline_leaves_the_pod_running_with_the_nearest_name() {
    let namespace = Namespace::new("mistyped");
    apply(&small_pipeline(&namespace));
    // The webhook answers from what the operator has seen.
    is_ready(&namespace, "small");
    apply(&pod(&namespace, "typo", "smal"));
    let annotations = eventually("the pod runs", SOON, || running(&namespace, "typo"));
    let skipped = annotations["veneur.dev/skipped"].as_str().unwrap_or_default();
    let expected = format!("PipelineNotFound: {0}/smal; did you mean {0}/small?", namespace.0);
    assert_eq!(skipped, expected, "{annotations:#}");
    let object = get(&["-n", &namespace.0, "pod", "typo"]).expect("exists");
    assert_eq!(object["spec"]["initContainers"], Value::Null, "nothing was injected");
}

/// A pod's author may choose the image, and may mistype it.
#[test]
fn a_sidecar_that_cannot_start_is_named_with_its_cause_until_it_is_gone() {
    let namespace = Namespace::new("failing");
    apply(&small_pipeline(&namespace));
    is_ready(&namespace, "small");
    let typo = "localhost/veneur:typo";
    let own = format!("containers:\n    - {{ name: veneur, image: \"{typo}\", imagePullPolicy: Never }}\n");
    apply(&pod(&namespace, "stuck", "small").replacen("containers:\n", &own, 1));
    let injection = || {
        let pipeline = get(&["-n", &namespace.0, "veneurpipeline", "small"]).map_err(|refusal| refusal.0)?;
        Ok::<_, String>((condition(&pipeline, "InjectionHealthy"), pipeline["status"]["summaryReason"].clone()))
    };
    eventually("the condition names the pod and the image", SOON, || {
        let (healthy, summary) = injection()?;
        let message = healthy["message"].as_str().unwrap_or_default();
        let cause = format!("{}/stuck: image {typo} cannot be pulled", namespace.0);
        let said = healthy["reason"] == "SidecarsFailing" && summary == "SidecarsFailing" && message.contains(&cause);
        if said { Ok(()) } else { Err(format!("{summary}: {healthy}")) }
    });
    kubectl(&["-n", &namespace.0, "delete", "pod", "stuck", "--wait=false"]).expect("deleted");
    eventually("all is well again", SOON, || {
        let (healthy, _) = injection()?;
        if healthy["status"] == "True" { Ok(()) } else { Err(healthy.to_string()) }
    });
}

#[test]
fn garbage_among_good_datagrams_is_counted_and_harms_nothing() {
    let namespace = Namespace::new("garbage");
    apply(&small_pipeline(&namespace));
    is_ready(&namespace, "small");
    apply(&pod(&namespace, "app", "small"));
    eventually("the pod runs", SOON, || running(&namespace, "app"));
    // 200 good values, each datagram with a bad line beside a good one, and some that are bad as a whole.
    let script = "
import os, socket, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = (os.environ['DD_AGENT_HOST'], int(os.environ['DD_DOGSTATSD_PORT']))
for n in range(100):
    out.sendto(b'good.count:1|c\\ngood.time:abc|ms\\n\\x00\\xff\\xfe|||\\ngood.gauge:%d|g' % n, to)
    out.sendto(os.urandom(64).replace(b'\\n', b'').replace(b'|', b''), to)
    out.sendto(b'x' * 5000, to)
    time.sleep(0.002)
";
    kubectl(&["-n", &namespace.0, "exec", "app", "-c", "app", "--", "python3", "-c", script]).expect("python runs");
    let path = format!("/api/v1/namespaces/{}/pods/app:8127/proxy/status", namespace.0);
    let status = eventually("all of it is read", SOON, || {
        let status = raw(&path).map_err(|refusal| refusal.0)?;
        let read = status["ledgers"]["datagrams"]["read"].as_u64().unwrap_or_default();
        if read == 300 { Ok(status) } else { Err(status.to_string()) }
    });
    let samples = &status["ledgers"]["samples"];
    assert_eq!(samples["aggregated"], 200, "{samples:#}");
    assert_eq!(samples["refused"]["bad_number"], 100, "{samples:#}");
    assert_eq!(samples["refused"]["too_long"], 100, "{samples:#}");
    assert_eq!(samples["refused"]["missing_pipe"], 100, "{samples:#}");
    assert_eq!(samples["parsed"], 600, "{samples:#}");
    assert_eq!(status["unaccounted"], 0);

    let published = eventually("the good ones are published", SOON, || {
        let logs = kubectl(&["-n", &namespace.0, "logs", "-l", "veneur.dev/role=global", "--tail=-1"])
            .map_err(|refusal| refusal.0)?;
        let points: Vec<Value> = logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let counted: f64 = points
            .iter()
            .filter(|point| point["name"] == "good.count")
            .filter_map(|point| point["value"].as_f64())
            .sum();
        if (counted - 100.0).abs() < 1e-9 { Ok(points) } else { Err(format!("{counted} of 100")) }
    });
    assert!(published.iter().any(|point| point["name"] == "good.gauge"), "{published:?}");
}

fn small_pipeline(namespace: &Namespace) -> String {
    format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: small, namespace: {} }}
spec:
  flush: {{ interval: 1s }}
  proxy: {{ replicas: 1 }}
  global: {{ replicas: 1 }}
  sinks: [{{ name: debug, debug: {{}} }}]
",
        namespace.0
    )
}

fn pod(namespace: &Namespace, name: &str, inject: &str) -> String {
    let image = sample_image();
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: {}, annotations: {{ veneur.dev/inject: {inject} }} }}
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - name: app
      image: {image}
      imagePullPolicy: IfNotPresent
      command: [python3, -c, \"import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()\"]
",
        namespace.0
    )
}

/// The annotations of a pod whose containers are all ready.
fn running(namespace: &Namespace, name: &str) -> Result<Value, String> {
    let pod = get(&["-n", &namespace.0, "pod", name]).map_err(|refusal| refusal.0)?;
    let ready = condition(&pod, "Ready");
    if ready["status"] == "True" { Ok(pod["metadata"]["annotations"].clone()) } else { Err(ready.to_string()) }
}
