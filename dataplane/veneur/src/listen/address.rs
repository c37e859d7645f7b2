//! Host names to addresses to bind.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
};

use veneur_config::Family;

/// The first address of a `HOST:PORT` that is of the family. No host means every address of this machine.
pub(super) fn resolve(family: Family, host_port: &str) -> io::Result<SocketAddr> {
    if let Some(port) = host_port.strip_prefix(':') {
        let port = port.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("no port: {port}")))?;
        return Ok(match family {
            Family::Any | Family::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
        });
    }
    host_port
        .to_socket_addrs()?
        .find(|found| match family {
            Family::Any => true,
            Family::V4 => found.is_ipv4(),
            Family::V6 => found.is_ipv6(),
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{host_port} has no such address")))
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
    fn a_family_is_kept_to() {
        assert!(resolve(Family::V6, "[::1]:0").expect("an address").is_ipv6());
        let wrong = resolve(Family::V6, "127.0.0.1:0").expect_err("the wrong family");
        assert!(no_such_family(&wrong), "{wrong}");
    }

    #[test]
    fn no_host_is_every_address() {
        assert_eq!(resolve(Family::V6, ":8126").expect("every address"), "[::]:8126".parse().expect("an address"));
        assert_eq!(resolve(Family::Any, ":8126").expect("every address"), "0.0.0.0:8126".parse().expect("an address"));
    }
}
