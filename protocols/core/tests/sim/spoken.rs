//! What the broker says to the STOMP clients of a [`World`]: answers, deliveries, heart-beats. Each is checked as it leaves.

use noctule_core::consumer::{Beats, Receipt, Verdict};
use noctule_core::effects::{Effects, Reply};
use noctule_core::engine::Pulled;
use noctule_core::id::ConnId;
use noctule_core::refusal::{Kind as Refused, Refusal};
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};

use crate::book::{Handed, State};
use crate::client::Fate;
use crate::mouth::{Mouth, Said};
use crate::talk::{Owed, Stage};
use crate::taps::Kind;
use crate::world::World;

/// How late a deadline may be noticed.
const TICK_MS: u64 = 129;

impl World {
    /// An answer leaves.
    pub(crate) fn said(&mut self, worker: usize, id: ConnId, reply: &Reply) {
        let now_ms = self.now.mono_ms;
        let talk = self.talk(worker, id).unwrap();
        if !talk.server_open && talk.leaves && *reply == Reply::Beat {
            // The shell has not yet noticed that it is over.
            return;
        }
        assert!(talk.server_open, "an answer after the end of {id}: {reply:?}");
        talk.down.push_back(Said::Answer);
        let (receipt, opened) = match reply {
            Reply::Connected { .. } => return,
            Reply::Beat => {
                talk.beat_ms = now_ms;
                return;
            }
            Reply::Receipt(receipt) => (Some(*receipt), None),
            Reply::Consuming(consumer, receipt) => (*receipt, Some(consumer.0)),
            Reply::Refused(receipt) => {
                let known = talk.owed.iter().find(|(of, _)| *of == Some(*receipt));
                let (_, owed) = known.unwrap_or_else(|| panic!("{receipt:?} was not asked for: {talk:?}"));
                let ending = if let Owed::Forgotten(tap) = owed { Some(*tap) } else { None };
                talk.refused = true;
                if let Some(tap) = ending {
                    self.book.ending(tap, false);
                }
                return;
            }
            Reply::Farewell(receipt) => {
                assert!(talk.leaves && talk.unanswered() == usize::from(receipt.is_some()), "{talk:?}");
                talk.server_open = false;
                talk.down.push_back(Said::Closed);
                (*receipt, None)
            }
            other => panic!("{other:?} to a STOMP client"),
        };
        assert!(!talk.refused, "{reply:?} after a refusal");
        if let Some(number) = opened {
            let seat = talk.seats.get_mut(&number).unwrap();
            if seat.stage == Stage::Asked {
                seat.stage = Stage::Open;
            }
            let tap = seat.tap.filter(|_| !seat.browses);
            if let Some(tap) = tap {
                self.check_alone(worker, id, number, tap, receipt.is_some());
            }
        }
        if receipt.is_some() {
            self.answered(worker, id, receipt);
        }
    }

    /// Who has something for himself alone has it alone; a durable subscription is there.
    fn check_alone(&mut self, worker: usize, id: ConnId, number: u32, tap: usize, promises: bool) {
        let seat = &self.talk(worker, id).unwrap().seats[&number];
        let (stage, asked_at) = (seat.stage, seat.asked_at);
        let of = &mut self.book.taps[tap];
        // It may have joined before an end that came meanwhile, and been pushed out by another before.
        let joined = stage == Stage::Open && of.ending == 0 && asked_at > of.ended_at;
        if joined && of.kind == Kind::Durable {
            (of.alive, of.promised) = (true, of.promised || promises);
        }
        if !of.exclusive || stage != Stage::Open {
            return;
        }
        for talk in self.workers.iter().flat_map(|worker| &worker.talks).filter(|talk| talk.server_open) {
            for (&other, seat) in &talk.seats {
                let same =
                    seat.tap == Some(tap) && seat.stage == Stage::Open && !seat.browses && !talk.leaves;
                assert!(
                    !same || (talk.id, other) == (id, number),
                    "{of:?} is shared by {number} of {id} and {talk:?}"
                );
            }
        }
    }

