//! The project's images: three static executables, and the sample application with its Python.
//!
//! Each is packed offline into one OCI archive below `target/image`, under a tag made from its content: a changed image
//! rolls its pods, an unchanged one changes nothing. An image is packed anew only when what goes into it has changed.

mod bill;
mod programs;
mod sample;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cluster::image::{self, Entry, Image};
use crate::cluster::progress::Progress;
use crate::cluster::{Cluster, workspace};

/// The user of every image; numeric, so that a kubelet can tell that it is not root.
const USER: &str = "65532:65532";

/// All images, packed.
#[derive(Debug)]
pub(crate) struct Images {
    /// The data plane.
    pub(crate) veneur: Packed,
    pub(crate) operator: Packed,
    /// The stand-in for Datadog's intake, for tests.
    pub(crate) intake: Packed,
    /// The sample application.
    pub(crate) sample: Packed,
}

/// An image in an archive.
#[derive(Debug)]
pub(crate) struct Packed {
    /// `localhost/NAME:TAG`.
    pub(crate) reference: String,
    archive: PathBuf,
}

/// Compiles the executables, which needs neither root nor a cluster, and says in which folder they are. [`build`] does it
/// too, and finds it done.
pub(crate) fn compile(progress: &Progress) -> Result<PathBuf> {
    programs::build(progress)
}

/// Builds what has changed. Needs root and the cluster's packages where the sample application's root folder is not in
/// the cache yet.
pub(crate) fn build(progress: &Progress) -> Result<Images> {
    let programs = programs::build(progress)?;
    let root = sample::root(progress)?;
    progress.step("pack the images", |_| {
        let folder = target().join("packed");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // Two commands in one checkout (a demo and a test) must not write one archive.
        let lock = File::create(folder.join("lock")).context("cannot open the lock file of the images")?;
        lock.lock().context("cannot lock the images")?;
        let program = |name: &str| pack(&folder, &programs::image(&programs, name)?);
        Ok(Images {
            veneur: program("veneur")?,
            operator: program("veneur-operator")?,
            intake: program("veneur-intake")?,
            sample: pack(&folder, &sample::image(root))?,
        })
    })
}

impl Images {
    /// Loads into the node what it does not have yet.
    pub(crate) fn load(&self, cluster: &Cluster, progress: &Progress) -> Result<()> {
        let present = cluster.images()?;
        let all = [&self.veneur, &self.operator, &self.intake, &self.sample];
        let missing: Vec<_> = all.into_iter().filter(|image| !present.contains(&image.reference)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        progress.step(&format!("load {} images into the node", missing.len()), |step| {
            for image in missing {
                step.detail(image.reference.clone());
                cluster.import_image(&image.archive)?;
            }
            Ok(())
        })
    }
}

impl Packed {
    /// Name and tag, as charts take them.
    pub(crate) fn name_and_tag(&self) -> (&str, &str) {
        self.reference.rsplit_once(':').expect("packing gives every image a tag")
    }
}

/// Where images are built. Apart from the developer's own builds: other flags would compile everything anew each time.
fn target() -> PathBuf {
    workspace().join("target/image")
}

/// Packs an image, unless that has been done with the same inputs.
fn pack(folder: &Path, image: &Image) -> Result<Packed> {
    let name = image.reference.rsplit('/').next().expect("splitting gives at least one part");
    let record = folder.join(format!("{name}.packed"));
    let inputs = fingerprint(image)?;
    let archive = |reference: &str| folder.join(reference.replace(['/', ':'], "_")).with_extension("tar");
    if let Ok(text) = fs::read_to_string(&record)
        && let Some((recorded, reference)) = text.trim().split_once(' ')
        && recorded == inputs
        && archive(reference).exists()
    {
        return Ok(Packed { reference: reference.to_owned(), archive: archive(reference) });
    }
    // The one before is of no more use, whatever its tag.
    for old in fs::read_dir(folder)? {
        let path = old?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let prefix = format!("{}_", image.reference.replace('/', "_"));
        if stem.starts_with(&prefix) && path.extension().is_some_and(|extension| extension == "tar") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    let unfinished = folder.join(format!("{name}.unfinished"));
    let reference = image::pack(image, &unfinished).with_context(|| format!("cannot pack image {name}"))?;
    fs::rename(&unfinished, archive(&reference)).with_context(|| format!("cannot keep the archive of {name}"))?;
    fs::write(&record, format!("{inputs} {reference}\n")).with_context(|| format!("cannot record image {name}"))?;
    Ok(Packed { archive: archive(&reference), reference })
}

/// Stands for an image's settings and the state of the files it is made of: size and time of change, not content,
/// which would take as long to read as to pack. Folders ([`Entry::Tree`]) are of the cache, and never change.
fn fingerprint(image: &Image) -> Result<String> {
    let mut text = format!("{image:?}");
    for entry in image.layers.iter().flatten() {
        if let Entry::File { source, .. } = entry {
            let found = fs::metadata(source).with_context(|| format!("cannot find {}", source.display()))?;
            write!(text, " {} {}.{:09}", found.size(), found.mtime(), found.mtime_nsec())?;
        }
    }
    Ok(format!("{:x}", Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(source: &Path) -> Image {
        let program = Entry::File { path: "program".into(), source: source.to_owned(), mode: 0o755 };
        Image { reference: "localhost/example".into(), layers: vec![vec![program]], ..Image::default() }
    }

    #[test]
    fn a_changed_file_gives_another_tag_and_leaves_no_old_archive() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program");
        let packed = folder.path().join("packed");
        fs::create_dir(&packed).unwrap();
        fs::write(packed.join("localhost_example-other_0123456789ab.tar"), "another image").unwrap();
        fs::write(&source, "one").unwrap();
        let one = pack(&packed, &image(&source)).unwrap();
        assert_eq!(one.name_and_tag().0, "localhost/example");
        let written = fs::metadata(&one.archive).unwrap().modified().unwrap();
        assert_eq!(pack(&packed, &image(&source)).unwrap().reference, one.reference);
        assert_eq!(fs::metadata(&one.archive).unwrap().modified().unwrap(), written, "packed once");

        fs::write(&source, "another").unwrap();
        let other = pack(&packed, &image(&source)).unwrap();
        assert_ne!(other.reference, one.reference);
        let archives = fs::read_dir(&packed).unwrap().map(|file| file.unwrap().path());
        assert_eq!(archives.filter(|path| path.extension().is_some_and(|it| it == "tar")).count(), 2);
    }
}
