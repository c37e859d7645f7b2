//! Samples and partials to the points and partials of one interval.
//!
//! Samples are [inserted](Table::insert) into a reader's [`Table`], which remembers spellings from interval to interval
//! and keeps the values of the one under way. At the boundary these are [taken](Table::take) out, which costs no time,
//! and [absorbed](Interval::absorb) by the instance's [`Interval`], where partials of other instances are
//! [merged](Interval::merge) too; at its end the interval is [flushed](Interval::flush) and gone. Nothing survives an
//! interval but the data it became, and names. [`Intervals`] keeps those that are not published, for tiers that wait for
//! partials.
//!
//! Laws: each (context, statistic) is published by exactly one tier; what was inserted and merged is what is flushed;
//! what is kept stays within its [`Budget`], whatever is sent.
//!
//! Not here: sockets, tasks, the wall clock. Time and randomness come in as arguments.

mod budget;
mod cells;
mod distribution;
mod fetch;
mod fingerprint;
mod heavy;
mod interval;
mod intervals;
mod known;
mod lists;
mod merged;
mod names;
mod notices;
mod publish;
mod rules;
mod split;
mod table;
mod top;

pub use budget::{Budget, Held, Limits};
pub use cells::Cells;
pub use fingerprint::Seed;
pub use interval::{Interval, Mismatch};
pub use intervals::{Filed, Intervals};
pub use merged::Joined;
pub use notices::Notices;
pub use publish::Flush;
pub use rules::{Aggregate, NameRule, Percentile, Publishing, Rules, ScopeRule};
pub use table::{BATCH, Inserted, Table};
pub use top::Top;
