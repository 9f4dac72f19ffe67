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

    fn deliver_if_there(&mut self, packet_id: u16) {
        let conversation = self.server.conversation.as_mut().unwrap();
        if conversation.consumers.get(ConsumerId(1)).is_some_and(|one| one.state == consumers::State::Live) {
            self.deliver(Some(packet_id), 0, 0);
        }
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

#[test]
fn a_committed_ack_leaves_nothing_of_a_cancelled_subscription_behind() {
    let mut alone = Alone::new("1.2");
    alone.send("SUBSCRIBE\nid:s\ndestination:/queue/q\nack:client\n\n\0").unwrap();
    alone.deliver(Some(7), 0, 0);
    alone.send("BEGIN\ntransaction:x\n\n\0").unwrap();
    alone.send(&format!("ACK\nid:1-1@{}\ntransaction:x\n\n\0", token().as_str())).unwrap();
    alone.send("UNSUBSCRIBE\nid:s\n\n\0").unwrap();
    let left = |alone: &Alone| alone.server.conversation.as_ref().unwrap().consumers.len();
    assert_eq!(left(&alone), 1, "ABORT would give the delivery back");
    alone.send("COMMIT\ntransaction:x\n\n\0").unwrap();
    assert_eq!(left(&alone), 0);
}

/// 1.2, "DISCONNECT": clients must not send any more after it.
#[test]
fn what_comes_after_disconnect_is_skipped_unread() {
    let mut alone = Alone::new("1.2");
    alone.send("DISCONNECT\n\n\0").unwrap();
    let around = Surroundings { stomp: &alone.limits, core: &alone.core, now: alone.now };
    let late = b"SEND\ndestination:/topic/a\n\n\0 nonsense";
    assert!(matches!(alone.server.split(late, around), Ok(Split::Beats(len)) if len == late.len()));
    assert!(matches!(alone.server.split(b"", around), Ok(Split::Incomplete)));
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
        destination: None,
        deliveries: consumers::Deliveries::default(),
    });
    assert_eq!(consumers.capacity(), 1, "no room is kept for subscriptions that nearly nobody has");
}

/// Frames at random out of words that mean something, and deliveries between them: nothing panics, what is refused is
/// told in one whole ERROR, and the tables stay within their limits.
#[test]
fn random_conversations_end_well() {
    // `1-1@` stands for a delivery.
    const FRAMES: [&str; 14] = [
        "SEND\ndestination:/topic/a\n",
        "SEND\ndestination:/queue/b\ntransaction:t\n",
        "SUBSCRIBE\nid:1\ndestination:/topic/a\nack:client\n",
        "SUBSCRIBE\nid:2\ndestination:/queue/b\nack:client-individual\n",
        "UNSUBSCRIBE\nid:1\n",
        "UNSUBSCRIBE\nid:2\n",
        "ACK\nid:1-1@\n",
        "ACK\nid:1-1@\n",
        "ACK\nid:1-1@\ntransaction:t\n",
        "NACK\nmessage-id:1-1@\n",
        "BEGIN\ntransaction:t\n",
        "COMMIT\ntransaction:t\n",
        "ABORT\ntransaction:t\n",
        "BEGIN\ntransaction:u\n",
    ];
    const HEADERS: [&str; 24] = [
        "destination:/topic/a",
        "destination:/queue/b",
        "destination:/temp-queue/c",
        "destination:x",
        "id:1",
        "id:2",
        "id:3",
        "ack:client",
        "ack:client-individual",
        "transaction:t",
        "transaction:u",
        "receipt:r",
        "receipt:",
        "selector:a = 1",
        "durable:true",
        "browser:true",
        "reply-to:/temp-queue/c",
        "correlation-id:x",
        "expiration:5",
        "retain:remove",
        "AMQ_SCHEDULED_DELAY:18446744073709551615",
        "prefetch-count:70000",
        "requeue:false",
        "x-dead-letter-exchange:",
    ];
    let mut state = 42u64;
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut refused, mut done) = (0, 0);
    for _ in 0..2_000 {
        let mut alone = Alone::new(["1.0", "1.1", "1.2"][draw(3)]);
        alone.server.dialect = Dialect::ALL[draw(3)];
        alone.limits.max_transaction_actions = 5;
        alone.core.max_subscriptions = 3;
        alone.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nack:client\n\n\0").unwrap();
        alone.send("BEGIN\ntransaction:t\n\n\0").unwrap();
        for packet_id in 100..103 {
            alone.deliver_if_there(packet_id);
        }
        for step in 0..40 {
            let delivery = format!("1-{}@{}", 1 + draw(3), token().as_str());
            let mut frame = FRAMES[draw(FRAMES.len())].replace("1-1@", &delivery);
            if draw(4) == 0 {
                frame.push_str(HEADERS[draw(HEADERS.len())]);
                frame.push('\n');
            }
            if let Err(refusal) = alone.send(&format!("{frame}\n\0")) {
                let mut out = BytesMut::new();
                alone.server.refuse(&refusal, &mut out);
                let out = String::from_utf8(out.to_vec()).unwrap();
                assert!(out.starts_with("ERROR\n") && out.ends_with('\0'), "{out}");
                assert_ne!(refusal.kind, Kind::Internal, "{frame}: {refusal}");
                refused += 1;
                break;
            }
            done += 1;
            let conversation = alone.server.conversation.as_ref().unwrap();
            assert!(conversation.consumers.len() <= 3);
            let conversation = alone.server.conversation.as_mut().unwrap();
            for _ in 0..draw(3) {
                conversation.receipts.take(Receipt(std::num::NonZeroU32::MIN));
            }
            alone.deliver_if_there(1 + step);
        }
    }
    assert!(refused > 500 && done > 4_000, "it says little: {refused} refused, {done} done");
}
