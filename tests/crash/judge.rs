//! The verdict on a journal: one line for each broken promise.

use std::collections::BTreeMap;

use noctule_core::id::Qos;

use crate::cast::{
    KEPT_TOPICS, PUBLISHERS, SEATS, SUBSCRIBERS, clears, is_ordered, kept_topic, seat_name, seat_qos,
};
use crate::journal::{Entry, Record};

/// Most lines for one kind of failure; there are never few.
const MAX_LINES: usize = 12;

/// Most cycles in which one message comes to one seat: an acknowledgement is on the disk soon after it was given, so
/// that few kills are quick enough to have the message delivered again.
const MAX_CYCLES: usize = 4;

/// What is known of one message.
#[derive(Debug, Default)]
struct Fate {
    sent: Option<u32>,
    acked: Option<u32>,
    /// Cycles in which it came, for each seat.
    came: [Vec<u32>; SEATS],
}

/// Every broken promise; none is what a good broker gets.
pub(crate) fn judge(records: &[Record]) -> Vec<String> {
    let fates = fates(records);
    let kinds = [
        wrong(records),
        missing(&fates),
        twice(&fates),
        again(&fates),
        unsent(&fates),
        disorder(records),
        retained(records),
    ];
    let mut lines = Vec::new();
    for mut kind in kinds {
        let more = kind.len().saturating_sub(MAX_LINES);
        let name = kind.first().and_then(|line| line.split(": ").next()).unwrap_or_default().to_owned();
        kind.truncate(MAX_LINES);
        lines.append(&mut kind);
        if more > 0 {
            lines.push(format!("{name}: and {more} more"));
        }
    }
    lines
}

/// Whether something acknowledged has not come everywhere, so that waiting for it makes sense.
pub(crate) fn is_missing_something(records: &[Record]) -> bool {
    !missing(&fates(records)).is_empty()
}

/// What happened, in numbers.
pub(crate) fn summary(records: &[Record]) -> String {
    let count = |wanted: fn(&Entry) -> bool| records.iter().filter(|record| wanted(&record.entry)).count();
    format!(
        "{} messages sent, {} acknowledged, {} refused; {} deliveries, {} retained",
        count(|entry| matches!(entry, Entry::Sent { .. })),
        count(|entry| matches!(entry, Entry::Acked { .. })),
        count(|entry| matches!(entry, Entry::Refused { .. })),
        count(|entry| matches!(entry, Entry::Got { .. })),
        count(|entry| matches!(entry, Entry::Kept { .. })),
    )
}

fn fates(records: &[Record]) -> BTreeMap<(usize, u32), Fate> {
    let mut fates: BTreeMap<(usize, u32), Fate> = BTreeMap::new();
    for Record { cycle, entry } in records {
        match *entry {
            Entry::Sent { from, seq } => fates.entry((from, seq)).or_default().sent = Some(*cycle),
            Entry::Acked { from, seq } => fates.entry((from, seq)).or_default().acked = Some(*cycle),
            Entry::Got { by, from, seq } => {
                fates.entry((from, seq)).or_default().came[SUBSCRIBERS[by].seat].push(*cycle);
            }
            _ => {}
        }
    }
    fates
}

fn wrong(records: &[Record]) -> Vec<String> {
    let lines = records.iter().filter_map(|record| match &record.entry {
        Entry::Wrong(what) => Some(format!("wrong: cycle {}: {what}", record.cycle)),
        _ => None,
    });
    lines.collect()
}

/// Acknowledged, and yet it did not come to everybody.
fn missing(fates: &BTreeMap<(usize, u32), Fate>) -> Vec<String> {
    let mut lines = Vec::new();
    for ((from, seq), fate) in fates {
        let (Some(acked), false) = (fate.acked, PUBLISHERS[*from].retains) else { continue };
        for (seat, _) in fate.came.iter().enumerate().filter(|(_, came)| came.is_empty()) {
            lines.push(format!(
                "missing: {} {seq}, sent in cycle {}, acknowledged in cycle {acked}, never reached {}",
                PUBLISHERS[*from].name,
                fate.sent.unwrap_or_default(),
                seat_name(seat)
            ));
        }
    }
    lines
}

/// Exactly once, and yet it came again.
fn twice(fates: &BTreeMap<(usize, u32), Fate>) -> Vec<String> {
    let mut lines = Vec::new();
    for ((from, seq), fate) in fates.iter().filter(|((from, _), _)| PUBLISHERS[*from].is_exact()) {
        for (seat, came) in fate.came.iter().enumerate() {
            if came.len() > 1 && seat_qos(seat) == Qos::ExactlyOnce {
                let name = PUBLISHERS[*from].name;
                lines.push(format!("twice: {name} {seq} reached {} in the cycles {came:?}", seat_name(seat)));
            }
        }
    }
    lines
}

