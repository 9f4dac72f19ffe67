//! The acknowledgement machines: what we have sent and wait for, and what we have received and must not take twice.
//!
//! [`Window`] is the sender's side of MQTT's QoS 1 and 2 (section 4.3, figures 4.2 and 4.3); [`Received`] the
//! receiver's side of QoS 2. Both know packet ids only; who is told and what is stored is the engine's affair.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use crate::queue::Entry;
use crate::store::SessionNumber;

/// Where an outbound exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its packet id is being stored; nothing has been sent (QoS 2 of a session that survives).
    Storing,
    /// Its packet id is stored, but an older one's is not: PUBLISH packets leave in order [MQTT-4.6.0-6].
    Stored,
    /// PUBLISH is due or sent; PUBACK or PUBREC is awaited.
    Publishing,
    /// PUBREC came and is being stored; PUBREL follows.
    StoringRelease,
    /// PUBREL is due or sent; PUBCOMP is awaited.
    Releasing,
    /// Over, waiting for older ones to leave the window.
    Done,
}

/// One outbound exchange.
#[derive(Debug)]
pub struct Flight {
    /// Its packet id.
    pub packet_id: NonZeroU16,
    /// Where it stands.
    pub stage: Stage,
    /// Whether PUBLISH went out on the present connection, and so counts against the peer's Receive Maximum.
    pub on_wire: bool,
    /// Whether PUBLISH went out on any connection: the next one carries DUP [MQTT-3.3.1-1].
    pub sent_before: bool,
    /// Whether it was asked under the rights in force that the client may have it.
    pub asked: bool,
    /// Whether the store failed to take the present stage; it is asked again on the next connection.
    pub unstored: bool,
    /// The store's number for the message, also when that is gone; 0 if the store has it for nobody here, and knows at
    /// most the packet id.
    pub record: u64,
    /// For whom the store keeps the message under this packet id; 0 while it knows nothing of the packet id.
    pub owner: SessionNumber,
    /// The message; dropped once PUBREC came.
    pub entry: Option<Entry>,
}

impl Flight {
    /// Whether the store knows its packet id.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.owner != SessionNumber::default()
    }
}

/// An acknowledgement as it comes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// Answers QoS 1.
    PubAck,
    /// Answers QoS 2, first part.
    PubRec,
    /// The sender's answer to PUBREC.
    PubRel,
    /// Answers PUBREL.
    PubComp,
}

/// What an acknowledgement did.
#[derive(Debug)]
pub enum Acked {
    /// The exchange is over; the entry if it was still held, and whether the store knows the packet id.
    Completed(Option<Entry>, bool),
    /// PUBREC was taken; PUBREL is due once that is stored. The entry is released.
    Received(Option<Entry>),
    /// PUBREC came again while PUBREL is under way: PUBREL is due again.
    ReleaseAgain,
    /// No such exchange.
    Unknown,
    /// An exchange of that id is at a stage that this packet can't answer: the peer errs.
    OutOfTurn,
}

/// Outbound exchanges in the order of their start; their packet ids ascend around the ring of 1..=65,535.
#[derive(Debug, Default)]
pub struct Window {
    flights: VecDeque<Flight>,
    /// Exchanges that the ring has come round to, oldest first: their ids are passed over until they end.
    stragglers: Vec<Flight>,
    live: usize,
    on_wire: usize,
    last_id: u16,
}

/// Places of the ring of packet ids.
const RING: u32 = 65_535;

/// Where in a [`Window`] an exchange is kept.
#[derive(Clone, Copy, Debug)]
enum Place {
    Straggler(usize),
    Ring(usize),
}

/// How far `id` lies after `base` on the ring.
fn distance(base: NonZeroU16, id: NonZeroU16) -> usize {
    ((u32::from(id.get()) + RING - u32::from(base.get())) % RING) as usize
}

impl Window {
    /// Exchanges not yet over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// PUBLISH packets that count against the peer's Receive Maximum [MQTT-3.3.4-9].
    #[must_use]
    pub fn on_wire(&self) -> usize {
        self.on_wire
    }

    /// Starts an exchange; `owner` as in [`Flight::owner`].
    ///
    /// # Errors
    /// Gives the entry back while every packet id is in use.
    pub fn begin(
        &mut self,
        stage: Stage,
        entry: Entry,
        owner: Option<SessionNumber>,
    ) -> Result<NonZeroU16, Entry> {
        if self.live >= RING as usize {
            return Err(entry);
        }
        let packet_id = self.next_id();
        let owner = owner.unwrap_or_default();
        let in_store = entry.owner(owner).is_some();
        self.live += 1;
        self.flights.push_back(Flight {
            packet_id,
            stage,
            on_wire: false,
            sent_before: false,
            asked: true,
            unstored: false,
            record: if in_store { entry.message.record() } else { 0 },
            owner,
            entry: Some(entry),
        });
        Ok(packet_id)
    }

