//! The STOMP connections of a [`World`], and what the broker's shell hands in of what clients ask for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use noctule_core::consumer::{Beats, Commit, Consume, ConsumerId, Receipt, Request, Send, Settle, Verdict};
use noctule_core::effects::{Access, Connect, Effect, Effects, Input};
use noctule_core::group::QueueOptions;
use noctule_core::id::{ConnId, Qos};
use noctule_core::message::{Fields, Publish};
use noctule_core::selector::Selector;
use noctule_core::store::{StoreOp, Ticket};
use noctule_core::topic::TopicName;

use crate::book::{Asked, Holder, Place, State};
use crate::mouth::{Said, properties};
use crate::taps::Kind;
use crate::world::World;

/// Deliveries of one consumer, and what becomes of them.
pub(crate) type Settling = (u32, Vec<u16>, Verdict);

/// A request on its way to the broker.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Send(u32),
    Consume(u32),
    Cancel { consumer: u32, forgets: bool },
    Forget(usize),
    Settle(Settling),
    Commit(usize, Vec<Settling>),
    Nothing,
    Leave,
    Heard,
}

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) topic: String,
    pub(crate) qos: Qos,
    pub(crate) priority: u8,
    pub(crate) expires_in_ms: Option<u64>,
    pub(crate) delay_ms: Option<u64>,
    pub(crate) dedup: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The broker has not heard of it, or not answered.
    Asked,
    Open,
    /// It is cancelled, or has shown everything.
    Over,
}

/// A consumer.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// What it takes from; `None` for a plain topic.
    pub(crate) tap: Option<usize>,
    pub(crate) filter: String,
    pub(crate) acknowledges: bool,
    pub(crate) window: u16,
    pub(crate) browses: bool,
    /// Of the three kinds of messages (by their numbers) the one that it wants.
    pub(crate) wants: Option<u32>,
    /// It was asked for when its tap was at rest, and nobody else's.
    pub(crate) alone: bool,
    /// When its engine was asked.
    pub(crate) asked_at: u64,
    pub(crate) stage: Stage,
    /// Unacknowledged.
    pub(crate) held: BTreeSet<u16>,
    /// Taken from a plain topic, to each message once.
    pub(crate) taken: BTreeSet<u32>,
}

/// What a request was, for when it is answered.
#[derive(Debug)]
pub(crate) enum Owed {
    Sent(u32),
    Settled(Vec<Place>),
    Committed(usize),
    Forgotten(usize),
    Consuming(u32),
    Other,
}

/// One connection, both of its ends and the wires between them.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) id: ConnId,
    pub(crate) talker: usize,
    pub(crate) up: VecDeque<(Ask, Option<Receipt>)>,
    pub(crate) down: VecDeque<Said>,
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    pub(crate) paused: bool,
    pub(crate) marked: bool,
    pub(crate) beats: Beats,
    pub(crate) heard_ms: u64,
    pub(crate) beat_ms: u64,
    /// Requests that are not answered, oldest first.
    pub(crate) owed: VecDeque<(Option<Receipt>, Owed)>,
    pub(crate) refused: bool,
    pub(crate) seats: BTreeMap<u32, Seat>,
    /// What its client has and has not settled.
    pub(crate) has: BTreeMap<u32, VecDeque<u16>>,
    pub(crate) last_receipt: u32,
    pub(crate) last_seat: u32,
    pub(crate) leaves: bool,
}

impl Talk {
    /// Requests whose receipts are still due.
    pub(crate) fn unanswered(&self) -> usize {
        self.owed.iter().filter(|(receipt, _)| receipt.is_some()).count()
    }
}

impl Seat {
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    pub(crate) fn new(tap: Option<usize>, filter: &str) -> Self {
        Self {
            tap,
            filter: filter.to_owned(),
            acknowledges: true,
            window: 3,
            browses: false,
            wants: None,
            alone: false,
            asked_at: 0,
            stage: Stage::Asked,
            held: BTreeSet::new(),
            taken: BTreeSet::new(),
        }
    }
}

impl World {
    pub(crate) fn talk(&mut self, worker: usize, id: ConnId) -> Option<&mut Talk> {
        self.workers[worker].talks.iter_mut().find(|talk| talk.id == id)
    }

