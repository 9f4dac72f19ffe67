//! A client machine on a socket: bytes in, bytes out, timers. What the events mean is the commands' to know, and how a
//! connection is begun and ended the protocol's: see [`Machine`].

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Sleep, sleep, timeout};

use super::failure::{Ending, Failure, Place};
use super::input::Source;
use super::tls::{self, Stream};

/// How long name look-up and the handshakes of TCP and TLS may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the broker may take to read our last words and close.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Output that may wait before no more is made.
const OUTPUT_BYTES: usize = 256 * 1024;

/// How an alert of TLS begins (RFC 8446, section 5.1), which no packet of ours does.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// The client's end of a protocol, without its socket.
pub(super) trait Machine: Sized {
    type Event;

    /// Begins a connection, or says that what it asks for cannot be said.
    fn connect(&mut self, now_ms: u64) -> Result<(), Failure>;

    /// Bytes for the broker.
    fn output(&mut self) -> &mut BytesMut;

    /// What has happened.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// Takes the first packet of `bytes`: its length, or 0 if it is not whole.
    fn take(&mut self, now_ms: u64, bytes: &[u8]) -> Result<usize, Ending>;

    /// Whether the broker has let us in.
    fn is_connected(&self) -> bool;

    /// When [`Machine::handle_timeout`] is next needed, ms.
    fn next_wake_ms(&self) -> Option<u64>;

    /// Does what is due.
    fn handle_timeout(&mut self, now_ms: u64) -> Result<(), Ending>;

    /// Says good-bye in the protocol's way, and waits until the broker has everything.
    async fn close(link: Link<'_, Self>) -> Result<(), Failure>;
}

/// What a turn of a link that looks for payloads has come to.
#[derive(Debug)]
pub(super) enum Next {
    /// Something has come, or a timer was due.
    Turned,
    /// A payload, and room for it.
    Payload(Bytes),
    /// There are no more payloads.
    End,
}

/// A connection to a broker.
#[derive(Debug)]
pub(super) struct Link<'a, M> {
    client: &'a mut M,
    place: &'a Place,
    stream: Stream,
    started: Instant,
    /// Read and not yet handed to the machine.
    unread: BytesMut,
    scratch: Box<[u8]>,
    timer: Pin<Box<Sleep>>,
    /// Whether the broker has let us in.
    welcomed: bool,
}

impl<'a, M: Machine> Link<'a, M> {
    /// Opens a connection and asks to be let in. `started` is where the machine's time begins.
    pub(super) async fn open(client: &'a mut M, place: &'a Place, started: Instant) -> Result<Self, Failure> {
        // What cannot be said at all is found before anybody is called.
        client.connect(0)?;
        let stream = match timeout(CONNECT_TIMEOUT, dial(place)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(Failure::ConnectTimeout { place: place.clone(), after: CONNECT_TIMEOUT }),
        };
        client.connect(started.elapsed().as_millis() as u64)?;
        Ok(Self {
            client,
            place,
            stream,
            started,
            unread: BytesMut::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            timer: Box::pin(sleep(Duration::ZERO)),
            welcomed: false,
        })
    }

    /// The machine, for requests.
    pub(super) fn client(&mut self) -> &mut M {
        self.client
    }

    /// The machine's time.
    pub(super) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Whether more may be published without piling up.
    pub(super) fn takes_output(&mut self) -> bool {
        self.client.output().len() < OUTPUT_BYTES
    }

    /// The next event out of what has been read. Packets are looked at one by one: none is acknowledged before the
    /// events of those before it have been taken.
    pub(super) fn next_event(&mut self) -> Result<Option<M::Event>, Failure> {
        loop {
            if let Some(event) = self.client.poll_event() {
                return Ok(Some(event));
            }
            let now_ms = self.now_ms();
            let taken = self.client.take(now_ms, &self.unread);
            self.welcomed |= self.client.is_connected();
            match taken {
                Ok(0) => return Ok(None),
                Ok(len) => self.unread.advance(len),
                Err(_) if !self.welcomed && self.unread.starts_with(&TLS_ALERT) => {
                    return Err(Failure::SpeaksTls { place: self.place.clone() });
                }
                Err(error) => {
                    self.last_word();
                    return Err(self.ended(error));
                }
            }
        }
    }

    pub(super) fn ended(&self, error: Ending) -> Failure {
        Failure::Ended { place: self.place.clone(), error }
    }

