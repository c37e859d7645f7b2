//! Durations as the original writes them: `10s`, `1m30s`, `500ms`, `1.5h`.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::key::{Field, Report, Shape, shown};

/// A duration in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Every(pub Duration);

impl Every {
    /// Whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Reads Go's grammar: numbers, each with its unit, or a bare 0.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
            let (digits, tail) = rest.split_at(number);
            let unit = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
            let (unit, next) = tail.split_at(unit);
            total = total.checked_add(part(digits, nanoseconds(unit)?)?)?;
            rest = next;
        }
        // Go counts nanoseconds in 63 bits, some 292 years.
        (!text.is_empty() && total.as_nanos() <= i64::MAX as u128).then_some(Self(total))
    }
}

/// `digits` times `unit` nanoseconds, exactly.
fn part(digits: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanoseconds = u128::from(whole) * u128::from(unit);
    let mut place = u128::from(unit);
    for digit in fraction.bytes() {
        place /= 10;
        nanoseconds += place * u128::from(digit - b'0');
    }
    Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (duration, nanoseconds) = (self.0, self.0.subsec_nanos());
        if nanoseconds == 0 {
            serializer.collect_str(&format_args!("{}s", duration.as_secs()))
        } else if nanoseconds.is_multiple_of(1_000_000) {
            serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
        } else {
            serializer.collect_str(&format_args!("{}ns", duration.as_nanos()))
        }
    }
}

impl Field for Every {
    const SHAPE: Shape = Shape::Duration;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        let read = match &value {
            Value::String(text) => Self::parse(text),
            // As the original reads a number without a unit.
            Value::Number(number) => {
                number.as_u64().filter(|n| i64::try_from(*n).is_ok()).map(|n| Self(Duration::from_nanos(n)))
            }
            _ => None,
        };
        if read.is_none() {
            report.problem(path, format!("{} is not a duration: write 10s, 1m30s or 500ms", shown(&value)));
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::Every;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases: [(&str, Option<u128>); 12] = [
            ("10s", Some(10_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1h0m0.000000001s", Some(3_600_000_000_001)),
            ("5µs", Some(5_000)),
            ("0", Some(0)),
            ("10", None),
            ("", None),
            ("1..s", None),
            ("-1s", None),
            ("9999999999h", None),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(Every::parse(text).map(|every| every.0.as_nanos()), nanoseconds, "{text}");
        }
    }
}
