//! Dead letters: what becomes of a message that leaves its queue without having been consumed; and messages that an operator
//! moves to another queue, which are published anew likewise.

use std::sync::Arc;

use super::Engine;
use super::origin::Origin;
use super::publish::{acknowledged, recipients};
use super::queues::{GroupKind, QUEUE_PREFIX, queue_name};
use crate::effects::{DropReason, Effect, Effects};
use crate::group::{Death, FIRST_DEATH, Gone};
use crate::id::{Now, Qos, SessionId};
use crate::message::{Field, Fields, Message, Publish, field};
use crate::policy::{Durability, Overflow, is_reserved};
use crate::store::{SessionNumber, StoreOp, Ticket};
use crate::topic::{TopicLimits, TopicName};
use crate::trie::GroupKey;

/// Where the message was sent to.
pub(super) const ORIGINAL_DESTINATION: &str = "original-destination";

/// How often it was delivered in vain.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// How often in a row it died without anybody having looked at it: of age, or because there was no room.
pub(super) const HOPS: &str = "x-death-hops";

/// Deaths in a row that nobody has looked at, after which the message is gone: queues that send their dead letters to
/// each other would do so for ever.
const MAX_HOPS: u32 = 8;

/// A message that is to be published anew.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) topic: Box<str>,
    pub(super) gone: Gone,
    /// What it died of; `None`: it is moved, and begins anew.
    pub(super) death: Option<Death>,
    pub(super) hops: u32,
    /// For whom the store keeps it so far.
    pub(super) owner: Option<SessionNumber>,
}

impl Engine {
    /// A message leaves its group without having been consumed: a dead letter, or nobody's.
    pub(super) fn bury(&mut self, now: Now, slot: u32, gone: Gone, death: Death, fx: &mut Effects) {
        let Some(home) = self.groups.get(slot as usize) else { return };
        let key = Arc::clone(&home.key);
        let is_share = home.kind == GroupKind::Share;
        let hops = match death {
            Death::Expired | Death::Overflow => hops_of(&gone.message).saturating_add(1),
            Death::Rejected | Death::DeliveryLimit => 0,
        };
        let topic = if is_share { None } else { self.dead_letter_topic(slot, death) };
        match topic.filter(|_| hops <= MAX_HOPS) {
            Some(topic) => {
                let owner = home.number.filter(|_| gone.message.record() != 0);
                self.letters.push_back(Letter { topic, gone, death: Some(death), hops, owner });
            }
            None => {
                let reason = match death {
                    Death::Expired => DropReason::Expired,
                    Death::Overflow => DropReason::QueueFull,
                    Death::Rejected if is_share => DropReason::RefusedByClient,
                    Death::Rejected | Death::DeliveryLimit => DropReason::DeadLetterLost,
                };
                self.count_drop(now, reason, &key.filter, fx);
                self.group_settled(slot, gone.message.record(), fx);
            }
        }
    }

    /// Where a group's dead letters of this kind go.
    fn dead_letter_topic(&self, slot: u32, death: Death) -> Option<Box<str>> {
        let home = self.groups.get(slot as usize)?;
        let prefix = &*self.policy.limits.queues.dead_letter_prefix;
        let name = queue_name(&home.key);
        // Where dead letters end is no beginning of others.
        if name.is_some_and(|name| name.starts_with(prefix)) {
            return None;
        }
        match &home.options.dead_letter {
            Some(topic) => is_allowed(topic).then(|| topic.clone()),
            None if matches!(death, Death::Expired | Death::Overflow) => None,
            None => name.map(|name| format!("{QUEUE_PREFIX}{prefix}{name}").into()),
        }
    }

    /// Publishes the next dead letter; false if there is none. They take their turn here, because each may fill another
    /// queue and so lead to more of the like.
    pub(super) fn publish_next_letter(&mut self, now: Now, fx: &mut Effects) -> bool {
        let Some(letter) = self.letters.pop_front() else { return false };
        self.publish_dead_letter(now, &letter, fx);
        true
    }

