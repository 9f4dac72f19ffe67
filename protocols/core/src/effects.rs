//! What goes into an engine and what comes out of it.
//!
//! The shell (or the simulation) hands in [`Input`]s and carries out [`Effect`]s in order. Connections pull their
//! deliveries themselves (see [`crate::engine::Engine::pull`]); an effect only says which have something to pull.

use core::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use crate::acl::Rules;
use crate::consumer::{Beats, ConsumerId, Receipt, Request};
use crate::delivery::AckKind;
use crate::group::{Lease, Member, Outcome, QueueOptions};
use crate::id::{ConnId, Qos, SessionId, WorkerId};
use crate::matches::MatchSet;
use crate::message::{Message, Publish};
use crate::policy::Durability;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::selector::Selector;
use crate::store::{LoadRequest, SessionNumber, StoreEvent, StoreOp, Ticket};
use crate::trie::GroupKey;

/// A client asks for its session; it is authenticated already.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    /// Never empty: the shell assigns one where the client gave none.
    pub client_id: &'a str,
    /// Who it is, as authenticated.
    pub user: Option<&'a str>,
    /// What else authentication has found out.
    pub access: Access<'a>,
    /// Whether an old session is discarded.
    pub clean_start: bool,
    /// Session Expiry Interval asked for, s. MQTT 3: 0 for a clean session, else `u32::MAX`.
    pub expiry_s: u32,
    /// Receive Maximum of the client; 65,535 where it gave none.
    pub receive_maximum: NonZeroU16,
    /// Keep Alive asked for, s; 0 for none.
    pub keep_alive_s: u16,
    /// Whether the client can be told a Server Keep Alive, reasons and so on (MQTT 5).
    pub is_v5: bool,
    /// Its will.
    pub will: Option<WillRequest<'a>>,
    /// What its listener says of the durability of what it publishes; `None` to do as the whole broker does.
    pub durability: Option<Durability>,
    /// Present for a connection of STOMP: its session has no name by which another connection could find it.
    pub beats: Option<Beats>,
}

/// What decides, besides its user and client id, what a client may do, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Access<'a> {
    /// The groups that its user is in.
    pub groups: &'a [Arc<str>],
    /// Its network address; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The rules of its token: asked before those of the policy, which decide what these don't.
    pub rules: Option<Arc<Rules>>,
    /// When its token expires, ms since the Unix epoch: the connection ends then.
    pub expires_ms: Option<u64>,
}

