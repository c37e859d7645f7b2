//! The line that nearly every client sends, read in one pass: one short value, a known type, well-formed sections.
//!
//! Anything else is left to [`parse_line`](crate::parse_line), which decides what it is. That both agree is held by the
//! comparison with the naive parser in `tests/laws.rs`.

use memchr::{memchr2, memchr3};
use veneur_metric::{Kind, Sample, Value};

use crate::{line, number};

/// The sample of the first line of `text`, and the line's length with its end.
#[inline]
pub(crate) fn sample(text: &[u8]) -> Option<(Sample<'_>, usize)> {
    let colon = memchr3(b':', b'|', b'\n', text)?;
    if text[colon] != b':' || colon == 0 || text[0] == b'_' {
        return None;
    }
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    let (number, length) = match number::plain(value) {
        Some((number, length)) if value.get(length) == Some(&b'|') => (Some(number), length),
        _ => (None, value.iter().position(|byte| matches!(byte, b'|' | b':' | b'\n'))?),
    };
    if value[length] != b'|' {
        return None;
    }
    let kind = line::kind(&value[length + 1..]).ok()?;
    let value_read = match (kind, number) {
        (Kind::Set, _) => Value::Member(&value[..length]),
        (_, Some(number)) => Value::Number(number),
        (_, None) => return None,
    };
    let mut at = colon + 1 + length + 2;
    at += usize::from(kind == Kind::Timer && text.get(at) == Some(&b's'));

    let mut sample = Sample { name, kind, value: value_read, ..Sample::NONE };
    let (mut tagged, mut origin) = (false, None);
    let length = loop {
        match text.get(at) {
            None => break at,
            Some(b'\n') => break at + 1,
            Some(b'|') => {}
            Some(_) => return None,
        }
        let section = &text[at + 1..];
        let section = &section[..section_end(section)];
        let next = at + 1 + section.len();
        match section {
            [b'#', tags @ ..] if !tagged => {
                tagged = true;
                sample.tags = tags;
            }
            // A rate of 1 is what the sample has already: whether it comes twice is not seen here.
            [b'@', rate @ ..] if sample.rate >= 1.0 => sample.rate = line::rate(rate).filter(|rate| *rate < 1.0)?,
            _ if line::is_origin(section) => origin = Some((origin.map_or(at + 1, |(first, _)| first), next)),
            _ => return None,
        }
        at = next;
    };
    if let Some((start, end)) = origin {
        sample.origin = &text[start..end];
    }
    // A carriage return before the line's end belongs to neither.
    if text[at - 1] == b'\r' { None } else { Some((sample, length)) }
}

/// Tags are long and looked through many bytes at a time; a rate is over before that pays.
#[inline]
fn section_end(section: &[u8]) -> usize {
    let end = if section.first() == Some(&b'@') {
        section.iter().position(|byte| matches!(byte, b'|' | b'\n'))
    } else {
        memchr2(b'|', b'\n', section)
    };
    end.unwrap_or(section.len())
}
