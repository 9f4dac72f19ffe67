//! The worker's loop under load: the reactor with the least broker that an MQTT load generator accepts.
//!
//! `cargo bench --bench reactor -- serve --port 1883 [--workers 2]` serves until it is killed. Routing is one look-up
//! in a fixed table (exact filters, and wildcard filters by their prefix); no ACL, no store, no v5: what is measured is
//! the loop, and nothing here is a broker. README.md beside it has the commands and the results.
#![expect(clippy::print_stderr, reason = "a benchmark talks to a terminal")]

use std::{collections::VecDeque, net::SocketAddr, num::NonZeroU16, sync::Arc, thread, time::Instant};

use noctule::reactor::{
    Accept, Close, Closed, Config, Detached, Handler, Io, Mailboxes, NoLayer, Origin, OutBuf, Pull, listen,
    run,
};
use noctule_core::{
    hash::{Map, Seed},
    id::{ConnId, Qos, SessionId, WorkerId},
    message::{Fields, Message, MessagePool, Publish},
    topic::TopicName,
};
use noctule_mqtt::{
    Direction, Frame, Framer, PacketType, PublishHead, Split, Version, decode_publish, encode_publish_head,
};

/// Largest packet accepted, in bytes.
const MAX_PACKET_BYTES: u32 = 1024 * 1024;

type Seat = (WorkerId, ConnId);

enum Mail {
    Subscribed { key: Vec<u8>, seat: Seat },
    Gone(Seat),
    Deliver { to: ConnId, message: Arc<Message> },
    Moved(Box<Detached<NoLayer>>),
}

struct Client {
    conn: ConnId,
    framer: Framer,
    queue: VecDeque<Arc<Message>>,
    next_packet_id: NonZeroU16,
    /// Where its last topic led; a publisher tends to stay with one.
    route: Option<(Box<[u8]>, usize)>,
}

struct Spike {
    clients: Vec<Option<Box<Client>>>,
    groups: Map<Box<[u8]>, usize>,
    members: Vec<Vec<Seat>>,
    messages: MessagePool,
    seed: Seed,
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((
        std::str::from_utf8(text)
            .ok()
            .filter(|text| !text.bytes().fold(false, |any, byte| any | (byte == 0)))?,
        rest,
    ))
}

/// What the routes need of a PUBLISH of MQTT 3.1.1.
fn publish<'a>(frame: &Frame<'a>) -> Option<Publish<'a>> {
    let publish = decode_publish(Version::V311, Direction::ToServer, frame).ok()?;
    Some(Publish {
        topic: TopicName::from_validated(publish.topic),
        fields: Fields::default(),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.packet_id,
        expiry_s: None,
    })
}

impl Spike {
    fn new(seed: Seed) -> Self {
        Self {
            clients: Vec::new(),
            groups: Map::with_hasher(seed.clone()),
            members: Vec::new(),
            messages: MessagePool::default(),
            seed,
        }
    }

    fn enter(&mut self, conn: ConnId) {
        let slot = conn.slot as usize;
        if self.clients.len() <= slot {
            self.clients.resize_with(slot + 1, || None);
        }
        let framer = Framer::awaiting_connect(MAX_PACKET_BYTES);
        let client =
            Client { conn, framer, queue: VecDeque::new(), next_packet_id: NonZeroU16::MIN, route: None };
        self.clients[slot] = Some(Box::new(client));
    }

    fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.clients.get_mut(conn.slot as usize)?.as_deref_mut().filter(|client| client.conn == conn)
    }

    fn join(&mut self, key: &[u8], seat: Seat) {
        let group = *self.groups.entry(key.into()).or_insert_with(|| {
            self.members.push(Vec::new());
            self.members.len() - 1
        });
        self.members[group].push(seat);
    }

    fn route(&mut self, conn: ConnId, topic: &[u8]) -> Option<usize> {
        if let Some((known, group)) = &self.client(conn)?.route
            && **known == *topic
        {
            return Some(*group);
        }
        let prefixes = (0..topic.len()).rev().filter(|at| topic[*at] == b'/').map(|at| &topic[..=at]);
        let group = *std::iter::once(topic).chain(prefixes).find_map(|key| self.groups.get(key))?;
        self.client(conn)?.route = Some((topic.into(), group));
        Some(group)
    }

    fn deliver(&mut self, io: &mut Io<Self>, conn: ConnId, message: Arc<Message>) {
        if let Some(client) = self.client(conn) {
            client.queue.push_back(message);
            io.mark_dirty(conn);
        }
    }

    fn packet(&mut self, io: &mut Io<Self>, conn: ConnId, frame: &Frame<'_>) -> Option<()> {
        let me = io.worker();
        match frame.packet_type()? {
            PacketType::Connect => {
                self.client(conn)?.framer = Framer::new(Version::V311, Direction::ToServer, MAX_PACKET_BYTES);
                io.out(conn)?.put().extend_from_slice(&[0x20, 2, 0, 0]);
            }
            PacketType::Publish => {
                let publish = publish(frame)?;
                if let Some(id) = publish.packet_id {
                    let [high, low] = id.get().to_be_bytes();
                    io.out(conn)?.put().extend_from_slice(&[0x40, 2, high, low]);
                }
                if let Some(group) = self.route(conn, publish.topic.as_str().as_bytes()) {
                    let message = self.messages.take(&publish, SessionId::NOBODY, io.now().mono_ms);
                    // Moved to the last member: with one, which is most often, the count of owners is never touched.
                    let count = self.members[group].len();
                    let copies = std::iter::repeat_n(message, count);
                    for (member, message) in copies.enumerate() {
                        let (worker, to) = self.members[group][member];
                        if worker == me {
                            self.deliver(io, to, message);
                        } else {
                            io.post(worker, Mail::Deliver { to, message });
                        }
                    }
                }
            }
            PacketType::PubAck => {}
            PacketType::Subscribe => {
                let (id, rest) = frame.body.split_first_chunk::<2>()?;
                let (filter, _) = text(rest)?;
                let key = filter.split(['+', '#']).next()?.as_bytes();
                self.join(key, (me, conn));
                for worker in (0..io.workers() as u16).map(WorkerId).filter(|worker| *worker != me) {
                    io.post_control(worker, Mail::Subscribed { key: key.to_vec(), seat: (me, conn) });
                }
                io.out(conn)?.put().extend_from_slice(&[0x90, 3, id[0], id[1], 1]);
            }
            PacketType::PingReq => io.out(conn)?.put().extend_from_slice(&[0xD0, 0]),
            PacketType::Disconnect => io.close(conn, Close::Now),
            _ => return None,
        }
        Some(())
    }

    /// The worker where the client of this CONNECT belongs.
    fn home(&self, io: &Io<Self>, connect: &[u8]) -> Option<WorkerId> {
        let (_, rest) = text(connect)?;
        let (client_id, _) = text(rest.get(4..)?)?;
        Some(WorkerId((self.seed.hash(client_id) % io.workers() as u64) as u16))
    }
}

impl Handler for Spike {
    type Mail = Mail;
    type Layer = NoLayer;

    fn accepted(&mut self, _: &mut Io<Self>, conn: ConnId, _: Origin, _: usize) -> Accept<NoLayer> {
        self.enter(conn);
        Accept::Keep
    }

