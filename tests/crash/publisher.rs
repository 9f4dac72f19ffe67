//! Somebody who publishes without pause, and keeps to its exchanges whatever happens to the broker.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::client::{Event, Options, Outgoing};

use crate::cast::{self, PUBLISHERS};
use crate::journal::Entry;
use crate::link::Link;
use crate::payload;
use crate::rng::Rng;
use crate::world::{Phase, World};

/// Acknowledged messages after which the broker must know a publisher's session: at QoS 1 the session is written with
/// the first message that is, and what online subscribers acknowledge at once is not.
const ESTABLISHED: u32 = 100;

/// Messages sent at once now and then.
const BURST: u32 = 30;

struct Publisher<'w> {
    world: &'w World,
    from: usize,
    link: Link<'w>,
    next: u32,
    /// Messages whose exchange is under way, by packet id.
    sent: HashMap<NonZeroU16, u32>,
    /// What the broker gave back with the session, to be published anew before anything else.
    again: BTreeSet<u32>,
    acked: u32,
}

/// Publishes until there is nothing more to do.
pub(crate) fn run(world: &World, from: usize, mut rng: Rng) {
    let about = &PUBLISHERS[from];
    let mut options = Options::new(about.version, about.name);
    options.clean_start = !about.keeps;
    options.session_expiry_s = (about.keeps && about.version.is_v5()).then_some(86_400);
    options.max_inflight = NonZeroU16::new(about.window).unwrap();
    let (sent, again) = (HashMap::new(), BTreeSet::new());
    let mut publisher =
        Publisher { world, from, link: Link::new(world, options), next: 0, sent, again, acked: 0 };
    crate::world::wait(Duration::from_secs(3_600), || world.has_audience() || world.is_over());
    let (mut due, mut burst) = (Instant::now(), 0);
    let mut finished = false;
    while !world.is_over() {
        if !publisher.link.is_up() {
            publisher.come_back();
        }
        let draining = world.is_at(Phase::Drain);
        while (burst > 0 || Instant::now() >= due) && publisher.publish(!draining) {
            burst = if burst == 0 && rng.once_in(200) { BURST } else { burst.saturating_sub(1) };
            due = Instant::now() + Duration::from_micros(rng.below(3_000));
        }
        publisher.link.turn();
        publisher.events();
        if draining && !finished && publisher.is_done() {
            finished = true;
            world.finish();
        }
    }
}

impl Publisher<'_> {
    fn come_back(&mut self) {
        let about = &PUBLISHERS[self.from];
        if self.link.connect() == Some(false) && about.keeps && self.acked >= ESTABLISHED {
            self.world.wrong(format!("{} has lost its session", about.name));
        }
        self.events();
    }

    /// Publishes the next message, if there is one and room for it; `fresh` whether new ones are made.
    fn publish(&mut self, fresh: bool) -> bool {
        let returned = self.again.first().copied();
        let Some(seq) = returned.or(Some(self.next).filter(|_| fresh)) else { return false };
        if !self.link.machine.has_room() {
            return false;
        }
        if returned.is_none() {
            self.world.journal.note(Entry::Sent { from: self.from, seq });
            self.next += 1;
        }
        let about = &PUBLISHERS[self.from];
        let body =
            if about.retains && cast::clears(seq) { Vec::new() } else { payload::build(self.from, seq) };
        let mut message = Outgoing::new(cast::topic(self.from, seq), body).at(about.qos);
        message.retain = about.retains;
        let packet_id = self.link.machine.publish(self.link.now_ms(), &message).unwrap().unwrap();
        self.again.remove(&seq);
        self.sent.insert(packet_id, seq);
        true
    }

    fn events(&mut self) {
        while let Some(event) = self.link.machine.poll_event() {
            match event {
                Event::Published { packet_id, reason, .. } => {
                    let Some(seq) = self.sent.remove(&packet_id) else { continue };
                    let from = self.from;
                    if reason.is_failure() {
                        self.world.journal.note(Entry::Refused { from, seq, reason: reason.code() });
                        continue;
                    }
                    self.world.journal.note(Entry::Acked { from, seq });
                    self.acked += 1;
                    if self.acked == 1 {
                        self.world.stand();
                    }
                }
                Event::Returned { packet_id, .. } => {
                    // At QoS 2 it may have been taken already: to send it again is to send it twice.
                    if let Some(seq) = self.sent.remove(&packet_id)
                        && PUBLISHERS[self.from].qos != Qos::ExactlyOnce
                    {
                        self.again.insert(seq);
                    }
                }
                _ => {}
            }
        }
    }

    fn is_done(&self) -> bool {
        self.again.is_empty() && self.sent.is_empty()
    }
}
