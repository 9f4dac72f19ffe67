//! What the store is told, in which order, and who waits for it.

use super::*;
use crate::policy::{Durability, DurabilityRules};
use crate::topic::{TopicFilter, TopicLimits};
use AckKind::{PubAck, PubComp, PubRec, PubRel};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// An operation in a few words.
pub(super) fn words(op: &StoreOp) -> String {
    match op {
        StoreOp::Publish { message, recipients, retained, inbound } => {
            let mut words = format!("publish {}", String::from_utf8_lossy(message.payload()));
            for recipient in recipients {
                words += &format!(" {}@{}", recipient.session.0, recipient.qos.level());
                words += if recipient.retain { "r" } else { "" };
                for id in recipient.subscription_ids.iter().flat_map(|ids| ids.iter()) {
                    words += &format!("#{id}");
                }
            }
            words += if retained.is_some() { " retained" } else { "" };
            words + &inbound.map(|(session, id)| format!(" from {}/{id}", session.0)).unwrap_or_default()
        }
        StoreOp::RetainedExpired { .. } => "retained expired".into(),
        StoreOp::Acknowledged { session, record } => format!("{} done {record}", session.0),
        StoreOp::InboundReleased { session, packet_id } => format!("released {}/{packet_id}", session.0),
        StoreOp::OutboundSent { session, owner, record, packet_id } => {
            format!("sent {}/{packet_id} {record} of {}", session.0, owner.0)
        }
        StoreOp::OutboundReceived { session, owner, record, packet_id } => {
            format!("received {}/{packet_id} {record} of {}", session.0, owner.0)
        }
        StoreOp::OutboundCompleted { session, packet_id } => format!("completed {}/{packet_id}", session.0),
        StoreOp::SessionKept { session, client_id, .. } => format!("kept {} {client_id}", session.0),
        StoreOp::Presence { session, online } => format!("{} online {online}", session.0),
        StoreOp::SessionEnded { session, records } => format!("ended {} {records:?}", session.0),
        StoreOp::Subscribed { session, filter, .. } => format!("subscribed {} {filter}", session.0),
        StoreOp::Unsubscribed { session, filter } => format!("unsubscribed {} {filter}", session.0),
        StoreOp::WillKept { session, will } => {
            format!("will {} {}", session.0, String::from_utf8_lossy(will.message.payload()))
        }
        StoreOp::WillGone { session } => format!("will gone {}", session.0),
        StoreOp::GroupKept { session, group, filter, .. } => format!("group {} {group}/{filter}", session.0),
        StoreOp::GroupEnded { session, records } => format!("group ended {} {records:?}", session.0),
        StoreOp::Released { session, record, deliveries } => {
            format!("released {} {record} x{deliveries}", session.0)
        }
        StoreOp::Transaction(ops) => {
            let all: Vec<_> = ops.iter().map(words).collect();
            format!("at once [{}]", all.join(", "))
        }
    }
}

impl Kit {
    /// What was submitted since the last time, in words, with a `!` where somebody waits for it; all of it is settled.
    pub(super) fn told_store(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while !self.submitted.is_empty() {
            for (ticket, op) in std::mem::take(&mut self.submitted) {
                let waits = ticket != Ticket::NONE;
                told.push(format!("{}{}", words(&op), if waits { "!" } else { "" }));
                if waits {
                    self.settle(ticket);
                }
            }
        }
        told
    }

    /// The bodies of all that waits for a connection, which acknowledges them at QoS 1.
    fn drain(&mut self, number: u32) -> Vec<String> {
        let mut came = Vec::new();
        loop {
            let seen = self.take(number);
            if seen.is_empty() {
                return came;
            }
            for seen in seen {
                let Seen::Message { body, pid: Some(pid), .. } = seen else { continue };
                came.push(body);
                self.give(Input::Ack { conn: conn(number), kind: PubAck, packet_id: id(pid), failed: false });
            }
        }
    }

