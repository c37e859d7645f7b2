//! The vocabulary of the data plane: samples, contexts, scopes, partials and points.
//!
//! A client emits a [`Sample`]. Its name, tags, kind and scope form a [`Context`], the identity of one time series.
//! Over one interval the samples of a context become a [`Partial`] (mergeable, travels to the tier that owns the
//! context) or finished [`Point`]s (travel to sinks).
//!
//! Law: permuting tags changes neither a context nor the key it is routed by.
//!
//! Not here: parsing, aggregation, encoding.

mod context;
mod partial;
mod point;
mod sample;
mod stamp;
mod tags;

pub use context::{Context, Kind, Scope};
pub use partial::{Partial, PartialValue};
pub use point::{Point, PointKind};
pub use sample::{Sample, Value};
pub use stamp::Stamp;
pub use tags::Tags;
