//! A client machine on a blocking socket that comes back whenever the broker does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use noctule_mqtt::Reason;
use noctule_mqtt::client::{Client, ClientError, Event, Options};

use crate::world::World;

/// How long one turn waits for something to come.
const TURN: Duration = Duration::from_millis(2);

/// How long the broker may take to read on.
const WRITE: Duration = Duration::from_secs(10);

/// Pause after something went wrong that a new connection would most likely run into again.
const PAUSE: Duration = Duration::from_millis(100);

/// A client, connected or not.
pub(crate) struct Link<'w> {
    world: &'w World,
    pub(crate) machine: Client,
    stream: Option<TcpStream>,
    unread: BytesMut,
    scratch: Vec<u8>,
    started: Instant,
}

impl<'w> Link<'w> {
    pub(crate) fn new(world: &'w World, options: Options) -> Self {
        Self {
            world,
            machine: Client::new(options),
            stream: None,
            unread: BytesMut::new(),
            scratch: vec![0; 64 * 1024],
            started: Instant::now(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn is_up(&self) -> bool {
        self.stream.is_some()
    }

    /// Connects, waiting for the broker to be there; whether the session was. `None` when the run is over.
    pub(crate) fn connect(&mut self) -> Option<bool> {
        while !self.world.is_over() {
            let dialled =
                self.world.port().and_then(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
            let Some(stream) = dialled else {
                std::thread::sleep(TURN);
                continue;
            };
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(TURN)).unwrap();
            stream.set_write_timeout(Some(WRITE)).unwrap();
            self.stream = Some(stream);
            self.unread.clear();
            self.machine.connect(self.now_ms()).unwrap();
            while self.is_up() && !self.world.is_over() {
                self.turn();
                if let Some(Event::Connected(welcome)) = self.machine.poll_event() {
                    return Some(welcome.session_present);
                }
            }
        }
        None
    }

    /// Writes what waits, reads what has come within a moment. Events may be there afterwards, the connection may not.
    pub(crate) fn turn(&mut self) {
        if self.write().and_then(|()| self.read()).is_err() {
            self.lose();
            return;
        }
        let now_ms = self.now_ms();
        let taken = match self.machine.handle_bytes(now_ms, &self.unread) {
            Ok(used) => {
                self.unread.advance(used);
                self.machine.handle_timeout(now_ms)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            self.complain(&error);
            self.lose();
            std::thread::sleep(PAUSE);
        }
    }

    /// A kill closes connections without a word; a broker that was asked to end says so.
    fn complain(&self, error: &ClientError) {
        if error.verdict().is_some_and(|verdict| verdict.reason == Reason::SERVER_SHUTTING_DOWN) {
            return;
        }
        let name = &self.machine.options().client_id;
        self.world.wrong(format!("{name}: {error}"));
    }

    fn write(&mut self) -> std::io::Result<()> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        stream.write_all(self.machine.output())?;
        self.machine.output().clear();
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<()> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        match stream.read(&mut self.scratch) {
            Ok(0) => Err(ErrorKind::ConnectionAborted.into()),
            Ok(len) => {
                self.unread.extend_from_slice(&self.scratch[..len]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Goes away without a word, or what is left of a connection that is gone.
    pub(crate) fn lose(&mut self) {
        self.machine.connection_lost();
        self.stream = None;
    }

    /// Says good-bye first. What the broker still has to say is not waited for.
    pub(crate) fn leave(&mut self) {
        if self.machine.disconnect(self.now_ms(), Reason::SUCCESS, None).is_ok() && self.write().is_ok() {
            let _ = self.stream.as_ref().map(|stream| stream.shutdown(Shutdown::Write));
        }
        self.lose();
    }
}