    pub(crate) fn open_talk(&mut self, talker: usize, beats: Beats) {
        assert!(self.talkers[talker].conn.is_none());
        let worker = self.rng.below(self.workers.len());
        let id = self.new_conn_id(worker);
        self.workers[worker].talks.push(Talk {
            id,
            talker,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_open: true,
            server_open: true,
            paused: false,
            marked: false,
            beats,
            heard_ms: self.now.mono_ms,
            beat_ms: self.now.mono_ms,
            owed: VecDeque::new(),
            refused: false,
            seats: BTreeMap::new(),
            has: BTreeMap::new(),
            last_receipt: 0,
            last_seat: 0,
            leaves: false,
        });
        self.talkers[talker].conn = Some((worker, id));
        let name = format!("talker-{talker}");
        self.run(worker, Input::Opened(id));
        let connect = Connect {
            client_id: &name,
            user: None,
            access: Access::default(),
            clean_start: true,
            expiry_s: 0,
            receive_maximum: NonZeroU16::MAX,
            keep_alive_s: 0,
            is_v5: false,
            will: None,
            durability: None,
            beats: Some(beats),
        };
        self.run(worker, Input::Connect(id, connect));
    }

    /// Both ends lose the connection; what was on the wires is lost. The broker may notice only later.
    pub(crate) fn cut_talk(&mut self, talker: usize) {
        let Some((worker, id)) = self.talkers[talker].conn.take() else { return };
        let heard = self.rng.below(4);
        if let Some(talk) = self.talk(worker, id) {
            talk.client_open = false;
            talk.down.clear();
            talk.up.truncate(heard);
        }
    }

    /// A message gets its number when it is put on the wire.
    pub(crate) fn draft(&mut self, generation: u32, draft: &Draft) -> u32 {
        let is_queue = draft.topic.starts_with("$queue/");
        let qos = if is_queue { draft.qos.max(Qos::AtLeastOnce) } else { draft.qos };
        let publisher = 10_000 + generation as usize;
        let msg = self.ledger.new_message(publisher, draft.topic.clone(), qos, false, false);
        self.ledger.expires(msg, draft.expires_in_ms.is_some());
        self.drafts.insert(msg, draft.clone());
        msg
    }

    pub(crate) fn read_talk(&mut self, worker: usize, at: usize) -> bool {
        let talk = &mut self.workers[worker].talks[at];
        if !talk.server_open && (!talk.client_open || talk.down.is_empty()) {
            return self.close_talk(worker, at);
        }
        if !talk.client_open && (talk.up.is_empty() || talk.paused) {
            return self.close_talk(worker, at);
        }
        if !talk.server_open || talk.paused {
            return false;
        }
        let Some((ask, receipt)) = talk.up.pop_front() else { return false };
        talk.heard_ms = self.now.mono_ms;
        self.hand_in(worker, at, ask, receipt);
        true
    }

    fn close_talk(&mut self, worker: usize, at: usize) -> bool {
        let talk = self.workers[worker].talks.remove(at);
        let conn = &mut self.talkers[talk.talker].conn;
        conn.take_if(|(_, id)| *id == talk.id);
        self.book.conn_ended(talk.id.generation);
        self.run(worker, Input::Closed(talk.id));
        true
    }

