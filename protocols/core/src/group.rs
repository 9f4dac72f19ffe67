//! Competing consumers of a shared subscription, at the group's home (MQTT 5, section 4.8.2).
//!
//! The home worker alone knows the members, chooses one for each message and keeps what none can take. A message at
//! QoS 1 or 2 is lent as a [`Lease`]; the member's worker answers each lease exactly once, with its outcome.

mod options;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::hash::Seed;
use crate::id::{Qos, SessionId, WorkerId};
use crate::message::Message;
use crate::policy::{Overflow, ShareStrategy};
use crate::selector::Selector;

pub use options::QueueOptions;

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
}

#[derive(Debug)]
struct Loan {
    number: u64,
    /// Number of the message's first loan: where it belongs if it is returned.
    age: u64,
    session: SessionId,
    message: Arc<Message>,
}

/// A message that no member could take yet.
#[derive(Debug)]
struct Waiting {
    /// Number of its first loan; `u64::MAX` if it was never lent. Keeps the order by age.
    age: u64,
    message: Arc<Message>,
}

/// What the group decided about one message.
#[derive(Debug)]
pub enum Choice {
    /// Send to this member (position), under this loan number if `Some`.
    Send(usize, Option<u64>),
    /// Nobody can take it now; the group keeps it.
    Kept,
    /// The group keeps it; these older ones had to go (in order).
    Displaced(Vec<Arc<Message>>),
    /// Nobody can take it now, and the group keeps as much as it may.
    Full,
    /// Nobody can take it and the group may not keep it (QoS 0, or no durable member).
    Dropped,
}

/// Limits on one group.
#[derive(Clone, Copy, Debug)]
pub struct GroupLimits {
    /// Messages kept while no member can take one.
    pub max_messages: usize,
    /// Bytes kept while no member can take one.
    pub max_bytes: usize,
    /// Unanswered loans per member.
    pub max_outstanding: u32,
    /// What a full backlog does. There is no consumer of it to disconnect: [`Overflow::Disconnect`] drops the oldest.
    pub overflow: Overflow,
}

/// One group at its home.
#[derive(Debug)]
pub struct Group {
    /// Sorted by session.
    members: Vec<Member>,
    /// Sessions that left with loans unanswered, and how many: who comes back still holds them.
    departed: BTreeMap<SessionId, u32>,
    next: usize,
    backlog: VecDeque<Waiting>,
    backlog_bytes: usize,
    loans: VecDeque<Loan>,
    last_loan: u64,
}

impl Group {
    /// An empty group. `incarnation` tells its loans from those of an earlier group in the same slot.
    #[must_use]
    pub fn new(incarnation: u32) -> Self {
        Self {
            members: Vec::new(),
            departed: BTreeMap::new(),
            next: 0,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            loans: VecDeque::new(),
            last_loan: u64::from(incarnation) << 40,
        }
    }

    /// The members, sorted by session.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Messages waiting for a member.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Loans not yet answered.
    #[must_use]
    pub fn loans(&self) -> usize {
        self.loans.len()
    }