    pub(super) fn lost(&self, error: Option<io::Error>) -> Failure {
        let place = self.place.clone();
        // In TLS 1.3 it says only then that it does not accept our certificate.
        let error = match error {
            Some(error) if tls::is_at_fault(&error) => return Failure::Tls { place, error },
            error => error,
        };
        if self.welcomed { Failure::Lost { place, error } } else { Failure::NoAnswer { place } }
    }

    /// Writes what waits as far as it goes at once; the connection is over anyway.
    fn last_word(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_write(&mut cx, self.client.output());
        let _ = Pin::new(&mut self.stream).poll_flush(&mut cx);
    }

    /// Writes what waits, and returns when something has come or a timer was due.
    pub(super) async fn turn(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// As [`Link::turn`].
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let written = self.poll_write(cx);
        // A broker that refuses closes at once: its words may lie there although writing fails.
        if let Poll::Ready(read) = self.poll_read(cx) {
            return Poll::Ready(match read {
                Ok(0) => Err(self.lost(None)),
                Ok(_) => Ok(()),
                Err(error) => Err(self.lost(Some(error))),
            });
        }
        if let Poll::Ready(Err(error)) = written {
            return Poll::Ready(Err(self.lost(Some(error))));
        }
        self.poll_timer(cx)
    }

    /// As [`Link::turn`], with an eye on `source` whenever one is given and there is room for what it may have.
    pub(super) async fn turn_with(
        &mut self,
        mut source: Option<&mut Source>,
        has_room: impl Fn(&mut Self) -> bool,
    ) -> Result<Next, Failure> {
        poll_fn(|cx| {
            loop {
                let wanted = source.is_some() && has_room(self);
                if wanted
                    && let Some(source) = &mut source
                    && let Poll::Ready(payload) = source.poll_next(cx)
                {
                    return Poll::Ready(match payload {
                        None => Ok(Next::End),
                        Some(payload) => payload.map(Next::Payload).map_err(Failure::Input),
                    });
                }
                if let Poll::Ready(turned) = self.poll_turn(cx) {
                    return Poll::Ready(turned.map(|()| Next::Turned));
                }
                // Writing may have made the room that was missing. Nobody would wake us for the next payload then:
                // the source tells of one only after it has been asked.
                if wanted || source.is_none() || !has_room(self) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(due_ms) = self.client.next_wake_ms() else { return Poll::Pending };
        self.timer.as_mut().reset((self.started + Duration::from_millis(due_ms)).into());
        ready!(self.timer.as_mut().poll(cx));
        let now_ms = self.now_ms().max(due_ms);
        Poll::Ready(self.client.handle_timeout(now_ms).map_err(|error| self.ended(error)))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.client.output().is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, self.client.output()))?;
            self.client.output().advance(written);
        }
        // What TLS has sealed may still wait for the socket.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.unread.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes what waits, says that nothing will follow, and reads until the broker closes: closing with unread bytes in
    /// our buffer would make the system reset the connection, and the broker could lose what it has not read yet.
    /// The outer error is that it takes too long.
    pub(super) async fn shut_down(&mut self) -> Result<io::Result<()>, tokio::time::error::Elapsed> {
        let closing = async {
            poll_fn(|cx| {
                // What still comes must be read, or a broker that cannot write would not read either.
                while let Poll::Ready(Ok(1..)) = self.poll_read(cx) {
                    self.unread.clear();
                }
                self.poll_write(cx)
            })
            .await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
            while poll_fn(|cx| self.poll_read(cx)).await? > 0 {}
            io::Result::Ok(())
        };
        timeout(CLOSE_TIMEOUT, closing).await
    }

    /// The connection, with what has been read and not been taken yet, for whoever speaks on in another way.
    pub(super) fn into_stream(self) -> (Stream, BytesMut) {
        (self.stream, self.unread)
    }

    /// The machine, with what it has not taken yet.
    pub(super) fn client_and_unread(&mut self) -> (&mut M, &[u8]) {
        (self.client, &self.unread)
    }
}

async fn dial(place: &Place) -> Result<Stream, Failure> {
    let target = (place.host.as_str(), place.port);
    let addresses =
        lookup_host(target).await.map_err(|error| Failure::NoSuchHost { place: place.clone(), error })?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it a small packet waits for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                return Stream::over(stream, place).await;
            }
            Err(error) => failed = error,
        }
    }
    Err(Failure::Unreachable { place: place.clone(), error: failed })
}
