//! Samples and partials to the points and partials of one interval.
//!
//! A [`Table`] holds one interval. Samples are [inserted](Table::insert), partials of other instances are
//! [merged](Table::merge), and at the boundary the whole table is [flushed](Table::flush) and gone: nothing survives an
//! interval but the data it became. [`Intervals`] keeps a table per unpublished interval, for tiers that wait for
//! partials.
//!
//! Laws: each (context, statistic) is published by exactly one tier; what was inserted and merged is what is flushed.
//!
//! Not here: sockets, tasks, the wall clock. Time comes in as an argument.

mod intervals;
mod notices;
mod rules;
mod split;
mod table;
mod value;

pub use intervals::{Filed, Intervals};
pub use notices::Notices;
pub use rules::{Aggregate, Percentile, Publishing, Rules, ScopeRule};
pub use table::{Flush, Mismatch, Table};