    fn place_of(&self, session: SessionId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&session, |member| member.session)
    }

    fn member(&mut self, session: SessionId) -> Option<&mut Member> {
        let place = self.place_of(session).ok()?;
        self.members.get_mut(place)
    }

    /// Adds a member, or replaces its options if it is one already. What it holds is the group's to know.
    pub fn join(&mut self, mut member: Member) {
        match self.place_of(member.session) {
            Ok(place) => {
                if let Some(present) = self.members.get_mut(place) {
                    member.outstanding = present.outstanding;
                    *present = member;
                }
            }
            Err(place) => {
                member.outstanding = self.departed.remove(&member.session).unwrap_or(0);
                self.members.insert(place, member);
                if self.next > place {
                    self.next += 1;
                }
            }
        }
    }

    /// Removes a member; its loans stay until they are answered. True if the group is empty now.
    pub fn leave(&mut self, session: SessionId) -> bool {
        if let Ok(place) = self.place_of(session) {
            let member = self.members.remove(place);
            if member.outstanding > 0 {
                self.departed.insert(session, member.outstanding);
            }
            if self.next > place {
                self.next -= 1;
            }
        }
        self.members.is_empty()
    }

    /// Notes that a member's client came or went.
    pub fn set_presence(&mut self, session: SessionId, online: bool, durable: bool) {
        if let Some(member) = self.member(session) {
            member.online = online;
            member.durable = durable;
        }
    }

    /// One loan less is with `session`, member or not.
    fn answered(&mut self, session: SessionId) {
        if let Some(member) = self.member(session) {
            member.outstanding = member.outstanding.saturating_sub(1);
        } else if let Some(left) = self.departed.get_mut(&session) {
            *left -= 1;
            if *left == 0 {
                self.departed.remove(&session);
            }
        }
    }

    /// Decides about a message; `reachable` says whether a worker can be sent to now.
    pub fn offer(
        &mut self,
        message: &Arc<Message>,
        strategy: ShareStrategy,
        limits: GroupLimits,
        seed: &Seed,
        reachable: impl Fn(WorkerId) -> bool,
    ) -> Choice {
        // What waits is older and goes first; QoS 0 never waits, and there is no order between it and the others.
        let waits = message.qos() > Qos::AtMostOnce;
        if (!waits || self.backlog.is_empty())
            && let Some(place) = self.choose(message, strategy, limits, seed, reachable)
        {
            return Choice::Send(place, self.lend(place, message, u64::MAX));
        }
        let keeps = waits
            && self
                .members
                .iter()
                .any(|member| member.qos > Qos::AtMostOnce && (member.durable || member.online));
        if !keeps {
            return Choice::Dropped;
        }
        let mut displaced = Vec::new();
        match limits.overflow {
            Overflow::DropOldest | Overflow::Disconnect => {
                while self.is_full_for(message.cost(), limits) {
                    let Some(oldest) = self.pop_backlog() else { break };
                    displaced.push(oldest.message);
                }
            }
            Overflow::DropNewest if self.is_full_for(message.cost(), limits) => return Choice::Full,
            // The publisher was asked before the message was accepted (see the engine); what is accepted stays.
            Overflow::DropNewest | Overflow::Refuse => {}
        }
        self.backlog_bytes += message.cost();
        self.backlog.push_back(Waiting { age: u64::MAX, message: Arc::clone(message) });
        if displaced.is_empty() { Choice::Kept } else { Choice::Displaced(displaced) }
    }

    /// Whether one more message of `cost` bytes would break a limit; counted as in a session's queue.
    fn is_full_for(&self, cost: usize, limits: GroupLimits) -> bool {
        self.backlog.len() >= limits.max_messages.max(1)
            || (!self.backlog.is_empty() && self.backlog_bytes + cost > limits.max_bytes)
    }

    /// Whether publishers are to be refused until some of what waits has gone ([`Overflow::Refuse`]).
    #[must_use]
    pub fn is_congested(&self, limits: GroupLimits) -> bool {
        limits.overflow == Overflow::Refuse && self.is_full_for(0, limits)
    }

    fn pop_backlog(&mut self) -> Option<Waiting> {
        let waiting = self.backlog.pop_front()?;
        self.backlog_bytes -= waiting.message.cost();
        Some(waiting)
    }

    /// The next message that waited and the member that takes it now, if there is one.
    pub fn next_from_backlog(
        &mut self,
        strategy: ShareStrategy,
        limits: GroupLimits,
        seed: &Seed,
        reachable: impl Fn(WorkerId) -> bool,
    ) -> Option<(Arc<Message>, usize, Option<u64>)> {
        let message = Arc::clone(&self.backlog.front()?.message);
        let place = self.choose(&message, strategy, limits, seed, reachable)?;
        let age = self.pop_backlog()?.age;
        let loan = self.lend(place, &message, age);
        Some((message, place, loan))
    }

    fn choose(
        &mut self,
        message: &Message,
        strategy: ShareStrategy,
        limits: GroupLimits,
        seed: &Seed,
        reachable: impl Fn(WorkerId) -> bool,
    ) -> Option<usize> {
        let wants_loan = message.qos() > Qos::AtMostOnce;
        let free = |member: &Member| {
            member.online
                && reachable(member.session.worker)
                && !(wants_loan
                    && member.qos > Qos::AtMostOnce
                    && member.outstanding >= limits.max_outstanding)
        };
        match strategy {
            ShareStrategy::RoundRobin => {
                let count = self.members.len();
                let place = (0..count)
                    .map(|step| (self.next + step) % count)
                    .find(|&place| self.members.get(place).is_some_and(free))?;
                self.next = (place + 1) % count;
                Some(place)
            }
            ShareStrategy::LeastInflight => {
                let fewest = self
                    .members
                    .iter()
                    .filter(|member| free(member))
                    .map(|member| member.outstanding)
                    .min()?;
                let count = self.members.len();
                let place = (0..count).map(|step| (self.next + step) % count).find(|&place| {
                    self.members.get(place).is_some_and(|member| free(member) && member.outstanding == fewest)
                })?;
                self.next = (place + 1) % count;
                Some(place)
            }
            // Rendezvous hashing over the online members: one that comes or goes moves only its own topics. The
            // chosen one is waited for when it is busy, otherwise "sticky" would not keep a topic's order.
            ShareStrategy::Sticky => {
                let topic = message.topic();
                let (place, member) = self
                    .members
                    .iter()
                    .enumerate()
                    .filter(|(_, member)| member.online)
                    .max_by_key(|(_, member)| seed.hash(&(topic.as_str(), member.session)))?;
                free(member).then_some(place)
            }
        }
    }

    fn lend(&mut self, place: usize, message: &Arc<Message>, age: u64) -> Option<u64> {
        let member = self.members.get_mut(place)?;
        if message.qos().min(member.qos) == Qos::AtMostOnce {
            return None;
        }
        member.outstanding += 1;
        self.last_loan += 1;
        self.loans.push_back(Loan {
            number: self.last_loan,
            age: age.min(self.last_loan),
            session: member.session,
            message: Arc::clone(message),
        });
        Some(self.last_loan)
    }

    /// Ends a loan; `None` if there is no such loan (any more), else the number of its message's record. A returned
    /// message goes back to where its age puts it, before everything that was never lent.
    pub fn settle(&mut self, number: u64, outcome: Outcome) -> Option<u64> {
        let place = self.loans.binary_search_by_key(&number, |loan| loan.number).ok()?;
        let loan = self.loans.remove(place)?;
        self.answered(loan.session);
        let record = loan.message.record();
        if matches!(outcome, Outcome::Returned | Outcome::Released) {
            self.backlog_bytes += loan.message.cost();
            let place = self.backlog.partition_point(|waiting| waiting.age < loan.age);
            self.backlog.insert(place, Waiting { age: loan.age, message: loan.message });
        }
        Some(record)
    }

    /// Keeps a message that was waiting before a restart; to be called in their order.
    pub fn restore(&mut self, message: Arc<Message>) {
        self.backlog_bytes += message.cost();
        self.backlog.push_back(Waiting { age: u64::MAX, message });
    }

    /// Puts another message in the place of each that waits or is lent.
    pub fn change(&mut self, mut change: impl FnMut(&Message) -> Arc<Message>) {
        for loan in &mut self.loans {
            loan.message = change(&loan.message);
        }
        for waiting in &mut self.backlog {
            let before = waiting.message.cost();
            waiting.message = change(&waiting.message);
            self.backlog_bytes = self.backlog_bytes - before + waiting.message.cost();
        }
    }

    /// The numbers of all messages that wait or are lent, as far as they were handed to the store.
    #[must_use]
    pub fn records(&self) -> Box<[u64]> {
        let waiting = self.backlog.iter().map(|waiting| waiting.message.record());
        let lent = self.loans.iter().map(|loan| loan.message.record());
        waiting.chain(lent).filter(|&record| record != 0).collect()
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

    /// Whether a waiting message has expired at the front; it is taken out so that it can be counted.
    pub fn pop_expired(&mut self, mono_ms: u64) -> Option<Arc<Message>> {
        if !self.backlog.front()?.message.is_expired(mono_ms) {
            return None;
        }
        Some(self.pop_backlog()?.message)
    }
}

#[cfg(test)]
mod tests;
