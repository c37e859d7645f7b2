//! Container images packed offline: an OCI image layout in one tar archive, which `ctr images import` reads.
//!
//! The same content gives the same digests: entries carry no time stamps and no owners.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// What is packed: layers from the bottom up, and how a container of it starts.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// Full name, `localhost/NAME:TAG`; where it has no tag, that is made from the content.
    pub(crate) reference: String,
    pub(crate) layers: Vec<Vec<Entry>>,
    pub(crate) entrypoint: Vec<String>,
    /// `KEY=VALUE`.
    pub(crate) environment: Vec<String>,
    /// `UID` or `UID:GID`; empty for root.
    pub(crate) user: String,
    /// What it is, by the keys of the OCI: labels of the image and annotations of its manifest.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A file, link or whole folder of a layer; paths are relative to the image's root.
#[derive(Debug)]
pub(crate) enum Entry {
    File { path: PathBuf, source: PathBuf, mode: u32 },
    Link { path: PathBuf, target: PathBuf },
    Tree { path: PathBuf, source: PathBuf },
}

/// Content under its digest, as the layout's index and manifest refer to it.
struct Blob {
    digest: String,
    size: u64,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Digits of the digest in a tag made from it.
const TAG_DIGITS: usize = 12;

/// Writes the image as an OCI archive; returns its reference, with a tag.
pub(crate) fn pack(image: &Image, archive: &Path) -> Result<String> {
    let mut layers = Vec::new();
    for (index, entries) in image.layers.iter().enumerate() {
        layers.push(layer(entries, &archive.with_extension(format!("layer{index}")))?);
    }
    let config = Blob::of(&json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Env": image.environment, "User": image.user, "Labels": image.labels},
        // Layers are not compressed, so their digests are also those of their content.
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|it| &it.digest).collect::<Vec<_>>()},
    }));
    let manifest = Blob::of(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(|it| it.descriptor("application/vnd.oci.image.layer.v1.tar")).collect::<Vec<_>>(),
        "annotations": image.labels,
    }));
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    let reference = tagged(&image.reference, &manifest.digest);
    entry["annotations"] = json!({"io.containerd.image.name": reference});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});

    let file = File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let mut tar = Builder::new(BufWriter::new(file));
    append_bytes(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append_bytes(&mut tar, "index.json", index.to_string().as_bytes())?;
    for blob in layers.iter().chain([&config, &manifest]) {
        blob.append_to(&mut tar)?;
    }
    tar.into_inner()?.into_inner().context("cannot finish the archive")?;
    for blob in layers {
        if let Content::File(path) = blob.content {
            fs::remove_file(path)?;
        }
    }
    Ok(reference)
}

/// A changed image gets another tag, so that pods of it are replaced; an unchanged one keeps its own.
fn tagged(reference: &str, digest: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains(':') {
        return reference.to_owned();
    }
    let digits = digest.trim_start_matches("sha256:");
    format!("{reference}:{}", &digits[..TAG_DIGITS.min(digits.len())])
}

fn layer(entries: &[Entry], scratch: &Path) -> Result<Blob> {
    let file = File::create(scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let mut tar = Builder::new(Hashing { inner: BufWriter::new(file), hash: Sha256::new(), size: 0 });
    tar.follow_symlinks(false);
    tar.mode(tar::HeaderMode::Deterministic);
    for entry in entries {
        append(&mut tar, entry).with_context(|| format!("cannot pack {entry:?}"))?;
    }
    let mut written = tar.into_inner()?;
    written.flush()?;
    let Hashing { hash, size, .. } = written;
    Ok(Blob { digest: named(hash), size, content: Content::File(scratch.to_owned()) })
}

fn append(tar: &mut Builder<impl Write>, entry: &Entry) -> io::Result<()> {
    match entry {
        Entry::File { path, source, mode } => {
            let mut header = header(EntryType::Regular, fs::metadata(source)?.len(), *mode);
            tar.append_data(&mut header, path, File::open(source)?)
        }
        Entry::Link { path, target } => tar.append_link(&mut header(EntryType::Symlink, 0, 0o777), path, target),
        Entry::Tree { path, source } => {
            let mut children: Vec<_> = fs::read_dir(source)?.collect::<io::Result<_>>()?;
            children.sort_by_key(fs::DirEntry::file_name);
            for child in children {
                let name = path.join(child.file_name());
                tar.append_path_with_name(child.path(), &name)?;
                if child.file_type()?.is_dir() {
                    append(tar, &Entry::Tree { path: name, source: child.path() })?;
                }
            }
            Ok(())
        }
    }
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header
}

impl Blob {
    fn of(document: &Value) -> Self {
        let bytes = document.to_string().into_bytes();
        let digest = named(Sha256::new_with_prefix(&bytes));
        Self { digest, size: bytes.len() as u64, content: Content::Bytes(bytes) }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }

    fn append_to(&self, tar: &mut Builder<impl Write>) -> Result<()> {
        let path = format!("blobs/{}", self.digest.replace(':', "/"));
        match &self.content {
            Content::Bytes(bytes) => append_bytes(tar, &path, bytes)?,
            Content::File(file) => {
                tar.append_data(&mut header(EntryType::Regular, self.size, 0o644), path, File::open(file)?)?;
            }
        }
        Ok(())
    }
}

fn append_bytes(tar: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, bytes.len() as u64, 0o644), path, bytes)
}

/// A digest as OCI documents write it.
fn named(hash: Sha256) -> String {
    format!("sha256:{:x}", hash.finalize())
}

/// This machine's architecture in OCI's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_descriptor_names_the_blob_it_describes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program");
        fs::write(&source, b"#!/bin/true\n").unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("lib/deep")).unwrap();
        fs::write(tree.join("lib/deep/file"), vec![7; 3000]).unwrap();
        std::os::unix::fs::symlink("deep/file", tree.join("lib/link")).unwrap();
        let image = Image {
            reference: "localhost/example".into(),
            layers: vec![
                vec![Entry::Tree { path: PathBuf::new(), source: tree }],
                vec![
                    Entry::File { path: "bin/program".into(), source, mode: 0o755 },
                    Entry::Link { path: "bin/other".into(), target: "program".into() },
                ],
            ],
            ..Image::default()
        };
        let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        let reference = pack(&image, &first).unwrap();
        assert_eq!(reference, pack(&image, &second).unwrap());
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap(), "packing is deterministic");

        let mut archive = tar::Archive::new(File::open(&first).unwrap());
        let mut blobs = 0;
        let mut index = Value::Null;
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(named(Sha256::new_with_prefix(&bytes)), format!("sha256:{name}"));
                blobs += 1;
            } else if path == "index.json" {
                index = serde_json::from_slice(&bytes).unwrap();
            }
        }
        assert_eq!(blobs, 4, "two layers, configuration, manifest");
        let digest = index["manifests"][0]["digest"].as_str().unwrap();
        assert_eq!(reference, format!("localhost/example:{}", &digest["sha256:".len()..][..TAG_DIGITS]));
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], reference.as_str());
    }

    #[test]
    fn a_tag_that_was_given_is_kept() {
        assert_eq!(tagged("localhost:5000/example:1", "sha256:0123456789abcdef"), "localhost:5000/example:1");
        assert_eq!(tagged("localhost:5000/example", "sha256:0123456789abcdef"), "localhost:5000/example:0123456789ab");
    }
}
