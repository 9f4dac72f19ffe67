//! The STOMP client: one blocking socket over the crate's codec, which shows every frame.
//!
//! It does nothing by itself: it acknowledges when it is told to and keeps what comes in the meantime.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use noctule_stomp::{Command, Direction, FrameLimits, FrameWriter, Framer, Reading, Split, Version};

pub(crate) const V10: Version = Version::V10;
pub(crate) const V11: Version = Version::V11;
pub(crate) const V12: Version = Version::V12;

/// How long anything may take; generous, because two busy cores serve all tests at once. What passes never waits so long.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Headers as a test writes them.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// A frame of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) command: Command,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The first header of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A connection to the broker under test.
pub(crate) struct Stomp {
    pub(crate) stream: TcpStream,
    version: Version,
    /// Agreed on; until CONNECTED has come the framer reads every version.
    connected: bool,
    framer: Framer,
    unread: Vec<u8>,
    /// Frames that came while another one was awaited.
    kept: VecDeque<Frame>,
    /// EOLs that came between frames.
    pub(crate) beats: usize,
    receipts: u32,
    /// Whether the broker may be killed: half a frame is then as good an end as any.
    pub(crate) mortal: bool,
}

impl Stomp {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            version: V12,
            connected: false,
            framer: Framer::new(),
            unread: Vec::new(),
            kept: VecDeque::new(),
            beats: 0,
            receipts: 0,
            mortal: false,
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes of which the broker may refuse to read the end.
    pub(crate) fn raw_or_closed(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends CONNECT and returns CONNECTED.
    #[track_caller]
    pub(crate) fn connect(&mut self, version: Version, headers: Headers<'_>) -> Frame {
        self.version = version;
        let accept = [("accept-version", version.as_str()), ("host", "/")];
        let own = if version == V10 { &accept[..0] } else { &accept[..] };
        self.send(Command::Connect, &[own, headers].concat(), b"");
        let welcome = self.next();
        assert_eq!(welcome.command, Command::Connected, "{welcome:?}");
        self.connected = true;
        welcome
    }

    /// Sends a frame and waits for nothing.
    #[track_caller]
    pub(crate) fn send(&mut self, command: Command, headers: Headers<'_>, body: &[u8]) {
        let bytes = self.encoded(command, headers, body);
        self.raw(&bytes);
    }

    /// A frame's bytes.
    pub(crate) fn encoded(&self, command: Command, headers: Headers<'_>, body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let mut frame = FrameWriter::new(&mut out, self.version, command);
        for (name, value) in headers {
            frame.header(name, value);
        }
        frame.finish(body);
        out.to_vec()
    }

    /// Sends a frame and waits for its receipt; what comes before is kept.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: Command, headers: Headers<'_>, body: &[u8]) {
        self.receipts += 1;
        let receipt = format!("receipt {}", self.receipts);
        self.send(command, &[headers, &[("receipt", &receipt)]].concat(), body);
        self.receipt(&receipt);
    }

    /// Waits for a receipt; what comes before is kept.
    #[track_caller]
    pub(crate) fn receipt(&mut self, receipt: &str) {
        loop {
            let frame = self.read().expect("no receipt came").expect("closed instead of a receipt");
            if frame.command == Command::Receipt {
                assert_eq!(frame.header("receipt-id"), receipt);
                return;
            }
            assert_eq!(frame.command, Command::Message, "{frame:?}");
            self.kept.push_back(frame);
        }
    }

    /// SENDs text and waits for the receipt.
    #[track_caller]
    pub(crate) fn say(&mut self, destination: &str, body: &str) {
        self.say_with(destination, &[], body);
    }

    /// SENDs text with more headers and waits for the receipt.
    #[track_caller]
    pub(crate) fn say_with(&mut self, destination: &str, headers: Headers<'_>, body: &str) {
        self.ask(Command::Send, &[&[("destination", destination)], headers].concat(), body.as_bytes());
    }

