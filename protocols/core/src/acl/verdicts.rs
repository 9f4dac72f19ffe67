//! What was asked before: the verdicts on topics that come again and again.
//!
//! A verdict belongs to rights (or, where the answer depends on it, to one client), an action and a topic. Rights are
//! never changed, only replaced by others under another number, so nothing here has to be taken back.

use super::{Actions, Answer};
use crate::hash::Seed;

/// As many verdicts are remembered.
const SLOTS: usize = 2_048;

/// As many of them share a place: more topics than that must come to the same before one is forgotten.
const WAYS: usize = 4;

/// Of longer topics nothing is remembered, bytes: all of it comes to 2,048 times this and a little more.
const MAX_TOPIC: usize = 256;

#[derive(Debug)]
struct Slot {
    /// Whose, as in [`Verdicts::ask`]; 0 for nobody's.
    key: (u64, u64),
    topic: String,
    action: Actions,
    answer: Answer,
}

/// A bounded memory of verdicts. It holds nothing before the first question.
#[derive(Debug)]
pub struct Verdicts {
    slots: Vec<Slot>,
    seed: Seed,
    turn: usize,
    hits: u64,
}

impl Verdicts {
    /// Nothing yet.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { slots: Vec::new(), seed, turn: 0, hits: 0 }
    }

    /// How many questions did not have to be asked.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// The verdict on a topic, of `ask` if it is not known. `key`: the rights that it follows from, by their
    /// number, and whose they are where that makes a difference.
    pub fn ask(
        &mut self,
        key: (u64, u64),
        action: Actions,
        topic: &str,
        ask: impl FnOnce() -> Answer,
    ) -> Answer {
        if topic.len() > MAX_TOPIC {
            return ask();
        }
        if self.slots.is_empty() {
            let empty =
                || Slot { key: (0, 0), topic: String::new(), action: Actions::NONE, answer: Answer::Denied };
            self.slots.resize_with(SLOTS, empty);
        }
        let place = self.seed.hash(&(key, action, topic)) as usize % (SLOTS / WAYS) * WAYS;
        let Some(ways) = self.slots.get_mut(place..place + WAYS) else { return ask() };
        let is_it = |slot: &Slot| slot.key == key && slot.action == action && slot.topic == topic;
        if let Some(known) = ways.iter().find(|slot| is_it(slot)) {
            self.hits += 1;
            return known.answer;
        }
        let answer = ask();
        // Each gives way in turn.
        self.turn = (self.turn + 1) % WAYS;
        let Some(slot) = ways.get_mut(self.turn) else { return answer };
        slot.topic.clear();
        slot.topic.push_str(topic);
        (slot.key, slot.action, slot.answer) = (key, action, answer);
        answer
    }
}
