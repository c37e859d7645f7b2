//! One documented struct per role of the data plane, validated as a whole.
//!
//! [`Server`] configures a local or a global (which of the two follows from `forward_address`), [`Proxy`] a proxy.
//! Keys are the original's newest; those of ours say so. The operator serialises these very types, so the two halves of
//! the project cannot disagree about a key.
//!
//! Laws: the printed default parses back to the default; every error of a text is reported at once; no text panics.
//!
//! Not here: reading files, the environment, the clock.

mod every;
mod key;
mod listen;
mod nearest;
mod parse;
mod proxy;
mod scopes;
mod secret;
mod server;
mod sink;

pub use every::Every;
pub use key::{Key, Shape};
pub use listen::{Family, Listen, UnixName};
pub use parse::{ConfigError, Invalid, Note, Parsed, Unknown, parse, to_yaml};
pub use proxy::{Endpoints, Proxy, ProxyHttp};
pub use scopes::{KindName, NameMatch, ScopeName, ScopeRule};
pub use secret::Secret;
pub use server::{Aggregate, Features, Http, MetricsScopes, SelfScope, Server};
pub use sink::{Datadog, Sink, SinkKind, TagExclusion};

/// What [`parse()`] needs of a role's struct.
#[expect(private_bounds, reason = "who reads a section is this room's own matter")]
pub trait Role: key::Section + Validate + serde::Serialize + Default {}

impl Role for Server {}
impl Role for Proxy {}

/// What is wrong with a struct's values.
pub trait Validate {
    /// Everything that is wrong with the values, or nothing.
    fn problems(&self) -> Vec<Invalid>;
}
