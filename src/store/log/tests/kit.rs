//! Messages, operations and clocks for tests, and what they compare.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use noctule_core::group::QueueOptions;
use noctule_core::id::{Qos, SessionId};
use noctule_core::message::{Fields, Message, MessagePool, Publish};
use noctule_core::policy::Overflow;
use noctule_core::store::{
    Exchange, KeptWill, LoadedMessage, Recipient, Recovered, RecoveredGroup, RecoveredSubscription,
    SessionNumber, StoreOp,
};
use noctule_core::topic::TopicName;

use super::super::{Clocks, Committed, Log, Lost, Opened, Options};
use super::disk::Disk;

pub(super) const OPTIONS: Options = Options { cache_bytes: 1 << 20 };

/// A machine whose clocks agree: the wall clock begins at a million, and the process when the machine does.
pub(super) fn at(ms: u64) -> Clocks {
    Clocks { mono_ms: ms, wall_ms: 1_000_000 + ms, uptime_ms: ms, boot_id: 7 }
}

pub(super) fn try_open(disk: &Disk, clock: &Clocks) -> Opened {
    Log::open(disk.clone(), &OPTIONS, clock).unwrap()
}

/// Opens what nothing was lost of.
pub(super) fn open(disk: &Disk, clock: &Clocks) -> (Log, Recovered) {
    let Opened { log, recovered, lost } = try_open(disk, clock);
    assert_eq!(lost, Lost::default());
    (log, recovered)
}

impl Log {
    /// Commits operations that were submitted just now.
    pub(super) fn commit_at(&mut self, ms: u64, ops: Vec<StoreOp>) -> Committed {
        let ops: Vec<_> = ops.into_iter().map(|op| (ms, op)).collect();
        self.commit(&ops, &at(ms)).unwrap()
    }
}

pub(super) fn body(topic: &str, payload: &[u8], qos: Qos, expires_ms: u64, record: u64) -> Arc<Message> {
    let fields = [3, 0, 4, b't', b'e', b'x', b't'];
    let publish = Publish {
        topic: TopicName::from_validated(topic),
        fields: Fields::from_validated([&fields, &[], &[]]),
        payload,
        qos,
        retain: false,
        dup: false,
        packet_id: None,
        expiry_s: None,
    };
    let message = Message::new(&publish, SessionId::NOBODY, 0);
    Message::restore(&noctule_core::message::Restored {
        topic: message.topic(),
        fields: message.wire_fields(),
        payload,
        qos,
        retain: record.is_multiple_of(3),
        expires_ms,
        record,
    })
}

/// A message at QoS 1 that never expires, told apart by its number.
pub(super) fn message(record: u64) -> Arc<Message> {
    let payload = format!("payload {record}");
    body("sensors/one", payload.as_bytes(), Qos::AtLeastOnce, u64::MAX, record)
}

pub(super) fn recipient(session: u64) -> Recipient {
    Recipient {
        session: SessionNumber(session),
        qos: Qos::AtLeastOnce,
        retain: session.is_multiple_of(2),
        subscription_ids: (session.is_multiple_of(3))
            .then(|| [NonZeroU32::new(session as u32 + 1).unwrap()].into()),
    }
}

pub(super) fn publish(message: Arc<Message>, sessions: &[u64]) -> StoreOp {
    let recipients = sessions.iter().map(|&session| recipient(session)).collect();
    StoreOp::Publish { message, recipients, retained: None, inbound: None }
}

pub(super) fn retain(topic: &str, payload: &[u8], version: u64) -> StoreOp {
    let message = body(topic, payload, Qos::AtLeastOnce, u64::MAX, 0);
    StoreOp::Publish { message, recipients: Box::default(), retained: Some(version), inbound: None }
}

pub(super) fn acknowledged(session: u64, record: u64) -> StoreOp {
    StoreOp::Acknowledged { session: SessionNumber(session), record }
}

pub(super) fn kept(session: u64, expiry_s: u32) -> StoreOp {
    let user = (session.is_multiple_of(2)).then(|| "user".into());
    StoreOp::SessionKept {
        session: SessionNumber(session),
        client_id: format!("client {session}").into(),
        user,
        expiry_s,
    }
}

pub(super) fn presence(session: u64, online: bool) -> StoreOp {
    StoreOp::Presence { session: SessionNumber(session), online }
}

