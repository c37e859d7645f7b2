//! The sample application: three pods that emit through a real client and say what they emitted.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{Namespace, kubectl, pipeline::pods};

/// What one pod emitted within one interval.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Values of the timer that is made global.
    pub fleet_latency: Vec<f64>,
    /// Members of the set.
    pub users: BTreeSet<String>,
    /// Count, minimum and maximum of the timer that stays mixed.
    pub page_latency: (f64, f64, f64),
    /// Sum of the counter.
    pub requests: f64,
    /// The gauge.
    pub queue_depth: f64,
}

/// A printed line; a batch is spread over several.
#[derive(Deserialize)]
struct Line {
    boundary: i64,
    pod: String,
    part: usize,
    parts: usize,
    fleet_latency: Vec<f64>,
    users: Vec<String>,
    #[serde(default)]
    page_latency: Option<(f64, f64, f64)>,
    #[serde(default)]
    requests: f64,
    #[serde(default)]
    queue_depth: f64,
    #[serde(default)]
    dropped: u64,
}

/// Image of the application, which has Python and the real client.
pub fn sample_image() -> String {
    std::env::var("VENEUR_SAMPLE_IMAGE").expect("VENEUR_SAMPLE_IMAGE names the application's image")
}

/// A script of a test's own as a `ConfigMap`, for the application's image: mounted at `/app`, it is `/app/app.py`.
pub fn script(namespace: &Namespace, name: &str, lines: &str) -> String {
    let indented = lines.replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: {} }}\ndata:\n  app.py: |\n    {indented}\n",
        namespace.0
    )
}

/// The application in `namespace`, annotated for the pipeline `NAMESPACE/NAME`.
pub fn manifest(namespace: &Namespace, inject: &str) -> String {
    let image = sample_image();
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: sample, namespace: {0} }}
spec:
  replicas: 3
  selector: {{ matchLabels: {{ app: sample }} }}
  template:
    metadata:
      labels: {{ app: sample }}
      annotations: {{ veneur.dev/inject: {inject} }}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: app
          image: {image}
          imagePullPolicy: IfNotPresent
",
        namespace.0
    )
}

/// Whole batches by interval end and pod, from the pods' logs.
pub fn batches(namespace: &Namespace) -> BTreeMap<i64, BTreeMap<String, Batch>> {
    let mut lines: BTreeMap<(i64, String), BTreeMap<usize, Line>> = BTreeMap::new();
    for (pod, _) in pods(&namespace.0, "app=sample") {
        let log = kubectl(&["-n", &namespace.0, "logs", &pod, "-c", "app"]).unwrap_or_default();
        // A line that is being written is not yet JSON; it will be there next time.
        for line in log.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            lines.entry((line.boundary, line.pod.clone())).or_default().insert(line.part, line);
        }
    }
    let mut batches: BTreeMap<i64, BTreeMap<String, Batch>> = BTreeMap::new();
    for ((boundary, pod), parts) in lines {
        if parts.values().any(|line| parts.len() < line.parts) {
            continue;
        }
        let mut batch = Batch::default();
        for line in parts.into_values() {
            assert_eq!(line.dropped, 0, "the client of {pod} dropped messages: what it sent is not known");
            batch.fleet_latency.extend(line.fleet_latency);
            batch.users.extend(line.users);
            batch.page_latency = line.page_latency.unwrap_or(batch.page_latency);
            batch.requests += line.requests;
            batch.queue_depth += line.queue_depth;
        }
        batches.entry(boundary).or_default().insert(pod, batch);
    }
    batches
}
