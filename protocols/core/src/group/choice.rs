//! Who gets a message: free members in turn, those that want it, the one whose message group it belongs to.
//!
//! While every member wants everything, the first message that waits goes to the first that is free. Otherwise a
//! message that nobody free wants must not hold up those behind it: each member has a cursor, up to which it has been
//! shown everything and wanted none of it, and a selector is asked once for each message.

use std::sync::Arc;

use super::backlog::{Item, Rank};
use super::due::Overdue;
use super::sticky::Sticky;
use super::{Around, Gone, Group, Member, Next};
use crate::id::{Qos, SessionId};
use crate::policy::ShareStrategy;
use crate::selector::Selector;

/// Selectors of one group whose verdicts are remembered; more are asked again and again.
const REMEMBERED: usize = 32;

/// What a group knows of a member besides what it joined with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Under which its selector's verdicts are remembered; 0 for none.
    pub(super) bit: u32,
    /// Bytes lent to it.
    pub(super) bytes: usize,
    /// Nothing that waits before it is for this member.
    pub(super) cursor: Rank,
}

/// What a member is asked about one message.
fn wants(member: &Member, seat: &Seat, item: &mut Item, asked: &mut u64) -> bool {
    member.selector.as_ref().is_none_or(|selector| item.is_wanted(selector, seat.bit, asked))
}

/// Whether nothing but its own will keeps the message from the member.
fn may_have(
    member: &Member,
    sticky: Option<&Sticky>,
    overdue: Option<&Overdue>,
    item: &Item,
    rank: Rank,
) -> bool {
    sticky.is_none_or(|sticky| sticky.allows(item.sticky, member.session))
        && overdue.is_none_or(|overdue| !overdue.bars(rank, member.session))
        && member.may_have(&item.message)
}

impl Group {
    /// The bit for a member's selector: that of an equal one, or one that nobody uses any more.
    pub(super) fn bit_for(&mut self, member: &Member) -> u32 {
        let Some(selector) = &member.selector else { return 0 };
        let place = match self.selectors.iter().position(|known| known == selector) {
            Some(place) => place,
            None => match self.place_for(member.session) {
                Some(place) => {
                    self.remember(place, Arc::clone(selector));
                    place
                }
                None => return 0,
            },
        };
        1 << place
    }

    /// A place among the remembered selectors that no member but `session` uses.
    fn place_for(&self, session: SessionId) -> Option<usize> {
        let others = self.members.iter().zip(&self.seats).filter(|(member, _)| member.session != session);
        let used = others.fold(0, |used, (_, seat)| used | seat.bit);
        (0..REMEMBERED).find(|place| used & 1 << place == 0)
    }

    fn remember(&mut self, place: usize, selector: Arc<Selector>) {
        match self.selectors.get_mut(place) {
            Some(known) => {
                *known = selector;
                let bit = 1 << place;
                self.backlog.change(|item| item.forget(bit));
                self.delayed.change(|item| item.forget(bit));
                self.loans.iter_mut().for_each(|loan| loan.item.forget(bit));
            }
            // The first free place is never beyond the end.
            None => self.selectors.push(selector),
        }
    }

    /// Members have come, gone or changed.
    pub(super) fn count_selecting(&mut self) {
        self.selecting = self.members.iter().filter(|member| member.selector.is_some()).count();
        self.members_changed = true;
        self.restricted = self.members.iter().filter(|member| member.bearer.is_some()).count();
    }

    /// What waits from `rank` on is to be shown to everybody (again).
    pub(super) fn look_again(&mut self, rank: Rank) {
        if self.picky {
            self.seats.iter_mut().for_each(|seat| seat.cursor = seat.cursor.min(rank));
        }
    }

    /// Whether a message may be for some members and not for others.
    fn is_picky(&mut self) -> bool {
        let picky = self.selecting > 0
            || self.restricted > 0
            || self.overdue.is_some()
            || self.sticky.as_ref().is_some_and(|sticky| !sticky.is_empty());
        if picky && !self.picky {
            self.seats.iter_mut().for_each(|seat| seat.cursor = Rank::FIRST);
        }
        self.picky = picky;
        picky
    }

    fn is_free(&self, place: usize, wants_loan: bool, around: &Around<'_>) -> bool {
        let (Some(member), Some(seat)) = (self.members.get(place), self.seats.get(place)) else {
            return false;
        };
        let terms = around.terms;
        let window = match member.window {
            0 => terms.max_outstanding,
            window => window.min(terms.max_window),
        };
        let is_lent = wants_loan && (terms.is_queue || member.qos > Qos::AtMostOnce);
        let has_enough =
            member.outstanding >= window || terms.is_queue && seat.bytes >= terms.max_lent_bytes.max(1);
        member.online && around.reaches(member.session.worker) && !(is_lent && has_enough)
    }

