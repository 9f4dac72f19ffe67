//! The rows of the tables beside the log: everything that is known by a name and replaced as a whole.
//!
//! Keys are bytes, numbers in them big endian, so that what belongs to one session stands together. Every value ends
//! with its checksum ([`seal`]). Queued messages are not here but in chunks.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

use noctule_core::group::QueueOptions;
use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{Fields, Message, Publish, Restored};
use noctule_core::store::{KeptWill, RecoveredSubscription};
use noctule_core::topic::{TopicLimits, TopicName};
use redb::TableDefinition;

use super::encoding::{Reader, put_blob, put_option, put_varint, seal, unseal};
use super::options;
use super::record::{flags, put_flags};
use super::timeline::Stamp;

/// The log: number of the chunk → chunk.
pub(super) const CHUNKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("chunks");

/// The definition of a table of rows.
pub(super) type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A table of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Format, clock, marks.
    Meta,
    /// Session → [`SessionRow`].
    Sessions,
    /// Session, filter → [`SubscriptionRow`].
    Subscriptions,
    /// Session, direction, packet id → [`ExchangeRow`].
    Exchanges,
    /// Session → will.
    Wills,
    /// Group → [`GroupRow`].
    Groups,
    /// Topic → [`RetainedRow`].
    Retained,
}

impl Table {
    /// Every one.
    pub(super) const ALL: [Self; 7] = [
        Self::Meta,
        Self::Sessions,
        Self::Subscriptions,
        Self::Exchanges,
        Self::Wills,
        Self::Groups,
        Self::Retained,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::Exchanges => "exchanges",
            Self::Wills => "wills",
            Self::Groups => "groups",
            Self::Retained => "retained",
        }
    }

    pub(super) fn rows(self) -> Rows {
        Rows::new(self.name())
    }

    /// A value for this table, sealed.
    pub(super) fn value(self, key: &[u8], body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        body(&mut out);
        seal(self.name(), key, out)
    }

    /// Takes a value of this table apart; `None` if it is damaged.
    pub(super) fn parse<'a, T>(
        self,
        key: &[u8],
        value: &'a [u8],
        body: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Option<T> {
        body(&mut Reader::new(unseal(self.name(), key, value)?))
    }
}

/// The key of what there is one of for each session or group.
pub(super) fn number_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The inverse of [`number_key`]; also the session to which a longer key belongs, and the rest of that.
pub(super) fn split_key(key: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// The key of a subscription.
pub(super) fn subscription_key(session: u64, filter: &str) -> Vec<u8> {
    [&session.to_be_bytes(), filter.as_bytes()].concat()
}

/// Which side has given an exchange its packet id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// The client: its QoS 2 messages to us.
    Inbound,
    /// We: our messages to it.
    Outbound,
}

/// The key of an exchange.
pub(super) fn exchange_key(session: u64, direction: Direction, packet_id: u16) -> [u8; 11] {
    let [a, b, c, d, e, f, g, h] = session.to_be_bytes();
    let [high, low] = packet_id.to_be_bytes();
    [a, b, c, d, e, f, g, h, u8::from(direction == Direction::Outbound), high, low]
}

/// The inverse of [`exchange_key`].
pub(super) fn split_exchange_key(key: &[u8]) -> Option<(u64, Direction, u16)> {
    let (session, rest) = split_key(key)?;
    let [direction, high, low] = *rest else { return None };
    let direction = match direction {
        0 => Direction::Inbound,
        1 => Direction::Outbound,
        _ => return None,
    };
    Some((session, direction, u16::from_be_bytes([high, low])))
}

/// A kept session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionRow<'a> {
    pub(super) client_id: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) expiry_s: u32,
    /// Broker time at which its client left, ms; `None` while it is connected.
    pub(super) left_at: Option<u64>,
    /// The first chunk that may hold something for it; above 0 if the number was another session's before.
    pub(super) born: u64,
}

