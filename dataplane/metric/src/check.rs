//! Whether something works.

use crate::Tags;

/// The outcome of a service check. Of one name and tags, the last of an interval counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked, never empty.
    pub name: Box<str>,
    /// How it is.
    pub status: Status,
    /// Unix seconds of the check, where the client said so or the instance that read it filled it in.
    pub timestamp: Option<i64>,
    /// Where it was checked, if not where it was read. Never empty.
    pub host: Option<Box<str>>,
    /// What there is to say about it. Never empty.
    pub message: Option<Box<str>>,
    /// Sorted tags.
    pub tags: Tags,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Check {
    /// Fills in what the client left out: when it was read, and where.
    pub fn complete(&mut self, now: i64, host: &str) {
        self.timestamp.get_or_insert(now);
        if self.host.is_none() && !host.is_empty() {
            self.host = Some(host.into());
        }
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        let optional: usize = [&self.host, &self.message].into_iter().flatten().map(|text| text.len()).sum();
        size_of::<Self>() + self.name.len() + self.tags.joined().len() + optional
    }
}

impl Status {
    /// Every status, each at the place of its number.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Critical, Self::Unknown];

    /// The protocol's number, 0 to 3.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// A word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}
