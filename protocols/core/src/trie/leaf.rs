//! What sits at one filter: nearly always one subscriber, sometimes thousands, rarely groups.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::id::SessionId;
use crate::matches::MatchBuilder;

use super::{GroupRef, Subscriber};

/// The subscribers and groups of one filter; 24 bytes for the usual one subscriber.
#[derive(Debug, Default)]
pub(super) enum Leaf {
    #[default]
    Empty,
    One(Subscriber),
    Many(Box<Crowd>),
}

/// More than one subscriber, or groups.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Ordered, so that thousands come and go in logarithmic time and matches arrive nearly sorted.
    subscribers: BTreeSet<BySession>,
    /// Sorted by the group's name.
    groups: Vec<GroupRef>,
}

/// What entering a group has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It was not there.
    New,
    /// It has another number now.
    Changed,
    /// Nothing.
    Known,
}

#[derive(Clone, Copy, Debug)]
struct BySession(Subscriber);

impl PartialEq for BySession {
    fn eq(&self, other: &Self) -> bool {
        self.0.session == other.0.session
    }
}

impl Eq for BySession {}

impl PartialOrd for BySession {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BySession {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.session.cmp(&other.0.session)
    }
}

impl Borrow<SessionId> for BySession {
    fn borrow(&self) -> &SessionId {
        &self.0.session
    }
}

impl Leaf {
    /// Enters a subscriber and returns what it replaces.
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> Option<Subscriber> {
        match self {
            Self::Empty => {
                *self = Self::One(subscriber);
                None
            }
            Self::One(one) if one.session == subscriber.session => Some(std::mem::replace(one, subscriber)),
            Self::One(_) | Self::Many(_) => {
                self.crowd().subscribers.replace(BySession(subscriber)).map(|replaced| replaced.0)
            }
        }
    }

    /// Takes a subscriber out.
    pub(super) fn remove(&mut self, session: SessionId) -> Option<Subscriber> {
        match self {
            Self::One(one) if one.session == session => {
                let removed = *one;
                *self = Self::Empty;
                Some(removed)
            }
            Self::Empty | Self::One(_) => None,
            Self::Many(crowd) => {
                let removed = crowd.subscribers.take(&session)?.0;
                self.settle();
                Some(removed)
            }
        }
    }

    /// Enters a group, or its number in the store if that is new; its home follows from its key.
    pub(super) fn join(&mut self, group: GroupRef) -> Joined {
        let groups = &mut self.crowd().groups;
        match groups.binary_search_by(|known| known.key.group.cmp(&group.key.group)) {
            Ok(place) => match groups.get_mut(place) {
                Some(known) if known.number != group.number => {
                    known.number = group.number;
                    Joined::Changed
                }
                _ => Joined::Known,
            },
            Err(place) => {
                groups.insert(place, group);
                Joined::New
            }
        }
    }

    /// Takes a group out; false if it isn't there.
    pub(super) fn leave(&mut self, group: &str) -> bool {
        let Self::Many(crowd) = self else { return false };
        let Ok(place) = crowd.groups.binary_search_by(|known| (*known.key.group).cmp(group)) else {
            return false;
        };
        crowd.groups.remove(place);
        self.settle();
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn collect(&self, out: &mut MatchBuilder) {
        match self {
            Self::Empty => {}
            Self::One(one) => out.add_subscriber(*one),
            Self::Many(crowd) => {
                for subscriber in &crowd.subscribers {
                    out.add_subscriber(subscriber.0);
                }
                for group in &crowd.groups {
                    out.add_group(group.clone());
                }
            }
        }
    }

    fn crowd(&mut self) -> &mut Crowd {
        let mut crowd = Crowd::default();
        match self {
            Self::Many(_) => {}
            Self::One(one) => {
                crowd.subscribers.insert(BySession(*one));
                *self = Self::Many(Box::new(crowd));
            }
            Self::Empty => *self = Self::Many(Box::new(crowd)),
        }
        match self {
            Self::Many(crowd) => crowd,
            Self::Empty | Self::One(_) => unreachable!("made a crowd just above"),
        }
    }

    /// Goes back to the small forms when a crowd has dispersed.
    fn settle(&mut self) {
        let Self::Many(crowd) = self else { return };
        if !crowd.groups.is_empty() {
            return;
        }
        match (crowd.subscribers.len(), crowd.subscribers.first()) {
            (0, _) => *self = Self::Empty,
            (1, Some(last)) => *self = Self::One(last.0),
            _ => {}
        }
    }
}
