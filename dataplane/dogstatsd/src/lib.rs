//! Bytes of a datagram to samples.
//!
//! ```text
//! datagram := line *( "\n" line )
//! line     := name ":" values "|" type *( "|" section )
//! values   := value *( ":" value )              protocol v1.1: several values share one line
//! type     := c | g | d | h | m | s             only the first byte counts: `ms`
//! section  := "@" rate | "#" tag *( "," tag ) | anything else, skipped and counted
//! ```
//!
//! Skipping sections that are not known is what keeps a client of a newer protocol heard: `c:` (v1.2), `T` (v1.3),
//! `e:` (v1.5) and `card:` (v1.6) say more about a metric, never that it must not count.
//!
//! Law: total, and O(bytes). No input panics, allocates, or loops by its numbers; each value of each line is reported
//! exactly once, as a sample or as refused.
//!
//! Not here: sockets, the length limit, sorting tags into a context (except [`context_tags`], which knows the magic
//! ones).

mod line;
mod refused;
mod tags;

pub use line::{Skipped, parse_line};
pub use refused::Refused;
pub use tags::context_tags;

use memchr::memchr_iter;
use veneur_metric::Sample;

/// Parses the lines of a datagram, in order. Empty lines are nothing; a bad line does not affect its neighbours.
///
/// Samples borrow from the datagram. Returns how many sections were skipped.
///
/// ```
/// let mut latencies = Vec::new();
/// veneur_dogstatsd::parse_datagram(b"api.latency:12:7|ms|@0.5|#env:prod\napi.calls", |outcome| match outcome {
///     Ok(sample) => latencies.push(sample.value),
///     Err(refused) => assert_eq!(refused.reason(), "missing_pipe"),
/// });
/// assert_eq!(latencies.len(), 2);
/// ```
pub fn parse_datagram<'a>(datagram: &'a [u8], mut on: impl FnMut(Result<Sample<'a>, Refused>)) -> Skipped {
    let mut start = 0;
    let ends = memchr_iter(b'\n', datagram).chain([datagram.len()]);
    let lines = ends.map(|end| &datagram[std::mem::replace(&mut start, end + 1)..end]);
    lines.map(|line| parse_line(line.strip_suffix(b"\r").unwrap_or(line), &mut on)).sum()
}
