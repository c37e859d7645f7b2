//! The vocabulary of the data plane: samples, contexts, scopes, partials, points, events and checks.
//!
//! A client emits a [`Sample`]. Its name, tags, kind and scope form a [`Context`], the identity of one time series.
//! Over one interval the samples of a context become a [`Partial`] (mergeable, travels to the tier that owns the
//! context) or finished [`Point`]s (travel to sinks). An [`Event`] or a service [`Check`] travels to sinks as it is.
//! A [`Condition`] is what goes wrong with any of them for a while.
//!
//! Law: permuting tags changes neither a context nor the key it is routed by.
//!
//! Not here: parsing, aggregation, encoding.

mod check;
mod condition;
mod context;
mod durations;
mod event;
mod partial;
mod point;
mod sample;
mod stamp;
mod tags;

pub use check::{Check, Status};
pub use condition::{Condition, Turn};
pub use context::{Context, Kind, Scope};
pub use durations::Durations;
pub use event::{AlertType, Event, Priority};
pub use partial::{Partial, PartialValue};
pub use point::{Point, PointKind};
pub use sample::{Sample, Value};
pub use stamp::Stamp;
pub use tags::{Tags, tag_key};
