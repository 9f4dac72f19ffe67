//! The book of a run with STOMP: every message that waits in a queue, a durable subscription or a share, who holds it,
//! how often it was delivered, and what has been promised of it. It knows requests, deliveries and answers alone, and
//! objects at once.

use std::collections::{BTreeMap, BTreeSet};

use noctule_core::consumer::Verdict;
use noctule_core::effects::DropReason;

use crate::taps::{Kind, Tap};

/// A connection's generation, a consumer there (0: MQTT), and the packet id.
pub(crate) type Holder = (u32, u32, u16);

/// A message in one tap.
pub(crate) type Place = (usize, u32);

/// Whose messages have an order among each other.
pub(crate) type Sender = (u32, u8);

/// Senders of MQTT are told apart by their client's number and this; those of STOMP by their connections.
pub(crate) const MQTT: u32 = 1_000_000;

/// Priorities.
const LEVELS: usize = 10;

/// A message as its sender asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) sender: Sender,
    pub(crate) topic: String,
    /// Whether it is stored; otherwise it is promised for the life of the process alone.
    pub(crate) stores: bool,
    pub(crate) priority: u8,
    pub(crate) expires: bool,
    /// Its time was over when it was sent: nobody is to see it.
    pub(crate) stillborn: bool,
    pub(crate) delayed: bool,
    pub(crate) dedup: Option<String>,
    /// The transaction that it is part of.
    pub(crate) commit: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) asked: Asked,
    /// When an engine got it first.
    pub(crate) at: u64,
    /// It was sent more than once, and may be there as often.
    pub(crate) plural: bool,
    /// Its sender was told that it is stored.
    pub(crate) promised: bool,
    /// Its sender was told of something that it sent later, or the store has its transaction.
    pub(crate) taken: bool,
    /// When its sender was told, if it was.
    pub(crate) told_at: u64,
    /// Where it has to be.
    pub(crate) owed: Vec<usize>,
}

/// How a message left a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Accepted, or written to somebody who acknowledges nothing.
    Consumed,
    /// A dead letter.
    Rejected,
}

/// A message in a tap.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) written: u32,
    pub(crate) holder: Option<Holder>,
    /// A transaction that settles it.
    pub(crate) commit: Option<usize>,
    pub(crate) end: Option<End>,
    /// Its consumer has the receipt of its ACK.
    pub(crate) sure: bool,
    pub(crate) rejected: bool,
    /// A crash has come between.
    pub(crate) crashed: bool,
    /// How often it had been delivered as far as the last restart found, and how often since.
    pub(crate) found: u32,
    pub(crate) since: u32,
    /// What comes next is another dead letter.
    pub(crate) void: bool,
}

/// What a dead letter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) reason: String,
    pub(crate) count: u32,
    pub(crate) from: String,
}

/// A delivery to a consumer of a tap.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub(crate) msg: u32,
    pub(crate) deliveries: u32,
    pub(crate) death: Option<Death>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Done,
    Failed,
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) sends: Vec<u32>,
    pub(crate) settles: Vec<(Place, Verdict)>,
    pub(crate) state: State,
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) taps: Vec<Tap>,
    pub(crate) messages: BTreeMap<u32, Sent>,
    pub(crate) copies: BTreeMap<Place, Entry>,
    pub(crate) lent: BTreeMap<Holder, Place>,
    pub(crate) commits: Vec<Commit>,
    /// Of the first deliveries to a consumer of a sender's messages: the newest of each priority.
    newest: BTreeMap<(u32, u32, Sender), [u64; LEVELS]>,
    /// What consumers that found everything at rest were sent last: by priority, and then by sender.
    lined: BTreeMap<(u32, u32), (u8, BTreeMap<Sender, u64>)>,
    /// What those were shown who looked when everything was at rest.
    looks: BTreeMap<usize, BTreeSet<u32>>,
    /// And what was consumed then.
    at_rest: BTreeMap<usize, BTreeSet<u32>>,
    pub(crate) clock: u64,
    pub(crate) crashes: u64,
    /// What was seen, for the words of a run.
    pub(crate) seen: Seen,
}

/// Counts, so that a run shows that it has met what it is to try.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) first: u64,
    pub(crate) again: u64,
    pub(crate) consumed: u64,
    pub(crate) letters: u64,
    pub(crate) commits: u64,
    pub(crate) undone: u64,
    pub(crate) lined: u64,
    pub(crate) browsed: u64,
    pub(crate) receipts: u64,
    pub(crate) excused: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.first += other.first;
        self.again += other.again;
        self.consumed += other.consumed;
        self.letters += other.letters;
        self.commits += other.commits;
        self.undone += other.undone;
        self.lined += other.lined;
        self.browsed += other.browsed;
        self.receipts += other.receipts;
        self.excused += other.excused;
    }
}

