//! STOMP: consumers of topics, receipts in order, settlements, transactions.

use super::*;
use crate::consumer::{Beats, Commit, Consume, Receipt, Request, Send, Settle, Verdict};
use crate::group::QueueOptions;
use crate::policy::Overflow;
use crate::selector::Selector;
use Qos::{AtLeastOnce, AtMostOnce};
use Verdict::{Accept, Reject, Requeue};

static NOTHING_SAID: QueueOptions = QueueOptions {
    message_ttl_ms: None,
    idle_expiry_ms: None,
    max_messages: None,
    max_bytes: None,
    overflow: None,
    max_priority: None,
    dead_letter: None,
    max_deliveries: None,
    ack_deadline_ms: None,
    auto_delete: None,
    durable: None,
    selector: None,
};

pub(super) fn talker(name: &str) -> Connect<'_> {
    Connect { is_v5: false, keep_alive_s: 0, beats: Some(Beats::default()), ..client(name) }
}

/// One that acknowledges.
pub(super) fn consume(number: u32, filter: &str) -> Consume<'_> {
    Consume {
        id: ConsumerId(number),
        filter,
        durable: None,
        acknowledges: true,
        window: NonZeroU16::new(10).unwrap(),
        no_local: false,
        selector: None,
        browses: false,
        exclusive: false,
        options: &NOTHING_SAID,
    }
}

pub(super) fn message<'a>(topic: &'a str, body: &'a str, qos: Qos) -> Send<'a> {
    Send { publish: Publish { packet_id: None, ..publish(topic, body, qos) }, expires_in_ms: None }
}

fn receipt(number: u32) -> Option<Receipt> {
    NonZeroU32::new(number).map(Receipt)
}

fn given(number: u32) -> Seen {
    Seen::Reply(Reply::Receipt(receipt(number).unwrap()))
}

fn consuming(consumer: u32, number: u32) -> Seen {
    Seen::Reply(Reply::Consuming(ConsumerId(consumer), receipt(number)))
}

fn consumed(consumer: u32, body: &str, pid: u16) -> Seen {
    Seen::Consumed(consumer, body.into(), Some(pid), 0)
}

fn auto(consumer: u32, body: &str) -> Seen {
    Seen::Consumed(consumer, body.into(), None, 0)
}

impl Kit {
    pub(super) fn ask(&mut self, number: u32, request: Request<'_>, wanted: u32) -> Vec<Seen> {
        self.give(Input::Request(conn(number), request, receipt(wanted)));
        self.take(number)
    }

    pub(super) fn send(&mut self, number: u32, send: Send<'_>, wanted: u32) -> Vec<Seen> {
        self.ask(number, Request::Send(send), wanted)
    }

    pub(super) fn settled_by(
        &mut self,
        number: u32,
        consumer: u32,
        pids: &[u16],
        verdict: Verdict,
        wanted: u32,
    ) -> Vec<Seen> {
        let pids: Vec<_> = pids.iter().map(|&pid| id(pid)).collect();
        let settle = Settle { consumer: ConsumerId(consumer), packet_ids: &pids, verdict };
        self.ask(number, Request::Settle(settle), wanted)
    }

    /// A connection of STOMP, and its consumer of `filter`.
    pub(super) fn consumer(&mut self, number: u32, filter: &str) {
        self.connect(number, talker("talker"));
        self.ask(number, Request::Consume(consume(1, filter)), 0);
    }
}

#[test]
fn every_subscription_gets_the_message_and_settles_it_by_itself() {
    let mut kit = Kit::new();
    kit.consumer(1, "a/+");
    assert_eq!(kit.ask(1, Request::Consume(consume(2, "a/b")), 7), [consuming(2, 7)]);
    let same = Consume { acknowledges: false, ..consume(3, "a/b") };
    kit.ask(1, Request::Consume(same), 0);
    kit.connect(2, talker("p"));
    kit.send(2, message("a/b", "x", AtMostOnce), 0);
    let mut seen = kit.take(1);
    seen.sort_by_key(|seen| format!("{seen:?}"));
    assert_eq!(seen, [consumed(1, "x", 1), consumed(2, "x", 1), auto(3, "x")]);
    kit.settled_by(1, 1, &[1], Accept, 0);
    assert_eq!(kit.engine.stats().in_flight, 1);
    kit.settled_by(1, 2, &[1], Accept, 0);
    assert_eq!(kit.engine.stats().in_flight, 0);
    // [`Stats::sessions`] counts clients.
    assert_eq!((kit.engine.stats().sessions, kit.engine.stats().connected), (2, 2));
    kit.close(1);
    kit.close(2);
    assert_eq!(kit.engine.sessions.len(), 0);
}

