//! Containers by the inode of their cgroup: what a client sees of itself where it is not told its container's id.
//!
//! Only cgroups whose name holds a container's id (64 hexadecimal digits, as all runtimes write it) are found, and only
//! if the node's own cgroup file system is mounted here: a container sees no more than its own part of it.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::listen::origin::container;

/// Folders looked at in one walk, and their depth below the root.
const MOST: usize = 65_536;
const DEEPEST: usize = 12;

/// Where the node's cgroups are.
pub(crate) fn root(configured: &str) -> PathBuf {
    const MOUNTED: &str = "/host/sys/fs/cgroup";
    match configured {
        "" if Path::new(MOUNTED).exists() => MOUNTED.into(),
        "" => "/sys/fs/cgroup".into(),
        configured => configured.into(),
    }
}

/// Ids of containers by inode. What cannot be read is not there.
pub(crate) fn containers(root: &Path) -> HashMap<u64, Box<str>> {
    // In version 1 clients look at the memory controller's hierarchy.
    let unified = root.join("cgroup.controllers").exists();
    let top = if unified { root.to_owned() } else { root.join("memory") };
    let (mut found, mut open, mut seen) = (HashMap::new(), vec![(top, 0)], 0);
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            seen += 1;
            if seen > MOST {
                return found;
            }
            if let Some(id) = entry.file_name().to_str().and_then(container)
                && let Ok(metadata) = entry.metadata()
            {
                found.insert(metadata.ino(), id.into());
            }
            if depth < DEEPEST {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_found_in_both_versions() {
        let id = "3f4a".repeat(16);
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let deep = root.join("memory/kubepods/burstable/pod7d1c").join(&id);
        std::fs::create_dir_all(&deep).expect("made");
        let inode = std::fs::metadata(&deep).expect("there").ino();
        assert_eq!(containers(root), HashMap::from([(inode, id.as_str().into())]));

        std::fs::write(root.join("cgroup.controllers"), "memory").expect("written");
        let scope = root.join(format!("kubepods.slice/cri-containerd-{id}.scope"));
        std::fs::create_dir_all(&scope).expect("made");
        let found = containers(root);
        assert_eq!(found.get(&std::fs::metadata(&scope).expect("there").ino()).map(|id| &**id), Some(id.as_str()));
        assert!(containers(&root.join("nowhere")).is_empty());
    }
}
