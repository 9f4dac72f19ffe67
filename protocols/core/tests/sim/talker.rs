//! What STOMP clients decide.

use noctule_core::consumer::{Beats, Verdict};
use noctule_core::id::{ConnId, Qos};

use crate::book::{Commit, State};
use crate::rng::Rng;
use crate::talk::{Ask, Draft, Seat, Settling};
use crate::taps::{Kind, Tap};
use crate::world::World;

/// A STOMP client: all that it has is its connection.
#[derive(Debug, Default)]
pub(crate) struct Talker {
    pub(crate) conn: Option<(usize, ConnId)>,
}

/// Queues that messages are sent to, those that run full or lose messages less often.
const SENT_TO: [&str; 14] = [
    "plain", "plain", "mqtt", "limit", "limit", "short", "full", "ttl", "late", "late", "gone", "sole",
    "plain", "mqtt",
];

const TOPICS: [&str; 3] = ["t/0", "t/0", "t/1"];

pub(crate) fn queue(rng: &mut Rng) -> String {
    format!("$queue/{}", rng.pick(&SENT_TO))
}

fn draft(rng: &mut Rng, in_commit: bool) -> Draft {
    let topic = if rng.chance(70) { queue(rng) } else { rng.pick(&TOPICS).to_owned() };
    let is_plain = topic == "$queue/plain" && !in_commit;
    let some = |rng: &mut Rng, percent, value| rng.chance(percent).then_some(value);
    let lives_ms = if in_commit { 700 } else { rng.pick(&[0, 300, 700]) };
    let dedup = if is_plain && rng.chance(20) { Some(format!("id-{}", rng.below(40))) } else { None };
    Draft {
        qos: rng.pick(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]),
        priority: if rng.chance(30) { rng.below(10) as u8 } else { 4 },
        expires_in_ms: some(rng, 4, lives_ms),
        delay_ms: if topic.starts_with("$queue/") { some(rng, 4, 400) } else { None },
        topic,
        dedup,
    }
}

fn seat(rng: &mut Rng, taps: &[Tap]) -> Seat {
    let mut seat = match rng.below(20) {
        0..11 => {
            let queues = taps.iter().filter(|tap| tap.kind == Kind::Queue).count();
            let mut tap = rng.below(queues);
            if rng.chance(50) {
                // Rather a queue than its dead letters.
                tap = rng.below(10);
            }
            Seat::new(Some(tap), &taps[tap].filter)
        }
        11..15 => {
            let durables: Vec<_> = (0..taps.len()).filter(|&tap| taps[tap].kind == Kind::Durable).collect();
            let tap = rng.pick(&durables);
            Seat::new(Some(tap), &taps[tap].filter)
        }
        15..17 => {
            let share = taps.len() - 1;
            Seat::new(Some(share), &taps[share].filter)
        }
        _ => Seat::new(None, rng.pick(&["t/#", "t/+", "t/0"])),
    };
    seat.acknowledges = rng.chance(80);
    seat.window = 1 + rng.below(4) as u16;
    let is_queue = seat.filter.starts_with("$queue/");
    seat.browses = is_queue && rng.chance(10);
    // What nobody wants would wait for ever in a share; it is nobody's there.
    seat.wants = match seat.tap.map(|tap| &taps[tap]) {
        // Another selector would end what the durable subscription keeps.
        Some(tap) if tap.kind == Kind::Durable => tap.wants,
        _ => rng.chance(12).then(|| rng.below(3) as u32),
    };
    seat
}

/// Verdicts, most of them good.
fn verdict(rng: &mut Rng) -> Verdict {
    match rng.below(10) {
        0..5 => Verdict::Accept,
        5..8 => Verdict::Requeue,
        _ => Verdict::Reject,
    }
}

impl World {
    /// The connection of a talker, if it is there.
    fn talk_of(&self, talker: usize) -> Option<&crate::talk::Talk> {
        let (worker, id) = self.talkers[talker].conn?;
        self.workers[worker].talks.iter().find(|talk| talk.id == id)
    }

    /// A decision of some STOMP client.
    pub(crate) fn decide_talk(&mut self) {
        // The last one comes when the storm is over.
        let talker = self.rng.below(self.talkers.len() - 1);
        let Some(talk) = self.talk_of(talker) else {
            if self.rng.chance(30) {
                let beats = Beats {
                    expected_ms: self.rng.pick(&[0, 0, 4_000]),
                    sent_ms: self.rng.pick(&[0, 1_000]),
                    idle_ms: 0,
                };
                self.open_talk(talker, beats);
            }
            return;
        };
        let (beats, crowd, last) = (talk.beats, talk.has.len(), talk.last_seat);
        let seated: Vec<_> =
            talk.seats.values().filter(|seat| !seat.is_over()).map(|seat| seat.tap).collect();
        let looks = talk.seats.values().any(|seat| seat.browses && !seat.is_over());
        if talk.up.len() > 6 || talk.leaves {
            return;
        }
        if beats.expected_ms > 0 && self.rng.chance(30) {
            self.ask(talker, Ask::Heard, false);
        }
        let receipt = self.rng.chance(50);
        match self.rng.below(100) {
            0..30 => self.send_some(talker, receipt),
            30..42 if last < 40 && crowd < 6 => {
                let mut seat = seat(&mut self.rng, &self.book.taps);
                // A connection looks at one queue at a time.
                seat.browses &= !looks;
                // And consumes once from a durable subscription.
                let durable = seat.tap.is_some_and(|tap| self.book.taps[tap].kind == Kind::Durable);
                if !durable || !seated.contains(&seat.tap) {
                    self.sit(talker, seat, receipt);
                }
            }
            42..75 => {
                if let Some(settling) = self.choose(talker) {
                    self.ask(talker, Ask::Settle(settling), receipt);
                }
            }
            75..83 => self.commit_some(talker, receipt),
            83..88 => self.cancel_some(talker, receipt),
            88 => {
                let taps = &self.book.taps;
                let durables: Vec<_> =
                    (0..taps.len()).filter(|&tap| taps[tap].kind == Kind::Durable).collect();
                let tap = self.rng.pick(&durables);
                self.ask(talker, Ask::Forget(tap), true);
            }
            89..91 => self.ask(talker, Ask::Nothing, receipt),
            91 => self.ask(talker, Ask::Leave, receipt),
            92..94 => self.cut_talk(talker),
            _ => {}
        }
    }

