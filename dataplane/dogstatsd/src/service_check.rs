//! Service checks.
//!
//! ```text
//! check  := "_sc|" name "|" status *( "|" field ) [ "|m:" message *( "|" origin ) ]
//! status := 0 | 1 | 2 | 3                              ok, warning, critical, unknown
//! field  := "d:" seconds | "h:" host | "#" tag *( "," tag ) | anything else, skipped and counted
//! origin := "c:" … | "e:" … | "card:" …                skipped and counted
//! ```
//!
//! Each field stands at most once. The message comes last, except that clients of protocols 1.2 and later put their
//! origin behind it. In the message, `\n` stands for a line end and `m\:` for `m:`, as clients write them.

use veneur_metric::{Check, Status, Tags};

use crate::{Refused, Skipped, field};

/// Parses one line, without its line end, and says how many fields were skipped.
///
/// ```
/// let (check, _) = veneur_dogstatsd::service_check::parse(b"_sc|db.up|2|#shard:3|m:no route to host")?;
/// assert_eq!((check.status.number(), check.message.as_deref()), (2, Some("no route to host")));
/// # Ok::<(), veneur_dogstatsd::Refused>(())
/// ```
pub fn parse(line: &[u8]) -> Result<(Check, Skipped), Refused> {
    let mut sections = line.split(|byte| *byte == b'|');
    if sections.next() != Some(b"_sc") {
        return Err(Refused::BadCheckHeader);
    }
    let name = sections.next().ok_or(Refused::BadCheckHeader)?;
    if name.is_empty() {
        return Err(Refused::EmptyName);
    }
    let status = status(sections.next().ok_or(Refused::BadCheckHeader)?)?;
    let [mut timestamp, mut host, mut tags, mut message] = [None; 4];
    let mut skipped = Skipped(0);
    for section in sections {
        match section {
            [] => return Err(Refused::EmptySection),
            [b'm', b':', value @ ..] => field::once(&mut message, value)?,
            _ if message.is_some() && !is_origin(section) => return Err(Refused::BadCheckField),
            [b'd', b':', value @ ..] => field::once(&mut timestamp, value)?,
            [b'h', b':', value @ ..] => field::once(&mut host, value)?,
            [b'#', value @ ..] => field::once(&mut tags, value)?,
            _ => skipped.0 = skipped.0.saturating_add(1),
        }
    }
    let message = message.filter(|message| !message.is_empty());
    let check = Check {
        name: field::text(name),
        status,
        timestamp: field::seconds(timestamp, Refused::BadCheckField)?,
        host: field::some_text(host),
        message: message.map(|message| field::with_line_ends(message).replace("m\\:", "m:").into()),
        tags: check_tags(tags.unwrap_or_default()),
    };
    Ok((check, skipped))
}

/// The fields of a check as sent, of which some may say who sends.
pub fn fields(line: &[u8]) -> &[u8] {
    let start = memchr::memchr_iter(b'|', line).nth(2).map_or(line.len(), |pipe| pipe + 1);
    &line[start..]
}

fn status(text: &[u8]) -> Result<Status, Refused> {
    match text {
        b"0" => Ok(Status::Ok),
        b"1" => Ok(Status::Warning),
        b"2" => Ok(Status::Critical),
        b"3" => Ok(Status::Unknown),
        _ => Err(Refused::BadCheckStatus),
    }
}

/// What says whose container it was, in protocols 1.2 to 1.6.
fn is_origin(section: &[u8]) -> bool {
    [&b"c:"[..], b"e:", b"card:"].iter().any(|prefix| section.starts_with(prefix))
}

/// The tags of a check. A scope has no meaning for one: the first tag that asks for one, in exactly these words, is left
/// out all the same, as in the original.
fn check_tags(raw: &[u8]) -> Tags {
    let text = String::from_utf8_lossy(raw);
    let magic = text.split(',').position(|tag| matches!(tag, "veneurlocalonly" | "veneurglobalonly"));
    let ordinary = text.split(',').enumerate().filter(|(at, _)| Some(*at) != magic).map(|(_, tag)| tag);
    Tags::new(ordinary.filter(|tag| !tag.starts_with("dd.internal.")))
}
