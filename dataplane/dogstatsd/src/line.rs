//! One line: a metric with one or more values.

use std::iter::Sum;

use veneur_metric::{Kind, Sample, Scope, Value};

use crate::Refused;
use crate::tags::scope;

/// Number of sections that said something this parser does not know, in lines that were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped(pub u32);

/// Parses one line, without its line end. Each value is one call of `on`; a line that fails as a whole is one refusal.
/// An empty line is nothing.
///
/// A colon after the last value is tolerated. A line without any value has one, the empty one: a member of a set, but
/// not a number.
pub fn parse_line<'a>(line: &'a [u8], mut on: impl FnMut(Result<Sample<'a>, Refused>)) -> Skipped {
    if line.is_empty() {
        return Skipped(0);
    }
    let head = match Head::parse(line) {
        Ok(head) => head,
        Err(refused) => {
            on(Err(refused));
            return Skipped(0);
        }
    };
    let values = head.values.strip_suffix(b":").unwrap_or(head.values);
    for value in values.split(|byte| *byte == b':') {
        on(head.sample(value));
    }
    head.skipped
}

impl Sum for Skipped {
    fn sum<I: Iterator<Item = Self>>(skipped: I) -> Self {
        Self(skipped.fold(0, |total, Self(more)| total.saturating_add(more)))
    }
}

/// What all values of a line share.
struct Head<'a> {
    name: &'a [u8],
    values: &'a [u8],
    kind: Kind,
    rate: f64,
    tags: &'a [u8],
    scope: Scope,
    skipped: Skipped,
}

impl<'a> Head<'a> {
    /// The order of the checks is the original's: it decides which of several faults is named.
    fn parse(line: &'a [u8]) -> Result<Self, Refused> {
        if line.starts_with(b"_e{") {
            return Err(Refused::Event);
        }
        if line.starts_with(b"_sc") {
            return Err(Refused::ServiceCheck);
        }
        let (metric, rest) = split_at_byte(line, b'|').ok_or(Refused::MissingPipe)?;
        let (name, values) = split_at_byte(metric, b':').ok_or(Refused::MissingColon)?;
        if name.is_empty() {
            return Err(Refused::EmptyName);
        }
        let (kind, mut sections) = first_chunk(rest);
        let kind = self::kind(kind)?;

        let (mut rate, mut tags, mut skipped) = (None, None, Skipped(0));
        while let Some(rest) = sections {
            let section;
            (section, sections) = first_chunk(rest);
            match section {
                [] => return Err(Refused::EmptySection),
                [b'@', text @ ..] if rate.is_none() => rate = Some(self::rate(text)?),
                [b'#', text @ ..] if tags.is_none() => tags = Some(text),
                [b'@' | b'#', ..] => return Err(Refused::DuplicateSection),
                _ => skipped.0 = skipped.0.saturating_add(1),
            }
        }
        let tags = tags.unwrap_or_default();
        Ok(Self { name, values, kind, rate: rate.unwrap_or(1.0), tags, scope: scope(tags), skipped })
    }

    fn sample(&self, value: &'a [u8]) -> Result<Sample<'a>, Refused> {
        let value = match self.kind {
            Kind::Set => Value::Member(value),
            _ => Value::Number(number(value).ok_or(Refused::BadNumber)?),
        };
        Ok(Sample { name: self.name, kind: self.kind, value, rate: self.rate, tags: self.tags, scope: self.scope })
    }
}

fn kind(text: &[u8]) -> Result<Kind, Refused> {
    match text.first() {
        None => Err(Refused::EmptySection),
        Some(b'c') => Ok(Kind::Counter),
        Some(b'g') => Ok(Kind::Gauge),
        Some(b'd' | b'h') => Ok(Kind::Histogram),
        Some(b'm') => Ok(Kind::Timer),
        Some(b's') => Ok(Kind::Set),
        Some(_) => Err(Refused::UnknownType),
    }
}

/// A rate whose reciprocal is a number: below the normal range of `f64`, `1 / rate` overflows.
fn rate(text: &[u8]) -> Result<f64, Refused> {
    number(text).filter(|rate| rate.is_normal() && *rate > 0.0 && *rate <= 1.0).ok_or(Refused::BadRate)
}

/// A finite decimal number. `nan`, `inf` and what overflows are none; what underflows is zero.
fn number(text: &[u8]) -> Option<f64> {
    small_integer(text).or_else(|| decimal(text))
}

/// Most values are counts. Up to 15 digits are exact in an `f64` and need no general parser.
fn small_integer(text: &[u8]) -> Option<f64> {
    let digits = |total: u64, byte: &u8| byte.is_ascii_digit().then(|| total * 10 + u64::from(byte - b'0'));
    let short = !text.is_empty() && text.len() <= 15;
    short.then(|| text.iter().try_fold(0, digits)).flatten().map(|total| total as f64)
}

fn decimal(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// What is before the first pipe, and what is after it if there is one.
fn first_chunk(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    split_at_byte(text, b'|').map_or((text, None), |(chunk, rest)| (chunk, Some(rest)))
}

/// What is before and after the first `byte`.
fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((&text[..at], &text[at + 1..]))
}
