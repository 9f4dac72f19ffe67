//! The records of a chunk, byte by byte: messages with their recipients, acknowledgements, and numbers of deliveries.
//!
//! `kind u8 · length of the body u32 · body · CRC32 u32`, numbers little endian. The checksum covers the number of the
//! chunk as well, so that no record passes for one of another chunk.

use std::num::NonZeroU32;
use std::sync::Arc;

use noctule_core::id::Qos;
use noctule_core::message::{Message, MessagePool, Restored};
use noctule_core::queue::Stub;
use noctule_core::store::Recipient;
use noctule_core::topic::{TopicLimits, TopicName};

use super::encoding::{Reader, put_blob, put_varint, unzigzag, zigzag};

/// Bytes before a record's body.
const HEAD: usize = 5;

/// Bytes of a record besides its body.
pub(super) const FRAME: usize = HEAD + 4;

const MESSAGE: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const DELIVERED: u8 = 3;

/// Most acknowledgements, or numbers of deliveries, of one record: what a single damaged byte undoes.
const PER_RECORD: usize = 512;

const QOS: u8 = 0b011;
const RETAIN: u8 = 0b100;
/// A message: an expiry follows. A recipient: identifiers follow.
const MORE: u8 = 0b1000;
const UNKNOWN: u8 = 0b1111_0000;
/// A recipient: how often it was delivered follows.
const DELIVERIES: u8 = 0b1_0000;

/// Quality of service, RETAIN flag, and whether something follows, in one byte.
pub(super) fn put_flags(out: &mut Vec<u8>, qos: Qos, retain: bool, more: bool) {
    out.push(join_flags(qos, retain, more));
}

fn join_flags(qos: Qos, retain: bool, more: bool) -> u8 {
    qos.level() | if retain { RETAIN } else { 0 } | if more { MORE } else { 0 }
}

/// The inverse of [`put_flags`].
pub(super) fn flags(reader: &mut Reader<'_>) -> Option<(Qos, bool, bool)> {
    split_flags(reader.u8()?)
}

fn split_flags(flags: u8) -> Option<(Qos, bool, bool)> {
    let qos = Qos::from_level(flags & QOS).filter(|_| flags & UNKNOWN == 0)?;
    Some((qos, flags & RETAIN != 0, flags & MORE != 0))
}

/// A record as it stands in a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record<'a> {
    Message(StoredMessage<'a>),
    Acknowledged(Acknowledged<'a>),
    Delivered(Delivered<'a>),
}

/// What is at a place where a record should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A record of so many bytes.
    Record(Record<'a>, usize),
    /// Something else of so many bytes, if its length can be believed.
    Damaged(usize),
    /// Not even a length.
    Nothing,
}

/// Reads the record that begins with `bytes`, in the chunk with the number `chunk`.
pub(super) fn read(chunk: u64, bytes: &[u8]) -> Found<'_> {
    let framed = || {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let len = usize::try_from(u32::from_le_bytes(reader.array()?)).ok()?;
        let body = reader.bytes(len)?;
        Some((kind, body, u32::from_le_bytes(reader.array()?)))
    };
    let Some((kind, body, crc)) = framed() else { return Found::Nothing };
    let len = body.len() + FRAME;
    let sealed = bytes.get(..len - 4).unwrap_or_default();
    if crc != checksum(chunk, sealed) {
        return Found::Damaged(len);
    }
    let record = match kind {
        MESSAGE => StoredMessage::parse(body).map(Record::Message),
        ACKNOWLEDGED => Acknowledged::parse(body).map(Record::Acknowledged),
        DELIVERED => Delivered::parse(body).map(Record::Delivered),
        _ => None,
    };
    record.map_or(Found::Damaged(len), |record| Found::Record(record, len))
}

fn checksum(chunk: u64, sealed: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&chunk.to_le_bytes());
    crc.update(sealed);
    crc.finalize()
}

/// Puts the checksum into a whole record that has got its place.
pub(super) fn seal(chunk: u64, record: &mut [u8]) {
    if let Some((sealed, crc)) = record.split_last_chunk_mut::<4>() {
        *crc = checksum(chunk, sealed).to_le_bytes();
    }
}