    /// A receipt leaves: everything before it has been answered, and what it says is true.
    fn answered(&mut self, worker: usize, id: ConnId, receipt: Option<Receipt>) {
        self.book.seen.receipts += 1;
        loop {
            let talk = self.talk(worker, id).unwrap();
            let Some((next, owed)) = talk.owed.pop_front() else { panic!("{receipt:?} answers nothing") };
            if next.is_none() {
                if let Owed::Sent(msg) = owed {
                    self.book.taken(msg);
                }
                continue;
            }
            assert_eq!(next, receipt, "receipts out of order: {owed:?}");
            match owed {
                Owed::Sent(msg) => {
                    assert!(self.ledger.is_safe(msg), "message {msg} has its receipt before it is stored");
                    self.book.promise(msg);
                    self.ledger.fate(msg, Fate::Accepted);
                }
                Owed::Settled(places) => {
                    for place in places {
                        self.book.make_sure(place);
                    }
                }
                Owed::Committed(number) => {
                    let commit = &self.book.commits[number];
                    assert_eq!(commit.state, State::Done, "the receipt of transaction {number}");
                    let accepted = commit.settles.iter().filter(|(_, verdict)| *verdict == Verdict::Accept);
                    let accepted: Vec<_> = accepted.map(|(place, _)| *place).collect();
                    for msg in commit.sends.clone() {
                        self.book.promise(msg);
                        self.ledger.fate(msg, Fate::Accepted);
                    }
                    accepted.into_iter().for_each(|place| self.book.make_sure(place));
                }
                Owed::Forgotten(tap) => self.book.ending(tap, false),
                Owed::Consuming(number) => {
                    let seat = &self.talk(worker, id).unwrap().seats[&number];
                    assert_ne!(seat.stage, Stage::Asked, "a receipt, but no consumer {number}");
                }
                Owed::Other => {}
            }
            return;
        }
    }

    /// The broker ends a connection.
    pub(crate) fn talk_closed(&mut self, worker: usize, id: ConnId, refusal: &Refusal) {
        let kind = refusal.kind;
        let talk = self.talk(worker, id).unwrap();
        if !talk.server_open && kind == Refused::ConnectTimeout {
            // The shell has not yet noticed that it is over.
            return;
        }
        let may = [Refused::QuotaExceeded, Refused::NotAuthorized, Refused::KeepAliveTimeout];
        // Somebody else consumes from its durable subscription.
        let has_lost =
            kind == Refused::SessionTakenOver && talk.seats.values().any(|seat| seat.tap.is_some());
        assert!(may.contains(&kind) || has_lost, "{id} is closed for {refusal}");
        talk.server_open = false;
        talk.down.push_back(Said::Closed);
        self.book.conn_ended(id.generation);
    }

    pub(crate) fn pull_talk(&mut self, worker: usize, at: usize) -> bool {
        let room = 1 + self.rng.below(6);
        let talk = &mut self.workers[worker].talks[at];
        if !std::mem::take(&mut talk.marked) {
            return false;
        }
        let id = talk.id;
        let mut mouth = Mouth { room, said: Vec::new() };
        let mut fx = Effects::default();
        let pulled = self.workers[worker].engine.pull(self.now, id, &mut mouth, &mut fx);
        if pulled == Pulled::More {
            self.talk(worker, id).unwrap().marked = true;
        }
        for said in mouth.said {
            match &said {
                Said::Message { consumer, pid, topic, handed } => {
                    self.check_delivery(worker, id, *consumer, *pid, topic, handed);
                }
                Said::EndOfBrowse(consumer) => {
                    let talk = self.talk(worker, id).unwrap();
                    let seat = talk.seats.get_mut(consumer).unwrap();
                    assert!(seat.browses && seat.stage == Stage::Open, "the end of {seat:?}");
                    seat.stage = Stage::Over;
                    self.book.seen.browsed += 1;
                }
                Said::Answer | Said::Closed => {}
            }
            let talk = self.talk(worker, id).unwrap();
            assert!(talk.server_open, "{said:?} after the end of {id}");
            if talk.client_open {
                talk.down.push_back(said);
            }
        }
        self.apply(worker, fx);
        true
    }

