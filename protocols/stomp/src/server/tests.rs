//! Deliveries that are made by hand: those that only a queue can lead to, and what they cost.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::BytesMut;
use noctule_core::consumer::ConsumerId;
use noctule_core::effects::{Delivery, Input, Reply, Sent};
use noctule_core::id::{ConnId, Now, Qos, SessionId};
use noctule_core::message::{Fields, Message, Publish};
use noctule_core::policy::Limits;
use noctule_core::topic::TopicName;

use super::*;

const CONN: ConnId = ConnId { slot: 0, generation: 1 };

struct Alone {
    server: Server,
    scratch: Scratch,
    limits: ServerLimits,
    core: Limits,
    now: Now,
    asked: Vec<String>,
}

impl Alone {
    fn new(version: &str) -> Self {
        let mut alone = Self {
            server: Server::new(Dialect::Native, Token::new([3; 16])),
            scratch: Scratch::default(),
            limits: ServerLimits::default(),
            core: Limits::default(),
            now: Now { mono_ms: 10_000, wall_ms: 1_700_000_000_000 },
            asked: Vec::new(),
        };
        alone.send(&format!("CONNECT\naccept-version:{version}\nhost:h\n\n\0")).unwrap();
        alone.reply(&Reply::Connected { session_present: false, expiry_s: None, keep_alive_s: None });
        alone
    }

    fn send(&mut self, text: &str) -> Result<(), Refusal> {
        let Self { server, scratch, limits, core, now, asked } = self;
        let around = Surroundings { stomp: limits, core, now: *now };
        let Split::Frame(frame) = server.split(text.as_bytes(), around)? else { panic!("no frame: {text}") };
        let note = |input: Input<'_>| asked.push(format!("{input:?}"));
        match server.frame(CONN, &frame, around, scratch, note)? {
            Step::Done => {}
            Step::Connect(connect) => {
                server.begin(&connect, "c", None, around);
            }
        }
        Ok(())
    }

