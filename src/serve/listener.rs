//! The socket to which clients connect: created by the server, or passed by systemd.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::Error;
use crate::text::shown_path;

/// The path to which atop connects.
pub const DEFAULT_PATH: &str = "/run/netatop-bpf-socket";

/// A listening socket. Dropping it removes the files created for it.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    /// `None` if the socket belongs to the service manager.
    _files: Option<SocketFiles>,
}

impl Listener {
    /// Creates the socket at `path` with the permissions `mode`.
    ///
    /// The socket file of a server that has ended is replaced. A lock on a file beside it, `path`
    /// with `.lock` added, ensures that only one of two servers that start at the same time
    /// succeeds.
    ///
    /// # Errors
    ///
    /// If another server is listening there, if a file of another type exists, or if the socket
    /// cannot be created.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, Error> {
        let files = SocketFiles::lock(path)?;
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(Error::Usage(format!(
                    "{} exists and is not a socket: choose another --socket",
                    shown_path(path)
                )));
            }
            Ok(_) if is_listening(path)? => return Err(in_use(path)),
            Ok(_) => fs::remove_file(path).map_err(|error| cannot_create(path, &error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot_create(path, &error)),
        }
        let listener = bind(path, mode).map_err(|error| cannot_create(path, &error))?;
        let files = files.with_socket();
        Self::new(listener, Some(files))
    }

    /// The socket that systemd passes to this service, if it does.
    ///
    /// # Errors
    ///
    /// If systemd passes something other than a Unix stream socket, or more than one socket.
    pub fn handed_over() -> Result<Option<Self>, Error> {
        let mut fds = listenfd::ListenFd::from_env();
        if fds.len() > 1 {
            return Err(Error::Failed(
                "the unit passes more than one socket, but only one is supported".to_owned(),
            ));
        }
        let listener = fds.take_unix_listener(0).map_err(|error| {
            Error::failed(
                "the unit passes something other than a Unix stream socket",
                error,
            )
        })?;
        listener
            .map(|listener| Self::new(listener, None))
            .transpose()
    }

    fn new(listener: UnixListener, files: Option<SocketFiles>) -> Result<Self, Error> {
        listener
            .set_nonblocking(true)
            .map_err(|error| Error::failed("the socket could not be set up", error))?;
        Ok(Self {
            listener,
            _files: files,
        })
    }

    /// Accepts the next waiting connection.
    ///
    /// # Errors
    ///
    /// As `accept(2)`. `WouldBlock` if no connection is waiting.
    pub fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// The lock file and the socket file. Both are removed when this is dropped.
#[derive(Debug)]
struct SocketFiles {
    path: PathBuf,
    lock_path: PathBuf,
    /// The lock is held as long as this file is open.
    lock: File,
    /// The socket file's device and inode.
    socket: Option<(u64, u64)>,
}

impl SocketFiles {
    fn lock(path: &Path) -> Result<Self, Error> {
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        loop {
            // No other user may open the file, because opening it is enough to lock it.
            let lock = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&lock_path)
                .map_err(|error| cannot_create(&lock_path, &error))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(path)),
                Err(error) => return Err(cannot_create(&lock_path, &error.into())),
            }
            // A server that ended meanwhile may have removed the file that was just opened.
            let open = lock.metadata().ok().map(|m| identity(&m));
            if open.is_some() && open == identity_of(&lock_path) {
                return Ok(Self {
                    path: path.to_owned(),
                    lock_path,
                    lock,
                    socket: None,
                });
            }
        }
    }

    fn with_socket(mut self) -> Self {
        self.socket = identity_of(&self.path);
        self
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        // If another program has replaced the file, it must not be removed. If the file is gone
        // already, nothing is left to do.
        if self.socket.is_some() && self.socket == identity_of(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let lock = self.lock.metadata().ok().map(|m| identity(&m));
        if lock.is_some() && lock == identity_of(&self.lock_path) {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|m| identity(&m))
}

/// Binds the socket so that no user without permission can connect at any moment. The file starts
/// with the permissions of the socket, reduced by the umask (net/unix/af_unix.c, unix_bind_bsd). It
/// gets its full permissions once it exists.
fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let mode = Mode::from_raw_mode(mode);
    let address = SocketAddrUnix::new(path)?;
    let socket = socket()?;
    rustix::fs::fchmod(&socket, mode)?;
    rustix::net::bind(&socket, &address)?;
    let listening =
        rustix::fs::chmod(path, mode).and_then(|()| rustix::net::listen(&socket, BACKLOG));
    if let Err(error) = listening {
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    Ok(UnixListener::from(socket))
}

/// Maximum number of connections that wait to be accepted.
pub(super) const BACKLOG: i32 = 128;

fn socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )
}

