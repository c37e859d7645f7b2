//! Keys given by environment variables: a step over the tree, before anything is typed.
//!
//! A variable's name is the role's prefix and the key in capitals without underscores, sections joined by one:
//! `VENEUR_FORWARDADDRESS`, `VENEUR_HTTP_CONFIG`. A sink's settings begin with the sink's name: `DATADOG_APIKEY`.
//!
//! Law: no two keys have one name.

use serde_json::{Map, Value, json};

use crate::{
    Role, Unknown,
    key::{Key, Report, Shape, join},
    nearest::nearest,
    older, sink,
};

/// Reads a variable; a function, so that nothing here knows the process's environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A path and the variable that wrote it.
pub(crate) type Origins = Vec<(String, String)>;

/// A variable's name, without the prefix.
pub(crate) fn name(path: &str) -> String {
    path.chars()
        .filter(|letter| *letter != '_')
        .map(|letter| if letter == '.' { '_' } else { letter.to_ascii_uppercase() })
        .collect()
}

/// Every key that a variable of this role can set: name of the variable, path and shape of the key.
pub(crate) fn settable<T: Role>() -> Vec<(String, String, Shape)> {
    fn walk(keys: &[Key], path: &str, prefix: &str, found: &mut Vec<(String, String, Shape)>) {
        for key in keys {
            let path = join(path, key.name);
            match key.shape {
                Shape::Section(keys) => walk(keys, &path, prefix, found),
                shape => found.push((format!("{prefix}{}", name(&path)), path, shape)),
            }
        }
    }
    let mut found = Vec::new();
    walk(T::KEYS, "", T::PREFIX, &mut found);
    found
}

/// Every variable of a role but the sinks': today's keys, older ones, and those without a place here.
pub fn variable_names<T: Role>() -> Vec<String> {
    let older = T::OLDER.iter().map(|(key, _)| *key);
    let elsewhere = T::ELSEWHERE.iter().map(|(key, _)| *key).filter(|key| !key.ends_with('*'));
    let others = older.chain(elsewhere).map(|key| format!("{}{}", T::PREFIX, name(key)));
    settable::<T>().into_iter().map(|(name, ..)| name).chain(others).collect()
}

/// Puts what variables say over a tree; wrong ones go to `report`.
pub(crate) fn apply<T: Role>(tree: &mut Map<String, Value>, variable: Variable<'_>, report: &mut Report) -> Origins {
    let mut origins = older::read::<T>(tree, variable, report);
    for (name, path, shape) in settable::<T>() {
        if let Some(value) = variable(&name).and_then(|text| value(&name, &text, shape, report)) {
            put(tree, &path, value);
            origins.push((path, name));
        }
    }
    for (key, _) in T::ELSEWHERE.iter().filter(|(key, _)| !key.ends_with('*')) {
        let name = format!("{}{}", T::PREFIX, name(key));
        if let Some(text) = variable(&name) {
            put(tree, key, Value::String(text));
            origins.push(((*key).to_owned(), name));
        }
    }
    sinks(tree, variable, report, &mut origins);
    origins
}

/// Settings of sinks, by each sink's name.
fn sinks(tree: &mut Map<String, Value>, variable: Variable<'_>, report: &mut Report, origins: &mut Origins) {
    let Some(sinks) = tree.get_mut("metric_sinks").and_then(Value::as_array_mut) else { return };
    for (index, sink) in sinks.iter_mut().enumerate() {
        let Some(entry) = sink.as_object_mut() else { continue };
        let Some(kind) = entry.get("kind").and_then(Value::as_str).map(str::to_owned) else { continue };
        let prefix = entry.get("name").and_then(Value::as_str).unwrap_or(&kind).to_uppercase();
        for key in sink::KINDS.iter().filter(|(known, _)| *known == kind).flat_map(|(_, keys)| *keys) {
            let variable_name = format!("{prefix}_{}", name(key.name));
            let Some(text) = variable(&variable_name) else { continue };
            if let Some(value) = value(&variable_name, &text, key.shape, report) {
                let config = entry.entry("config").or_insert(Value::Null);
                if config.is_null() {
                    *config = json!({});
                }
                if let Some(config) = config.as_object_mut() {
                    config.insert(key.name.to_owned(), value);
                    origins.push((format!("metric_sinks[{index}].config.{}", key.name), variable_name));
                }
            }
        }
    }
}

/// What a variable says, in the shape of its key. `None`: nothing, or it is wrong and reported.
fn value(name: &str, text: &str, shape: Shape, report: &mut Report) -> Option<Value> {
    let text = text.trim();
    let takes_empty = matches!(shape, Shape::Text | Shape::Secret | Shape::List(_));
    if text.is_empty() && !takes_empty {
        return None;
    }
    let wrong = |report: &mut Report, allowed: &str| {
        report.problem(name, format!("{text:?} must be {allowed}"));
        None
    };
    match shape {
        Shape::Bool => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => wrong(report, "true or false"),
        },
        Shape::Whole => {
            text.parse::<u64>().map_or_else(|_| wrong(report, "a whole number of at least 0"), |n| Some(Value::from(n)))
        }
        Shape::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(Value::from(number)),
            _ => wrong(report, "a number"),
        },
        Shape::Text | Shape::Secret | Shape::Duration => Some(Value::String(text.to_owned())),
        Shape::List(Shape::Section(_) | Shape::Sink | Shape::Map) | Shape::Section(_) | Shape::Sink | Shape::Map => {
            report.problem(name, "a variable cannot hold a list of sections: give it in the file, or in VENEUR_CONFIG");
            None
        }
        Shape::List(item) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|text| value(name, text, *item, report)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
    }
}

fn put(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(tree.insert(path.to_owned(), value)),
        Some((section, rest)) => {
            let inner = tree.entry(section).or_insert(Value::Null);
            if !inner.is_object() {
                *inner = json!({});
            }
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Variables of ours that are not keys: the whole configuration, and what is logged.
const OTHERS: [&str; 2] = ["VENEUR_CONFIG", "VENEUR_LOG"];

/// Which of these names look like variables of this role, but are none.
pub fn unknown_variables<'a, T: Role>(names: impl IntoIterator<Item = &'a str>) -> Vec<Unknown> {
    let known = variable_names::<T>();
    let patterns: Vec<String> = T::ELSEWHERE
        .iter()
        .filter_map(|(key, _)| key.strip_suffix('*'))
        .map(|start| format!("{}{}", T::PREFIX, name(start)))
        .collect();
    let foreign = |name: &str| {
        let other_programs = ["VENEUR_PROXY_", "VENEUR_EMIT_"].iter().any(|other| name.starts_with(other));
        OTHERS.contains(&name) || is_service_link(name) || (T::PREFIX == "VENEUR_" && other_programs)
    };
    names
        .into_iter()
        .filter(|name| name.starts_with(T::PREFIX) && !foreign(name))
        .filter(|name| !known.iter().any(|known| known == name))
        .filter(|name| !patterns.iter().any(|pattern| name.starts_with(pattern.as_str())))
        .map(|name| Unknown {
            key: name.to_owned(),
            nearest: nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
        })
        .collect()
}

/// Kubernetes tells each pod of the Services beside it: `VENEUR_GLOBAL_SERVICE_HOST`, `VENEUR_PORT_8126_UDP_ADDR`.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split("_PORT_").nth(1).is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}