    fn hand_in(&mut self, worker: usize, at: usize, ask: Ask, receipt: Option<Receipt>) {
        let talk = &mut self.workers[worker].talks[at];
        let (id, generation) = (talk.id, talk.id.generation);
        let owed = match &ask {
            Ask::Heard => return self.run(worker, Input::Heard(id)),
            Ask::Send(msg) => Owed::Sent(*msg),
            Ask::Consume(seat) => Owed::Consuming(*seat),
            Ask::Cancel { consumer, forgets: true } => Owed::Forgotten(talk.seats[consumer].tap.unwrap()),
            Ask::Forget(tap) => Owed::Forgotten(*tap),
            Ask::Commit(number, _) => Owed::Committed(*number),
            Ask::Settle(_) | Ask::Cancel { .. } | Ask::Nothing | Ask::Leave => Owed::Other,
        };
        talk.owed.push_back((receipt, owed));
        let input = |request| Input::Request(id, request, receipt);
        match ask {
            Ask::Send(msg) => {
                let (draft, fields) = self.sending(msg, generation, None);
                let payload = msg.to_be_bytes();
                self.run(worker, input(Request::Send(send(&draft, &fields, &payload))));
            }
            Ask::Consume(seat) => self.consume(worker, id, seat, receipt),
            Ask::Cancel { consumer, forgets } => {
                let talk = &mut self.workers[worker].talks[at];
                let seat = talk.seats.get_mut(&consumer).unwrap();
                seat.stage = Stage::Over;
                if let Some(tap) = seat.tap {
                    self.book.disturbed(tap);
                    if forgets {
                        self.book.ending(tap, true);
                    }
                }
                let consumer = ConsumerId(consumer);
                self.run(worker, input(Request::Cancel { consumer, forgets }));
            }
            Ask::Forget(tap) => {
                self.book.ending(tap, true);
                let tap = &self.book.taps[tap];
                let (filter, durable) = (tap.filter.clone(), tap.group.clone());
                self.run(worker, input(Request::Forget { filter: &filter, durable: &durable }));
            }
            Ask::Settle((consumer, pids, verdict)) => {
                let mut accepted = Vec::new();
                for &pid in &pids {
                    self.let_go(worker, id, consumer, pid);
                    let Some(place) = self.book.give_up((generation, consumer, pid)) else { continue };
                    self.book.settle(place, verdict);
                    accepted.extend((verdict == Verdict::Accept).then_some(place));
                }
                let talk = &mut self.workers[worker].talks[at];
                talk.owed.back_mut().unwrap().1 = Owed::Settled(accepted);
                let ids: Vec<_> = pids.iter().filter_map(|&pid| NonZeroU16::new(pid)).collect();
                let settle = Settle { consumer: ConsumerId(consumer), packet_ids: &ids, verdict };
                self.run(worker, input(Request::Settle(settle)));
            }
            Ask::Commit(number, settles) => self.transact(worker, id, number, &settles, receipt),
            Ask::Nothing => self.run(worker, input(Request::Nothing)),
            Ask::Leave => {
                self.book.conn_ended(generation);
                let seats = &mut self.workers[worker].talks[at].seats;
                seats.values_mut().for_each(|seat| seat.stage = Stage::Over);
                self.run(worker, input(Request::Leave));
            }
            Ask::Heard => {}
        }
    }

    /// A delivery's place in its consumer's window is free.
    fn let_go(&mut self, worker: usize, id: ConnId, consumer: u32, pid: u16) {
        let seat = self.talk(worker, id).and_then(|talk| talk.seats.get_mut(&consumer));
        if let Some(seat) = seat {
            seat.held.remove(&pid);
        }
    }

    /// Tells the book of a message that goes in.
    fn sending(&mut self, msg: u32, generation: u32, commit: Option<usize>) -> (Draft, Vec<u8>) {
        let draft = self.drafts[&msg].clone();
        let asked = Asked {
            sender: (generation, 0),
            topic: draft.topic.clone(),
            stores: draft.qos > Qos::AtMostOnce || draft.topic.starts_with("$queue/") || commit.is_some(),
            priority: draft.priority,
            expires: draft.expires_in_ms.is_some(),
            stillborn: draft.expires_in_ms == Some(0),
            delayed: draft.delay_ms.is_some(),
            dedup: draft.dedup.clone(),
            commit,
        };
        self.book.handed_in(msg, asked);
        let (priority, kind) = (draft.priority.to_string(), (msg % 3).to_string());
        let mut pairs = vec![("n", kind.as_str())];
        if draft.priority != 4 {
            pairs.push(("priority", priority.as_str()));
        }
        let delay = draft.delay_ms.map(|ms| ms.to_string());
        pairs.extend(delay.as_deref().map(|ms| ("AMQ_SCHEDULED_DELAY", ms)));
        pairs.extend(draft.dedup.as_deref().map(|id| ("x-dedup-id", id)));
        let fields = properties(&pairs);
        (draft, fields)
    }

