//! Something that happened, in words.

use crate::Tags;

/// An event as a client described it. It is published as it is: events are neither merged nor sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Headline, never empty.
    pub title: Box<str>,
    /// Body; may have several lines.
    pub text: Box<str>,
    /// Unix seconds when it happened, where the client said so or the instance that read it filled it in.
    pub timestamp: Option<i64>,
    /// Where it happened, if not where it was read. Never empty.
    pub host: Option<Box<str>>,
    /// Events of one key are shown as one. Never empty.
    pub aggregation_key: Option<Box<str>>,
    /// How much it matters.
    pub priority: Priority,
    /// What kind of source it came from. Never empty.
    pub source_type: Option<Box<str>>,
    /// How to show it.
    pub alert_type: AlertType,
    /// Sorted tags, at most one per key.
    pub tags: Tags,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    /// To be seen.
    #[default]
    Normal,
    /// To be found by who looks for it.
    Low,
}

/// How an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum AlertType {
    Error,
    Warning,
    #[default]
    Info,
    Success,
}

impl Event {
    /// Fills in what the client left out: when it was read, and where.
    pub fn complete(&mut self, now: i64, host: &str) {
        self.timestamp.get_or_insert(now);
        if self.host.is_none() && !host.is_empty() {
            self.host = Some(host.into());
        }
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        let optional = [&self.host, &self.aggregation_key, &self.source_type];
        let optional: usize = optional.into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + self.title.len() + self.text.len() + self.tags.joined().len() + optional
    }
}

impl Priority {
    /// Every priority.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Low];

    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl AlertType {
    /// Every alert type.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warning, Self::Info, Self::Success];

    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Success => "success",
        }
    }
}
