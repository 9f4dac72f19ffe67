//! What falls due in a group: messages whose time has come, or has run out, and loans that were not answered.

use std::collections::{BTreeMap, BTreeSet};

use super::backlog::{Item, Rank};
use super::{Around, Gone, Group, Outcome, Settled, Terms};
use crate::id::{Now, SessionId};

/// Between two searches for what has expired, ms.
pub(super) const SEARCH_INTERVAL_MS: u64 = 1_000;

/// Between two looks at the wall clock while something waits for what it shows, ms.
pub(super) const CLOCK_INTERVAL_MS: u64 = 10_000;

/// When a message is due: at whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Monotonic ms.
    pub(super) mono_ms: u64,
    /// Epoch ms, if its publisher named a time: a clock that is set brings it closer, and never moves it away.
    pub(super) wall_ms: Option<u64>,
}

/// A message's place among the delayed: the monotonic ms at which it is due, then the order in which it came.
type Key = (u64, u64);

#[derive(Debug)]
struct Waiting {
    priority: u8,
    wall_ms: Option<u64>,
    item: Item,
}

/// Messages that nobody is to get before their time.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    items: BTreeMap<Key, Waiting>,
    /// Those that wait for a time of the wall clock, by that.
    by_wall: BTreeSet<(u64, Key)>,
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

    pub(super) fn put(&mut self, due: Due, priority: u8, item: Item) {
        self.arrivals += 1;
        self.bytes += item.message.cost();
        self.next_expiry_ms = Some(self.next_expiry_ms().min(item.expires_ms));
        let (key, wall_ms) = ((due.mono_ms, self.arrivals), due.wall_ms);
        self.by_wall.extend(wall_ms.map(|wall_ms| (wall_ms, key)));
        self.items.insert(key, Waiting { priority, wall_ms, item });
    }

    pub(super) fn pop_first(&mut self) -> Option<Item> {
        let (&key, _) = self.items.first_key_value()?;
        self.remove(key).map(|(_, item)| item)
    }

    fn remove(&mut self, key: Key) -> Option<(u8, Item)> {
        let Waiting { priority, wall_ms, item } = self.items.remove(&key)?;
        if let Some(wall_ms) = wall_ms {
            self.by_wall.remove(&(wall_ms, key));
        }
        self.bytes -= item.message.cost();
        Some((priority, item))
    }

    /// The next that is due, with its priority.
    fn pop_due(&mut self, now: Now) -> Option<(u8, Item)> {
        let by_mono = self.items.keys().next().copied().filter(|(due_ms, _)| *due_ms <= now.mono_ms);
        let by_wall = || self.by_wall.first().filter(|(wall_ms, _)| *wall_ms <= now.wall_ms);
        let key = by_mono.or_else(|| by_wall().map(|(_, key)| *key))?;
        self.remove(key)
    }

    /// When to look again, monotonic ms: a wall clock says nothing when it is set.
    fn next_ms(&self, now_ms: u64) -> u64 {
        let due_ms = self.items.first_key_value().map_or(u64::MAX, |((due_ms, _), _)| *due_ms);
        if self.by_wall.is_empty() { due_ms } else { due_ms.min(now_ms.saturating_add(CLOCK_INTERVAL_MS)) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.values().map(|waiting| &waiting.item)
    }

    pub(super) fn change(&mut self, mut change: impl FnMut(&mut Item)) {
        self.bytes = 0;
        for Waiting { item, .. } in self.items.values_mut() {
            change(item);
            self.bytes += item.message.cost();
        }
    }

    /// Takes out, in order, those that `goes` says yes of. Looks at all of them.
    pub(super) fn take_where(&mut self, mut goes: impl FnMut(&Item) -> bool) -> Vec<Item> {
        let going = self.items.iter().filter(|(_, waiting)| goes(&waiting.item));
        let going: Vec<_> = going.map(|(key, _)| *key).collect();
        let gone = going.into_iter().filter_map(|key| self.remove(key)).map(|(_, item)| item).collect();
        self.next_expiry_ms = self.iter().map(|item| item.expires_ms).min();
        gone
    }

    fn next_expiry_ms(&self) -> u64 {
        self.next_expiry_ms.unwrap_or(u64::MAX)
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
    pub fn admit_due(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some((priority, item)) = self.delayed.pop_due(now) {
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
        gone.extend(self.delayed.take_where(|item| now_ms >= item.expires_ms));
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
        loan_ms.min(self.delayed.next_ms(around.now.mono_ms)).min(search_ms)
    }
}