impl Book {
    pub(crate) fn new(taps: Vec<Tap>) -> Self {
        Self { taps, ..Self::default() }
    }

    pub(crate) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub(crate) fn tap_of(&self, group: &str, filter: &str) -> Option<usize> {
        self.taps.iter().position(|tap| tap.group == group && tap.filter == filter)
    }

    /// An engine gets a message.
    pub(crate) fn handed_in(&mut self, msg: u32, asked: Asked) {
        let at = self.tick();
        let owes = |tap: &Tap| match tap.kind {
            _ if asked.stillborn => false,
            Kind::Queue => tap.filter == asked.topic,
            Kind::Durable => {
                tap.alive
                    && tap.matches(&asked.topic)
                    && tap.wants.is_none_or(|kind| asked.sender.0 < MQTT && msg % 3 == kind)
            }
            Kind::Share => false,
        };
        let mut owed: Vec<_> = (0..self.taps.len()).filter(|&tap| owes(&self.taps[tap])).collect();
        if let Some(known) = self.messages.get_mut(&msg) {
            // Only this time it may have been taken.
            owed.retain(|tap| known.owed.contains(tap));
            (known.plural, known.owed) = (true, owed);
            return;
        }
        let sent = Sent { asked, at, plural: false, promised: false, taken: false, told_at: u64::MAX, owed };
        self.messages.insert(msg, sent);
    }

    pub(crate) fn promise(&mut self, msg: u32) {
        let at = self.tick();
        if let Some(sent) = self.messages.get_mut(&msg) {
            sent.promised |= sent.asked.stores;
            sent.taken = true;
            sent.told_at = sent.told_at.min(at);
        }
    }

    pub(crate) fn taken(&mut self, msg: u32) {
        if let Some(sent) = self.messages.get_mut(&msg) {
            sent.taken = true;
        }
    }

    /// Nobody may see a message of a transaction before the store has it.
    pub(crate) fn visible(&self, msg: u32) {
        let asked = self.messages.get(&msg).map(|sent| &sent.asked);
        assert!(!asked.is_some_and(|asked| asked.stillborn), "{msg} has come too late");
        let commit = asked.and_then(|asked| asked.commit);
        if let Some(commit) = commit {
            let state = self.commits[commit].state;
            assert_eq!(
                state,
                State::Done,
                "message {msg} of transaction {commit} is seen while that is {state:?}"
            );
        }
    }

    /// A message of a tap is written to a consumer; `pid` is `None` if it acknowledges nothing.
    pub(crate) fn written(&mut self, tap: usize, to: (u32, u32), pid: Option<u16>, handed: &Handed) {
        let &Handed { msg, deliveries, .. } = handed;
        self.visible(msg);
        let sent = &self.messages[&msg];
        let of = &self.taps[tap];
        if let (Some(id), 0) = (&sent.asked.dedup, self.crashes) {
            let twin = |(&other, known): (&u32, &Sent)| {
                other != msg
                    && known.asked.dedup.as_ref() == Some(id)
                    && self.copies.contains_key(&(tap, other))
            };
            assert!(!self.messages.iter().any(twin), "{msg} has come as well as another one of {id}");
        }
        let strict = !sent.plural && !of.is_timed();
        let counts = of.kind != Kind::Share;
        let copy = self.copies.entry((tap, msg)).or_default();
        if std::mem::take(&mut copy.void) {
            (copy.found, copy.since) = (0, 0);
        }
        let what = || format!("{msg} {sent:?} in {} {:?}: {copy:?}", of.group, of.filter);
        assert!(!copy.sure || !strict, "delivered after the receipt of its ACK: {}", what());
        if strict {
            assert_eq!(copy.end, None, "delivered after its end: {}", what());
            assert_eq!((copy.holder, copy.commit), (None, None), "lent to {to:?} as well: {}", what());
            let due = if counts { copy.found + copy.since } else { 0 };
            assert_eq!(deliveries, due, "deliveries before: {}", what());
            if let Some(most) = of.limit() {
                assert!(deliveries < most, "more than {most} deliveries: {}", what());
            }
        }
        let first = copy.written == 0;
        copy.written += 1;
        copy.since += 1;
        match pid {
            Some(pid) => {
                let holder = (to.0, to.1, pid);
                copy.holder = Some(holder);
                let before = self.lent.insert(holder, (tap, msg));
                assert_eq!(before, None, "packet id {pid} is in use");
            }
            None => {
                copy.end = Some(End::Consumed);
                self.seen.consumed += 1;
            }
        }
        if first {
            self.seen.first += 1;
        } else {
            self.seen.again += 1;
        }
        self.check_death(tap, handed);
        if first && deliveries == 0 {
            self.check_order(tap, to, msg);
        }
        self.check_line(tap, to, msg);
        if self.lined.contains_key(&to) {
            self.at_rest.entry(tap).or_default().insert(msg);
        }
    }

