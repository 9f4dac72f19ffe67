//! Topic aliases that the server sets (MQTT 5, section 3.3.2.3.4).

use std::num::NonZeroU16;

use crate::publish::TopicAlias;

/// Aliases that we set; the client said how many it takes.
#[derive(Debug)]
pub(super) struct Outbound {
    topics: Vec<Box<str>>,
    maximum: u16,
    /// Which alias gives way next when all are taken.
    next: u16,
}

impl Outbound {
    /// Most aliases used whatever the client offers: each costs us a topic, and the search is linear.
    const MOST: u16 = 16;

    pub(super) fn new(maximum: u16) -> Self {
        Self { topics: Vec::new(), maximum: maximum.min(Self::MOST), next: 0 }
    }

    /// The alias for a topic and whether the topic must go along, without remembering anything: the packet may turn
    /// out to be too large.
    pub(super) fn plan(&self, topic: &str) -> Option<TopicAlias> {
        let number = |place: usize| NonZeroU16::new(u16::try_from(place).ok()?.checked_add(1)?);
        if let Some(place) = self.topics.iter().position(|known| **known == *topic) {
            return Some(TopicAlias { alias: number(place)?, send_topic: false });
        }
        let place = if self.topics.len() < usize::from(self.maximum) {
            self.topics.len()
        } else {
            usize::from(self.next)
        };
        Some(TopicAlias { alias: number(place)?, send_topic: true })
    }

    /// Remembers a planned alias whose packet has been written.
    pub(super) fn sent(&mut self, planned: TopicAlias, topic: &str) {
        if !planned.send_topic {
            return;
        }
        let place = usize::from(planned.alias.get()) - 1;
        match self.topics.get_mut(place) {
            Some(known) => {
                *known = topic.into();
                self.next = (self.next + 1) % self.maximum;
            }
            None => self.topics.push(topic.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_aliases_rotate_when_all_are_taken() {
        let mut outbound = Outbound::new(2);
        let mut send = |topic: &str| {
            let planned = outbound.plan(topic).unwrap();
            outbound.sent(planned, topic);
            (planned.alias.get(), planned.send_topic)
        };
        assert_eq!(send("a"), (1, true));
        assert_eq!(send("b"), (2, true));
        assert_eq!(send("a"), (1, false));
        assert_eq!(send("c"), (1, true));
        assert_eq!(send("c"), (1, false));
        assert_eq!(send("b"), (2, false));
        assert_eq!(send("a"), (2, true));
    }

    #[test]
    fn a_planned_alias_that_was_not_sent_is_not_remembered() {
        let outbound = Outbound::new(1);
        assert_eq!(outbound.plan("a").map(|planned| planned.send_topic), Some(true));
        assert_eq!(outbound.plan("a").map(|planned| planned.send_topic), Some(true));
    }
}
