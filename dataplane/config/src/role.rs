//! The two roles, and what each makes of the original's keys.

use crate::{
    Proxy, Server, Validate, elsewhere,
    elsewhere::Verdict,
    key::Section,
    older::{self, Older},
};

/// A role's struct.
#[expect(private_bounds, reason = "how a section is read is this room's own matter")]
pub trait Role: Section + Validate + serde::Serialize + Default {
    /// What names of its variables begin with.
    const PREFIX: &'static str;

    /// Parts of a name that Go writes in capitals, for `/config/json`.
    const CAPITALS: &'static [&'static str];

    #[doc(hidden)]
    const OLDER: &'static [(&'static str, Older)];

    #[doc(hidden)]
    const ELSEWHERE: &'static [(&'static str, Verdict)];
}

impl Role for Server {
    const PREFIX: &'static str = "VENEUR_";
    const CAPITALS: &'static [&'static str] = &["api", "http", "tls"];
    const OLDER: &'static [(&'static str, Older)] = older::SERVER;
    const ELSEWHERE: &'static [(&'static str, Verdict)] = elsewhere::SERVER;
}

impl Role for Proxy {
    const PREFIX: &'static str = "VENEUR_PROXY_";
    const CAPITALS: &'static [&'static str] = &[];
    const OLDER: &'static [(&'static str, Older)] = older::PROXY;
    const ELSEWHERE: &'static [(&'static str, Verdict)] = elsewhere::PROXY;
}
