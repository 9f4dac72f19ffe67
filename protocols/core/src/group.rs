//! Competing consumers, at their group's home: shared subscriptions (MQTT 5, section 4.8.2), point-to-point queues and
//! the durable subscriptions of STOMP.
//!
//! The home worker alone knows the members, chooses one for each message and keeps what none can take. What is to be
//! answered for is lent as a [`Lease`]; the member's worker answers each lease exactly once, with its outcome. This file
//! holds the members, what comes in and how loans end; the rooms beside it hold what waits (`backlog`), who gets it
//! (`choice`), what falls due (`due`), and what messages ask for (`wishes`, `sticky`, `seen`). What the store is told,
//! and what becomes of dead letters, is the engine's.

mod backlog;
mod choice;
mod decision;
mod due;
mod options;
mod seen;
mod sticky;
mod terms;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::acl::Bearer;
use crate::effects::JoinError;
use crate::id::{Qos, SessionId, WorkerId};
use crate::message::Message;
use crate::policy::Overflow;
use crate::selector::Selector;

use backlog::{Backlog, Item, Rank};
use choice::Seat;
pub use decision::{Choice, Death, Gone, Next, Settled};
use due::{Delayed, Due, Overdue};
pub use options::QueueOptions;
use seen::Seen;
use sticky::Sticky;
pub use terms::{Around, Terms};
pub(crate) use wishes::FIRST_DEATH;
use wishes::Wishes;

/// The part of a queue's limits that has to be free again before it takes more.
const ROOM: usize = 8;

/// Bits of a loan's number that count within its group; those above tell the group from others.
const LOAN_BITS: u32 = 40;

/// A message lent to a member; the home worker, the group's slot there and the loan's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Where the outcome is reported to.
    pub home: WorkerId,
    /// The group's slot at its home.
    pub group: u32,
    /// Number of the loan, never reused within the group's life.
    pub number: u64,
}

/// How a loan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, refused by the client (reason 0x80 and above), expired or dropped by a stated limit: it is over.
    Finished,
    /// The member went away before it was sent: another member's turn. QoS 2 that was sent dies with its session and is
    /// `Finished` [MQTT-4.8.2-4/5].
    Returned,
    /// It was sent, and its session ended before it was acknowledged, or its consumer gives it back: another turn, which
    /// is counted.
    Released,
    /// Its consumer does not want it again: a dead letter.
    Rejected,
}

/// A subscriber in a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// The member's session.
    pub session: SessionId,
    /// QoS granted.
    pub qos: Qos,
    /// Whether its client is connected.
    pub online: bool,
    /// Whether its session outlives its connection, so that the group may keep messages for it.
    pub durable: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Identifier of the subscription, if it has one.
    pub subscription_ids: Option<Arc<[NonZeroU32]>>,
    /// Loans not yet answered.
    pub outstanding: u32,
    /// Most loans that it takes; 0: as many as the group's limits say.
    pub window: u32,
    /// Which messages it wants.
    pub selector: Option<Arc<Selector>>,
    /// Whether it wants the group for itself alone.
    pub exclusive: bool,
    /// What it has a right to, as far as its own worker has told; `None`: everything, or it is not to be asked here.
    pub bearer: Option<Bearer>,
}

impl Member {
    /// Whether it has a right to a message, as far as is known. Of one that is away that is decided when it is back.
    fn may_have(&self, message: &Message) -> bool {
        self.bearer.as_ref().is_none_or(|bearer| !self.online || bearer.may_receive(message.topic().as_str()))
    }
}

#[derive(Debug)]
struct Loan {
    number: u64,
    rank: Rank,
    session: SessionId,
    /// When it was lent, monotonic ms.
    lent_ms: u64,
    item: Item,
}

