//! Sessions: their beginning, takeover, wills, expiry, keep alive and end.

use super::*;
use crate::engine::deadlines::SWEEP_INTERVAL_MS;

fn with_will(client_id: &str, delay_s: u32) -> Connect<'_> {
    let will = WillRequest { publish: publish("will", "gone", Qos::AtMostOnce), delay_s };
    Connect { expiry_s: 100, clean_start: false, will: Some(will), ..client(client_id) }
}

/// A kit in which connection 9 waits for wills.
fn mourner() -> Kit {
    mourner_with(Limits::default())
}

fn mourner_with(limits: Limits) -> Kit {
    let mut kit = Kit::with(limits);
    kit.connect(9, client("mourner"));
    kit.subscribe(9, &[filter("will", Qos::ExactlyOnce)]);
    kit
}

#[test]
fn a_session_is_present_if_it_was_kept_and_not_discarded() {
    // [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.2.2-2]
    let mut kit = Kit::new();
    assert_eq!(kit.connect(1, keeper("c")), [connected(false)]);
    kit.close(1);
    assert_eq!(kit.connect(2, keeper("c")), [connected(true)]);
    kit.close(2);
    assert_eq!(kit.connect(3, Connect { clean_start: true, ..keeper("c") }), [connected(false)]);
    kit.close(3);
    assert_eq!(kit.connect(4, Connect { expiry_s: 0, ..keeper("c") }), [connected(true)]);
    kit.close(4);
    assert_eq!(kit.connect(5, keeper("c")), [connected(false)], "expiry 0 ends with the connection");
}

#[test]
fn a_second_connect_ends_the_connection() {
    // [MQTT-3.1.0-2]
    let mut kit = Kit::new();
    kit.connect(1, client("c"));
    kit.give(Input::Connect(conn(1), client("c")));
    assert_eq!(kit.take(1), [Seen::Closed(Kind::ProtocolError)]);
}

#[test]
fn the_older_connection_of_a_client_is_told_that_it_was_taken_over() {
    // [MQTT-3.1.4-3]
    let mut kit = Kit::new();
    kit.connect(1, keeper("c"));
    assert_eq!(kit.connect(2, keeper("c")), [connected(true)]);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::SessionTakenOver)]);
    kit.close(1);
    kit.give(Input::Ping(conn(2)));
    assert_eq!(kit.take(2), [Seen::Reply(Reply::Pong)], "the late end of the first is nothing to the second");
}

#[test]
fn a_session_is_not_given_to_another_user() {
    let mut kit = Kit::new();
    kit.connect(1, Connect { user: Some("anna"), ..keeper("c") });
    let thief = Connect { user: Some("otto"), ..keeper("c") };
    assert_eq!(kit.connect(2, thief), [Seen::Closed(Kind::NotAuthorized)]);
    assert_eq!(kit.take(1), [], "and its owner notices nothing");
}

#[test]
fn a_will_is_published_unless_the_client_says_good_bye() {
    // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
    let mut kit = mourner();
    kit.connect(1, with_will("a", 0));
    kit.close(1);
    assert_eq!(kit.bodies(9), ["gone"]);
    kit.connect(2, with_will("a", 0));
    kit.give(Input::Disconnect { conn: conn(2), with_will: false, expiry_s: None });
    kit.close(2);
    assert_eq!(kit.bodies(9), [""; 0]);
    kit.connect(3, with_will("a", 0));
    kit.give(Input::Disconnect { conn: conn(3), with_will: true, expiry_s: None });
    assert_eq!(kit.bodies(9), ["gone"], "reason 0x04");
}

#[test]
fn a_delayed_will_waits_and_the_return_cancels_it() {
    // [MQTT-3.1.3-9]
    let mut kit = mourner();
    kit.connect(1, with_will("a", 10));
    kit.close(1);
    kit.pass(9_000);
    assert_eq!(kit.bodies(9), [""; 0]);
    kit.connect(2, with_will("a", 10));
    kit.pass(20_000);
    assert_eq!(kit.bodies(9), [""; 0]);
    kit.close(2);
    kit.pass(10_200);
    assert_eq!(kit.bodies(9), ["gone"]);
    kit.pass(100_000);
    assert_eq!(kit.bodies(9), [""; 0], "once");
}

#[test]
fn the_end_of_the_session_does_not_wait_for_the_delay() {
    let mut kit = mourner();
    kit.connect(1, Connect { expiry_s: 5, ..with_will("a", 60) });
    kit.close(1);
    kit.pass(5_200);
    assert_eq!(kit.bodies(9), ["gone"]);
    kit.connect(2, with_will("a", 60));
    kit.close(2);
    kit.connect(3, client("a"));
    assert_eq!(kit.bodies(9), ["gone"], "a clean start ends it");
}