    fn consume(&mut self, worker: usize, id: ConnId, number: u32, receipt: Option<Receipt>) {
        let asked_at = self.book.tick();
        let seat = self.talk(worker, id).unwrap().seats.get_mut(&number).unwrap();
        seat.asked_at = asked_at;
        let seat = seat.clone();
        let said = QueueOptions::default();
        let tap = seat.tap.map(|tap| &self.book.taps[tap]);
        let (options, exclusive) = tap.map_or((said, false), |tap| (tap.options.clone(), tap.exclusive));
        let durable = tap.filter(|tap| tap.kind == Kind::Durable).map(|tap| tap.group.clone());
        let filter = match tap {
            Some(tap) if tap.kind == Kind::Share => format!("$share/{}/{}", tap.group, tap.filter),
            _ => seat.filter.clone(),
        };
        let selector = seat.wants.map(|kind| Arc::new(Selector::parse(&format!("n = '{kind}'")).unwrap()));
        if seat.alone {
            self.book.line_up((id.generation, number));
            if let Some(tap) = seat.tap.filter(|_| seat.browses) {
                self.book.look(tap);
            }
        } else if let Some(tap) = seat.tap.filter(|_| !seat.browses) {
            self.book.used(tap);
        }
        let consume = Consume {
            id: ConsumerId(number),
            filter: &filter,
            durable: durable.as_deref(),
            acknowledges: seat.acknowledges,
            window: NonZeroU16::new(seat.window).unwrap(),
            no_local: false,
            selector,
            browses: seat.browses,
            exclusive: exclusive && durable.is_none(),
            options: &options,
        };
        self.run(worker, Input::Request(id, Request::Consume(consume), receipt));
    }

    fn transact(
        &mut self,
        worker: usize,
        id: ConnId,
        number: usize,
        settles: &[Settling],
        receipt: Option<Receipt>,
    ) {
        let generation = id.generation;
        let sends = self.book.commits[number].sends.clone();
        let sends: Vec<_> = sends
            .into_iter()
            .map(|msg| (msg.to_be_bytes(), self.sending(msg, generation, Some(number))))
            .collect();
        let sends: Vec<_> =
            sends.iter().map(|(payload, (draft, fields))| send(draft, fields, payload)).collect();
        let mut held: Vec<(Holder, Verdict)> = Vec::new();
        for (consumer, pids, verdict) in settles {
            for &pid in pids {
                self.let_go(worker, id, *consumer, pid);
                held.push(((generation, *consumer, pid), *verdict));
            }
        }
        self.book.commit(number, &held);
        let ids: Vec<Vec<_>> = settles
            .iter()
            .map(|(_, pids, _)| pids.iter().filter_map(|&pid| NonZeroU16::new(pid)).collect())
            .collect();
        let settles: Vec<_> = settles
            .iter()
            .zip(&ids)
            .map(|((consumer, _, verdict), ids)| Settle {
                consumer: ConsumerId(*consumer),
                packet_ids: ids,
                verdict: *verdict,
            })
            .collect();
        self.ledger.committing = Some(number);
        let commit = Commit { sends: &sends, settles: &settles };
        // Nothing of it is seen while this runs: the book is asked when something is written.
        let mut fx = Effects::default();
        let request = Input::Request(id, Request::Commit(commit), receipt);
        self.workers[worker].engine.handle(self.now, request, &mut fx);
        let submits = fx.list.iter().any(|effect| {
            matches!(effect, Effect::Store(ticket, StoreOp::Transaction(_)) if *ticket != Ticket::NONE)
        });
        let closes = fx.list.iter().any(|effect| matches!(effect, Effect::Close(..)));
        if !submits {
            self.ledger.committing = None;
            let owes = |msg: &u32| !self.book.messages[msg].owed.is_empty();
            let owes = self.book.commits[number].sends.iter().any(owes);
            assert!(closes || !owes, "transaction {number} is not stored");
            self.book.commit_ended(number, if closes { State::Failed } else { State::Done });
        }
        self.apply(worker, fx);
    }

    pub(crate) fn ask(&mut self, talker: usize, ask: Ask, wants_receipt: bool) {
        let Some((worker, id)) = self.talkers[talker].conn else { return };
        let Some(talk) = self.talk(worker, id).filter(|talk| !talk.leaves) else { return };
        talk.leaves = matches!(ask, Ask::Leave);
        let receipt = wants_receipt.then(|| {
            talk.last_receipt += 1;
            Receipt(NonZeroU32::new(talk.last_receipt).unwrap())
        });
        talk.up.push_back((ask, receipt));
    }
}

fn send<'a>(draft: &'a Draft, fields: &'a [u8], payload: &'a [u8]) -> Send<'a> {
    let publish = Publish {
        topic: TopicName::from_validated(&draft.topic),
        fields: Fields::from_validated([fields, &[], &[]]),
        payload,
        qos: draft.qos,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    Send { publish, expires_in_ms: draft.expires_in_ms }
}