    /// A dead letter dies for a reason, and says how often it was delivered.
    fn check_death(&mut self, tap: usize, handed: &Handed) {
        if self.taps[tap].collects {
            return;
        }
        let mut from = (0..self.taps.len()).filter(|&from| self.taps[from].letters == Some(tap));
        let Some(from) = from.next() else { return };
        let msg = handed.msg;
        let death = handed
            .death
            .as_ref()
            .unwrap_or_else(|| panic!("{msg} in {}: no dead letter", self.taps[tap].filter));
        let (of, sent) = (&self.taps[from], &self.messages[&msg]);
        let none = Entry::default();
        let copy = self.copies.get(&(from, msg)).unwrap_or(&none);
        self.seen.letters += 1;
        if sent.plural || of.is_timed() {
            return;
        }
        let exact = !copy.crashed;
        let (right, count) = match death.reason.as_str() {
            "rejected" => (copy.rejected, copy.written.wrapping_sub(1)),
            "delivery_limit" => (of.limit() == Some(death.count), copy.written),
            "expired" => (of.options.message_ttl_ms.is_some() || sent.asked.expires, copy.written),
            "maxlen" => (of.excuse() == Some(DropReason::QueueFull), copy.written),
            _ => (false, 0),
        };
        assert!(right, "a dead letter {death:?} of {copy:?} from {of:?}");
        assert!(!exact || death.count == count, "a dead letter {death:?} of {copy:?}");
        assert_eq!(death.from, of.filter);
    }

    /// First deliveries to a consumer: no lower priority before a higher one that was there, each priority in order.
    fn check_order(&mut self, tap: usize, to: (u32, u32), msg: u32) {
        let sent = &self.messages[&msg];
        // Dead letters come in the order of their deaths.
        let keeps_letters = self.taps.iter().any(|of| of.letters == Some(tap));
        if sent.plural || sent.asked.delayed || keeps_letters {
            return;
        }
        if self.taps[tap].kind == Kind::Share && !sent.asked.stores {
            // There QoS 0 does not wait.
            return;
        }
        let level = usize::from(sent.asked.priority);
        let newest = self.newest.entry((to.0, to.1, sent.asked.sender)).or_default();
        let counts = self.taps[tap].kind != Kind::Share;
        let before = if counts { newest[..=level].iter().max() } else { newest.iter().max() };
        let before = *before.unwrap();
        assert!(
            before < sent.at || self.taps[tap].disturbed_at >= sent.at,
            "{msg} {sent:?} comes to {to:?} after one of {before} from {:?}",
            self.taps[tap]
        );
        newest[level] = newest[level].max(sent.at);
    }

    /// A consumer has found its tap at rest, and nobody else there.
    pub(crate) fn line_up(&mut self, to: (u32, u32)) {
        self.lined.insert(to, (9, BTreeMap::new()));
    }

    /// Somebody consumes from a tap.
    pub(crate) fn used(&mut self, tap: usize) {
        self.taps[tap].used |= !self.messages.is_empty();
    }

    /// A look at what waits, when everything is at rest.
    pub(crate) fn look(&mut self, tap: usize) {
        self.looks.insert(tap, BTreeSet::new());
    }

    pub(crate) fn shown(&mut self, tap: usize, to: (u32, u32), msg: u32) {
        self.visible(msg);
        self.check_line(tap, to, msg);
        if let Some(look) = self.looks.get_mut(&tap) {
            assert!(look.insert(msg) || self.messages[&msg].plural, "{msg} is shown twice");
        }
    }

    /// Who has looked was shown what was consumed after that, and nothing else.
    pub(crate) fn check_look(&self) {
        for (tap, shown) in &self.looks {
            let none = BTreeSet::new();
            let taken = self.at_rest.get(tap).unwrap_or(&none);
            let lasts = |msg: &&u32| {
                let asked = &self.messages[msg].asked;
                !asked.expires && !asked.delayed
            };
            let of = &self.taps[*tap];
            // What comes back has its place whatever the limit.
            // Nor does a restart know which one had to go, unless that was stored.
            if of.excuse() == Some(DropReason::QueueFull) && !of.used && self.crashes == 0 {
                let most = of.options.max_messages.unwrap();
                assert!(shown.len() as u64 <= most, "{shown:?} wait: {of:?}");
            }
            if self.flows(*tap) || of.collects || of.excuse().is_some() {
                continue;
            }
            let differ: Vec<_> = shown.symmetric_difference(taken).filter(lasts).collect();
            assert!(differ.is_empty(), "{differ:?} were consumed or shown alone: {of:?}");
        }
    }

