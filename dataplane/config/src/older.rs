//! Keys of 14.2.0 and before, and the newest ones that have another name here, read as today's.
//!
//! A step over the tree, before anything is typed. Today's key wins where a file has both; a variable wins over a file,
//! whichever name it has.

use serde_json::{Map, Value, json};

use crate::{
    Role, Variable, Weight,
    elsewhere::asks_for_nothing,
    key::Report,
    variables::{self, Origins},
};

/// What an older key is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// The Datadog sink's key, and with it the sink.
    MakesDatadog(&'static str),
    /// A key of the Datadog sink, if there is one.
    OfDatadog(&'static str),
    /// `true` makes a debug sink.
    MakesDebug,
    /// An address, added to a list behind a scheme.
    Address(&'static str, &'static str),
    /// The same, where the list has none yet: another address of those that it has.
    OtherAddress(&'static str, &'static str),
    /// A key of a section.
    Nested(&'static str, &'static str),
}

use Older::{Address, MakesDatadog, MakesDebug, Nested, OfDatadog, OtherAddress};

/// In the order in which they are read: what makes a sink before what configures it, newer before older.
pub(crate) const SERVER: &[(&str, Older)] = &[
    ("datadog_api_key", MakesDatadog("api_key")),
    ("key", MakesDatadog("api_key")),
    ("datadog_api_hostname", OfDatadog("api_hostname")),
    ("api_hostname", OfDatadog("api_hostname")),
    ("datadog_flush_max_per_body", OfDatadog("flush_max_per_body")),
    ("flush_max_per_body", OfDatadog("flush_max_per_body")),
    ("datadog_metric_name_prefix_drops", OfDatadog("metric_name_prefix_drops")),
    ("datadog_exclude_tags_prefix_by_prefix_metric", OfDatadog("exclude_tags_prefix_by_prefix_metric")),
    ("debug_flushed_metrics", MakesDebug),
    ("udp_address", Address("statsd_listen_addresses", "udp://")),
    ("tcp_address", Address("statsd_listen_addresses", "tcp://")),
    ("tls.ca_file", Nested("forward_tls", "ca_file")),
    ("tls.cert_file", Nested("forward_tls", "cert_file")),
    ("tls.key_file", Nested("forward_tls", "key_file")),
    ("tls.server_name", Nested("forward_tls", "server_name")),
];

pub(crate) const PROXY: &[(&str, Older)] = &[
    ("grpc_forward_address", Address("forward_addresses", "")),
    // Both lead to the same globals as a rule, and as two members each would own half of the series.
    ("forward_address", OtherAddress("forward_addresses", "http://")),
    ("enable_profiling", Nested("http", "enable_profiling")),
];

/// Who wins where a key has two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wins {
    /// Today's key: both stand in one file.
    Todays,
    /// The older key: it comes from a variable.
    Older,
}

/// Reads the older keys of `tree`, or what variables say in their place. Returns the paths that variables wrote.
pub(crate) fn read<T: Role>(tree: &mut Map<String, Value>, variable: Variable<'_>, report: &mut Report) -> Origins {
    let mut origins = Origins::new();
    let mut seen: Vec<Older> = Vec::new();
    for (key, meaning) in T::OLDER {
        let in_file = take(tree, key);
        let name = format!("{}{}", T::PREFIX, variables::name(key));
        let (value, wins, shown) = match (variable(&name), in_file) {
            (Some(text), _) => (from_text(&text, key), Wins::Older, name),
            (None, Some(value)) => (value, Wins::Todays, (*key).to_owned()),
            (None, None) => continue,
        };
        if asks_for_nothing(&value) {
            continue;
        }
        let wins = if seen.contains(meaning) { Wins::Todays } else { wins };
        match write(value, *meaning, tree, wins) {
            Ok((path, target)) => {
                report.note(&shown, Weight::Info, format!("read as {target}"));
                seen.push(*meaning);
                if wins == Wins::Older {
                    origins.push((path, shown));
                }
            }
            Err(why) => report.note(&shown, Weight::Warning, format!("no effect: {why}")),
        }
    }
    origins
}

