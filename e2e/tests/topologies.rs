//! The simpler ways of deploying: without proxies, with an agent on each node, and through another pipeline.

use std::time::Duration;

use serde_json::{Value, json};
use veneur_e2e::{Namespace, apply, condition, eventually, get, is_ready, kubectl, sample_image};

const SOON: Duration = Duration::from_mins(2);

fn pipeline(namespace: &Namespace, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: {name}, namespace: {} }}
spec:
  flush: {{ interval: 1s }}
{spec}
",
        namespace.0
    )
}

/// A pod that increments `topology.hits` ten times a second at `host:8125`, or where the sidecar says.
fn application(namespace: &Namespace, annotations: &str, host: &str) -> String {
    let image = sample_image();
    let script = "import os, signal, socket, sys, time\\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\\n\
                  out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\\n\
                  while True:\\n  out.sendto(b'topology.hits:1|c', (os.environ['TO'], 8125))\\n  time.sleep(0.1)";
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{ name: app, namespace: {0}, annotations: {{ {annotations} }} }}
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - name: app
      image: {image}
      imagePullPolicy: IfNotPresent
      env: [{{ name: TO, value: {host} }}]
      command: [python3, -c, \"{script}\"]
",
        namespace.0
    )
}

/// Waits until the globals of a pipeline have published a point of the application's, and returns it.
fn published(namespace: &Namespace, name: &str) -> Value {
    let selector = format!("veneur.dev/pipeline={name},veneur.dev/role=global");
    eventually("the application's counter is published", SOON, || {
        let logs = kubectl(&["-n", &namespace.0, "logs", "-l", &selector, "--tail=-1"]).map_err(|refusal| refusal.0)?;
        let points = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut hits = points.filter(|point| point["name"] == "topology.hits");
        hits.next().ok_or_else(|| format!("not yet in {} lines", logs.lines().count()))
    })
}

#[test]
fn without_proxies_sidecars_send_to_the_one_global() {
    let namespace = Namespace::new("lone");
    apply(&pipeline(&namespace, "lone", "  proxy: { enabled: false }\n  sinks: [{ name: debug, debug: {} }]"));
    is_ready(&namespace, "lone");
    assert!(get(&["-n", &namespace.0, "deployment", "lone-proxy"]).is_err(), "there are no proxies");
    apply(&application(&namespace, "veneur.dev/inject: lone", "127.0.0.1"));
    let point = published(&namespace, "lone");
    assert!(point["tags"].to_string().contains("host:app"), "a pod's own: {point}");
}

#[test]
fn an_agent_takes_what_the_pods_of_its_node_send_to_its_service() {
    let namespace = Namespace::new("agents");
    let spec = "  sidecar: { enabled: false }
  node: { enabled: true, tolerations: [{ operator: Exists }] }
  proxy: { replicas: 1 }
  global: { replicas: 1 }
  sinks: [{ name: debug, debug: {} }]";
    apply(&pipeline(&namespace, "nodes", spec));
    is_ready(&namespace, "nodes");
    kubectl(&["-n", &namespace.0, "rollout", "status", "daemonset/nodes-node", "--timeout=90s"]).expect("agents start");
    eventually("the status counts the agents", SOON, || {
        let pipeline = get(&["-n", &namespace.0, "veneurpipeline", "nodes"]).map_err(|refusal| refusal.0)?;
        let (available, counted) = (condition(&pipeline, "NodeAvailable"), &pipeline["status"]["node"]["summary"]);
        let said = available["reason"] == "MinimumReplicasAvailable" && *counted == "1/1";
        if said { Ok(()) } else { Err(format!("{counted}: {available}")) }
    });
    apply(&application(&namespace, "", &format!("nodes-node.{}.svc", namespace.0)));
    let point = published(&namespace, "nodes");
    let nodes = get(&["nodes"]).expect("nodes are listed");
    let node = nodes["items"][0]["metadata"]["name"].as_str().expect("a name");
    assert!(point["tags"].to_string().contains(&format!("host:{node}")), "the node's own: {point}");
}

/// Tiers meet the restricted standard; a port of the node does not, and one glance has to say what keeps agents away.
#[test]
fn an_agent_behind_a_port_of_its_node_is_reached_by_pods_without_a_sidecar() {
    let namespace = Namespace::new("ports");
    let enforce = |level: &str| {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        kubectl(&["label", "--overwrite", "namespace", &namespace.0, &label]).expect("labelled");
    };
    enforce("restricted");
    let spec = "  sidecar: { enabled: false }
  node: { enabled: true, exposure: HostPort, tolerations: [{ operator: Exists }] }
  proxy: { replicas: 1 }
  global: { replicas: 1 }
  sinks: [{ name: debug, debug: {} }]";
    apply(&pipeline(&namespace, "ports", spec));
    is_ready(&namespace, "ports");
    eventually("the condition says who knows why there is no agent", SOON, || {
        let pipeline = get(&["-n", &namespace.0, "veneurpipeline", "ports"]).map_err(|refusal| refusal.0)?;
        let available = condition(&pipeline, "NodeAvailable");
        let hint = format!("kubectl -n {} describe daemonset ports-node", namespace.0);
        let says = available["message"].as_str().is_some_and(|message| message.contains(&hint));
        if available["status"] == "False" && says { Ok(()) } else { Err(available.to_string()) }
    });
    eventually("it does say why", SOON, || {
        let described = kubectl(&["-n", &namespace.0, "describe", "daemonset", "ports-node"]);
        let described = described.map_err(|refusal| refusal.0)?;
        let says = described.contains("violates PodSecurity") && described.contains("hostPort");
        if says { Ok(()) } else { Err(described) }
    });
    enforce("privileged");
    eventually("the agent runs", SOON, || {
        let pipeline = get(&["-n", &namespace.0, "veneurpipeline", "ports"]).map_err(|refusal| refusal.0)?;
        let available = condition(&pipeline, "NodeAvailable");
        if available["status"] == "True" { Ok(()) } else { Err(available.to_string()) }
    });
    // It asks for the pipeline, and is told its node's address.
    apply(&application(&namespace, "veneur.dev/inject: ports", "$(DD_AGENT_HOST)"));
    let point = published(&namespace, "ports");
    let pod = get(&["-n", &namespace.0, "pod", "app"]).expect("it is there");
    let (containers, node) = (pod["spec"]["containers"].as_array().map(Vec::len), &pod["spec"]["nodeName"]);
    assert_eq!((containers, &pod["spec"]["initContainers"]), (Some(1), &Value::Null), "it has no sidecar");
    let host = format!("host:{}", node.as_str().expect("a name"));
    assert!(point["tags"].to_string().contains(&host), "the node's own: {point}");
}