pub(super) fn ended(session: u64, records: &[u64]) -> StoreOp {
    StoreOp::SessionEnded { session: SessionNumber(session), records: records.into() }
}

pub(super) fn subscribed(session: u64, filter: &str, qos: Qos) -> StoreOp {
    StoreOp::Subscribed {
        session: SessionNumber(session),
        filter: filter.into(),
        qos,
        flags: (session.is_multiple_of(2), session.is_multiple_of(3)),
        subscription_id: session as u32 % 4,
        selector: (session.is_multiple_of(2)).then(|| format!("size > {session}").into()),
    }
}

pub(super) fn sent(session: u64, owner: u64, record: u64, packet_id: u16) -> StoreOp {
    StoreOp::OutboundSent { session: SessionNumber(session), owner: SessionNumber(owner), record, packet_id }
}

pub(super) fn received(session: u64, owner: u64, record: u64, packet_id: u16) -> StoreOp {
    StoreOp::OutboundReceived {
        session: SessionNumber(session),
        owner: SessionNumber(owner),
        record,
        packet_id,
    }
}

pub(super) fn completed(session: u64, packet_id: u16) -> StoreOp {
    StoreOp::OutboundCompleted { session: SessionNumber(session), packet_id }
}

pub(super) fn will(session: u64, delay_s: u32) -> KeptWill {
    KeptWill {
        client_id: format!("client {session}").into(),
        user: (session.is_multiple_of(2)).then(|| "user".into()),
        message: body("wills/one", b"gone", Qos::ExactlyOnce, u64::MAX, 0),
        delay_s,
        expiry_s: (session.is_multiple_of(3)).then_some(60),
    }
}

pub(super) fn will_kept(session: u64, delay_s: u32) -> StoreOp {
    StoreOp::WillKept { session: SessionNumber(session), will: Box::new(will(session, delay_s)) }
}

pub(super) fn options(number: u64) -> QueueOptions {
    QueueOptions {
        message_ttl_ms: (number.is_multiple_of(2)).then_some(number * 1_000),
        overflow: (number.is_multiple_of(3)).then_some(Overflow::Refuse),
        dead_letter: (number.is_multiple_of(3)).then(|| "$queue/dead".into()),
        max_deliveries: (number.is_multiple_of(5)).then_some(number as u32),
        durable: (number.is_multiple_of(4)).then_some(true),
        selector: (number.is_multiple_of(5)).then(|| "size > 2".into()),
        ..QueueOptions::default()
    }
}

pub(super) fn group(session: u64) -> StoreOp {
    group_with(session, options(session))
}

pub(super) fn group_with(session: u64, options: QueueOptions) -> StoreOp {
    StoreOp::GroupKept {
        session: SessionNumber(session),
        group: format!("group {session}").into(),
        filter: "a/#".into(),
        options: Box::new(options),
    }
}

pub(super) fn released(session: u64, record: u64, deliveries: u32) -> StoreOp {
    StoreOp::Released { session: SessionNumber(session), record, deliveries }
}

pub(super) fn together(parts: Vec<StoreOp>) -> StoreOp {
    StoreOp::Transaction(parts.into())
}

/// All that a message tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    pub(super) topic: String,
    pub(super) fields: Vec<u8>,
    /// Length and checksum: a failure is to be read.
    pub(super) payload: (usize, u32),
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) expires_ms: u64,
    pub(super) record: u64,
}

pub(super) fn told(message: &Message) -> Told {
    Told {
        topic: message.topic().as_str().to_owned(),
        fields: message.wire_fields().to_vec(),
        payload: (message.payload().len(), crc32fast::hash(message.payload())),
        qos: message.qos(),
        retain: message.retain(),
        expires_ms: message.expires_ms(),
        record: message.record(),
    }
}

pub(super) type Ids = Option<Arc<[NonZeroU32]>>;

/// A message of a session's queue or exchange, with what was loaded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) ids: Ids,
    pub(super) message: Told,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WillSeen {
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    pub(super) message: Told,
    pub(super) delay_s: u32,
    pub(super) expiry_s: Option<u32>,
}