    /// Whether the message may go to the member at `place`.
    fn suits(&mut self, place: usize, item: &mut Item, rank: Rank) -> bool {
        let (Some(member), Some(seat)) = (self.members.get(place), self.seats.get(place)) else {
            return false;
        };
        let (sticky, overdue) = (self.sticky.as_deref(), self.overdue.as_deref());
        may_have(member, sticky, overdue, item, rank) && wants(member, seat, item, &mut self.asked)
    }

    /// Whether any member's selector wants it.
    pub(super) fn is_wanted(&mut self, item: &mut Item) -> bool {
        let asked = &mut self.asked;
        self.members.iter().zip(&self.seats).any(|(member, seat)| wants(member, seat, item, asked))
    }

    /// The member that gets a message, if one can take it now.
    pub(super) fn choose(&mut self, item: &mut Item, rank: Rank, around: &Around<'_>) -> Option<usize> {
        if around.terms.strategy == ShareStrategy::Sticky {
            return self.owner_of_topic(item, rank, around);
        }
        let loan = around.terms.is_queue || item.message.qos() > Qos::AtMostOnce;
        self.next_free(loan, around, |group, place| group.suits(place, item, rank))
    }

    /// The free member whose turn it is, of those that suit.
    fn next_free(
        &mut self,
        wants_loan: bool,
        around: &Around<'_>,
        mut suits: impl FnMut(&mut Self, usize) -> bool,
    ) -> Option<usize> {
        let (count, next) = (self.members.len(), self.next);
        let mut best: Option<(u32, usize)> = None;
        for place in (0..count).map(|step| (next + step) % count) {
            let outstanding = self.members.get(place).map_or(0, |member| member.outstanding);
            if best.is_none_or(|(fewest, _)| outstanding < fewest)
                && self.is_free(place, wants_loan, around)
                && suits(self, place)
            {
                best = Some((outstanding, place));
                if around.terms.strategy == ShareStrategy::RoundRobin {
                    break;
                }
            }
        }
        let (_, place) = best?;
        self.next = (place + 1) % count;
        Some(place)
    }

    /// Rendezvous hashing over the online members that want it: one that comes or goes moves only its own topics. The
    /// chosen one is waited for when it is busy, otherwise "sticky" would not keep a topic's order.
    fn owner_of_topic(&mut self, item: &mut Item, rank: Rank, around: &Around<'_>) -> Option<usize> {
        let qos = item.message.qos();
        let mut best: Option<(u64, usize)> = None;
        if self.selecting == 0 && self.restricted == 0 {
            let topic = item.message.topic();
            let online = self.members.iter().enumerate().filter(|(_, member)| member.online);
            let weight = |member: &Member| around.seed.hash(&(topic.as_str(), member.session));
            best = online.map(|(place, member)| (weight(member), place)).max();
        } else {
            let message = Arc::clone(&item.message);
            let topic = message.topic();
            for place in 0..self.members.len() {
                let Some(member) = self.members.get(place).filter(|member| member.online) else { continue };
                let weight = around.seed.hash(&(topic.as_str(), member.session));
                if best.is_none_or(|(most, _)| weight >= most) && self.suits(place, item, rank) {
                    best = Some((weight, place));
                }
            }
        }
        let (_, place) = best?;
        self.is_free(place, qos > Qos::AtMostOnce, around).then_some(place)
    }

    /// Whether something waits that goes before anything new: somebody can take it, or nobody was looked for yet.
    pub(super) fn has_next(&mut self, around: &Around<'_>) -> bool {
        if self.backlog.is_empty() {
            return false;
        }
        !self.is_picky() || self.next_wanted(around).is_some()
    }

    /// The first message that waits and that a free member may have.
    fn next_wanted(&mut self, around: &Around<'_>) -> Option<Rank> {
        let mut first: Option<Rank> = None;
        for place in 0..self.members.len() {
            if !self.is_free(place, true, around) {
                continue;
            }
            let Some(mut rank) = self.seats.get(place).map(|seat| seat.cursor) else { continue };
            let found = loop {
                let Some(next) = self.backlog.from(rank) else { break None };
                rank = next;
                if first.is_some_and(|first| rank >= first) {
                    break None;
                }
                if self.is_for(place, rank, around) {
                    break Some(rank);
                }
                rank = rank.after();
            };
            if let Some(seat) = self.seats.get_mut(place) {
                seat.cursor = rank;
            }
            first = found.or(first);
        }
        first
    }

