//! The floor of the comparison: what it costs to forward bytes between MQTT connections and do nothing else.
//!
//! `cargo bench --bench relay -- serve PORT` listens on the loopback until it is killed. It answers CONNECT, SUBSCRIBE and
//! the acknowledgements of QoS 1 and 2 without keeping anything, looks at no more of a PUBLISH than its topic and packet
//! id, and copies the packet into the buffers of whoever wants that topic. Buffers are written once per turn of an epoll
//! loop. It is no broker: no sessions, no checks, no limits but one on what waits for a connection.
//!
//! `serve-tokio PORT` does the same in the shape that programs on tokio usually have; see `usual`.
#![expect(clippy::print_stderr, reason = "a benchmark talks to a terminal")]

mod usual;
mod wire;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use wire::{MAX_PACKET, Packet, field, matches, split};

/// What is read from a connection in one turn, bytes.
const READ: usize = 64 * 1024;

/// A buffer of this many bytes is written before the turn ends, so that what it holds is still in the cache.
const WRITE_AT: usize = 64 * 1024;

/// Whoever has more than this waiting, in bytes, is dropped: nobody who keeps up gets there.
const MOST_WAITING: usize = 64 * 1024 * 1024;

/// What the listener is called among the events.
const LISTENER: u64 = u64::MAX;

struct Seat {
    stream: TcpStream,
    /// The beginning of a packet whose end has not come.
    partial: Vec<u8>,
    out: Vec<u8>,
    /// How much of `out` is written.
    written: usize,
    /// It is among those to be written to at the end of the turn.
    touched: bool,
    /// The socket was full, and tells when it is not.
    blocked: bool,
    v5: bool,
    filters: Vec<Vec<u8>>,
    /// The last topic published to, and who wanted it.
    topic: Vec<u8>,
    recipients: Vec<usize>,
    /// When `recipients` were looked up; 0 is never.
    looked_up: u64,
    next_id: u16,
}

impl Seat {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            partial: Vec::new(),
            out: Vec::new(),
            written: 0,
            touched: false,
            blocked: false,
            v5: false,
            filters: Vec::new(),
            topic: Vec::new(),
            recipients: Vec::new(),
            looked_up: 0,
            next_id: 0,
        }
    }

    /// Takes a PUBLISH over as it is, but for the packet id, which is the recipient's own.
    fn forward(&mut self, packet: &[u8], id_at: Option<usize>) {
        let begin = self.out.len();
        self.out.extend_from_slice(packet);
        if let Some(at) = id_at {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if let Some(id) = self.out.get_mut(begin + at..begin + at + 2) {
                id.copy_from_slice(&self.next_id.to_be_bytes());
            }
        }
    }

    /// Writes as much as the socket takes; true where something is left.
    fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if rest.len() > MOST_WAITING {
                        return Err(ErrorKind::OutOfMemory.into());
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(false)
    }

    fn subscribe(&mut self, body: &[u8]) -> Option<()> {
        let (filters, answer) = wire::subscribe(body, self.v5)?;
        self.filters.extend(filters);
        self.out.extend_from_slice(&answer);
        Some(())
    }
}

struct Relay {
    epoll: std::os::fd::OwnedFd,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    touched: Vec<usize>,
    /// Moves on with whatever changes who gets what.
    generation: u64,
}

