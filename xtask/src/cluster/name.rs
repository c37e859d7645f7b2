//! Names of clusters: short DNS labels, by default derived from the checkout's path, so that two clones do not collide.

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

/// Keeps unix socket paths and cgroup names short.
const MAX_LENGTH: usize = 24;

/// A cluster's name: a DNS label of at most 24 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// Accepts lower-case letters, digits and inner hyphens.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=MAX_LENGTH).contains(&text.len())
                && text.bytes().all(label)
                && !text.starts_with('-')
                && !text.ends_with('-'),
            "cluster name {text:?} is no DNS label of 1 to {MAX_LENGTH} characters: use a-z, 0-9 and inner hyphens"
        );
        Ok(Self(text.to_owned()))
    }

    /// `prefix` and four hexadecimal digits that stand for this checkout's path.
    pub(crate) fn of_workspace(prefix: &str) -> Self {
        Self::of_path(prefix, workspace())
    }

    /// What the cluster's network namespace and cgroups are called among those of the whole machine.
    pub(crate) fn global(&self) -> String {
        format!("veneur-{}", self.0)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn of_path(prefix: &str, path: &Path) -> Self {
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        Self(format!("{prefix}-{:02x}{:02x}", digest[0], digest[1]))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The root folder of this checkout.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_get_names_of_their_own() {
        let [one, other] = ["/home/a/veneur", "/home/b/veneur"].map(|path| Name::of_path("demo", Path::new(path)));
        assert_ne!(one, other);
        assert_eq!(one, Name::of_path("demo", Path::new("/home/a/veneur")));
        assert_eq!(Name::parse(one.as_str()).unwrap(), one, "a derived name is a valid one");
        assert_eq!(one.as_str().len(), "demo-0000".len());
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for text in ["", "..", "a/b", "-a", "a-", "A", "a b", "a.b", &"a".repeat(MAX_LENGTH + 1)] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }
}