impl<'a> SessionRow<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.born);
        put_varint(out, self.expiry_s.into());
        // A time at which everything had ended is no time that comes.
        put_varint(out, self.left_at.map_or(0, |at| at.saturating_add(1)));
        put_blob(out, self.client_id.as_bytes());
        put_option(out, self.user);
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        let born = reader.varint()?;
        let expiry_s = u32::try_from(reader.varint()?).ok()?;
        let left_at = reader.varint()?.checked_sub(1);
        Some(Self { client_id: reader.text()?, user: reader.option()?, expiry_s, left_at, born })
    }
}

/// A shared subscription with kept members, a queue, or a durable subscription of STOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupRow<'a> {
    pub(super) group: &'a str,
    pub(super) filter: &'a str,
    /// As in [`SessionRow::born`].
    pub(super) born: u64,
    /// What was said of it; nothing in rows of format 1.
    pub(super) options: Cow<'a, QueueOptions>,
}

impl<'a> GroupRow<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.born);
        put_blob(out, self.group.as_bytes());
        put_blob(out, self.filter.as_bytes());
        options::put(out, &self.options);
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            born: reader.varint()?,
            group: reader.text()?,
            filter: reader.text()?,
            options: Cow::Owned(options::parse(reader)?),
        })
    }
}

const NO_LOCAL: u8 = 0b0100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;
/// A selector follows.
const SELECTS: u8 = 0b1_0000;

/// The options of a subscription; the filter is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubscriptionRow<'a> {
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) id: Option<NonZeroU32>,
    /// Which messages are wanted; everything in rows of format 1.
    pub(super) selector: Option<&'a str>,
}

impl<'a> SubscriptionRow<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let retain_as_published = flag(self.retain_as_published, RETAIN_AS_PUBLISHED);
        let selects = flag(self.selector.is_some(), SELECTS);
        out.push(self.qos.level() | flag(self.no_local, NO_LOCAL) | retain_as_published | selects);
        put_varint(out, self.id.map_or(0, NonZeroU32::get).into());
        if let Some(selector) = self.selector {
            put_blob(out, selector.as_bytes());
        }
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        let options = reader.u8().filter(|options| options >> 5 == 0)?;
        Some(Self {
            qos: Qos::from_level(options & 0b11)?,
            no_local: options & NO_LOCAL != 0,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            id: NonZeroU32::new(u32::try_from(reader.varint()?).ok()?),
            selector: if options & SELECTS == 0 { None } else { Some(reader.text()?) },
        })
    }

    pub(super) fn recovered(self, filter: &str) -> RecoveredSubscription {
        let Self { qos, no_local, retain_as_published, id, selector } = self;
        let (filter, selector) = (filter.into(), selector.map(Into::into));
        RecoveredSubscription { filter, qos, no_local, retain_as_published, id, selector }
    }
}

/// An exchange under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeRow {
    /// The client's message was taken; its packet id is not free yet.
    Inbound,
    /// Our message goes under this packet id.
    Sent {
        /// Rises with every exchange.
        sequence: u64,
        /// Whose message it is.
        owner: u64,
        record: u64,
    },
    /// PUBREC came.
    Received { sequence: u64 },
}

impl ExchangeRow {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Inbound => out.push(0),
            Self::Sent { sequence, owner, record } => {
                out.push(1);
                put_varint(out, sequence);
                put_varint(out, owner);
                put_varint(out, record);
            }
            Self::Received { sequence } => {
                out.push(2);
                put_varint(out, sequence);
            }
        }
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.u8()? {
            0 => Some(Self::Inbound),
            1 => Some(Self::Sent {
                sequence: reader.varint()?,
                owner: reader.varint()?,
                record: reader.varint()?,
            }),
            2 => Some(Self::Received { sequence: reader.varint()? }),
            _ => None,
        }
    }
}

fn topic(text: &str) -> Option<TopicName<'_>> {
    // It was within narrower limits when it was published.
    TopicName::parse(text, &TopicLimits::WIDEST).ok()
}