impl Relay {
    fn sit(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            self.seats.len() - 1
        });
        epoll::add(&self.epoll, &stream, EventData::new_u64(at as u64), EventFlags::IN)?;
        self.seats[at] = Some(Seat::new(stream));
        Ok(())
    }

    fn leave(&mut self, at: usize) {
        // Closing the socket takes it out of epoll.
        if self.seats[at].take().is_some_and(|seat| !seat.filters.is_empty()) {
            self.generation += 1;
        }
        self.free.push(at);
    }

    /// Reads once and does what the packets say.
    fn read(&mut self, at: usize, scratch: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut seat) = self.seats[at].take() else { return Ok(()) };
        let done = self.serve(at, &mut seat, scratch);
        self.seats[at] = Some(seat);
        self.touch(at);
        done
    }

    fn serve(&mut self, at: usize, seat: &mut Seat, scratch: &mut Vec<u8>) -> io::Result<()> {
        let kept = seat.partial.len();
        scratch.resize(kept.max(MAX_PACKET) + READ, 0);
        scratch[..kept].copy_from_slice(&seat.partial);
        let count = match seat.stream.read(&mut scratch[kept..kept + READ]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        seat.partial.clear();
        let mut rest = &scratch[..kept + count];
        while let Some((packet, behind)) = split(rest)? {
            self.packet(at, seat, &packet)?;
            rest = behind;
        }
        seat.partial.extend_from_slice(rest);
        Ok(())
    }

    fn packet(&mut self, at: usize, seat: &mut Seat, packet: &Packet<'_>) -> io::Result<()> {
        let malformed = || io::Error::from(ErrorKind::InvalidData);
        let id = packet.body.first_chunk::<2>().copied();
        match packet.head >> 4 {
            1 => {
                let (v5, connack) = wire::connected(packet.body).ok_or_else(malformed)?;
                seat.v5 = v5;
                seat.out.extend_from_slice(connack);
            }
            3 => self.publish(at, seat, packet).ok_or_else(malformed)?,
            5 => {
                let id = id.ok_or_else(malformed)?;
                seat.out.extend_from_slice(&[0x62, 2, id[0], id[1]]);
            }
            6 => {
                let id = id.ok_or_else(malformed)?;
                seat.out.extend_from_slice(&[0x70, 2, id[0], id[1]]);
            }
            8 => {
                seat.subscribe(packet.body).ok_or_else(malformed)?;
                self.generation += 1;
            }
            12 => seat.out.extend_from_slice(&[0xd0, 0]),
            14 => return Err(ErrorKind::ConnectionAborted.into()),
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, at: usize, seat: &mut Seat, packet: &Packet<'_>) -> Option<()> {
        let (topic, rest) = field(packet.body)?;
        if seat.looked_up != self.generation || seat.topic != topic {
            seat.topic.clear();
            seat.topic.extend_from_slice(topic);
            seat.looked_up = self.generation;
            seat.recipients.clear();
            for (other, taken) in self.seats.iter().enumerate() {
                let filters =
                    if other == at { Some(&seat.filters) } else { taken.as_ref().map(|s| &s.filters) };
                if filters.is_some_and(|filters| filters.iter().any(|filter| matches(filter, topic))) {
                    seat.recipients.push(other);
                }
            }
        }
        let mut id_at = None;
        if packet.qos() > 0 {
            let id = rest.first_chunk::<2>()?;
            id_at = Some(packet.whole.len() - rest.len());
            let kind = if packet.qos() == 1 { 0x40 } else { 0x50 };
            seat.out.extend_from_slice(&[kind, 2, id[0], id[1]]);
        }
        let recipients = std::mem::take(&mut seat.recipients);
        for &to in &recipients {
            if to == at {
                seat.forward(packet.whole, id_at);
            } else if let Some(other) = self.seats[to].as_mut() {
                other.forward(packet.whole, id_at);
                let early = other.out.len() >= WRITE_AT && !other.blocked;
                self.touch(to);
                if early {
                    self.write(to);
                }
            }
        }
        seat.recipients = recipients;
        Some(())
    }

    fn touch(&mut self, at: usize) {
        if let Some(seat) = self.seats[at].as_mut().filter(|seat| !seat.touched) {
            seat.touched = true;
            self.touched.push(at);
        }
    }

    /// Writes to a connection, and asks to be told when it takes more.
    fn write(&mut self, at: usize) {
        let Some(seat) = self.seats[at].as_mut() else { return };
        let Ok(blocked) = seat.flush() else {
            // Its next read finds the end.
            let _ = seat.stream.shutdown(std::net::Shutdown::Both);
            seat.out.clear();
            seat.written = 0;
            return;
        };
        if blocked != seat.blocked {
            seat.blocked = blocked;
            let wanted = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let _ = epoll::modify(&self.epoll, &seat.stream, EventData::new_u64(at as u64), wanted);
        }
    }

    fn flush_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for at in touched.drain(..) {
            if let Some(seat) = self.seats[at].as_mut() {
                seat.touched = false;
                self.write(at);
            }
        }
        self.touched = touched;
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut relay = Relay { epoll, seats: Vec::new(), free: Vec::new(), touched: Vec::new(), generation: 1 };
    let mut scratch = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&relay.epoll, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (flags, data) = (event.flags, event.data.u64());
            if data == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.sit(stream)?;
                }
                continue;
            }
            let at = data as usize;
            if flags.contains(EventFlags::OUT) {
                relay.write(at);
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
                && relay.read(at, &mut scratch).is_err()
            {
                relay.leave(at);
            }
        }
        relay.flush_touched();
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [word, port] if word == "serve" || word == "serve-tokio" => match port.parse() {
            Ok(port) if word == "serve" => serve(port),
            Ok(port) => usual::serve(port),
            Err(_) => Err(io::Error::other(format!("port {port} is no number from 1 to 65535"))),
        },
        // `cargo bench` without arguments builds and runs everything: there is nothing to measure then.
        _ => {
            eprintln!(
                "relay: write serve PORT or serve-tokio PORT; see the head of benches/compare/relay/main.rs"
            );
            Ok(())
        }
    }
}