    /// Publishes a dead letter: at once for the store, which forgets the old message as it takes the new one.
    pub(super) fn publish_dead_letter(&mut self, now: Now, letter: &Letter, fx: &mut Effects) {
        let topic = TopicName::from_validated(&letter.topic);
        let old = &letter.gone.message;
        if topic.is_queue() {
            let key = Arc::new(GroupKey { group: Box::default(), filter: letter.topic.clone() });
            if self.ensure_queue(&key, fx).is_err() {
                return self.lose_letter(now, letter, fx);
            }
        }
        let set = Arc::clone(self.cache.lookup(&self.shared.tree, topic));
        // Nobody is behind it who could be told to wait.
        let refuses = self.policy.limits.overflow == Overflow::Refuse && old.qos() > Qos::AtMostOnce;
        if self.shared.lines.any_full(set.groups())
            || refuses && self.shared.any_congested(set.targets().iter().map(|target| target.session))
        {
            return self.lose_letter(now, letter, fx);
        }
        let durability = self.policy.durability.of(&topic, None);
        let stores = old.qos() > Qos::AtMostOnce && durability != Durability::Never;
        let record = if stores && set.has_durable(SessionId::NOBODY) { self.shared.next_record() } else { 0 };
        let message = make_letter(letter, record);
        let mut ops = Vec::with_capacity(2);
        let recipients = recipients(&message, &set);
        if !recipients.is_empty() {
            let message = Arc::clone(&message);
            ops.push(StoreOp::Publish { message, recipients, retained: None, inbound: None });
        }
        if let Some(session) = letter.owner {
            ops.push(StoreOp::Acknowledged { session, record: old.record() });
        }
        let op = if ops.len() > 1 { Some(StoreOp::Transaction(ops.into())) } else { ops.pop() };
        fx.list.extend(op.map(|op| Effect::Store(Ticket::NONE, op)));
        self.stats.dead_letters += u64::from(letter.death.is_some());
        let origin = Origin { durability, ..Origin::UNHELD };
        if self.must_park(&set) {
            self.park(message, origin, Some(set), fx);
        } else {
            self.send_held(now, message, &set, origin, fx);
        }
    }

    fn lose_letter(&mut self, now: Now, letter: &Letter, fx: &mut Effects) {
        self.count_drop(now, DropReason::DeadLetterLost, &letter.topic, fx);
        if let Some(owner) = letter.owner {
            acknowledged(owner, letter.gone.message.record(), fx);
        }
    }
}

/// Whether dead letters may be sent there. An empty topic says that they are not wanted; who may name which others was
/// asked of whoever named it, but nobody names what is the broker's own.
fn is_allowed(topic: &str) -> bool {
    TopicName::parse(topic, &TopicLimits::WIDEST).is_ok() && !is_reserved(topic)
}

fn hops_of(message: &Message) -> u32 {
    let hops = message.fields().iter().find_map(|field| match field {
        Field::UserProperty(HOPS, hops) => hops.parse().ok(),
        _ => None,
    });
    hops.unwrap_or(0)
}

/// The new message: the old one's body and fields, and what it died of.
fn make_letter(letter: &Letter, record: u64) -> Arc<Message> {
    let old = &letter.gone.message;
    let mut fields = Vec::with_capacity(old.wire_fields().len() + 160);
    let (mut has_destination, mut has_reason) = (false, false);
    for field in old.fields().iter() {
        match field {
            Field::UserProperty(DELIVERY_COUNT | HOPS, _) => continue,
            Field::UserProperty(ORIGINAL_DESTINATION | FIRST_DEATH, _) if letter.death.is_none() => continue,
            Field::UserProperty(ORIGINAL_DESTINATION, _) => has_destination = true,
            Field::UserProperty(FIRST_DEATH, _) => has_reason = true,
            _ => {}
        }
        put_field(&mut fields, field);
    }
    let mut put = |name, value: &str| put_field(&mut fields, Field::UserProperty(name, value));
    if let Some(death) = letter.death {
        if !has_destination {
            put(ORIGINAL_DESTINATION, old.topic().as_str());
        }
        if !has_reason {
            put(FIRST_DEATH, death.label());
        }
        put(DELIVERY_COUNT, &letter.gone.deliveries.to_string());
        if letter.hops > 0 {
            put(HOPS, &letter.hops.to_string());
        }
    }
    let publish = Publish {
        topic: TopicName::from_validated(&letter.topic),
        fields: Fields::from_validated([&fields, &[], &[]]),
        payload: old.payload(),
        qos: old.qos(),
        retain: false,
        dup: false,
        packet_id: None,
        // Its time was that of the queue it has left.
        expiry_s: None,
    };
    let mut message = Message::new(&publish, SessionId::NOBODY, 0);
    if let Some(own) = Arc::get_mut(&mut message) {
        own.set_record(record);
        if letter.death.is_none() {
            // The same message in another place lives no longer [MQTT-3.3.2-5].
            own.set_expires_ms(old.expires_ms());
        }
    }
    message
}

pub(super) fn put_field(out: &mut Vec<u8>, of: Field<'_>) {
    match of {
        Field::PayloadFormat(format) => out.extend_from_slice(&[field::PAYLOAD_FORMAT, format]),
        Field::ContentType(text) => put_text(out, field::CONTENT_TYPE, &[text.as_bytes()]),
        Field::ResponseTopic(text) => put_text(out, field::RESPONSE_TOPIC, &[text.as_bytes()]),
        Field::CorrelationData(bytes) => put_text(out, field::CORRELATION_DATA, &[bytes]),
        Field::UserProperty(name, value) => {
            put_text(out, field::USER_PROPERTY, &[name.as_bytes(), value.as_bytes()]);
        }
    }
}

/// A field of an identifier and one or two texts. Each came out of such a field, or is as short as a topic: none is
/// longer than its length can say.
fn put_text(out: &mut Vec<u8>, tag: u8, texts: &[&[u8]]) {
    out.push(tag);
    for text in texts {
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(text.get(..usize::from(len)).unwrap_or_default());
    }
}
