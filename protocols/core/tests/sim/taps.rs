//! The queues, durable subscriptions and shares of a run with STOMP, what was said of each, and so for which reasons a
//! message may leave it without having been consumed.

use noctule_core::effects::DropReason;
use noctule_core::group::QueueOptions;
use noctule_core::policy::Overflow;
use noctule_core::topic::{TopicFilter, TopicLimits, TopicName};

use crate::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue,
    Durable,
    Share,
}

/// Where a group's consumers take messages from.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) kind: Kind,
    /// The name of a durable subscription, the share name, or nothing for a queue.
    pub(crate) group: String,
    pub(crate) filter: String,
    pub(crate) options: QueueOptions,
    /// Of a durable subscription: of the three kinds of messages (by their numbers) the one that it wants.
    pub(crate) wants: Option<u32>,
    /// Whether all of its STOMP consumers want it for themselves alone.
    pub(crate) exclusive: bool,
    /// Whether MQTT clients consume from it.
    pub(crate) mqtt: bool,
    /// Where its dead letters are consumed.
    pub(crate) letters: Option<usize>,
    /// Whether several queues send their dead letters there.
    pub(crate) collects: bool,
    /// Of a durable subscription: it was answered for and nobody has asked for its end since.
    pub(crate) alive: bool,
    /// And whoever asked for it has the receipt.
    pub(crate) promised: bool,
    /// Requests for its end that are not answered.
    pub(crate) ending: u32,
    /// When such a request was last made or answered: what came before is excused.
    pub(crate) ended_at: u64,
    /// Whether anybody has consumed from it since the first message.
    pub(crate) used: bool,
    /// When a member last went with what it was not sent: the order of what came before is void.
    pub(crate) disturbed_at: u64,
}

impl Tap {
    fn new(kind: Kind, group: &str, filter: &str, options: QueueOptions) -> Self {
        Self {
            kind,
            group: group.to_owned(),
            filter: filter.to_owned(),
            options,
            wants: None,
            exclusive: false,
            mqtt: false,
            letters: None,
            collects: false,
            alive: false,
            promised: false,
            ending: 0,
            ended_at: 0,
            used: false,
            disturbed_at: 0,
        }
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        let filter = TopicFilter::parse(&self.filter, &TopicLimits::WIDEST).unwrap();
        filter.matches(&TopicName::from_validated(topic))
    }

    /// Deliveries after which a message is a dead letter, if there is such a number.
    pub(crate) fn limit(&self) -> Option<u32> {
        self.options.max_deliveries.filter(|&most| most > 0)
    }

    /// Whether consumers may lose what they hold: nobody can tell from outside when that has happened.
    pub(crate) fn is_timed(&self) -> bool {
        self.options.ack_deadline_ms.is_some()
    }

    /// Why it may let go of any message whatever.
    pub(crate) fn excuse(&self) -> Option<DropReason> {
        let options = &self.options;
        if options.message_ttl_ms.is_some() {
            return Some(DropReason::Expired);
        }
        if options.max_messages.is_some() && options.overflow != Some(Overflow::Refuse) {
            return Some(DropReason::QueueFull);
        }
        options.auto_delete.map(|_| DropReason::QueueEnded)
    }
}

/// What may be consumed from in a run. Queues come first, their dead letters behind them.
pub(crate) fn taps(rng: &mut Rng) -> Vec<Tap> {
    let said = QueueOptions::default;
    let elsewhere = Some("$queue/else".into());
    let some = |rng: &mut Rng, letters: &Option<Box<str>>| letters.clone().filter(|_| rng.chance(50));
    let overflow = rng.pick(&[Overflow::DropOldest, Overflow::DropNewest]);
    let queues = [
        ("plain", said()),
        ("mqtt", said()),
        ("limit", QueueOptions { max_deliveries: Some(1 + rng.below(3) as u32), ..said() }),
        (
            "short",
            QueueOptions {
                max_messages: Some(3),
                overflow: Some(overflow),
                dead_letter: some(rng, &elsewhere),
                ..said()
            },
        ),
        (
            "full",
            QueueOptions {
                max_messages: Some(3),
                overflow: Some(Overflow::Refuse),
                max_deliveries: Some(4),
                ..said()
            },
        ),
        ("ttl", QueueOptions { message_ttl_ms: Some(900), dead_letter: some(rng, &elsewhere), ..said() }),
        ("late", QueueOptions { ack_deadline_ms: Some(700), max_deliveries: Some(5), ..said() }),
        ("gone", QueueOptions { auto_delete: Some(true), ..said() }),
        ("sole", QueueOptions { dead_letter: Some("".into()), max_deliveries: Some(3), ..said() }),
        ("else", said()),
    ];
    let mut taps: Vec<_> = queues
        .into_iter()
        .map(|(name, options)| Tap::new(Kind::Queue, "", &format!("$queue/{name}"), options))
        .collect();
    for at in 0..taps.len() {
        match taps[at].options.dead_letter.as_deref() {
            Some("") => continue,
            Some(_) => {
                taps[at].letters = taps.iter().position(|tap| tap.filter == "$queue/else");
                continue;
            }
            None => {}
        }
        taps[at].letters = Some(taps.len());
        let name = taps[at].filter.strip_prefix("$queue/").unwrap();
        let letters = format!("$queue/DLQ.{name}");
        taps.push(Tap::new(Kind::Queue, "", &letters, said()));
    }
    for tap in &mut taps {
        let name = tap.filter.as_str();
        (tap.mqtt, tap.exclusive) = (name == "$queue/mqtt", name == "$queue/sole");
        tap.collects = name == "$queue/else" || name == "$queue/DLQ.else";
    }
    for (name, filter, most) in [("c/one", "t/#", 0), ("c/two", "t/#", 3), ("c/three", "t/0", 0)] {
        let options = QueueOptions { max_deliveries: Some(most), dead_letter: Some("".into()), ..said() };
        let mut tap = Tap::new(Kind::Durable, name, filter, options);
        tap.wants = (name == "c/three").then_some(1);
        taps.push(tap);
    }
    taps.push(Tap::new(Kind::Share, "k", "t/#", said()));
    taps
}