    pub(crate) fn sit(&mut self, talker: usize, seat: Seat, receipt: bool) -> u32 {
        let (worker, id) = self.talkers[talker].conn.unwrap();
        let talk = self.talk(worker, id).unwrap();
        talk.last_seat += 1;
        let number = talk.last_seat;
        talk.seats.insert(number, seat);
        self.ask(talker, Ask::Consume(number), receipt);
        number
    }

    fn send_some(&mut self, talker: usize, receipt: bool) {
        let (_, id) = self.talkers[talker].conn.unwrap();
        let draft = draft(&mut self.rng, false);
        let msg = self.draft(id.generation, &draft);
        self.ask(talker, Ask::Send(msg), receipt);
    }

    /// Some of what a talker has, to be settled: in order or not, now and then twice.
    fn choose(&mut self, talker: usize) -> Option<Settling> {
        let (worker, id) = self.talkers[talker].conn?;
        let mut rng = std::mem::replace(&mut self.rng, Rng::new(0));
        let chosen = self.talk(worker, id).and_then(|talk| {
            let with: Vec<_> =
                talk.has.iter().filter(|(_, has)| !has.is_empty()).map(|(&at, _)| at).collect();
            if with.is_empty() {
                return None;
            }
            let consumer = rng.pick(&with);
            let has = talk.has.get_mut(&consumer)?;
            let pids: Vec<_> = if rng.chance(40) {
                let count = 1 + rng.below(has.len());
                has.drain(..count).collect()
            } else {
                let at = rng.below(has.len());
                has.remove(at).into_iter().collect()
            };
            if rng.chance(3) {
                has.extend(&pids);
            }
            Some((consumer, pids, verdict(&mut rng)))
        });
        self.rng = rng;
        chosen
    }

    fn commit_some(&mut self, talker: usize, receipt: bool) {
        let (_, id) = self.talkers[talker].conn.unwrap();
        let (sends, settles) = (self.rng.below(4), self.rng.below(3));
        let sends = (0..sends)
            .map(|_| {
                let draft = draft(&mut self.rng, true);
                self.draft(id.generation, &draft)
            })
            .collect();
        let settles = (0..settles).filter_map(|_| self.choose(talker)).collect();
        self.book.commits.push(Commit { sends, settles: Vec::new(), state: State::Pending });
        let number = self.book.commits.len() - 1;
        self.ask(talker, Ask::Commit(number, settles), receipt);
    }

    fn cancel_some(&mut self, talker: usize, receipt: bool) {
        let Some(talk) = self.talk_of(talker) else { return };
        let going: Vec<u32> = talk
            .up
            .iter()
            .filter_map(
                |(ask, _)| if let Ask::Cancel { consumer, .. } = ask { Some(*consumer) } else { None },
            )
            .collect();
        let there = talk
            .seats
            .iter()
            .filter(|(number, seat)| !seat.browses && !seat.is_over() && !going.contains(number));
        let there: Vec<_> = there.map(|(&number, seat)| (number, seat.tap)).collect();
        if there.is_empty() {
            return;
        }
        let (consumer, tap) = self.rng.pick(&there);
        let is_durable = tap.is_some_and(|tap| self.book.taps[tap].kind == Kind::Durable);
        let forgets = is_durable && self.rng.chance(30);
        self.ask(talker, Ask::Cancel { consumer, forgets }, receipt || forgets);
    }

    /// The talker that comes when the storm is over.
    pub(crate) fn drainer(&self) -> usize {
        self.talkers.len() - 1
    }

    /// A talker settles all that it has.
    pub(crate) fn accept_all(&mut self, talker: usize) {
        let Some((worker, id)) = self.talkers[talker].conn else { return };
        let has = self.talk(worker, id).map(|talk| std::mem::take(&mut talk.has)).unwrap_or_default();
        for (consumer, pids) in has.into_iter().filter(|(_, pids)| !pids.is_empty()) {
            let receipt = self.rng.chance(50);
            self.ask(talker, Ask::Settle((consumer, pids.into(), Verdict::Accept)), receipt);
        }
    }
}
