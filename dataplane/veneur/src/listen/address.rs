//! Host names to addresses to bind.

use std::{
    borrow::Cow,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
};

use veneur_config::{Family, every_family};

/// The address that a `HOST:PORT` of the family names. No host means every address of this machine.
pub(super) fn resolve(family: Family, host_port: &str) -> io::Result<SocketAddr> {
    let host_port = match (family, host_port.starts_with(':')) {
        (Family::Any, _) => every_family(host_port),
        (Family::V4, true) => format!("0.0.0.0{host_port}").into(),
        (Family::V6, true) => format!("[::]{host_port}").into(),
        (Family::V4 | Family::V6, false) => Cow::Borrowed(host_port),
    };
    let found: Vec<SocketAddr> = host_port.to_socket_addrs()?.collect();
    let none = || io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{host_port} has no such address"));
    choose(family, &found).ok_or_else(none)
}

/// As Go chooses: the first of IPv4 where either will do, whichever the resolver prefers. `localhost` is `::1` first on many
/// machines, and clients send to 127.0.0.1.
fn choose(family: Family, found: &[SocketAddr]) -> Option<SocketAddr> {
    let first = |fits: fn(&SocketAddr) -> bool| found.iter().copied().find(fits);
    match family {
        Family::Any => first(SocketAddr::is_ipv4).or_else(|| first(SocketAddr::is_ipv6)),
        Family::V4 => first(SocketAddr::is_ipv4),
        Family::V6 => first(SocketAddr::is_ipv6),
    }
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
    fn a_name_of_both_families_is_its_address_of_ipv4_unless_ipv6_is_asked_for() {
        let [v6, v4] = ["[::1]:8126", "127.0.0.1:8126"].map(|address| address.parse().expect("an address"));
        assert_eq!(choose(Family::Any, &[v6, v4]), Some(v4));
        assert_eq!(choose(Family::Any, &[v6]), Some(v6));
        assert_eq!(choose(Family::V6, &[v4, v6]), Some(v6));
        assert_eq!(choose(Family::V4, &[v6]), None);
    }

    #[test]
    fn no_host_is_every_address() {
        assert_eq!(resolve(Family::V6, ":8126").expect("every address"), "[::]:8126".parse().expect("an address"));
        assert_eq!(resolve(Family::V4, ":8126").expect("every address"), "0.0.0.0:8126".parse().expect("an address"));
        for every in [":8126", "0.0.0.0:8126", "[::]:8126"] {
            assert!(resolve(Family::Any, every).expect("every address").ip().is_unspecified());
        }
    }
}
