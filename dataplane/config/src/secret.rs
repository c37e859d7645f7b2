//! Texts that are never shown.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::key::{Field, Report, Shape};

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "REDACTED";

/// A text that only [`Secret::expose`] and serialisation reveal. Serialisation has to: it is how a configuration gets into
/// a file. What is shown to people goes through [`redacted_yaml`](crate::redacted_yaml) or `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for who needs it to do its work.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { REDACTED })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Field for Secret {
    const SHAPE: Shape = Shape::Secret;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        String::read(value, path, report).map(Self)
    }
}
