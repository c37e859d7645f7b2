//! Cargo as a user's shell would call it.

use std::env;
use std::process::Command;

/// Cargo, without what cargo itself told this process of xtask's package.
///
/// Build scripts that ask for those variables (ring's does) would see other values than by hand, and everything above them
/// would be compiled anew whenever the two take turns.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in env::vars_os() {
        let of_a_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| of_a_package.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(name);
        }
    }
    cargo
}
