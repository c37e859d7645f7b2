//! One observation, borrowed from the bytes it came in.

use crate::{Kind, Scope};

/// One value that a client observed. Borrows from the datagram: nothing is allocated until its context is new.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Name, as sent: any bytes but `:`, `|` and newline, never empty.
    pub name: &'a [u8],
    /// What is measured.
    pub kind: Kind,
    /// The observation.
    pub value: Value<'a>,
    /// Sample rate in (0, 1]: the observation stands for `1 / rate` of its like.
    pub rate: f64,
    /// The tag section as sent, without `#`: tags separated by `,`, unsorted, magic tags included.
    pub tags: &'a [u8],
    /// Scope that a magic tag asked for; `Mixed` without one.
    pub scope: Scope,
}

/// What was observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A finite number: counters, gauges, histograms, timers.
    Number(f64),
    /// A member of a set, as sent.
    Member(&'a [u8]),
}
