//! What a tier offers to the locals that forward to it: their live keys.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Server, Unknown,
    key::{Field, Report, Section as _, Shape, join, shown},
    show::values,
};

/// Longest text of such settings, in bytes: they travel in a header.
const LONGEST: usize = 8 * 1024;

/// Live keys of a local, and their values. `debug` is none of them: how much an instance logs is its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LocalSettings(Map<String, Value>);

impl LocalSettings {
    /// All of them, as `local` has them; `None` where they would be too long to travel.
    pub fn of(local: &Server) -> Option<Self> {
        let settings = Self(values(local).into_iter().filter(|(name, _)| travels(name)).collect());
        (settings.to_text().len() <= LONGEST).then_some(settings)
    }

    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they travel: JSON, equal texts for equal settings.
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.0).expect("a tree of strings, numbers and lists")
    }
}

impl Server {
    /// This configuration with the live keys of `text` in place of its own. What this version does not know is left out;
    /// if a value cannot be used, all of it is, and the error says which.
    pub fn following(&self, text: &str) -> Result<Self, String> {
        let offered: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut tree = values(self);
        tree.extend(offered.into_iter().filter(|(name, _)| travels(name)));
        let mut report = Report::default();
        let followed = Self::read_map(tree, "", &mut report);
        report.problems.extend(crate::Validate::problems(&followed));
        match report.problems.as_slice() {
            [] => Ok(followed),
            [problem, ..] => Err(format!("{}: {}", problem.key, problem.problem)),
        }
    }
}

/// Whether it is a key that travels.
fn travels(name: &str) -> bool {
    Server::KEYS.iter().any(|key| key.live && key.name == name && !OWN.contains(&key.name))
}

/// Live keys that are no local's, or each one's own.
const OWN: [&str; 2] = ["debug", "local_settings"];

impl Field for LocalSettings {
    const SHAPE: Shape = Shape::Map;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        let Value::Object(map) = value else {
            report.problem(path, format!("{} must be a section of keys", shown(&value)));
            return None;
        };
        // They may be a newer version's, whose locals take them: they are passed on.
        let (ours, others): (Map<_, _>, Map<_, _>) = map.clone().into_iter().partition(|(name, _)| travels(name));
        report.unknown.extend(others.keys().map(|name| Unknown { key: join(path, name), nearest: None }));
        let mut inner = Report::default();
        let read = Server::read_map(ours, "", &mut inner);
        inner.problems.extend(crate::Validate::problems(&read));
        for problem in inner.problems {
            report.problem(&join(path, &problem.key), problem.problem);
        }
        let settings = Self(map);
        if settings.to_text().len() > LONGEST {
            report.problem(path, format!("must be at most {LONGEST} bytes as JSON"));
        }
        Some(settings)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Aggregate, Proxy, Server, parse, to_yaml};

    use super::*;

    #[test]
    fn what_is_offered_is_what_a_local_follows_and_nothing_else_of_it_changes() {
        let offering = Server {
            percentiles: vec![0.5, 0.99],
            aggregates: vec![Aggregate::Max],
            extend_tags: vec!["team:a".into()],
            max_contexts: 7,
            debug: true,
            hostname: "other".into(),
            ..Server::default()
        };
        let own = Server { hostname: "pod".into(), instance_tags: vec!["tier:web".into()], ..Server::default() };
        let text = LocalSettings::of(&offering).expect("short").to_text();
        let followed = own.following(&text).expect("valid");
        let expected = Server { debug: false, ..offering };
        assert_eq!(followed, Server { hostname: own.hostname, instance_tags: own.instance_tags, ..expected });
    }

    #[test]
    fn what_a_newer_version_offers_is_left_out_and_a_wrong_value_changes_nothing() {
        let own = Server::default();
        let text = r#"{"max_contexts": 7, "invented": 1, "hostname": "x", "debug": true}"#;
        assert_eq!(own.following(text), Ok(Server { max_contexts: 7, ..own.clone() }));
        for (wrong, named) in [
            (r#"{"percentiles": [2], "max_contexts": 7}"#, "percentiles[0]"),
            (r#"{"aggregates": ["most"]}"#, "aggregates[0]"),
            ("[]", "invalid type"),
        ] {
            let error = own.following(wrong).expect_err(wrong);
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_proxys_file_names_what_is_wrong_and_passes_on_what_is_newer() {
        let text = "grpc_address: 0.0.0.0:1\nforward_addresses: [a:1]\nlocal_settings: ";
        let error = parse::<Proxy>("f", &format!("{text} {{percentiles: [3]}}")).expect_err("wrong").to_string();
        assert!(error.contains("f: local_settings.percentiles[0]: 3 must lie between"), "{error}");
        let parsed = parse::<Proxy>("f", &format!("{text} {{invented: 1, max_contexts: 7}}")).expect("valid");
        let unknown: Vec<&str> = parsed.unknown.iter().map(|unknown| unknown.key.as_str()).collect();
        assert_eq!(unknown, ["local_settings.invented"]);
        assert_eq!(parsed.config.local_settings.to_text(), r#"{"invented":1,"max_contexts":7}"#);
    }

    #[test]
    fn a_proxys_file_is_read_back_as_it_was_written() {
        let offered = LocalSettings::of(&Server { percentiles: vec![0.9], ..Server::default() }).expect("short");
        let proxy = Proxy {
            grpc_address: "0.0.0.0:1".into(),
            forward_addresses: vec!["a:1".into()],
            local_settings: offered,
            ..Proxy::default()
        };
        assert_eq!(parse::<Proxy>("f", &to_yaml(&proxy)).expect("valid").config, proxy);
    }
}
