//! One connection's MQTT at the client's end, and the session that outlives it: what to write, what has come, what to
//! do when a connection is lost.
//!
//! Like everything here it does no IO and reads no clock. The shell hands in bytes and the time, writes what collects
//! in [`Client::output`], polls events, and calls [`Client::handle_timeout`] when [`Client::next_wake_ms`] has come.
//!
//! ```
//! use noctule_mqtt::Version;
//! use noctule_mqtt::client::{Client, Event, Options, Outgoing};
//!
//! let mut client = Client::new(Options::new(Version::V311, "attic"));
//! client.connect(0)?;
//! // … write client.output() to a socket, read the server's answer from it:
//! let used = client.handle_bytes(5, b"\x20\x02\x00\x00")?;
//! assert_eq!(used, 4);
//! assert!(matches!(client.poll_event(), Some(Event::Connected(_))));
//! client.publish(6, &Outgoing::new("sensors/attic", "21.5"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alias;
mod error;
mod event;
mod message;
mod options;
mod receive;
mod window;

use std::collections::{BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use noctule_core::id::Qos;

use crate::ack::Ack;
use crate::error::EncodeError;
use crate::farewell::{Auth, Disconnect};
use crate::framing::{Framer, MAX_PACKET};
use crate::packet::encode_pingreq;
use crate::property::UserProperties;
use crate::reason::Reason;
use crate::subscribe::{Filters, Subscribe, Subscription, Subscriptions, Unsubscribe};
use crate::version::{Direction, PacketType};

use crate::alias::Inbound;
use alias::Outbound;
pub use error::{ClientError, RequestError, Verdict};
pub use event::{Event, Welcome};
pub use message::{Message, Outgoing, Properties};
pub use options::{Authentication, Options, Will};
use window::{Slot, Window};

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none, or it is beyond use.
    Idle,
    /// CONNECT has been written.
    Connecting {
        /// When CONNACK or AUTH is overdue, ms.
        overdue_ms: u64,
    },
    /// CONNACK with success has come.
    Connected,
    /// DISCONNECT has been written: nothing more is sent, and what comes is only looked through for bad news.
    Leaving,
}

/// What CONNACK granted, as far as requests depend on it.
#[derive(Clone, Copy, Debug)]
struct Terms {
    keep_alive_ms: u64,
    window: usize,
    maximum_qos: Qos,
    retain_available: bool,
    subscription_ids_available: bool,
}

const NO_TERMS: Terms = Terms {
    keep_alive_ms: 0,
    window: 0,
    maximum_qos: Qos::ExactlyOnce,
    retain_available: true,
    subscription_ids_available: true,
};

/// Bytes for the server, and when they were last added to.
#[derive(Debug, Default)]
struct Output {
    bytes: BytesMut,
    /// Maximum Packet Size of the server [MQTT-3.2.2-15].
    limit: Option<NonZeroU32>,
    written_ms: u64,
}

impl Output {
    /// Writes one packet, or nothing if it is not to be sent.
    fn packet(
        &mut self,
        now_ms: u64,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), RequestError> {
        let start = self.bytes.len();
        encode(&mut self.bytes)?;
        let size = self.bytes.len() - start;
        if let Some(limit) = self.limit.map(NonZeroU32::get).filter(|limit| size > *limit as usize) {
            self.bytes.truncate(start);
            return Err(RequestError::TooLarge { size, limit });
        }
        self.written_ms = now_ms;
        Ok(())
    }
}

/// The client's end of a connection, and its session.
#[derive(Debug)]
pub struct Client {
    options: Options,
    phase: Phase,
    framer: Framer,
    terms: Terms,
    output: Output,
    events: VecDeque<Event>,
    window: Window,
    /// Messages at QoS 2 that have come and are not yet released; kept across connections [MQTT-4.3.3-10].
    received: BTreeSet<NonZeroU16>,
    aliases_in: Inbound,
    aliases_out: Outbound,
    /// When the server was last heard, ms.
    heard_ms: u64,
    /// When PINGREQ was sent, ms, if nothing has come since.
    pinged_ms: Option<u64>,
    /// Whether a re-authentication is under way.
    reauthenticating: bool,
}

