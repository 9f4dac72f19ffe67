//! A queue against a naive model of it: at every step the first message that somebody free may have goes, to such a
//! one, and nothing is lost.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::queues::{Bench, QUEUE, Sent, made};
use super::*;

const MEMBERS: u32 = 3;
const WINDOW: u32 = 2;
const DEADLINE_MS: u64 = 10_000;

#[derive(Clone, Debug)]
enum Step {
    /// Of a priority, a kind and a message group, the last of it or not; after a delay.
    Put {
        priority: u8,
        kind: u8,
        group: u8,
        closes: bool,
        delay_ms: u64,
    },
    Join {
        slot: u32,
        wants: u8,
    },
    Leave {
        slot: u32,
    },
    Presence {
        slot: u32,
        online: bool,
    },
    Settle {
        which: usize,
        outcome: u8,
    },
    Late {
        which: usize,
    },
    Pass {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let delay_ms = prop_oneof![4 => Just(0), 1 => 1..8_000_u64];
    prop_oneof![
        6 => (0..3_u8, 0..3_u8, 0..4_u8, any::<bool>(), delay_ms).prop_map(
            |(priority, kind, group, closes, delay_ms)| Step::Put { priority, kind, group, closes, delay_ms }
        ),
        2 => (0..MEMBERS, 0..4_u8).prop_map(|(slot, wants)| Step::Join { slot, wants }),
        1 => (0..MEMBERS).prop_map(|slot| Step::Leave { slot }),
        1 => (0..MEMBERS, any::<bool>()).prop_map(|(slot, online)| Step::Presence { slot, online }),
        5 => (any::<usize>(), 0..4_u8).prop_map(|(which, outcome)| Step::Settle { which, outcome }),
        1 => any::<usize>().prop_map(|which| Step::Late { which }),
        1 => (1..6_000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    name: String,
    priority: u8,
    kind: u8,
    group: u8,
    closes: bool,
    deliveries: u32,
}

#[derive(Clone, Debug)]
struct Member_ {
    /// 3 wants everything.
    wants: u8,
    online: bool,
}

/// A message's place: the other way round in priority, then by arrival.
type Place = (u8, u64);

#[derive(Default)]
struct Model {
    waiting: BTreeMap<Place, Known>,
    /// By due time and arrival.
    delayed: BTreeMap<(u64, u64), Known>,
    loans: BTreeMap<u64, (Place, u32, u64, Known)>,
    overdue: BTreeMap<u64, (Place, u32)>,
    owners: BTreeMap<u8, u32>,
    members: BTreeMap<u32, Member_>,
    arrivals: u64,
    names: u64,
    dead: usize,
    done: usize,
}

impl Model {
    fn held(&self, slot: u32) -> u32 {
        let lent = self.loans.values().filter(|(_, to, ..)| *to == slot).count();
        let kept = self.overdue.values().filter(|(_, to)| *to == slot).count();
        (lent + kept) as u32
    }

    fn may_have(&self, slot: u32, place: Place, known: &Known) -> bool {
        let Some(member) = self.members.get(&slot) else { return false };
        member.online
            && self.held(slot) < WINDOW
            && (member.wants == 3 || member.wants == known.kind)
            && (known.group == 0 || self.owners.get(&known.group).is_none_or(|owner| *owner == slot))
            && !self.overdue.values().any(|overdue| *overdue == (place, slot))
    }

    /// The first that somebody may have.
    fn first(&self) -> Option<Place> {
        let wanted = |place: Place, known: &Known| (0..MEMBERS).any(|slot| self.may_have(slot, place, known));
        self.waiting.iter().find(|(place, known)| wanted(**place, known)).map(|(place, _)| *place)
    }

    /// The group has sent this message to that member.
    fn lent(&mut self, (name, slot, loan, deliveries): Sent, place: Place, now_ms: u64) {
        let known = self.waiting.remove(&place).unwrap();
        assert_eq!((&known.name, known.deliveries), (&name, deliveries));
        assert!(self.may_have(slot, place, &known), "{name} went to {slot}");
        if known.group != 0 {
            if known.closes {
                self.owners.remove(&known.group);
            } else {
                self.owners.insert(known.group, slot);
            }
        }
        self.loans.insert(loan, (place, slot, now_ms, known));
    }

    fn back(&mut self, place: Place, mut known: Known, counts: bool) {
        known.deliveries += u32::from(counts);
        if counts && known.deliveries >= QUEUE.max_deliveries {
            self.dead += 1;
        } else {
            self.waiting.insert(place, known);
        }
    }
}

struct Both {
    bench: Bench,
    model: Model,
}

impl Both {
    fn new() -> Self {
        let terms = Terms {
            max_outstanding: WINDOW,
            ack_deadline_ms: Some(DEADLINE_MS),
            max_messages: usize::MAX,
            max_bytes: usize::MAX,
            ..QUEUE
        };
        Self { bench: Bench::of(terms), model: Model::default() }
    }

    fn now_ms(&self) -> u64 {
        self.bench.now.mono_ms
    }

    fn put(&mut self, step: &Step) {
        let Step::Put { priority, kind, group, closes, delay_ms } = step else { return };
        let model = &mut self.model;
        model.names += 1;
        let name = format!("m{}", model.names);
        let (priority_text, kind_text, group_text) =
            (priority.to_string(), kind.to_string(), group.to_string());
        let delay = delay_ms.to_string();
        let mut properties = vec![("priority", &*priority_text), ("kind", &*kind_text)];
        if *group > 0 {
            properties.push(("JMSXGroupID", &group_text));
        }
        if *closes {
            properties.push(("JMSXGroupSeq", "-1"));
        }
        if *delay_ms > 0 {
            properties.push(("AMQ_SCHEDULED_DELAY", &delay));
        }
        let message = made(&name, &properties, Qos::AtLeastOnce, None);
        let known =
            Known { name, priority: *priority, kind: *kind, group: *group, closes: *closes, deliveries: 0 };
        model.arrivals += 1;
        let choice = self.bench.around(|group, around| group.offer(&message, around));
        let now_ms = self.now_ms();
        let model = &mut self.model;
        if *delay_ms > 0 {
            assert!(matches!(choice, Choice::Kept));
            model.delayed.insert((now_ms + delay_ms, model.arrivals), known);
            return;
        }
        let place = (9 - priority, model.arrivals);
        model.waiting.insert(place, known.clone());
        match choice {
            Choice::Kept => {}
            Choice::Send(at, loan) => {
                let slot = self.bench.group.members()[at].session.slot;
                assert_eq!(self.model.first(), Some(place), "nothing is overtaken");
                self.model.lent((known.name, slot, loan.unwrap(), 0), place, now_ms);
            }
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, step: &Step) {
        let (bench, model) = (&mut self.bench, &mut self.model);
        match *step {
            Step::Put { .. } => self.put(step),
            Step::Join { slot, wants } => {
                let selector = Selector::parse(&format!("kind = {wants}")).unwrap();
                let selector = (wants < 3).then(|| Arc::new(selector));
                bench.group.join(Member { selector, ..member(slot) }).unwrap();
                model.members.insert(slot, Member_ { wants, online: true });
            }
            Step::Leave { slot } => {
                bench.group.leave(session(slot));
                model.members.remove(&slot);
                model.owners.retain(|_, owner| *owner != slot);
            }
            Step::Presence { slot, online } => {
                bench.group.set_presence(session(slot), online, true);
                if let Some(member) = model.members.get_mut(&slot) {
                    member.online = online;
                    if !online {
                        model.owners.retain(|_, owner| *owner != slot);
                    }
                }
            }
            Step::Settle { which, outcome } => {
                let Some(&loan) = model.loans.keys().nth(which % model.loans.len().max(1)) else { return };
                let (place, _, _, known) = model.loans.remove(&loan).unwrap();
                let outcome = [Outcome::Finished, Outcome::Returned, Outcome::Released, Outcome::Rejected]
                    [usize::from(outcome)];
                bench.settle(loan, outcome);
                match outcome {
                    Outcome::Finished => model.done += 1,
                    Outcome::Rejected => model.dead += 1,
                    Outcome::Returned | Outcome::Released => {
                        model.back(place, known, outcome == Outcome::Released);
                    }
                }
            }
            Step::Late { which } => {
                let Some(&loan) = model.overdue.keys().nth(which % model.overdue.len().max(1)) else {
                    return;
                };
                model.overdue.remove(&loan);
                assert!(matches!(bench.settle(loan, Outcome::Finished), Settled::Late));
            }
            Step::Pass { ms } => self.pass(ms),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.bench.now.mono_ms += ms;
        let now_ms = self.now_ms();
        let (bench, model) = (&mut self.bench, &mut self.model);
        bench.group.admit_due(bench.now);
        while let Some(first) = model.delayed.first_entry().filter(|first| first.key().0 <= now_ms) {
            let known = first.remove();
            model.arrivals += 1;
            model.waiting.insert((9 - known.priority, model.arrivals), known);
        }
        while bench.group.take_overdue(now_ms, &bench.terms).is_some() {}
        let overdue = model.loans.iter().filter(|(_, (_, _, lent_ms, _))| lent_ms + DEADLINE_MS <= now_ms);
        for loan in overdue.map(|(loan, _)| *loan).collect::<Vec<_>>() {
            let (place, slot, _, known) = model.loans.remove(&loan).unwrap();
            model.overdue.insert(loan, (place, slot));
            model.back(place, known, true);
        }
    }

    /// Hands out what can be, and compares.
    fn drain(&mut self) {
        while let Some(sent) = self.bench.next() {
            let place = self.model.first().expect("nobody may have anything");
            let now_ms = self.now_ms();
            self.model.lent(sent, place, now_ms);
        }
        assert_eq!(self.model.first(), None, "somebody may have something");
        let (group, model) = (&self.bench.group, &self.model);
        assert_eq!(group.backlog(), model.waiting.len() + model.delayed.len());
        assert_eq!(group.loans(), model.loans.len());
        let waiting: Vec<_> =
            group.waiting().iter().map(|message| message.topic().as_str().to_owned()).collect();
        let expected: Vec<_> = model.waiting.values().map(|known| known.name.clone()).collect();
        assert_eq!(waiting, expected);
        for member in group.members() {
            assert_eq!(member.outstanding, model.held(member.session.slot));
        }
        let all = model.waiting.len() + model.delayed.len() + model.loans.len() + model.dead + model.done;
        assert_eq!(all as u64, model.names, "nothing is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_does_what_its_model_does(steps in proptest::collection::vec(step(), 1..120)) {
        let mut both = Both::new();
        for step in &steps {
            both.take(step);
            both.drain();
        }
    }
}
