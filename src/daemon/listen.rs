//! Sockets that listen: TCP and unix.
//!
//! A socket's file belongs to whoever answers on it. One that nobody answers on was left by a server
//! that did not end in order, and is replaced; one that somebody answers on is an error, and so is any
//! other file in its place. The file goes when its listener does, unless it is not the same file any
//! more.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::bail;
use tokio::net::{TcpListener, TcpSocket, UnixDatagram, UnixListener, UnixStream};

use crate::config::{Compat, Listen};
use crate::faces::connections::keep_alive;
use crate::faces::memcache::stream::Stream;

/// A socket that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Where a socket is, as `stats conns` says it.
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) if address.is_ipv6() => write!(f, "tcp6:{address}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    /// Where it listens, also where port 0 was asked for.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Tcp(listener) => Place::Tcp(
                listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))),
            ),
            Self::Unix(_, file) => Place::Unix(file.path.clone()),
        }
    }

    /// The same, as the configuration writes it.
    pub(super) fn address(&self) -> String {
        match self.place() {
            Place::Tcp(address) => address.to_string(),
            place @ Place::Unix(_) => place.to_string(),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Place)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                (Stream::Tcp(stream), Place::Tcp(from))
            }
            Self::Unix(listener, _) => {
                // A client's own end has no name.
                let (stream, _) = listener.accept().await?;
                (Stream::Unix(stream), Place::Unix(PathBuf::new()))
            }
        })
    }
}

/// Listens on every address, or says about each why not.
pub(super) async fn bind(addresses: &[Listen], compat: &Compat) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut problems = Vec::new();
    for address in addresses {
        let bound = match address {
            Listen::Tcp(address) => tcp(*address, compat.backlog).map(Listener::Tcp),
            Listen::Unix(path) => {
                let made = unix(path, compat.socket_mode).await;
                made.map(|(socket, file)| Listener::Unix(socket, file))
            }
        };
        match bound {
            Ok(listener) => listeners.push(listener),
            Err(error) => problems.push(format!("{address} for memcached: {error}")),
        }
    }
    if problems.is_empty() {
        return Ok(listeners);
    }
    bail!("cannot listen on {}", problems.join("; "))
}

fn tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // As tokio and memcached do: connections of a server before must not keep the port from us.
    socket.set_reuseaddr(true)?;
    // As memcached does: without `idle_timeout` a client that is gone without a word would keep its place.
    keep_alive(&socket);
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    // Without blocking: a server that was stopped (by a debugger, say) accepts nobody, and once its
    // queue is full whoever wants to wait for it waits for ever.
    make_room(path, async { UnixStream::connect(path).await.map(drop) }).await?;
    let listener = masked(mode, || UnixListener::bind(path))?;
    Ok((listener, SocketFile::at(path)?))
}

/// Listens for datagrams.
pub(super) async fn unix_datagrams(
    path: &Path,
    mode: u32,
) -> io::Result<(std::os::unix::net::UnixDatagram, SocketFile)> {
    make_room(path, async { UnixDatagram::unbound()?.connect(path) }).await?;
    let socket = masked(mode, || std::os::unix::net::UnixDatagram::bind(path))?;
    Ok((socket, SocketFile::at(path)?))
}

/// Makes a file with the bits of `mode` and no others, so there is no moment in which others could connect.
/// Nothing else runs yet that could make a file.
fn masked<T>(mode: u32, make: impl FnOnce() -> T) -> T {
    let mask = rustix::fs::Mode::from_raw_mode(0o777 & !mode);
    let before = rustix::process::umask(mask);
    let made = make();
    rustix::process::umask(before);
    made
}

/// Takes away what a dead server left; anything else stays, and is an error. `connect` is how one would
/// find out.
async fn make_room(path: &Path, connect: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let taken = |reason| Err(io::Error::new(ErrorKind::AddrInUse, reason));
    match connect.await {
        Ok(()) => taken("another server answers there"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            taken("another server is there, and takes nobody in")
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// The file of a unix socket; it goes with this value.
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn at(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if is_ours {
            // Whoever cannot take it away leaves what the next server replaces.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reason(path: &Path) -> String {
        unix(path, 0o700).await.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_socket_file_is_replaced_only_when_nobody_answers() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        {
            let (_listener, _file) = unix(&path, 0o700).await.expect("it listens");
            assert_eq!(reason(&path).await, "another server answers there");
            assert!(path.exists());
        }
        assert!(!path.exists(), "it went with its listener");

        let (listener, file) = unix(&path, 0o700).await.expect("it listens");
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists(), "as a server leaves it that was killed");
        let (_listener, file) = unix(&path, 0o700).await.expect("the stale one is replaced");
        std::fs::remove_file(&path).expect("somebody takes it away");
        std::fs::create_dir(&path).expect("and puts something else there");
        drop(file);
        assert!(path.exists(), "which is not ours");
        assert_eq!(reason(&path).await, "there is a file that is no socket");
    }

    #[tokio::test]
    async fn a_socket_for_datagrams_is_replaced_only_when_it_is_nobodys() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let reason =
            async || unix_datagrams(&path, 0o770).await.err().map(|error| error.to_string());
        {
            let (_socket, _file) = unix_datagrams(&path, 0o770).await.expect("it listens");
            assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o777, 0o770);
            assert_eq!(reason().await.as_deref(), Some("another server answers there"));
        }
        assert!(!path.exists(), "it went with its socket");
        let (socket, file) = unix_datagrams(&path, 0o770).await.expect("it listens");
        std::mem::forget(file);
        drop(socket);
        assert_eq!(reason().await, None, "a stale one is replaced");
        let (_listener, _file) = unix(&path, 0o700).await.expect("it went with its socket");
        assert!(reason().await.is_some(), "a socket of another type");
    }

    #[tokio::test]
    async fn a_socket_file_has_the_mode_that_was_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        for mode in [0o700, 0o770, 0o777] {
            let path = dir.path().join(format!("{mode:o}"));
            let (_listener, _file) = unix(&path, mode).await.expect("it listens");
            let found = std::fs::metadata(&path).expect("it is there").mode() & 0o777;
            assert_eq!(found, mode, "{found:o}");
        }
    }

    #[tokio::test]
    async fn a_server_that_takes_nobody_in_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let (_listener, _file) = unix(&path, 0o700).await.expect("it listens, and accepts nobody");
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        assert_eq!(reason(&path).await, "another server is there, and takes nobody in");
    }
}
