//! Text to a validated configuration, and back.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Role, Variable, elsewhere, key::Report, variables};

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
    /// How much it matters.
    pub weight: Weight,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Nothing is other than it was meant.
    Info,
    /// Something that was asked for does not happen.
    Warning,
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

impl Unknown {
    fn refused(&self) -> Invalid {
        let problem = match &self.nearest {
            Some(nearest) => format!("is not a key: did you mean {nearest}?"),
            None => "is not a key: remove it".to_owned(),
        };
        Invalid::new(self.key.clone(), problem)
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
    #[error("{}", lines(.0))]
    Invalid(Vec<Invalid>),
}

/// One unusable value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where the value came from: a file's path, or a variable's name.
    pub origin: String,
    /// Path of the key.
    pub key: String,
    /// The value, what is wrong with it and what is allowed.
    pub problem: String,
}

impl Invalid {
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { origin: String::new(), key: key.into(), problem: problem.into() }
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.origin == self.key {
            write!(f, "{}: {}", self.key, self.problem)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.problem)
        }
    }
}

fn lines(problems: &[Invalid]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Parses and validates `text` alone; `origin` names it in errors. An empty text is the default configuration.
pub fn parse<T: Role>(origin: &str, text: &str) -> Result<Parsed<T>, ConfigError> {
    read(origin, text, &|_| None)
}

/// Parses `text`, puts what variables say over it, and validates the whole.
pub fn read<T: Role>(origin: &str, text: &str, variable: Variable<'_>) -> Result<Parsed<T>, ConfigError> {
    judge(origin, text, variable, false)
}

/// The same, and refuses keys that nothing reads beside all else, as `-validate-config-strict` does.
pub fn read_strictly<T: Role>(origin: &str, text: &str, variable: Variable<'_>) -> Result<Parsed<T>, ConfigError> {
    judge(origin, text, variable, true)
}

fn judge<T: Role>(origin: &str, text: &str, variable: Variable<'_>, strict: bool) -> Result<Parsed<T>, ConfigError> {
    let mut tree = tree(origin, text)?;
    let mut report = Report::default();
    let origins = variables::apply::<T>(&mut tree, variable, &mut report);
    elsewhere::take(&mut tree, T::ELSEWHERE, &mut report);
    let config = T::read_map(tree, "", &mut report);
    let Report { mut problems, unknown, mut notes } = report;
    problems.extend(config.problems());
    if strict {
        problems.extend(unknown.iter().map(Unknown::refused));
    }
    notes.extend(config.remarks());
    if problems.is_empty() {
        for note in &mut notes {
            if let Some(variable) = origin_of(&note.key, &origins) {
                note.key = variable.to_owned();
            }
        }
        return Ok(Parsed { config, notes, unknown });
    }
    for problem in &mut problems {
        problem.origin = match origin_of(&problem.key, &origins) {
            Some(variable) => variable.to_owned(),
            // A variable that could not be read names itself.
            None if variable(&problem.key).is_some() => problem.key.clone(),
            None => origin.to_owned(),
        };
    }
    Err(ConfigError::Invalid(problems))
}

/// The variable that wrote a key, or the one it is a part of.
fn origin_of<'a>(key: &str, origins: &'a [(String, String)]) -> Option<&'a str> {
    let within =
        |path: &str| key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    origins.iter().rev().find(|(path, _)| within(path)).map(|(_, variable)| variable.as_str())
}

/// A text's keys.
fn tree(origin: &str, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let syntax = |problem: String| ConfigError::Syntax { origin: origin.to_owned(), problem };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    // Without the lines around an error: they may hold a secret.
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax(error.to_string()))? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(syntax("a configuration is a section of keys, as `interval: 10s`".to_owned())),
    }
}

/// Writes a configuration as YAML, every key in it, secrets too.
pub fn to_yaml<T: Serialize>(config: &T) -> String {
    serde_saphyr::to_string(config).expect("configuration structs hold only strings, numbers, lists and maps")
}