/// Takes a key out of the tree, and its section with the last of its keys.
fn take(tree: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let Some((section, key)) = key.split_once('.') else { return tree.remove(key) };
    let inner = tree.get_mut(section)?.as_object_mut()?;
    let value = inner.remove(key);
    if inner.is_empty() {
        tree.remove(section);
    }
    value
}

/// A variable's value: lists are told by their key's name, the rest by their look.
fn from_text(text: &str, key: &str) -> Value {
    if key.ends_with("_drops") {
        return text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    }
    match (text.parse::<u64>(), text) {
        // A key of digits alone is still a text; a number is one where it counts something.
        (Ok(number), _) if key.contains("max") => Value::from(number),
        (_, "true" | "1") => Value::Bool(true),
        _ => Value::String(text.to_owned()),
    }
}

/// Where it was written, as a path and as it is told; or why it was not.
fn write(value: Value, meaning: Older, tree: &mut Map<String, Value>, wins: Wins) -> Result<(String, String), String> {
    match meaning {
        MakesDatadog(key) | OfDatadog(key) => {
            let makes = matches!(meaning, MakesDatadog(_));
            let (index, config) = datadog(tree, makes).ok_or_else(|| {
                if makes {
                    "metric_sinks has no place for it".to_owned()
                } else {
                    "there is no datadog sink".to_owned()
                }
            })?;
            set(config, key, value, wins).map_err(|()| format!("metric_sinks[{index}].config.{key} is set"))?;
            Ok((format!("metric_sinks[{index}].config.{key}"), format!("metric_sinks[datadog].config.{key}")))
        }
        MakesDebug => {
            let sinks = list(tree, "metric_sinks").ok_or("metric_sinks is not a list")?;
            if sinks.iter().any(|sink| sink["kind"] == "debug") {
                return Err("there is a debug sink".to_owned());
            }
            sinks.push(json!({"kind": "debug", "name": "debug", "config": {}}));
            Ok((format!("metric_sinks[{}]", sinks.len() - 1), "metric_sinks[debug]".to_owned()))
        }
        Address(key, scheme) | OtherAddress(key, scheme) => {
            let target = list(tree, key).ok_or_else(|| format!("{key} is not a list"))?;
            if matches!(meaning, OtherAddress(..)) && !target.is_empty() {
                return Err(format!("{key} has members, and to them everything goes"));
            }
            let address = value.as_str().ok_or("it is not a text")?;
            let address = if address.starts_with(scheme) { address.to_owned() } else { format!("{scheme}{address}") };
            let path = format!("{key}[{}]", target.len());
            target.push(Value::String(address));
            Ok((path, key.to_owned()))
        }
        Nested(section, key) => {
            let inner = tree.entry(section).or_insert(Value::Null);
            if inner.is_null() {
                *inner = json!({});
            }
            let inner = inner.as_object_mut().ok_or_else(|| format!("{section} is not a section"))?;
            set(inner, key, value, wins).map_err(|()| format!("{section}.{key} is set"))?;
            Ok((format!("{section}.{key}"), format!("{section}.{key}")))
        }
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: Value, wins: Wins) -> Result<(), ()> {
    if wins == Wins::Todays && map.get(key).is_some_and(|value| !asks_for_nothing(value)) {
        return Err(());
    }
    map.insert(key.to_owned(), value);
    Ok(())
}

fn list<'a>(tree: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let value = tree.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

/// The first Datadog sink's settings.
fn datadog(tree: &mut Map<String, Value>, make: bool) -> Option<(usize, &mut Map<String, Value>)> {
    let sinks = list(tree, "metric_sinks")?;
    let index = match sinks.iter().position(|sink| sink["kind"] == "datadog") {
        Some(index) => index,
        None if make => {
            sinks.push(json!({"kind": "datadog", "name": "datadog", "config": {}}));
            sinks.len() - 1
        }
        None => return None,
    };
    let config = sinks[index].as_object_mut()?.entry("config").or_insert(Value::Null);
    if config.is_null() {
        *config = json!({});
    }
    Some((index, config.as_object_mut()?))
}
