//! Bytes of a datagram to samples.
//!
//! ```text
//! datagram := line *( "\n" line )
//! line     := name ":" values "|" type *( "|" section ) | event | service check
//! values   := value *( ":" value )              protocol v1.1: several values share one line
//! type     := c | g | d | h | m | s             only the first byte counts: `ms`
//! section  := "@" rate | "#" tag *( "," tag )
//!           | "c:" container                    v1.2, v1.4: who sends
//!           | "T" unix seconds                  v1.3: when it was observed; counters and gauges only
//!           | "e:" external data                v1.5: who sends
//!           | "card:" cardinality               v1.6: how much of that should become tags
//!           | anything else, skipped and counted
//! ```
//!
//! Skipping sections that are not known is what keeps a client of a newer protocol heard.
//!
//! Law: total, and O(bytes). No input panics, allocates, or loops by its numbers; each value of each line is reported
//! exactly once, as a sample or as refused.
//!
//! What a stream brings is cut into lines by [`framing`] first.
//!
//! Not here: sockets, the length limit of a datagram, sorting tags into a context (except [`context_tags`], which knows the magic
//! ones).

mod claim;
pub mod event;
mod field;
pub mod framing;
mod line;
mod number;
mod plain;
mod refused;
pub mod service_check;
mod tags;

pub use claim::{Cardinality, Claim};
pub use line::{Skipped, parse_line};
pub use refused::Refused;
pub use tags::{Explicit, context_tags};

use memchr::memchr;
use veneur_metric::Sample;

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// One value of a metric.
    Sample(Sample<'a>),
    /// An event, `_e{…`, as sent.
    Event(&'a [u8]),
    /// A service check, `_sc…`, as sent.
    ServiceCheck(&'a [u8]),
}

/// Parses the lines of a datagram, in order. Empty lines are nothing; a bad line does not affect its neighbours.
///
/// Samples borrow from the datagram. Returns how many sections were skipped.
///
/// ```
/// use veneur_dogstatsd::{Item, parse_datagram};
///
/// let mut latencies = Vec::new();
/// parse_datagram(b"api.latency:12:7|ms|@0.5|#env:prod\napi.calls", |outcome| match outcome {
///     Ok(Item::Sample(sample)) => latencies.push(sample.value),
///     Ok(_) => unreachable!("neither an event nor a check"),
///     Err(refused) => assert_eq!(refused.reason(), "missing_pipe"),
/// });
/// assert_eq!(latencies.len(), 2);
/// ```
#[inline]
pub fn parse_datagram<'a>(datagram: &'a [u8], mut on: impl FnMut(Result<Item<'a>, Refused>)) -> Skipped {
    let mut skipped = Skipped(0);
    let mut rest = datagram;
    while !rest.is_empty() {
        if let Some((sample, length)) = plain::sample(rest) {
            on(Ok(Item::Sample(sample)));
            rest = &rest[length..];
        } else {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            skipped.add(parse_line(line.strip_suffix(b"\r").unwrap_or(line), &mut on));
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    skipped
}