/// Writes a record without its checksum, which needs to know the chunk.
fn frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    body(out);
    // A message is at most a packet, 268,435,455 bytes, and its recipients: a u32 holds that.
    let len = (out.len() - start - HEAD) as u32;
    if let Some(place) = out.get_mut(start + 1..start + HEAD) {
        place.copy_from_slice(&len.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
}

/// A message in a chunk: `record · flags · [expiry] · recipients · topic · fields · payload`.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredMessage<'a> {
    pub(super) record: u64,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// Broker time, ms; `u64::MAX` for never.
    pub(super) expires_at: u64,
    recipients: Reader<'a>,
    pub(super) topic: TopicName<'a>,
    pub(super) fields: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// One recipient: `session · flags · [number of identifiers · identifiers] · [deliveries]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredRecipient<'a> {
    pub(super) session: u64,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    ids: &'a [u8],
    /// So often it was delivered and given back.
    pub(super) deliveries: u32,
}

impl StoredRecipient<'_> {
    /// Its Subscription Identifiers, if there are any.
    pub(super) fn ids(&self) -> Option<Arc<[NonZeroU32]>> {
        let mut reader = Reader::new(self.ids);
        let ids: Arc<[NonZeroU32]> = std::iter::from_fn(|| identifier(&mut reader)).collect();
        (!ids.is_empty()).then_some(ids)
    }
}

fn identifier(reader: &mut Reader<'_>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(reader.varint()?).ok()?)
}

fn recipient<'a>(reader: &mut Reader<'a>) -> Option<StoredRecipient<'a>> {
    let session = reader.varint()?;
    let flags = reader.u8()?;
    let (qos, retain, identified) = split_flags(flags & !DELIVERIES)?;
    let mut ids: &[u8] = &[];
    if identified {
        let count = reader.varint()?;
        let all = reader.rest();
        for _ in 0..count {
            identifier(reader)?;
        }
        ids = all.get(..all.len() - reader.rest().len())?;
    }
    let given_back = flags & DELIVERIES != 0;
    let deliveries = if given_back { u32::try_from(reader.varint()?).ok()? } else { 0 };
    Some(StoredRecipient { session, qos, retain, ids, deliveries })
}

impl<'a> StoredMessage<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let record = reader.varint()?;
        let (qos, retain, expires) = flags(&mut reader)?;
        let expires_at = if expires { reader.varint()? } else { u64::MAX };
        let count = reader.varint()?;
        let all = reader.rest();
        for _ in 0..count {
            recipient(&mut reader)?;
        }
        let recipients = Reader::new(all.get(..all.len() - reader.rest().len())?);
        // It was within narrower limits when it was published.
        let topic = TopicName::parse(reader.text()?, &TopicLimits::WIDEST).ok()?;
        let fields = reader.blob()?;
        let payload = reader.rest();
        Some(Self { record, qos, retain, expires_at, recipients, topic, fields, payload })
    }

    pub(super) fn recipients(&self) -> impl Iterator<Item = StoredRecipient<'a>> + use<'a> {
        let mut reader = self.recipients;
        std::iter::from_fn(move || recipient(&mut reader))
    }

    /// What a queue charges for it, as if it were in memory.
    pub(super) fn cost(&self) -> u32 {
        Stub::cost_of(2 + self.topic.as_str().len() + self.fields.len() + self.payload.len())
    }

    /// The message, given what its expiry is in the process's own time.
    pub(super) fn restore(&self, expires_ms: u64, spare: &mut MessagePool) -> Arc<Message> {
        spare.restore(&Restored {
            topic: self.topic,
            fields: self.fields,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            expires_ms,
            record: self.record,
        })
    }

    /// Writes the message again, for those of its recipients of which `left` knows how often it was delivered.
    pub(super) fn copy(&self, out: &mut Vec<u8>, left: impl Fn(u64) -> Option<u32>) {
        let mut recipients = Vec::new();
        let mut count = 0;
        for kept in self.recipients() {
            let Some(deliveries) = left(kept.session) else { continue };
            count += 1;
            put_recipient(
                &mut recipients,
                kept.session,
                (kept.qos, kept.retain, !kept.ids.is_empty()),
                deliveries,
            );
            if !kept.ids.is_empty() {
                // One byte below 0x80 ends each number.
                put_varint(&mut recipients, kept.ids.iter().filter(|&&byte| byte < 0x80).count() as u64);
                recipients.extend_from_slice(kept.ids);
            }
            put_deliveries(&mut recipients, deliveries);
        }
        frame(out, MESSAGE, |out| {
            put_head(out, self.record, self.qos, self.retain, self.expires_at);
            put_varint(out, count);
            out.extend_from_slice(&recipients);
            put_blob(out, self.topic.as_str().as_bytes());
            put_blob(out, self.fields);
            out.extend_from_slice(self.payload);
        });
    }
}