    /// The packet id of an exchange that may begin at once, if fewer than `most` are under way and no older one is in
    /// its way; for [`Window::begin_sent`].
    #[must_use]
    pub fn free_id(&self, most: usize) -> Option<NonZeroU16> {
        if self.live >= most || !self.stragglers.is_empty() {
            return None;
        }
        let next = self.following_id();
        let is_free = self.flights.front().is_none_or(|oldest| oldest.packet_id != next);
        is_free.then_some(next)
    }

    /// Starts an exchange, of which the store knows nothing, whose PUBLISH has just been written under the
    /// [free id](Window::free_id).
    pub fn begin_sent(&mut self, packet_id: NonZeroU16, entry: Entry) {
        self.last_id = packet_id.get();
        self.live += 1;
        self.on_wire += 1;
        self.flights.push_back(Flight {
            packet_id,
            stage: Stage::Publishing,
            on_wire: true,
            sent_before: true,
            asked: true,
            unstored: false,
            record: 0,
            owner: SessionNumber::default(),
            entry: Some(entry),
        });
    }

    /// The packet id behind the last one on the ring, free or not.
    fn following_id(&self) -> NonZeroU16 {
        NonZeroU16::new(self.last_id.wrapping_add(1)).unwrap_or(NonZeroU16::MIN)
    }