    /// SUBSCRIBEs and waits for the receipt.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, id: &str, destination: &str, ack: &str) {
        self.subscribe_with(id, destination, ack, &[]);
    }

    /// SUBSCRIBEs with more headers and waits for the receipt.
    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, id: &str, destination: &str, ack: &str, headers: Headers<'_>) {
        let own = [("id", id), ("destination", destination), ("ack", ack)];
        self.ask(Command::Subscribe, &[&own, headers].concat(), b"");
    }

    /// UNSUBSCRIBEs and waits for the receipt.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, id: &str) {
        self.ask(Command::Unsubscribe, &[("id", id)], b"");
    }

    /// ACKs a message and waits for the receipt.
    #[track_caller]
    pub(crate) fn ack(&mut self, message: &Frame) {
        self.ack_in(message, &[]);
    }

    /// ACKs a message with more headers, such as its transaction, and waits for the receipt.
    #[track_caller]
    pub(crate) fn ack_in(&mut self, message: &Frame, headers: Headers<'_>) {
        let own = self.names(message);
        self.ask(Command::Ack, &[&own[..], headers].concat(), b"");
    }

    /// NACKs a message and waits for the receipt.
    #[track_caller]
    pub(crate) fn nack(&mut self, message: &Frame, headers: Headers<'_>) {
        let own = self.names(message);
        self.ask(Command::Nack, &[&own[..], headers].concat(), b"");
    }

    /// What the version acknowledges a message by.
    #[track_caller]
    fn names<'m>(&self, message: &'m Frame) -> Vec<(&'static str, &'m str)> {
        match self.version {
            Version::V10 => vec![("message-id", message.header("message-id"))],
            Version::V11 => vec![
                ("message-id", message.header("message-id")),
                ("subscription", message.header("subscription")),
            ],
            Version::V12 => vec![("id", message.header("ack"))],
        }
    }

    /// BEGIN, COMMIT or ABORT, with its receipt.
    #[track_caller]
    pub(crate) fn transaction(&mut self, command: Command, name: &str) {
        self.ask(command, &[("transaction", name)], b"");
    }

    /// The oldest frame that came while another one was awaited.
    pub(crate) fn kept(&mut self) -> Option<Frame> {
        self.kept.pop_front()
    }

    /// Keeps a frame for later.
    #[allow(dead_code, reason = "for clients whose broker is killed")]
    pub(crate) fn keep(&mut self, frame: Frame) {
        self.kept.push_back(frame);
    }

    /// The next MESSAGE.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Frame {
        let frame = self.next();
        assert_eq!(frame.command, Command::Message, "{frame:?}");
        frame
    }

    /// The next MESSAGE, acknowledged.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Frame {
        let message = self.message();
        self.ack(&message);
        message
    }

    /// The bodies of the next messages, which are not acknowledged.
    #[track_caller]
    pub(crate) fn texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.message().text().to_owned()).collect()
    }

    /// A MESSAGE, if one comes within that time.
    #[track_caller]
    pub(crate) fn message_within(&mut self, limit: Duration) -> Option<Frame> {
        if self.kept.is_empty() {
            self.stream.set_read_timeout(Some(limit)).unwrap();
            let read = self.read();
            self.stream.set_read_timeout(Some(WAIT)).unwrap();
            self.kept.push_back(read?.expect("closed"));
        }
        let frame = self.kept.pop_front()?;
        assert_eq!(frame.command, Command::Message, "{frame:?}");
        Some(frame)
    }

    /// That the broker has nothing to say before a frame of ours is answered.
    #[track_caller]
    pub(crate) fn is_quiet(&mut self) {
        let name = format!("quiet {}", self.receipts);
        self.transaction(Command::Begin, &name);
        self.transaction(Command::Abort, &name);
        assert!(self.kept.is_empty(), "{:?}", self.kept);
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Frame {
        match self.kept() {
            Some(frame) => frame,
            None => self.read().expect("nothing came").expect("the broker closed"),
        }
    }

    /// An ERROR and then the end; messages and receipts before it are passed over.
    #[track_caller]
    pub(crate) fn refused(&mut self) -> Frame {
        let error = loop {
            let frame = self.read().expect("no ERROR came").expect("closed without an ERROR");
            if frame.command == Command::Error {
                break frame;
            }
        };
        self.is_closed();
        error
    }

    /// The end, without another frame.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        let read = self.read();
        assert!(matches!(read, Some(None)), "{read:?}");
    }

    /// Says good-bye: the receipt, then the end.
    #[track_caller]
    pub(crate) fn bye(mut self) {
        self.ask(Command::Disconnect, &[], b"");
        self.is_closed();
    }

    /// Vanishes without a good-bye.
    pub(crate) fn cut(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The next frame from the socket, or `Some(None)` at its end; `None` if nothing comes in time.
    #[track_caller]
    #[allow(clippy::option_option, reason = "nothing, the end, a frame: each is asserted on")]
    pub(crate) fn read(&mut self) -> Option<Option<Frame>> {
        let version = self.connected.then_some(self.version);
        let reading = Reading { version, direction: Direction::ToClient };
        // The broker's frames are judged by the tests, not by limits of a client.
        let limits = FrameLimits { max_body: 64 << 20, max_connect: 64 << 20, ..FrameLimits::default() };
        loop {
            match self.framer.split(&self.unread, reading, &limits).unwrap() {
                Split::Beats(len) => {
                    self.beats += len;
                    self.unread.drain(..len);
                    continue;
                }
                Split::Frame(frame) => {
                    let own = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
                        (name.into_owned(), value.into_owned())
                    };
                    let (command, body, len) = (frame.command, frame.body.to_vec(), frame.len);
                    let headers = frame.headers.iter().map(own).collect();
                    self.unread.drain(..len);
                    return Some(Some(Frame { command, headers, body }));
                }
                Split::Incomplete => {}
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    let half = !self.unread.is_empty() && !self.mortal;
                    assert!(!half, "half a frame before the end: {:?}", self.unread);
                    return Some(None);
                }
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                    ErrorKind::Interrupted => {}
                    // The broker closed while bytes of ours were unread.
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return Some(None),
                    _ => panic!("{error}"),
                },
            }
        }
    }
}
