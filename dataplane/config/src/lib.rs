//! One documented struct per role of the data plane, validated as a whole.
//!
//! [`Server`] configures a local or a global (which of the two follows from `forward_address`), [`Proxy`] a proxy.
//! Keys are the original's newest; those of ours say so. The operator serialises these very types, so the two halves of
//! the project cannot disagree about a key.
//!
//! Laws: the printed default parses back to the default; every error of a text is reported at once; no text panics.
//!
//! Not here: reading files, the environment, the clock.

mod elsewhere;
mod every;
mod key;
mod listen;
mod live;
mod local_settings;
mod nearest;
mod older;
mod parse;
mod proxy;
mod role;
mod routes;
mod scopes;
mod secret;
mod server;
mod show;
mod sink;
mod variables;

pub use every::Every;
pub use key::{Key, Shape};
pub use listen::{Family, Listen, UnixName, every_family};
pub use live::{Reload, changes, followed};
pub use local_settings::LocalSettings;
pub use parse::{ConfigError, Invalid, Note, Parsed, Unknown, Weight, parse, read, read_strictly, to_yaml};
pub use proxy::{
    Dns, Endpoints, ForwardTls, GrpcServer, IgnoreTag, ListenTls, Proxy, ProxyHttp, RingHash, RingKeys, Statsd, TagKind,
};
pub use role::Role;
pub use routes::SinkRoute;
pub use scopes::{KindName, NameMatch, ScopeName, ScopeRule};
pub use secret::Secret;
pub use server::{
    Aggregate, Features, ForwardProtocol, Http, MetricsScopes, Node, SelfScope, Server, TagCardinality, tags_of_one,
};
pub use show::{Secrets, documented, json, redacted_json, redacted_yaml, yaml};
pub use sink::{Datadog, Sink, SinkKind, TagExclusion};
pub use variables::{Variable, unknown_variables, variable_names};

/// What is wrong with a struct's values.
pub trait Validate {
    /// Everything that is wrong with the values, or nothing.
    fn problems(&self) -> Vec<Invalid>;

    /// Values that are valid and without effect here. Nobody should have to find that out.
    fn remarks(&self) -> Vec<Note> {
        Vec::new()
    }
}
