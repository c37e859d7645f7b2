//! One line: a metric with one or more values.

use std::num::NonZeroU64;

use veneur_metric::{Kind, Sample, Value};

use crate::{Item, Refused, number};

/// Number of sections that said something this parser does not know or that does not apply, in lines that were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped(pub u32);

impl Skipped {
    /// Adds the sections of another line.
    pub fn add(&mut self, Self(more): Self) {
        self.0 = self.0.saturating_add(more);
    }
}

/// Parses one line, without its line end. Each value is one call of `on`; a line that fails as a whole is one refusal.
/// An empty line is nothing.
///
/// A colon after the last value is tolerated. A line without any value has one, the empty one: a member of a set, but
/// not a number.
pub fn parse_line<'a>(line: &'a [u8], mut on: impl FnMut(Result<Item<'a>, Refused>)) -> Skipped {
    if line.is_empty() {
        return Skipped(0);
    }
    if line.starts_with(b"_e{") {
        on(Ok(Item::Event(line)));
        return Skipped(0);
    }
    if line.starts_with(b"_sc") {
        on(Ok(Item::ServiceCheck(line)));
        return Skipped(0);
    }
    let (head, values, skipped) = match head(line) {
        Ok(head) => head,
        Err(refused) => {
            on(Err(refused));
            return Skipped(0);
        }
    };
    let values = values.strip_suffix(b":").unwrap_or(values);
    let mut before = false;
    for text in values.split(|byte| *byte == b':') {
        let value = match head.kind {
            Kind::Set => Some(Value::Member(text)),
            _ => number::parse(text).map(Value::Number),
        };
        match value {
            Some(value) => {
                on(Ok(Item::Sample(Sample { value, packed: before, ..head })));
                before = true;
            }
            None => on(Err(Refused::BadNumber)),
        }
    }
    skipped
}

/// What all values of a line share, and the text of the values.
///
/// The order of the checks is the original's: it decides which of several faults is named.
fn head(line: &[u8]) -> Result<(Sample<'_>, &[u8], Skipped), Refused> {
    let (metric, rest) = split_at_byte(line, b'|').ok_or(Refused::MissingPipe)?;
    let (name, values) = split_at_byte(metric, b':').ok_or(Refused::MissingColon)?;
    if name.is_empty() {
        return Err(Refused::EmptyName);
    }
    let (letter, mut sections) = first_chunk(rest);
    let kind = kind(letter)?;

    let mut sample = Sample { name, kind, ..Sample::NONE };
    let (mut rated, mut tagged, mut origin, mut skipped) = (false, false, None, 0_u32);
    while let Some(rest) = sections {
        let section;
        (section, sections) = first_chunk(rest);
        match section {
            [] => return Err(Refused::EmptySection),
            [b'@', text @ ..] if !rated => {
                rated = true;
                sample.rate = rate(text).ok_or(Refused::BadRate)?;
            }
            [b'#', text @ ..] if !tagged => {
                tagged = true;
                sample.tags = text;
            }
            [b'@' | b'#', ..] => return Err(Refused::DuplicateSection),
            _ if is_origin(section) => {
                let start = line.len() - rest.len();
                origin = Some((origin.map_or(start, |(first, _)| first), start + section.len()));
            }
            _ => match timestamp(section) {
                Some(seconds) if sample.timestamp.is_none() && matches!(kind, Kind::Counter | Kind::Gauge) => {
                    sample.timestamp = Some(seconds);
                }
                _ => skipped = skipped.saturating_add(1),
            },
        }
    }
    if let Some((start, end)) = origin {
        sample.origin = &line[start..end];
    }
    Ok((sample, values, Skipped(skipped)))
}

/// Whether a section says who sends.
#[inline]
pub(crate) fn is_origin(section: &[u8]) -> bool {
    matches!(section, [b'c' | b'e', b':', ..] | [b'c', b'a', b'r', b'd', b':', ..])
}

/// `T` and Unix seconds.
pub(crate) fn timestamp(section: &[u8]) -> Option<NonZeroU64> {
    std::str::from_utf8(section.strip_prefix(b"T")?).ok()?.parse().ok()
}

/// The kind that the first byte of `text` names.
#[inline]
pub(crate) fn kind(text: &[u8]) -> Result<Kind, Refused> {
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
#[inline]
pub(crate) fn rate(text: &[u8]) -> Option<f64> {
    number::parse(text).filter(|rate| rate.is_normal() && *rate > 0.0 && *rate <= 1.0)
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
