//! The protocol machine of one connection, whichever protocol its listener speaks.

use std::fmt;
use std::io;
use std::num::NonZeroU16;

use bytes::{BufMut, BytesMut};
use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{Delivery, Reply, Sent};
use noctule_core::id::Now;
use noctule_core::message::Publish;
use noctule_core::refusal::Refusal;
use noctule_mqtt::server::Server as Mqtt;
use noctule_stomp::server::{Scratch, Server as Stomp, Then};
use noctule_stomp::{Dialect, Token};

use crate::broker::entropy;
use crate::broker::settings::Settings;
use crate::net::Spoken;
use crate::reactor::{BY_REFERENCE_BYTES, OutBuf};

/// What a connection's bytes go through.
#[derive(Debug)]
pub(super) enum Machine {
    /// What is spoken is still to be seen.
    Unknown,
    Mqtt(Mqtt),
    /// Boxed, so that it costs an MQTT connection nothing.
    Stomp(Box<Stomp>),
}

impl Machine {
    /// For a connection on which that is spoken.
    ///
    /// # Errors
    /// When the system has no random numbers to tell one STOMP connection from another by.
    pub(super) fn new(settings: &Settings, spoken: Spoken, dialect: Dialect) -> io::Result<Self> {
        Ok(match spoken {
            Spoken::Mqtt => Self::mqtt(settings),
            Spoken::Stomp => {
                let random = (u128::from(entropy()?) << 64) | u128::from(entropy()?);
                Self::Stomp(Box::new(Stomp::new(dialect, Token::new(random.to_be_bytes()))))
            }
        })
    }

    /// For a connection on which MQTT is spoken.
    pub(super) fn mqtt(settings: &Settings) -> Self {
        Self::Mqtt(Mqtt::new(&settings.mqtt))
    }

    /// Writes the last words to a peer that is refused; nothing if its version has none.
    pub(super) fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        match self {
            Self::Unknown => {}
            Self::Mqtt(mqtt) => mqtt.refuse(refusal, out),
            Self::Stomp(stomp) => stomp.refuse(refusal, out),
        }
    }

    /// Writes an answer of the engine.
    ///
    /// # Errors
    /// The refusal with which the connection ends; nothing is written then.
    pub(super) fn reply(
        &mut self,
        reply: &Reply,
        settings: &Settings,
        now: Now,
        out: &mut BytesMut,
    ) -> Result<Then, Refusal> {
        match self {
            Self::Unknown => Ok(Then::GoOn),
            Self::Mqtt(mqtt) => mqtt.reply(reply, settings.surroundings(), out).map(|()| Then::GoOn),
            Self::Stomp(stomp) => stomp.reply(reply, settings.stomp_surroundings(now), out),
        }
    }

    /// Whether something that was read is still to be answered, and the client may wait for it after its own end.
    pub(super) fn owes_answers(&self) -> bool {
        match self {
            Self::Mqtt(_) | Self::Unknown => false,
            Self::Stomp(stomp) => stomp.owes_answers(),
        }
    }

    /// Writes a message.
    pub(super) fn deliver(
        &mut self,
        delivery: &Delivery<'_>,
        now: Now,
        scratch: &mut Scratch,
        out: &mut OutBuf,
    ) -> Sent {
        match self {
            // Nobody has subscribed there.
            Self::Unknown => Sent::Written(0),
            Self::Mqtt(mqtt) => {
                let sent = mqtt.deliver(delivery, out.put());
                if let Sent::Written(_) = sent {
                    out.put_payload(delivery.message);
                }
                sent
            }
            Self::Stomp(stomp) => {
                let sent = stomp.deliver(delivery, now, scratch, out.put());
                if let Sent::Written(_) = sent {
                    out.put_payload(delivery.message);
                    out.put().put_u8(0);
                }
                sent
            }
        }
    }

    /// Writes a message as it has come, at QoS 1 with a packet id, else 0; false, and nothing is written, if it takes more
    /// than that.
    #[inline]
    pub(super) fn pass_on(
        &self,
        publish: &Publish<'_>,
        packet_id: Option<NonZeroU16>,
        out: &mut OutBuf,
    ) -> bool {
        match self {
            // A large one is better written by reference.
            Self::Mqtt(mqtt) if publish.payload.len() < BY_REFERENCE_BYTES => {
                mqtt.pass_on(publish, packet_id, out.put())
            }
            Self::Unknown | Self::Mqtt(_) | Self::Stomp(_) => false,
        }
    }

    /// Writes a PUBREL.
    pub(super) fn release(&mut self, packet_id: NonZeroU16, out: &mut BytesMut) {
        match self {
            Self::Mqtt(mqtt) => mqtt.release(packet_id, out),
            // There is no QoS 2 in it.
            Self::Stomp(_) | Self::Unknown => {}
        }
    }

    /// Tells a consumer that it has seen everything.
    pub(super) fn end_of_browse(&mut self, consumer: ConsumerId, out: &mut BytesMut) {
        match self {
            // It has no consumers.
            Self::Mqtt(_) | Self::Unknown => {}
            Self::Stomp(stomp) => stomp.end_of_browse(consumer, out),
        }
    }
}

impl fmt::Display for Machine {
    /// What is spoken, as far as it is known: "MQTT 5.0", "STOMP 1.2".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("nothing yet"),
            Self::Mqtt(mqtt) => match mqtt.version() {
                Some(version) => write!(f, "MQTT {}", version.name()),
                None => f.write_str("MQTT"),
            },
            Self::Stomp(stomp) => match stomp.version() {
                Some(version) => write!(f, "STOMP {}", version.as_str()),
                None => f.write_str("STOMP"),
            },
        }
    }
}
