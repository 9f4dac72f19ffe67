//! What clients may do and how much of it: the limits and the one authorisation function.
//!
//! A policy is immutable; a change is a new policy with a higher epoch, handed to every engine as an input.

use std::sync::Arc;

use crate::acl::{Actions, Answer, Explanation, Rights, Rules, Subject, Verdict};
use crate::id::Qos;
use crate::topic::{TopicFilter, TopicLimits, TopicName, reply_topic, split_level};

pub use crate::acl::Identity;

/// What to do when a session's outbound queue, or what waits in a group (a share, a durable subscription, a queue), is
/// full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest waiting message makes room; the default, because a gateway's newest reading is worth most.
    #[default]
    DropOldest,
    /// The message that does not fit is dropped.
    DropNewest,
    /// A publisher at QoS 1 or 2 is told Quota exceeded (0x97) and nobody gets the message; one of MQTT 3 gets no
    /// acknowledgement, and is disconnected after [`Limits::refuse_timeout_ms`]. One of STOMP is not read until a full
    /// queue or group has room, as long as that takes at most; a full session it is told of at once. QoS 0 is dropped.
    Refuse,
    /// The slow consumer is disconnected (0x97); what its session holds stays for its return. A group's backlog has no
    /// one consumer: there the oldest makes room.
    Disconnect,
}

/// How a shared subscription chooses the member for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// Each online member in turn.
    #[default]
    RoundRobin,
    /// The online member with the fewest unacknowledged messages.
    LeastInflight,
    /// Always the same member for the same topic while the membership is unchanged (rendezvous hashing).
    Sticky,
}

/// When a message for somebody who may be away is acknowledged to its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once it is on stable storage, or every durable recipient has acknowledged it.
    #[default]
    Always,
    /// At once; it is on stable storage a stated interval later.
    Interval,
    /// At once; it is kept in memory only, and a retained message likewise.
    Never,
}

/// Which messages are stored, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurabilityRules {
    /// For what nothing more special is said.
    pub default: Durability,
    /// By topic; the first filter that matches decides.
    pub filters: Vec<(TopicFilter, Durability)>,
}

impl DurabilityRules {
    /// What holds for a message to `topic` through a listener with a rule of its own, or without one: the topic decides
    /// over the listener, the listener over the rest.
    #[must_use]
    pub fn of(&self, topic: &TopicName<'_>, listener: Option<Durability>) -> Durability {
        let by_topic = self.filters.iter().find(|(filter, _)| filter.matches(topic));
        by_topic.map(|(_, durability)| *durability).or(listener).unwrap_or(self.default)
    }
}

/// What holds for a queue of which nothing else was said, and the most that may be said: whoever subscribes can ask for
/// less. A durable subscription of STOMP holds as much as a session ([`Limits::max_queued_messages`],
/// [`Limits::max_queued_bytes`], [`Limits::overflow`]), and ends when nobody has consumed from it for
/// [`Limits::max_session_expiry_s`]; the rest is as for queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDefaults {
    /// Queues, durable subscriptions, and shares that stay without members, of the whole broker.
    pub max_queues: usize,
    /// Messages that wait in one.
    pub max_messages: usize,
    /// Bytes that wait in one, payload and book-keeping.
    pub max_bytes: usize,
    /// What a full one does. A queue of dead letters drops the oldest instead, because nobody could be told.
    pub overflow: Overflow,
    /// Deliveries of one message after which it is a dead letter; 0: it never is.
    pub max_deliveries: u32,
    /// How long a consumer may hold a message without acknowledging it, ms; 0: for ever.
    pub ack_deadline_ms: u64,
    /// What the name of the queue that keeps a queue's dead letters begins with.
    pub dead_letter_prefix: Box<str>,
}

impl Default for QueueDefaults {
    fn default() -> Self {
        Self {
            max_queues: 10_000,
            max_messages: 10_000,
            max_bytes: 8 << 20,
            overflow: Overflow::Refuse,
            max_deliveries: 16,
            ack_deadline_ms: 30 * 60 * 1_000,
            dead_letter_prefix: "DLQ.".into(),
        }
    }
}

