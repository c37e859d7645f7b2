//! Unix sockets: names that one process holds at a time, and DogStatsD over Unix streams.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::SocketAddr,
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{net::UnixListener, sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use veneur_aggregate::Budget;
use veneur_config::UnixName;
use veneur_dogstatsd::framing::Frames;

use super::{
    connections::Connections,
    intake::Intake,
    origin::Origin,
    stream::{self, LONGEST, Pieces, Reading},
};

/// Anyone on the machine may send; who can reach the file is decided by its folder.
pub(super) const MODE: u32 = 0o666;

/// Why a Unix socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Taken {
    #[error("another process listens on {0}: its lock is held")]
    Locked(String),
    #[error("{0} exists and is no socket: remove it, or choose another path")]
    NoSocket(String),
    #[error("cannot use {path}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// A socket file that is ours until this is dropped. The lock beside it stays: who removed it could take it from the
/// next one who has just opened it.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    _lock: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(problem) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %problem, "Socket file was gone already");
        }
    }
}

/// Binds a name with `bind`. A file is locked first, and what an earlier process has left of it removed; then it gets
/// `mode`.
pub(crate) fn bind<S>(
    name: &UnixName,
    mode: u32,
    bind: impl FnOnce(&SocketAddr) -> io::Result<S>,
) -> Result<(S, Option<Held>), Taken> {
    match name {
        UnixName::Abstract(name) => {
            let failed = |source| Taken::Io { path: format!("@{name}"), source };
            let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
            Ok((bind(&address).map_err(failed)?, None))
        }
        UnixName::File(path) => {
            let failed = |source| Taken::Io { path: path.display().to_string(), source };
            let lock = lock(path)?;
            match std::fs::symlink_metadata(path) {
                Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
                Ok(_) => return Err(Taken::NoSocket(path.display().to_string())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            let socket = SocketAddr::from_pathname(path).and_then(|address| bind(&address)).map_err(failed)?;
            let held = Held { path: path.clone(), _lock: lock };
            std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
            Ok((socket, Some(held)))
        }
    }
}

/// The lock of a path, in a file beside it.
fn lock(path: &Path) -> Result<File, Taken> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let failed = |source| Taken::Io { path: beside.to_string_lossy().into_owned(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Taken::Locked(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What a listener for Unix streams is made of.
pub(super) struct Unix {
    pub(super) listener: UnixListener,
    pub(super) intake: Arc<Intake>,
    pub(super) budget: Arc<Budget>,
    pub(super) connections: Arc<Connections>,
    pub(super) limit: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

impl Unix {
    /// Reads until `stop`. Connections have no idle time: the kernel tells when a client on this machine is gone, and
    /// clients lose a packet with each connection that is closed on them.
    pub(super) async fn read(self) {
        let Self { listener, intake, budget, connections, limit, stop } = self;
        let reading = Reading { intake, budget, origin: Origin::UNKNOWN, idle: None, stop: stop.clone() };
        stream::accept(listener, connections, limit, stop, |stream, connected| {
            let pid = stream.peer_cred().ok().and_then(|sender| sender.pid()).unwrap_or(0);
            let reading = Reading { origin: Origin::of_process(pid), ..reading.clone() };
            async move { reading.read(stream, Pieces::Frames(Frames::new(LONGEST)), Instant::now(), &connected).await }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_path_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("veneur.sock");
        let name = UnixName::File(path.clone());
        let (socket, held) = bind(&name, MODE, UnixDatagram::bind_addr).expect("free");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, MODE);
        let error = bind(&name, MODE, UnixDatagram::bind_addr).expect_err("held").to_string();
        assert_eq!(error, format!("another process listens on {}: its lock is held", path.display()));

        // A process that was killed leaves its file, not its lock.
        drop((socket, held));
        assert!(!path.exists(), "removed at the end");
        drop(UnixDatagram::bind(&path).expect("left behind"));
        assert!(path.exists());
        let (_socket, _held) =
            bind(&name, MODE, UnixDatagram::bind_addr).expect("what is left behind is in nobody's way");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "precious").expect("written");
        let error =
            bind(&UnixName::File(path.clone()), MODE, UnixDatagram::bind_addr).expect_err("no socket").to_string();
        assert!(error.contains("exists and is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");
    }
}
