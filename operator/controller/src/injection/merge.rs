//! A container that a pod's author named as the sidecar: its fields are laid over ours.
//!
//! Maps are merged, lists of named items by their names; what else the author says replaces what we say.

use serde_json::{Map, Value};

/// What identifies an item of a container's list.
const KEYS: [(&str, &str); 4] =
    [("env", "name"), ("ports", "containerPort"), ("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")];
/// An image that stands for ours: kubectl refuses a container without one.
const OUR_IMAGE: &str = "auto";

/// Ours with the author's laid over it. `name` is the same; an image `auto` or none is ours.
pub(super) fn over(ours: Value, author: &Value) -> Value {
    let (Value::Object(mut ours), Some(author)) = (ours, author.as_object()) else {
        return author.clone();
    };
    for (key, value) in author {
        let ours_alone = key == "image" && value.as_str().is_some_and(|image| image.is_empty() || image == OUR_IMAGE);
        if ours_alone || value.is_null() {
            continue;
        }
        let list_key = KEYS.iter().find(|(list, _)| list == key).map(|(_, key)| *key);
        match (list_key, ours.get_mut(key), value) {
            (Some(by), Some(Value::Array(present)), Value::Array(items)) => merge_list(present, items, by),
            (None, Some(Value::Object(present)), Value::Object(fields)) => merge_map(present, fields),
            _ => {
                ours.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(ours)
}

fn merge_list(present: &mut Vec<Value>, items: &[Value], by: &str) {
    for item in items {
        match present.iter_mut().find(|own| own.get(by).is_some() && own.get(by) == item.get(by)) {
            Some(own) => *own = item.clone(),
            None => present.push(item.clone()),
        }
    }
}

fn merge_map(present: &mut Map<String, Value>, fields: &Map<String, Value>) {
    for (key, value) in fields {
        match (present.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(fields)) => merge_map(inner, fields),
            _ => {
                present.insert(key.clone(), value.clone());
            }
        }
    }
}