/// Writes a will.
pub(super) fn put_will(out: &mut Vec<u8>, will: &KeptWill) {
    put_blob(out, will.client_id.as_bytes());
    put_option(out, will.user.as_deref());
    put_varint(out, will.delay_s.into());
    put_varint(out, will.expiry_s.map_or(0, |seconds| u64::from(seconds) + 1));
    put_flags(out, will.message.qos(), will.message.retain(), false);
    put_blob(out, will.message.topic().as_str().as_bytes());
    put_blob(out, will.message.wire_fields());
    out.extend_from_slice(will.message.payload());
}

/// Reads a will.
pub(super) fn parse_will(reader: &mut Reader<'_>) -> Option<KeptWill> {
    let client_id = reader.text()?.into();
    let user = reader.option()?.map(Into::into);
    let delay_s = u32::try_from(reader.varint()?).ok()?;
    let expiry_s = match reader.varint()?.checked_sub(1) {
        None => None,
        Some(seconds) => Some(u32::try_from(seconds).ok()?),
    };
    let (qos, retain, _) = flags(reader)?;
    let topic = topic(reader.text()?)?;
    let fields = Fields::from_validated([reader.blob()?, &[], &[]]);
    let payload = reader.rest();
    let publish =
        Publish { topic, fields, payload, qos, retain, dup: false, packet_id: None, expiry_s: None };
    Some(KeptWill {
        client_id,
        user,
        message: Message::new(&publish, SessionId::NOBODY, 0),
        delay_s,
        expiry_s,
    })
}

/// A topic's retained message; the topic is the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetainedRow<'a> {
    pub(super) version: u64,
    /// Broker time, ms; `u64::MAX` for never.
    pub(super) expires_at: u64,
    qos: Qos,
    retain: bool,
    fields: &'a [u8],
    payload: &'a [u8],
}

impl<'a> RetainedRow<'a> {
    pub(super) fn of(message: &'a Message, version: u64, expires_at: u64) -> Self {
        Self {
            version,
            expires_at,
            qos: message.qos(),
            retain: message.retain(),
            fields: message.wire_fields(),
            payload: message.payload(),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.version);
        put_flags(out, self.qos, self.retain, self.expires_at != u64::MAX);
        if self.expires_at != u64::MAX {
            put_varint(out, self.expires_at);
        }
        put_blob(out, self.fields);
        out.extend_from_slice(self.payload);
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        let version = reader.varint()?;
        let (qos, retain, expires) = flags(reader)?;
        let expires_at = if expires { reader.varint()? } else { u64::MAX };
        Some(Self { version, expires_at, qos, retain, fields: reader.blob()?, payload: reader.rest() })
    }

    /// The message; the store does not know it by a number.
    pub(super) fn restore(&self, key: &[u8], expires_ms: u64) -> Option<Arc<Message>> {
        Some(Message::restore(&Restored {
            topic: topic(std::str::from_utf8(key).ok()?)?,
            fields: self.fields,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            expires_ms,
            record: 0,
        }))
    }
}

/// The keys of [`Table::Meta`].
pub(super) mod meta {
    pub(in super::super) const FORMAT: &[u8] = b"format";
    pub(in super::super) const CLOCK: &[u8] = b"clock";
    pub(in super::super) const MARKS: &[u8] = b"marks";
}

pub(super) fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    put_varint(out, stamp.at);
    put_varint(out, stamp.uptime_ms);
    put_varint(out, stamp.boot_id);
}

pub(super) fn parse_stamp(reader: &mut Reader<'_>) -> Option<Stamp> {
    Some(Stamp { at: reader.varint()?, uptime_ms: reader.varint()?, boot_id: reader.varint()? })
}

/// Numbers above everything that was ever used, so that none is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) session: u64,
    pub(super) record: u64,
    pub(super) version: u64,
}

impl Marks {
    /// Marks are raised by so many numbers at a time, which takes a write of its own.
    pub(super) const STEP: u64 = 1 << 20;

