//! A client machine on a socket: bytes in, bytes out, timers. What the events mean is the commands' to know.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use noctule_mqtt::Reason;
use noctule_mqtt::client::{Client, ClientError, Event};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Sleep, sleep, timeout};

use super::failure::{Failure, Place};

/// How long name look-up and TCP's handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the broker may take to read our last words and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Output that may wait before no more is made.
const OUTPUT_BYTES: usize = 256 * 1024;

/// A connection to a broker.
#[derive(Debug)]
pub(super) struct Link<'a> {
    client: &'a mut Client,
    place: &'a Place,
    stream: TcpStream,
    started: Instant,
    /// Read and not yet handed to the machine.
    unread: BytesMut,
    scratch: Box<[u8]>,
    timer: Pin<Box<Sleep>>,
    /// Whether CONNACK has come.
    welcomed: bool,
}

impl<'a> Link<'a> {
    /// Opens a connection and sends CONNECT. `started` is where the machine's time begins.
    pub(super) async fn open(
        client: &'a mut Client,
        place: &'a Place,
        started: Instant,
    ) -> Result<Self, Failure> {
        // What cannot be said at all is found before anybody is called.
        client.connect(0).map_err(Failure::Impossible)?;
        let stream = match timeout(CONNECT_TIMEOUT, dial(place)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(Failure::ConnectTimeout { place: place.clone(), after: CONNECT_TIMEOUT }),
        };
        // Without it a small packet waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        client.connect(started.elapsed().as_millis() as u64).map_err(Failure::Impossible)?;
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
    pub(super) fn client(&mut self) -> &mut Client {
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
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.client.poll_event() {
                self.welcomed |= matches!(event, Event::Connected(_));
                return Ok(Some(event));
            }
            let now_ms = self.now_ms();
            match self.client.handle_packet(now_ms, &self.unread) {
                Ok(0) => return Ok(None),
                Ok(len) => self.unread.advance(len),
                Err(error) => {
                    self.last_word();
                    return Err(self.ended(error));
                }
            }
        }
    }

    fn ended(&self, error: ClientError) -> Failure {
        Failure::Ended { place: self.place.clone(), error }
    }

    fn lost(&self, error: Option<io::Error>) -> Failure {
        let place = self.place.clone();
        if self.welcomed { Failure::Lost { place, error } } else { Failure::NoAnswer { place } }
    }

    /// Writes what waits as far as it goes at once; the connection is over anyway.
    fn last_word(&mut self) {
        let _ = self.stream.try_write(self.client.output());
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
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.unread.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Says good-bye, and waits until the broker has read everything: closing with unread bytes in our buffer would
    /// make the system reset the connection, and the broker could lose what it has not read yet.
    pub(super) async fn close(mut self) -> Result<(), Failure> {
        let now_ms = self.now_ms();
        if self.client.disconnect(now_ms, Reason::SUCCESS, None).is_err() {
            return Ok(());
        }
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
        let closed = timeout(CLOSE_TIMEOUT, closing).await;
        // Messages are ignored now; a DISCONNECT says that something sent before was not taken.
        match self.client.handle_bytes(now_ms, &self.unread) {
            Err(error) if error.verdict().is_some_and(|verdict| verdict.reason.is_failure()) => {
                return Err(self.ended(error));
            }
            _ => {}
        }
        match closed {
            Ok(Err(error)) => Err(self.lost(Some(error))),
            Err(_) if !self.client.output().is_empty() => {
                Err(self.lost(Some(io::Error::new(io::ErrorKind::TimedOut, "it reads no more"))))
            }
            _ => Ok(()),
        }
    }
}

async fn dial(place: &Place) -> Result<TcpStream, Failure> {
    let target = (place.host.as_str(), place.port);
    let addresses =
        lookup_host(target).await.map_err(|error| Failure::NoSuchHost { place: place.clone(), error })?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(Failure::Unreachable { place: place.clone(), error: failed })
}
