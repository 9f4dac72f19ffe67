//! A STOMP connection's out buffer, and the properties that the messages of a run with STOMP carry.

use std::num::NonZeroU16;

use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{Delivery, Outlet, Sent};
use noctule_core::id::Qos;
use noctule_core::message::{Field, Message, field};

use crate::book::{Death, Handed};
use crate::outbox::number;

/// What is written to a STOMP client.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Message {
        consumer: u32,
        pid: Option<u16>,
        topic: String,
        handed: Handed,
    },
    EndOfBrowse(u32),
    /// An answer, which the world has looked at when it left.
    Answer,
    Closed,
}

/// The writing end of a STOMP connection, with room for a few messages at a time.
pub(crate) struct Mouth {
    pub(crate) room: usize,
    pub(crate) said: Vec<Said>,
}

impl Outlet for Mouth {
    fn has_room(&self) -> bool {
        self.said.len() < self.room
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) -> Sent {
        assert!(self.has_room(), "written over the budget");
        let ConsumerId(consumer) = delivery.consumer;
        assert_ne!(consumer, 0, "a delivery of no consumer");
        assert_eq!(delivery.packet_id.is_some(), delivery.qos > Qos::AtMostOnce);
        assert!(!delivery.dup && !delivery.retain, "{delivery:?}");
        let message = delivery.message;
        self.said.push(Said::Message {
            consumer,
            pid: delivery.packet_id.map(NonZeroU16::get),
            topic: message.topic().as_str().to_owned(),
            handed: Handed {
                msg: number(message.payload()),
                deliveries: delivery.deliveries,
                death: death(message),
            },
        });
        Sent::Written(10)
    }

    fn release(&mut self, packet_id: NonZeroU16) {
        panic!("PUBREL {packet_id} to a STOMP client");
    }

    fn end_of_browse(&mut self, consumer: ConsumerId) {
        self.said.push(Said::EndOfBrowse(consumer.0));
    }
}

/// What a message says of its death, if it is a dead letter.
pub(crate) fn death(message: &Message) -> Option<Death> {
    let find = |wanted: &str| {
        let mut fields = message.fields().iter();
        fields.find_map(|field| match field {
            Field::UserProperty(name, value) if name == wanted => Some(value.to_owned()),
            _ => None,
        })
    };
    Some(Death {
        reason: find("x-first-death-reason")?,
        count: find("x-delivery-count").unwrap().parse().unwrap(),
        from: find("original-destination").unwrap(),
    })
}

/// User properties, as a message carries them.
pub(crate) fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        out.push(field::USER_PROPERTY);
        for text in [name, value] {
            out.extend((text.len() as u16).to_be_bytes());
            out.extend(text.as_bytes());
        }
    }
    out
}