/// A will as asked for in CONNECT.
#[derive(Clone, Debug)]
pub struct WillRequest<'a> {
    /// The message, its expiry counted from its publication.
    pub publish: Publish<'a>,
    /// Will Delay Interval, s.
    pub delay_s: u32,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct FilterRequest<'a> {
    /// As the client wrote it, `$share/…` included.
    pub filter: &'a str,
    /// Maximum QoS.
    pub qos: Qos,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published; true for MQTT 3 bridges never, for MQTT 3 clients false.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (MQTT 5, section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RetainHandling {
    /// At every subscribe.
    #[default]
    Always,
    /// Only if the subscription is new.
    IfNew,
    /// Not at all.
    Never,
}

/// What happens to an engine.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection was accepted; its CONNECT is awaited.
    Opened(ConnId),
    /// Its client asks for a session.
    Connect(ConnId, Connect<'a>),
    /// Its client publishes.
    Publish(ConnId, Publish<'a>),
    /// Its client acknowledges; `failed` for reason codes of 0x80 and above.
    Ack {
        /// The connection.
        conn: ConnId,
        /// Which packet.
        kind: AckKind,
        /// Of which exchange.
        packet_id: NonZeroU16,
        /// Whether its reason code is 0x80 or above.
        failed: bool,
    },
    /// Its client subscribes.
    Subscribe {
        /// The connection.
        conn: ConnId,
        /// To be answered under this id.
        packet_id: NonZeroU16,
        /// Subscription Identifier.
        id: Option<NonZeroU32>,
        /// Which of their messages are wanted, or what is wrong with what was written.
        selector: Option<Result<Arc<Selector>, Box<str>>>,
        /// The filters, in order.
        filters: &'a [FilterRequest<'a>],
    },
    /// Its client unsubscribes.
    Unsubscribe {
        /// The connection.
        conn: ConnId,
        /// To be answered under this id.
        packet_id: NonZeroU16,
        /// The filters, in order.
        filters: &'a [&'a str],
    },
    /// Its client shows that it lives.
    Ping(ConnId),
    /// Its client says good-bye.
    Disconnect {
        /// The connection.
        conn: ConnId,
        /// Whether the will is to be published all the same (reason code 0x04).
        with_will: bool,
        /// A new Session Expiry Interval, s.
        expiry_s: Option<u32>,
    },
    /// A STOMP client asks for something, and for a receipt of it if one is given.
    Request(ConnId, Request<'a>, Option<Receipt>),
    /// Bytes of it have come that are no request yet.
    Heard(ConnId),
    /// The shell has a reason of its own to read nothing more of it for now. The reasons are counted, the engine's among
    /// them: there is one [`Effect::Pause`], and its silence is not held against the client.
    Hold(ConnId),
    /// That reason is no more.
    Release(ConnId),
    /// Its socket takes no more for now; the next pull says that it does again.
    Blocked(ConnId),
    /// The connection is gone.
    Closed(ConnId),
    /// Another engine speaks.
    Peer(WorkerId, PeerMsg),
    /// The store reports.
    Store(StoreEvent),
    /// Time has passed: timers may be due.
    Tick,
    /// The user of a connection is in these groups from now on. Comes before the [`Input::Policy`] with which what follows
    /// from it is found.
    Groups(ConnId, &'a [Arc<str>]),
    /// Limits and rights have changed.
    Policy(Arc<Policy>),
    /// The broker has something to say itself, to whoever subscribes.
    Announce(Publish<'a>),
    /// What waits in a queue or a share whose home this worker is, is not wanted any more.
    Purge {
        /// The group.
        key: &'a GroupKey,
        /// Most messages.
        most: usize,
    },
    /// What waits first in a group whose home this worker is, is to go on in a queue: at most so many messages, and none
    /// for which that has no room.
    Move {
        /// The group.
        from: &'a GroupKey,
        /// The queue's topic, `$queue/NAME`.
        to: &'a str,
        /// Most messages, and most bytes that they are charged with.
        most: (usize, usize),
    },
    /// The broker stops: wills are published now, connections are closed by the shell afterwards.
    Shutdown {
        /// Whether the store gives wills back at the next start: then one that is to be delayed waits for that.
        keeps_wills: bool,
    },
}

/// What engines say to each other.
#[derive(Clone, Debug)]
pub enum PeerMsg {
    /// A message for the receiver's part of the matches.
    Deliver(Arc<Message>, Arc<MatchSet>),
    /// A message for a group whose home the receiver is, and the number under which the store keeps it for the group.
    GroupPublish(Arc<GroupKey>, Arc<Message>, Option<SessionNumber>),
    /// A message chosen for a member whose home the receiver is.
    Lend {
        /// The member.
        session: SessionId,
        /// The message.
        message: Arc<Message>,
        /// Lower of publisher's and subscription's QoS.
        qos: Qos,
        /// RETAIN flag of the delivery.
        retain: bool,
        /// Identifiers to send with it.
        subscription_ids: Option<Arc<[NonZeroU32]>>,
        /// The loan, for QoS 1 and 2.
        lease: Option<Lease>,
        /// The number under which the store keeps it for the group.
        group: Option<SessionNumber>,
        /// How often it was delivered before and came back.
        deliveries: u32,
    },
    /// How a loan ended.
    LeaseEnded(Lease, Outcome),
    /// A session joins a group, or changes its options there; answered by `Joined`.
    Join {
        /// The group.
        key: Arc<GroupKey>,
        /// The member.
        member: Member,
        /// What is to hold for the group from now on, if anything was said of that.
        options: Option<Box<QueueOptions>>,
        /// Echoed.
        ticket: Ticket,
    },
    /// The join is in force, or why not.
    Joined(Ticket, Result<(), JoinError>),
    /// A session wants to see what waits in a queue; answered by `Browsed`.
    Browse {
        /// The queue.
        key: Arc<GroupKey>,
        /// Who wants to see it.
        session: SessionId,
        /// Echoed.
        ticket: Ticket,
    },
    /// What waits in a queue, in order.
    Browsed {
        /// Who wanted to see it.
        session: SessionId,
        /// Echoed.
        ticket: Ticket,
        /// The messages; those with consumers are not among them.
        messages: Vec<Arc<Message>>,
    },
    /// A durable subscription, or a queue, is to end with all that waits there; answered by `Joined`.
    Forget(Arc<GroupKey>, Ticket),
    /// Another consumer has taken over this one's durable subscription: its connection is to end.
    Evict(SessionId),
    /// To a group's home: there may be room for more of those who wait. From it: some of those here are let in.
    Uncongested(Arc<GroupKey>),
    /// A session leaves a group.
    Leave(Arc<GroupKey>, SessionId),
    /// A member's client came or went.
    Presence {
        /// The group.
        key: Arc<GroupKey>,
        /// The member.
        session: SessionId,
        /// Whether it is there.
        online: bool,
        /// Whether its session outlives its connection.
        durable: bool,
    },
    /// So many data messages have been taken in: the sender may send as many again.
    Credit(u32),
}

impl PeerMsg {
    /// Whether it counts against the receiver's mailbox. Control is never held back: without it nothing drains.
    #[must_use]
    pub fn is_data(&self) -> bool {
        matches!(self, Self::Deliver(..) | Self::GroupPublish(..) | Self::Lend { .. })
    }
}

/// Why a session can't be a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// Somebody has it for himself alone, or the new member wants that and is not the only one.
    Exclusive,
    /// There are as many queues as there may be.
    TooMany,
}

/// Reason code of an acknowledgement (MQTT 5, section 2.4); MQTT 3 knows only success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the specification's names")]
pub enum Reason {
    Success = 0x00,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    UnspecifiedError = 0x80,
    ImplementationSpecificError = 0x83,
    NotAuthorized = 0x87,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdNotFound = 0x92,
    QuotaExceeded = 0x97,
}

/// An answer to a client, to be encoded in its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The session is there.
    Connected {
        /// Whether it existed before.
        session_present: bool,
        /// Session Expiry Interval granted, if it differs from what was asked, s.
        expiry_s: Option<u32>,
        /// Keep Alive imposed, if it differs from what was asked, s.
        keep_alive_s: Option<u16>,
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        /// Which.
        kind: AckKind,
        /// Of which exchange.
        packet_id: NonZeroU16,
        /// How it went.
        reason: Reason,
    },
    /// SUBACK.
    Subscribed {
        /// The SUBSCRIBE's.
        packet_id: NonZeroU16,
        /// One per filter: the QoS granted, or why not.
        codes: Box<[Result<Qos, Reason>]>,
        /// What is wrong, in words.
        why: Option<Box<str>>,
    },
    /// UNSUBACK.
    Unsubscribed {
        /// The UNSUBSCRIBE's.
        packet_id: NonZeroU16,
        /// One per filter.
        codes: Box<[Reason]>,
    },
    /// PINGRESP.
    Pong,
    /// What the STOMP client asked for is done.
    Receipt(Receipt),
    /// A consumer is there: messages may follow.
    Consuming(ConsumerId, Option<Receipt>),
    /// The frame that asked for this receipt is at fault for the end of the connection, which follows.
    Refused(Receipt),
    /// All that the STOMP client asked for is done, good-bye: close when it is written.
    Farewell(Option<Receipt>),
    /// A sign of life to a STOMP client.
    Beat,
}

/// Why a message did not reach a session that it was meant for. Each is a counter; none is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// The queue was full and the overflow policy chose it.
    QueueFull,
    /// QoS 0 and the client is away.
    Offline,
    /// Message Expiry Interval ran out.
    Expired,
    /// Larger than the client's Maximum Packet Size [MQTT-3.1.2-24].
    TooLarge,
    /// The session ended before it was sent or acknowledged.
    SessionEnded,
    /// The client's PUBACK or PUBREC said 0x80 or more.
    RefusedByClient,
    /// No member of a shared subscription could take it.
    NoGroupMember,
    /// The publisher has no right to publish it.
    NotAuthorized,
    /// A retained message beyond the limit on count or bytes.
    RetainedFull,
    /// The store could not take it.
    StoreFailed,
    /// The store could not give it back: it was damaged on the disk.
    StoreLost,
    /// The queue has had a message with its `x-dedup-id` already.
    Duplicate,
    /// A dead letter that nobody keeps, or that could not be kept.
    DeadLetterLost,
    /// Its queue, or durable subscription, has ended.
    QueueEnded,
    /// The broker's memory was used up.
    MemoryShort,
    /// An operator has emptied the queue.
    Purged,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::QueueFull,
        Self::Offline,
        Self::Expired,
        Self::TooLarge,
        Self::SessionEnded,
        Self::RefusedByClient,
        Self::NoGroupMember,
        Self::NotAuthorized,
        Self::RetainedFull,
        Self::StoreFailed,
        Self::StoreLost,
        Self::Duplicate,
        Self::DeadLetterLost,
        Self::QueueEnded,
        Self::MemoryShort,
        Self::Purged,
    ];

    /// Counter label and log field.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Offline => "offline",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::SessionEnded => "session_ended",
            Self::RefusedByClient => "refused_by_client",
            Self::NoGroupMember => "no_group_member",
            Self::NotAuthorized => "not_authorized",
            Self::RetainedFull => "retained_full",
            Self::StoreFailed => "store_failed",
            Self::StoreLost => "store_lost",
            Self::Duplicate => "duplicate",
            Self::DeadLetterLost => "dead_letter_lost",
            Self::QueueEnded => "queue_ended",
            Self::MemoryShort => "memory_short",
            Self::Purged => "purged",
        }
    }
}

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client has its session.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The client.
        client_id: Box<str>,
        /// Whether the session existed before.
        session_present: bool,
    },
    /// A client's connection ended.
    Disconnected {
        /// The connection.
        conn: ConnId,
        /// The client.
        client_id: Box<str>,
        /// Whether it said good-bye.
        graceful: bool,
    },
    /// A client's newer connection took the session from the older one.
    TakenOver {
        /// The client.
        client_id: Box<str>,
        /// The older connection.
        old: ConnId,
        /// The newer one.
        new: ConnId,
    },
    /// A session ended with messages still waiting.
    SessionEnded {
        /// The client.
        client_id: Box<str>,
        /// Messages that nobody will receive.
        lost: usize,
    },
    /// Messages were dropped; of each reason one such event a second at most.
    Dropped {
        /// The client of the last of them, or its topic where no client is concerned.
        whose: Box<str>,
        /// Why.
        reason: DropReason,
        /// How many since the last such event.
        count: u64,
    },
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Encode and send an answer.
    Reply(ConnId, Reply),
    /// Tell the peer, flush, close.
    Close(ConnId, Refusal),
    /// Post to another worker's mailbox.
    Peer(WorkerId, PeerMsg),
    /// Hand to the store; before any later [`Effect::Peer`] reaches its worker.
    Store(Ticket, StoreOp),
    /// Ask the store for messages.
    Load(LoadRequest),
    /// Stop reading from a connection: nothing more of it is handed in before [`Effect::Resume`].
    Pause(ConnId),
    /// Read from it again.
    Resume(ConnId),
    /// Write to the log.
    Log(Event),
}

