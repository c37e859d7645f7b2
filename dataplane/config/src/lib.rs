//! One documented struct per role of the data plane, validated as a whole.
//!
//! [`Server`] configures a local or a global (which of the two follows from `forward_address`), [`Proxy`] a proxy.
//! Keys are the original's newest; those of ours say so. The operator serialises these very types, so the two halves of
//! the project cannot disagree about a key.
//!
//! Laws: the printed default parses back to the default; every error of a text is reported at once.
//!
//! Not here: reading files, the environment, the clock.

mod every;
mod parse;
mod proxy;
mod scopes;
mod server;
mod sink;

pub use every::Every;
pub use parse::{ConfigError, Invalid, Parsed, parse, to_yaml};
pub use proxy::{Endpoints, Proxy};
pub use scopes::{KindName, NameMatch, ScopeName, ScopeRule};
pub use server::{Aggregate, Server};
pub use sink::{Datadog, Sink, SinkKind};

/// What [`parse()`] needs of a role's struct.
pub trait Validate {
    /// Everything that is wrong with the values, or nothing.
    fn problems(&self) -> Vec<Invalid>;
}
