//! A session's list of subscriptions: small for the usual few, and found by hash where a client has many.
//!
//! Positions hold until something is taken out. What a subscription means, to the tree or to a group, is the engine's.

use crate::hash::{Seed, Table};

use super::Subscription;

/// The subscriptions of one session, each (group, filter) once.
#[derive(Debug, Default)]
pub struct Subscriptions {
    list: Vec<Subscription>,
    /// Positions in `list` by the hash of (group, filter), while there are more than [`Self::FEW`]; boxed, since few
    /// sessions have one.
    #[allow(clippy::box_collection, reason = "a session without it pays for one word, not for four")]
    index: Option<Box<Table<u32>>>,
}

impl Subscriptions {
    /// As many are compared one by one.
    const FEW: usize = 16;

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The one at `place`.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Subscription> {
        self.list.get(place)
    }

    /// The one at `place`; its filter and group stay what they are.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut Subscription> {
        self.list.get_mut(place)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Subscription> {
        self.list.iter()
    }

    /// Where the subscription to `filter` stands, as a member of `group` or in its own right. Always the same `seed`.
    #[must_use]
    pub fn find(&self, seed: &Seed, group: Option<&str>, filter: &str) -> Option<usize> {
        let is_it = |known: &Subscription| known.filter.as_str() == filter && known.group.as_deref() == group;
        match &self.index {
            None => self.list.iter().position(is_it),
            Some(index) => index
                .find(seed.hash(&(group, filter)), |&place| self.list.get(place as usize).is_some_and(is_it))
                .map(|&place| place as usize),
        }
    }

    /// Adds one that is not there yet and says where it stands.
    pub fn push(&mut self, seed: &Seed, subscription: Subscription) -> usize {
        let place = self.list.len();
        if place < Self::FEW {
            // The usual client has one or two and keeps them for good.
            self.list.reserve_exact(1);
        }
        self.list.push(subscription);
        if self.index.is_some() {
            self.enter(seed, place);
        } else if self.list.len() > Self::FEW {
            self.index = Some(Box::default());
            (0..self.list.len()).for_each(|place| self.enter(seed, place));
        }
        place
    }

    /// Takes one out; the last one takes its place.
    pub fn take(&mut self, seed: &Seed, group: Option<&str>, filter: &str) -> Option<Subscription> {
        let place = self.find(seed, group, filter)?;
        let last = self.list.len() - 1;
        self.leave(seed, place);
        if place != last {
            self.leave(seed, last);
        }
        let taken = self.list.swap_remove(place);
        if place != last {
            self.enter(seed, place);
        }
        if self.list.len() <= Self::FEW / 2 {
            self.index = None;
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
        Some(taken)
    }

    fn enter(&mut self, seed: &Seed, place: usize) {
        let Self { list, index: Some(index) } = self else { return };
        let hash = |&place: &u32| list.get(place as usize).map_or(0, |known| hash_of(seed, known));
        // There are no more than `max_subscriptions`, a u32.
        let place = place as u32;
        index.insert_unique(hash(&place), place, hash);
    }

    fn leave(&mut self, seed: &Seed, place: usize) {
        let Self { list, index: Some(index) } = self else { return };
        let Some(known) = list.get(place) else { return };
        if let Ok(entry) = index.find_entry(hash_of(seed, known), |&other| other as usize == place) {
            entry.remove();
        }
    }
}

impl IntoIterator for Subscriptions {
    type Item = Subscription;
    type IntoIter = std::vec::IntoIter<Subscription>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Subscriptions {
    type Item = &'a Subscription;
    type IntoIter = std::slice::Iter<'a, Subscription>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn hash_of(seed: &Seed, subscription: &Subscription) -> u64 {
    seed.hash(&(subscription.group.as_deref(), subscription.filter.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Qos;
    use crate::session::SubscriptionOptions;
    use crate::topic::{TopicFilter, TopicLimits};

    fn one(group: Option<&str>, filter: &str) -> Subscription {
        let filter = TopicFilter::parse(filter, &TopicLimits::default()).unwrap();
        let options = SubscriptionOptions {
            qos: Qos::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        Subscription { filter, group: group.map(Into::into), options, replay: 0, selector: None }
    }

    #[test]
    fn each_is_found_while_others_come_and_go_on_both_sides_of_the_index() {
        let seed = Seed::new(3);
        let mut all = Subscriptions::default();
        for number in 0..200 {
            for group in [None, Some("g")] {
                all.push(&seed, one(group, &format!("t/{number}")));
            }
        }
        assert!(all.index.is_some());
        for number in (0..200).map(|step| step * 7 % 200) {
            let filter = format!("t/{number}");
            assert_eq!(all.take(&seed, None, &filter).unwrap().filter.as_str(), filter);
            assert!(all.take(&seed, None, &filter).is_none());
            let place = all.find(&seed, Some("g"), &filter).unwrap();
            assert_eq!(all.get(place).unwrap().filter.as_str(), filter);
        }
        for number in 0..200 {
            assert!(all.take(&seed, Some("g"), &format!("t/{number}")).is_some(), "{number}");
        }
        assert!(all.is_empty() && all.index.is_none() && all.list.capacity() < 16);
    }

    #[test]
    fn a_session_with_few_has_no_index_and_no_room_to_spare() {
        let seed = Seed::new(3);
        let mut all = Subscriptions::default();
        for number in 0..Subscriptions::FEW {
            all.push(&seed, one(None, &format!("t/{number}")));
            assert!(all.index.is_none() && all.list.capacity() == all.list.len());
        }
        all.push(&seed, one(None, "one more"));
        assert!(all.index.is_some());
    }
}
