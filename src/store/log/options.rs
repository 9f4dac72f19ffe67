//! What was said of a group, as it stands in its row: pairs of a tag and a value, so that what a later version adds is
//! passed over, and what was not said takes no room.
//!
//! `tag varint · value blob`; a number is a varint, a choice one byte, a text its bytes. Tags are never used again.

use noctule_core::group::QueueOptions;
use noctule_core::policy::Overflow;

use super::encoding::{MAX_VARINT, Reader, put_blob, put_varint};

const MESSAGE_TTL: u64 = 1;
const IDLE_EXPIRY: u64 = 2;
const MAX_MESSAGES: u64 = 3;
const MAX_BYTES: u64 = 4;
const OVERFLOW: u64 = 5;
const MAX_PRIORITY: u64 = 6;
const DEAD_LETTER: u64 = 7;
const MAX_DELIVERIES: u64 = 8;
const ACK_DEADLINE: u64 = 9;
const AUTO_DELETE: u64 = 10;
const DURABLE: u64 = 11;
const SELECTOR: u64 = 12;

/// What gives way, by the byte on disk.
const OVERFLOWS: [Overflow; 4] =
    [Overflow::DropOldest, Overflow::DropNewest, Overflow::Refuse, Overflow::Disconnect];

fn put_text(out: &mut Vec<u8>, tag: u64, text: Option<&str>) {
    if let Some(text) = text {
        put_varint(out, tag);
        put_blob(out, text.as_bytes());
    }
}

fn put_number(out: &mut Vec<u8>, tag: u64, number: Option<u64>) {
    if let Some(number) = number {
        let mut value = Vec::with_capacity(MAX_VARINT);
        put_varint(&mut value, number);
        put_varint(out, tag);
        put_blob(out, &value);
    }
}

/// Writes what was said.
pub(super) fn put(out: &mut Vec<u8>, options: &QueueOptions) {
    let QueueOptions {
        message_ttl_ms,
        idle_expiry_ms,
        max_messages,
        max_bytes,
        overflow,
        max_priority,
        dead_letter,
        max_deliveries,
        ack_deadline_ms,
        auto_delete,
        durable,
        selector,
    } = options;
    put_number(out, MESSAGE_TTL, *message_ttl_ms);
    put_number(out, IDLE_EXPIRY, *idle_expiry_ms);
    put_number(out, MAX_MESSAGES, *max_messages);
    put_number(out, MAX_BYTES, *max_bytes);
    let place = |overflow| OVERFLOWS.iter().position(|&known| known == overflow);
    put_number(out, OVERFLOW, overflow.and_then(place).map(|place| place as u64));
    put_number(out, MAX_PRIORITY, max_priority.map(u64::from));
    put_text(out, DEAD_LETTER, dead_letter.as_deref());
    put_number(out, MAX_DELIVERIES, max_deliveries.map(u64::from));
    put_number(out, ACK_DEADLINE, *ack_deadline_ms);
    put_number(out, AUTO_DELETE, auto_delete.map(u64::from));
    put_number(out, DURABLE, durable.map(u64::from));
    put_text(out, SELECTOR, selector.as_deref());
}

/// Reads what was said, to the end of the row; of a value that a later version means otherwise nothing was.
pub(super) fn parse(reader: &mut Reader<'_>) -> Option<QueueOptions> {
    let mut options = QueueOptions::default();
    while !reader.rest().is_empty() {
        let (tag, value) = (reader.varint()?, reader.blob()?);
        let number = Reader::new(value).varint();
        let choice = match number {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        };
        match tag {
            MESSAGE_TTL => options.message_ttl_ms = number,
            IDLE_EXPIRY => options.idle_expiry_ms = number,
            MAX_MESSAGES => options.max_messages = number,
            MAX_BYTES => options.max_bytes = number,
            OVERFLOW => {
                let place = number.and_then(|number| usize::try_from(number).ok());
                options.overflow = place.and_then(|place| OVERFLOWS.get(place).copied());
            }
            MAX_PRIORITY => options.max_priority = number.and_then(|number| u8::try_from(number).ok()),
            DEAD_LETTER => options.dead_letter = std::str::from_utf8(value).ok().map(Into::into),
            MAX_DELIVERIES => options.max_deliveries = number.and_then(|number| u32::try_from(number).ok()),
            ACK_DEADLINE => options.ack_deadline_ms = number,
            AUTO_DELETE => options.auto_delete = choice,
            DURABLE => options.durable = choice,
            SELECTOR => options.selector = std::str::from_utf8(value).ok().map(Into::into),
            _ => {}
        }
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything(overflow: Overflow, choice: bool, number: u64) -> QueueOptions {
        QueueOptions {
            message_ttl_ms: Some(number),
            idle_expiry_ms: Some(number / 2),
            max_messages: Some(number / 3),
            max_bytes: Some(number / 4),
            overflow: Some(overflow),
            max_priority: Some(number as u8),
            dead_letter: Some("$queue/é".into()),
            max_deliveries: Some(number as u32),
            ack_deadline_ms: Some(number / 5),
            auto_delete: Some(choice),
            durable: Some(!choice),
            selector: Some("größe > 2".into()),
        }
    }

    fn bytes(options: &QueueOptions) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, options);
        out
    }

    #[test]
    fn whatever_was_said_comes_back() {
        let nowhere = QueueOptions { dead_letter: Some("".into()), ..QueueOptions::default() };
        let mut all = vec![QueueOptions::default(), nowhere];
        for (overflow, choice) in OVERFLOWS.into_iter().zip([true, false, true, false]) {
            all.extend([0, 9, u64::MAX].map(|number| everything(overflow, choice, number)));
        }
        for options in all {
            assert_eq!(parse(&mut Reader::new(&bytes(&options))), Some(options));
        }
    }

    #[test]
    fn what_was_not_said_takes_no_room() {
        assert!(bytes(&QueueOptions::default()).is_empty());
        let one = QueueOptions { max_deliveries: Some(16), ..QueueOptions::default() };
        assert_eq!(bytes(&one), [8, 1, 16]);
    }

    #[test]
    fn what_a_later_version_says_is_passed_over() {
        let mut row = vec![0xff, 0x7f, 3, 1, 2, 3];
        // A fifth way to overflow, and a third choice.
        row.extend([5, 1, 4, 10, 1, 2]);
        row.extend(bytes(&QueueOptions { durable: Some(true), ..QueueOptions::default() }));
        let known = QueueOptions { durable: Some(true), ..QueueOptions::default() };
        assert_eq!(parse(&mut Reader::new(&row)), Some(known));
    }

    #[test]
    fn half_a_pair_is_nothing() {
        let row = bytes(&everything(Overflow::Refuse, true, u64::MAX));
        let whole: Vec<_> =
            (0..=row.len()).filter(|&len| parse(&mut Reader::new(&row[..len])).is_some()).collect();
        assert_eq!(whole.len(), 13, "between the pairs and at both ends: {whole:?}");
    }
}