impl Client {
    /// A client without a connection.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            framer: Framer::new(options.version, Direction::ToClient, MAX_PACKET),
            options,
            phase: Phase::Idle,
            terms: NO_TERMS,
            output: Output::default(),
            events: VecDeque::new(),
            window: Window::default(),
            received: BTreeSet::new(),
            aliases_in: Inbound::default(),
            aliases_out: Outbound::default(),
            heard_ms: 0,
            pinged_ms: None,
            reauthenticating: false,
        }
    }

    /// What the next connection is to ask for.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// What the connection asked for.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Begins a connection with CONNECT. The session of the one before is kept until CONNACK says otherwise.
    ///
    /// # Errors
    /// When the options cannot be put on the wire.
    pub fn connect(&mut self, now_ms: u64) -> Result<(), EncodeError> {
        self.connection_lost();
        self.output.bytes.clear();
        self.output.limit = None;
        let max_packet = self.options.maximum_packet_size.map_or(MAX_PACKET, NonZeroU32::get);
        self.framer = Framer::new(self.options.version, Direction::ToClient, max_packet);
        self.options.encode(&mut self.output.bytes)?;
        self.output.written_ms = now_ms;
        self.heard_ms = now_ms;
        self.phase = Phase::Connecting { overdue_ms: now_ms + self.options.answer_timeout_ms };
        Ok(())
    }

    /// The transport is gone. Only what belongs to the connection is forgotten; unanswered SUBSCRIBEs are part of it.
    pub fn connection_lost(&mut self) {
        self.phase = Phase::Idle;
        self.reauthenticating = false;
        self.terms = NO_TERMS;
        self.pinged_ms = None;
        self.window.connection_lost();
    }

    /// Whether CONNACK with success has come, and no end since.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Bytes for the server: write them and take away what was written.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output.bytes
    }

    /// The next event, in the order in which things happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Messages at QoS 1 and 2 whose acknowledgement is awaited.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.window.unacknowledged()
    }

    /// Whether a message at QoS 1 or 2 may be published now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.is_connected() && self.window.has_room(self.terms.window)
    }

    /// Publishes. At QoS 1 and 2 the identifier comes back with [`Event::Published`]; at QoS 0 there is none.
    ///
    /// # Errors
    /// When there is no connection, no room ([`Client::has_room`]), or the server takes no such message.
    pub fn publish(&mut self, now_ms: u64, message: &Outgoing) -> Result<Option<NonZeroU16>, RequestError> {
        self.must_be_connected()?;
        if message.qos > self.terms.maximum_qos {
            return Err(RequestError::QosNotSupported { asked: message.qos, most: self.terms.maximum_qos });
        }
        if message.retain && !self.terms.retain_available {
            return Err(RequestError::RetainNotSupported);
        }
        if message.qos == Qos::AtMostOnce {
            return self.write_publish(now_ms, message, None, false).map(|()| None);
        }
        if !self.window.has_room(self.terms.window) {
            return Err(RequestError::WindowFull(self.window.unacknowledged()));
        }
        let id = self.window.next_id().ok_or(RequestError::NoPacketId)?;
        self.write_publish(now_ms, message, Some(id), false)?;
        self.window.sent(id, message.clone());
        Ok(Some(id))
    }

    fn write_publish(
        &mut self,
        now_ms: u64,
        message: &Outgoing,
        packet_id: Option<NonZeroU16>,
        dup: bool,
    ) -> Result<(), RequestError> {
        let mut publish = message.packet();
        publish.packet_id = packet_id;
        publish.dup = dup;
        let alias = self.aliases_out.plan(&message.topic);
        if let Some((alias, known)) = alias {
            publish.topic_alias = Some(alias);
            if known {
                publish.topic = "";
            }
        }
        let version = self.options.version;
        self.output.packet(now_ms, |out| publish.encode(version, out))?;
        if let Some((_, false)) = alias {
            self.aliases_out.sent(&message.topic);
        }
        Ok(())
    }

    /// Subscribes; the answer is [`Event::Subscribed`]. In 3.x only filters and QoS are sent.
    ///
    /// # Errors
    /// When there is no connection, a filter is none, or the server takes no such request.
    pub fn subscribe(
        &mut self,
        now_ms: u64,
        subscriptions: &[Subscription<'_>],
        subscription_id: Option<NonZeroU32>,
        user_properties: &[(&str, &str)],
    ) -> Result<NonZeroU16, RequestError> {
        self.must_be_connected()?;
        if subscription_id.is_some() && !self.terms.subscription_ids_available {
            return Err(RequestError::SubscriptionIdsNotSupported);
        }
        let packet_id = self.window.next_id().ok_or(RequestError::NoPacketId)?;
        let request = Subscribe {
            packet_id,
            subscription_id,
            user_properties: UserProperties::Given(user_properties),
            subscriptions: Subscriptions::Given(subscriptions),
        };
        let version = self.options.version;
        self.output.packet(now_ms, |out| request.encode(version, out))?;
        self.window.put(packet_id, Slot::Subscribe(subscriptions.len()));
        Ok(packet_id)
    }

    /// Unsubscribes; the answer is [`Event::Unsubscribed`].
    ///
    /// # Errors
    /// When there is no connection, or a filter is none.
    pub fn unsubscribe(
        &mut self,
        now_ms: u64,
        filters: &[&str],
        user_properties: &[(&str, &str)],
    ) -> Result<NonZeroU16, RequestError> {
        self.must_be_connected()?;
        let packet_id = self.window.next_id().ok_or(RequestError::NoPacketId)?;
        let request = Unsubscribe {
            packet_id,
            user_properties: UserProperties::Given(user_properties),
            filters: Filters::Given(filters),
        };
        let version = self.options.version;
        self.output.packet(now_ms, |out| request.encode(version, out))?;
        self.window.put(packet_id, Slot::Unsubscribe(filters.len()));
        Ok(packet_id)
    }

    /// Goes on with enhanced authentication after [`Event::Auth`], or begins it anew on a connection that stands
    /// (section 4.12.1).
    ///
    /// # Errors
    /// When there is no connection, or the options name no method.
    pub fn authenticate(&mut self, now_ms: u64, data: Option<&[u8]>) -> Result<(), RequestError> {
        let reason = match &mut self.phase {
            Phase::Connecting { overdue_ms } => {
                *overdue_ms = now_ms + self.options.answer_timeout_ms;
                Reason::CONTINUE_AUTHENTICATION
            }
            Phase::Connected if self.reauthenticating => Reason::CONTINUE_AUTHENTICATION,
            Phase::Connected => Reason::REAUTHENTICATE,
            Phase::Idle | Phase::Leaving => return Err(RequestError::NotConnected),
        };
        let Some(authentication) = &self.options.authentication else {
            return Err(EncodeError::NotAllowed("AUTH without a method").into());
        };
        let auth = Auth::new(reason, &authentication.method, data);
        let version = self.options.version;
        self.output.packet(now_ms, |out| auth.encode(version, Direction::ToServer, out))?;
        self.reauthenticating |= reason == Reason::REAUTHENTICATE;
        Ok(())
    }

    /// Says good-bye: write the output, then close (best: shut down writing and read to the end, so that nothing that
    /// is under way is cut off). In 3.x a reason other than success cannot be said, nor an expiry.
    ///
    /// # Errors
    /// When there is no connection, or this cannot be said.
    pub fn disconnect(
        &mut self,
        now_ms: u64,
        reason: Reason,
        session_expiry_s: Option<u32>,
    ) -> Result<(), RequestError> {
        self.must_be_connected()?;
        let version = self.options.version;
        let farewell = Disconnect { session_expiry_s, ..Disconnect::new(reason) };
        self.output.packet(now_ms, |out| farewell.encode(version, Direction::ToServer, out))?;
        self.phase = Phase::Leaving;
        Ok(())
    }

    fn must_be_connected(&self) -> Result<(), RequestError> {
        if self.is_connected() { Ok(()) } else { Err(RequestError::NotConnected) }
    }

    /// Writes one of the four acknowledgements, which always have an encoding.
    fn write_ack(&mut self, now_ms: u64, kind: PacketType, id: NonZeroU16, reason: Reason) {
        let version = self.options.version;
        let _ = self.output.packet(now_ms, |out| Ack::new(id, reason).encode(version, kind, out));
    }

    /// When [`Client::handle_timeout`] is next needed, ms.
    #[must_use]
    pub fn next_wake_ms(&self) -> Option<u64> {
        match (self.phase, self.pinged_ms) {
            (Phase::Connecting { overdue_ms }, _) => Some(overdue_ms),
            (Phase::Connected, Some(pinged_ms)) => Some(pinged_ms + self.options.answer_timeout_ms),
            // The server is also asked for a sign of life when it was silent: a line that is dead in one direction
            // is found that way.
            (Phase::Connected, None) if self.terms.keep_alive_ms > 0 => {
                Some(self.output.written_ms.min(self.heard_ms) + self.terms.keep_alive_ms)
            }
            (Phase::Connected | Phase::Idle | Phase::Leaving, _) => None,
        }
    }

    /// Does what is due: writes PINGREQ [MQTT-3.1.2-20], or gives the server up.
    ///
    /// # Errors
    /// When the server has not answered in time; the connection is over.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), ClientError> {
        if self.next_wake_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return Ok(());
        }
        let timeout_ms = self.options.answer_timeout_ms;
        if self.phase != Phase::Connected {
            self.phase = Phase::Idle;
            return Err(ClientError::NoAnswer(timeout_ms));
        }
        if self.pinged_ms.is_some() {
            self.phase = Phase::Idle;
            return Err(ClientError::NoPong(timeout_ms));
        }
        encode_pingreq(&mut self.output.bytes);
        self.output.written_ms = now_ms;
        self.pinged_ms = Some(now_ms);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
