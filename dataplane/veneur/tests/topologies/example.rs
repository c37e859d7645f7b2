//! The files of `manifests/examples`: that they are what Kubernetes takes, and what instances would read there.

use std::{collections::BTreeMap, fs, path::PathBuf};

use k8s_openapi::{
    DeepMerge as _,
    api::{
        apps::v1::{DaemonSet, Deployment},
        core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// An example's objects.
pub(crate) struct Example(Vec<Value>);

impl Example {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("is there");
        let objects = text.split("\n---\n").map(|object| serde_saphyr::from_str(object).expect("is YAML"));
        Self(objects.collect())
    }

    /// The object of that kind and name.
    pub(crate) fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.expect("the example has it")
    }

    /// The configuration in a `ConfigMap`, as it is written there.
    pub(crate) fn configuration(&self, name: &str) -> Value {
        let text = self.object("ConfigMap", name)["data"]["veneur.yaml"].as_str().expect("a text");
        serde_saphyr::from_str(text).expect("is YAML")
    }

    /// The variables of the application's sidecar.
    pub(crate) fn sidecar_variables(&self) -> BTreeMap<String, Value> {
        let pod = &self.object("Deployment", "app")["spec"]["template"]["spec"];
        let variables = pod["initContainers"][0]["env"].as_array().expect("a list").iter();
        variables.map(|variable| (variable["name"].as_str().expect("a name").to_owned(), variable.clone())).collect()
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples")
}

/// Reads an object into its type and back: a key that got lost is none of Kubernetes'.
fn typed<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let read: T = serde_json::from_value(object.clone()).expect("is of its kind");
    serde_json::to_value(read).expect("can be written")
}

fn lost(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}.{key}");
                match after.get(key) {
                    Some(after) => lost(value, after, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            before.iter().zip(after).for_each(|(before, after)| lost(before, after, path, found));
        }
        (before, after) if before == after => {}
        (before, after) => found.push(format!("{path}: {before} became {after}")),
    }
}

#[test]
fn every_example_is_of_objects_that_kubernetes_takes() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        for object in Example::read(&name).0 {
            let after = match object["kind"].as_str().expect("a kind") {
                "Namespace" => typed::<Namespace>(&object),
                "ConfigMap" => typed::<ConfigMap>(&object),
                "Service" => typed::<Service>(&object),
                "ServiceAccount" => typed::<ServiceAccount>(&object),
                "Deployment" => typed::<Deployment>(&object),
                "DaemonSet" => typed::<DaemonSet>(&object),
                "Role" => typed::<Role>(&object),
                "RoleBinding" => typed::<RoleBinding>(&object),
                "ClusterRole" => typed::<ClusterRole>(&object),
                "ClusterRoleBinding" => typed::<ClusterRoleBinding>(&object),
                // The resource's own tests read these.
                "VeneurPipeline" => continue,
                kind => unreachable!("{name}: add {kind} here"),
            };
            let mut found = Vec::new();
            lost(&object, &after, "", &mut found);
            assert_eq!(found, Vec::<String>::new(), "{name}: {}", object["metadata"]["name"]);
            selects_its_pods(&name, &object);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} objects only");
}

/// Or the API server refuses it.
fn selects_its_pods(example: &str, object: &Value) {
    if let Some(selected) = object["spec"]["selector"]["matchLabels"].as_object() {
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        assert!(selected.iter().all(|(key, value)| labels[key] == *value), "{example}: {object:#}");
    }
}

/// What a patch of `kubectl patch`, in the example's own words, makes of an object.
pub(crate) fn patched(service: &Value, patch: &str) -> Service {
    let mut service: Service = serde_json::from_value(service.clone()).expect("a service");
    service.merge_from(serde_json::from_str(patch).expect("a patch"));
    service
}

/// The patch in an example's header.
pub(crate) fn patch_in_header(name: &str) -> String {
    let text = fs::read_to_string(folder().join(format!("{name}.yaml"))).expect("is there");
    let line = text.lines().find(|line| line.contains("kubectl") && line.contains(" patch ")).expect("a patch");
    line.split('\'').nth(1).expect("in quotes").to_owned()
}
