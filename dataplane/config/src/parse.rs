//! Text to a validated configuration, and back.

use serde::{Serialize, de::DeserializeOwned};

use crate::Validate;

/// A valid configuration and what was ignored on the way to it.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The configuration.
    pub config: T,
    /// Keys that nothing reads, by path. The original ignores them in silence; we name them.
    pub unknown: Vec<String>,
}

/// Why a text is not a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not YAML.
    #[error("{origin}: not valid YAML: {problem}")]
    Syntax {
        /// Where the text came from: a file's path, or `VENEUR_CONFIG`.
        origin: String,
        /// What the YAML reader says, position included.
        problem: String,
    },
    /// A key holds a value of the wrong shape.
    #[error("{origin}: {key}: {problem}")]
    Shape {
        /// Where the text came from.
        origin: String,
        /// Path of the key.
        key: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// Values that parse but cannot be used, all of them.
    #[error("{}", list(origin, problems))]
    Invalid {
        /// Where the text came from.
        origin: String,
        /// What is wrong, one entry a key.
        problems: Vec<Invalid>,
    },
}

/// One unusable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Path of the key.
    pub key: String,
    /// The value, what is wrong with it and what is allowed.
    pub problem: String,
}

impl Invalid {
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

fn list(origin: &str, problems: &[Invalid]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|invalid| format!("{origin}: {}: {}", invalid.key, invalid.problem)).collect();
    lines.join("\n")
}

/// Parses and validates `text`; `origin` names it in errors. An empty text is the default configuration.
pub fn parse<T: DeserializeOwned + Validate>(origin: &str, text: &str) -> Result<Parsed<T>, ConfigError> {
    let tree: serde_json::Value = if text.trim().is_empty() {
        serde_json::Value::Object(serde_json::Map::new())
    } else {
        serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Syntax { origin: origin.to_owned(), problem: error.to_string() })?
    };
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(tree, &mut track);
    let read = serde_ignored::deserialize(deserializer, |path| unknown.push(path.to_string()));
    let config: T = read.map_err(|error| ConfigError::Shape {
        origin: origin.to_owned(),
        key: track.path().to_string(),
        problem: error.to_string(),
    })?;
    let problems = config.problems();
    if problems.is_empty() {
        Ok(Parsed { config, unknown })
    } else {
        Err(ConfigError::Invalid { origin: origin.to_owned(), problems })
    }
}

/// Writes a configuration as YAML, every key in it.
pub fn to_yaml<T: Serialize>(config: &T) -> String {
    serde_saphyr::to_string(config).expect("configuration structs hold only strings, numbers, lists and maps")
}