/// Effects in order, and the connections that have something to pull. Reused from turn to turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be carried out in order.
    pub list: Vec<Effect>,
    /// Connections with something to pull; each at most once until it is pulled.
    pub dirty: Vec<ConnId>,
    /// Whether the list closes or pauses a connection, so that it is to be carried out before another packet is read.
    /// Whoever carries it out resets it.
    pub urgent: bool,
}

impl Effects {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.urgent |= matches!(effect, Effect::Close(..) | Effect::Pause(..));
        self.list.push(effect);
    }

    pub(crate) fn reply(&mut self, conn: ConnId, reply: Reply) {
        self.list.push(Effect::Reply(conn, reply));
    }
}

/// One message as it is to be written to a connection.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The message.
    pub message: &'a Arc<Message>,
    /// QoS of this delivery.
    pub qos: Qos,
    /// Whether it may have been delivered before.
    pub dup: bool,
    /// RETAIN flag of this delivery.
    pub retain: bool,
    /// Present exactly when `qos` is above 0.
    pub packet_id: Option<NonZeroU16>,
    /// Identifiers of the subscriptions that matched.
    pub subscription_ids: &'a [NonZeroU32],
    /// Message Expiry Interval that remains, s.
    pub remaining_s: Option<u32>,
    /// Whose delivery it is, on a STOMP connection.
    pub consumer: ConsumerId,
    /// How often the message was delivered before and came back to its queue.
    pub deliveries: u32,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the connection's buffer; encoded length in bytes.
    Written(usize),
    /// The client does not take packets of that size.
    TooLarge,
}

/// The writing end of a connection: the codec over its out buffer.
pub trait Outlet {
    /// Whether the connection's byte budget has room for another packet.
    fn has_room(&self) -> bool;
    /// Encodes a PUBLISH.
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent;
    /// Encodes a PUBREL.
    fn release(&mut self, packet_id: NonZeroU16);
    /// Tells a consumer that browses that it has seen everything.
    fn end_of_browse(&mut self, consumer: ConsumerId);
}
