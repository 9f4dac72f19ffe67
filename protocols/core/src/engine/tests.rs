//! The kit of the engine's tests: one engine, connections by number, a recording outlet, a clock that is set by hand.
//!
//! What settles when is each test's choice: by default every submission at once, as [`MemoryStore`] does it.

mod acknowledgement;
mod bulk;
mod consumers;
mod groups;
mod lifetime;
mod operate;
mod peers;
mod pressure;
mod queues;
mod recovery;
mod resubmitted;
mod rights;
mod routing;
mod stored;
mod straight;
mod throttle;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::*;
use crate::delivery::AckKind;
use crate::effects::{
    Access, Connect, Delivery, FilterRequest, Outlet, Reason, RetainHandling, Sent, WillRequest,
};
use crate::id::Qos;
use crate::message::{Fields, Publish};
use crate::policy::Limits;
use crate::retained::RetainedLimits;
use crate::store::{LoadRequest, MemoryStore, Store, StoreEvent, StoreOp};
use crate::topic::TopicName;

/// What a connection was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Reply(Reply),
    Message {
        body: String,
        qos: Qos,
        dup: bool,
        retain: bool,
        pid: Option<u16>,
        ids: Vec<u32>,
        expiry: Option<u32>,
    },
    /// A message to a STOMP consumer: which, body, packet id, how often delivered before.
    Consumed(u32, String, Option<u16>, u32),
    EndOfBrowse(u32),
    Release(u16),
    Closed(Kind),
}

/// Takes packets until it is full.
#[derive(Debug)]
struct Pipe {
    room: usize,
    largest: usize,
    retained: bool,
    seen: Vec<Seen>,
}

impl Outlet for Pipe {
    fn has_room(&self) -> bool {
        self.seen.len() < self.room
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        let body = delivery.message.payload();
        if body.len() > self.largest {
            return Sent::TooLarge;
        }
        let text = String::from_utf8(body.to_vec()).unwrap();
        if delivery.consumer != ConsumerId(0) {
            let pid = delivery.packet_id.map(NonZeroU16::get);
            self.retained = delivery.retain;
            self.seen.push(Seen::Consumed(delivery.consumer.0, text, pid, delivery.deliveries));
            return Sent::Written(body.len());
        }
        self.seen.push(Seen::Message {
            body: text,
            qos: delivery.qos,
            dup: delivery.dup,
            retain: delivery.retain,
            pid: delivery.packet_id.map(NonZeroU16::get),
            ids: delivery.subscription_ids.iter().map(|id| id.get()).collect(),
            expiry: delivery.remaining_s,
        });
        Sent::Written(body.len())
    }

    fn end_of_browse(&mut self, consumer: ConsumerId) {
        self.seen.push(Seen::EndOfBrowse(consumer.0));
    }

    fn release(&mut self, packet_id: NonZeroU16) {
        self.seen.push(Seen::Release(packet_id.get()));
    }
}

struct Kit {
    engine: Engine,
    store: MemoryStore,
    /// Submissions whose settlement the test gives itself, while `manual`.
    submitted: Vec<(Ticket, StoreOp)>,
    /// Messages asked for.
    loads: Vec<LoadRequest>,
    /// Connections that are not read.
    paused: Vec<u32>,
    manual: bool,
    /// Whether the last message to a consumer was marked as retained.
    retained_last: bool,
    now: Now,
    largest: usize,
    seen: Vec<(u32, Seen)>,
    /// Drops that were told, with their number.
    told: Vec<(DropReason, u64)>,
}

fn conn(number: u32) -> ConnId {
    ConnId { slot: number, generation: 1 }
}

fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// What most clients ask for: MQTT 5, a clean start, nothing kept.
fn client(client_id: &str) -> Connect<'_> {
    Connect {
        client_id,
        user: None,
        access: Access::default(),
        clean_start: true,
        expiry_s: 0,
        receive_maximum: NonZeroU16::MAX,
        keep_alive_s: 3_600,
        is_v5: true,
        will: None,
        durability: None,
        beats: None,
    }
}

/// One that keeps its session.
fn keeper(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, expiry_s: 1_000, ..client(client_id) }
}

fn publish<'a>(topic: &'a str, body: &'a str, qos: Qos) -> Publish<'a> {
    Publish {
        topic: TopicName::from_validated(topic),
        fields: Fields::default(),
        payload: body.as_bytes(),
        qos,
        retain: false,
        dup: false,
        packet_id: (qos > Qos::AtMostOnce).then(|| id(1)),
        expiry_s: None,
    }
}

fn filter(filter: &str, qos: Qos) -> FilterRequest<'_> {
    FilterRequest {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    }
}