    fn reply(&mut self, reply: &Reply) -> String {
        let around = Surroundings { stomp: &self.limits, core: &self.core, now: self.now };
        let mut out = BytesMut::new();
        let _ = self.server.reply(reply, around, &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn deliver(&mut self, packet_id: Option<u16>, deliveries: u32, record: u64) -> String {
        let publish = Publish {
            topic: TopicName::from_validated("$queue/q"),
            fields: Fields::default(),
            payload: b"body",
            qos: Qos::AtLeastOnce,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        };
        let mut message = Message::new(&publish, SessionId::NOBODY, 0);
        Arc::get_mut(&mut message).unwrap().set_record(record);
        let delivery = Delivery {
            message: &message,
            qos: Qos::AtLeastOnce,
            dup: false,
            retain: false,
            packet_id: packet_id.and_then(NonZeroU16::new),
            subscription_ids: &[],
            remaining_s: None,
            consumer: ConsumerId(1),
            deliveries,
        };
        let mut out = BytesMut::from(&b"before"[..]);
        let sent = self.server.deliver(&delivery, self.now, &mut self.scratch, &mut out);
        let head = out.split_off(6);
        assert_eq!(sent, Sent::Written(head.len() + 5), "with the body and its NUL");
        String::from_utf8(head.to_vec()).unwrap()
    }
}

fn token() -> Token {
    Token::new([3; 16])
}

#[test]
fn a_delivery_that_came_back_says_so_and_how_often() {
    let mut alone = Alone::new("1.2");
    alone.send("SUBSCRIBE\nid:s\ndestination:/queue/q\nack:client\n\n\0").unwrap();
    let token = token();
    let id = |number: u32| format!("1-{number}@{}", token.as_str());
    assert_eq!(
        alone.deliver(Some(7), 0, 0),
        format!(
            "MESSAGE\nsubscription:s\nmessage-id:{0}\nack:{0}\ndestination:/queue/q\npersistent:true\n\
             content-length:4\n\n",
            id(1)
        )
    );
    assert_eq!(
        alone.deliver(Some(8), 2, 99),
        format!(
            "MESSAGE\nsubscription:s\nmessage-id:{0}\nack:{0}\ndestination:/queue/q\nredelivered:true\n\
             x-delivery-count:2\npersistent:true\nx-msg-id:99\ncontent-length:4\n\n",
            id(2)
        )
    );
    alone.send(&format!("ACK\nid:{}\n\n\0", id(2))).unwrap();
    let asked = alone.asked.last().unwrap();
    assert!(asked.contains("consumer: ConsumerId(1), packet_ids: [7, 8], verdict: Accept"), "{asked}");
}

#[test]
fn a_packet_identifier_that_is_used_again_belongs_to_the_later_delivery() {
    let mut alone = Alone::new("1.2");
    alone.send("SUBSCRIBE\nid:s\ndestination:/queue/q\nack:client-individual\n\n\0").unwrap();
    let token = token();
    let ack = |number: u32| format!("ACK\nid:1-{number}@{}\n\n\0", token.as_str());
    alone.deliver(Some(7), 0, 0);
    alone.send(&ack(1)).unwrap();
    alone.deliver(Some(7), 0, 0);
    let before = alone.asked.len();
    alone.send(&ack(1)).unwrap();
    assert_eq!((alone.asked[before..].join(""), alone.server.stray_acks()), (format!("Heard({CONN:?})"), 1));
    alone.send(&ack(2)).unwrap();
    assert!(alone.asked.last().unwrap().contains("packet_ids: [7]"));
}

#[test]
fn the_end_of_browsing_is_a_message_without_a_body() {
    let mut alone = Alone::new("1.1");
    alone.send("SUBSCRIBE\nid:b\ndestination:/amq/queue/q\nbrowser:true\nack:client\n\n\0").unwrap();
    let asked = alone.asked.last().unwrap();
    assert!(asked.contains("browses: true") && asked.contains("acknowledges: false"), "{asked}");
    let shown = alone.deliver(None, 0, 0);
    assert!(!shown.contains("\nack:"), "{shown}");
    let mut out = BytesMut::new();
    alone.server.end_of_browse(ConsumerId(1), &mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        format!(
            "MESSAGE\nsubscription:b\nmessage-id:1-2@{}\ndestination:/amq/queue/q\nbrowser:end\ncontent-length:0\n\n\0",
            token().as_str()
        )
    );
    // The engine knows it no longer, the client still does.
    alone.send("UNSUBSCRIBE\nid:b\n\n\0").unwrap();
    assert_eq!(alone.asked.last().unwrap(), &format!("Heard({CONN:?})"));
    alone.send("SUBSCRIBE\nid:b\ndestination:/queue/q\n\n\0").unwrap();
}

#[test]
fn a_delivery_for_a_consumer_that_is_gone_writes_nothing() {
    let mut alone = Alone::new("1.2");
    let message = Message::new(
        &Publish {
            topic: TopicName::from_validated("t"),
            fields: Fields::default(),
            payload: b"",
            qos: Qos::AtMostOnce,
            retain: false,
            dup: false,
            packet_id: None,
            expiry_s: None,
        },
        SessionId::NOBODY,
        0,
    );
    let delivery = Delivery {
        message: &message,
        qos: Qos::AtMostOnce,
        dup: false,
        retain: false,
        packet_id: None,
        subscription_ids: &[],
        remaining_s: None,
        consumer: ConsumerId(4),
        deliveries: 0,
    };
    let mut out = BytesMut::new();
    assert_eq!(alone.server.deliver(&delivery, alone.now, &mut alone.scratch, &mut out), Sent::TooLarge);
    alone.server.end_of_browse(ConsumerId(4), &mut out);
    assert!(out.is_empty());
}

#[test]
fn an_answer_that_nobody_asked_for_is_the_brokers_mistake() {
    let mut alone = Alone::new("1.2");
    let around = Surroundings { stomp: &alone.limits, core: &alone.core, now: alone.now };
    let receipt = Receipt(std::num::NonZeroU32::MIN);
    let error = alone.server.reply(&Reply::Receipt(receipt), around, &mut BytesMut::new()).unwrap_err();
    assert_eq!(error.kind, Kind::Internal);
    assert_eq!(alone.reply(&Reply::Beat), "\n");
}

/// What every idle connection pays for: the slot, and what it holds beside with one subscription.
#[test]
fn an_idle_connection_with_one_subscription_takes_less_than_500_bytes() {
    let texts = "s".len();
    let held = size_of::<Server>() + size_of::<Conversation>() + size_of::<consumers::Consumer>() + texts;
    assert!(held <= 400, "{held} bytes, without what an allocator adds");
    let mut consumers = Consumers::default();
    consumers.push(consumers::Consumer {
        id: ConsumerId(1),
        name: "s".into(),
        is_named: true,
        mode: consumers::AckMode::Auto,
        durable: None,
        state: consumers::State::Live,
        browses: None,
        deliveries: consumers::Deliveries::default(),
    });
    assert_eq!(consumers.capacity(), 1, "no room is kept for subscriptions that nearly nobody has");
}
