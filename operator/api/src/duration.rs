//! Lengths of time as a user writes them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time in whole seconds, minutes or hours: `30s`, `2m`, `1h`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// How long it is; `None` for what the schema would have refused.
    pub fn length(&self) -> Option<std::time::Duration> {
        let (digits, unit) = self.0.split_at_checked(self.0.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(seconds).map(std::time::Duration::from_secs)
    }
}

impl From<&str> for Duration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 8,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^[0-9]{1,6}(s|m|h)$')",
                "message": "a duration is whole seconds, minutes or hours, as 30s, 2m or 1h",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_minutes_and_hours() {
        let length = |text: &str| Duration::from(text).length().map(|length| length.as_secs());
        assert_eq!((length("30s"), length("2m"), length("1h")), (Some(30), Some(120), Some(3600)));
        for text in ["", "s", "10", "1500ms", "-1s", "1é", "99999999999999999999h"] {
            assert_eq!(length(text), None, "{text}");
        }
    }
}
