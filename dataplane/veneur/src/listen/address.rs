//! Listen addresses: `udp://host:port`, `tcp://host:port`, `unix://path`, `unixgram://path`, `fd://N`.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

/// Where a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Datagrams of a host and port.
    Udp,
    /// Lines over TCP.
    Tcp,
    /// Packets over a Unix stream.
    Unix(Name),
    /// Datagrams of a Unix socket.
    Unixgram(Name),
    /// A socket that was open when the process started, by number (from 3 on) or name.
    Inherited(String),
}

/// The name of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A file.
    Path(PathBuf),
    /// A name in the kernel alone, after an `@`.
    Abstract(String),
}

/// Why a listen address cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAddress {
    /// Not one of the schemes.
    #[error("{0:?} must begin with udp://, tcp://, unixgram://, unix:// or fd://")]
    Scheme(String),
    /// Nothing after the scheme.
    #[error("{0:?} names no socket: write a path, @name, or a number after the scheme")]
    Empty(String),
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, BadAddress> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| BadAddress::Scheme(url.to_owned()))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        if rest.is_empty() || rest == "@" {
            return Err(BadAddress::Empty(url.to_owned()));
        }
        let name = || match rest.strip_prefix('@') {
            Some(name) => Name::Abstract(name.to_owned()),
            None => Name::Path(PathBuf::from(rest)),
        };
        match scheme {
            "udp" | "udp4" | "udp6" => Ok(Self::Udp),
            "tcp" | "tcp4" | "tcp6" => Ok(Self::Tcp),
            "unix" => Ok(Self::Unix(name())),
            "unixgram" => Ok(Self::Unixgram(name())),
            "fd" => Ok(Self::Inherited(rest.to_owned())),
            _ => Err(BadAddress::Scheme(url.to_owned())),
        }
    }
}

/// The first socket address that a `scheme://host:port` means; a scheme ending in 4 or 6 decides the family.
pub(super) fn resolve(url: &str) -> io::Result<SocketAddr> {
    let (scheme, address) = url.split_once("://").unwrap_or(("", url));
    address
        .to_socket_addrs()?
        .find(|found| match scheme.as_bytes().last() {
            Some(b'4') => found.is_ipv4(),
            Some(b'6') => found.is_ipv6(),
            _ => true,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{address} has no such address")))
}

/// Whether this machine has no IPv6 (or IPv4), or not that loopback address of it.
pub(super) fn no_such_family(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97) // EAFNOSUPPORT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_scheme_are_read() {
        let path = |path: &str| Name::Path(path.into());
        let hidden = Name::Abstract("veneur".into());
        for (url, expected) in [
            ("udp6://[::1]:8126", Address::Udp),
            ("tcp://127.0.0.1:8126", Address::Tcp),
            ("unix:///run/veneur.sock", Address::Unix(path("/run/veneur.sock"))),
            ("unix:@veneur", Address::Unix(hidden.clone())),
            ("unixgram:///run/veneur.sock", Address::Unixgram(path("/run/veneur.sock"))),
            ("unixgram://@veneur", Address::Unixgram(hidden)),
            ("fd://3", Address::Inherited("3".into())),
        ] {
            assert_eq!(Address::parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn other_addresses_are_told_what_is_allowed() {
        for (url, expected) in [
            ("http://127.0.0.1:80", "must begin with udp://"),
            ("127.0.0.1", "must begin with udp://"),
            ("unix:@", "names no socket"),
            ("fd://", "names no socket"),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_scheme_decides_the_family() {
        assert!(resolve("tcp6://[::1]:0").expect("an address").is_ipv6());
        assert_eq!(
            resolve("tcp6://127.0.0.1:0").expect_err("the wrong family").kind(),
            io::ErrorKind::AddrNotAvailable
        );
    }
}