#[test]
fn a_window_holds_the_rest_back_until_something_is_settled() {
    let mut kit = Kit::new();
    kit.connect(1, talker("c"));
    let narrow = Consume { window: NonZeroU16::new(2).unwrap(), ..consume(1, "t") };
    kit.ask(1, Request::Consume(narrow), 0);
    kit.connect(2, client("p"));
    for body in ["1", "2", "3", "4"] {
        kit.publish(2, publish("t", body, AtMostOnce));
    }
    assert_eq!(kit.take(1), [consumed(1, "1", 1), consumed(1, "2", 2)]);
    assert_eq!(kit.settled_by(1, 1, &[1], Accept, 0), [consumed(1, "3", 3)]);
    assert_eq!(kit.settled_by(1, 1, &[2, 3], Accept, 5), [given(5), consumed(1, "4", 4)]);
    assert_eq!(kit.settled_by(1, 1, &[2], Accept, 0), [], "settled before");
    assert_eq!(kit.engine.stats().stray_acks, 1);
}

#[test]
fn who_consumes_no_more_may_still_settle_what_he_has() {
    let mut kit = Kit::new();
    kit.consumer(1, "t");
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "1", AtMostOnce));
    kit.take(1);
    let cancel = Request::Cancel { consumer: ConsumerId(1), forgets: false };
    assert_eq!(kit.ask(1, cancel, 3), [given(3)]);
    kit.publish(2, publish("t", "2", AtMostOnce));
    assert_eq!(kit.take(1), []);
    assert_eq!(kit.engine.sessions.len(), 3);
    assert_eq!(kit.settled_by(1, 1, &[1], Accept, 4), [given(4)]);
    assert_eq!(kit.engine.sessions.len(), 2, "nothing is left to be settled");
    assert_eq!(kit.engine.stats().stray_acks, 0);
    // The next one of that connection is another.
    assert_eq!(kit.ask(1, Request::Consume(consume(2, "t")), 0), [consuming(2, 0)]);
    kit.publish(2, publish("t", "3", AtMostOnce));
    assert_eq!(kit.take(1), [consumed(2, "3", 2)]);
}

#[test]
fn who_has_settled_the_last_by_a_transaction_ends_as_well() {
    let mut kit = Kit::new();
    kit.consumer(1, "t");
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "1", AtMostOnce));
    kit.take(1);
    kit.ask(1, Request::Cancel { consumer: ConsumerId(1), forgets: false }, 0);
    let settles = [Settle { consumer: ConsumerId(1), packet_ids: &[id(1)], verdict: Accept }];
    assert_eq!(kit.ask(1, Request::Commit(Commit { sends: &[], settles: &settles }), 1), [given(1)]);
    assert_eq!(kit.engine.sessions.len(), 2);
}

#[test]
fn a_message_for_nobody_is_receipted_and_a_live_one_is_not_called_retained() {
    let mut kit = Kit::new();
    kit.consumer(1, "t");
    assert_eq!(kit.send(1, message("nobody", "x", AtMostOnce), 3), [given(3)]);
    kit.connect(2, client("p"));
    let retained = |kit: &mut Kit| match &kit.take(1)[..] {
        [Seen::Consumed(..)] => kit.retained_last,
        other => panic!("{other:?}"),
    };
    kit.publish(2, Publish { retain: true, ..publish("t", "live", AtMostOnce) });
    assert!(!retained(&mut kit));
    kit.ask(1, Request::Cancel { consumer: ConsumerId(1), forgets: false }, 0);
    kit.give(Input::Request(conn(1), Request::Consume(consume(2, "t")), None));
    kit.seen.retain(|(_, seen)| !matches!(seen, Seen::Reply(_)));
    assert!(retained(&mut kit));
}

#[test]
fn nothing_is_sent_before_the_receipt_of_the_subscription() {
    let mut kit = Kit::new();
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("kept", AtLeastOnce)]);
    kit.connect(1, talker("c"));
    kit.manual = true;
    kit.send(1, message("kept", "slow", AtLeastOnce), 1);
    kit.ask(1, Request::Consume(consume(1, "t")), 2);
    kit.send(1, message("t", "x", AtMostOnce), 3);
    assert_eq!(kit.take(1), [], "the first receipt waits for the store, and all behind it");
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(1), [given(1), consuming(1, 2), given(3), consumed(1, "x", 1)]);
}