    /// Raises the marks below `used`; whether there were any.
    pub(super) fn raise(&mut self, used: Self) -> bool {
        let mut raised = false;
        let Self { session, record, version } = self;
        for (mark, used) in [(session, used.session), (record, used.record), (version, used.version)] {
            if used > *mark {
                *mark = used.saturating_add(Self::STEP);
                raised = true;
            }
        }
        raised
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.session);
        put_varint(out, self.record);
        put_varint(out, self.version);
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { session: reader.varint()?, record: reader.varint()?, version: reader.varint()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back<T>(put: impl FnOnce(&mut Vec<u8>), parse: impl Fn(&mut Reader<'_>) -> Option<T>) -> T {
        let value = Table::Wills.value(b"k", put);
        // Cut short it is nothing, or at least no panic.
        for len in 0..value.len() {
            parse(&mut Reader::new(&value[..len]));
        }
        Table::Wills.parse(b"k", &value, parse).unwrap()
    }

    #[test]
    fn sessions_and_groups_come_back() {
        for (user, left_at, expiry_s) in
            [(None, None, 0), (Some(""), Some(0), u32::MAX), (Some("u"), Some(7), 1)]
        {
            let row = SessionRow { client_id: "é", user, expiry_s, left_at, born: u64::MAX };
            let value = Table::Sessions.value(b"k", |out| row.put(out));
            assert_eq!(Table::Sessions.parse(b"k", &value, SessionRow::parse), Some(row));
        }
        let options = QueueOptions { durable: Some(true), ..QueueOptions::default() };
        for (group, options) in [("g", QueueOptions::default()), ("", options)] {
            let row = GroupRow { group, filter: "a/#", born: 3, options: Cow::Borrowed(&options) };
            let value = Table::Groups.value(b"k", |out| row.put(out));
            assert_eq!(Table::Groups.parse(b"k", &value, GroupRow::parse), Some(row));
        }
    }

    #[test]
    fn subscriptions_and_exchanges_come_back() {
        for (no_local, retain_as_published) in [(false, false), (false, true), (true, false), (true, true)] {
            for (qos, id) in [(Qos::AtMostOnce, None), (Qos::ExactlyOnce, NonZeroU32::new(u32::MAX))] {
                for selector in [None, Some(""), Some("size > 'é'")] {
                    let row = SubscriptionRow { qos, no_local, retain_as_published, id, selector };
                    let value = Table::Subscriptions.value(b"k", |out| row.put(out));
                    assert_eq!(Table::Subscriptions.parse(b"k", &value, SubscriptionRow::parse), Some(row));
                }
            }
        }
        let sent = ExchangeRow::Sent { sequence: 1, owner: u64::MAX, record: 300 };
        for row in [ExchangeRow::Inbound, sent, ExchangeRow::Received { sequence: 128 }] {
            assert_eq!(back(|out| row.put(out), ExchangeRow::parse), row);
        }
    }

    #[test]
    fn keys_stand_together_by_session_and_come_back() {
        let key = exchange_key(256, Direction::Outbound, 0xfffe);
        assert_eq!(split_exchange_key(&key), Some((256, Direction::Outbound, 0xfffe)));
        assert!(exchange_key(255, Direction::Outbound, u16::MAX) < exchange_key(256, Direction::Inbound, 1));
        let mut wrong = key;
        wrong[8] = 2;
        assert_eq!(split_exchange_key(&wrong), None);
        assert_eq!(split_exchange_key(&key[..10]), None);
        assert_eq!(split_key(&subscription_key(7, "a/é")), Some((7, "a/é".as_bytes())));
    }

    #[test]
    fn marks_are_raised_in_steps() {
        let mut marks = Marks::default();
        let used = Marks { session: 5, ..Marks::default() };
        assert!(marks.raise(used));
        assert_eq!(marks, Marks { session: 5 + Marks::STEP, ..Marks::default() });
        assert!(!marks.raise(Marks { session: 5 + Marks::STEP, ..Marks::default() }));
        assert!(marks.raise(Marks { session: 6 + Marks::STEP, version: u64::MAX, record: 1 }));
        assert_eq!(back(|out| marks.put(out), Marks::parse), marks);
    }
}
