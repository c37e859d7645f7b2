//! An object without what nobody here reads.

use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::{Map, Value, json};

use crate::{
    feeds::Key,
    kind::Kind,
    labels::{FIELD_MANAGER, PIPELINE},
};

/// An object, as last seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// Its `resourceVersion`, which grows with each change in every API server with etcd behind it; 0 where it is no
    /// number.
    pub version: u64,
    /// Whether the operator has applied fields of it.
    pub ours: bool,
    json: Box<[u8]>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Stored {
    /// From an object as JSON, with the pipeline that its label names.
    pub(super) fn of(kind: Kind, object: &Value) -> Option<(Key, Self)> {
        serde_json::from_value::<DynamicObject>(object.clone()).ok().and_then(|object| Self::of_object(kind, object))
    }

    pub(super) fn of_object(kind: Kind, object: DynamicObject) -> Option<(Key, Self)> {
        let pipeline = Key::new(object.namespace()?, object.labels().get(PIPELINE)?.as_str());
        let ours = object.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
        let version = object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default();
        let (name, uid) = (object.name_any().into(), object.uid().unwrap_or_default().into());
        let json = serde_json::to_vec(&trimmed(kind, object)).expect("it came as JSON").into();
        Some((pipeline, Self { name, uid, version, ours, json }))
    }

    /// The object as JSON, without `managedFields` and without what is left out of its kind.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.json).expect("it was written by `trimmed`")
    }

    /// The object as a type of Kubernetes, if it fits.
    pub fn read<K: serde::de::DeserializeOwned>(&self) -> Option<K> {
        serde_json::from_slice(&self.json).ok()
    }

    /// Whether both hold the same, versions aside.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.uid == other.uid && self.ours == other.ours && self.json == other.json
    }
}

fn trimmed(kind: Kind, object: DynamicObject) -> Value {
    let DynamicObject { metadata, mut data, .. } = object;
    let mut kept = Map::new();
    let mut keep = |key: &str, value: Value| {
        if !value.is_null() {
            kept.insert(key.to_owned(), value);
        }
    };
    keep("name", json!(metadata.name));
    keep("namespace", json!(metadata.namespace));
    keep("labels", json!(metadata.labels));
    keep("annotations", if kind.is_owned() { json!(metadata.annotations) } else { Value::Null });
    keep("ownerReferences", json!(metadata.owner_references));
    keep("generation", if counts_pods(kind) { json!(metadata.generation) } else { Value::Null });
    keep("creationTimestamp", if kind == Kind::Pod { json!(metadata.creation_timestamp) } else { Value::Null });
    keep("deletionTimestamp", json!(metadata.deletion_timestamp));
    keep("uid", json!(metadata.uid));
    let Value::Object(members) = &mut data else { return json!({ "metadata": kept }) };
    if kind == Kind::Pod {
        members.retain(|key, _| key == "status");
        if let Some(Value::Object(status)) = members.get_mut("status") {
            status.retain(|key, _| matches!(key.as_str(), "phase" | "podIP" | "conditions" | "containerStatuses"));
            quiet(status.get_mut("conditions"));
        }
    }
    if counts_pods(kind) {
        if let Some(Value::Object(status)) = members.get_mut("status") {
            quiet(status.get_mut("conditions"));
        }
    } else if kind != Kind::Pod {
        // An autoscaler's changes with each measurement.
        members.remove("status");
    }
    members.insert("metadata".to_owned(), Value::Object(kept));
    data
}

const fn counts_pods(kind: Kind) -> bool {
    matches!(kind, Kind::Deployment | Kind::DaemonSet)
}

/// Times of conditions change without anything to see.
fn quiet(conditions: Option<&mut Value>) {
    for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::Object(condition) = condition {
            condition
                .retain(|key, _| !matches!(key.as_str(), "lastUpdateTime" | "lastProbeTime" | "lastHeartbeatTime"));
        }
    }
}
