//! How a peer is spoken to, as its address says.

/// The three ways in which instances of the original forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// C, a stream of metrics for each batch: `HOST:PORT`. Only this one carries what the original has no field for.
    Stream,
    /// B, one message for each batch: `grpc+unary://HOST:PORT`. What 14.2.0 spoke with `forward_use_grpc`.
    Unary,
    /// A, `POST /import` with a JSON body: `http://HOST:PORT`. What it spoke without.
    Http,
}

impl Dialect {
    /// The dialect of a destination, and its address without what says so; of HTTP, the whole.
    pub fn of(destination: &str) -> (Self, &str) {
        match destination.strip_prefix("grpc+unary://") {
            Some(address) => (Self::Unary, address),
            None if destination.starts_with("http://") => (Self::Http, destination),
            None => (Self::Stream, destination),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_how_its_peer_is_spoken_to() {
        assert_eq!(Dialect::of("proxy:8128"), (Dialect::Stream, "proxy:8128"));
        assert_eq!(Dialect::of("grpc+unary://proxy:8128"), (Dialect::Unary, "proxy:8128"));
        assert_eq!(Dialect::of("http://proxy:8127"), (Dialect::Http, "http://proxy:8127"));
    }
}