    /// What has waited leaves in the order of priorities and, within one, of arrival; delivered before or not.
    pub(crate) fn check_line(&mut self, tap: usize, to: (u32, u32), msg: u32) {
        let flows = self.flows(tap);
        let Some((level, newest)) = self.lined.get_mut(&to) else { return };
        let (sent, tap) = (&self.messages[&msg], &self.taps[tap]);
        if sent.plural || sent.asked.delayed || tap.collects || flows {
            return;
        }
        // What comes for one that has ended is stored anew for the next one, and so comes later after a restart.
        let anew = tap.options.auto_delete.is_some() || tap.ended_at > 0;
        if self.crashes > 0 && anew {
            return;
        }
        self.seen.lined += 1;
        let priority = sent.asked.priority;
        assert!(priority <= *level, "{msg} {sent:?} comes to {to:?} after priority {level} from {tap:?}");
        if priority < *level {
            *level = priority;
            newest.clear();
        }
        let is_end = tap.filter.starts_with("$queue/DLQ.");
        let newest = newest.entry(sent.asked.sender).or_default();
        assert!(
            *newest < sent.at || is_end,
            "{msg} {sent:?} comes to {to:?} after one of {newest} from {tap:?}"
        );
        *newest = sent.at;
    }

    /// Whether some come while others leave, though everything is at rest.
    fn flows(&self, tap: usize) -> bool {
        let sends_on = |of: &Tap| of.is_timed() && of.letters == Some(tap);
        self.taps[tap].is_timed() || self.taps.iter().any(sends_on)
    }

    /// What a holder has, if it has it still; then it has it no longer.
    pub(crate) fn give_up(&mut self, holder: Holder) -> Option<Place> {
        let place = self.lent.remove(&holder)?;
        if let Some(copy) = self.copies.get_mut(&place)
            && copy.holder == Some(holder)
        {
            copy.holder = None;
        }
        Some(place)
    }

    pub(crate) fn settle(&mut self, place: Place, verdict: Verdict) {
        let is_share = self.taps[place.0].kind == Kind::Share;
        let copy = self.copies.get_mut(&place).unwrap();
        copy.commit = None;
        match verdict {
            Verdict::Accept => {
                copy.end = Some(End::Consumed);
                self.seen.consumed += 1;
            }
            Verdict::Requeue => {}
            // Somebody else has consumed it in time.
            Verdict::Reject if copy.end.is_some() => {}
            Verdict::Reject => {
                copy.rejected = true;
                copy.end = Some(if is_share { End::Consumed } else { End::Rejected });
            }
        }
    }

    /// The receipt of an ACK has left.
    pub(crate) fn make_sure(&mut self, place: Place) {
        self.copies.get_mut(&place).unwrap().sure = true;
    }

    /// A connection is no more for its engine: what it holds goes back.
    pub(crate) fn conn_ended(&mut self, generation: u32) {
        let at = self.tick();
        let held: Vec<_> = self.lent.range((generation, 0, 0)..=(generation, u32::MAX, u16::MAX)).collect();
        let held: Vec<_> = held.into_iter().map(|(&holder, _)| holder).collect();
        for holder in held {
            self.give_up(holder);
        }
        // It may have been lent what it was not sent.
        self.taps.iter_mut().for_each(|tap| tap.disturbed_at = at);
    }

    pub(crate) fn disturbed(&mut self, tap: usize) {
        self.taps[tap].disturbed_at = self.tick();
    }

    /// Somebody asks for a durable subscription's or queue's end, or hears that it has come.
    pub(crate) fn ending(&mut self, tap: usize, begins: bool) {
        let at = self.tick();
        let tap = &mut self.taps[tap];
        (tap.alive, tap.promised, tap.ended_at) = (false, false, at);
        tap.ending = if begins { tap.ending + 1 } else { tap.ending.saturating_sub(1) };
    }

    /// A transaction goes to its engine with the deliveries that are there to be settled.
    pub(crate) fn commit(&mut self, number: usize, settles: &[(Holder, Verdict)]) {
        for &(holder, verdict) in settles {
            let Some(place) = self.give_up(holder) else { continue };
            self.copies.get_mut(&place).unwrap().commit = Some(number);
            self.commits[number].settles.push((place, verdict));
        }
    }

    /// What became of it.
    pub(crate) fn commit_ended(&mut self, number: usize, state: State) {
        self.commits[number].state = state;
        for (place, verdict) in self.commits[number].settles.clone() {
            match state {
                State::Done => self.settle(place, verdict),
                _ => self.copies.get_mut(&place).unwrap().commit = None,
            }
        }
        if state == State::Done {
            self.commits[number].sends.clone().into_iter().for_each(|msg| self.taken(msg));
        }
        self.seen.commits += u64::from(state == State::Done);
        self.seen.undone += u64::from(state == State::Failed);
    }
}
