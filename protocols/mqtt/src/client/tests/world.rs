//! Our own server in memory: one engine, any number of connections, a clock that stands until it is moved.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use noctule_core::effects::{Delivery, Effect, Effects, Input, Outlet, Sent};
use noctule_core::engine::{Engine, Pulled};
use noctule_core::hash::Seed;
use noctule_core::id::{ConnId, Now, WorkerId};
use noctule_core::policy::Policy;
use noctule_core::retained::RetainedLimits;
use noctule_core::shared::Shared;
use noctule_core::store::{MemoryStore, Store};

use crate::Split;
use crate::server::{AuthMethods, Server, ServerLimits, Step, Surroundings};

struct Peer {
    server: Server,
    unread: BytesMut,
    out: BytesMut,
    open: bool,
}

/// A broker of one worker.
pub(super) struct World {
    engine: Engine,
    store: MemoryStore,
    fx: Effects,
    peers: Vec<Peer>,
    limits: ServerLimits,
    policy: Arc<Policy>,
    methods: AuthMethods,
    pub(super) now_ms: u64,
}

struct Wire<'a>(&'a mut Peer);

impl Outlet for Wire<'_> {
    fn has_room(&self) -> bool {
        true
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let sent = self.0.server.deliver(delivery, &mut self.0.out);
        if let Sent::Written(_) = sent {
            self.0.out.extend_from_slice(delivery.message.payload());
        }
        sent
    }

    fn end_of_browse(&mut self, _: noctule_core::consumer::ConsumerId) {}

    fn release(&mut self, packet_id: std::num::NonZeroU16) {
        self.0.server.release(packet_id, &mut self.0.out);
    }
}

impl World {
    pub(super) fn new() -> Self {
        let retained = RetainedLimits { max_messages: 100, max_bytes: 100_000 };
        let shared = Arc::new(Shared::new(&Seed::new(7), 1, retained));
        let policy = Arc::new(Policy::default());
        Self {
            engine: Engine::new(WorkerId(0), shared, Arc::clone(&policy), Now::default()),
            store: MemoryStore::default(),
            fx: Effects::default(),
            peers: Vec::new(),
            limits: ServerLimits::default(),
            policy,
            methods: AuthMethods::default(),
            now_ms: 0,
        }
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, wall_ms: self.now_ms }
    }

    /// A new connection; its number is what the others take.
    pub(super) fn accept(&mut self) -> usize {
        let server = Server::new(&self.limits);
        self.peers.push(Peer { server, unread: BytesMut::new(), out: BytesMut::new(), open: true });
        let conn = self.peers.len() - 1;
        self.engine.handle(self.now(), Input::Opened(id(conn)), &mut self.fx);
        conn
    }

    /// The transport breaks.
    pub(super) fn cut(&mut self, conn: usize) {
        if std::mem::take(&mut self.peers[conn].open) {
            self.engine.handle(self.now(), Input::Closed(id(conn)), &mut self.fx);
            self.settle();
        }
    }

    /// Bytes of the client arrive.
    pub(super) fn receive(&mut self, conn: usize, bytes: &[u8]) {
        self.peers[conn].unread.extend_from_slice(bytes);
        while self.peers[conn].open && self.packet(conn) {}
        self.settle();
    }

    /// Takes what the client is to read.
    pub(super) fn sent(&mut self, conn: usize) -> BytesMut {
        std::mem::take(&mut self.peers[conn].out)
    }

    fn packet(&mut self, conn: usize) -> bool {
        let now = self.now();
        let Self { engine, fx, peers, limits, policy, methods, .. } = self;
        let around = Surroundings { server: limits, core: &policy.limits, methods };
        let Peer { server, unread, out, open } = &mut peers[conn];
        let frame = match server.split(unread) {
            Ok(Split::Frame(frame)) => frame,
            Ok(Split::Incomplete { .. }) => return false,
            Err(refusal) => panic!("the client sent what is no packet: {refusal:?}"),
        };
        let step = server
            .packet(id(conn), &frame, around, out, |input| engine.handle(now, input, fx))
            .unwrap_or_else(|refusal| panic!("the client broke the protocol: {refusal:?}"));
        match step {
            Step::Connect(connect) => {
                let client_id = if connect.client_id.is_empty() { "assigned" } else { connect.client_id };
                let request = server.begin(&connect, client_id, None, limits);
                engine.handle(now, Input::Connect(id(conn), request), fx);
            }
            Step::Farewell => {
                *open = false;
                engine.handle(now, Input::Closed(id(conn)), fx);
            }
            _ => {}
        }
        let len = frame.len;
        unread.advance(len);
        true
    }

    /// Carries out what the engine asks for until it asks for nothing more.
    fn settle(&mut self) {
        let now = self.now();
        loop {
            let list = std::mem::take(&mut self.fx.list);
            let dirty = std::mem::take(&mut self.fx.dirty);
            if list.is_empty() && dirty.is_empty() {
                return;
            }
            for effect in list {
                match effect {
                    Effect::Reply(conn, reply) => {
                        let around = Surroundings {
                            server: &self.limits,
                            core: &self.policy.limits,
                            methods: &self.methods,
                        };
                        let Peer { server, out, .. } = &mut self.peers[conn.slot as usize];
                        server.reply(&reply, around, out).unwrap();
                    }
                    Effect::Close(conn, refusal) => {
                        let Peer { server, out, open, .. } = &mut self.peers[conn.slot as usize];
                        server.refuse(&refusal, out);
                        *open = false;
                    }
                    Effect::Store(ticket, op) => self.store.submit(ticket, op).unwrap(),
                    _ => {}
                }
            }
            while let Some(event) = self.store.poll() {
                self.engine.handle(now, Input::Store(event), &mut self.fx);
            }
            for conn in dirty {
                let peer = &mut self.peers[conn.slot as usize];
                while self.engine.pull(now, conn, &mut Wire(peer), &mut self.fx) == Pulled::More {}
            }
        }
    }
}

fn id(conn: usize) -> ConnId {
    ConnId { slot: conn as u32, generation: 1 }
}