#[test]
fn a_takeover_publishes_the_will_unless_it_is_delayed_and_the_session_goes_on() {
    let mut kit = mourner();
    kit.connect(1, with_will("a", 0));
    kit.connect(2, with_will("a", 10));
    assert_eq!(kit.bodies(9), ["gone"]);
    kit.connect(3, with_will("a", 10));
    kit.pass(60_000);
    assert_eq!(kit.bodies(9), [""; 0]);
    kit.connect(4, client("a"));
    assert_eq!(kit.bodies(9), ["gone"], "Clean Start");
}

#[test]
fn a_stop_of_the_broker_publishes_wills_once() {
    let mut kit = mourner();
    kit.connect(1, with_will("a", 0));
    kit.give(Input::Shutdown { keeps_wills: false });
    kit.close(1);
    assert_eq!(kit.bodies(9), ["gone"]);
}

#[test]
fn a_session_expires_and_a_return_puts_it_off() {
    // [MQTT-3.1.2-23]
    let mut kit = Kit::new();
    let short = Connect { expiry_s: 10, ..keeper("c") };
    kit.connect(1, short.clone());
    kit.close(1);
    kit.pass(9_000);
    assert_eq!(kit.connect(2, short.clone()), [connected(true)]);
    kit.pass(60_000);
    kit.close(2);
    kit.pass(9_900);
    assert_eq!(kit.engine.stats().sessions, 1);
    kit.pass(300);
    assert_eq!(kit.engine.stats().sessions, 0);
}

#[test]
fn the_ceiling_of_the_session_expiry_is_told() {
    let mut kit = Kit::with(Limits { max_session_expiry_s: 60, ..Limits::default() });
    let told =
        |expiry_s| [Seen::Reply(Reply::Connected { session_present: false, expiry_s, keep_alive_s: None })];
    assert_eq!(kit.connect(1, Connect { expiry_s: 60, ..client("a") }), told(None));
    assert_eq!(kit.connect(2, Connect { expiry_s: 61, ..client("b") }), told(Some(60)));
}

#[test]
fn disconnect_changes_the_expiry_but_not_from_nothing() {
    // [MQTT-3.14.2-2]
    let mut kit = Kit::new();
    kit.connect(1, keeper("a"));
    kit.give(Input::Disconnect { conn: conn(1), with_will: false, expiry_s: Some(0) });
    assert_eq!(kit.engine.stats().sessions, 0);
    kit.connect(2, client("b"));
    kit.give(Input::Disconnect { conn: conn(2), with_will: false, expiry_s: Some(5) });
    assert_eq!(kit.take(2), [Seen::Closed(Kind::ProtocolError)]);
}

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_a_connection() {
    // [MQTT-3.1.2-22]
    let mut kit = Kit::new();
    kit.connect(1, Connect { keep_alive_s: 10, ..client("a") });
    kit.pass(14_900);
    kit.give(Input::Ping(conn(1)));
    assert_eq!(kit.take(1), [Seen::Reply(Reply::Pong)]);
    kit.pass(14_900);
    assert_eq!(kit.take(1), []);
    kit.pass(300);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::KeepAliveTimeout)]);
}

#[test]
fn only_mqtt_5_is_told_a_lower_keep_alive() {
    // [MQTT-3.2.2-21]
    let mut kit = Kit::with(Limits { max_keep_alive_s: 30, ..Limits::default() });
    let told = |keep_alive_s| {
        [Seen::Reply(Reply::Connected { session_present: false, expiry_s: None, keep_alive_s })]
    };
    assert_eq!(kit.connect(1, Connect { keep_alive_s: 30, ..client("a") }), told(None));
    assert_eq!(kit.connect(2, Connect { keep_alive_s: 31, ..client("b") }), told(Some(30)));
    assert_eq!(kit.connect(3, client("c")), told(Some(30)));
    assert_eq!(kit.connect(4, Connect { is_v5: false, ..client("d") }), told(None));
}

#[test]
fn whoever_does_not_connect_in_time_is_refused() {
    let mut kit = Kit::new();
    kit.give(Input::Opened(conn(1)));
    kit.pass(9_900);
    assert_eq!(kit.take(1), []);
    kit.pass(300);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::ConnectTimeout)]);
}

