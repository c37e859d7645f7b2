//! Which member owns a key: rendezvous hashing or the original's ring, and when a membership change takes effect.
//!
//! A [`Key`] is the hash of what must stay together: a context, or the origin of finished points; [`Hashing`] says how it
//! is made. A [`Ring`] names its owner among the members. A [`Timeline`] says which ring governs which interval, so that all proxies change over at
//! the same boundary.
//!
//! Laws: a membership change moves only the keys it must; rings with the same members agree on every owner and on
//! [`Ring::hash`], whatever the order they were listed in; no key has two owners for one interval.
//!
//! Not here: finding members, knowing which of them answer.

mod hashing;
mod key;
mod rendezvous;
mod ring;
mod timeline;
mod veneur;

pub use hashing::{Hashing, TagMatch};
pub use key::Key;
pub use ring::{Algorithm, Member, Ring};
pub use timeline::{Change, SETTLE_MS, Timeline};
