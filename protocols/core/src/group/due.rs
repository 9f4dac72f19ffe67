//! What falls due in a group: messages whose time has come, or has run out, and loans that were not answered.

use std::collections::{BTreeMap, BTreeSet};

use super::backlog::{Item, Rank};
use super::{Around, Gone, Group, Outcome, Settled, Terms};
use crate::id::SessionId;

/// Between two searches for what has expired, ms.
pub(super) const SEARCH_INTERVAL_MS: u64 = 1_000;

/// Messages that nobody is to get before their time.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// With their priorities, by the monotonic ms at which they are due, then in the order in which they came.
    items: BTreeMap<(u64, u64), (u8, Item)>,
    bytes: usize,
    arrivals: u64,
    /// No later than the first expiry among them.
    next_expiry_ms: Option<u64>,
}

impl Delayed {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes they are charged with.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn put(&mut self, due_ms: u64, priority: u8, item: Item) {
        self.arrivals += 1;
        self.bytes += item.message.cost();
        self.next_expiry_ms = Some(self.next_expiry_ms().min(item.expires_ms));
        self.items.insert((due_ms, self.arrivals), (priority, item));
    }

    pub(super) fn pop_first(&mut self) -> Option<Item> {
        self.pop().map(|(_, item)| item)
    }

    fn pop(&mut self) -> Option<(u8, Item)> {
        let (_, (priority, item)) = self.items.pop_first()?;
        self.bytes -= item.message.cost();
        Some((priority, item))
    }

    fn next_ms(&self) -> u64 {
        self.items.first_key_value().map_or(u64::MAX, |((due_ms, _), _)| *due_ms)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.values().map(|(_, item)| item)
    }

    pub(super) fn change(&mut self, mut change: impl FnMut(&mut Item)) {
        self.bytes = 0;
        for (_, item) in self.items.values_mut() {
            change(item);
            self.bytes += item.message.cost();
        }
    }

    fn next_expiry_ms(&self) -> u64 {
        self.next_expiry_ms.unwrap_or(u64::MAX)
    }

    fn take_expired(&mut self, now_ms: u64) -> Vec<Item> {
        let expired = self.items.iter().filter(|(_, (_, item))| now_ms >= item.expires_ms);
        let expired: Vec<_> = expired.map(|(key, _)| *key).collect();
        let gone: Vec<_> =
            expired.iter().filter_map(|key| self.items.remove(key)).map(|(_, item)| item).collect();
        self.bytes -= gone.iter().map(|item| item.message.cost()).sum::<usize>();
        self.next_expiry_ms = self.iter().map(|item| item.expires_ms).min();
        gone
    }
}

/// Loans that were taken back and not answered yet. The member still has the message: it must not come again on the
/// same connection, and its place in the member's window is taken.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    by_number: BTreeMap<u64, (Rank, SessionId, usize)>,
    by_rank: BTreeSet<(Rank, SessionId)>,
}

impl Overdue {
    /// Whether the member has the message still.
    pub(super) fn bars(&self, rank: Rank, session: SessionId) -> bool {
        self.by_rank.contains(&(rank, session))
    }
}

impl Group {
    /// Takes one loan back that was not answered in time; `None` if there is none.
    pub fn take_overdue(&mut self, now_ms: u64, terms: &Terms) -> Option<Settled> {
        let deadline_ms = terms.ack_deadline_ms?;
        if self.loans.front()?.lent_ms.saturating_add(deadline_ms) > now_ms {
            return None;
        }
        let loan = self.loans.pop_front()?;
        let overdue = self.overdue.get_or_insert_default();
        overdue.by_number.insert(loan.number, (loan.rank, loan.session, loan.item.message.cost()));
        overdue.by_rank.insert((loan.rank, loan.session));
        Some(self.end(loan, Outcome::Released, terms))
    }

    /// A loan is answered that may have been taken back.
    pub(super) fn settle_late(&mut self, number: u64) -> Settled {
        let Some(overdue) = &mut self.overdue else { return Settled::Unknown };
        let Some((rank, session, bytes)) = overdue.by_number.remove(&number) else { return Settled::Unknown };
        overdue.by_rank.remove(&(rank, session));
        if overdue.by_number.is_empty() {
            self.overdue = None;
        }
        self.answered(session, bytes);
        self.look_again(rank);
        Settled::Late
    }

    /// Lets those take their places whose time has come; true if there were any.
    pub fn admit_due(&mut self, now_ms: u64) -> bool {
        let mut any = false;
        while self.delayed.next_ms() <= now_ms
            && let Some((priority, item)) = self.delayed.pop()
        {
            let rank = self.next_rank(priority);
            self.put(rank, item);
            any = true;
        }
        any
    }

    /// Takes out what has expired; looks at everything that waits, but not again before a while.
    pub fn take_expired(&mut self, now_ms: u64) -> Vec<Gone> {
        if self.next_search_ms() > now_ms {
            return Vec::new();
        }
        self.searched_ms = now_ms;
        let mut gone = self.backlog.take_where(|item| now_ms >= item.expires_ms);
        if let Some(sticky) = &mut self.sticky {
            gone.iter().for_each(|item| sticky.count(item.sticky, false));
        }
        gone.extend(self.delayed.take_expired(now_ms));
        gone.into_iter().map(Into::into).collect()
    }

    fn next_search_ms(&self) -> u64 {
        let next_ms = self.backlog.next_expiry_ms().min(self.delayed.next_expiry_ms());
        next_ms.max(self.searched_ms.saturating_add(SEARCH_INTERVAL_MS))
    }

    /// When something falls due next, monotonic ms; `u64::MAX` if nothing does.
    #[must_use]
    pub fn next_due_ms(&self, around: &Around<'_>) -> u64 {
        let deadline_ms = around.terms.ack_deadline_ms.unwrap_or(u64::MAX);
        let loan_ms = self.loans.front().map_or(u64::MAX, |loan| loan.lent_ms.saturating_add(deadline_ms));
        let expires = self.backlog.next_expiry_ms().min(self.delayed.next_expiry_ms()) != u64::MAX;
        let search_ms = if expires { self.next_search_ms() } else { u64::MAX };
        loan_ms.min(self.delayed.next_ms()).min(search_ms)
    }
}