#[test]
fn a_pipeline_without_globals_sends_to_another_one() {
    let namespace = Namespace::new("relay");
    apply(&pipeline(
        &namespace,
        "above",
        "  proxy: { replicas: 1 }\n  global: { replicas: 1 }\n  sinks: [{ name: debug, debug: {} }]",
    ));
    let forward = format!("above-proxy.{}.svc:8128", namespace.0);
    let spec = format!("  proxy: {{ replicas: 1 }}\n  global: {{ enabled: false, forwardTo: \"{forward}\" }}");
    apply(&pipeline(&namespace, "edge", &spec));
    is_ready(&namespace, "above");
    is_ready(&namespace, "edge");
    apply(&application(&namespace, "veneur.dev/inject: edge", "127.0.0.1"));
    published(&namespace, "above");
}

#[test]
fn tiers_that_encrypt_trust_each_other_and_the_sidecar_trusts_them() {
    let namespace = Namespace::new("encrypted");
    let spec = "  tls: { mode: SelfSigned }
  proxy: { replicas: 1 }
  global: { replicas: 1 }
  sinks: [{ name: debug, debug: {} }]";
    apply(&pipeline(&namespace, "safe", spec));
    is_ready(&namespace, "safe");
    let secret = get(&["-n", &namespace.0, "secret", "safe-tls"]).expect("the operator made it");
    let keys: Vec<&String> = secret["data"].as_object().expect("it holds something").keys().collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
    apply(&application(&namespace, "veneur.dev/inject: safe", "127.0.0.1"));
    // A counter of the pod's own: by the sidecar to a proxy, by the proxy to the global, both encrypted.
    let point = published(&namespace, "safe");
    assert!(point["tags"].to_string().contains("host:app"), "a pod's own: {point}");
}

/// The API server gives one pod to a Deployment whose number nobody owns.
#[test]
fn an_autoscaler_takes_over_the_number_of_proxies_and_gives_it_back() {
    let namespace = Namespace::new("autoscaled");
    let spec = "  proxy: { replicas: 2, resources: { requests: { cpu: 1m } } }
  global: { replicas: 1 }
  sinks: [{ name: debug, debug: {} }]";
    apply(&pipeline(&namespace, "scaled", spec));
    is_ready(&namespace, "scaled");
    // Nothing measures here, so an autoscaler that is in place keeps the number that it finds.
    let handed = |proxy: Value, to_autoscaler: bool| {
        let change = json!({ "spec": { "proxy": proxy } }).to_string();
        kubectl(&["-n", &namespace.0, "patch", "veneurpipeline", "scaled", "--type=merge", "-p", &change])
            .expect("patched");
        eventually(&format!("the autoscaler has the number: {to_autoscaler}"), SOON, || {
            let of = ["-n", &namespace.0, "deployment", "scaled-proxy", "--show-managed-fields"];
            let deployment = get(&of).map_err(|refusal| refusal.0)?;
            let replicas = deployment["spec"]["replicas"].as_u64();
            assert!(replicas >= Some(2), "{replicas:?} proxies on the way: {deployment:#}");
            let mut owners = deployment["metadata"]["managedFields"].as_array().into_iter().flatten();
            let operator = owners.any(|owner| {
                owner["manager"] == "veneur-operator" && !owner["fieldsV1"]["f:spec"]["f:replicas"].is_null()
            });
            // Conditions are there once it has looked at the Deployment.
            let autoscaler = get(&["-n", &namespace.0, "horizontalpodautoscaler", "scaled-proxy"]).ok();
            let looked = autoscaler.as_ref().map(|it| it["status"]["conditions"].is_array());
            let wanted = if to_autoscaler { (false, Some(true)) } else { (true, None) };
            if (operator, looked) == wanted { Ok(()) } else { Err(format!("{operator}, {looked:?}, {replicas:?}")) }
        });
    };
    handed(json!({ "replicas": null, "autoscaling": { "minReplicas": 2, "maxReplicas": 3 } }), true);
    handed(json!({ "replicas": 2, "autoscaling": null }), false);
    is_ready(&namespace, "scaled");
}
