//! Addresses that `DogStatsD` is read from, as URLs.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

/// A `statsd_listen_addresses` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `udp://HOST:PORT`.
    Udp(Family, String),
    /// `tcp://HOST:PORT`: lines, each ended by a line feed.
    Tcp(Family, String),
    /// `unixgram:///PATH`, `unixgram://PATH`, `unixgram:@NAME`.
    UnixDatagram(UnixName),
    /// Ours: `unix:///PATH`, `unix:@NAME`: datagrams framed by their length, as clients write them to a stream.
    UnixStream(UnixName),
    /// Ours: `fd://N`: a socket that the process inherits, counted as systemd does, from 3. It is read by what it is.
    Inherited(i32),
}

/// Which internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Either.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Name of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnixName {
    /// A file.
    File(PathBuf),
    /// A name without a file, without its `@`.
    Abstract(String),
}

/// The first descriptor that systemd hands over; 0 to 2 are the standard streams.
const FIRST_INHERITED: i32 = 3;

impl Listen {
    /// Reads an address; the error says what is wrong and what is allowed.
    pub fn parse(address: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{address:?} {why}");
        let (scheme, rest) = address.split_once(':').ok_or_else(|| wrong(SCHEMES))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let internet = |family, make: fn(Family, String) -> Self| {
            if is_host_port(rest) {
                Ok(make(family, rest.to_owned()))
            } else {
                Err(wrong("must end in HOST:PORT, as in udp://127.0.0.1:8126 or tcp://[::]:8126"))
            }
        };
        match scheme {
            "udp" => internet(Family::Any, Self::Udp),
            "udp4" => internet(Family::V4, Self::Udp),
            "udp6" => internet(Family::V6, Self::Udp),
            "tcp" => internet(Family::Any, Self::Tcp),
            "tcp4" => internet(Family::V4, Self::Tcp),
            "tcp6" => internet(Family::V6, Self::Tcp),
            "unixgram" => unix(rest).map(Self::UnixDatagram).ok_or_else(|| wrong(UNIX)),
            "unix" => unix(rest).map(Self::UnixStream).ok_or_else(|| wrong(UNIX)),
            "fd" => match rest.parse() {
                Ok(descriptor) if descriptor >= FIRST_INHERITED => Ok(Self::Inherited(descriptor)),
                _ => Err(wrong("must name an inherited socket from 3 on, as fd://3")),
            },
            _ => Err(wrong(SCHEMES)),
        }
    }
}

const SCHEMES: &str = "must begin with udp://, tcp://, unixgram://, unix:// or fd://, as in udp://127.0.0.1:8126";
const UNIX: &str = "must name a socket of at most 107 bytes: unixgram:///run/veneur.sock, or unixgram:@veneur";

/// Longest name that the kernel takes.
const LONGEST_UNIX_NAME: usize = 107;

fn unix(rest: &str) -> Option<UnixName> {
    if rest.len() > LONGEST_UNIX_NAME || rest.contains('\0') {
        return None;
    }
    match rest.strip_prefix('@') {
        Some("") => None,
        Some(name) => Some(UnixName::Abstract(name.to_owned())),
        None if rest.is_empty() => None,
        None => Some(UnixName::File(rest.into())),
    }
}

/// Whether a text is `HOST:PORT`, where the host may be empty and an IPv6 address stands in brackets.
pub(crate) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_fits = bracketed.map_or_else(
        || !host.contains([':', '/', '[', ']', ' ', '@']),
        |address| address.split('%').next().is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
    );
    host_fits && port.parse::<u16>().is_ok()
}

/// An address to bind, as the original's processes bind it: every address of this machine, written as no host, `0.0.0.0` or
/// `[::]`, means those of IPv4 and IPv6, on one socket.
pub fn every_family(address: &str) -> Cow<'_, str> {
    every(address, Path::new("/proc/net/if_inet6").exists())
}

fn every(address: &str, ipv6: bool) -> Cow<'_, str> {
    match address.rsplit_once(':') {
        Some(("" | "0.0.0.0" | "[::]", port)) => format!("{}:{port}", if ipv6 { "[::]" } else { "0.0.0.0" }).into(),
        _ => address.into(),
    }
}

/// What is wrong with an `http_address`; an empty one means that there is no admin port.
pub(crate) fn bind_problem(address: &str) -> Option<String> {
    (!address.is_empty() && !is_bind(address)).then(|| {
        format!(
            "{address:?} must look like 0.0.0.0:8127, or name a Unix socket as /run/veneur.sock, or an inherited one as fd@3"
        )
    })
}

/// The forms in which the original's `http_address` is bound.
fn is_bind(address: &str) -> bool {
    match address.split_once('@') {
        Some(("fd", descriptor)) => descriptor.parse::<u32>().is_ok(),
        Some(_) => false,
        None if address.starts_with(['/', '.']) => {
            matches!(Listen::parse(&format!("unix://{address}")), Ok(Listen::UnixStream(UnixName::File(_))))
        }
        None => is_host_port(address),
    }
}

#[cfg(test)]
mod tests {
    use super::every;

    #[test]
    fn every_address_is_of_both_families_where_the_machine_has_both() {
        for address in [":8126", "0.0.0.0:8126", "[::]:8126"] {
            assert_eq!((&*every(address, true), &*every(address, false)), ("[::]:8126", "0.0.0.0:8126"));
        }
        for one in ["127.0.0.1:8126", "[::1]:8126", "localhost:8126", "/run/veneur.sock"] {
            assert_eq!(every(one, true), one);
        }
    }
}
