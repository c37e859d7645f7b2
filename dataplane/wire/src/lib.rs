//! Partials, points, events and checks to bytes and back: the original's protobuf and our extension fields.
//!
//! One message, [`metricpb::Metric`], carries everything. Fields below 100 are the original's, so that its instances
//! read what they can; from 100 on they are ours and an old peer skips them. `proto/` is the truth, `gen/` is generated
//! from it by `cargo xtask gen`.
//!
//! Laws: decode(encode(x)) = x, but for what the original's fields round: a digest's sum is that of its centroids.
//! Decoding is total: whatever a peer sends is either a valid value or refused with a reason, and limits are checked
//! before anything is allocated by them.
//!
//! Not here: connections, retries, routing.

mod decode;
mod encode;
pub mod legacy;
pub mod list;
mod outline;
mod relative;
#[expect(missing_docs, clippy::pedantic, reason = "generated from proto/ by cargo xtask gen")]
#[path = "gen"]
#[rustfmt::skip]
mod generated {
    #[path = "forwardrpc.rs"]
    pub mod forwardrpc;
    #[path = "metricpb.rs"]
    pub mod metricpb;
    #[path = "tdigest.rs"]
    pub mod tdigest;
}

pub use decode::{Item, Refused, decode, read};
pub use encode::{encode_check, encode_event, encode_partial, encode_point};
pub use generated::{forwardrpc, metricpb, tdigest};
pub use outline::Outline;
