//! Request and response between two clients (MQTT 5, section 4.10), No Local, keep alive, PINGREQ.

use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Subscription};

use crate::kit::{Got, Out, Served, V5, VERSIONS};

const QOS_1: Qos = Qos::AtLeastOnce;

#[test]
fn a_request_finds_its_answer_by_response_topic_and_correlation_data() {
    let served = Served::start();
    let mut asker = served.client(V5, "asker");
    let mut other = served.client(V5, "another asker");
    let mut answerer = served.client(V5, "answerer");
    answerer.subscribe(QOS_1, "service/double");
    for (client, topic) in [(&mut asker, "answers/asker"), (&mut other, "answers/other")] {
        client.subscribe(QOS_1, topic);
    }
    let request = |topic: &str, correlation: &str| {
        let property = |id: u8, value: &str| [&[id, 0, value.len() as u8][..], value.as_bytes()].concat();
        [property(0x08, topic), property(0x09, correlation)].concat()
    };
    let (mine, yours) = (request("answers/asker", "one"), request("answers/other", "two"));
    asker.publish(&Out { fields: &mine, ..Out::new(QOS_1, "service/double", "21") });
    other.publish(&Out { fields: &yours, ..Out::new(QOS_1, "service/double", "4") });
    for _ in 0..2 {
        let request = answerer.take();
        let field = |name: &str| request.fields.iter().find(|(key, _)| key == name).unwrap().1.clone();
        let correlation = field("correlation data");
        let property = [&[0x09, 0, correlation.len() as u8][..], correlation.as_bytes()].concat();
        let answer = (request.text().parse::<u32>().unwrap() * 2).to_string();
        answerer.publish(&Out { fields: &property, ..Out::new(QOS_1, &field("response topic"), &answer) });
    }
    for (client, answer, correlation) in [(&mut asker, "42", "one"), (&mut other, "8", "two")] {
        let got = client.take();
        assert_eq!(
            (got.text(), &got.fields[..]),
            (answer, &[("correlation data".into(), correlation.into())][..])
        );
    }
}

#[test]
fn mqtt_3_8_3_3_no_local_keeps_own_messages_away() {
    let served = Served::start();
    let mut bridge = served.client(V5, "bridge");
    let wish = Subscription { no_local: true, ..Subscription::new("local/#", QOS_1) };
    bridge.subscribe_to(None, &[wish]);
    let mut other = served.client(V5, "other");
    bridge.say(QOS_1, "local/own", "own");
    other.say(QOS_1, "local/other", "other");
    assert_eq!(bridge.take().text(), "other");
    bridge.has_nothing_but(&mut other, "local/other");
    // Below 5.0, and without the option, everything comes back.
    for version in VERSIONS {
        let mut plain = served.client(version, "plain");
        plain.subscribe(QOS_1, "own");
        plain.say(QOS_1, "own", "x");
        assert_eq!(plain.take().text(), "x");
    }
}

#[test]
fn mqtt_3_12_4_1_a_ping_is_answered() {
    let served = Served::start();
    for version in VERSIONS {
        let mut client = served.client(version, "pings");
        for _ in 0..3 {
            client.raw(&[0xC0, 0]);
            assert_eq!(client.next(), Got::Pong);
        }
    }
}

#[test]
fn mqtt_3_1_2_22_silence_for_one_and_a_half_keep_alives_ends_the_connection() {
    let served = Served::start();
    std::thread::scope(|scope| {
        for version in VERSIONS {
            let served = &served;
            scope.spawn(move || {
                let mut connect = Connect::new(version, "silent");
                connect.client_id = if version.is_v5() { "silent 5" } else { "silent 3" };
                connect.keep_alive_s = 1;
                let id = format!("silent {version:?}");
                connect.client_id = &id;
                let begun = Instant::now();
                let (mut client, _) = served.welcome(&connect);
                client.is_refused(0x8D);
                assert!(begun.elapsed() >= Duration::from_millis(1_450), "{:?}", begun.elapsed());
                assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            });
        }
        // Any packet is a sign of life, and without a keep alive none is needed.
        let served = &served;
        scope.spawn(move || {
            let mut connect = Connect::new(V5, "talks");
            // So long that a busy machine that does not run this for a moment has not kept silent.
            connect.keep_alive_s = 3;
            let (mut client, _) = served.welcome(&connect);
            let mut connect = Connect::new(V5, "never");
            connect.keep_alive_s = 0;
            // 5.0 is told of the ceiling instead.
            let (mut never, welcome) = served.welcome(&connect);
            assert_eq!(welcome.server_keep_alive_s, Some(3_600));
            let mut connect = Connect::new(VERSIONS[1], "never 3");
            connect.keep_alive_s = 0;
            let (mut old, _) = served.welcome(&connect);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(5_200) {
                client.put(&Out::new(Qos::AtMostOnce, "alive", "x"));
                std::thread::sleep(Duration::from_millis(200));
            }
            client.ping();
            never.ping();
            old.ping();
        });
    });
}