/// The limits of the core; every one follows from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Topic names and filters.
    pub topic: TopicLimits,
    /// Time from accepting a connection to its complete CONNECT, ms.
    pub connect_timeout_ms: u64,
    /// Sessions of the whole broker that outlive their connections. The others need no limit of their own: there are
    /// never more of them than connections. Each may hold its queue (`max_queued_bytes`), its subscriptions, and a will
    /// as large as the CONNECT that brought it.
    pub max_sessions: usize,
    /// Subscriptions per session.
    pub max_subscriptions: u32,
    /// QoS 1 and 2 messages sent to a client and not yet acknowledged; a client's Receive Maximum may lower it.
    pub max_inflight: u16,
    /// Receive Maximum that we grant: QoS 1 and 2 messages a v5 client may have unacknowledged towards us.
    pub receive_maximum: u16,
    /// Messages waiting for one session.
    pub max_queued_messages: usize,
    /// Bytes waiting for one session, payload and book-keeping.
    pub max_queued_bytes: usize,
    /// Messages of an absent client's queue that are held in memory although the store has them. Without bound for a
    /// store that gives nothing back.
    pub max_held_messages: usize,
    /// The same for a client that is there, and will want them soon.
    pub max_held_messages_online: usize,
    /// Longest keep alive granted, s; a longer one (or none) is answered with Server Keep Alive. 0: no ceiling.
    pub max_keep_alive_s: u16,
    /// Longest session expiry granted, s; `u32::MAX`: sessions may live for ever.
    pub max_session_expiry_s: u32,
    /// How long a 3.x publisher's refused message stays unanswered before the publisher is disconnected, ms.
    pub refuse_timeout_ms: u64,
    /// What a full queue does.
    pub overflow: Overflow,
    /// How `$share` groups choose.
    pub share_strategy: ShareStrategy,
    /// What holds for queues.
    pub queues: QueueDefaults,
    /// Highest QoS granted and accepted.
    pub max_qos: Qos,
    /// Whether retained messages are served.
    pub retain_available: bool,
}