#[test]
fn what_is_owed_to_somebody_who_is_away_is_stored_before_its_receipt() {
    let mut kit = Kit::new();
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("t", AtLeastOnce)]);
    kit.close(9);
    kit.connect(1, talker("p"));
    kit.manual = true;
    kit.submitted.clear();
    assert_eq!(kit.send(1, message("t", "1", AtLeastOnce), 1), []);
    // Whoever asks for no receipt is told of a failure all the same.
    assert_eq!(kit.send(1, message("t", "2", AtLeastOnce), 0), []);
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(1), [given(1)]);
    kit.fail(tickets[1]);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::QuotaExceeded)]);
    kit.connect(2, talker("q"));
    kit.tickets();
    assert_eq!(kit.send(2, message("t", "3", AtLeastOnce), 8), []);
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    let refused = Seen::Reply(Reply::Refused(receipt(8).unwrap()));
    assert_eq!(kit.take(2), [refused, Seen::Closed(Kind::QuotaExceeded)]);
}

#[test]
fn own_messages_and_unwanted_ones_are_left_out() {
    let mut kit = Kit::new();
    kit.connect(1, talker("c"));
    kit.ask(1, Request::Consume(Consume { no_local: true, ..consume(1, "t") }), 0);
    let selector = Some(Arc::new(Selector::parse("JSON('$.temp') > 30").unwrap()));
    kit.ask(1, Request::Consume(Consume { selector, ..consume(2, "t") }), 0);
    kit.connect(2, client("p"));
    kit.take(1);
    let seen = kit.send(1, message("t", "{\"temp\": 31}", AtMostOnce), 0);
    assert_eq!(seen, [consumed(2, "{\"temp\": 31}", 1)]);
    kit.publish(2, publish("t", "{\"temp\": 30}", AtMostOnce));
    assert_eq!(kit.take(1), [consumed(1, "{\"temp\": 30}", 1)]);
}

#[test]
fn a_selector_is_for_retained_messages_and_for_mqtt_too() {
    let mut kit = Kit::new();
    kit.connect(1, client("m"));
    let retained = |topic, body| Publish { retain: true, ..publish(topic, body, AtMostOnce) };
    kit.publish(1, retained("r/1", "[5]"));
    kit.publish(1, retained("r/2", "[6]"));
    let selector = || Some(Ok(Arc::new(Selector::parse("JSON('$[0]') = 6").unwrap())));
    kit.connect(2, keeper("s"));
    let filters = [filter("r/+", AtLeastOnce)];
    let (packet_id, id) = (id(9), NonZeroU32::new(4));
    kit.give(Input::Subscribe { conn: conn(2), packet_id, id, selector: selector(), filters: &filters });
    assert_eq!(kit.bodies(2), ["[6]"]);
    kit.publish(1, publish("r/3", "[5]", AtLeastOnce));
    assert_eq!((kit.bodies(2).len(), kit.engine.stats().in_flight), (0, 0));
    // Another one without it, and the same message comes once, with the identifiers of both or of the one that wants it.
    kit.subscribe_as(2, Some(3), &[filter("#", AtLeastOnce)]);
    kit.take(2);
    let ids_of = |kit: &mut Kit, body| {
        kit.publish(1, publish("r/3", body, AtLeastOnce));
        match &kit.take(2)[..] {
            [Seen::Message { ids, .. }] => ids.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ids_of(&mut kit, "[5]"), [3]);
    assert_eq!(ids_of(&mut kit, "[6]"), [3, 4]);
    let wrong = Some(Err("at column 3".into()));
    kit.give(Input::Subscribe { conn: conn(2), packet_id, id, selector: wrong, filters: &filters });
    let codes = [Err(Reason::ImplementationSpecificError)].into();
    let why = Some("at column 3".into());
    assert_eq!(kit.take(2), [Seen::Reply(Reply::Subscribed { packet_id, codes, why })]);
}

#[test]
fn what_a_selector_leaves_out_is_not_kept_for_a_sleeper() {
    let mut kit = Kit::new();
    kit.connect(2, keeper("s"));
    let selector = Some(Ok(Arc::new(Selector::parse("topic = 't/1'").unwrap())));
    let filters = [filter("t/+", AtLeastOnce)];
    kit.give(Input::Subscribe { conn: conn(2), packet_id: id(9), id: None, selector, filters: &filters });
    kit.close(2);
    kit.connect(1, client("p"));
    kit.manual = true;
    kit.publish(1, publish("t/2", "no", AtLeastOnce));
    kit.publish(1, publish("t/1", "yes", AtLeastOnce));
    let gone = |op: &StoreOp| matches!(op, StoreOp::Acknowledged { .. });
    assert_eq!(kit.submitted.iter().filter(|(_, op)| gone(op)).count(), 1);
    kit.manual = false;
    kit.connect(3, keeper("s"));
    assert_eq!(bodies(kit.take(3)).len() + kit.engine.stats().in_flight as usize, 1);
}

#[test]
fn a_plain_topic_gives_nobody_else_what_is_refused() {
    let mut kit = Kit::new();
    kit.consumer(1, "t");
    kit.connect(2, client("p"));
    kit.publish(2, publish("t", "1", AtMostOnce));
    kit.publish(2, publish("t", "2", AtMostOnce));
    kit.take(1);
    kit.settled_by(1, 1, &[1], Requeue, 0);
    kit.settled_by(1, 1, &[2], Reject, 0);
    assert_eq!(kit.take(1), []);
    assert_eq!(kit.dropped(DropReason::RefusedByClient), 2);
}

#[test]
fn nobody_sees_a_transaction_before_all_of_it_is_stored() {
    let mut kit = Kit::new();
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("t", AtLeastOnce)]);
    kit.consumer(1, "#");
    kit.connect(2, client("p"));
    kit.publish(2, publish("to settle", "0", AtMostOnce));
    kit.take(1);
    kit.manual = true;
    kit.submitted.clear();
    let sends = [message("t", "1", AtMostOnce), message("u", "2", AtMostOnce), message("t", "3", AtMostOnce)];
    let settles = [Settle { consumer: ConsumerId(1), packet_ids: &[id(1)], verdict: Accept }];
    let commit = || Request::Commit(Commit { sends: &sends, settles: &settles });
    assert_eq!(kit.ask(1, commit(), 5), []);
    assert_eq!((kit.bodies(9).len(), &kit.paused[..]), (0, &[1][..]));
    let submitted = std::mem::take(&mut kit.submitted);
    let [(ticket, StoreOp::Transaction(ops))] = &submitted[..] else { panic!("{submitted:?}") };
    // The one without anybody who is owed it is not the store's affair.
    assert_eq!(ops.len(), 2);
    kit.settle(*ticket);
    assert_eq!(kit.paused, []);
    let seen = kit.take(1);
    assert_eq!(seen, [given(5), consumed(1, "1", 1), consumed(1, "2", 2), consumed(1, "3", 3)]);
    assert_eq!(kit.bodies(9), ["1", "3"]);
}

