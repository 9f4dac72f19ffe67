//! How TLS connections end: every end is said in TLS (close_notify), and what came before it has been dealt with.

use std::io::Write;
use std::process::{Command, Stdio};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Will};
use noctule_stomp::Command as Frame;

use crate::kit::{Got, Mqtt, Pki, Served, Stomp, TLS_VERSIONS, V5, V311, VERSIONS, Wire, connect_bytes};

/// Of all that these clients say, an end without close_notify would fail `is_closed`.
#[test]
fn a_refused_client_hears_the_end() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        for version in VERSIONS {
            let mut mqtt = Mqtt::connect(served.tls(0, &client), version, "refused");
            // A CONNECT too many.
            mqtt.raw(&connect_bytes(version, "refused"));
            mqtt.is_refused(0x82);
            // No CONNECT at all.
            let mut mqtt = Mqtt::new(served.tls(0, &client), version);
            mqtt.raw(&[0xC0, 0]);
            mqtt.is_closed();
        }
        let mut stomp = Stomp::connect(served.tls(1, &client));
        stomp.send(Frame::Ack, &[("id", "of nobody")], b"");
        stomp.is_refused();
    }
}

#[test]
fn a_client_that_says_good_bye_hears_the_end() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        for version in VERSIONS {
            Mqtt::connect(served.tls(0, &client), version, "bye").bye();
        }
        Stomp::connect(served.tls(1, &client)).bye();
    }
}

#[test]
fn everybody_hears_the_end_of_the_broker() {
    let pki = Pki::new();
    for tls in TLS_VERSIONS {
        let served = Served::behind_tls(&pki, "");
        let client = pki.connector(tls, None);
        let connected = |version, id| Mqtt::connect(served.tls(0, &client), version, id);
        let (mut old, mut new) = (connected(V311, "old"), connected(V5, "new"));
        let mut stomp = Stomp::connect(served.tls(1, &client));
        let stopping = std::thread::spawn(move || served.stop());
        new.is_refused(0x8B);
        old.is_closed();
        stomp.is_refused();
        stopping.join().unwrap();
    }
}

/// close_notify ends the client's side alone: it still hears what it is owed.
#[test]
fn a_stomp_client_that_has_ended_its_side_gets_its_receipts() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    for tls in TLS_VERSIONS {
        let mut stomp = Stomp::connect(served.tls(1, &pki.connector(tls, None)));
        let mut frames = Vec::new();
        for number in 0..20 {
            let receipt = number.to_string();
            let headers = [("destination", "/topic/a"), ("receipt", receipt.as_str())];
            frames.extend(Stomp::<Box<dyn Wire>>::encoded(Frame::Send, &headers, b"x"));
        }
        stomp.wire.write_all(&frames).unwrap();
        stomp.wire.finish();
        for number in 0..20 {
            stomp.receipt(&number.to_string());
        }
        stomp.is_closed();
    }
}

/// Also when nothing but close_notify says so, wherever the connection has moved to.
#[test]
fn an_mqtt_client_that_has_ended_its_side_is_gone() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, "");
    let mut watcher = Mqtt::connect(served.plain(2), V5, "watcher");
    watcher.subscribe(Qos::AtMostOnce, "will/+");
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        for number in 0..8 {
            for at_once in [false, true] {
                let client_id = format!("ends-{number}-{at_once}");
                let topic = format!("will/{number}");
                let mut mqtt = Mqtt::new(served.tls(0, &client), V5);
                let mut connect = Connect::new(V5, &client_id);
                connect.will = Some(Will::new(&topic, b"gone"));
                if at_once {
                    let mut bytes = bytes::BytesMut::new();
                    connect.encode(&mut bytes).unwrap();
                    while mqtt.wire.conn.is_handshaking() {
                        let wire = &mut mqtt.wire;
                        wire.conn.complete_io(&mut wire.sock).unwrap();
                    }
                    // CONNECT and close_notify in one write.
                    let mut records = Vec::new();
                    mqtt.wire.conn.writer().write_all(&bytes).unwrap();
                    mqtt.wire.conn.send_close_notify();
                    while mqtt.wire.conn.wants_write() {
                        mqtt.wire.conn.write_tls(&mut records).unwrap();
                    }
                    mqtt.wire.sock.write_all(&records).unwrap();
                } else {
                    mqtt.ask(&connect);
                    mqtt.wire.conn.send_close_notify();
                    mqtt.wire.flush().unwrap();
                }
                assert_eq!(watcher.take().topic, topic);
                if at_once {
                    assert!(matches!(mqtt.next(), Got::ConnAck(_)), "it is answered, wherever it has moved");
                }
                mqtt.is_closed();
            }
        }
    }
}

/// A file of users, as `noctule passwd` writes it: anna with her password.
fn users(pki: &Pki) -> String {
    let path = pki.path("users");
    let mut passwd = Command::new(env!("CARGO_BIN_EXE_noctule"))
        .arg("passwd")
        .arg(&path)
        .args(["anna", "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    passwd.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    assert!(passwd.wait().unwrap().success());
    format!(
        "[auth]\nchain = [\"password\"]\npassword_file = {path:?}\n[[acl]]\nallow = [\"publish\", \"subscribe\"]\ntopics = [\"#\"]\n"
    )
}

/// While a password is being checked nothing is read: what came before the end is not forgotten over it.
#[test]
fn what_came_before_the_end_is_dealt_with_even_if_it_had_to_wait() {
    let pki = Pki::new();
    let served = Served::behind_tls(&pki, &users(&pki));
    let mut watcher = Mqtt::connect(served.plain(2), V5, "watcher");
    watcher.subscribe(Qos::AtMostOnce, "last/+");
    for tls in TLS_VERSIONS {
        for number in 0..4 {
            let client_id = format!("waits-{number}");
            let mut mqtt = Mqtt::new(served.tls(0, &pki.connector(tls, None)), V5);
            let mut connect = Connect::new(V5, &client_id);
            (connect.user_name, connect.password) = (Some("anna"), Some(&b"secret"[..]));
            let mut bytes = bytes::BytesMut::new();
            connect.encode(&mut bytes).unwrap();
            let mut bytes = bytes.to_vec();
            for topic in ["last/1", "last/2"] {
                bytes.extend(mqtt.publish_bytes(Qos::AtMostOnce, topic, b"words").0);
            }
            mqtt.raw(&bytes);
            mqtt.wire.conn.send_close_notify();
            mqtt.wire.flush().unwrap();
            assert!(matches!(mqtt.next(), Got::ConnAck(_)));
            assert_eq!(watcher.take().topic, "last/1");
            assert_eq!(watcher.take().topic, "last/2");
            mqtt.is_closed();
        }
    }
}