/// One group at its home.
#[derive(Debug)]
pub struct Group {
    /// Sorted by session.
    members: Vec<Member>,
    /// What the group knows of each, in the same order.
    seats: Vec<Seat>,
    /// Selectors whose verdicts are remembered, each under the bit of its place.
    selectors: Vec<Arc<Selector>>,
    /// Members that have one.
    selecting: usize,
    /// Members that have no right to everything.
    restricted: usize,
    /// Whether members have come, gone or changed since [`Self::take_forbidden`].
    members_changed: bool,
    /// Which messages the group as a whole keeps; the rest is nobody's.
    filter: Option<Arc<Selector>>,
    /// Sessions that left with loans unanswered, how many and of how many bytes: who comes back still holds them.
    departed: BTreeMap<SessionId, (u32, usize)>,
    next: usize,
    backlog: Backlog,
    delayed: Delayed,
    /// In the order of their numbers, and so of when they were lent.
    loans: VecDeque<Loan>,
    overdue: Option<Box<Overdue>>,
    sticky: Option<Box<Sticky>>,
    seen: Option<Box<Seen>>,
    last_loan: u64,
    arrivals: u64,
    /// Whether the members' cursors are kept up.
    picky: bool,
    /// When the backlog was last searched for what has expired, monotonic ms.
    searched_ms: u64,
    /// Selectors asked, for tests of what that costs.
    asked: u64,
}

impl Group {
    /// An empty group. `incarnation` tells its loans from those of an earlier group in the same slot.
    #[must_use]
    pub fn new(incarnation: u32) -> Self {
        Self {
            members: Vec::new(),
            seats: Vec::new(),
            selectors: Vec::new(),
            selecting: 0,
            restricted: 0,
            members_changed: false,
            filter: None,
            departed: BTreeMap::new(),
            next: 0,
            backlog: Backlog::default(),
            delayed: Delayed::default(),
            loans: VecDeque::new(),
            overdue: None,
            sticky: None,
            seen: None,
            last_loan: u64::from(incarnation) << LOAN_BITS,
            arrivals: 0,
            picky: false,
            searched_ms: 0,
            asked: 0,
        }
    }

