//! Why a line or a value was refused.

use thiserror::Error;

/// Why a line, or one value of a line, is neither a sample nor an event nor a service check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum Refused {
    /// No `|`.
    #[error("the metric has no `|`: write name:value|type")]
    MissingPipe,
    /// No `:` before the first `|`.
    #[error("the metric has no `:` before its first `|`: write name:value|type")]
    MissingColon,
    /// Nothing before the first `:`.
    #[error("the metric has no name before its first `:`")]
    EmptyName,
    /// First byte of the type is none of `c g d h m s`.
    #[error("the type is not known: use one of c, g, d, h, ms, s")]
    UnknownType,
    /// Nothing after or between pipes.
    #[error("there is an empty string after or between pipes: remove the extra `|`")]
    EmptySection,
    /// The text after `@` is not above 0 and at most 1.
    #[error("the sample rate must be a number >0 and <=1")]
    BadRate,
    /// A section that may stand once stands twice: `@`, `#`, or a field of an event or check.
    #[error("there are multiple rates, tag sections or fields of one letter: keep one of each")]
    DuplicateSection,
    /// Not a finite decimal number.
    #[error("the value is not a finite decimal number")]
    BadNumber,
    /// An event does not begin with `_e{title length,text length}:`.
    #[error("the event has no header: write _e{{title bytes,text bytes}}:title|text")]
    BadEventHeader,
    /// A length of an event is not a positive number, or not that of its title or text.
    #[error("the lengths are not those of the event's title and text in bytes, or one of them is 0")]
    BadEventLength,
    /// A field of an event has a value that it cannot have.
    #[error("a field of the event is wrong: d takes seconds, p normal or low, t a known alert type")]
    BadEventField,
    /// A service check does not begin with `_sc|name|status`.
    #[error("the service check has no header: write _sc|name|status")]
    BadCheckHeader,
    /// The status of a service check is none of 0, 1, 2, 3.
    #[error("the status is not known: use 0 (ok), 1 (warning), 2 (critical) or 3 (unknown)")]
    BadCheckStatus,
    /// A field of a service check has a value that it cannot have, or stands after the message.
    #[error("a field of the service check is wrong: d is Unix seconds, and m comes last")]
    BadCheckField,
}

impl Refused {
    /// Every reason, for registering counters.
    pub const ALL: [Self; 14] = [
        Self::MissingPipe,
        Self::MissingColon,
        Self::EmptyName,
        Self::UnknownType,
        Self::EmptySection,
        Self::BadRate,
        Self::DuplicateSection,
        Self::BadNumber,
        Self::BadEventHeader,
        Self::BadEventLength,
        Self::BadEventField,
        Self::BadCheckHeader,
        Self::BadCheckStatus,
        Self::BadCheckField,
    ];

    /// The value of a metric's `reason` label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::MissingPipe => "missing_pipe",
            Self::MissingColon => "missing_colon",
            Self::EmptyName => "empty_name",
            Self::UnknownType => "unknown_type",
            Self::EmptySection => "empty_section",
            Self::BadRate => "bad_rate",
            Self::DuplicateSection => "duplicate_section",
            Self::BadNumber => "bad_number",
            Self::BadEventHeader => "bad_event_header",
            Self::BadEventLength => "bad_event_length",
            Self::BadEventField => "bad_event_field",
            Self::BadCheckHeader => "bad_check_header",
            Self::BadCheckStatus => "bad_check_status",
            Self::BadCheckField => "bad_check_field",
        }
    }
}