#[test]
fn of_a_transaction_that_can_t_be_stored_nothing_happens() {
    let mut kit = Kit::new();
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("t", AtLeastOnce)]);
    kit.connect(1, talker("c"));
    kit.manual = true;
    kit.submitted.clear();
    let sends =
        [message("t", "1", AtMostOnce), Send { expires_in_ms: Some(0), ..message("t", "2", AtMostOnce) }];
    kit.ask(1, Request::Commit(Commit { sends: &sends, settles: &[] }), 5);
    let tickets = kit.tickets();
    kit.fail(tickets[0]);
    let refused = Seen::Reply(Reply::Refused(receipt(5).unwrap()));
    assert_eq!(kit.take(1), [refused, Seen::Closed(Kind::QuotaExceeded)]);
    assert_eq!(kit.take(9), []);
    assert_eq!(kit.dropped(DropReason::Expired), 1);
}

#[test]
fn retained_in_a_transaction_is_retained_when_it_is_stored() {
    let mut kit = Kit::new();
    kit.connect(1, talker("c"));
    kit.manual = true;
    let mut send = message("t", "1", AtMostOnce);
    send.publish.retain = true;
    kit.ask(1, Request::Commit(Commit { sends: &[send], settles: &[] }), 0);
    let filters = [filter("t", AtMostOnce)];
    kit.connect(2, client("early"));
    kit.subscribe(2, &filters);
    assert_eq!(kit.bodies(2), [""; 0]);
    for ticket in kit.tickets() {
        kit.settle(ticket);
    }
    assert_eq!(kit.bodies(2), ["1"], "live");
    kit.connect(3, client("late"));
    kit.give(Input::Subscribe {
        conn: conn(3),
        packet_id: id(9),
        id: None,
        selector: None,
        filters: &filters,
    });
    assert_eq!(kit.bodies(3), ["1"], "retained");
}

#[test]
fn good_bye_comes_after_everything_that_was_asked_for() {
    let mut kit = Kit::new();
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("t", AtLeastOnce)]);
    kit.consumer(1, "t");
    kit.manual = true;
    kit.submitted.clear();
    kit.send(1, message("t", "1", AtLeastOnce), 1);
    kit.take(1);
    assert_eq!(kit.ask(1, Request::Leave, 2), []);
    kit.send(2, message("t", "2", AtLeastOnce), 1);
    let tickets = kit.tickets();
    kit.settle(tickets[0]);
    assert_eq!(kit.take(1), [given(1), Seen::Reply(Reply::Farewell(receipt(2)))]);
}

