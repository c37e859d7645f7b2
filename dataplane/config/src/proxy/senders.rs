//! A proxy towards those that send to it.

use crate::{Every, key::section};

section! {
    /// How long connections of senders last, and how many there may be. With `0s` there is no such bound.
    #[derive(Eq)]
    pub struct GrpcServer {
        /// A connection that has not come about after so long is closed, TLS included.
        fixed connection_timeout: Every = Every::seconds(10),
        /// Accepted for the original's files: connections end by their age, or when nobody answers.
        fixed max_connection_idle: Every = Every::seconds(0),
        /// A connection is closed after so long: its sender dials again, and may reach a proxy that
        /// was not there before.
        fixed max_connection_age: Every = Every::seconds(300),
        /// How long calls under way may take to end after that.
        fixed max_connection_age_grace: Every = Every::seconds(10),
        /// A connection that is silent for so long is asked for a sign of life.
        fixed ping_timeout: Every = Every::seconds(20),
        /// How long that sign may take; then the connection is closed. With `0s` nobody is asked.
        fixed keepalive_timeout: Every = Every::seconds(10),
        /// Ours: connections at the most; more are refused.
        fixed max_connections: usize = 10_000,
        /// Ours: calls under way on one connection at the most; what its sender has beyond waits there.
        fixed max_streams: u32 = 100,
    }
}

section! {
    /// TLS towards senders. Files are PEM, and read again when they change.
    #[derive(Eq)]
    pub struct ListenTls {
        /// Authorities, one of which must have signed the certificate that a sender shows. Empty: senders show none.
        fixed ca_file: String = String::new(),
        /// Certificate that senders are shown, and those that lead to its authority.
        fixed cert_file: String = String::new(),
        /// Its key.
        fixed key_file: String = String::new(),
    }
}