    fn read(&mut self, io: &mut Io<Self>, conn: ConnId, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        while let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
            let Some(framer) = self.client(conn).map(|client| client.framer) else { break };
            let frame = match framer.split(rest) {
                Ok(Split::Frame(frame)) => frame,
                Ok(Split::Incomplete { .. }) => break,
                Err(_) => {
                    io.close(conn, Close::Now);
                    break;
                }
            };
            if frame.packet_type() == Some(PacketType::Connect)
                && io.workers() > 1
                && let Some(home) = self.home(io, frame.body).filter(|home| *home != io.worker())
            {
                self.clients[conn.slot as usize] = None;
                if let Some(detached) = io.detach(conn, rest) {
                    io.post_control(home, Mail::Moved(Box::new(detached)));
                }
                return bytes.len();
            }
            if self.packet(io, conn, &frame).is_none() {
                io.close(conn, Close::Now);
                break;
            }
            consumed += frame.len;
        }
        consumed
    }

    fn mail(&mut self, io: &mut Io<Self>, _: WorkerId, mail: Mail) {
        match mail {
            Mail::Subscribed { key, seat } => self.join(&key, seat),
            Mail::Gone(seat) => self.leave(seat),
            Mail::Deliver { to, message } => self.deliver(io, to, message),
            Mail::Moved(detached) => {
                if let Ok(conn) = io.adopt(*detached) {
                    self.enter(conn);
                }
            }
        }
    }

    fn pull(&mut self, _: &mut Io<Self>, conn: ConnId, out: &mut OutBuf) -> Pull {
        let Self { clients, messages, .. } = self;
        let client = clients.get_mut(conn.slot as usize).and_then(Option::as_deref_mut);
        let Some(client) = client.filter(|client| client.conn == conn) else { return Pull::Done };
        while out.has_room() {
            let Some(message) = client.queue.pop_front() else {
                // An idle subscriber is to own no queue, but a busy one not to grow it anew each turn.
                if client.queue.capacity() > 64 {
                    client.queue = VecDeque::new();
                }
                return Pull::Done;
            };
            encode(client, &message, out);
            messages.give_back(message);
        }
        Pull::More
    }

    fn closed(&mut self, io: &mut Io<Self>, conn: ConnId, _: Closed) {
        if let Some(client) = self.clients.get_mut(conn.slot as usize) {
            *client = None;
        }
        let me = io.worker();
        self.leave((me, conn));
        for worker in (0..io.workers() as u16).map(WorkerId).filter(|worker| *worker != me) {
            io.post_control(worker, Mail::Gone((me, conn)));
        }
    }

    fn turn(&mut self, _: &mut Io<Self>) -> Option<u64> {
        None
    }

    fn accept_failed(&mut self, _: &mut Io<Self>, _: usize, error: &std::io::Error) {
        eprintln!("accept: {error}");
    }
}

impl Spike {
    fn leave(&mut self, seat: Seat) {
        for group in &mut self.members {
            group.retain(|member| *member != seat);
        }
    }
}

fn encode(client: &mut Client, message: &Arc<Message>, out: &mut OutBuf) {
    let qos = message.qos();
    let packet_id = (qos > Qos::AtMostOnce).then_some(client.next_packet_id);
    client.next_packet_id = client.next_packet_id.checked_add(1).unwrap_or(NonZeroU16::MIN);
    let head = PublishHead { qos, packet_id, ..PublishHead::default() };
    if encode_publish_head(Version::V311, message, &head, out.put()).is_ok() {
        out.put_payload(message);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u16>().ok()
    };
    if !arguments.iter().any(|argument| argument == "serve") {
        eprintln!("usage: cargo bench --bench reactor -- serve --port 1883 [--workers 1]");
        return;
    }
    let address = SocketAddr::from(([127, 0, 0, 1], number("--port").unwrap_or(1883)));
    let workers = number("--workers").unwrap_or(1).max(1);
    let listener = match listen(address) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("can't listen on {address}: {error}"),
    };
    let mailboxes = Mailboxes::new(workers);
    let config = Config { started: Instant::now(), ..Config::default() };
    let serve = |worker: u16| {
        let (mailboxes, listener) = (mailboxes.clone(), listener.try_clone());
        move || {
            let handler = Spike::new(Seed::new(1));
            if let Err(error) = listener.and_then(|listener| {
                run(WorkerId(worker), config, mailboxes, vec![listener.into()], handler).map(drop)
            }) {
                eprintln!("worker {worker}: {error}");
            }
        }
    };
    let threads: Vec<_> = (1..workers).map(|worker| thread::spawn(serve(worker))).collect();
    serve(0)();
    for thread in threads {
        let _ = thread.join();
    }
}