    /// The members, sorted by session.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Messages waiting for a member, or for their time.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.len() + self.delayed.len()
    }

    /// Bytes that those are charged with.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.bytes() + self.delayed.bytes()
    }

    /// Loans not yet answered nor taken back.
    #[must_use]
    pub fn loans(&self) -> usize {
        self.loans.len()
    }

    /// The numbers of those loans.
    #[must_use]
    pub fn lent(&self) -> BTreeSet<u64> {
        self.loans.iter().map(|loan| loan.number).collect()
    }

    /// What the loans of one group have in common, and nearly never those of two.
    #[must_use]
    pub fn mark_of(loan: u64) -> u64 {
        loan >> LOAN_BITS
    }

    fn place_of(&self, session: SessionId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&session, |member| member.session)
    }

    /// Adds a member, or replaces its options if it is one already. What it holds is the group's to know.
    ///
    /// # Errors
    /// [`JoinError::Exclusive`] if another member wants the group for itself, or this one does and there is another.
    pub fn join(&mut self, mut member: Member) -> Result<(), JoinError> {
        let mut others = self.members.iter().filter(|other| other.session != member.session);
        if others.any(|other| other.exclusive || member.exclusive) {
            return Err(JoinError::Exclusive);
        }
        let bit = self.bit_for(&member);
        match self.place_of(member.session) {
            Ok(place) => {
                if let (Some(present), Some(seat)) = (self.members.get_mut(place), self.seats.get_mut(place))
                {
                    member.outstanding = present.outstanding;
                    *present = member;
                    *seat = Seat { bit, cursor: Rank::FIRST, ..*seat };
                }
            }
            Err(place) => {
                let (outstanding, bytes) = self.departed.remove(&member.session).unwrap_or_default();
                member.outstanding = outstanding;
                self.members.insert(place, member);
                self.seats.insert(place, Seat { bit, bytes, cursor: Rank::FIRST });
                if self.next > place {
                    self.next += 1;
                }
            }
        }
        self.count_selecting();
        Ok(())
    }

    /// Removes a member; its loans stay until they are answered. True if the group is empty now.
    pub fn leave(&mut self, session: SessionId) -> bool {
        if let Ok(place) = self.place_of(session) {
            let (member, seat) = (self.members.remove(place), self.seats.remove(place));
            if member.outstanding > 0 {
                self.departed.insert(session, (member.outstanding, seat.bytes));
            }
            if self.next > place {
                self.next -= 1;
            }
            self.release_groups(session);
            self.count_selecting();
        }
        self.members.is_empty()
    }

    /// Notes that a member's client came or went.
    pub fn set_presence(&mut self, session: SessionId, online: bool, durable: bool) {
        let Ok(place) = self.place_of(session) else { return };
        if let Some(member) = self.members.get_mut(place) {
            member.online = online;
            member.durable = durable;
        }
        self.members_changed = true;
        if !online {
            self.release_groups(session);
        }
    }

    /// The member is not there to get the rest of its message groups: they are anybody's.
    fn release_groups(&mut self, session: SessionId) {
        if let Some(sticky) = &mut self.sticky {
            sticky.release(session);
        }
        self.look_again(Rank::FIRST);
    }

    /// One loan of so many bytes less is with `session`, member or not.
    fn answered(&mut self, session: SessionId, bytes: usize) {
        if let Ok(place) = self.place_of(session) {
            if let (Some(member), Some(seat)) = (self.members.get_mut(place), self.seats.get_mut(place)) {
                member.outstanding = member.outstanding.saturating_sub(1);
                seat.bytes = seat.bytes.saturating_sub(bytes);
            }
        } else if let Some((left, left_bytes)) = self.departed.get_mut(&session) {
            *left -= 1;
            *left_bytes = left_bytes.saturating_sub(bytes);
            if *left == 0 {
                self.departed.remove(&session);
            }
        }
    }

    /// What the group keeps from now on; `None`: everything. What waits and is not wanted any more is for
    /// [`Self::take_unwanted`], what is lent goes when it comes back.
    pub fn set_filter(&mut self, filter: Option<Arc<Selector>>) {
        self.filter = filter;
    }

    fn keeps(&self, message: &Message) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(message))
    }

    /// Decides about a message.
    pub fn offer(&mut self, message: &Arc<Message>, around: &Around<'_>) -> Choice {
        let mut item = item_of(Arc::clone(message), 0, around);
        if !around.terms.is_queue {
            return self.offer_now(item, 0, around);
        }
        if !self.keeps(message) {
            return Choice::Unwanted;
        }
        let (wishes, now_ms) = (Wishes::of(message, around.now, around.seed), around.now.mono_ms);
        if wishes.dedup.is_some_and(|id| self.seen.as_mut().is_some_and(|seen| seen.knows(id, now_ms))) {
            return Choice::Duplicate;
        }
        (item.sticky, item.closes) = (wishes.sticky, wishes.closes);
        let priority = wishes.priority.min(around.terms.max_priority);
        let choice = match wishes.due {
            Some(due) => self.keep(item, Some((due, priority)), Rank::FIRST, around),
            None => self.offer_now(item, priority, around),
        };
        // What is not taken may come again.
        if let Some(id) = wishes.dedup
            && matches!(choice, Choice::Send(..) | Choice::Kept | Choice::Displaced(_))
        {
            self.seen.get_or_insert_default().note(id, now_ms);
        }
        choice
    }

    /// Decides about a message whose time has come.
    fn offer_now(&mut self, mut item: Item, priority: u8, around: &Around<'_>) -> Choice {
        let terms = around.terms;
        let rank = self.next_rank(priority);
        // What waits is older and goes first; in a share QoS 0 never waits, and has no order with the others.
        let waits = terms.is_queue || item.message.qos() > Qos::AtMostOnce;
        if (!waits || !self.has_next(around))
            && let Some(place) = self.choose(&mut item, rank, around)
        {
            return Choice::Send(place, self.lend(place, rank, item, around));
        }
        if !terms.is_queue {
            let all_select = self.selecting > 0 && self.selecting == self.members.len();
            if all_select && !self.is_wanted(&mut item) {
                return Choice::Unwanted;
            }
            let kept = |member: &Member| {
                let is_there = member.durable || member.online;
                member.qos > Qos::AtMostOnce && is_there && member.may_have(&item.message)
            };
            if !waits || !(terms.keeps || self.members.iter().any(kept)) {
                return Choice::Dropped;
            }
        }
        self.keep(item, None, rank, around)
    }

    fn next_rank(&mut self, priority: u8) -> Rank {
        self.arrivals += 1;
        Rank::new(priority, self.arrivals)
    }

    /// Keeps what nobody can take now, or is to take before its time, as far as the limits let it.
    fn keep(&mut self, item: Item, delay: Option<(Due, u8)>, rank: Rank, around: &Around<'_>) -> Choice {
        let terms = around.terms;
        let cost = item.message.cost();
        let mut displaced = Vec::new();
        match terms.overflow {
            Overflow::DropOldest | Overflow::Disconnect => {
                while self.is_full_for(cost, terms) {
                    let Some(oldest) = self.displace() else { break };
                    displaced.push(oldest.into());
                }
            }
            Overflow::DropNewest if self.is_full_for(cost, terms) => return Choice::Full,
            // Who sends at QoS 0 can't be asked to wait.
            Overflow::Refuse if item.message.qos() == Qos::AtMostOnce && self.is_full_for(cost, terms) => {
                return Choice::Full;
            }
            // The publisher was asked before the message was accepted (see the engine); what is accepted stays.
            Overflow::DropNewest | Overflow::Refuse => {}
        }
        match delay {
            Some((due, priority)) => self.delayed.put(due, priority, item),
            None => self.put(rank, item),
        }
        if displaced.is_empty() { Choice::Kept } else { Choice::Displaced(displaced) }
    }

    /// Takes out what gives way to something newer.
    fn displace(&mut self) -> Option<Item> {
        match self.backlog.last_in_line() {
            Some(rank) => self.take(rank),
            None => self.delayed.pop_first(),
        }
    }

    fn put(&mut self, rank: Rank, item: Item) {
        if item.sticky != 0 {
            self.sticky.get_or_insert_default().count(item.sticky, true);
        }
        self.backlog.put(rank, item);
        self.look_again(rank);
    }

    fn take(&mut self, rank: Rank) -> Option<Item> {
        let item = self.backlog.take(rank)?;
        if let Some(sticky) = &mut self.sticky {
            sticky.count(item.sticky, false);
        }
        Some(item)
    }

    /// Whether one more message of `cost` bytes would break a limit; counted as in a session's queue.
    fn is_full_for(&self, cost: usize, terms: &Terms) -> bool {
        self.backlog() >= terms.max_messages.max(1)
            || (self.backlog() > 0 && self.backlog_bytes() + cost > terms.max_bytes)
    }

    /// Whether publishers are to be refused until some of what waits has gone ([`Overflow::Refuse`]). A queue that they
    /// were refused for (`was`) is to have some room before it takes more, or every message would stop and start them.
    #[must_use]
    pub fn is_congested(&self, terms: &Terms, was: bool) -> bool {
        let room = |most: usize| if was && terms.is_queue { most - most / ROOM } else { most };
        let (max_messages, max_bytes) = (room(terms.max_messages), room(terms.max_bytes));
        terms.overflow == Overflow::Refuse
            && self.is_full_for(0, &Terms { max_messages, max_bytes, ..*terms })
    }

    fn lend(&mut self, place: usize, rank: Rank, item: Item, around: &Around<'_>) -> Option<u64> {
        let (member, seat) = (self.members.get_mut(place)?, self.seats.get_mut(place)?);
        let session = member.session;
        if !around.terms.is_queue && item.message.qos().min(member.qos) == Qos::AtMostOnce {
            return None;
        }
        member.outstanding += 1;
        seat.bytes += item.message.cost();
        if item.sticky != 0 && self.sticky.get_or_insert_default().lent(item.sticky, session, item.closes) {
            self.look_again(Rank::FIRST);
        }
        self.last_loan += 1;
        self.loans.push_back(Loan {
            number: self.last_loan,
            rank,
            session,
            lent_ms: around.now.mono_ms,
            item,
        });
        Some(self.last_loan)
    }

    /// Ends a loan. A message that comes back goes where its rank puts it, before everything that came later.
    pub fn settle(&mut self, number: u64, outcome: Outcome, terms: &Terms) -> Settled {
        let Ok(place) = self.loans.binary_search_by_key(&number, |loan| loan.number) else {
            return self.settle_late(number);
        };
        let Some(loan) = self.loans.remove(place) else { return Settled::Unknown };
        self.answered(loan.session, loan.item.message.cost());
        self.end(loan, outcome, terms)
    }

    /// Does with a loan's message as the outcome says.
    fn end(&mut self, loan: Loan, outcome: Outcome, terms: &Terms) -> Settled {
        let Loan { rank, mut item, .. } = loan;
        let record = item.message.record();
        match outcome {
            Outcome::Finished => Settled::Done(record),
            // Nobody asks for it any more.
            Outcome::Returned | Outcome::Released if !self.keeps(&item.message) => Settled::Done(record),
            Outcome::Rejected => Settled::Dead(item.into(), Death::Rejected),
            Outcome::Released if terms.is_queue => {
                item.deliveries = item.deliveries.saturating_add(1);
                let deliveries = item.deliveries;
                if deliveries >= terms.max_deliveries {
                    return Settled::Dead(item.into(), Death::DeliveryLimit);
                }
                self.put(rank, item);
                Settled::Back(record, Some(deliveries))
            }
            Outcome::Returned | Outcome::Released => {
                self.put(rank, item);
                Settled::Back(record, None)
            }
        }
    }

    /// Keeps a message that was waiting before a restart; to be called in their order.
    pub fn restore(&mut self, message: Arc<Message>, deliveries: u32, around: &Around<'_>) {
        let mut item = item_of(message, deliveries, around);
        let mut priority = 0;
        if around.terms.is_queue {
            let wishes = Wishes::of(&item.message, around.now, around.seed);
            if let Some(id) = wishes.dedup {
                self.seen.get_or_insert_default().note(id, around.now.mono_ms);
            }
            (item.sticky, item.closes) = (wishes.sticky, wishes.closes);
            priority = wishes.priority.min(around.terms.max_priority);
            if let Some(due) = wishes.due {
                return self.delayed.put(due, priority, item);
            }
        }
        let rank = self.next_rank(priority);
        self.put(rank, item);
    }

    /// Puts another message in the place of each that waits or is lent; it is told how often each was delivered.
    pub fn change(&mut self, mut change: impl FnMut(&Message, u32) -> Arc<Message>) {
        let mut anew = |item: &mut Item| item.message = change(&item.message, item.deliveries);
        self.loans.iter_mut().for_each(|loan| anew(&mut loan.item));
        self.backlog.change(&mut anew);
        self.delayed.change(&mut anew);
    }

    /// The numbers of all messages that wait or are lent, as far as they were handed to the store.
    #[must_use]
    pub fn records(&self) -> Box<[u64]> {
        let waiting = self.backlog.iter().chain(self.delayed.iter());
        let all = waiting.chain(self.loans.iter().map(|loan| &loan.item));
        all.map(|item| item.message.record()).filter(|&record| record != 0).collect()
    }

    /// What waits for a member, in the order in which it is to leave.
    #[must_use]
    pub fn waiting(&self) -> Vec<Arc<Message>> {
        self.backlog.iter().map(|item| Arc::clone(&item.message)).collect()
    }

    /// Of what waits for a member, so many from place `from` on.
    #[must_use]
    pub fn waiting_from(&self, from: usize, most: usize) -> Vec<Arc<Message>> {
        self.backlog.iter().skip(from).take(most).map(|item| Arc::clone(&item.message)).collect()
    }

    /// Whether the group keeps messages for a member whose session is kept.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.members.iter().any(|member| member.durable && member.qos > Qos::AtMostOnce)
    }

    /// Whether any member's client is there.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.members.iter().any(|member| member.online)
    }
}

/// A message as its group is to hold it from now on.
fn item_of(message: Arc<Message>, deliveries: u32, around: &Around<'_>) -> Item {
    let ttl_ms = around.terms.message_ttl_ms;
    let leaves_ms = ttl_ms.map_or(u64::MAX, |ms| around.now.mono_ms.saturating_add(ms));
    let expires_ms = message.expires_ms().min(leaves_ms);
    Item::new(message, expires_ms, deliveries)
}

#[cfg(test)]
mod tests;