/// Whether a server listens on the socket at `path`. Does not block: a server whose queue of
/// connections is full counts as listening.
fn is_listening(path: &Path) -> Result<bool, Error> {
    let failed = |error: rustix::io::Errno| cannot_create(path, &error.into());
    let socket = socket().map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(true),
        // A socket of another type belongs to another program, and must not be replaced.
        Err(rustix::io::Errno::PROTOTYPE) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn in_use(path: &Path) -> Error {
    Error::Failed(format!(
        "another server is listening on {}: netatop serve, or netatop-bpf\n\
         stop it first, or choose another --socket",
        shown_path(path)
    ))
}

fn cannot_create(path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => "\nrun it as root, or choose another --socket",
        ErrorKind::NotFound => "\nits directory must exist",
        // ENAMETOOLONG: the path does not fit into sockaddr_un.
        ErrorKind::InvalidFilename => "\nchoose a shorter --socket",
        _ => "",
    };
    Error::Failed(format!(
        "{} could not be created: {error}{remedy}",
        shown_path(path)
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        (dir, path)
    }

    fn entries(dir: &tempfile::TempDir) -> usize {
        fs::read_dir(dir.path()).expect("read").count()
    }

    #[test]
    fn the_socket_has_its_permissions_from_the_start_and_is_removed() {
        let (dir, path) = place();
        for mode in [0o666, 0o600, 0o660] {
            let listener = Listener::bind(&path, mode).expect("bind");
            let there = fs::metadata(&path).expect("socket").permissions().mode();
            assert_eq!(there & 0o777, mode);
            drop(listener);
            assert_eq!(entries(&dir), 0);
        }
    }

    #[test]
    fn a_second_server_is_refused_and_a_stale_socket_replaced() {
        let (dir, path) = place();
        let first = Listener::bind(&path, 0o600).expect("bind");
        let error = Listener::bind(&path, 0o600).expect_err("taken");
        assert!(error.to_string().contains("another server"), "{error}");
        UnixStream::connect(&path).expect("the first is still there");
        drop(first);
        // The files that a killed server leaves behind.
        drop(UnixListener::bind(&path).expect("bind"));
        fs::write(dir.path().join("socket.lock"), "").expect("write");
        let second = Listener::bind(&path, 0o600).expect("replace");
        UnixStream::connect(&path).expect("the second answers");
        drop(second);
        assert_eq!(entries(&dir), 0);
    }

    #[test]
    fn a_server_of_another_kind_is_noticed() {
        let (_dir, path) = place();
        let other = UnixListener::bind(&path).expect("bind");
        let error = Listener::bind(&path, 0o600).expect_err("taken");
        assert_eq!(error.status(), 1);
        drop(other);
        fs::remove_file(&path).expect("remove");
        let other = std::os::unix::net::UnixDatagram::bind(&path).expect("bind");
        assert!(Listener::bind(&path, 0o600).is_err());
        drop(other);
        Listener::bind(&path, 0o600).expect("stale");
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_not_replaced() {
        let (dir, path) = place();
        fs::write(&path, "precious").expect("write");
        let error = Listener::bind(&path, 0o600).expect_err("no socket");
        assert_eq!(error.status(), 2);
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        assert_eq!(entries(&dir), 1);
    }

    #[test]
    fn a_replaced_socket_is_not_removed() {
        let (dir, path) = place();
        let listener = Listener::bind(&path, 0o600).expect("bind");
        fs::remove_file(&path).expect("remove");
        let _other = UnixListener::bind(&path).expect("bind");
        drop(listener);
        assert_eq!(entries(&dir), 1);
    }

    #[test]
    fn errors_name_a_remedy() {
        let (dir, _) = place();
        let long = dir.path().join("x".repeat(120));
        let error = Listener::bind(&long, 0o600).expect_err("too long");
        assert!(error.to_string().contains("shorter"), "{error}");
        let nowhere = dir.path().join("no/where");
        let error = Listener::bind(&nowhere, 0o600).expect_err("no directory");
        assert!(error.to_string().contains("directory"), "{error}");
    }
}