    /// The next packet id around the ring that is free; the caller has made sure that there is one.
    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            let next = self.following_id();
            self.last_id = next.get();
            if self.flights.front().is_some_and(|oldest| oldest.packet_id == next) {
                // Set aside, so that the ids in `flights` go on ascending.
                self.stragglers.extend(self.flights.pop_front());
                self.drop_finished();
            } else if self.stragglers.iter().all(|straggler| straggler.packet_id != next) {
                return next;
            }
        }
    }

    /// Where the exchange stands, if it is not over.
    fn place(&self, id: NonZeroU16) -> Option<Place> {
        if let Some(place) = self.stragglers.iter().position(|flight| flight.packet_id == id) {
            return Some(Place::Straggler(place));
        }
        let front = self.flights.front()?.packet_id;
        let wanted = distance(front, id);
        // Without gaps the distance is the place; gaps appear only when finished ones were compacted away.
        let place = if self.flights.get(wanted).is_some_and(|flight| flight.packet_id == id) {
            wanted
        } else {
            self.flights.partition_point(|flight| distance(front, flight.packet_id) < wanted)
        };
        let flight = self.flights.get(place)?;
        (flight.packet_id == id && flight.stage != Stage::Done).then_some(Place::Ring(place))
    }

    fn at(&mut self, place: Place) -> Option<&mut Flight> {
        match place {
            Place::Straggler(place) => self.stragglers.get_mut(place),
            Place::Ring(place) => self.flights.get_mut(place),
        }
    }

    /// The exchange with this packet id.
    pub fn find(&mut self, id: NonZeroU16) -> Option<&mut Flight> {
        let place = self.place(id)?;
        self.at(place)
    }

    /// Notes that the exchange's PUBLISH has been written to the present connection.
    pub fn written(&mut self, id: NonZeroU16) {
        let Some(flight) = self.find(id) else { return };
        let again = std::mem::replace(&mut flight.on_wire, true);
        flight.sent_before = true;
        if !again {
            self.on_wire += 1;
        }
    }

    /// Takes a PUBACK, PUBREC or PUBCOMP. `failed`: its reason code is 0x80 or above, which ends the exchange
    /// (section 4.3.3). Where the store has the message, PUBREC must be stored before PUBREL is sent.
    pub fn acknowledge(&mut self, kind: AckKind, id: NonZeroU16, failed: bool) -> Acked {
        let Some(place) = self.place(id) else { return Acked::Unknown };
        let Some(flight) = self.at(place) else { return Acked::Unknown };
        let qos_2 = flight.entry.as_ref().is_none_or(|entry| entry.qos == crate::id::Qos::ExactlyOnce);
        match (kind, flight.stage) {
            (AckKind::PubAck, Stage::Publishing) if !qos_2 && flight.sent_before => self.finish(place),
            (AckKind::PubRec, Stage::Publishing) if qos_2 && flight.sent_before => {
                if failed {
                    return self.finish(place);
                }
                let stores = flight.is_kept() && flight.record != 0;
                flight.stage = if stores { Stage::StoringRelease } else { Stage::Releasing };
                Acked::Received(flight.entry.take())
            }
            // Stored or not, the answer to a repeated PUBREC is on its way.
            (AckKind::PubRec, Stage::StoringRelease) => Acked::Received(None),
            (AckKind::PubRec, Stage::Releasing) => Acked::ReleaseAgain,
            (AckKind::PubComp, Stage::Releasing) => self.finish(place),
            _ => Acked::OutOfTurn,
        }
    }

    fn finish(&mut self, place: Place) -> Acked {
        let Some(flight) = self.at(place) else { return Acked::Unknown };
        flight.stage = Stage::Done;
        let (on_wire, kept, entry) = (flight.on_wire, flight.is_kept(), flight.entry.take());
        self.live -= 1;
        self.on_wire -= usize::from(on_wire);
        if let Place::Straggler(place) = place {
            self.stragglers.remove(place);
        }
        self.drop_finished();
        Acked::Completed(entry, kept)
    }

    fn drop_finished(&mut self) {
        while self.flights.front().is_some_and(|oldest| oldest.stage == Stage::Done) {
            self.flights.pop_front();
        }
        // One exchange that never ends must not make the others' remains pile up behind it.
        if self.flights.len() > 4 * self.live + 64 {
            self.flights.retain(|flight| flight.stage != Stage::Done);
        }
    }

    /// Ends an exchange whose message will not be sent after all; says also whether the store knows the packet id.
    pub fn abandon(&mut self, id: NonZeroU16) -> Option<(Entry, bool)> {
        match self.place(id).map(|place| self.finish(place)) {
            Some(Acked::Completed(entry, kept)) => Some((entry?, kept)),
            _ => None,
        }
    }

    /// Takes up an exchange where it stood before a restart; to be called in the order in which they began. `None` in
    /// place of the entry: PUBREC had come.
    pub fn resume(&mut self, packet_id: NonZeroU16, entry: Option<Entry>, owner: SessionNumber) {
        let id_taken = self.iter().any(|flight| flight.packet_id == packet_id);
        if id_taken || self.live >= RING as usize {
            return;
        }
        self.live += 1;
        // Where they stood on the ring is not known; as stragglers they may stand in any order.
        self.stragglers.push(Flight {
            packet_id,
            stage: if entry.is_some() { Stage::Publishing } else { Stage::Releasing },
            on_wire: false,
            sent_before: true,
            asked: false,
            unstored: false,
            record: entry.as_ref().map_or(0, |entry| entry.message.record()),
            owner,
            entry,
        });
        self.last_id = packet_id.get();
    }

    /// Notes that the store has the exchange's packet id. Returns the ids of those that may be sent now, oldest first:
    /// it and younger ones that waited for it, or none while an older one is not stored yet.
    pub fn stored(&mut self, id: NonZeroU16) -> Vec<NonZeroU16> {
        if let Some(flight) = self.find(id).filter(|flight| flight.stage == Stage::Storing) {
            flight.stage = Stage::Stored;
            flight.unstored = false;
        }
        let mut due = Vec::new();
        for flight in self.stragglers.iter_mut().chain(&mut self.flights) {
            match flight.stage {
                Stage::Storing => break,
                Stage::Stored => {
                    flight.stage = Stage::Publishing;
                    due.push(flight.packet_id);
                }
                Stage::Publishing | Stage::StoringRelease | Stage::Releasing | Stage::Done => {}
            }
        }
        due
    }

    /// Forgets which connection the packets went out on; what is unfinished is due again on the next one
    /// [MQTT-4.4.0-1]. Returns the packet ids due, in their original order [MQTT-4.6.0-1].
    pub fn reconnect(&mut self) -> Vec<NonZeroU16> {
        self.on_wire = 0;
        let mut due = Vec::new();
        for flight in self.stragglers.iter_mut().chain(&mut self.flights) {
            flight.on_wire = false;
            if matches!(flight.stage, Stage::Publishing | Stage::Releasing) {
                due.push(flight.packet_id);
            }
        }
        due
    }

    /// Of all messages here it is to be asked again whether the client may have them, before they are sent (again).
    pub fn ask_again(&mut self) {
        self.iter_mut().for_each(|flight| flight.asked = false);
    }

    /// What is unfinished, to be changed, oldest first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.stragglers.iter_mut().chain(&mut self.flights).filter(|flight| flight.stage != Stage::Done)
    }

    /// What is unfinished, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.stragglers.iter().chain(&self.flights).filter(|flight| flight.stage != Stage::Done)
    }

    /// Empties the window.
    pub fn drain(&mut self) -> impl Iterator<Item = Flight> + '_ {
        self.live = 0;
        self.on_wire = 0;
        self.stragglers.drain(..).chain(self.flights.drain(..)).filter(|flight| flight.stage != Stage::Done)
    }
}

/// Packet ids of inbound QoS 2 messages between PUBLISH and PUBREL.
#[derive(Debug, Default)]
pub struct Received {
    ids: Vec<NonZeroU16>,
}

impl Received {
    /// Exchanges under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The packet ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = NonZeroU16> {
        self.ids.iter().copied()
    }

    /// Whether the id's message was taken already [MQTT-4.3.3-10].
    #[must_use]
    pub fn contains(&self, id: NonZeroU16) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// Notes a new id; false if it is under way already.
    pub fn insert(&mut self, id: NonZeroU16) -> bool {
        match self.ids.binary_search(&id) {
            Ok(_) => false,
            Err(place) => {
                self.ids.insert(place, id);
                true
            }
        }
    }

    /// Ends the exchange; false if there was none.
    pub fn remove(&mut self, id: NonZeroU16) -> bool {
        self.ids.binary_search(&id).map(|place| self.ids.remove(place)).is_ok()
    }

    /// Ends all of them (the session ended), keeping no memory of a burst.
    pub fn clear(&mut self) {
        self.ids = Vec::new();
    }
}

#[cfg(test)]
mod tests;
