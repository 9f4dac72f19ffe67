//! Listening sockets, and what to do when a connection can't be accepted.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::{Domain, Protocol, TcpKeepalive, Type};

use super::stream::{Credentials, Origin, Stream};

/// Connections the kernel keeps for us between two turns.
const BACKLOG: i32 = 1024;

/// How long a connection may be silent before the kernel asks whether its peer is still there, how often it asks and
/// how many times in vain. A client may switch MQTT's own keep alive off; one that loses its power would stay for ever.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_PROBES: u32 = 4;

/// A listening socket; its connections inherit no delay for small segments (`TCP_NODELAY`) and the kernel's watch over
/// silent ones (`SO_KEEPALIVE`: a peer that is gone is noticed after four minutes).
///
/// Workers share it by [`try_clone`](Socket::try_clone): whoever has time accepts.
///
/// # Errors
/// What the kernel says to creating, binding or listening, for instance that the address is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "0.0.0.0" and "[::]" are two listeners of the configuration; neither takes the other's port.
        socket.set_only_v6(true)?;
    }
    // Linux hands it on to accepted sockets, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listening socket, shared by the workers through [`try_clone`](Self::try_clone): whoever has time accepts.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Socket {
    /// The same socket once more.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
        })
    }
}

impl From<TcpListener> for Socket {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

/// The listeners of one worker, each at the place that is its name.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    listeners: Vec<Option<Listening>>,
}

#[derive(Debug)]
struct Listening {
    socket: Watched,
    /// When to accept again, in monotonic milliseconds: descriptors had run out, or enough have come for now.
    resume_ms: Option<u64>,
}

#[derive(Debug)]
enum Watched {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// What came of one attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    Accepted(Stream, Origin),
    /// This connection failed before it was ours; others wait.
    Again,
    /// Descriptors or memory have run out.
    Exhausted(io::Error),
    /// Nobody waits; `waker` will say when somebody does.
    Nobody,
}

impl Accepting {
    /// Listens at that place, where nobody has listened before.
    pub(super) fn add(&mut self, listener: usize, socket: Socket) -> io::Result<()> {
        let socket = match socket {
            Socket::Tcp(socket) => Watched::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Socket::Unix(socket) => Watched::Unix(tokio::net::UnixListener::from_std(socket)?),
        };
        if self.listeners.len() <= listener {
            self.listeners.resize_with(listener + 1, || None);
        }
        if let Some(place) = self.listeners.get_mut(listener) {
            *place = Some(Listening { socket, resume_ms: None });
        }
        Ok(())
    }

    /// Lets go of a socket; it ends when every worker has.
    pub(super) fn remove(&mut self, listener: usize) {
        if let Some(place) = self.listeners.get_mut(listener) {
            *place = None;
        }
    }

    /// Whether connections of that listener are to be accepted now.
    pub(super) fn is_open(&self, listener: usize) -> bool {
        let listening = self.listeners.get(listener).and_then(Option::as_ref);
        listening.is_some_and(|listening| listening.resume_ms.is_none())
    }

    /// Every listener there is.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.listeners.iter().enumerate().filter(|(_, place)| place.is_some()).map(|(at, _)| at)
    }

    /// Rests one of them until then.
    pub(super) fn rest(&mut self, listener: usize, until_ms: u64) {
        if let Some(Some(listening)) = self.listeners.get_mut(listener) {
            listening.resume_ms = Some(until_ms);
        }
    }

    /// When the first of those that rest goes on.
    pub(super) fn resume_ms(&self) -> Option<u64> {
        self.listeners.iter().flatten().filter_map(|listening| listening.resume_ms).min()
    }

    /// The listeners whose rest is over, which they no longer have then.
    pub(super) fn rested(&mut self, now_ms: u64) -> Vec<usize> {
        let listeners = self.listeners.iter_mut().enumerate();
        let rested = listeners.filter_map(|(at, place)| {
            let listening = place.as_mut()?;
            listening.resume_ms.take_if(|resume_ms| *resume_ms <= now_ms).map(|_| at)
        });
        rested.collect()
    }

    pub(super) fn attempt(&self, listener: usize, waker: &Waker) -> Attempt {
        let Some(Some(listening)) = self.listeners.get(listener) else { return Attempt::Nobody };
        let cx = &mut Context::from_waker(waker);
        let accepted = match &listening.socket {
            Watched::Tcp(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, peer)| (Stream::Tcp(stream), Origin::Net(peer)))
            }
            Watched::Unix(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| {
                let credentials = stream.peer_cred().ok().map(|credentials| Credentials {
                    uid: credentials.uid(),
                    gid: credentials.gid(),
                    pid: credentials.pid(),
                });
                (Stream::Unix(stream), Origin::Unix(credentials))
            }),
        };
        match accepted {
            Poll::Pending => Attempt::Nobody,
            Poll::Ready(Ok((stream, origin))) => Attempt::Accepted(stream, origin),
            Poll::Ready(Err(error)) if is_of_that_connection(&error) => Attempt::Again,
            Poll::Ready(Err(error)) => Attempt::Exhausted(error),
        }
    }
}

/// Whether accept(2) reports what happened to one waiting connection; anything else (EMFILE, ENFILE, ENOBUFS, ENOMEM)
/// would come again at once, and retrying would spin.
fn is_of_that_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
        PermissionDenied, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    )
}
