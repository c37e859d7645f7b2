//! Text to a validated configuration, and back.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Role, key::Report};

/// A valid configuration and what was noticed on the way to it.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The configuration.
    pub config: T,
    /// What somebody should know: keys without effect, keys read as others.
    pub notes: Vec<Note>,
    /// Keys that nothing reads. The original ignores them in silence; we name them.
    pub unknown: Vec<Unknown>,
}

/// A remark about a key that does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Path of the key, or the name of a variable.
    pub key: String,
    /// What it is read as, or why it has no effect.
    pub text: String,
}

/// A key that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its path.
    pub key: String,
    /// The key that was probably meant.
    pub nearest: Option<String>,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.nearest {
            Some(nearest) => write!(f, "{}: is not a key: did you mean {nearest}?", self.key),
            None => write!(f, "{}: is not a key", self.key),
        }
    }
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
    /// Values that cannot be used, all of them.
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
pub fn parse<T: Role>(origin: &str, text: &str) -> Result<Parsed<T>, ConfigError> {
    let tree = tree(origin, text)?;
    let mut report = Report::default();
    let config = T::read_map(tree, "", &mut report);
    let Report { mut problems, unknown, notes } = report;
    problems.extend(config.problems());
    if problems.is_empty() {
        Ok(Parsed { config, notes, unknown })
    } else {
        Err(ConfigError::Invalid { origin: origin.to_owned(), problems })
    }
}

/// A text's keys.
fn tree(origin: &str, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let syntax = |problem: String| ConfigError::Syntax { origin: origin.to_owned(), problem };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str(text).map_err(|error| syntax(error.to_string()))? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(syntax("a configuration is a section of keys, as `interval: 10s`".to_owned())),
    }
}

/// Writes a configuration as YAML, every key in it, secrets too.
pub fn to_yaml<T: Serialize>(config: &T) -> String {
    serde_saphyr::to_string(config).expect("configuration structs hold only strings, numbers, lists and maps")
}