#[test]
fn whoever_comes_and_goes_leaves_no_heap_of_deadlines() {
    let mut kit = Kit::new();
    let mut most = 0;
    kit.connect(1, Connect { keep_alive_s: 10, ..client("watched") });
    for round in 0..100_000_u32 {
        let again = ConnId { slot: 2 + round % 3, generation: round };
        kit.give(Input::Opened(again));
        let will = WillRequest { publish: publish("will", "gone", Qos::AtMostOnce), delay_s: 10_000 };
        let connect = Connect { expiry_s: 600_000, keep_alive_s: u16::MAX, will: Some(will), ..keeper("c") };
        kit.give(Input::Connect(again, connect));
        kit.give(Input::Closed(again));
        kit.seen.clear();
        most = most.max(kit.engine.wheel.len());
    }
    assert!(most < 200, "{most} deadlines for 5 connections and 2 sessions");
    kit.pass(16_000);
    assert_eq!(kit.take(1), [Seen::Closed(Kind::KeepAliveTimeout)], "what meant something is still there");
    kit.pass(599_000_000);
    assert_eq!(kit.engine.stats().wills, 1);
    kit.pass(1_100_000);
    assert_eq!(kit.engine.stats().sessions, 0);
}

#[test]
fn sessions_that_are_kept_are_limited_and_no_others() {
    let mut kit = Kit::with(Limits { max_sessions: 2, ..Limits::default() });
    assert_eq!(kit.connect(1, keeper("a")), [connected(false)]);
    assert_eq!(kit.connect(2, keeper("b")), [connected(false)]);
    kit.close(2);
    assert_eq!(kit.connect(3, keeper("c")), [Seen::Closed(Kind::QuotaExceeded)]);
    assert_eq!(kit.connect(4, client("c")), [connected(false)], "one that ends with its connection");
    assert_eq!(kit.connect(5, keeper("b")), [connected(true)], "one's own");
    assert_eq!(
        kit.connect(6, Connect { clean_start: true, ..keeper("b") }),
        [connected(false)],
        "its successor"
    );
    assert_eq!(kit.connect(7, keeper("c")), [Seen::Closed(Kind::QuotaExceeded)]);
    assert_eq!(kit.take(4), [], "whose older connection notices nothing");
    kit.give(Input::Disconnect { conn: conn(6), with_will: false, expiry_s: Some(0) });
    assert_eq!(kit.connect(8, keeper("c")), [connected(false)], "b has given its place up");
    assert_eq!(kit.connect(9, Connect { expiry_s: 0, ..keeper("a") }), [connected(true)]);
    assert_eq!(kit.connect(10, keeper("d")), [connected(false)], "and so has a");
    assert_eq!(kit.engine.shared().kept_sessions(), 2);
    kit.close(8);
    kit.close(10);
    kit.pass(1_000_200);
    assert_eq!(kit.engine.shared().kept_sessions(), 0);
    assert_eq!(kit.connect(11, keeper("e")), [connected(false)]);
}

#[test]
fn the_memory_of_a_crowd_that_has_gone_is_given_back() {
    let mut kit = mourner_with(Limits { max_keep_alive_s: 0, ..Limits::default() });
    kit.connect(4_000, keeper("stays"));
    let names: Vec<_> = (10_000..19_000).map(|number| format!("c{number}")).collect();
    for (name, number) in names.iter().zip(10_000..) {
        kit.connect(number, Connect { keep_alive_s: 0, ..with_will(name, 40) });
    }
    for number in 10_000..19_000 {
        kit.close(number);
    }
    let room = |kit: &Kit| {
        let engine = &kit.engine;
        [engine.conns.capacity(), engine.sessions.capacity(), engine.by_client.capacity(), engine.wheel.len()]
    };
    assert!(room(&kit).into_iter().all(|room| room >= 9_000), "{:?}", room(&kit));
    kit.pass(41_000);
    assert_eq!(kit.bodies(9).len(), 9_000);
    kit.pass(100_000);
    kit.pass(SWEEP_INTERVAL_MS + 200);
    let [conns, sessions, by_client, deadlines] = room(&kit);
    assert!(conns <= 2 * 4_001 && sessions <= 256 && by_client <= 1_000, "{:?}", room(&kit));
    assert!(deadlines < 64, "{deadlines}");
    for number in [9, 4_000] {
        kit.give(Input::Ping(conn(number)));
        assert_eq!(kit.take(number), [Seen::Reply(Reply::Pong)]);
    }
    kit.give(Input::Ping(conn(18_999)));
    assert_eq!(kit.take(18_999), []);
    assert_eq!(kit.connect(18_999, with_will("c10000", 0)), [connected(false)]);
    assert_eq!(kit.connect(5_000, keeper("stays")), [connected(true)]);
    kit.close(18_999);
    assert_eq!(kit.bodies(9), ["gone"]);
}
