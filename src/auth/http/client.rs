//! A client of HTTP/1.1 (RFC 9112) for one purpose: POST a small JSON body, read a small answer, all before a deadline.
//!
//! It blocks, since it runs on threads of its own. `ureq` could do the same and would make the binary 650 KB larger.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::reply::{self, Reply};
use crate::auth::error::LoadError;
use crate::auth::file::{self, Purpose};

/// Largest file of CA certificates, bytes.
const MAX_CA_BYTES: u64 = 4 << 20;

const CA: Purpose = Purpose {
    what: "the CA certificates",
    mend: "leave auth_http.ca out to trust the system's",
    most: MAX_CA_BYTES,
};

/// `http://host:port/path?query` or `https://…`, maybe with `user:password@`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    secure: bool,
    host: String,
    port: u16,
    /// Path and query, as they are sent.
    target: String,
    /// The value of Authorization.
    authorization: Option<String>,
}

impl Url {
    /// Reads one; percent-encoding is left as it is, except in user and password, where only what needs none is taken.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err("a URL is printable ASCII without blanks and #".to_owned());
        }
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("write http://host:port/path or https://host/path".to_owned()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        let authorization = match credentials {
            None => None,
            Some(text) if text.contains('%') => {
                return Err(
                    "user and password of the URL can't be percent-encoded; choose letters and digits"
                        .to_owned(),
                );
            }
            Some(text) if !text.contains(':') => {
                return Err("the URL has a user without a password; write user:password@".to_owned());
            }
            Some(text) => Some(format!("Basic {}", STANDARD.encode(text))),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) =
                    bracketed.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or("")) })
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err("the URL has no host".to_owned());
        }
        let port = match port {
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| format!("port {port:?}; it is a number from 1 to 65535"))?,
        };
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self { secure, host: host.to_owned(), port, target, authorization })
    }

    /// Whether passwords would cross a network in the clear.
    pub(super) fn is_exposed(&self) -> bool {
        let local = match self.host.parse::<std::net::IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host == "localhost",
        };
        !self.secure && !local
    }

    /// Host and port for the Host field and for messages.
    pub(super) fn place(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Without the credentials.
impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place())
    }
}

/// A socket that gives up at a moment, however slowly the other end sends.
#[derive(Debug)]
struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        left(self.deadline)
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")) } else { Ok(left) }
}

/// A socket's timeout is reported as "would block"; that says nothing to anybody.
fn in_time(result: io::Result<usize>) -> io::Result<usize> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    })
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        in_time(self.socket.read(bytes))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        in_time(self.socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[derive(Debug)]
enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(timed) => timed.deadline = deadline,
            Self::Tls(tls) => tls.sock.deadline = deadline,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(bytes),
            Self::Tls(tls) => tls.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A connection on which another request may be sent.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// Something of the answer to the present request has come.
    heard: bool,
    /// The other end has closed it.
    closed: bool,
}

impl Connection {
    fn new(stream: Stream) -> Self {
        Self { stream, heard: false, closed: false }
    }

    fn note(&mut self, result: &io::Result<usize>) {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        if let Err(error) = result {
            let gone = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof];
            self.closed |= gone.contains(&error.kind());
        }
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(bytes);
        self.note(&read);
        match read {
            Ok(0) => self.closed = true,
            Ok(_) => self.heard = true,
            Err(_) => {}
        }
        read
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.note(&written);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.stream.flush();
        self.note(&flushed.as_ref().map(|()| 0).map_err(|error| error.kind().into()));
        flushed
    }
}

/// Where requests go, and how.
#[derive(Debug)]
pub(super) struct Client {
    url: Url,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    timeout: Duration,
}

impl Client {
    /// Reads the CA certificates if TLS is spoken: `ca`'s, or the system's.
    pub(super) fn new(url: Url, ca: Option<&Path>, timeout: Duration) -> Result<Self, LoadError> {
        let tls = if url.secure { Some(tls(&url.host, ca)?) } else { None };
        Ok(Self { url, tls, timeout })
    }

    /// Sends `body` and reads the answer. Resolving the host's name takes as long as the system lets it, the rest is
    /// bounded by the timeout. `kept` is a connection of an earlier request, and holds the one for the next afterwards.
    pub(super) fn post(&self, kept: &mut Option<Connection>, body: &[u8]) -> io::Result<Reply> {
        let deadline = Instant::now().checked_add(self.timeout).ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(mut connection) = kept.take() {
            // The other end may have closed it in the meantime; then nothing is lost by asking again on a new one. Of
            // anything else the service has heard: it may count what it is asked, and its answer, even a broken one, is
            // the answer.
            match self.exchange(&mut connection, deadline, body) {
                Err(_) if connection.closed && !connection.heard => {}
                done => return keep(connection, done, kept),
            }
        }
        let mut connection = self.connect(deadline)?;
        let done = self.exchange(&mut connection, deadline, body);
        keep(connection, done, kept)
    }

    fn connect(&self, deadline: Instant) -> io::Result<Connection> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.url.host.as_str(), self.url.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    let timed = Timed { socket, deadline };
                    let Some((config, name)) = &self.tls else {
                        return Ok(Connection::new(Stream::Plain(timed)));
                    };
                    let session =
                        ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
                    return Ok(Connection::new(Stream::Tls(Box::new(StreamOwned::new(session, timed)))));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn exchange(&self, connection: &mut Connection, deadline: Instant, body: &[u8]) -> io::Result<Reply> {
        connection.stream.set_deadline(deadline);
        connection.heard = false;
        let Url { target, authorization, .. } = &self.url;
        let authorization =
            authorization.as_ref().map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\n{authorization}User-Agent: noctule/{}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.url.place(),
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        connection.flush()?;
        reply::read(connection)
    }
}

/// Keeps a connection for the next request, if its last answer allows.
fn keep(connection: Connection, done: io::Result<Reply>, kept: &mut Option<Connection>) -> io::Result<Reply> {
    let reply = done?;
    if reply.keep {
        *kept = Some(connection);
    }
    Ok(reply)
}

fn tls(host: &str, ca: Option<&Path>) -> Result<(Arc<ClientConfig>, ServerName<'static>), LoadError> {
    let setting = |name, problem: String| LoadError::Setting { name, problem };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        setting("auth_http.url", format!("{host:?} is not a name that a certificate could be for"))
    })?;
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let pem = file::read(path, CA)?.bytes;
            let wrong = |problem: String| LoadError::Content { path: path.to_owned(), problem };
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| wrong(format!("not PEM: {error}")))?;
                roots.add(certificate).map_err(|error| wrong(format!("not a CA certificate: {error}")))?;
            }
            if roots.is_empty() {
                return Err(wrong("no certificate in it; it should hold the CA's, in PEM".to_owned()));
            }
        }
        None => {
            // One that is broken among the system's two hundred is no reason to stop.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let problem = "the system trusts no CA; install ca-certificates or name one here";
                return Err(setting("auth_http.ca", problem.to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| setting("auth_http.url", error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(config), name))
}
