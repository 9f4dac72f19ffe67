//! Ways to a listener, one upon the other: a socket, TLS over it, WebSocket over either. All block, with a limit.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::broker::WAIT;

/// A connection that bytes go through.
pub(crate) trait Wire: Read + Write + Send {
    /// Ends our side in every layer, and still reads.
    fn finish(&mut self);

    /// Our address, by which the log knows us.
    fn local(&self) -> SocketAddr;
}

impl Wire for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn local(&self) -> SocketAddr {
        self.local_addr().unwrap()
    }
}

impl Wire for UnixStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn local(&self) -> SocketAddr {
        panic!("a Unix socket has no such address")
    }
}

impl Wire for Box<dyn Wire> {
    fn finish(&mut self) {
        (**self).finish();
    }

    fn local(&self) -> SocketAddr {
        (**self).local()
    }
}

/// A TCP connection.
#[track_caller]
pub(crate) fn plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_write_timeout(Some(WAIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection through a Unix socket.
#[track_caller]
pub(crate) fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_write_timeout(Some(WAIT)).unwrap();
    stream
}

/// A wire that sends each byte by itself.
pub(crate) struct Dripping<W = TcpStream>(pub(crate) W);

impl<W: Wire> Read for Dripping<W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<W: Wire> Write for Dripping<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.0.write(&buf[..buf.len().min(1)])?;
        self.0.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Wire> Wire for Dripping<W> {
    fn finish(&mut self) {
        self.0.finish();
    }

    fn local(&self) -> SocketAddr {
        self.0.local()
    }
}

/// TLS as rustls speaks it. Reading gives 0 after close_notify only; an end without is an error.
pub(crate) type TlsWire = StreamOwned<ClientConnection, Box<dyn Wire>>;

/// TLS over `wire`; the handshake is done with the first byte that is read or written.
pub(crate) fn tls_over(wire: Box<dyn Wire>, client: &Arc<ClientConfig>) -> TlsWire {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(client), name).unwrap(), wire)
}

impl Wire for TlsWire {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        self.sock.finish();
    }

    fn local(&self) -> SocketAddr {
        self.sock.local()
    }
}

/// WebSocket as tungstenite speaks it, taken as a stream: each write is a message.
pub(crate) struct WebWire {
    pub(crate) socket: WebSocket<Box<dyn Wire>>,
    /// What the server chose.
    pub(crate) subprotocol: Option<String>,
    /// Whether writes are text.
    pub(crate) text: bool,
    /// Whether the last message that came was text.
    pub(crate) got_text: bool,
    /// The Close frame, once it has come.
    pub(crate) closed: Option<Option<CloseFrame>>,
    /// Messages that came.
    pub(crate) messages: usize,
    unread: Vec<u8>,
}

/// WebSocket over `wire`, or what the server answered instead.
pub(crate) fn web_over(
    wire: Box<dyn Wire>,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebWire, (u16, String)> {
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    match tungstenite::client(request, wire) {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            Ok(WebWire {
                socket,
                subprotocol: chosen.map(|value| value.to_str().unwrap().to_owned()),
                text: false,
                got_text: false,
                closed: None,
                messages: 0,
                unread: Vec::new(),
            })
        }
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
        }
        Err(other) => panic!("{other}"),
    }
}

impl WebWire {
    /// The next bytes, or false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => {
                    self.got_text = false;
                    self.unread.extend_from_slice(&bytes);
                }
                Ok(Message::Text(text)) => {
                    self.got_text = true;
                    self.unread.extend_from_slice(text.as_bytes());
                }
                Ok(Message::Close(frame)) => {
                    self.closed = Some(frame);
                    continue;
                }
                Ok(_) => continue,
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return Ok(false);
                }
                Err(tungstenite::Error::Io(error)) => return Err(error),
                Err(other) => return Err(io::Error::other(other)),
            }
            self.messages += 1;
            return Ok(true);
        }
    }
}

impl Read for WebWire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let len = buf.len().min(self.unread.len());
        buf[..len].copy_from_slice(&self.unread[..len]);
        self.unread.drain(..len);
        Ok(len)
    }
}

impl Write for WebWire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let message = if self.text {
            Message::text(std::str::from_utf8(buf).unwrap())
        } else {
            Message::binary(buf.to_vec())
        };
        match self.socket.send(message) {
            Ok(()) => Ok(buf.len()),
            Err(tungstenite::Error::Io(error)) => Err(error),
            Err(other) => Err(io::Error::new(ErrorKind::BrokenPipe, other)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for WebWire {
    fn finish(&mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }

    fn local(&self) -> SocketAddr {
        self.socket.get_ref().local()
    }
}

/// Everything that still comes, up to the end, whether it comes in order or not.
#[track_caller]
pub(crate) fn rest(wire: &mut (impl Wire + ?Sized)) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        match wire.read(&mut chunk) {
            Ok(0) => return all,
            Ok(read) => all.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no end came, but {all:02x?}")
            }
            Err(_) => return all,
        }
    }
}

/// Sends bytes of which the broker may refuse to read the end.
pub(crate) fn offer(wire: &mut (impl Wire + ?Sized), bytes: &[u8]) {
    let _ = wire.write_all(bytes).and_then(|()| wire.flush());
}