    /// Whether the message at `rank` may go to the free member at `place`.
    fn is_for(&mut self, place: usize, rank: Rank, around: &Around<'_>) -> bool {
        if around.terms.strategy == ShareStrategy::Sticky {
            // Out of its place for a moment: everybody is asked.
            let Some(mut item) = self.backlog.get_mut(rank).map(|item| item.clone()) else { return false };
            let is_for = self.choose(&mut item, rank, around) == Some(place);
            if let Some(kept) = self.backlog.get_mut(rank) {
                *kept = item;
            }
            return is_for;
        }
        let Self { members, seats, backlog, sticky, overdue, asked, .. } = self;
        let (Some(member), Some(seat)) = (members.get(place), seats.get(place)) else { return false };
        let Some(item) = backlog.get_mut(rank) else { return false };
        may_have(member, sticky.as_deref(), overdue.as_deref(), item, rank)
            && wants(member, seat, item, asked)
    }

    /// The next message that waited and the member that takes it now, or that has expired.
    pub fn next(&mut self, around: &Around<'_>) -> Option<Next> {
        let now_ms = around.now.mono_ms;
        let (first, item) = self.backlog.first_item()?;
        if now_ms >= item.expires_ms {
            return self.take(first).map(|item| Next::Expired(item.into()));
        }
        if !self.is_picky() && around.terms.strategy != ShareStrategy::Sticky {
            // Whoever is free wants it: what waits at QoS 0 is a queue's, and lent as well.
            let place = self.next_free(true, around, |_, _| true)?;
            return self.take(first).map(|item| self.send(place, first, item, around));
        }
        let rank = if self.picky { self.next_wanted(around)? } else { first };
        let mut item = self.take(rank)?;
        if now_ms >= item.expires_ms {
            return Some(Next::Expired(item.into()));
        }
        let Some(place) = self.choose(&mut item, rank, around) else {
            self.put(rank, item);
            return None;
        };
        Some(self.send(place, rank, item, around))
    }

    fn send(&mut self, place: usize, rank: Rank, item: Item, around: &Around<'_>) -> Next {
        let (message, deliveries) = (Arc::clone(&item.message), item.deliveries);
        let loan = self.lend(place, rank, item, around);
        Next::Send { message, place, loan, deliveries }
    }

    /// Takes out what no member has a right to any more. Looks at what waits only if members have changed since.
    pub fn take_forbidden(&mut self) -> Vec<Gone> {
        let is_changed = std::mem::take(&mut self.members_changed);
        if !is_changed || self.restricted < self.members.len() || self.members.is_empty() {
            return Vec::new();
        }
        let Self { backlog, members, .. } = self;
        let gone = backlog.take_where(|item| !members.iter().any(|member| member.may_have(&item.message)));
        gone.into_iter().map(Into::into).collect()
    }

    /// Takes out all that waits, also for its time.
    pub fn take_waiting(&mut self) -> Vec<Gone> {
        let mut gone = self.backlog.take_where(|_| true);
        if let Some(sticky) = &mut self.sticky {
            gone.iter().for_each(|item| sticky.count(item.sticky, false));
        }
        gone.extend(self.delayed.take_where(|_| true));
        gone.into_iter().map(Into::into).collect()
    }

    /// Takes out what waits for its time, so many at most.
    pub fn take_delayed(&mut self, most: usize) -> Vec<Gone> {
        let mut left = most;
        let gone = self.delayed.take_where(|_| {
            let is_taken = left > 0;
            left = left.saturating_sub(1);
            is_taken
        });
        gone.into_iter().map(Into::into).collect()
    }

    /// Takes out what waits first. What waits for its time stays.
    pub fn take_first_waiting(&mut self) -> Option<Gone> {
        let (rank, _) = self.backlog.first_item()?;
        self.take(rank).map(Into::into)
    }

    /// Takes out what the group's filter does not want any more or, where it has none, what no member's selector wants:
    /// shares, for which this is, only keep what is for somebody.
    pub fn take_unwanted(&mut self) -> Vec<Gone> {
        if let Some(filter) = self.filter.clone() {
            let mut gone = self.backlog.take_where(|item| !filter.matches(&item.message));
            if let Some(sticky) = &mut self.sticky {
                gone.iter().for_each(|item| sticky.count(item.sticky, false));
            }
            gone.extend(self.delayed.take_where(|item| !filter.matches(&item.message)));
            return gone.into_iter().map(Into::into).collect();
        }
        if self.selecting < self.members.len() || self.members.is_empty() {
            return Vec::new();
        }
        let Self { backlog, members, seats, asked, .. } = self;
        let gone = backlog.take_where(|item| {
            !members.iter().zip(seats.iter()).any(|(member, seat)| wants(member, seat, item, asked))
        });
        gone.into_iter().map(Into::into).collect()
    }
}
