//! JSON patches (RFC 6902), one explicit operation a change.

use serde_json::{Map, Value, json};

/// A JSON patch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patch(Vec<Value>);

impl Patch {
    /// A patch that changes nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The operations, as the API server reads them.
    pub fn to_json(&self) -> Value {
        Value::Array(self.0.clone())
    }

    /// Sets keys of `/metadata/<map>`, creating the map where it is missing; equal values are left alone.
    pub(super) fn set_all(&mut self, map: &str, present: Option<&Map<String, Value>>, pairs: &[(&str, String)]) {
        let Some(present) = present else {
            let all: Map<String, Value> =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))).collect();
            self.add(&format!("/metadata/{map}"), Value::Object(all));
            return;
        };
        for (key, value) in pairs {
            if present.get(*key).and_then(Value::as_str) != Some(value) {
                // On a key that exists, `add` replaces.
                self.add(&format!("/metadata/{map}/{}", escape(key)), Value::from(value.as_str()));
            }
        }
    }

    /// Removes a key of `/metadata/<map>` that exists.
    pub(super) fn unset(&mut self, map: &str, key: &str) {
        self.0.push(json!({"op": "remove", "path": format!("/metadata/{map}/{}", escape(key))}));
    }

    /// Inserts into the list `/spec/<list>`, creating it where it is missing.
    pub(super) fn insert(&mut self, list: &str, present: Option<&Vec<Value>>, index: usize, item: Value) {
        match present {
            Some(_) => self.add(&format!("/spec/{list}/{index}"), item),
            None => self.add(&format!("/spec/{list}"), json!([item])),
        }
    }

    /// Appends to the list `/spec/<list>`, creating it where it is missing.
    pub(super) fn append_all(&mut self, list: &str, present: Option<&Vec<Value>>, items: Vec<Value>) {
        if items.is_empty() {
            return;
        }
        if present.is_none() {
            self.add(&format!("/spec/{list}"), Value::Array(items));
            return;
        }
        for item in items {
            self.add(&format!("/spec/{list}/-"), item);
        }
    }

    /// Removes an item of the list `/spec/<list>`.
    pub(super) fn remove(&mut self, list: &str, index: usize) {
        self.0.push(json!({"op": "remove", "path": format!("/spec/{list}/{index}")}));
    }

    /// Appends a mount to those of one container.
    pub(super) fn append_mount(&mut self, list: &str, index: usize, present: bool, mount: Value) {
        let path = format!("/spec/{list}/{index}/volumeMounts");
        if present {
            self.add(&format!("{path}/-"), mount);
        } else {
            self.add(&path, json!([mount]));
        }
    }

    /// Replaces an item of the list `/spec/<list>`.
    pub(super) fn replace(&mut self, list: &str, index: usize, item: Value) {
        let mut operation = json!({"op": "replace", "path": format!("/spec/{list}/{index}")});
        operation["value"] = item;
        self.0.push(operation);
    }

    /// Moves an item of the list `/spec/<list>`; `to` counts without it.
    pub(super) fn shift(&mut self, list: &str, from: usize, to: usize) {
        let path = |index| format!("/spec/{list}/{index}");
        self.0.push(json!({"op": "move", "from": path(from), "path": path(to)}));
    }

    /// Puts variables in front of those of one container.
    pub(super) fn prepend_env(&mut self, list: &str, index: usize, present: bool, variables: Vec<Value>) {
        let path = format!("/spec/{list}/{index}/env");
        if !present {
            self.add(&path, Value::Array(variables));
            return;
        }
        for (position, variable) in variables.into_iter().enumerate() {
            self.add(&format!("{path}/{position}"), variable);
        }
    }

    fn add(&mut self, path: &str, value: Value) {
        let mut operation = json!({"op": "add", "path": path});
        operation["value"] = value;
        self.0.push(operation);
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
