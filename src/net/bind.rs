//! Opening the sockets that listeners listen on.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Type};
use thiserror::Error;

use crate::config::Address;
use crate::reactor::{self, Socket};

/// Who may connect to a Unix socket: its owner and its group. Who may reach it at all its directory says.
const SOCKET_MODE: u32 = 0o660;

/// Connections to a Unix socket that the kernel keeps for us between two turns.
const BACKLOG: i32 = 1_024;

/// An open listening socket. Dropping it takes the path of a Unix socket away.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The socket.
    pub(crate) socket: Socket,
    /// Where it is, with the port that the system chose for port 0.
    pub(crate) address: Address,
    #[expect(dead_code, reason = "it is there to be dropped")]
    path: Option<SocketPath>,
}

/// A path that is taken away when nobody listens there any more.
#[derive(Debug)]
struct SocketPath {
    path: PathBuf,
    /// Device and inode of what was put there.
    own: (u64, u64),
}

impl SocketPath {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), own: inode(path)? })
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Another broker may have put its own there since. Nobody is left to tell of a failure.
        if inode(&self.path).is_ok_and(|found| found == self.own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|about| (about.dev(), about.ino()))
}

/// Why there is no socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The system refuses.
    #[error("can't listen on {address}: {error}{}", hint(error))]
    Refused {
        /// The address as configured.
        address: Address,
        /// What the system says.
        error: io::Error,
    },
    /// The address takes in one that this broker has, or the other way round: that can't be let go of before the new one is
    /// there.
    #[error(
        "can't listen on {address}: this broker itself listens on {open}; restart it to have the one in place of the other, \
         or choose another port"
    )]
    Own {
        /// The address as configured.
        address: Address,
        /// The one in its way.
        open: Address,
    },
    /// Somebody listens on that path.
    #[error("can't listen on unix:{}: another program (perhaps another broker) listens there; stop that or choose another path", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// What is at the path is no socket.
    #[error("can't listen on unix:{}: there is something that is no socket; take it away or choose another path", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// systemd has not opened it.
    #[error(
        "can't listen on systemd:{name}: systemd has opened no socket of that name for this process ({}); write a .socket unit with FileDescriptorName={name} and start the broker by it",
        names(given)
    )]
    NotGiven {
        /// The name as configured.
        name: String,
        /// Those that were opened.
        given: Vec<String>,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program (perhaps another broker) has it: stop that or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the right to bind them (CAP_NET_BIND_SERVICE), a Unix socket that to write to its \
             directory"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::NotFound => "; make its directory first",
        _ => "",
    }
}

fn names(given: &[String]) -> String {
    if given.is_empty() { "none at all".to_owned() } else { format!("only {}", given.join(", ")) }
}

/// The sockets that systemd has opened for this process, by their names. They stay open when no listener uses them: systemd
/// would not give them again, and a later configuration, or the next try of one that was wrong, may want them.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<(String, Option<Arc<Bound>>)>);

impl Inherited {
    /// Takes those of this process's environment, where they are found once only.
    pub(crate) fn take() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = listenfd::ListenFd::from_env();
        let sockets = (0..given.len()).map(|at| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            let tcp = given.take_tcp_listener(at).ok().flatten();
            let socket = match tcp {
                Some(socket) => Some(Socket::Tcp(socket)),
                None => given.take_unix_listener(at).ok().flatten().map(Socket::Unix),
            };
            let address = Address::Systemd(name.clone());
            (name, socket.map(|socket| Arc::new(Bound { socket, address, path: None })))
        });
        Self(sockets.collect())
    }

    fn find(&self, name: &str) -> Result<Arc<Bound>, BindError> {
        let mut named =
            self.0.iter().filter(|(given, _)| given == name).filter_map(|(_, bound)| bound.as_ref());
        named.next().map(Arc::clone).ok_or_else(|| BindError::NotGiven {
            name: name.to_owned(),
            given: self.0.iter().map(|(given, _)| given.clone()).collect(),
        })
    }
}

/// Opens the socket of an address.
///
/// # Errors
/// [`BindError`].
pub(crate) fn bind(address: &Address, inherited: &Inherited) -> Result<Arc<Bound>, BindError> {
    let refused = |error| BindError::Refused { address: address.clone(), error };
    match address {
        Address::Net(net) => {
            let socket = reactor::listen(*net).map_err(refused)?;
            let address = Address::Net(socket.local_addr().map_err(refused)?);
            Ok(Arc::new(Bound { socket: Socket::Tcp(socket), address, path: None }))
        }
        Address::Unix(path) => {
            clear(path)?;
            let (socket, taken) = place(path).map_err(refused)?;
            socket.listen(BACKLOG).map_err(refused)?;
            let (socket, address) = (Socket::Unix(socket.into()), address.clone());
            Ok(Arc::new(Bound { socket, address, path: Some(taken) }))
        }
        Address::Systemd(name) => {
            let bound = inherited.find(name)?;
            match &bound.socket {
                Socket::Tcp(socket) => socket.set_nonblocking(true).map_err(refused)?,
                Socket::Unix(socket) => socket.set_nonblocking(true).map_err(refused)?,
            }
            Ok(bound)
        }
    }
}

/// Puts a socket at the path that nobody can connect to yet: it is listened to when its mode is right, whatever the umask.
fn place(path: &Path) -> io::Result<(socket2::Socket, SocketPath)> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let taken = SocketPath::of(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok((socket, taken))
}

/// Takes away a socket that a broker left behind which was killed.
fn clear(path: &Path) -> Result<(), BindError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(BindError::NoSocket { path: path.to_owned() });
    }
    let refused = |error| BindError::Refused { address: Address::Unix(path.to_owned()), error };
    // Not blocking: where somebody listens and is stuck, there is no room for one more to wait, and this would wait for it.
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(refused)?;
    let address = SockAddr::unix(path).map_err(refused)?;
    match socket.connect(&address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(refused)
        }
        _ => Err(BindError::Taken { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_its_mode_before_anybody_can_connect() {
        let path = std::env::temp_dir().join(format!("noctule-place-{}", std::process::id()));
        let (socket, taken) = place(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let connect = || std::os::unix::net::UnixStream::connect(&path).map_err(|error| error.kind());
        assert_eq!(connect().unwrap_err(), io::ErrorKind::ConnectionRefused);
        socket.listen(BACKLOG).unwrap();
        assert!(connect().is_ok());
        drop(taken);
        assert!(!path.exists());
    }
}
