//! A pipeline that publishes to a strict intake, and the ledgers of everything in it.

use std::time::Duration;

use serde_json::Value;
use veneur_intake::Received;

use crate::{Namespace, apply, eventually, get, kubectl, manifest, raw};

/// A pipeline is up well within this on a busy machine: image start, one boundary for the proxies, settling.
const UP: Duration = Duration::from_mins(2);

/// The intake as a Deployment and a Service of `namespace`.
pub fn intake(namespace: &Namespace) -> String {
    let image = std::env::var("VENEUR_INTAKE_IMAGE").expect("VENEUR_INTAKE_IMAGE names the intake's image");
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: intake, namespace: {0} }}
spec:
  selector: {{ matchLabels: {{ app: intake }} }}
  template:
    metadata: {{ labels: {{ app: intake }} }}
    spec:
      containers:
        - name: intake
          image: {image}
          imagePullPolicy: IfNotPresent
          readinessProbe: {{ httpGet: {{ path: /ready, port: 8080 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: intake, namespace: {0} }}
spec:
  selector: {{ app: intake }}
  ports: [{{ port: 8080 }}]
",
        namespace.0
    )
}

/// The key that the pipeline's sink needs.
pub fn secret(namespace: &Namespace) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ name: datadog, namespace: {} }}\nstringData: {{ api-key: abc }}\n",
        namespace.0
    )
}

/// A pipeline `fleet` with two globals and two proxies, whose names under `sample.fleet.` are global.
pub fn pipeline(namespace: &Namespace) -> String {
    format!(
        "apiVersion: veneur.dev/v1alpha1
kind: VeneurPipeline
metadata: {{ name: fleet, namespace: {0} }}
spec:
  flush: {{ interval: 10s }}
  aggregation:
    percentiles: [p50, p99]
    aggregates: [Min, Max, Count]
    scopes:
      - match: {{ namePrefix: sample.fleet. }}
        types: [Timer]
        scope: Global
  proxy: {{ replicas: 2 }}
  global: {{ replicas: 2 }}
  sinks:
    - name: datadog
      datadog: {{ url: \"http://intake.{0}.svc:8080\", apiKeySecret: {{ name: datadog, key: api-key }} }}
",
        namespace.0
    )
}

/// Waits until a pipeline says that it is ready.
pub fn is_ready(namespace: &Namespace, name: &str) {
    eventually("the pipeline is ready", UP, || {
        let pipeline = get(&["-n", &namespace.0, "veneurpipeline", name]).map_err(|refusal| refusal.0)?;
        let ready = condition(&pipeline, "Ready");
        if ready["status"] == "True" { Ok(()) } else { Err(ready.to_string()) }
    });
}

/// A running pipeline.
#[derive(Debug)]
pub struct Fleet<'a>(pub &'a Namespace);

impl<'a> Fleet<'a> {
    /// A pipeline that is ready in `metrics`, and three pods of the sample application in `shop` that send to it.
    pub fn with_sample(metrics: &'a Namespace, shop: &Namespace) -> Self {
        apply(&intake(metrics));
        apply(&secret(metrics));
        apply(&pipeline(metrics));
        let fleet = Self(metrics);
        fleet.ready();
        apply(&manifest(shop, &format!("{}/fleet", metrics.0)));
        kubectl(&["-n", &shop.0, "rollout", "status", "deployment/sample", "--timeout=90s"]).expect("the pods start");
        fleet
    }
}

impl Fleet<'_> {
    /// Waits until the pipeline says that it is ready.
    pub fn ready(&self) {
        is_ready(self.0, "fleet");
    }

    /// Names and addresses of the pods of a tier.
    pub fn pods(&self, role: &str) -> Vec<(String, String)> {
        pods(&self.0.0, &format!("veneur.dev/pipeline=fleet,veneur.dev/role={role}"))
    }

    /// Every point the intake has taken, but what proxies and globals say of themselves.
    pub fn received(&self) -> Vec<Received> {
        self.try_received().expect("the intake answers")
    }

    /// The same, or why the intake does not answer just now.
    pub fn try_received(&self) -> Result<Vec<Received>, String> {
        let path = format!("/api/v1/namespaces/{}/services/intake:8080/proxy/received", self.0.0);
        let answer = raw(&path).map_err(|refusal| refusal.0)?;
        let received: Vec<Received> = serde_json::from_value(answer).expect("points");
        Ok(received.into_iter().filter(|point| !point.metric.starts_with("veneur")).collect())
    }

    /// What the intake refused.
    pub fn problems(&self) -> Value {
        raw(&format!("/api/v1/namespaces/{}/services/intake:8080/proxy/problems", self.0.0))
            .expect("the intake answers")
    }
}

/// The condition of a type, or null.
pub fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

pub(crate) fn pods(namespace: &str, selector: &str) -> Vec<(String, String)> {
    let template = "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
    let listed = kubectl(&["-n", namespace, "get", "pods", "-l", selector, "-o", template]).expect("pods are listed");
    listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect()
}