    /// What was submitted since the last time, in words; nothing is settled.
    fn submissions(&mut self) -> Vec<(Ticket, String)> {
        self.submitted.drain(..).map(|(ticket, op)| (ticket, words(&op))).collect()
    }
}

/// Session 1 is kept and subscribed to `t` at QoS 2, session 2 is kept and publishes, session 3 is not kept and
/// publishes; from now on the test settles.
fn kit_with(limits: Limits) -> Kit {
    let mut kit = Kit::with(limits);
    kit.connect(1, keeper("in"));
    kit.subscribe(1, &[filter("t", ExactlyOnce)]);
    kit.connect(2, keeper("out"));
    kit.connect(3, client("passer-by"));
    kit.manual = true;
    kit
}

fn kit() -> Kit {
    kit_with(Limits::default())
}

fn sent(number: u16, body: &'static str, qos: Qos) -> Publish<'static> {
    Publish { packet_id: Some(id(number)), ..publish("t", body, qos) }
}

/// Only as far as the test is concerned with it.
fn loaded(kit: &Kit, request: &LoadRequest, bodies: &[(u64, Option<&str>)]) -> StoreEvent {
    let message = |record, body: &str| {
        let restored = crate::message::Restored {
            topic: TopicName::from_validated("t"),
            fields: &[],
            payload: body.as_bytes(),
            qos: AtLeastOnce,
            retain: false,
            expires_ms: u64::MAX,
            record,
        };
        crate::store::LoadedMessage { message: Message::restore(&restored), subscription_ids: None }
    };
    assert!(kit.loads.is_empty());
    let messages =
        bodies.iter().map(|&(record, body)| (record, body.map(|body| message(record, body)))).collect();
    StoreEvent::Loaded(Box::new(crate::store::Loaded { session: request.session, messages }))
}

#[test]
fn the_store_hears_of_a_message_before_another_worker_does() {
    // An acknowledgement from there must not come to the store before the message.
    let shared = Arc::new(Shared::new(&Seed::new(1), 2, RetainedLimits::default()));
    let policy = Arc::new(Policy { epoch: 1, ..Policy::default() });
    let now = Now::default();
    let mut engines: Vec<_> =
        (0..2).map(|id| Engine::new(WorkerId(id), Arc::clone(&shared), Arc::clone(&policy), now)).collect();
    let give = |engine: &mut Engine, input| {
        let mut fx = Effects::default();
        engine.handle(now, input, &mut fx);
        fx.list
    };
    give(&mut engines[1], Input::Opened(conn(1)));
    give(&mut engines[1], Input::Connect(conn(1), keeper("in")));
    let filters = [filter("t", AtLeastOnce)];
    give(
        &mut engines[1],
        Input::Subscribe { conn: conn(1), packet_id: id(9), id: None, selector: None, filters: &filters },
    );
    give(&mut engines[0], Input::Opened(conn(2)));
    give(&mut engines[0], Input::Connect(conn(2), client("out")));
    let list = give(&mut engines[0], Input::Publish(conn(2), publish("t", "x", AtLeastOnce)));
    let stored = list.iter().position(|effect| matches!(effect, Effect::Store(..)));
    let posted = list.iter().position(|effect| matches!(effect, Effect::Peer(..)));
    assert!(stored.unwrap() < posted.unwrap(), "{list:?}");
}

#[test]
fn recipients_are_stored_as_they_are_to_get_it() {
    let mut kit = Kit::new();
    kit.connect(1, keeper("a"));
    let as_published = FilterRequest { retain_as_published: true, ..filter("t", AtLeastOnce) };
    kit.subscribe_as(1, Some(5), &[as_published]);
    kit.subscribe_as(1, Some(3), &[filter("+", AtMostOnce)]);
    kit.connect(2, keeper("b"));
    kit.subscribe(2, &[filter("t", ExactlyOnce), filter("$share/g/t", AtLeastOnce)]);
    kit.connect(3, keeper("at most once"));
    kit.subscribe(3, &[filter("t", AtMostOnce)]);
    kit.connect(4, client("not kept"));
    kit.subscribe(4, &[filter("t", ExactlyOnce)]);
    kit.manual = true;
    kit.publish(4, Publish { retain: true, ..sent(7, "x", ExactlyOnce) });
    // The group has got the number after session 2.
    let told = kit.told_store();
    assert_eq!(told[0], "publish x 1@1r#3#5 2@2 3@2r retained!");
    kit.publish(2, sent(8, "y", ExactlyOnce));
    assert_eq!(kit.told_store()[0], "publish y 1@1#3#5 2@2 3@2 from 2/8!");
    kit.publish(4, sent(9, "z", AtMostOnce));
    assert_eq!(kit.told_store(), [""; 0]);
}

#[test]
fn a_recipient_is_done_with_a_message_when_its_client_says_so() {
    let mut kit = kit();
    kit.publish(3, sent(1, "x", AtLeastOnce));
    assert_eq!(kit.told_store(), ["publish x 1@1!"]);
    kit.ack(1, PubAck, 1);
    assert_eq!(kit.told_store(), ["1 done 1"]);
    kit.publish(3, sent(2, "y", ExactlyOnce));
    assert_eq!(kit.told_store(), ["publish y 1@2!", "sent 1/1 2 of 1!"]);
    kit.ack(1, PubRec, 1);
    assert_eq!(kit.told_store(), ["received 1/1 2 of 1!"]);
    kit.ack(1, PubComp, 1);
    assert_eq!(kit.told_store(), ["completed 1/1"]);
}

#[test]
fn a_message_for_a_session_that_has_ended_meanwhile_is_done_with() {
    let mut kit = kit();
    kit.publish(2, sent(7, "x", ExactlyOnce));
    let [(ticket, _)] = kit.submissions()[..] else { panic!() };
    kit.give(Input::Disconnect { conn: conn(1), with_will: false, expiry_s: Some(0) });
    assert_eq!(kit.told_store().last().unwrap(), "ended 1 []", "it does not have it yet");
    kit.settle(ticket);
    assert_eq!(kit.told_store(), ["1 done 1"]);
}

#[test]
fn durability_decides_what_is_stored_and_what_waits() {
    let mut kit = kit();
    let rule = |text, durability| (TopicFilter::parse(text, &TopicLimits::WIDEST).unwrap(), durability);
    let filters = vec![rule("never", Durability::Never), rule("always", Durability::Always)];
    let durability = DurabilityRules { default: Durability::Always, filters };
    let policy = Policy { epoch: 2, durability, ..Policy::default() };
    kit.give(Input::Policy(Arc::new(policy)));
    let unsubscribe = Input::Unsubscribe { conn: conn(1), packet_id: id(9), filters: &["t"] };
    kit.give(unsubscribe);
    kit.subscribe(1, &[filter("#", ExactlyOnce)]);
    kit.connect(4, Connect { durability: Some(Durability::Interval), ..keeper("interval") });
    kit.told_store();
    kit.take(1);
    let mut number = 0;
    let mut publish = |kit: &mut Kit, conn, topic, qos, retain| {
        number += 1;
        let publish = Publish { packet_id: Some(id(number)), retain, ..publish(topic, "x", qos) };
        let answered = !kit.publish(conn, publish).is_empty();
        let received = kit.take(1).len();
        let told = kit.told_store();
        (told, answered, received, kit.take(1).len())
    };
    let told = |words: &[&str]| words.iter().map(|&words| words.to_owned()).collect::<Vec<_>>();

    let always = publish(&mut kit, 2, "always", AtLeastOnce, false);
    assert_eq!(always, (told(&["publish x 1@1!"]), false, 1, 0));
    let by_topic = publish(&mut kit, 4, "always", AtLeastOnce, false);
    assert_eq!(by_topic, (told(&["publish x 1@1!"]), false, 1, 0), "the topic decides over the listener");
    kit.take(2);
    kit.take(4);

    let interval = publish(&mut kit, 4, "t", AtLeastOnce, true);
    assert_eq!(interval, (told(&["publish x 1@1 retained"]), true, 1, 0));
    let (words, answered, before, after) = publish(&mut kit, 4, "t", ExactlyOnce, false);
    assert_eq!(words[..2], ["publish x 1@2 from 4/4", "sent 1/4 4 of 1!"], "in this order");
    assert_eq!((answered, before, after), (true, 0, 1), "exactly once is for its recipient to keep");

    let never = publish(&mut kit, 2, "never", AtLeastOnce, true);
    assert_eq!(never, (told(&[]), true, 1, 0));
    assert_eq!(kit.engine.shared().retained.len(), 2, "in memory it is retained");
    let (words, answered, before, after) = publish(&mut kit, 2, "never", ExactlyOnce, false);
    assert_eq!(words, ["received 1/6 0 of 1!"], "no message, but a packet id that nobody else may have");
    assert_eq!((answered, before, after), (true, 0, 1), "once that is stored");
    assert_eq!(kit.ack(1, PubRec, 6), [acked(PubRel, 6, Reason::Success)], "there is no more to be stored");
    kit.ack(1, PubComp, 6);
    assert_eq!(kit.told_store(), ["completed 1/6"]);
}

#[test]
fn while_the_store_refuses_nobody_gets_what_it_would_have_to_keep() {
    let mut kit = kit();
    kit.connect(4, Connect { is_v5: false, ..keeper("old") });
    kit.told_store();
    kit.engine.shared().set_store_refuses(true);
    let refused = |kind, id| [acked(kind, id, Reason::QuotaExceeded)];
    assert_eq!(kit.publish(3, sent(1, "x", AtLeastOnce)), refused(PubAck, 1));
    assert_eq!(kit.publish(2, sent(1, "x", ExactlyOnce)), refused(PubRec, 1));
    assert_eq!(kit.publish(4, sent(1, "x", AtLeastOnce)), [], "MQTT 3 can't be told");
    assert_eq!(kit.take(1), []);
    assert_eq!(kit.told_store(), [""; 0]);
    assert_eq!(kit.dropped(DropReason::StoreFailed), 3);
    kit.publish(3, publish("t", "0", AtMostOnce));
    assert_eq!(kit.bodies(1), ["0"], "what is not stored goes on");
    let elsewhere = Publish { packet_id: Some(id(2)), ..publish("nobody", "x", AtLeastOnce) };
    assert_eq!(kit.publish(3, elsewhere), [acked(PubAck, 2, Reason::NoMatchingSubscribers)]);

    kit.engine.shared().set_store_refuses(false);
    assert_eq!(kit.publish(4, sent(2, "later", AtLeastOnce)), [], "it must not overtake what was refused");
    kit.pass(kit.engine.policy().limits.refuse_timeout_ms + 200);
    assert_eq!(kit.take(4), [Seen::Closed(Kind::QuotaExceeded)]);
    assert_eq!(kit.told_store(), ["4 online false"]);
    kit.publish(2, sent(1, "again", ExactlyOnce));
    kit.told_store();
    assert_eq!(kit.bodies(1), ["again"], "the packet id of what was refused is free");
}

/// Session 1 is away and five messages wait for it, of which the first is held in memory.
fn stubs() -> (Kit, LoadRequest) {
    let mut kit = kit_with(Limits { max_held_messages: 1, ..Limits::default() });
    kit.close(1);
    for number in 1..=5 {
        kit.publish(3, sent(number, "x", AtLeastOnce));
    }
    kit.told_store();
    assert!(kit.loads.is_empty(), "nobody wants them yet");
    kit.give(Input::Opened(conn(4)));
    kit.give(Input::Connect(conn(4), Connect { receive_maximum: id(2), ..keeper("in") }));
    let request = kit.loads.pop().unwrap();
    assert_eq!(*request.records, [2, 3, 4, 5], "in order");
    assert_eq!(request.number(), SessionNumber(1));
    (kit, request)
}

#[test]
fn what_waits_in_the_store_alone_is_asked_for_once_and_comes_in_order() {
    let (mut kit, request) = stubs();
    kit.publish(3, sent(6, "live", AtLeastOnce));
    assert!(kit.loads.is_empty(), "they have been asked for");
    let answer = loaded(&kit, &request, &[(2, Some("2")), (3, Some("3")), (4, Some("4")), (5, Some("5"))]);
    kit.give(Input::Store(answer));
    assert_eq!(kit.drain(4), ["x", "2", "3", "4", "5", "live"]);
    assert!(kit.loads.is_empty());
}

#[test]
fn what_the_store_has_lost_is_counted_and_the_rest_comes() {
    let (mut kit, request) = stubs();
    let answer = loaded(&kit, &request, &[(2, None), (3, Some("3")), (4, None), (5, Some("5"))]);
    kit.give(Input::Store(answer));
    assert_eq!(kit.drain(4), ["x", "3", "5"]);
    assert_eq!(kit.dropped(DropReason::StoreLost), 2);
    let told = kit.told_store();
    assert!(told.contains(&"1 done 2".into()) && told.contains(&"1 done 4".into()), "{told:?}");
}

#[test]
fn messages_for_an_ended_session_that_come_back_are_for_nobody() {
    let (mut kit, request) = stubs();
    kit.give(Input::Disconnect { conn: conn(4), with_will: false, expiry_s: Some(0) });
    assert!(kit.told_store().contains(&"ended 1 [1, 2, 3, 4, 5]".into()));
    assert_eq!(kit.dropped(DropReason::SessionEnded), 5);
    let answer = loaded(&kit, &request, &[(2, Some("2"))]);
    kit.give(Input::Store(answer));
    kit.connect(5, keeper("in"));
    assert_eq!(kit.bodies(5), [""; 0]);
}

#[test]
fn a_packet_id_of_qos_1_is_stored_when_the_connection_goes_before_the_puback() {
    let mut kit = kit();
    kit.publish(3, sent(1, "x", AtLeastOnce));
    kit.publish(3, sent(2, "y", AtLeastOnce));
    kit.ack(1, PubAck, 2);
    kit.told_store();
    kit.close(1);
    assert_eq!(kit.told_store(), ["sent 1/1 1 of 1", "1 online false"], "what is acknowledged has none");
    kit.connect(4, keeper("in"));
    kit.told_store();
    kit.close(4);
    assert_eq!(kit.told_store(), ["1 online false"], "once");
    kit.connect(5, keeper("in"));
    kit.ack(5, PubAck, 1);
    assert_eq!(kit.told_store(), ["kept 1 in", "completed 1/1", "1 done 1"]);
}

#[test]
fn a_publisher_to_whom_2_048_answers_are_owed_is_not_read() {
    let mut kit = kit();
    kit.connect(4, Connect { is_v5: false, ..client("eager") });
    for number in 1..2_048 {
        kit.publish(4, sent(number, "x", AtLeastOnce));
    }
    assert!(kit.paused.is_empty());
    kit.publish(4, sent(2_048, "x", AtLeastOnce));
    assert_eq!(kit.paused, [4]);
    let tickets = kit.tickets();
    tickets[..1_023].iter().for_each(|&ticket| kit.settle(ticket));
    assert_eq!(kit.paused, [4], "until half of them are out");
    kit.settle(tickets[1_023]);
    assert!(kit.paused.is_empty());
    tickets[1_024..].iter().for_each(|&ticket| kit.settle(ticket));
    assert_eq!(kit.take(4).len(), 2_048);
}

#[test]
fn a_will_is_in_the_store_until_its_message_is() {
    let mut kit = kit();
    let with_will = |body, delay_s| {
        let will = WillRequest { publish: publish("t", body, AtLeastOnce), delay_s };
        Connect { expiry_s: 1_000, clean_start: false, will: Some(will), ..client("w") }
    };
    let kept = |words: &[&str]| words.iter().map(|&words| words.to_owned()).collect::<Vec<_>>();
    kit.connect(4, with_will("1", 0));
    assert_eq!(kit.told_store(), ["will 4 1", "kept 4 w"]);
    kit.give(Input::Disconnect { conn: conn(4), with_will: false, expiry_s: None });
    assert_eq!(kit.told_store(), ["will gone 4", "4 online false"], "good-bye");

    kit.connect(5, with_will("2", 0));
    kit.told_store();
    kit.close(5);
    let published = |body| kept(&["4 online false", &format!("publish {body} 1@1"), "will gone 4"]);
    assert_eq!(kit.told_store(), published("2"), "the connection is lost");

    kit.connect(6, with_will("3", 10));
    kit.told_store();
    kit.close(6);
    assert_eq!(kit.told_store(), ["4 online false"], "it is delayed");
    kit.connect(7, with_will("4", 10));
    assert_eq!(kit.told_store(), ["will 4 4", "kept 4 w"], "in place of the other");
    kit.close(7);
    kit.connect(8, keeper("w"));
    assert_eq!(kit.told_store(), ["4 online false", "will gone 4", "kept 4 w"], "the return cancels it");

    kit.connect(9, with_will("5", 10));
    kit.close(9);
    kit.told_store();
    kit.pass(10_200);
    assert_eq!(kit.told_store(), ["publish 5 1@1", "will gone 4"], "it is due");

    kit.connect(10, with_will("6", 0));
    kit.told_store();
    kit.connect(11, with_will("7", 10));
    let taken_over = ["4 online false", "kept 4 w", "publish 6 1@1", "will gone 4", "will 4 7"];
    assert_eq!(kit.told_store(), taken_over, "a newer one must not displace what is not published");
    kit.connect(12, with_will("8", 0));
    assert_eq!(kit.told_store(), ["will gone 4", "4 online false", "will 4 8", "kept 4 w"]);

    kit.connect(13, client("w"));
    let ended = ["4 online false", "ended 4 []", "publish 8 1@1", "will gone 4"];
    assert_eq!(kit.told_store(), ended, "a clean start ends the session");
    kit.connect(14, Connect { expiry_s: 0, ..with_will("9", 0) });
    assert_eq!(kit.told_store(), ["will 6 9"], "the session is not kept, but its will is");
    kit.give(Input::Shutdown { keeps_wills: false });
    assert_eq!(kit.told_store(), ["publish 9 1@1", "will gone 6"]);
}

/// Session 2 has sent a retained message at QoS 2 that is held, for session 1 and under record 1.
fn held() -> (Kit, Ticket) {
    let mut kit = kit();
    kit.publish(2, Publish { retain: true, ..sent(7, "held", ExactlyOnce) });
    let [(ticket, _)] = kit.submissions()[..] else { panic!() };
    (kit, ticket)
}

fn retained(kit: &Kit) -> Option<String> {
    let message = kit.engine.shared().retained.get(&TopicName::from_validated("t"), 0)?;
    Some(String::from_utf8_lossy(message.payload()).into_owned())
}

#[test]
fn a_held_message_that_a_later_one_has_overtaken_is_not_retained() {
    let (mut kit, ticket) = held();
    kit.publish(3, Publish { retain: true, ..publish("t", "later", AtMostOnce) });
    assert_eq!(kit.told_store(), ["publish later retained"]);
    kit.settle(ticket);
    assert_eq!(kit.take(2), [acked(PubRec, 7, Reason::Success)]);
    assert_eq!(retained(&kit).as_deref(), Some("later"));
}

#[test]
fn who_subscribes_while_a_retained_message_is_held_gets_it_live_and_stored() {
    let (mut kit, ticket) = held();
    kit.connect(4, keeper("late"));
    kit.subscribe(4, &[filter("#", AtLeastOnce)]);
    kit.told_store();
    assert_eq!(kit.bodies(4), [""; 0], "nothing is retained yet");
    kit.publish(2, sent(8, "next", ExactlyOnce));
    let next = kit.submitted.iter().find_map(|(_, op)| match op {
        StoreOp::Publish { message, .. } => Some(message.record()),
        _ => None,
    });
    kit.settle(ticket);
    let copy = kit.submitted.iter().find_map(|(ticket, op)| match op {
        StoreOp::Publish { message, .. } if *ticket == Ticket::NONE => Some(message.record()),
        _ => None,
    });
    assert!(copy.unwrap() < next.unwrap(), "after a restart they come in the order of these numbers");
    let told = kit.told_store();
    assert!(told.contains(&"publish held 4@1".into()), "for the one who is new: {told:?}");
    assert!(!told.contains(&"1 done 1".into()), "the other keeps his: {told:?}");
    assert_eq!(
        (kit.bodies(1), kit.bodies(4)),
        (vec!["held".into(), "next".into()], vec!["held".into(), "next".into()])
    );
}

/// Retained messages of at most `max_bytes`, of which `old` at `t` is one; connection 2 speaks MQTT 3.
fn old_retained(max_bytes: usize) -> Kit {
    let mut kit = Kit::with_retained(RetainedLimits { max_bytes, ..RetainedLimits::default() });
    kit.connect(2, Connect { is_v5: false, ..keeper("out") });
    kit.publish(2, Publish { retain: true, ..publish("t", "old", AtLeastOnce) });
    kit.take(2);
    kit.manual = true;
    kit
}

#[test]
fn what_is_refused_by_a_limit_after_all_leaves_the_store_with_what_is_still_retained() {
    let mut kit = old_retained(Message::OVERHEAD + 10);
    kit.publish(2, Publish { retain: true, ..sent(7, "much too large", ExactlyOnce) });
    let told = kit.told_store();
    assert_eq!(told, ["publish much too large retained from 1/7!", "publish old retained"]);
    assert_eq!(kit.dropped(DropReason::RetainedFull), 1);
    assert_eq!(retained(&kit).as_deref(), Some("old"));
    kit.publish(2, Publish { retain: true, ..sent(8, "", AtLeastOnce) });
    kit.told_store();
    kit.publish(2, Publish { retain: true, ..sent(9, "much too large", ExactlyOnce) });
    let told = kit.told_store();
    assert_eq!(told, ["publish much too large retained from 1/9!", "retained expired"]);
}

#[test]
fn what_is_taken_back_because_an_older_one_comes_again_leaves_the_store_with_what_is_still_retained() {
    let mut kit = old_retained(1 << 20);
    kit.publish(2, Publish { packet_id: Some(id(6)), ..publish("u", "first", ExactlyOnce) });
    kit.publish(2, Publish { retain: true, ..sent(7, "second", ExactlyOnce) });
    let tickets: Vec<_> = kit.submissions().into_iter().map(|(ticket, _)| ticket).collect();
    kit.settle(tickets[1]);
    kit.fail(tickets[0]);
    assert_eq!(kit.take(2), [Seen::Closed(Kind::QuotaExceeded)], "and sends both again");
    assert_eq!(kit.told_store(), ["1 online false", "released 1/7", "publish old retained"]);
    assert_eq!(retained(&kit).as_deref(), Some("old"));
}

#[test]
fn who_is_told_of_a_failure_keeps_what_it_sent_behind() {
    let mut kit = kit();
    kit.publish(2, sent(6, "first", ExactlyOnce));
    kit.publish(2, sent(7, "second", ExactlyOnce));
    let tickets: Vec<_> = kit.submissions().into_iter().map(|(ticket, _)| ticket).collect();
    kit.settle(tickets[1]);
    kit.fail(tickets[0]);
    let answers = [acked(PubRec, 6, Reason::QuotaExceeded), acked(PubRec, 7, Reason::Success)];
    assert_eq!(kit.take(2), answers);
    kit.told_store();
    assert_eq!(kit.bodies(1), ["second"]);
}