impl Kit {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::of(limits, RetainedLimits::default())
    }

    fn with_retained(retained: RetainedLimits) -> Self {
        Self::of(Limits::default(), retained)
    }

    fn of(limits: Limits, retained: RetainedLimits) -> Self {
        let shared = Arc::new(Shared::new(&Seed::new(1), 1, retained));
        let now = Now { mono_ms: 0, wall_ms: 0 };
        let engine =
            Engine::new(WorkerId(0), shared, Arc::new(Policy { epoch: 1, limits, ..Policy::default() }), now);
        let (store, submitted, loads, seen) = (MemoryStore::default(), Vec::new(), Vec::new(), Vec::new());
        let (manual, largest, paused, told) = (false, usize::MAX, Vec::new(), Vec::new());
        let retained_last = false;
        Self { engine, store, submitted, loads, paused, manual, retained_last, now, largest, seen, told }
    }

    /// Whatever a test publishes takes the long way, and what could have gone straight has to come to the same.
    fn give(&mut self, input: Input<'_>) {
        let straight = match &input {
            Input::Publish(from, publish) if publish.payload.len() <= self.largest => {
                let way = self.engine.straight(self.now, *from, publish);
                way.map(|way| straight::seen(*from, publish, way))
            }
            _ => None,
        };
        let (seen_before, stats_before) = (self.seen.len(), self.engine.stats());
        let mut fx = Effects::default();
        self.engine.handle(self.now, input, &mut fx);
        self.carry_out(fx);
        if let Some(straight) = straight {
            assert_eq!(self.seen.get(seen_before..), Some(&*straight), "the two ways differ");
            assert_eq!(self.engine.stats().dropped, stats_before.dropped);
        }
    }

    fn carry_out(&mut self, fx: Effects) {
        for effect in fx.list {
            match effect {
                Effect::Reply(to, reply) => self.seen.push((to.slot, Seen::Reply(reply))),
                Effect::Close(to, refusal) => self.seen.push((to.slot, Seen::Closed(refusal.kind))),
                Effect::Store(ticket, op) if self.manual => self.submitted.push((ticket, op)),
                Effect::Store(ticket, op) => self.store.submit(ticket, op).unwrap(),
                Effect::Load(request) => self.loads.push(request),
                Effect::Log(Event::Dropped { reason, count, .. }) => self.told.push((reason, count)),
                Effect::Log(_) => {}
                Effect::Pause(to) => self.paused.push(to.slot),
                Effect::Resume(to) => self.paused.retain(|&slot| slot != to.slot),
                Effect::Peer(..) => panic!("one engine alone: {effect:?}"),
            }
        }
        for to in fx.dirty {
            self.pull(to, usize::MAX);
        }
        while let Some(event) = self.store.poll() {
            self.give(Input::Store(event));
        }
    }

    fn pull(&mut self, to: ConnId, room: usize) -> Pulled {
        let mut pipe = Pipe { room, largest: self.largest, retained: self.retained_last, seen: Vec::new() };
        let mut fx = Effects::default();
        let pulled = self.engine.pull(self.now, to, &mut pipe, &mut fx);
        self.retained_last = pipe.retained;
        self.seen.extend(pipe.seen.into_iter().map(|seen| (to.slot, seen)));
        self.carry_out(fx);
        pulled
    }

    fn connect(&mut self, number: u32, connect: Connect<'_>) -> Vec<Seen> {
        self.give(Input::Opened(conn(number)));
        self.give(Input::Connect(conn(number), connect));
        self.take(number)
    }

    fn subscribe(&mut self, number: u32, filters: &[FilterRequest<'_>]) -> Vec<Seen> {
        self.subscribe_as(number, None, filters)
    }

    fn subscribe_as(&mut self, number: u32, sub: Option<u32>, filters: &[FilterRequest<'_>]) -> Vec<Seen> {
        let sub = sub.and_then(NonZeroU32::new);
        self.give(Input::Subscribe {
            conn: conn(number),
            packet_id: id(9),
            id: sub,
            selector: None,
            filters,
        });
        self.take(number)
    }

    fn publish(&mut self, number: u32, publish: Publish<'_>) -> Vec<Seen> {
        self.give(Input::Publish(conn(number), publish));
        self.take(number)
    }

    fn ack(&mut self, number: u32, kind: AckKind, packet_id: u16) -> Vec<Seen> {
        self.give(Input::Ack { conn: conn(number), kind, packet_id: id(packet_id), failed: false });
        self.take(number)
    }

    fn settle(&mut self, ticket: Ticket) {
        self.give(Input::Store(StoreEvent::Settled(ticket)));
    }

    fn fail(&mut self, ticket: Ticket) {
        self.give(Input::Store(StoreEvent::Failed(ticket)));
    }

    fn close(&mut self, number: u32) {
        self.give(Input::Closed(conn(number)));
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.give(Input::Tick);
    }

    /// What a connection was sent since the last time.
    fn take(&mut self, number: u32) -> Vec<Seen> {
        let (own, others) = std::mem::take(&mut self.seen).into_iter().partition(|(to, _)| *to == number);
        self.seen = others;
        let own: Vec<(u32, Seen)> = own;
        own.into_iter().map(|(_, seen)| seen).collect()
    }

    /// The bodies of the messages among them.
    fn bodies(&mut self, number: u32) -> Vec<String> {
        bodies(self.take(number))
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.stats().dropped(reason)
    }

    /// The tickets of submissions that somebody waits for.
    fn tickets(&mut self) -> Vec<Ticket> {
        let all = std::mem::take(&mut self.submitted);
        all.into_iter().map(|(ticket, _)| ticket).filter(|ticket| *ticket != Ticket::NONE).collect()
    }
}

fn bodies(seen: Vec<Seen>) -> Vec<String> {
    let body = |seen| match seen {
        Seen::Message { body, .. } => Some(body),
        _ => None,
    };
    seen.into_iter().filter_map(body).collect()
}

fn acked(kind: AckKind, packet_id: u16, reason: Reason) -> Seen {
    Seen::Reply(Reply::Ack { kind, packet_id: id(packet_id), reason })
}

fn connected(session_present: bool) -> Seen {
    Seen::Reply(Reply::Connected { session_present, expiry_s: None, keep_alive_s: None })
}