impl Default for Limits {
    /// The configuration's defaults; a test in the shell keeps the two equal.
    fn default() -> Self {
        Self {
            topic: TopicLimits { max_bytes: 1024, max_levels: 64 },
            connect_timeout_ms: 10_000,
            max_sessions: 20_000,
            max_subscriptions: 10_000,
            max_inflight: 256,
            receive_maximum: 128,
            max_queued_messages: 10_000,
            max_queued_bytes: 8 << 20,
            max_held_messages: usize::MAX,
            max_held_messages_online: usize::MAX,
            max_keep_alive_s: 3_600,
            max_session_expiry_s: 7 * 86_400,
            refuse_timeout_ms: 5_000,
            overflow: Overflow::default(),
            share_strategy: ShareStrategy::default(),
            queues: QueueDefaults::default(),
            max_qos: Qos::ExactlyOnce,
            retain_available: true,
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// To publish, live or as a will.
    Publish {
        /// The topic.
        topic: &'a str,
        /// At which QoS.
        qos: Qos,
        /// Whether the message is to be retained, or to clear what is.
        retain: bool,
    },
    /// To subscribe to a filter, without its group; a queue is the filter `$queue/name`.
    Subscribe(&'a TopicFilter),
    /// To be delivered a message of a topic.
    Receive(&'a str),
    /// To say what is to hold for a queue or share, or to end it; by its filter.
    Manage(&'a TopicFilter),
}

/// Limits and rights in force.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Rises with every change; a cached verdict belongs to one epoch.
    pub epoch: u64,
    /// The limits.
    pub limits: Limits,
    /// What is stored.
    pub durability: DurabilityRules,
    /// Who may do what. `None`: nobody is authenticated and no rule is given, so everything may be done but what is the
    /// broker's own.
    pub rules: Option<Arc<Rules>>,
}

/// First levels that are the broker's own: no client publishes there as to a plain topic. To `$queue/name` it does, which
/// is how messages come into a queue. `$reply` is not among them: Response Information gives each client a topic there,
/// and answers are published to it (MQTT 5, section 4.10).
const RESERVED: [&str; 4] = ["$SYS", "$share", "$queue", "$stream"];

/// Whether a topic is the broker's own to publish to.
pub(crate) fn is_reserved(topic: &str) -> bool {
    // Nearly no topic begins so: the first byte settles it, on a path that every message takes.
    topic.starts_with('$')
        && RESERVED.contains(&split_level(topic).0)
        && topic.strip_prefix("$queue/").is_none_or(str::is_empty)
}

/// Whether a filter can match nothing but what is the client's own to have answers sent to; see [`reply_topic`].
pub(crate) fn is_own_reply(filter: &str, client_id: &str) -> bool {
    // Nearly none is below `$reply`.
    filter.starts_with("$reply/") && {
        let own = reply_topic(client_id);
        filter.strip_prefix(&*own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Policy {
    /// The one authorisation function, asked at every entrance and every exit. `rights`: those of `who` under this policy
    /// ([`crate::acl::Shapes::rights_of`]), `None` for all that there are.
    ///
    /// [`Answer::UpTo`] says to which QoS: of what is published the question names it, so that the answer is final; of a
    /// subscription it is the most to be granted, of a delivery the most to be delivered at. It is never above
    /// [`Limits::max_qos`].
    #[must_use]
    pub fn allows(&self, rights: Option<&Rights>, who: Identity<'_>, action: Action<'_>) -> Answer {
        self.allows_by(who, action, |asked, subject| match rights {
            None => Answer::FREE,
            Some(rights) => rights.ask(who, asked, subject),
        })
    }

    /// As [`Self::allows`] where there are no rules: every message passes here.
    #[inline]
    pub(crate) fn without_rules(&self, action: Action<'_>) -> Answer {
        match action {
            Action::Publish { topic, .. } if is_reserved(topic) => Answer::Denied,
            _ => Answer::UpTo(self.limits.max_qos),
        }
    }

    /// As [`Self::allows`]; `ask` knows the rights, and perhaps the verdict already.
    pub(crate) fn allows_by(
        &self,
        who: Identity<'_>,
        action: Action<'_>,
        mut ask: impl FnMut(Actions, Subject<'_>) -> Answer,
    ) -> Answer {
        let answer = match action {
            Action::Publish { topic, .. } if is_reserved(topic) => Answer::Denied,
            Action::Publish { topic, qos, retain } => {
                let publish = ask(Actions::PUBLISH, Subject::Topic(topic));
                let may = publish.admits(qos)
                    && (!retain || ask(Actions::RETAIN, Subject::Topic(topic)).is_allowed());
                if may { publish } else { Answer::Denied }
            }
            // What the broker itself has told a client to have answers sent to needs no rule.
            Action::Subscribe(filter) if is_own_reply(filter.as_str(), who.client_id) => Answer::FREE,
            Action::Receive(topic) if is_own_reply(topic, who.client_id) => Answer::FREE,
            Action::Subscribe(filter) => ask(Actions::SUBSCRIBE, Subject::AnyOf(filter)),
            Action::Receive(topic) => ask(Actions::SUBSCRIBE, Subject::Topic(topic)),
            Action::Manage(filter) => ask(Actions::MANAGE, Subject::AnyOf(filter)),
        };
        answer.min(Answer::UpTo(self.limits.max_qos))
    }

    /// Why [`Self::allows`] answers as it does, in words; of a client without a token.
    #[must_use]
    pub fn explain(&self, who: Identity<'_>, action: Action<'_>) -> Explanation {
        let broker =
            |verdict, why: &str| Explanation { verdict, rule: None, why: why.into(), passed: Vec::new() };
        let own_reply =
            || broker(Verdict::Allow, "the broker has given the client this topic to have answers sent to");
        match (action, &self.rules) {
            (Action::Publish { topic, .. }, _) if is_reserved(topic) => {
                broker(Verdict::Deny, "the topic is the broker's own: nobody publishes there")
            }
            (Action::Subscribe(filter), _) if is_own_reply(filter.as_str(), who.client_id) => own_reply(),
            (Action::Receive(topic), _) if is_own_reply(topic, who.client_id) => own_reply(),
            (_, None) => broker(Verdict::Allow, "there are no rules, and nobody is authenticated"),
            (action, Some(rules)) => rules.explain(who, action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_decides_over_the_listener_and_the_listener_over_the_rest() {
        let filter = |text| TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap();
        let filters = vec![(filter("log/#"), Durability::Never), (filter("#"), Durability::Interval)];
        let rules = DurabilityRules { default: Durability::Always, filters };
        let topic = TopicName::from_validated;
        assert_eq!(
            rules.of(&topic("log/a"), Some(Durability::Always)),
            Durability::Never,
            "the first that matches"
        );
        assert_eq!(rules.of(&topic("a"), Some(Durability::Always)), Durability::Interval);
        assert_eq!(
            rules.of(&topic("$a"), Some(Durability::Never)),
            Durability::Never,
            "a # does not match it"
        );
        assert_eq!(rules.of(&topic("$a"), None), Durability::Always);
    }

    #[test]
    fn nobody_publishes_to_the_brokers_own_topics() {
        let policy = Policy::default();
        let who = Identity::anonymous("c");
        let publish = |topic| {
            let action = Action::Publish { topic, qos: Qos::AtMostOnce, retain: false };
            policy.allows(None, who, action).is_allowed()
        };
        for topic in ["$SYS", "$SYS/broker/version", "$share/g/t", "$queue", "$queue/", "$stream/s"] {
            assert!(!publish(topic), "{topic}");
        }
        for topic in ["$SYSTEM/x", "a/$SYS", "a", "$app/x", "$reply/asker", "$queue/q", "$queue/a/b"] {
            assert!(publish(topic), "{topic}");
        }
        let all = TopicFilter::parse("$SYS/#", &TopicLimits::WIDEST).unwrap();
        assert!(policy.allows(None, who, Action::Subscribe(&all)).is_allowed());
    }
}
