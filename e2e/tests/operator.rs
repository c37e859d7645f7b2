//! The operator itself: who leads, whom the API server trusts, what it may do, and what `helm test` says.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use veneur_e2e::{Namespace, Refusal, apply, condition, eventually, get, helm, kubectl, sample_image};

const SYSTEM: &str = "veneur-system";
const ACCOUNT: &str = "--as=system:serviceaccount:veneur-system:veneur-operator";
const SOON: Duration = Duration::from_secs(30);

/// These tests change the one operator that there is: each has it for itself.
fn alone() -> MutexGuard<'static, ()> {
    static OPERATOR: Mutex<()> = Mutex::new(());
    OPERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bundles() -> Vec<String> {
    let configuration = get(&["mutatingwebhookconfiguration", "veneur-operator"]).expect("it is installed");
    let webhooks = configuration["webhooks"].as_array().expect("webhooks");
    webhooks.iter().map(|webhook| webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()).collect()
}

fn lease() -> Value {
    get(&["-n", SYSTEM, "lease", "veneur-operator"]).expect("a replica leads")["spec"].clone()
}

fn rolled_out() {
    kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/veneur-operator", "--timeout=120s"])
        .expect("it rolls out");
}

/// Installs the same chart with other lifetimes of certificates, and waits.
fn lifetimes(authority: &str, certificate: &str) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/veneur-operator");
    let authority = format!("webhook.certificates.authorityLifetime={authority}");
    let certificate = format!("webhook.certificates.certificateLifetime={certificate}");
    let upgrade = ["upgrade", "veneur-operator", chart, "--namespace", SYSTEM, "--reuse-values"];
    helm(&[&upgrade[..], &["--set", &authority, "--set", &certificate]].concat()).expect("the chart is upgraded");
    rolled_out();
}

fn pipeline(namespace: &Namespace) {
    apply(&format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: rotation, namespace: {} }}
spec: {{ sinks: [{{ name: debug, debug: {{}} }}], proxy: {{ replicas: 1 }}, global: {{ replicas: 1 }} }}
",
        namespace.0
    ));
}

/// Asks for a pod without making it; what the webhook made of it.
fn admit(namespace: &Namespace) -> Result<Value, Refusal> {
    let annotation = format!("--annotations=veneur.dev/inject={0}/rotation", namespace.0);
    let run = ["-n", &namespace.0, "run", "pod", "--image=none", &annotation, "--dry-run=server", "--output=json"];
    Ok(serde_json::from_str(&kubectl(&run)?).expect("JSON"))
}

