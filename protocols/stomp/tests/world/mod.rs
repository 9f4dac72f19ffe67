//! STOMP clients by hand on the real engine: bytes in, frames out, a clock that is set, a store that settles at once.
//!
//! What the machine asks of the engine is noted on the way, so that a test can look at that as well.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test uses its part of the kit")]

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::BytesMut;
use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{
    Access, Connect, Delivery, Effect, Effects, FilterRequest, Input, Outlet, RetainHandling, Sent,
};
use noctule_core::engine::Engine;
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, Qos, WorkerId};
use noctule_core::message::{Fields, Publish};
use noctule_core::policy::{Limits, Policy};
use noctule_core::refusal::{Kind, Refusal};
use noctule_core::retained::RetainedLimits;
use noctule_core::shared::Shared;
use noctule_core::store::{MemoryStore, Store};
use noctule_core::topic::TopicName;
use noctule_stomp::server::{Scratch, Server, ServerLimits, Step, Surroundings, Then};
use noctule_stomp::{Command, Dialect, Direction, FrameLimits, Framer, Reading, Split, Token, Version};

/// A frame that a client was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) command: Command,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    /// The first header of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The `receipt-id` of a RECEIPT; an ERROR has one too, and is none.
    #[track_caller]
    pub(crate) fn receipt(&self) -> &str {
        assert_eq!(self.command, Command::Receipt, "{self:?}");
        self.header("receipt-id")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A message as an MQTT 5 client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mqtt {
    pub(crate) topic: String,
    pub(crate) fields: Vec<String>,
    pub(crate) body: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

enum Wire {
    Stomp { server: Box<Server>, unread: Vec<u8>, out: BytesMut },
    Mqtt(Vec<Mqtt>),
}

struct Client {
    wire: Wire,
    closed: Option<Kind>,
    /// The client's name and user, as authentication would find them.
    user: Option<String>,
}

/// A broker of one worker and its clients, by their number.
pub(crate) struct World {
    engine: Engine,
    store: MemoryStore,
    clients: Vec<Client>,
    scratch: Scratch,
    pub(crate) limits: ServerLimits,
    pub(crate) core: Limits,
    pub(crate) dialect: Dialect,
    pub(crate) now: Now,
    /// What was asked of the engine, in words.
    pub(crate) asked: Vec<String>,
    /// What the last CONNECT said of who it is.
    pub(crate) credentials: String,
}

fn conn(client: usize) -> ConnId {
    ConnId { slot: u32::try_from(client).unwrap(), generation: 1 }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Dialect::Native, Limits::default())
    }

    pub(crate) fn of(dialect: Dialect, core: Limits) -> Self {
        let shared = Arc::new(Shared::new(&Seed::new(1), 1, RetainedLimits::default()));
        let policy = Policy { epoch: 1, limits: core.clone(), ..Policy::default() };
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        Self {
            engine: Engine::new(WorkerId(0), shared, Arc::new(policy), now),
            store: MemoryStore::default(),
            clients: Vec::new(),
            scratch: Scratch::default(),
            limits: ServerLimits::default(),
            core,
            dialect,
            now,
            asked: Vec::new(),
            credentials: String::new(),
        }
    }

    /// A connection that has said nothing.
    pub(crate) fn open(&mut self) -> usize {
        let client = self.clients.len();
        let token = Token::new([client as u8 + 1; 16]);
        let server = Box::new(Server::new(self.dialect, token));
        let wire = Wire::Stomp { server, unread: Vec::new(), out: BytesMut::new() };
        self.clients.push(Client { wire, closed: None, user: None });
        self.give(Input::Opened(conn(client)));
        client
    }

    /// A connected client of that version.
    pub(crate) fn connect(&mut self, version: Version) -> usize {
        self.connect_with(version, "")
    }

    /// A connected client with more headers (whole lines) in its CONNECT.
    pub(crate) fn connect_with(&mut self, version: Version, headers: &str) -> usize {
        let client = self.open();
        let accept = match version {
            Version::V10 => String::new(),
            version => format!("accept-version:{version}\nhost:x\n"),
        };
        self.send(client, &format!("CONNECT\n{accept}{headers}\n\0"));
        let got = self.take(client);
        assert_eq!(got.first().map(|frame| frame.command), Some(Command::Connected), "{got:?}");
        client
    }

    /// An MQTT client that is subscribed at QoS 1.
    pub(crate) fn mqtt(&mut self, filter: &str) -> usize {
        let client = self.clients.len();
        self.clients.push(Client { wire: Wire::Mqtt(Vec::new()), closed: None, user: None });
        self.give(Input::Opened(conn(client)));
        let name = format!("mqtt{client}");
        self.give(Input::Connect(
            conn(client),
            Connect {
                client_id: &name,
                user: None,
                access: Access::default(),
                clean_start: true,
                expiry_s: 0,
                receive_maximum: NonZeroU16::MAX,
                keep_alive_s: 0,
                is_v5: true,
                will: None,
                durability: None,
                beats: None,
            },
        ));
        let request = FilterRequest {
            filter,
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::Always,
        };
        self.give(Input::Subscribe {
            conn: conn(client),
            packet_id: NonZeroU16::MIN,
            id: None::<NonZeroU32>,
            selector: None,
            filters: &[request],
        });
        client
    }

    /// What an MQTT client publishes, with fields in their encoding.
    pub(crate) fn mqtt_publish(
        &mut self,
        client: usize,
        topic: &str,
        fields: &[u8],
        body: &[u8],
        retain: bool,
    ) {
        self.give(Input::Publish(
            conn(client),
            Publish {
                topic: TopicName::from_validated(topic),
                fields: Fields::from_validated([fields, &[], &[]]),
                payload: body,
                qos: Qos::AtMostOnce,
                retain,
                dup: false,
                packet_id: None,
                expiry_s: None,
            },
        ));
    }

    /// What an MQTT client was sent since the last time.
    pub(crate) fn mqtt_take(&mut self, client: usize) -> Vec<Mqtt> {
        match &mut self.clients[client].wire {
            Wire::Mqtt(seen) => std::mem::take(seen),
            Wire::Stomp { .. } => panic!("a client of STOMP"),
        }
    }

    /// The client sends; the answers wait for [`World::take`].
    pub(crate) fn send(&mut self, client: usize, text: &str) {
        self.send_bytes(client, text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, client: usize, bytes: &[u8]) {
        let Wire::Stomp { unread, .. } = &mut self.clients[client].wire else { panic!("not of STOMP") };
        unread.extend_from_slice(bytes);
        while self.read_one(client) {}
    }

    /// Sends a frame without a body.
    pub(crate) fn frame(&mut self, client: usize, lines: &str) -> Vec<Got> {
        self.send(client, &format!("{lines}\n\n\0"));
        self.take(client)
    }

    /// What the client was sent since the last time.
    pub(crate) fn take(&mut self, client: usize) -> Vec<Got> {
        let Wire::Stomp { server, out, .. } = &mut self.clients[client].wire else { panic!("not of STOMP") };
        let bytes = out.split();
        let version = Some(server.version().unwrap_or(Version::V10));
        let reading = Reading { version, direction: Direction::ToClient };
        let limits = FrameLimits { max_headers: 1000, max_header_line: 100_000, ..FrameLimits::default() };
        let (mut framer, mut at, mut got) = (Framer::new(), 0, Vec::new());
        loop {
            match framer.split(&bytes[at..], reading, &limits).unwrap() {
                Split::Frame(frame) => {
                    let headers = frame.headers.iter();
                    let headers =
                        headers.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                    got.push(Got { command: frame.command, headers, body: frame.body.to_vec() });
                    at += frame.len;
                }
                Split::Beats(len) => at += len,
                Split::Incomplete => break,
            }
        }
        assert_eq!(at, bytes.len(), "half a frame was written: {:?}", String::from_utf8_lossy(&bytes));
        got
    }

    /// The bytes that the client was sent since the last time.
    pub(crate) fn take_bytes(&mut self, client: usize) -> Vec<u8> {
        let Wire::Stomp { out, .. } = &mut self.clients[client].wire else { panic!("not of STOMP") };
        out.split().to_vec()
    }

    /// The only frame that the client was sent since the last time.
    #[track_caller]
    pub(crate) fn take_one(&mut self, client: usize) -> Got {
        let got = self.take(client);
        let [frame] = &got[..] else { panic!("not one frame: {got:#?}") };
        frame.clone()
    }

    /// The ERROR that the client was sent, after which its connection is closed.
    #[track_caller]
    pub(crate) fn error(&mut self, client: usize) -> Got {
        let error = self.take(client).pop().unwrap_or_else(|| panic!("nothing was sent"));
        assert_eq!(error.command, Command::Error, "{error:?}");
        assert!(self.closed(client).is_some(), "not closed after {error:?}");
        assert!(!error.header("message").contains('\n'), "{error:?}");
        assert_eq!(error.header("content-type"), "text/plain");
        error
    }

    /// Why the connection was closed, if it was.
    pub(crate) fn closed(&self, client: usize) -> Option<Kind> {
        self.clients[client].closed
    }

    pub(crate) fn server(&self, client: usize) -> &Server {
        match &self.clients[client].wire {
            Wire::Stomp { server, .. } => server,
            Wire::Mqtt(_) => panic!("a client of MQTT"),
        }
    }

    /// The last request to the engine, in words.
    #[track_caller]
    pub(crate) fn last_asked(&self) -> &str {
        self.asked.last().unwrap()
    }

    /// The connection is lost.
    pub(crate) fn lose(&mut self, client: usize) {
        self.clients[client].closed.get_or_insert(Kind::KeepAliveTimeout);
        self.give(Input::Closed(conn(client)));
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.give(Input::Tick);
    }

    /// Who the next CONNECT is found to be.
    pub(crate) fn authenticate_as(&mut self, client: usize, user: &str) {
        self.clients[client].user = Some(user.into());
    }

    fn read_one(&mut self, client: usize) -> bool {
        let Self { engine, clients, scratch, limits, core, now, asked, credentials, .. } = self;
        let Client { wire: Wire::Stomp { server, unread, .. }, closed: None, user } = &mut clients[client]
        else {
            return false;
        };
        let around = Surroundings { stomp: limits, core, now: *now };
        let mut fx = Effects::default();
        let refusal = match server.split(unread, around) {
            Ok(Split::Incomplete) => return false,
            Ok(Split::Beats(len)) => {
                unread.drain(..len);
                engine.handle(*now, Input::Heard(conn(client)), &mut fx);
                None
            }
            Ok(Split::Frame(frame)) => {
                let len = frame.len;
                let step = server.frame(conn(client), &frame, around, scratch, |input| {
                    asked.push(format!("{input:?}"));
                    engine.handle(*now, input, &mut fx);
                });
                let refusal = match step {
                    Ok(Step::Done) => None,
                    Ok(Step::Connect(connect)) => {
                        *credentials = format!(
                            "{:?} {:?} or {:?}",
                            connect.credentials.login,
                            connect.credentials.passcode,
                            connect.otherwise.as_ref().map(|other| (&other.login, &other.passcode))
                        );
                        let name = server.session().to_owned();
                        let connect = server.begin(&connect, &name, user.as_deref(), around);
                        asked.push(format!("{connect:?}"));
                        engine.handle(*now, Input::Connect(conn(client), connect), &mut fx);
                        None
                    }
                    Err(refusal) => Some(refusal),
                };
                unread.drain(..len);
                refusal
            }
            Err(refusal) => Some(refusal),
        };
        self.carry_out(fx);
        if let Some(refusal) = refusal {
            self.refuse(client, &refusal);
            self.give(Input::Closed(conn(client)));
        }
        true
    }

    fn refuse(&mut self, client: usize, refusal: &Refusal) {
        let Client { wire, closed, .. } = &mut self.clients[client];
        if let (Wire::Stomp { server, out, .. }, None) = (wire, &closed) {
            server.refuse(refusal, out);
        }
        closed.get_or_insert(refusal.kind);
    }

    fn give(&mut self, input: Input<'_>) {
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        self.carry_out(fx);
    }

    fn carry_out(&mut self, fx: Effects) {
        for effect in fx.list {
            match effect {
                Effect::Reply(to, reply) => {
                    let Client { wire, closed, .. } = &mut self.clients[to.slot as usize];
                    if let Wire::Stomp { server, out, .. } = wire {
                        let around = Surroundings { stomp: &self.limits, core: &self.core, now: self.now };
                        if server.reply(&reply, around, out).unwrap() == Then::Close {
                            closed.get_or_insert(Kind::AdministrativeAction);
                        }
                    }
                }
                Effect::Close(to, refusal) => self.refuse(to.slot as usize, &refusal),
                Effect::Store(ticket, op) => self.store.submit(ticket, op).unwrap(),
                Effect::Log(_) | Effect::Pause(_) | Effect::Resume(_) => {}
                Effect::Load(_) | Effect::Peer(..) => panic!("one engine alone: {effect:?}"),
            }
        }
        for to in fx.dirty {
            let mut fx = Effects::default();
            let Self { engine, clients, scratch, now, .. } = self;
            let mut pipe = Pipe { wire: &mut clients[to.slot as usize].wire, scratch, now: *now };
            engine.pull(*now, to, &mut pipe, &mut fx);
            self.carry_out(fx);
        }
        while let Some(event) = self.store.poll() {
            self.give(Input::Store(event));
        }
    }
}

struct Pipe<'a> {
    wire: &'a mut Wire,
    scratch: &'a mut Scratch,
    now: Now,
}

impl Outlet for Pipe<'_> {
    fn has_room(&self) -> bool {
        true
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let message = delivery.message;
        match self.wire {
            Wire::Stomp { server, out, .. } => {
                let start = out.len();
                let sent = server.deliver(delivery, self.now, self.scratch, out);
                if let Sent::Written(len) = sent {
                    out.extend_from_slice(message.payload());
                    out.extend_from_slice(b"\0");
                    assert_eq!(out.len() - start, len, "the length that was said");
                }
                sent
            }
            Wire::Mqtt(seen) => {
                seen.push(Mqtt {
                    topic: message.topic().as_str().into(),
                    fields: message.fields().iter().map(|field| format!("{field:?}")).collect(),
                    body: String::from_utf8_lossy(message.payload()).into_owned(),
                    qos: delivery.qos,
                    retain: delivery.retain,
                });
                Sent::Written(message.payload().len())
            }
        }
    }

    fn release(&mut self, _: NonZeroU16) {}

    fn end_of_browse(&mut self, consumer: ConsumerId) {
        if let Wire::Stomp { server, out, .. } = self.wire {
            server.end_of_browse(consumer, out);
        }
    }
}