pub(super) fn will_seen(will: &KeptWill) -> WillSeen {
    WillSeen {
        client_id: will.client_id.to_string(),
        user: will.user.as_deref().map(str::to_owned),
        message: told(&will.message),
        delay_s: will.delay_s,
        expiry_s: will.expiry_s,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionSeen {
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    pub(super) expiry_s: u32,
    pub(super) expires_ms: u64,
    pub(super) will: Option<(WillSeen, u64)>,
    pub(super) subscriptions: Vec<RecoveredSubscription>,
    pub(super) queue: Vec<Delivery>,
    /// Packet id, and owner and message of what has to be sent.
    pub(super) outbound: Vec<(u16, Option<(u64, Delivery)>)>,
    pub(super) inbound: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupSeen {
    pub(super) group: String,
    pub(super) filter: String,
    pub(super) options: QueueOptions,
    /// Each with the number of its deliveries.
    pub(super) queue: Vec<(Told, u32)>,
}

/// Everything that a restart finds, in a form that can be compared; the queues' messages are loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) sessions: BTreeMap<u64, SessionSeen>,
    pub(super) groups: BTreeMap<u64, GroupSeen>,
    pub(super) wills: BTreeMap<u64, WillSeen>,
    pub(super) retained: BTreeMap<String, (u64, Told)>,
}

/// Looks at all that was recovered, and loads the queues' messages.
pub(super) fn seen(log: &Log, recovered: Recovered) -> Seen {
    let mut seen = Seen::default();
    for session in recovered.sessions {
        let records: Vec<_> = session.queue.iter().map(|stub| stub.record).collect();
        let loaded = log.load(session.number, &records, &mut None, &mut MessagePool::default()).unwrap();
        let queue = session.queue.iter().zip(loaded).map(|(stub, (record, loaded))| {
            assert_eq!(stub.record, record);
            let LoadedMessage { message, subscription_ids } = loaded.unwrap();
            let entry = noctule_core::queue::Entry {
                message: Arc::clone(&message),
                extra: None,
                qos: stub.qos,
                retain: stub.retain,
                stored: true,
            };
            assert_eq!(stub.cost as usize, entry.cost(), "as in memory");
            Delivery { qos: stub.qos, retain: stub.retain, ids: subscription_ids, message: told(&message) }
        });
        let queue = queue.collect();
        let outbound = session.outbound.into_iter().map(|(packet_id, exchange)| match exchange {
            Exchange::Received => (packet_id.get(), None),
            Exchange::Sent { loaded, owner, qos, retain } => {
                let delivery =
                    Delivery { qos, retain, ids: loaded.subscription_ids, message: told(&loaded.message) };
                (packet_id.get(), Some((owner.0, delivery)))
            }
        });
        let session_seen = SessionSeen {
            client_id: session.client_id.into(),
            user: session.user.map(Into::into),
            expiry_s: session.expiry_s,
            expires_ms: session.expires_ms,
            will: session.will.map(|(will, due_ms)| (will_seen(&will), due_ms)),
            subscriptions: session.subscriptions,
            queue,
            outbound: outbound.collect(),
            inbound: session.inbound.into_iter().map(std::num::NonZero::get).collect(),
        };
        assert!(seen.sessions.insert(session.number.0, session_seen).is_none());
    }
    for group in recovered.groups {
        let RecoveredGroup { number, group, filter, options, queue } = group;
        let queue = queue.iter().map(|(message, deliveries)| (told(message), *deliveries)).collect();
        let group_seen = GroupSeen { group: group.into(), filter: filter.into(), options, queue };
        assert!(seen.groups.insert(number.0, group_seen).is_none());
    }
    for one in recovered.wills {
        seen.wills.insert(one.number.0, will_seen(&one.will));
    }
    for (version, message) in recovered.retained {
        seen.retained.insert(message.topic().as_str().to_owned(), (version, told(&message)));
    }
    seen
}

/// What a session's queue holds, by record.
pub(super) fn queue_of(recovered: &Recovered, session: u64) -> Vec<u64> {
    let found = recovered.sessions.iter().find(|found| found.number.0 == session);
    found.map(|found| found.queue.iter().map(|stub| stub.record).collect()).unwrap_or_default()
}

/// Compares part by part, so that a failure can be read.
pub(super) fn assert_same(found: &Seen, expected: &Seen, when: &str) {
    for (number, session) in &expected.sessions {
        assert_eq!(found.sessions.get(number), Some(session), "{when}: session {number}");
    }
    for (number, group) in &expected.groups {
        assert_eq!(found.groups.get(number), Some(group), "{when}: group {number}");
    }
    assert_eq!(found.wills, expected.wills, "{when}");
    assert_eq!(found.retained, expected.retained, "{when}");
    assert_eq!(found, expected, "{when}");
}
