// SPDX-License-Identifier: GPL-2.0-only

//! Listening sockets in a folder: made, and removed again at the end.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// What fits a `sockaddr_un`, with the NUL.
const MAX_PATH: usize = 107;

/// A listening socket that removes its file when dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`. A socket file that nobody listens at any more is replaced.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong and what to do.
    pub fn bind(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let length = path.as_os_str().as_bytes().len();
        if length > MAX_PATH {
            return Err(format!(
                "the socket path {name} has {length} bytes and only {MAX_PATH} are possible: give a shorter --dir"
            ));
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        };
        let listener = listener.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                format!("the folder of {name} does not exist: make it first, or give another --dir")
            }
            ErrorKind::PermissionDenied => {
                format!("no permission to make {name}: give another --dir")
            }
            _ => format!("cannot listen at {name}: {error}"),
        })?;
        listener
            .set_nonblocking(true)
            .map_err(|error| format!("cannot listen at {name}: {error}"))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// The next client that waits, if there is one.
    #[must_use]
    pub fn accept(&self) -> Option<UnixStream> {
        self.listener.accept().ok().map(|(stream, _)| stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes a socket file, unless it is none or somebody listens there.
fn remove_stale(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let name = path.display();
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if !is_socket {
        return Err(format!(
            "{name} exists and is no socket: remove it, or give another --dir"
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|error| format!("cannot remove the unused socket {name}: {error}")),
        Err(error) => Err(format!("cannot tell whether {name} is in use: {error}")),
        Ok(_) => Err(format!(
            "{name} is in use by another process: end it, or give another --dir"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_file_lives_as_long_as_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = Listener::bind(&path).unwrap();
        assert!(listener.accept().is_none());
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_some());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn an_unused_file_is_replaced_and_a_used_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert!(error.contains("in use by another process"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn errors_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Listener::bind(&folder.path().join("none/a.sock")).unwrap_err();
        assert!(error.contains("make it first"), "{error}");
        let error = Listener::bind(&folder.path().join("x".repeat(120))).unwrap_err();
        assert!(error.contains("give a shorter --dir"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = Listener::bind(&file).unwrap_err();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
    }
}