fn put_head(out: &mut Vec<u8>, record: u64, qos: Qos, retain: bool, expires_at: u64) {
    put_varint(out, record);
    put_flags(out, qos, retain, expires_at != u64::MAX);
    if expires_at != u64::MAX {
        put_varint(out, expires_at);
    }
}

/// Writes the beginning of a recipient; its identifiers follow if the last flag says so, and then its deliveries.
fn put_recipient(
    out: &mut Vec<u8>,
    session: u64,
    (qos, retain, identified): (Qos, bool, bool),
    deliveries: u32,
) {
    put_varint(out, session);
    out.push(join_flags(qos, retain, identified) | if deliveries > 0 { DELIVERIES } else { 0 });
}

fn put_deliveries(out: &mut Vec<u8>, deliveries: u32) {
    if deliveries > 0 {
        put_varint(out, deliveries.into());
    }
}

/// Writes a message for those of its recipients of which `left` knows how often it was delivered.
pub(super) fn put_message(
    out: &mut Vec<u8>,
    message: &Message,
    expires_at: u64,
    recipients: &[Recipient],
    left: impl Fn(u64) -> Option<u32>,
) {
    let recipients = || recipients.iter().filter_map(|one| Some((one, left(one.session.0)?)));
    frame(out, MESSAGE, |out| {
        put_head(out, message.record(), message.qos(), message.retain(), expires_at);
        put_varint(out, recipients().count() as u64);
        for (recipient, deliveries) in recipients() {
            let ids = recipient.subscription_ids.as_deref().unwrap_or_default();
            let flags = (recipient.qos, recipient.retain, !ids.is_empty());
            put_recipient(out, recipient.session.0, flags, deliveries);
            if !ids.is_empty() {
                put_varint(out, ids.len() as u64);
                ids.iter().for_each(|id| put_varint(out, id.get().into()));
            }
            put_deliveries(out, deliveries);
        }
        put_blob(out, message.topic().as_str().as_bytes());
        put_blob(out, message.wire_fields());
        out.extend_from_slice(message.payload());
    });
}

/// Acknowledgements: pairs of record and session, each as the difference from the pair before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged<'a> {
    pairs: Reader<'a>,
}

impl<'a> Acknowledged<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let whole = Self { pairs: Reader::new(body) };
        let mut check = whole.pairs;
        while !check.rest().is_empty() {
            check.varint()?;
            check.varint()?;
        }
        Some(whole)
    }

    /// Record and session of each.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let mut reader = self.pairs;
        let mut before = (0_u64, 0_u64);
        std::iter::from_fn(move || {
            let record = before.0.wrapping_add(reader.varint()?);
            let session = before.1.wrapping_add_signed(unzigzag(reader.varint()?));
            before = (record, session);
            Some(before)
        })
    }
}

/// Writes acknowledgements, which it sorts, as one or several records; calls `done` with the end of each.
pub(super) fn put_acknowledged(out: &mut Vec<u8>, pairs: &mut [(u64, u64)], mut done: impl FnMut(usize)) {
    pairs.sort_unstable();
    for pairs in pairs.chunks(PER_RECORD) {
        frame(out, ACKNOWLEDGED, |out| {
            let mut before = (0_u64, 0_u64);
            for &(record, session) in pairs {
                put_varint(out, record.wrapping_sub(before.0));
                put_varint(out, zigzag(session.wrapping_sub(before.1).cast_signed()));
                before = (record, session);
            }
        });
        done(out.len());
    }
}

/// How often messages were delivered: triples of record, recipient and number; the first two as in [`Acknowledged`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered<'a> {
    triples: Reader<'a>,
}

impl<'a> Delivered<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let whole = Self { triples: Reader::new(body) };
        let mut check = whole.triples;
        while !check.rest().is_empty() {
            check.varint()?;
            check.varint()?;
            u32::try_from(check.varint()?).ok()?;
        }
        Some(whole)
    }

    /// Record, recipient and number of each.
    pub(super) fn triples(&self) -> impl Iterator<Item = (u64, u64, u32)> + use<'a> {
        let mut reader = self.triples;
        let mut before = (0_u64, 0_u64);
        std::iter::from_fn(move || {
            let record = before.0.wrapping_add(reader.varint()?);
            let session = before.1.wrapping_add_signed(unzigzag(reader.varint()?));
            before = (record, session);
            Some((record, session, u32::try_from(reader.varint()?).ok()?))
        })
    }
}