#[test]
fn the_authority_rotates_each_minute_under_load_and_no_admission_fails() {
    let _alone = alone();
    let namespace = Namespace::new("rotation");
    // Here a pod is refused rather than admitted without a sidecar: no failure stays unseen.
    kubectl(&["label", "namespace", &namespace.0, "veneur.dev/injection=strict"]).expect("labelled");
    pipeline(&namespace);
    lifetimes("1m", "30s");
    eventually("the webhook injects", SOON, || match admit(&namespace) {
        Ok(pod) if pod["metadata"]["annotations"]["veneur.dev/status"].is_string() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let (admitted, seen) = admitted_for(Duration::from_secs(150), &namespace);
    println!("{admitted} admissions, {} bundles", seen.len());
    // Each rotation publishes one bundle with the successor, one with the predecessor, and one without.
    assert!(seen.len() >= 6 && admitted > 150, "{admitted} admissions under {} bundles", seen.len());
    lifetimes("8760h", "168h");
    // The last of the short authorities is followed before it is over.
    admitted_for(Duration::from_secs(65), &namespace);
}

/// Asks for pods for so long, each of which has to be admitted; how many, and the bundles that were published meanwhile.
fn admitted_for(time: Duration, namespace: &Namespace) -> (usize, BTreeSet<String>) {
    let (begin, mut admitted, mut seen) = (Instant::now(), 0, BTreeSet::new());
    while begin.elapsed() < time {
        let pod = admit(namespace).map_err(|Refusal(why)| format!("after {admitted} admissions: {why}"));
        let pod = pod.expect("a pod that asks is admitted");
        let stamp = &pod["metadata"]["annotations"]["veneur.dev/status"];
        assert!(stamp.is_string(), "after {admitted} admissions one had no sidecar: {}", pod["metadata"]);
        admitted += 1;
        if admitted % 5 == 0 {
            seen.extend(bundles());
        }
    }
    (admitted, seen)
}

#[test]
fn a_bundle_that_somebody_removes_is_back_at_once() {
    let _alone = alone();
    let wanted = eventually("a bundle is published", SOON, || {
        let bundles = bundles();
        if bundles.len() == 3 && bundles.iter().all(|bundle| !bundle.is_empty()) {
            Ok(bundles)
        } else {
            Err(format!("{bundles:?}"))
        }
    });
    let remove = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    kubectl(&["patch", "mutatingwebhookconfiguration", "veneur-operator", "--type=json", "--patch", remove])
        .expect("an administrator may");
    let begin = Instant::now();
    eventually("the bundle is back", Duration::from_secs(5), || {
        if bundles() == wanted { Ok(()) } else { Err("it is not".to_owned()) }
    });
    println!("the bundle was back after {:?}", begin.elapsed());
}

#[test]
fn a_leader_that_is_told_to_stop_is_followed_within_two_seconds() {
    let _alone = alone();
    rolled_out();
    let mut gaps = Vec::new();
    for _ in 0..3 {
        let leader = eventually("a replica leads", SOON, || match lease()["holderIdentity"].as_str() {
            Some(holder) if !holder.is_empty() => Ok(holder.to_owned()),
            other => Err(format!("{other:?}")),
        });
        let told = SystemTime::now();
        kubectl(&["-n", SYSTEM, "delete", "pod", &leader, "--wait=false"]).expect("the leader's pod");
        let after = eventually("another replica leads", SOON, || {
            let lease = lease();
            match lease["holderIdentity"].as_str() {
                Some(holder) if !holder.is_empty() && holder != leader => Ok(lease),
                other => Err(format!("{other:?}")),
            }
        });
        let acquired = after["acquireTime"].as_str().expect("a time");
        let gap = seconds(acquired) - told.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        println!("followed after {gap:.2} s");
        assert!(gap < UNHURRIED, "{gap} s from {leader} to {}", after["holderIdentity"]);
        gaps.push(gap);
        rolled_out();
    }
    // From the command on: the kubelet of a busy machine may take its time to pass it on.
    gaps.sort_by(f64::total_cmp);
    assert!(gaps[1] < 2.0, "the middle one of {gaps:?} s");
}

/// No hand-over takes so long, in seconds: a Lease that nobody gives back is free after 15 s.
const UNHURRIED: f64 = 10.0;

/// Seconds since 1970 of `2026-01-02T03:04:05.678901Z`.
fn seconds(time: &str) -> f64 {
    let (date, clock) = time.trim_end_matches('Z').split_once('T').expect("RFC 3339");
    let whole = |text: &str| text.parse::<i64>().expect("a number");
    let date: Vec<i64> = date.split('-').map(whole).collect();
    let clock: Vec<f64> = clock.split(':').map(|text| text.parse().expect("a number")).collect();
    // Days from civil, by Howard Hinnant's formula.
    let (year, month, day) = (date[0] - i64::from(date[1] <= 2), (date[1] + 9) % 12, date[2]);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    days as f64 * 86_400.0 + clock[0] * 3_600.0 + clock[1] * 60.0 + clock[2]
}

#[test]
fn the_operator_reads_no_secret_of_others_and_grants_nothing_that_it_lacks() {
    let may = |verb: &str, resource: &str, namespace: &str| {
        // After a slash kubectl expects a name.
        let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let asked = kubectl(&["auth", "can-i", verb, resource, &subresource, "--namespace", namespace, ACCOUNT]);
        matches!(asked.as_deref().map(str::trim), Ok("yes"))
    };
    let rules = kubectl(&["auth", "can-i", "--list", "--namespace=default", ACCOUNT]).expect("the review");
    let of_secrets: Vec<_> = rules.lines().filter(|line| line.starts_with("secrets")).collect();
    let [line] = of_secrets.as_slice() else { panic!("{rules}") };
    assert!(line.ends_with("[create patch]"), "{line}");
    assert!(!rules.lines().any(|line| line.starts_with("*.*") || line.contains("[*]")), "{rules}");
    for verb in ["get", "list", "watch", "update", "delete", "deletecollection"] {
        assert!(!may(verb, "secrets", "default"), "it may {verb} secrets in another namespace");
    }
    assert!(may("create", "secrets", "default") && may("patch", "secrets", "default"));
    assert!(may("get", "secrets/veneur-operator-webhook-ca", SYSTEM));
    for (verb, resource) in [
        ("get", "secrets"),
        ("get", "secrets/another"),
        ("create", "clusterrolebindings"),
        ("escalate", "roles"),
        ("bind", "clusterroles"),
        ("create", "pods"),
        ("create", "pods:exec"),
        ("delete", "pods"),
        ("create", "serviceaccounts:token"),
        ("patch", "nodes"),
    ] {
        assert!(!may(verb, resource, SYSTEM), "it may {verb} {resource}");
    }
    // What runs is that account, and no other.
    let pods = get(&["-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=operator"]).expect("its pods");
    for pod in pods["items"].as_array().expect("pods") {
        assert_eq!(pod["spec"]["serviceAccountName"], "veneur-operator");
    }
    let bound = get(&["clusterrolebindings"]).expect("bindings");
    let of_account: Vec<_> = bound["items"]
        .as_array()
        .expect("bindings")
        .iter()
        .filter(|binding| {
            binding["subjects"].as_array().into_iter().flatten().any(|subject| subject["namespace"] == SYSTEM)
        })
        .map(|binding| binding["roleRef"]["name"].clone())
        .collect();
    assert_eq!(of_account, ["veneur-operator"]);
}

/// What the operator may do in the cluster, given back at the end.
struct Rules(Value);

impl Rules {
    /// Takes a resource away from it.
    fn without(resource: &str) -> Self {
        let mut role = get(&["clusterrole", "veneur-operator"]).expect("it is installed");
        let before = Self(role["rules"].clone());
        let rules = role["rules"].as_array_mut().expect("rules");
        for resources in rules.iter_mut().filter_map(|rule| rule["resources"].as_array_mut()) {
            resources.retain(|named| named != resource);
        }
        rules.retain(|rule| rule["resources"].as_array().is_none_or(|resources| !resources.is_empty()));
        assert_ne!(role["rules"], before.0, "it had the resource");
        grant(&role["rules"]);
        before
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        grant(&self.0);
    }
}

fn grant(rules: &Value) {
    let change = serde_json::json!([{ "op": "replace", "path": "/rules", "value": rules }]).to_string();
    kubectl(&["patch", "clusterrole", "veneur-operator", "--type=json", "--patch", &change]).expect("patched");
}

#[test]
fn who_may_not_watch_namespaces_says_so_until_it_may() {
    let _alone = alone();
    rolled_out();
    let namespace = Namespace::new("unseen");
    pipeline(&namespace);
    let healthy = |wanted: &str, says: &str| {
        eventually(&format!("InjectionHealthy is {wanted}"), Duration::from_mins(1), || {
            let pipeline = get(&["-n", &namespace.0, "veneurpipeline", "rotation"]).map_err(|refusal| refusal.0)?;
            let healthy = condition(&pipeline, "InjectionHealthy");
            let said = healthy["message"].as_str().is_some_and(|message| message.contains(says));
            if healthy["reason"] == wanted && said { Ok(()) } else { Err(healthy.to_string()) }
        });
    };
    healthy("NonePending", "no pod asks");
    let rules = Rules::without("namespaces");
    // A watch that is under way is not asked for its permission.
    kubectl(&["-n", SYSTEM, "rollout", "restart", "deployment/veneur-operator"]).expect("restarted");
    rolled_out();
    healthy("PermissionMissing", "veneur-system/veneur-operator may not list namespaces in all namespaces");
    drop(rules);
    healthy("NonePending", "no pod asks");
}

/// Pods that the webhook saw, by the count of every replica.
fn admissions() -> Result<u64, String> {
    let of_operator = ["-n", SYSTEM, "pods", "-l", "app.kubernetes.io/component=operator"];
    let listed = get(&of_operator).map_err(|refusal| refusal.0)?;
    let replicas = listed["items"].as_array().into_iter().flatten();
    let mut seen = 0;
    // One that is ending is gone at the next look, and its count with it.
    for pod in replicas.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics");
        let page = kubectl(&["get", "--raw", &path]).map_err(|refusal| refusal.0)?;
        let counts = page.lines().filter(|line| line.starts_with("veneur_operator_admissions_total{"));
        seen += counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(seen)
}

#[test]
fn a_pod_that_did_not_opt_in_never_reaches_the_webhook() {
    let _alone = alone();
    rolled_out();
    let namespace = Namespace::new("bystander");
    pipeline(&namespace);
    eventually("a pod that opted in is injected and counted", SOON, || {
        let before = admissions()?;
        let pod = admit(&namespace).map_err(|refusal| refusal.0)?;
        let (stamp, after) = (&pod["metadata"]["annotations"]["veneur.dev/status"], admissions()?);
        if stamp.is_string() && after > before { Ok(()) } else { Err(format!("{before}, {after}: {stamp}")) }
    });
    let before = eventually("every replica says what it saw", SOON, admissions);
    let image = format!("--image={}", sample_image());
    for (name, opted_out) in [("plain", None), ("refusing", Some("--annotations=veneur.dev/inject=false"))] {
        let run = ["-n", &namespace.0, "run", name, &image, "--image-pull-policy=IfNotPresent"];
        kubectl(&run.into_iter().chain(opted_out).collect::<Vec<_>>()).expect("the pod is created");
    }
    // The webhook counts before it answers, and the API server answers after it: nothing is to be waited for.
    assert_eq!(eventually("every replica says what it saw", SOON, admissions), before);
}

#[test]
fn helm_test_sends_one_sample_and_sees_it_come_out() {
    let _alone = alone();
    let said = helm(&["test", "veneur-operator", "--namespace", SYSTEM, "--timeout=4m"]);
    if let Err(Refusal(why)) = &said {
        for pod in ["await", "emit"] {
            eprintln!("{:?}", kubectl(&["-n", "veneur-operator-test", "logs", pod]));
        }
        eprintln!("{:?}", kubectl(&["-n", "veneur-operator-test", "get", "pods,veneurpipelines", "-o", "wide"]));
        panic!("helm test failed: {why}");
    }
    assert!(said.expect("checked above").contains("Phase:          Succeeded"));
}
