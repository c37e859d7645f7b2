//! Why a line or a value was refused.

use thiserror::Error;

/// Why a line, or one value of a line, is not a sample.
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
    /// More than one `@` or more than one `#` section.
    #[error("there are multiple sample rates or multiple tag sections: keep one of each")]
    DuplicateSection,
    /// Not a finite decimal number.
    #[error("the value is not a finite decimal number")]
    BadNumber,
    /// An event.
    #[error("events (`_e{{`) are not supported yet: only metrics are")]
    Event,
    /// A service check.
    #[error("service checks (`_sc`) are not supported yet: only metrics are")]
    ServiceCheck,
}

impl Refused {
    /// Every reason, for registering counters.
    pub const ALL: [Self; 10] = [
        Self::MissingPipe,
        Self::MissingColon,
        Self::EmptyName,
        Self::UnknownType,
        Self::EmptySection,
        Self::BadRate,
        Self::DuplicateSection,
        Self::BadNumber,
        Self::Event,
        Self::ServiceCheck,
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
            Self::Event => "event",
            Self::ServiceCheck => "service_check",
        }
    }
}