/// Writes numbers of deliveries, which are sorted, as one or several records; calls `done` with the end of each.
pub(super) fn put_delivered(out: &mut Vec<u8>, triples: &[(u64, u64, u32)], mut done: impl FnMut(usize)) {
    for triples in triples.chunks(PER_RECORD) {
        frame(out, DELIVERED, |out| {
            let mut before = (0_u64, 0_u64);
            for &(record, session, deliveries) in triples {
                put_varint(out, record.wrapping_sub(before.0));
                put_varint(out, zigzag(session.wrapping_sub(before.1).cast_signed()));
                put_varint(out, deliveries.into());
                before = (record, session);
            }
        });
        done(out.len());
    }
}

#[cfg(test)]
mod tests {
    use noctule_core::id::SessionId;
    use noctule_core::message::{Fields, Publish};
    use noctule_core::store::SessionNumber;

    use super::*;

    fn message(topic: &str, payload: &[u8]) -> Arc<Message> {
        let publish = Publish {
            topic: TopicName::from_validated(topic),
            fields: Fields::from_validated([&[3, 0, 1, b'x'], &[], &[]]),
            payload,
            qos: Qos::ExactlyOnce,
            retain: true,
            dup: false,
            packet_id: None,
            expiry_s: None,
        };
        let mut message = Message::new(&publish, SessionId::NOBODY, 0);
        Arc::get_mut(&mut message).unwrap().set_record(300);
        message
    }

    fn recipients() -> Vec<Recipient> {
        let ids: Arc<[NonZeroU32]> = [1, 200, u32::MAX].into_iter().filter_map(NonZeroU32::new).collect();
        let plain = |session| Recipient {
            session: SessionNumber(session),
            qos: Qos::AtLeastOnce,
            retain: false,
            subscription_ids: None,
        };
        let identified =
            Recipient { qos: Qos::ExactlyOnce, retain: true, subscription_ids: Some(ids), ..plain(2) };
        vec![plain(1), identified, plain(u64::MAX)]
    }

