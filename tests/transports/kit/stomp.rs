//! A STOMP client over any wire.

use std::collections::VecDeque;
use std::io::ErrorKind;

use bytes::BytesMut;
use noctule_stomp::{Command, Direction, FrameLimits, FrameWriter, Framer, Reading, Split, Version};

use super::Wire;

const VERSION: Version = Version::V12;

/// A frame of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) command: Command,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A connection to the broker under test, of STOMP 1.2.
pub(crate) struct Stomp<W = Box<dyn Wire>> {
    pub(crate) wire: W,
    connected: bool,
    framer: Framer,
    unread: Vec<u8>,
    kept: VecDeque<Frame>,
    receipts: u32,
}

impl<W: Wire> Stomp<W> {
    /// Connected.
    #[track_caller]
    pub(crate) fn connect(wire: W) -> Self {
        let mut client = Self {
            wire,
            connected: false,
            framer: Framer::new(),
            unread: Vec::new(),
            kept: VecDeque::new(),
            receipts: 0,
        };
        client.send(Command::Connect, &[("accept-version", "1.2"), ("host", "/")], b"");
        let welcome = client.next();
        assert_eq!(welcome.command, Command::Connected, "{welcome:?}");
        client.connected = true;
        client
    }

    /// A frame's bytes.
    pub(crate) fn encoded(command: Command, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let mut frame = FrameWriter::new(&mut out, VERSION, command);
        for (name, value) in headers {
            frame.header(name, value);
        }
        frame.finish(body);
        out.to_vec()
    }

    /// Sends a frame and waits for nothing.
    #[track_caller]
    pub(crate) fn send(&mut self, command: Command, headers: &[(&str, &str)], body: &[u8]) {
        self.wire.write_all(&Self::encoded(command, headers, body)).unwrap();
        self.wire.flush().unwrap();
    }

    /// Sends a frame and waits for its receipt; what comes before is kept.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: Command, headers: &[(&str, &str)], body: &[u8]) {
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
                assert!(frame.headers.contains(&("receipt-id".to_owned(), receipt.to_owned())), "{frame:?}");
                return;
            }
            assert_eq!(frame.command, Command::Message, "{frame:?}");
            self.kept.push_back(frame);
        }
    }

    #[track_caller]
    pub(crate) fn subscribe(&mut self, destination: &str) {
        self.ask(Command::Subscribe, &[("id", destination), ("destination", destination)], b"");
    }

    /// SENDs with a receipt.
    #[track_caller]
    pub(crate) fn say(&mut self, destination: &str, body: &[u8]) {
        let length = body.len().to_string();
        self.ask(Command::Send, &[("destination", destination), ("content-length", &length)], body);
    }

    /// The body of the next MESSAGE.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Vec<u8> {
        let frame = self.next();
        assert_eq!(frame.command, Command::Message, "{frame:?}");
        frame.body
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Frame {
        match self.kept.pop_front() {
            Some(frame) => frame,
            None => self.read().expect("nothing came").expect("the broker closed"),
        }
    }

    /// An ERROR, then the end in order.
    #[track_caller]
    pub(crate) fn is_refused(&mut self) {
        let frame = self.next();
        assert_eq!(frame.command, Command::Error, "{frame:?}");
        self.is_closed();
    }

    /// The end, in order.
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

    /// The next frame, or `Some(None)` at the end; `None` if nothing comes in time. An end without the good-bye of
    /// every layer is a failure.
    #[track_caller]
    #[allow(clippy::option_option, reason = "nothing, the end, a frame: each is asserted on")]
    pub(crate) fn read(&mut self) -> Option<Option<Frame>> {
        let reading = Reading { version: self.connected.then_some(VERSION), direction: Direction::ToClient };
        let limits = FrameLimits { max_body: 64 << 20, max_connect: 64 << 20, ..FrameLimits::default() };
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.framer.split(&self.unread, reading, &limits).unwrap() {
                Split::Beats(len) => {
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
            match self.wire.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "half a frame before the end: {:?}", self.unread);
                    return Some(None);
                }
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("instead of an end in order: {error}"),
            }
        }
    }
}
