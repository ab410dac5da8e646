//! Sockets: listening ones, and those of clients, which are a file descriptor and nothing more.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Type};

use super::address::{Address, Kind};
use crate::engine::Stream;

/// A client's socket, TCP or Unix: four bytes.
#[derive(Debug)]
pub(super) struct Socket(socket2::Socket);

const _: () = assert!(size_of::<Socket>() == 4);

impl Socket {
    /// A socket that is good for nothing but its descriptor. It needs no file, which an empty root would not have.
    pub(super) fn reserve() -> io::Result<Socket> {
        socket2::Socket::new(Domain::UNIX, Type::DGRAM, None).map(Socket)
    }

    /// Has the poll report edges, in both directions and once for all.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(mio::net::TcpListener),
    /// With its path, which is removed at the end, and the file that was made there.
    Unix(mio::net::UnixListener, PathBuf, Option<(u64, u64)>),
}

impl Listener {
    pub(super) fn bind(address: Address) -> io::Result<Listener> {
        match address.0 {
            Kind::Unix(path) => bind_unix(path),
            Kind::Tcp(addresses) => bind_tcp(&addresses),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Listener::Unix(listener, ..) => registry.register(listener, token, Interest::READABLE),
        }
    }

    pub(super) fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        let (descriptor, peer) = match self {
            Listener::Tcp(listener) => listener.accept().map(|(stream, peer)| (OwnedFd::from(stream), Some(peer)))?,
            Listener::Unix(listener, ..) => listener.accept().map(|(stream, _)| (OwnedFd::from(stream), None))?,
        };
        Ok((Socket(descriptor.into()), peer))
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "http://{address}"),
                Err(_) => f.write_str("http://?"),
            },
            Listener::Unix(_, path, _) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Under the same path there may be another file by now, all the more after a change of the root directory.
        if let Listener::Unix(_, path, made) = self
            && file_at(path) == *made
            && let Err(error) = std::fs::remove_file(&path)
        {
            log::debug!("{}: {error}", path.display());
        }
    }
}

/// The first address that can be had. Where none can, the error is that of the first, which is the one meant.
fn bind_tcp(addresses: &[SocketAddr]) -> io::Result<Listener> {
    let mut failure = None;
    for address in addresses {
        match listen_tcp(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::InvalidInput.into()))
}

fn listen_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = mio::net::TcpListener::from_std(socket.into());
    // Accepted sockets inherit it: what is written is meant to leave now.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    Ok(Listener::Tcp(listener))
}

fn bind_unix(path: PathBuf) -> io::Result<Listener> {
    // A socket that nobody answers was left by a process that was killed. Any other file refuses too, and is not ours.
    let is_socket = std::fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket());
    let refuses = || {
        std::os::unix::net::UnixStream::connect(&path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refuses() {
        std::fs::remove_file(&path)?;
    }
    let listener = mio::net::UnixListener::bind(&path)?;
    let made = file_at(&path);
    Ok(Listener::Unix(listener, path, made))
}

/// Device and number of the file that a path names.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Connections that the kernel has accepted and we have not: a page that reloads after a restart brings all its
/// clients at once. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
