//! Who takes part: the publishers and subscribers, and what each may expect of the broker.

use noctule_core::id::Qos;
use noctule_mqtt::Version;

/// Somebody who publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) name: &'static str,
    pub(crate) version: Version,
    pub(crate) qos: Qos,
    /// Whether its session stays: it goes on with the exchanges that a kill interrupted.
    pub(crate) keeps: bool,
    /// Whether it sets (and at times clears) retained messages instead of feeding the subscribers.
    pub(crate) retains: bool,
    /// Messages that it may have under way.
    pub(crate) window: u16,
}

impl Publisher {
    const fn new(name: &'static str, version: Version, qos: Qos) -> Self {
        Self { name, version, qos, keeps: true, retains: false, window: 20 }
    }

    /// Whether none of its messages may reach a subscriber at QoS 2 twice.
    pub(crate) fn is_exact(&self) -> bool {
        self.keeps && self.qos == ExactlyOnce
    }
}

/// Somebody who subscribes to everything but the retained topics, and whose session stays.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) name: &'static str,
    pub(crate) version: Version,
    pub(crate) qos: Qos,
    /// What it subscribes to.
    pub(crate) filter: &'static str,
    /// Whether it is away for most of the time.
    pub(crate) wanders: bool,
    /// The seat at which its messages are counted: its own, or that of its group.
    pub(crate) seat: usize,
}

use Qos::{AtLeastOnce, ExactlyOnce};
use Version::{V5, V311};

pub(crate) const PUBLISHERS: [Publisher; 6] = [
    Publisher::new("p0-311-q1", V311, AtLeastOnce),
    // Its session ends with its connection: what was under way is published anew.
    Publisher { keeps: false, ..Publisher::new("p1-5-q1-clean", V5, AtLeastOnce) },
    Publisher { window: 50, ..Publisher::new("p2-5-q2", V5, ExactlyOnce) },
    Publisher::new("p3-311-q2", V311, ExactlyOnce),
    Publisher { retains: true, ..Publisher::new("p4-5-q1-retain", V5, AtLeastOnce) },
    Publisher { retains: true, ..Publisher::new("p5-311-q2-retain", V311, ExactlyOnce) },
];

pub(crate) const SUBSCRIBERS: [Subscriber; 6] = [
    Subscriber {
        name: "s0-311-q1",
        version: V311,
        qos: AtLeastOnce,
        filter: "load/#",
        wanders: false,
        seat: 0,
    },
    Subscriber {
        name: "s1-5-q2",
        version: V5,
        qos: ExactlyOnce,
        filter: "load/+/+",
        wanders: false,
        seat: 1,
    },
    Subscriber {
        name: "s2-311-q2-away",
        version: V311,
        qos: ExactlyOnce,
        filter: "load/#",
        wanders: true,
        seat: 2,
    },
    Subscriber {
        name: "s3-5-q1-away",
        version: V5,
        qos: AtLeastOnce,
        filter: "load/#",
        wanders: true,
        seat: 3,
    },
    Subscriber {
        name: "s4-5-q2-share",
        version: V5,
        qos: ExactlyOnce,
        filter: "$share/crew/load/#",
        wanders: false,
        seat: 4,
    },
    Subscriber {
        name: "s5-311-q2-share-away",
        version: V311,
        qos: ExactlyOnce,
        filter: "$share/crew/load/#",
        wanders: true,
        seat: 4,
    },
];

/// Where messages are counted: one for each subscriber alone, one for the group.
pub(crate) const SEATS: usize = 5;

/// What a seat is called.
pub(crate) fn seat_name(seat: usize) -> &'static str {
    SUBSCRIBERS
        .iter()
        .find(|subscriber| subscriber.seat == seat)
        .map_or("nobody", |subscriber| subscriber.name)
}

/// Whether the messages of a publisher come to a seat in the order in which they were sent: to members of a group they
/// come as each has room.
pub(crate) fn is_ordered(seat: usize) -> bool {
    SUBSCRIBERS.iter().filter(|subscriber| subscriber.seat == seat).count() == 1
}

/// The QoS at which a seat is served.
pub(crate) fn seat_qos(seat: usize) -> Qos {
    let qos =
        SUBSCRIBERS.iter().filter(|subscriber| subscriber.seat == seat).map(|subscriber| subscriber.qos);
    qos.min().unwrap_or(Qos::AtMostOnce)
}

/// Retained topics of each publisher that has some.
pub(crate) const KEPT_TOPICS: u32 = 8;

/// Which of its retained topics a publisher's message is for.
pub(crate) fn kept_topic(seq: u32) -> u32 {
    seq % KEPT_TOPICS
}

/// Whether a message clears its retained topic.
pub(crate) fn clears(seq: u32) -> bool {
    seq / KEPT_TOPICS % 5 == 4
}

/// Where a message goes to.
pub(crate) fn topic(from: usize, seq: u32) -> String {
    if PUBLISHERS[from].retains {
        format!("kept/{from}/{}", kept_topic(seq))
    } else {
        format!("load/{from}/{}", seq % 3)
    }
}