    fn parsed(chunk: u64, bytes: &[u8]) -> StoredMessage<'_> {
        match read(chunk, bytes) {
            Found::Record(Record::Message(message), len) if len == bytes.len() => message,
            other => panic!("{other:?}"),
        }
    }

    type Told = (u64, Qos, bool, Option<Arc<[NonZeroU32]>>);

    fn told(stored: &StoredMessage<'_>) -> Vec<Told> {
        stored.recipients().map(|one| (one.session, one.qos, one.retain, one.ids())).collect()
    }

    fn as_told(recipients: &[Recipient]) -> Vec<Told> {
        recipients
            .iter()
            .map(|one| (one.session.0, one.qos, one.retain, one.subscription_ids.clone()))
            .collect()
    }

    #[test]
    fn a_message_comes_back_with_the_recipients_that_are_left() {
        let original = message("a/b", b"body");
        for (expires_at, without) in [(u64::MAX, 0), (1_800_000_000_000, 1), (0, 2)] {
            let mut bytes = Vec::new();
            let left = |session| (session != without).then_some(if session == 2 { 300 } else { 0 });
            put_message(&mut bytes, &original, expires_at, &recipients(), left);
            seal(9, &mut bytes);
            let stored = parsed(9, &bytes);
            let left: Vec<_> = recipients().into_iter().filter(|one| one.session.0 != without).collect();
            assert_eq!(told(&stored), as_told(&left));
            let deliveries = |one: StoredRecipient<'_>| (one.deliveries, one.session == 2);
            assert!(
                stored.recipients().map(deliveries).all(|pair| [(300, true), (0, false)].contains(&pair))
            );
            assert_eq!(stored.expires_at, expires_at);
            let back = stored.restore(7, &mut MessagePool::default());
            assert_eq!(back.wire_topic(), original.wire_topic());
            assert_eq!(back.wire_fields(), original.wire_fields());
            assert_eq!(back.payload(), original.payload());
            assert_eq!((back.qos(), back.retain()), (Qos::ExactlyOnce, true));
            assert_eq!((back.record(), back.expires_ms()), (300, 7));
        }
    }

    #[test]
    fn a_copy_is_the_message_for_fewer() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, &message("a/b", b"body"), 5, &recipients(), |_| Some(0));
        seal(1, &mut bytes);
        let mut copy = Vec::new();
        let left = |session| (session != 1).then_some(if session == 2 { 7 } else { 0 });
        parsed(1, &bytes).copy(&mut copy, left);
        seal(2, &mut copy);
        let mut fewer = Vec::new();
        put_message(&mut fewer, &message("a/b", b"body"), 5, &recipients(), left);
        seal(2, &mut fewer);
        assert_eq!(copy, fewer);
    }

    #[test]
    fn a_stub_costs_what_its_message_costs() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, &message("a/b", &[0; 1_000]), 5, &recipients(), |_| Some(0));
        seal(1, &mut bytes);
        let stored = parsed(1, &bytes);
        assert_eq!(
            stored.cost() as usize,
            stored.restore(0, &mut MessagePool::default()).cost() + size_of::<noctule_core::queue::Entry>()
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_so_is_the_wrong_chunk() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, &message("a/b", b"body"), 5, &recipients(), |_| Some(0));
        seal(1, &mut bytes);
        assert!(matches!(read(2, &bytes), Found::Damaged(_)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(1, &damaged), Found::Record(..)), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(matches!(read(1, &bytes[..len]), Found::Nothing));
        }
    }

    #[test]
    fn sealed_nonsense_is_no_record() {
        for body in [&[][..], &[1], &[1, 0xff], &[1, 1, 1, 5], &[1, 1, 0, 1, b'#', 0], &[1, 1, 0, 0, 0]] {
            let mut bytes = Vec::new();
            frame(&mut bytes, MESSAGE, |out| out.extend_from_slice(body));
            seal(1, &mut bytes);
            assert!(matches!(read(1, &bytes), Found::Damaged(_)), "{body:?}");
        }
        let mut bytes = Vec::new();
        frame(&mut bytes, 77, |_| {});
        seal(1, &mut bytes);
        assert!(matches!(read(1, &bytes), Found::Damaged(FRAME)));
    }

    #[test]
    fn acknowledgements_take_a_few_bytes_each() {
        let pair = |at: u64| (1_000_000 + at * 7 % 997, 5_000_000 + at * 31 % 200);
        let mut pairs: Vec<_> = (0..997).map(pair).collect();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        put_acknowledged(&mut bytes, &mut pairs, |end| ends.push(end));
        assert_eq!(ends.len(), 2);
        assert!(bytes.len() < 4 * pairs.len(), "{} bytes", bytes.len());
        let (mut back, mut start) = (Vec::new(), 0);
        for end in ends {
            seal(4, &mut bytes[start..end]);
            let Found::Record(Record::Acknowledged(acks), _) = read(4, &bytes[start..end]) else { panic!() };
            back.extend(acks.pairs());
            start = end;
        }
        assert_eq!(back, pairs);
    }

    #[test]
    fn numbers_of_deliveries_take_a_few_bytes_each_and_come_back() {
        let mut triples: Vec<_> = (0..600).map(|at| (5_000 + at, 7, at as u32 % 16)).collect();
        triples.extend([(u64::MAX, 0, u32::MAX), (u64::MAX, u64::MAX, 1)]);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        put_delivered(&mut bytes, &triples, |end| ends.push(end));
        assert_eq!(ends.len(), 2);
        assert!(bytes.len() < 4 * triples.len(), "{} bytes", bytes.len());
        let (mut back, mut start) = (Vec::new(), 0);
        for end in ends {
            seal(4, &mut bytes[start..end]);
            let Found::Record(Record::Delivered(found), _) = read(4, &bytes[start..end]) else { panic!() };
            back.extend(found.triples());
            start = end;
        }
        assert_eq!(back, triples);
    }

    #[test]
    fn acknowledgements_of_extreme_numbers_come_back() {
        let mut pairs = vec![(u64::MAX, u64::MAX), (0, u64::MAX), (u64::MAX, 0), (0, 0)];
        let mut bytes = Vec::new();
        put_acknowledged(&mut bytes, &mut pairs, |_| {});
        seal(0, &mut bytes);
        let Found::Record(Record::Acknowledged(acks), _) = read(0, &bytes) else { panic!() };
        assert_eq!(acks.pairs().collect::<Vec<_>>(), pairs);
    }
}
