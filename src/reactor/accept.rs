//! Listening sockets, and what to do when a connection can't be accepted.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

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
/// Workers share it by [`try_clone`](std::net::TcpListener::try_clone): whoever has time accepts.
///
/// # Errors
/// What the kernel says to creating, binding or listening, for instance that the address is in use.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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

/// The listeners of one worker.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    listeners: Vec<TcpListener>,
    /// When to try again after descriptors had run out, in monotonic milliseconds.
    pub(super) resume_ms: Option<u64>,
}

/// What came of one attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    Accepted(TcpStream, SocketAddr),
    /// This connection failed before it was ours; others wait.
    Again,
    /// Descriptors or memory have run out.
    Exhausted(io::Error),
    /// Nobody waits; `waker` will say when somebody does.
    Nobody,
}

impl Accepting {
    pub(super) fn new(listeners: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        Ok(Self { listeners, resume_ms: None })
    }

    pub(super) fn len(&self) -> usize {
        self.listeners.len()
    }

    pub(super) fn attempt(&self, listener: usize, waker: &Waker) -> Attempt {
        let Some(listener) = self.listeners.get(listener) else { return Attempt::Nobody };
        match listener.poll_accept(&mut Context::from_waker(waker)) {
            Poll::Pending => Attempt::Nobody,
            Poll::Ready(Ok((stream, peer))) => Attempt::Accepted(stream, peer),
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
