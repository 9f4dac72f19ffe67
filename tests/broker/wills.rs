//! Wills: when they are published, when not, and when later (section 3.1.2.5, 3.1.3.2).

use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_core::message::Fields;
use noctule_mqtt::{Connect, Disconnect, Packet, Reason, Version, Will};

use crate::kit::{Client, LEVELS, Served, V5, V311, VERSIONS, lasting};

const QOS_1: Qos = Qos::AtLeastOnce;

fn witness(served: &Served, version: Version) -> Client {
    let mut witness = served.client(version, "witness");
    witness.subscribe(Qos::ExactlyOnce, "will/#");
    witness
}

fn willing(version: Version, client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(version, client_id);
    connect.will = Some(Will::new("will/topic", b"gone"));
    connect
}

/// A delay that a busy machine seldom sleeps through; where it has, the half that needs an earlier moment is left out.
const DELAY_S: u32 = 3;
const DELAY: Duration = Duration::from_secs(DELAY_S as u64);

/// A session that stays, with a will that waits.
fn delayed(client_id: &str, delay_s: u32, expiry_s: u32) -> Connect<'_> {
    let mut connect = lasting(V5, client_id);
    connect.session_expiry_s = Some(expiry_s);
    let mut will = Will::new("will/topic", b"gone");
    will.delay_s = delay_s;
    connect.will = Some(will);
    connect
}

#[test]
fn mqtt_3_1_2_8_a_lost_connection_publishes_the_will_at_its_qos() {
    let served = Served::start();
    for version in VERSIONS {
        let mut witness = witness(&served, version);
        for qos in LEVELS {
            let mut connect = willing(version, "lost");
            connect.will.as_mut().unwrap().qos = qos;
            served.welcome(&connect).0.cut();
            let got = witness.take();
            assert_eq!((got.topic.as_str(), got.text(), got.qos), ("will/topic", "gone", qos));
        }
    }
}

#[test]
fn mqtt_3_1_2_15_a_retained_will_is_retained() {
    let served = Served::start();
    for version in VERSIONS {
        let mut live = witness(&served, version);
        let mut connect = willing(version, "lost");
        connect.will.as_mut().unwrap().retain = true;
        served.welcome(&connect).0.cut();
        assert!(!live.take().retain);
        let mut late = served.client(version, "late");
        late.subscribe(QOS_1, "will/topic");
        let kept = late.take();
        assert_eq!((kept.text(), kept.retain), ("gone", true));
        live.publish(&crate::kit::Out::retained("will/topic", ""));
    }
}

#[test]
fn a_protocol_error_publishes_the_will() {
    let served = Served::start();
    for version in VERSIONS {
        let mut witness = witness(&served, version);
        let (mut client, _) = served.welcome(&willing(version, "errs"));
        client.raw(&[0x36, 6, 0, 1, b'a', 0, 1, 0]);
        assert_eq!(witness.take().text(), "gone");
    }
}

#[test]
fn silence_publishes_the_will() {
    let served = Served::start();
    let mut witness = witness(&served, V311);
    let mut connect = willing(V311, "silent");
    connect.keep_alive_s = 1;
    let _client = served.welcome(&connect);
    assert_eq!(witness.take().text(), "gone");
}

#[test]
fn mqtt_3_1_3_properties_of_the_will_come_along() {
    let served = Served::start();
    let mut witness = witness(&served, V5);
    let fields = [
        &[0x01, 1, 0x03, 0, 1, b'c', 0x08, 0, 1, b'r', 0x09, 0, 1, b'd'][..],
        &[0x26, 0, 1, b'k', 0, 1, b'v'],
    ];
    let mut connect = Connect::new(V5, "lost");
    let mut will = Will::new("will/x", b"x").with_fields(Fields::from_validated([fields[0], fields[1], &[]]));
    will.expiry_s = Some(300);
    connect.will = Some(will);
    served.welcome(&connect).0.cut();
    let got = witness.take();
    let names: Vec<_> = got.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        names,
        ["payload format=1", "content type=c", "response topic=r", "correlation data=d", "user k=v"]
    );
    assert_eq!(got.expiry_s, Some(300), "counted from the publication");
}

#[test]
fn mqtt_3_1_3_9_a_delayed_will_is_not_published_if_the_client_returns_in_time() {
    let served = Served::start();
    let mut witness = witness(&served, V5);
    let connect = delayed("returns", DELAY_S, 600);
    let begun = Instant::now();
    served.welcome(&connect).0.cut();
    let (client, _) = served.resume(V5, "returns");
    let is_in_time = begun.elapsed() < DELAY;
    std::thread::sleep(DELAY + Duration::from_millis(400));
    let mut other = served.client(V5, "other");
    if is_in_time {
        witness.has_nothing_but(&mut other, "will/last");
    }
    drop(client);
}

