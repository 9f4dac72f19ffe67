//! A connected socket, TCP or Unix, and who is at its other end.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody at an address.
    Net(SocketAddr),
    /// A program on this machine, through a Unix socket; nothing is known of it if the kernel does not say.
    Unix(Option<Credentials>),
}

/// Whose program it is, as the kernel says it (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process.
    pub pid: Option<i32>,
}

impl Origin {
    /// The address, if there is one; an IPv4 address is one however it is written.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Net(address) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// The address without its port, or what is known of the program, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.ip().map_or_else(|| self.to_string(), |ip| ip.to_string())
    }

    /// The system's user whose program it is, by name, or as `uid-1000` for one without; of a Unix socket only.
    #[must_use]
    pub fn system_user(&self) -> Option<Arc<str>> {
        let Self::Unix(Some(Credentials { uid, .. })) = self else { return None };
        let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = known.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
            (id.parse() == Ok(*uid)).then_some(name)
        });
        Some(name.map_or_else(|| format!("uid-{uid}").into(), Into::into))
    }

    /// Whether it is a program on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Self {
        Self::Net(address)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => address.fmt(f),
            Self::Unix(None) => f.write_str("unix"),
            Self::Unix(Some(Credentials { uid, pid: None, .. })) => write!(f, "unix:uid={uid}"),
            Self::Unix(Some(Credentials { uid, pid: Some(pid), .. })) => {
                write!(f, "unix:uid={uid},pid={pid}")
            }
        }
    }
}

/// A connected socket that the worker's runtime watches.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same between two runtimes.
#[derive(Debug)]
pub(super) enum Unwatched {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    pub(super) fn watch(socket: Unwatched) -> io::Result<Self> {
        Ok(match socket {
            Unwatched::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)?),
            Unwatched::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// # Errors
    /// When epoll does not know the socket, which then is of no use to anybody.
    pub(super) fn unwatch(self) -> io::Result<Unwatched> {
        Ok(match self {
            Self::Tcp(stream) => Unwatched::Tcp(stream.into_std()?),
            Self::Unix(stream) => Unwatched::Unix(stream.into_std()?),
        })
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    #[inline]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
