//! Metrics to the body of the original's `POST /import` and back: a JSON array, its values in base64.
//!
//! This was how locals forwarded up to 14.2.0. A counter is eight bytes, and so is a gauge; a set is its registers'
//! payload; a digest is a stream of Go's gob. What is read becomes the bytes of a [`Metric`], as newer senders write them,
//! and still has to pass [`read`](crate::read()), which checks it as everything else.
//!
//! What a body cannot carry, and [`carries`] refuses: digests of global scope (they would arrive as mixed ones, whose
//! aggregates nobody then publishes), sketches of relative error, finished points, events, checks, and tags with a comma.
//! What it leaves out of the rest: stamps, the fraction of a counter, the true rank of saturated registers. Scopes are
//! not written: a counter or gauge arrives as global, a set as mixed.
//!
//! Laws: an entry is refused alone, with a reason; a body is refused before any of its entries is given out; reading is
//! linear, and holds some thousand entries besides the body.
//!
//! Not here: compression, HTTP.

mod entry;
mod gob;
mod value;

use std::borrow::Borrow;

pub use entry::BadBody;
pub use gob::GobError;

use crate::{
    metricpb::{Metric, Scope, Type, metric::Value},
    tdigest::{Centroid, MergingDigestData},
};

/// Why an entry of a body carries nothing usable. It is refused alone; its neighbours are not touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No object, or a field of another shape.
    #[error("the entry is not an object of texts")]
    Shape,
    /// A type that is none of the original's.
    #[error("the entry's type is none of counter, gauge, histogram, timer and set")]
    Type,
    /// A value that is not base64.
    #[error("the entry's value is not base64")]
    Base64,
    /// A counter or gauge that is not eight bytes long.
    #[error("the entry's value has {0} bytes: a counter or gauge has 8")]
    Length(usize),
    /// A digest that cannot be read.
    #[error("the entry's digest cannot be read")]
    Gob(#[from] GobError),
}

impl Refused {
    /// The label under which the ledger counts it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Shape | Self::Base64 | Self::Length(_) => "bad_entry",
            Self::Type => "type_mismatch",
            Self::Gob(_) => "bad_digest",
        }
    }
}

/// Reads a body, already inflated, and gives out its entries one by one, each as the bytes of a [`Metric`].
///
/// # Errors
/// The body as a whole cannot be used, and nothing was given out.
pub fn read(body: &[u8], mut each: impl FnMut(Result<&[u8], Refused>)) -> Result<(), BadBody> {
    let mut transcriber = value::Transcriber::default();
    entry::checked(body, |entry| match entry {
        Ok(entry) => each(transcriber.message(&entry)),
        Err(refused) => each(Err(refused)),
    })
}

/// The body of these metrics; those that it cannot carry are left out.
pub fn write(metrics: impl IntoIterator<Item: Borrow<Metric>>) -> Vec<u8> {
    let mut body = vec![b'['];
    for metric in metrics {
        let Some(entry) = value::entry(metric.borrow()) else { continue };
        if body.len() > 1 {
            body.push(b',');
        }
        entry.write(&mut body);
    }
    body.push(b']');
    body
}

/// Whether a body can carry this metric.
pub fn carries(metric: &Metric) -> bool {
    let (kind, scope) = (Type::try_from(metric.r#type), Scope::try_from(metric.scope));
    let fits = match (kind, scope, &metric.value) {
        (Ok(Type::Counter), Ok(Scope::Mixed | Scope::Global), Some(Value::Counter(_)))
        | (Ok(Type::Gauge), Ok(Scope::Mixed | Scope::Global), Some(Value::Gauge(_)))
        | (Ok(Type::Set), Ok(Scope::Mixed | Scope::Global), Some(Value::Set(_))) => true,
        (Ok(Type::Histogram | Type::Timer), Ok(Scope::Mixed), Some(Value::Histogram(histogram))) => {
            histogram.t_digest.is_some()
        }
        _ => false,
    };
    let finished = metric.pass_through || metric.event.is_some() || metric.check.is_some();
    fits && !finished && metric.relative.is_none() && !metric.tags.iter().any(|tag| tag.contains(','))
}

/// A digest from the bytes of Go's gob, for fuzzing: [`read`] is how it is reached.
#[doc(hidden)]
pub fn read_gob(stream: &[u8]) -> Result<MergingDigestData, GobError> {
    let mut centroids = Vec::new();
    let gob::Numbers { compression, min, max, reciprocal_sum } = gob::read(stream, &mut centroids)?;
    let centroid = |&gob::Centroid { mean, weight }: &gob::Centroid| Centroid { mean, weight, ..Centroid::default() };
    let main_centroids = centroids.iter().map(centroid).collect();
    Ok(MergingDigestData { main_centroids, compression, min, max, reciprocal_sum })
}