#[test]
fn a_delayed_will_is_published_after_its_delay_and_not_before() {
    let served = Served::start();
    let mut witness = witness(&served, V5);
    let (client, _) = served.welcome(&delayed("stays away", DELAY_S, 600));
    let begun = Instant::now();
    client.cut();
    let mut other = served.client(V5, "other");
    other.say(QOS_1, "will/not/yet", "not yet");
    let is_in_time = begun.elapsed() < DELAY;
    let texts = witness.texts(2);
    assert!(begun.elapsed() >= DELAY - Duration::from_millis(50), "{:?}", begun.elapsed());
    if is_in_time {
        assert_eq!(texts, ["not yet", "gone"]);
    } else {
        assert!(texts.iter().any(|text| text == "gone"), "{texts:?}");
    }
}

#[test]
fn mqtt_3_1_3_9_the_end_of_the_session_publishes_a_delayed_will() {
    let served = Served::start();
    let mut witness = witness(&served, V5);
    // The session ends with its connection, or after a second, long before the delay is over.
    for expiry in [0, 1] {
        let begun = Instant::now();
        served.welcome(&delayed("ends", 600, expiry)).0.cut();
        assert_eq!(witness.take().text(), "gone");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    // A clean start ends the session that was absent.
    served.welcome(&delayed("ends", 600, 600)).0.cut();
    let _clean = served.client(V5, "ends");
    assert_eq!(witness.take().text(), "gone");
}

#[test]
fn a_takeover_publishes_the_will_unless_it_is_delayed() {
    let served = Served::start();
    for version in VERSIONS {
        let mut witness = witness(&served, version);
        let _old = served.welcome(&willing(version, "taken"));
        let _new = served.client(version, "taken");
        assert_eq!(witness.take().text(), "gone");
    }
    let mut witness = witness(&served, V5);
    let _old = served.welcome(&delayed("delayed", 600, 600));
    let (_new, present) = served.resume(V5, "delayed");
    assert!(present);
    let mut other = served.client(V5, "other");
    witness.has_nothing_but(&mut other, "will/none");
    // A clean start ends the session, and with it the delay.
    let _old = served.welcome(&delayed("cleaned", 600, 600));
    let _new = served.client(V5, "cleaned");
    assert_eq!(witness.take().text(), "gone");
}

#[test]
fn mqtt_3_14_4_3_a_good_bye_discards_a_delayed_will_for_good() {
    let served = Served::start();
    let mut witness = witness(&served, V5);
    let (client, _) = served.welcome(&delayed("polite", 1, 2));
    client.bye();
    std::thread::sleep(Duration::from_millis(1_200));
    let mut other = served.client(V5, "other");
    witness.has_nothing_but(&mut other, "will/none");
}

#[test]
fn reason_0x04_starts_the_delay() {
    let served = Served::start();
    let mut witness = witness(&served, V5);
    let (mut client, _) = served.welcome(&delayed("impolite", 1, 600));
    let begun = Instant::now();
    client.send(&Packet::Disconnect(Disconnect::new(Reason::DISCONNECT_WITH_WILL)));
    client.is_closed();
    assert_eq!(witness.take().text(), "gone");
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
}

#[test]
fn each_connection_brings_its_own_will() {
    let served = Served::start();
    let mut witness = witness(&served, V311);
    let mut first = willing(V311, "changes");
    first.clean_start = false;
    served.welcome(&first).0.bye();
    // No will now, so none is published.
    served.resume(V311, "changes").0.cut();
    let mut second = first.clone();
    second.will = Some(Will::new("will/second", b"another"));
    let (client, _) = served.welcome(&second);
    client.cut();
    assert_eq!(witness.take().text(), "another");
}

#[test]
fn a_will_reaches_sessions_that_wait_its_own_among_them() {
    let served = Served::start();
    let (mut absent, _) = served.resume(V311, "absent");
    absent.subscribe(QOS_1, "will/#");
    absent.bye();
    let mut connect = willing(V311, "lost");
    connect.clean_start = false;
    connect.will.as_mut().unwrap().qos = QOS_1;
    let (mut client, _) = served.welcome(&connect);
    client.subscribe(QOS_1, "will/#");
    client.cut();
    // Both sessions are kept, and both subscribed.
    assert_eq!(served.resume(V311, "lost").0.take().text(), "gone");
    assert_eq!(served.resume(V311, "absent").0.take().text(), "gone");
}

#[test]
fn a_will_to_the_broker_s_own_topics_refuses_the_connect() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "forger");
    connect.will = Some(Will::new("$SYS/broker/state", b"down"));
    let (mut client, answer) = served.ask(&connect);
    assert!(matches!(answer, crate::kit::Got::ConnAck(welcome) if welcome.reason == 0x87));
    client.is_closed();
}
