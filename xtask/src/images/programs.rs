//! The executables, each static and alone in its image.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{USER, bill, target};
use crate::cargo;
use crate::cluster::image::{Entry, Image};
use crate::cluster::progress::Progress;
use crate::cluster::{process, workspace};

/// Packages, each of which builds an executable of the same name.
const PACKAGES: [&str; 3] = ["veneur", "veneur-operator", "veneur-intake"];

/// Compiles them, as far as they have changed; returns the folder they are in.
pub(super) fn build(progress: &Progress) -> Result<PathBuf> {
    // The GNU target by name: with it, flags do not reach build scripts and macros, which cannot be static.
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut cargo = cargo::command();
    cargo.args(["build", "--release", "--locked", "--target", &triple, "--target-dir"]).arg(target());
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    // glibc's own resolver is linked in; what it cannot have, name services as shared libraries, no image holds anyway.
    let mut flags = String::from("-C target-feature=+crt-static");
    if relocates_packed() {
        // Addresses that are set at the start, as a bitmap: half a megabyte less of 15, and still anywhere in memory.
        flags.push_str(" -C link-arg=-Wl,-z,pack-relative-relocs");
    }
    cargo.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.current_dir(workspace());
    progress.step("compile veneur, veneur-operator and veneur-intake", |step| {
        let mut compiled = 0;
        process::watch(cargo, |line| {
            if line.trim_start().starts_with("Compiling") {
                compiled += 1;
                step.detail(format!("({compiled} packages compiled)"));
            }
        })
    })?;
    Ok(target().join(triple).join("release"))
}

/// Whether this machine's glibc, which is linked in, reads packed relocations: since 2.36 (`DT_RELR`).
fn relocates_packed() -> bool {
    let asked = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    asked.is_ok_and(|answer| reads_relr(&String::from_utf8_lossy(&answer.stdout)))
}

/// The same, by what `getconf` answers: `glibc 2.36`.
fn reads_relr(answer: &str) -> bool {
    let version = answer.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    let number = |text: &str| text.parse().unwrap_or(0_u32);
    version.is_some_and(|(major, minor)| (number(major), number(minor)) >= (2, 36))
}

/// The image of one executable, with the bill of what is in it: `/NAME.cdx.json`.
pub(super) fn image(folder: &Path, name: &str) -> Result<Image> {
    let program = Entry::File { path: name.into(), source: folder.join(name), mode: 0o755 };
    let bill = bill::write(name, &target())?;
    let bill = Entry::File { path: format!("{name}.cdx.json").into(), source: bill, mode: 0o644 };
    let label = |key: &str, value: &str| (format!("org.opencontainers.image.{key}"), value.to_owned());
    // No revision: the same content has to have the same digest, whatever commit it was made from.
    let labels = [
        label("title", name),
        label("version", env!("CARGO_PKG_VERSION")),
        label("licenses", env!("CARGO_PKG_LICENSE")),
        label("base.name", "scratch"),
    ];
    Ok(Image {
        reference: format!("localhost/{name}"),
        layers: vec![vec![program, bill]],
        labels: labels.into(),
        entrypoint: vec![format!("/{name}")],
        user: USER.into(),
        ..Image::default()
    })
}

#[cfg(test)]
mod tests {
    use super::reads_relr;

    #[test]
    fn packed_relocations_are_asked_for_only_of_a_glibc_that_reads_them() {
        assert!(reads_relr("glibc 2.36\n") && reads_relr("glibc 2.41") && reads_relr("glibc 3.0"));
        assert!(!reads_relr("glibc 2.35\n") && !reads_relr("musl") && !reads_relr(""));
    }
}
