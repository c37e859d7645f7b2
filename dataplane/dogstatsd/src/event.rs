//! Events.
//!
//! ```text
//! event := "_e{" length "," length "}:" title "|" text *( "|" field )
//! field := "d:" seconds | "h:" host | "k:" key | "p:" ( normal | low ) | "s:" source
//!        | "t:" ( error | warning | info | success ) | "#" tag *( "," tag )
//!        | anything else, skipped and counted
//! ```
//!
//! The lengths are bytes and decide where title and text end, so both may contain a `|`. In the text, `\n` stands for a
//! line end, and counts as the two bytes it is. Each field stands at most once, in any order.

use veneur_metric::{AlertType, Event, Priority, Tags};

use crate::{Refused, Skipped, field};

/// Parses one line, without its line end, and says how many fields were skipped.
///
/// ```
/// let (event, _) = veneur_dogstatsd::event::parse(b"_e{6,12}:deploy|of\\napi v2.1|t:success|#env:prod")?;
/// assert_eq!((&*event.title, &*event.text), ("deploy", "of\napi v2.1"));
/// # Ok::<(), veneur_dogstatsd::Refused>(())
/// ```
pub fn parse(line: &[u8]) -> Result<(Event, Skipped), Refused> {
    let Head { title, text, fields } = head(line)?;
    let [mut timestamp, mut host, mut key, mut priority, mut source, mut alert, mut tags] = [None; 7];
    let mut skipped = Skipped(0);
    for section in fields.into_iter().flat_map(|fields| fields.split(|byte| *byte == b'|')) {
        match section {
            [] => return Err(Refused::EmptySection),
            [b'd', b':', value @ ..] => field::once(&mut timestamp, value)?,
            [b'h', b':', value @ ..] => field::once(&mut host, value)?,
            [b'k', b':', value @ ..] => field::once(&mut key, value)?,
            [b'p', b':', value @ ..] => field::once(&mut priority, value)?,
            [b's', b':', value @ ..] => field::once(&mut source, value)?,
            [b't', b':', value @ ..] => field::once(&mut alert, value)?,
            [b'#', value @ ..] => field::once(&mut tags, value)?,
            _ => skipped.0 = skipped.0.saturating_add(1),
        }
    }
    let event = Event {
        title: field::text(title),
        text: field::with_line_ends(text).into(),
        timestamp: field::seconds(timestamp, Refused::BadEventField)?,
        host: field::some_text(host),
        aggregation_key: field::some_text(key),
        priority: word(priority, Priority::ALL, Priority::as_str)?,
        source_type: field::some_text(source),
        alert_type: word(alert, AlertType::ALL, AlertType::as_str)?,
        tags: event_tags(tags.unwrap_or_default()),
    };
    Ok((event, skipped))
}

/// The fields of an event as sent, of which some may say who sends; none if it is malformed.
pub fn fields(line: &[u8]) -> &[u8] {
    head(line).ok().and_then(|head| head.fields).unwrap_or_default()
}

struct Head<'a> {
    title: &'a [u8],
    text: &'a [u8],
    /// What is behind the next pipe, if there is one.
    fields: Option<&'a [u8]>,
}

fn head(line: &[u8]) -> Result<Head<'_>, Refused> {
    let header = line.strip_prefix(b"_e{").ok_or(Refused::BadEventHeader)?;
    let end = memchr::memchr(b'}', header).ok_or(Refused::BadEventHeader)?;
    let (lengths, rest) = (&header[..end], &header[end + 1..]);
    let rest = rest.strip_prefix(b":").ok_or(Refused::BadEventHeader)?;
    let comma = memchr::memchr(b',', lengths).ok_or(Refused::BadEventHeader)?;
    let (title, rest) = rest.split_at_checked(length(&lengths[..comma])?).ok_or(Refused::BadEventLength)?;
    let rest = rest.strip_prefix(b"|").ok_or(Refused::BadEventLength)?;
    let (text, rest) = rest.split_at_checked(length(&lengths[comma + 1..])?).ok_or(Refused::BadEventLength)?;
    match rest {
        [] => Ok(Head { title, text, fields: None }),
        [b'|', fields @ ..] => Ok(Head { title, text, fields: Some(fields) }),
        _ => Err(Refused::BadEventLength),
    }
}

/// A positive decimal number that an address can be.
fn length(digits: &[u8]) -> Result<usize, Refused> {
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).filter(|length| *length > 0).ok_or(Refused::BadEventLength)
}

/// The one of `all` that is written so.
fn word<T: Copy + Default, const N: usize>(
    value: Option<&[u8]>,
    all: [T; N],
    written: fn(T) -> &'static str,
) -> Result<T, Refused> {
    let Some(value) = value else { return Ok(T::default()) };
    all.into_iter().find(|one| written(*one).as_bytes() == value).ok_or(Refused::BadEventField)
}

/// The tags of an event: one per key. Magic tags have no meaning here and are tags like others, as in the original.
fn event_tags(raw: &[u8]) -> Tags {
    let text = String::from_utf8_lossy(raw);
    Tags::unique(text.split(',').filter(|tag| !tag.starts_with("dd.internal.")))
}
