//! Bounded loads of DogStatsD and of partials, and the least that can be done with them.
//!
//! Everything stays on loopback, and everything ends by itself. What is sent is drawn from a seed and built before the
//! clock starts, so that sending costs system calls and nothing else; the same arguments send the same bytes.

pub mod admission;
pub mod bodies;
pub mod forward;
pub mod importer;
pub mod mix;
pub mod null;
pub mod packets;
pub mod partials;
pub mod send;
