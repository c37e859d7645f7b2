//! Configurations as people see them: redacted, in Go's names, or with each key's documentation.

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

use crate::{
    Role, Sink,
    key::{Key, Shape},
    secret::REDACTED,
    sink,
};

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// `REDACTED` in their place.
    Redacted,
    /// As they are: who asked for `-print-secrets` wants them.
    Shown,
}

/// A configuration as YAML without secrets, in the order of the struct.
pub fn redacted_yaml<T: Role>(config: &T) -> String {
    yaml(config, Secrets::Redacted)
}

/// A configuration as the original's JSON without secrets: Go's names, durations in nanoseconds.
pub fn redacted_json<T: Role>(config: &T) -> String {
    json(config, Secrets::Redacted)
}

/// A configuration as YAML, in the order of the struct.
pub fn yaml<T: Role>(config: &T, secrets: Secrets) -> String {
    let style = Style { go: None, secrets };
    serde_saphyr::to_string(&style.section(&values(config), T::KEYS)).expect("a tree of strings, numbers and lists")
}

/// A configuration as the original's JSON.
pub fn json<T: Role>(config: &T, secrets: Secrets) -> String {
    let style = Style { go: Some(T::CAPITALS), secrets };
    serde_json::to_string_pretty(&style.section(&values(config), T::KEYS))
        .expect("a tree of strings, numbers and lists")
}

/// A configuration as YAML, each key below its documentation. Secrets are left out.
pub fn documented<T: Role>(config: &T) -> String {
    let mut text = String::new();
    let style = Style { go: None, secrets: Secrets::Redacted };
    document(&style, &values(config), T::KEYS, "", &mut text);
    text
}

fn document(style: &Style, map: &Map<String, Value>, keys: &[Key], indent: &str, text: &mut String) {
    for key in keys {
        for line in key.doc {
            text.extend([indent, "#", line, "\n"]);
        }
        match (key.shape, &map[key.name]) {
            (Shape::Section(inner), Value::Object(values)) => {
                text.extend([indent, key.name, ":\n"]);
                document(style, values, inner, &format!("{indent}  "), text);
            }
            (shape, value) => {
                let one = Shown::Map(vec![(key.name.to_owned(), style.value(value, shape))]);
                let printed = serde_saphyr::to_string(&one).expect("a tree of strings, numbers and lists");
                printed.lines().for_each(|line| text.extend([indent, line, "\n"]));
            }
        }
        if let Shape::List(Shape::Sink) = key.shape {
            sink_examples(text);
        }
        if indent.is_empty() {
            text.push('\n');
        }
    }
}

/// One entry of each kind of sink, as comments.
fn sink_examples(text: &mut String) {
    let style = Style { go: None, secrets: Secrets::Redacted };
    for kind in sink::examples() {
        let entry = serde_json::to_value(Sink { name: String::new(), kind }).unwrap_or_default();
        let name = entry["kind"].as_str().unwrap_or_default();
        text.extend(["# - kind: ", name, "\n#   name: ", name, "\n"]);
        let keys = sink::KINDS.iter().find(|(kind, _)| *kind == name).map_or(&[][..], |(_, keys)| keys);
        if let (Some(values), false) = (entry["config"].as_object(), keys.is_empty()) {
            text.push_str("#   config:\n");
            document(&style, values, keys, "#     ", text);
        }
    }
}

/// The top level of a configuration.
pub(crate) fn values<T: Serialize>(config: &T) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// A tree that keeps the order of its keys.
enum Shown {
    Leaf(Value),
    List(Vec<Shown>),
    Map(Vec<(String, Shown)>),
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::List(list) => serializer.collect_seq(list),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// How a tree is shown.
struct Style {
    /// Go's names, with these parts in capitals, and durations in nanoseconds.
    go: Option<&'static [&'static str]>,
    secrets: Secrets,
}

impl Style {
    fn section(&self, map: &Map<String, Value>, keys: &[Key]) -> Shown {
        Shown::Map(keys.iter().map(|key| (self.name(key.name), self.value(&map[key.name], key.shape))).collect())
    }

    fn value(&self, value: &Value, shape: Shape) -> Shown {
        match (shape, value) {
            (Shape::Secret, Value::String(text)) if !text.is_empty() && self.secrets == Secrets::Redacted => {
                Shown::Leaf(Value::from(REDACTED))
            }
            (Shape::Duration, Value::String(text)) if self.go.is_some() => {
                let nanoseconds = crate::Every::parse(text).and_then(|every| u64::try_from(every.0.as_nanos()).ok());
                Shown::Leaf(nanoseconds.map_or(Value::Null, Value::from))
            }
            (Shape::List(item), Value::Array(list)) => {
                Shown::List(list.iter().map(|value| self.value(value, *item)).collect())
            }
            (Shape::Section(keys), Value::Object(map)) => self.section(map, keys),
            (Shape::Sink, Value::Object(map)) => {
                let kind = map["kind"].as_str().unwrap_or_default();
                let keys = sink::KINDS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, keys)| keys);
                let config = map.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
                Shown::Map(vec![
                    (self.name("kind"), Shown::Leaf(map["kind"].clone())),
                    (self.name("name"), Shown::Leaf(map["name"].clone())),
                    (self.name("config"), self.section(&config, keys)),
                ])
            }
            (Shape::Map, Value::Object(map)) => {
                Shown::Map(map.iter().map(|(key, value)| (self.name(key), self.value(value, Shape::Map))).collect())
            }
            (_, value) => Shown::Leaf(value.clone()),
        }
    }

    fn name(&self, key: &str) -> String {
        let Some(capitals) = self.go else { return key.to_owned() };
        let parts = key.split('_').map(|part| {
            if capitals.contains(&part) {
                return part.to_uppercase();
            }
            let mut letters = part.chars();
            letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
        });
        parts.collect()
    }
}
