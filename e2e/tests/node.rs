//! Node mode: one instance for all pods of a node, which says of each sample whose it is, by what a real kubelet says.

use std::{collections::BTreeSet, time::Duration};

use veneur_e2e::{Namespace, apply, eventually, intake, kubectl, raw, sample_image};
use veneur_intake::Received;

/// Images are there, a kubelet starts a pod in seconds, and the instance publishes each second.
const SOON: Duration = Duration::from_mins(1);

/// What is bound to the cluster, and not to a namespace.
struct ClusterRole(String);

impl Drop for ClusterRole {
    fn drop(&mut self) {
        drop(kubectl(&["delete", "clusterrole,clusterrolebinding", &self.0, "--ignore-not-found"]));
    }
}

#[test]
fn each_sample_bears_the_tags_of_its_pod_as_far_as_it_asks_for_them() {
    let namespace = Namespace::new("node");
    let _role = ClusterRole(namespace.0.clone());
    apply(&intake(&namespace));
    apply(&example(&namespace));
    let started = |what: &str| {
        kubectl(&["-n", &namespace.0, "rollout", "status", what, "--timeout=90s"]).expect("the pods start");
    };
    started("deployment/intake");
    started(&format!("daemonset/{}", namespace.0));
    apply(&application(&namespace));
    started("deployment/app");

    // All that an application's pods have in common is one series.
    let of_pod = [
        format!("kube_namespace:{}", namespace.0),
        "kube_deployment:app".into(),
        "kube_app_name:shop".into(),
        "squad:checkout".into(),
    ];
    let of_container = [&of_pod[..], &["kube_container_name:main".into(), "short_image:veneur-sample".into()]].concat();
    for (metric, low) in [
        ("node.container", &of_container[..]),
        ("node.inode", &of_container),
        ("node.external", &of_container),
        ("node.socket", &of_container),
        // Who says nothing but its pod's uid is known by the pod.
        ("node.entity", &of_pod),
    ] {
        let tags = published(&namespace, metric, low);
        assert!(tags.iter().any(|tag| tag.starts_with("kube_replica_set:app-")), "{metric}: {tags:?}");
        let own = ["pod_name:", "container_id:", "dd.internal"].map(|own| tags.iter().any(|tag| tag.starts_with(own)));
        assert_eq!(own, [false; 3], "{metric}: {tags:?}");
    }
    // What is a pod's own is as many series as there are pods, and has their names.
    let listed = kubectl(&["-n", &namespace.0, "get", "pods", "-l", "app=app", "-o", "name"]).expect("listed");
    let pods: Vec<&str> = listed.lines().map(|name| name.trim_start_matches("pod/")).collect();
    assert_eq!(pods.len(), 2, "{listed}");
    for pod in pods {
        let pod_name = [format!("pod_name:{pod}")];
        published(&namespace, "node.pod", &pod_name);
        let tags = published(&namespace, "node.all", &pod_name);
        let id = tags.iter().find_map(|tag| tag.strip_prefix("container_id:")).expect("with its id");
        let of = ["-n", &namespace.0, "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}"];
        let known = kubectl(&of).expect("the pod is there");
        assert_eq!(known.trim(), format!("containerd://{id}"), "{tags:?}");
    }
    published(&namespace, "node.none", &[]);
    for point in points(&namespace).iter().filter(|point| point.metric == "node.none") {
        assert_eq!(point.tags, Vec::<String>::new(), "who asks for none gets none");
    }

    let selector = format!("app={}", namespace.0);
    let of = ["-n", &namespace.0, "get", "pods", "-l", &selector, "-o", "jsonpath={.items[0].metadata.name}"];
    let instance = kubectl(&of).expect("listed");
    let path = format!("/api/v1/namespaces/{}/pods/{instance}:8127/proxy/status", namespace.0);
    let status = raw(&path).expect("answers");
    assert_eq!((&status["node"]["last_error"], &status["unaccounted"]), (&().into(), &0.into()), "{status:#}");
    assert_eq!(status["node"]["unknown_origins"], 0, "{status:#}");
    assert_eq!(status["ledgers"]["samples"]["refused"], serde_json::json!({}), "{status:#}");
    println!("node mode: {:#}", status["node"]);
}