/// At QoS 1 a kill may undo an acknowledgement, but not in one cycle after the other.
fn again(fates: &BTreeMap<(usize, u32), Fate>) -> Vec<String> {
    let mut lines = Vec::new();
    for ((from, seq), fate) in fates {
        for (seat, came) in fate.came.iter().enumerate() {
            let mut cycles = came.clone();
            cycles.dedup();
            if cycles.len() > MAX_CYCLES {
                let name = PUBLISHERS[*from].name;
                lines.push(format!(
                    "again: {name} {seq} reached {} in the cycles {cycles:?}",
                    seat_name(seat)
                ));
            }
        }
    }
    lines
}

/// It came, and nobody had sent it.
fn unsent(fates: &BTreeMap<(usize, u32), Fate>) -> Vec<String> {
    let unsent = fates.iter().filter(|(_, fate)| fate.sent.is_none());
    unsent.map(|((from, seq), _)| format!("unsent: {} {seq} came", PUBLISHERS[*from].name)).collect()
}

/// The first coming of each message of a publisher, in the order of sending.
fn disorder(records: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut come: BTreeMap<(usize, usize), std::collections::BTreeSet<u32>> = BTreeMap::new();
    for Record { cycle, entry } in records {
        let Entry::Got { by, from, seq } = *entry else { continue };
        let seat = SUBSCRIBERS[by].seat;
        if !is_ordered(seat) {
            continue;
        }
        let come = come.entry((seat, from)).or_default();
        if let Some(last) = come.last().copied().filter(|last| seq < *last)
            && !come.contains(&seq)
        {
            lines.push(format!(
                "disorder: cycle {cycle}: {} {seq} reached {} after {last}",
                PUBLISHERS[from].name,
                seat_name(seat)
            ));
        }
        come.insert(seq);
    }
    lines
}

/// What is known of one retained topic while the journal is read.
#[derive(Clone, Debug, Default)]
struct Topic {
    acked: Option<u32>,
    /// `acked` when somebody last asked for retained messages.
    due: Option<u32>,
    sent: Vec<u32>,
    /// The value that came last since then.
    came: Option<u32>,
}

fn retained(records: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    let publishers = PUBLISHERS.iter().enumerate().filter(|(_, publisher)| publisher.retains);
    let mut topics: BTreeMap<(usize, u32), Topic> = publishers
        .flat_map(|(from, _)| (0..KEPT_TOPICS).map(move |topic| ((from, topic), Topic::default())))
        .collect();
    for Record { cycle, entry } in records {
        match *entry {
            Entry::Sent { from, seq } => {
                topics.entry((from, kept_topic(seq))).or_default().sent.push(seq);
            }
            Entry::Acked { from, seq } => {
                let topic = topics.entry((from, kept_topic(seq))).or_default();
                topic.acked = topic.acked.max(Some(seq));
            }
            Entry::Asks => {
                for topic in topics.values_mut() {
                    (topic.due, topic.came) = (topic.acked, None);
                }
            }
            Entry::Kept { from, seq } => {
                let topic = topics.entry((from, kept_topic(seq))).or_default();
                topic.came = Some(seq);
                if Some(seq) < topic.due {
                    lines.push(format!(
                        "retained: cycle {cycle}: topic {} of {} is {seq}, but {} was acknowledged before",
                        kept_topic(seq),
                        PUBLISHERS[from].name,
                        topic.due.unwrap_or_default()
                    ));
                }
            }
            Entry::Asked => {
                for ((from, number), topic) in &topics {
                    lines.extend(left(topic, *from, *number));
                }
            }
            _ => {}
        }
    }
    lines
}

/// The value that a topic has in the end: the last acknowledged one, or one sent later. A gone value may be right.
fn left(topic: &Topic, from: usize, number: u32) -> Option<String> {
    let mut allowed = topic.sent.iter().copied().filter(|seq| Some(*seq) >= topic.acked);
    let right = match topic.came {
        Some(came) => allowed.any(|seq| seq == came),
        None => topic.acked.is_none() || allowed.any(clears),
    };
    (PUBLISHERS[from].retains && !right).then(|| {
        format!(
            "retained: in the end topic {number} of {} is {:?}; acknowledged last was {:?}, sent last {:?}",
            PUBLISHERS[from].name,
            topic.came,
            topic.acked,
            topic.sent.last()
        )
    })
}

#[cfg(test)]
mod tests;
