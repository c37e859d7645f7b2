//! What the fields of events and service checks have in common.

use crate::Refused;

/// Takes the value of a field that may stand once.
pub(crate) fn once<'a>(slot: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Refused> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refused::DuplicateSection),
    }
}

/// Unix seconds, if there are any; `bad` if they are not a number.
pub(crate) fn seconds(value: Option<&[u8]>, bad: Refused) -> Result<Option<i64>, Refused> {
    let parse = |value| std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(bad);
    value.map(parse).transpose()
}

/// Text; bytes that are not UTF-8 are replaced.
pub(crate) fn text(value: &[u8]) -> Box<str> {
    String::from_utf8_lossy(value).into()
}

/// Text that says something: an empty one is as good as none.
pub(crate) fn some_text(value: Option<&[u8]>) -> Option<Box<str>> {
    value.filter(|value| !value.is_empty()).map(text)
}

/// Clients write a line end as `\n`, because a real one ends the line of the protocol.
pub(crate) fn with_line_ends(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace("\\n", "\n")
}
