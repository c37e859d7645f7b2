//! A proxy towards its members.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Every, Invalid,
    key::{Field, Report, Shape, leaf, section},
};

section! {
    /// A Kubernetes Service whose EndpointSlices list the members.
    #[derive(Eq)]
    pub struct Endpoints {
        /// Namespace of the Service.
        fixed namespace: String = String::new(),
        /// Name of the Service.
        fixed service: String = String::new(),
        /// Name of its port.
        fixed port: String = String::new(),
    }
}

section! {
    /// A name whose addresses are the members.
    #[derive(Eq)]
    pub struct Dns {
        /// The name and the members' port, `HOST:PORT`.
        fixed address: String = String::new(),
        /// How often it is resolved.
        fixed refresh: Every = Every::seconds(5),
    }
}

section! {
    /// How members share the contexts.
    #[derive(Eq)]
    pub struct RingKeys {
        /// `Rendezvous`: evenly, by the members' names. `Veneur`: as the original's proxies do, by the members' addresses,
        /// to share a fleet with them.
        fixed hash: RingHash = RingHash::Rendezvous,
    }
}

/// Algorithm of a ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RingHash {
    /// Rendezvous hashing.
    #[default]
    #[serde(alias = "rendezvous")]
    Rendezvous,
    /// The original's ring.
    #[serde(alias = "veneur")]
    Veneur,
}

impl Field for RingHash {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "one of Rendezvous, Veneur")
    }
}

section! {
    /// A test on a whole tag, `key:value`.
    #[derive(Eq)]
    pub struct IgnoreTag {
        /// `exact`: the tag is the value. `prefix`: it starts with it. `regex`: the value matches anywhere in it.
        fixed kind: TagKind = TagKind::Exact,
        /// What the tag is compared with.
        fixed value: String = String::new(),
        /// Accepted for the original's files, whose proxies do not heed it either.
        fixed unset: bool = false,
    }
}

/// How a tag is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum TagKind {
    #[default]
    Exact,
    Prefix,
    Regex,
}

impl Field for TagKind {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "one of exact, prefix, regex")
    }
}

section! {
    /// TLS towards members. Files are PEM, and read again when they change.
    #[derive(Eq)]
    pub struct ForwardTls {
        /// Authorities, one of which must have signed a member's certificate, as text in PEM. In place of `ca_file`, where
        /// there are no files: in a sidecar.
        fixed ca: String = String::new(),
        /// Authorities, one of which must have signed a member's certificate. Empty: members are spoken to in plain text.
        fixed ca_file: String = String::new(),
        /// Certificate that members are shown. Empty: none.
        fixed cert_file: String = String::new(),
        /// Its key.
        fixed key_file: String = String::new(),
        /// The name that a member's certificate must bear. Empty: the host of its address.
        fixed server_name: String = String::new(),
    }
}

impl ForwardTls {
    /// Whether members are spoken to over TLS.
    pub fn is_on(&self) -> bool {
        !self.ca_file.is_empty() || !self.ca.is_empty()
    }

    /// What is wrong with it: who shows a certificate, or expects a name, does not mean plain text.
    pub(crate) fn check(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: &str, problem: &str| problems.push(Invalid::new(format!("forward_tls.{key}"), problem));
        let parts = [("cert_file", &self.cert_file), ("key_file", &self.key_file), ("server_name", &self.server_name)];
        for (key, _) in parts.into_iter().filter(|(_, text)| !self.is_on() && !text.is_empty()) {
            wrong(key, "needs ca_file: without authorities what is forwarded leaves in plain text");
        }
        match (self.cert_file.is_empty(), self.key_file.is_empty()) {
            (false, true) => wrong("cert_file", "needs key_file, its key"),
            (true, false) => wrong("key_file", "needs cert_file, its certificate"),
            _ => {}
        }
    }
}