#[test]
fn silence_ends_a_connection_that_promised_a_heart_beat_and_an_idle_one() {
    let mut kit = Kit::new();
    let beats = Beats { expected_ms: 1_000, sent_ms: 1_000, idle_ms: 0 };
    kit.connect(1, Connect { beats: Some(beats), ..talker("beats") });
    kit.pass(1_900);
    let beat = Seen::Reply(Reply::Beat);
    assert_eq!(
        kit.take(1),
        std::slice::from_ref(&beat),
        "at 60 %, and once for the two that were due together"
    );
    kit.give(Input::Heard(conn(1)));
    kit.pass(1_500);
    assert_eq!(kit.take(1), [beat]);
    kit.pass(600);
    assert_eq!(kit.take(1).last(), Some(&Seen::Closed(Kind::KeepAliveTimeout)));
    let idle = Beats { idle_ms: 60_000, ..Beats::default() };
    kit.connect(2, Connect { beats: Some(idle), ..talker("idle") });
    kit.connect(3, Connect { beats: Some(idle), ..talker("waits") });
    kit.ask(3, Request::Consume(consume(1, "t")), 0);
    kit.pass(61_000);
    assert_eq!(kit.take(2), [Seen::Closed(Kind::KeepAliveTimeout)]);
    assert_eq!(kit.take(3), [], "it waits for messages");
}

#[test]
fn what_can_t_be_asked_for_ends_the_connection_and_names_the_receipt() {
    let limits = Limits { max_subscriptions: 1, retain_available: false, ..Limits::default() };
    let refused = |request: Request<'_>, kind| {
        let mut kit = Kit::with(limits.clone());
        kit.consumer(1, "t");
        let why = Seen::Reply(Reply::Refused(receipt(6).unwrap()));
        assert_eq!(kit.ask(1, request, 6), [why, Seen::Closed(kind)]);
        assert_eq!(kit.engine.sessions.len(), 0);
    };
    refused(Request::Consume(consume(2, "u")), Kind::QuotaExceeded);
    refused(Request::Consume(consume(2, "u/#/v")), Kind::TopicFilterInvalid);
    refused(Request::Consume(consume(2, "$queue/+")), Kind::TopicFilterInvalid);
    refused(Request::Consume(Consume { browses: true, ..consume(2, "u") }), Kind::TopicFilterInvalid);
    refused(Request::Cancel { consumer: ConsumerId(2), forgets: false }, Kind::ProtocolError);
    refused(Request::Send(message("$SYS/x", "", AtMostOnce)), Kind::NotAuthorized);
    let mut retained = message("t", "", AtMostOnce);
    retained.publish.retain = true;
    refused(Request::Send(retained), Kind::RetainNotSupported);
    refused(Request::Commit(Commit { sends: &[retained], settles: &[] }), Kind::RetainNotSupported);
}

#[test]
fn a_full_subscriber_under_refusal_is_told_to_the_sender() {
    let limits = Limits { overflow: Overflow::Refuse, max_queued_messages: 1, ..Limits::default() };
    let mut kit = Kit::with(limits);
    kit.connect(9, keeper("kept"));
    kit.subscribe(9, &[filter("t", AtLeastOnce)]);
    kit.close(9);
    kit.connect(1, talker("p"));
    assert_eq!(kit.send(1, message("t", "1", AtLeastOnce), 1), [given(1)]);
    let seen = kit.send(1, message("t", "2", AtLeastOnce), 2);
    assert_eq!(seen.last(), Some(&Seen::Closed(Kind::QuotaExceeded)));
}

#[test]
fn a_shared_subscription_has_members_of_both_worlds() {
    let mut kit = Kit::new();
    kit.connect(1, client("m"));
    kit.subscribe(1, &[filter("$share/g/t", AtLeastOnce)]);
    kit.consumer(2, "$share/g/t");
    kit.connect(3, talker("p"));
    for body in ["1", "2", "3", "4"] {
        kit.send(3, message("t", body, AtLeastOnce), 0);
    }
    let (one, other) = (kit.bodies(1), kit.take(2));
    assert_eq!((one.len(), other.len()), (2, 2));
    let acked_one = kit.ack(1, AckKind::PubAck, 1);
    assert_eq!(acked_one, []);
    // What the one held when it went is the other's.
    kit.close(2);
    assert_eq!(kit.bodies(1).len(), 2);
}