/// The tags of a point of this name that has all of these, once there is one.
fn published(namespace: &Namespace, metric: &str, wanted: &[String]) -> BTreeSet<String> {
    eventually(&format!("{metric} is published with {wanted:?}"), SOON, || {
        let points = points(namespace).into_iter().filter(|point| point.metric == metric);
        let seen: BTreeSet<BTreeSet<String>> = points.map(|point| point.tags.into_iter().collect()).collect();
        let found = seen.iter().find(|tags| wanted.iter().all(|tag| tags.contains(tag)));
        found.cloned().ok_or_else(|| format!("{seen:?}"))
    })
}

fn points(namespace: &Namespace) -> Vec<Received> {
    let path = format!("/api/v1/namespaces/{}/services/intake:8080/proxy/received", namespace.0);
    serde_json::from_value(raw(&path).expect("the intake answers")).expect("points")
}

/// The example as it is, but for where it runs, how often it publishes, and where to.
fn example(namespace: &Namespace) -> String {
    let image = std::env::var("VENEUR_IMAGE").expect("VENEUR_IMAGE names the data plane's image");
    let sink =
        format!("kind: datadog, config: {{ api_key: a, api_hostname: \"http://intake.{}.svc:8080\" }}", namespace.0);
    let mut example = include_str!("../../manifests/examples/node.yaml").replace("veneur-node", &namespace.0);
    for (shown, here) in [
        ("image: localhost/veneur\n", format!("image: {image}\n          imagePullPolicy: IfNotPresent\n")),
        ("interval: 10s", "interval: 1s".into()),
        ("labels_as_tags: [team]", "labels_as_tags: [team=squad]\n      refresh: 1s".into()),
        ("kind: debug, config: {}", sink),
        ("path: /run/veneur,", format!("path: /run/{},", namespace.0)),
    ] {
        assert!(example.contains(shown), "the example has no {shown:?}");
        example = example.replace(shown, &here);
    }
    example
}

/// Two pods that emit through the real client, and say in every way there is who they are.
fn application(namespace: &Namespace) -> String {
    let image = sample_image();
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{ name: app, namespace: {0} }}
data:
  app.py: |
    import os, signal, sys, time
    from datadog.dogstatsd import DogStatsd
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    own = DogStatsd()
    cgroups = '/sys/fs/cgroup/memory' if os.path.exists('/sys/fs/cgroup/memory') else '/sys/fs/cgroup'
    inode = DogStatsd(container_id='in-%d' % os.stat(cgroups).st_ino)
    socket = DogStatsd(socket_path='/run/veneur/dsd.sock', origin_detection_enabled=False)
    os.environ['DD_ENTITY_ID'] = os.environ['POD_UID']
    entity = DogStatsd(origin_detection_enabled=False)
    del os.environ['DD_ENTITY_ID']
    os.environ['DD_EXTERNAL_ENV'] = 'it-false,cn-main,pu-' + os.environ['POD_UID']
    external = DogStatsd(origin_detection_enabled=False)
    while True:
        own.increment('node.container')
        own.increment('node.none', cardinality='none')
        own.increment('node.pod', cardinality='orchestrator')
        own.increment('node.all', cardinality='high')
        for client, name in ((inode, 'inode'), (socket, 'socket'), (entity, 'entity'), (external, 'external')):
            client.increment('node.' + name)
        for client in (own, inode, socket, entity, external):
            client.flush()
        time.sleep(0.2)
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: app, namespace: {0} }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: app }} }}
  template:
    metadata: {{ labels: {{ app: app, team: checkout, app.kubernetes.io/name: shop }} }}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: main
          image: {image}
          imagePullPolicy: IfNotPresent
          command: [python3, /app/app.py]
          env:
            - {{ name: DD_AGENT_HOST, valueFrom: {{ fieldRef: {{ fieldPath: status.hostIP }} }} }}
            - {{ name: POD_UID, valueFrom: {{ fieldRef: {{ fieldPath: metadata.uid }} }} }}
          volumeMounts:
            - {{ name: app, mountPath: /app }}
            - {{ name: socket, mountPath: /run/veneur }}
      volumes:
        - {{ name: app, configMap: {{ name: app }} }}
        - {{ name: socket, hostPath: {{ path: /run/{0}, type: DirectoryOrCreate }} }}
",
        namespace.0
    )
}