    fn check_delivery(
        &mut self,
        worker: usize,
        id: ConnId,
        consumer: u32,
        pid: Option<u16>,
        topic: &str,
        handed: &Handed,
    ) {
        let msg = handed.msg;
        let plural = self.book.messages[&msg].plural;
        let seat = self.talk(worker, id).unwrap().seats.get_mut(&consumer).unwrap();
        assert_eq!(seat.stage, Stage::Open, "message {msg} to {seat:?}");
        assert_eq!(pid.is_some(), seat.acknowledges && !seat.browses, "{seat:?}");
        let filter = TopicFilter::parse(&seat.filter, &TopicLimits::WIDEST).unwrap();
        assert!(filter.matches(&TopicName::from_validated(topic)), "{topic} to {seat:?}");
        assert!(seat.wants.is_none_or(|kind| msg % 3 == kind), "message {msg} to {seat:?}");
        if let Some(pid) = pid {
            assert!(seat.held.insert(pid), "packet id {pid} is in use: {seat:?}");
            assert!(seat.held.len() <= usize::from(seat.window), "a window too small: {seat:?}");
        }
        let (tap, browses) = (seat.tap, seat.browses);
        if tap.is_none() {
            assert!(seat.taken.insert(msg) || plural, "message {msg} twice to {seat:?}");
        }
        match tap {
            Some(tap) if browses => {
                self.book.shown(tap, (id.generation, consumer), msg);
            }
            Some(tap) => self.book.written(tap, (id.generation, consumer), pid, handed),
            None => self.book.visible(msg),
        }
    }

    /// The client takes one thing from its wire.
    pub(crate) fn hear(&mut self, worker: usize, at: usize) -> bool {
        let talk = &mut self.workers[worker].talks[at];
        if !talk.client_open {
            return false;
        }
        match talk.down.pop_front() {
            None => return false,
            Some(Said::Message { consumer, pid: Some(pid), .. }) => {
                talk.has.entry(consumer).or_default().push_back(pid);
            }
            Some(Said::Closed) => {
                talk.client_open = false;
                talk.up.clear();
                let (talker, id) = (talk.talker, talk.id);
                self.talkers[talker].conn.take_if(|(_, of)| *of == id);
            }
            Some(_) => {}
        }
        true
    }

    /// After every tick: our heart-beats have left, and who has not beaten is gone.
    pub(crate) fn check_beats(&self) {
        let now_ms = self.now.mono_ms;
        for talk in self.workers.iter().flat_map(|worker| &worker.talks).filter(|talk| talk.server_open) {
            let Beats { expected_ms, sent_ms, .. } = talk.beats;
            assert!(sent_ms == 0 || now_ms - talk.beat_ms < u64::from(sent_ms), "no heart-beat: {talk:?}");
            let silence = now_ms.saturating_sub(talk.heard_ms);
            let most = 2 * u64::from(expected_ms) + TICK_MS;
            assert!(expected_ms == 0 || talk.paused || silence < most, "silent for {silence} ms: {talk:?}");
        }
    }

    /// A paused connection is read again: its silence was ours.
    pub(crate) fn talk_resumed(&mut self, worker: usize, id: ConnId) {
        let now_ms = self.now.mono_ms;
        if let Some(talk) = self.talk(worker, id) {
            assert!(talk.paused, "resumed without a pause");
            (talk.paused, talk.heard_ms) = (false, now_ms);
        }
    }
}
