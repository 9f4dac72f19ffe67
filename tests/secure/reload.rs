//! Rights that are taken away while messages wait, files that broke, reloads under load.

use std::sync::atomic::{AtomicBool, Ordering};

use noctule_mqtt::Subscription;

use crate::kit::{BY_PASSWORD, DOORS, FREE, Files, QOS_0, QOS_1, RIGHT, Served, V5, VERSIONS, by, user};
use crate::mqtt::{Got, Out};

/// ann does everything; bob may have what is open.
fn acl(open: &str) -> String {
    format!(
        "[[acl]]\nallow = [\"publish\", \"subscribe\", \"retain\", \"manage\"]\ntopics = [\"#\", \"$queue/#\"]\nusers = [\"ann\"]\n\
         [[acl]]\nallow = [\"subscribe\", \"manage\"]\ntopics = [{open}]\n"
    )
}

const BEFORE: &str = "\"open/#\", \"once/#\", \"$queue/once\"";
const AFTER: &str = "\"open/#\"";

fn served() -> Served {
    Served::ruled(&acl(BEFORE))
}

fn revoke(served: &mut Served) {
    served.reload(&[BY_PASSWORD, &acl(AFTER), DOORS].concat()).unwrap();
}

#[test]
fn what_waits_for_somebody_away_does_not_come_after_the_right_is_gone() {
    let mut served = served();
    for version in VERSIONS {
        let (mut bob, _) = served.resume(version, "bob", "bob");
        bob.subscribe(QOS_1, "#");
        bob.subscribe(QOS_1, "once/#");
        bob.bye();
        let mut ann = served.client(V5, "ann", "ann");
        ann.say(QOS_1, "once/x", "revoked");
        ann.say(QOS_1, "open/x", "open");
        revoke(&mut served);
        let (mut bob, present) = served.resume(version, "bob", "bob");
        assert!(present);
        assert_eq!(bob.take().text(), "open");
        ann.say(QOS_1, "once/x", "revoked as well");
        bob.has_nothing_but(&mut ann, "open/last");
        bob.bye();
        served.client(version, "bob", "bob").bye();
        served.reload(&[BY_PASSWORD, &acl(BEFORE), DOORS].concat()).unwrap();
    }
}

#[test]
fn what_waits_behind_a_full_window_does_not_come_either() {
    let mut served = served();
    let mut connect = by(V5, "bob", "bob", RIGHT);
    connect.receive_maximum = std::num::NonZeroU16::MIN;
    let mut bob = served.welcome(&connect).0;
    bob.subscribe(QOS_1, "#");
    let mut ann = served.client(V5, "ann", "ann");
    ann.say(QOS_1, "open/x", "in flight");
    ann.say(QOS_1, "once/x", "revoked");
    ann.say(QOS_1, "open/x", "open");
    let first = bob.receive();
    revoke(&mut served);
    bob.ack(noctule_mqtt::PacketType::PubAck, first.packet_id);
    assert_eq!(bob.take().text(), "open");
}

#[test]
fn retained_messages_are_asked_of_anew() {
    let mut served = served();
    let mut ann = served.client(V5, "ann", "ann");
    ann.publish(&Out::retained("once/x", "revoked"));
    ann.publish(&Out::retained("open/x", "open"));
    revoke(&mut served);
    let mut bob = served.client(V5, "bob", "bob");
    bob.subscribe(QOS_1, "#");
    assert_eq!(bob.take().text(), "open");
    assert_eq!(bob.next_or_pong(), Got::Pong);
    assert_eq!(bob.subscribe_to(None, &[Subscription::new("once/#", QOS_1)]), [0x87]);
}

#[test]
fn live_messages_shares_stomp_and_queues_are_asked_of_anew() {
    let mut served = served();
    let mut ann = served.client(V5, "ann", "ann");
    let mut bob = served.client(V5, "bob", "bob");
    bob.subscribe(QOS_0, "once/#");
    bob.subscribe(QOS_0, "open/#");
    let mut member = served.client(V5, "member", "bob");
    member.subscribe(QOS_1, "$share/g/once/#");
    member.subscribe(QOS_1, "open/#");
    let mut stomp = served.stomp("bob");
    stomp.subscribe("1", "/topic/once/#", "auto");
    stomp.subscribe("2", "/topic/open/#", "auto");
    let mut consumer = served.client(V5, "consumer", "bob");
    consumer.subscribe(QOS_1, "$queue/once");
    consumer.subscribe(QOS_1, "open/#");
    revoke(&mut served);
    for topic in ["once/x", "$queue/once"] {
        ann.say(QOS_1, topic, "revoked");
    }
    ann.say(QOS_1, "open/x", "open");
    for client in [&mut bob, &mut member, &mut consumer] {
        assert_eq!(client.take().text(), "open");
        assert_eq!(client.next_or_pong(), Got::Pong);
    }
    // STOMP can't say that a subscription is no more; whoever connects again finds out which.
    assert!(stomp.refused().text().contains("once/#"));
    // What was sent to the queue waits for somebody who may have it.
    let mut heir = served.client(V5, "heir", "ann");
    heir.subscribe(QOS_1, "$queue/once");
    assert_eq!(heir.take().text(), "revoked");
}

#[test]
fn a_durable_subscription_is_asked_of_anew() {
    let mut served = served();
    let durable = [("durable", "true"), ("auto-delete", "false")];
    let mut bob = served.stomp_with("bob", &[("client-id", "bob")]);
    bob.subscribe_with("d", "/topic/+/x", "client-individual", &durable);
    bob.bye();
    let mut ann = served.client(V5, "ann", "ann");
    ann.say(QOS_1, "once/x", "revoked");
    ann.say(QOS_1, "open/x", "open");
    revoke(&mut served);
    let mut bob = served.stomp_with("bob", &[("client-id", "bob")]);
    bob.subscribe_with("d", "/topic/+/x", "client-individual", &durable);
    assert_eq!(bob.take().text(), "open");
    bob.is_quiet();
}

#[test]
fn a_publisher_loses_his_right_on_an_open_connection() {
    let mut served = Served::start();
    let mut ann = served.client(V5, "ann", "ann");
    assert_eq!(ann.say(QOS_1, "x", ""), 0x10);
    let none = "[[acl]]\ndeny = [\"publish\"]\ntopics = [\"#\"]\n";
    served.reload(&[BY_PASSWORD, none, DOORS].concat()).unwrap();
    assert_eq!(ann.say(QOS_1, "x", ""), 0x87);
    served.reload(&[BY_PASSWORD, FREE, DOORS].concat()).unwrap();
    assert_eq!(ann.say(QOS_1, "x", ""), 0x10);
}

/// Configurations and files that can't be meant, with what is wrong.
const BROKEN: [(&str, &str); 4] = [
    ("users", "ann:plain password\n"),
    ("users", "ann\n"),
    ("users", "+:!\n"),
    ("users", "ann:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ\n"),
];

#[test]
fn a_password_file_that_broke_leaves_the_old_one_in_force_and_no_start() {
    let text = [BY_PASSWORD, FREE, DOORS].concat();
    let mut served = Served::start();
    for (name, broken) in BROKEN {
        served.files.write(name, broken);
        let error = served.reload(&text).unwrap_err();
        assert!(error.contains("users"), "{error}");
        assert_eq!(served.knock(&by(V5, "a", "bob", RIGHT)), 0, "after {broken:?}");
        let files = Files::new();
        files.write(name, broken);
        assert!(Served::tried(files, &text).is_err(), "{broken:?}");
    }
    std::fs::remove_file(served.files.path("users")).unwrap();
    served.reload(&text).unwrap_err();
    assert_eq!(served.knock(&by(V5, "a", "bob", RIGHT)), 0, "without a file");
    // An empty one is a file without users, and lets in nobody.
    served.files.write("users", "");
    served.reload(&text).unwrap();
    assert_eq!(served.knock(&by(V5, "a", "bob", RIGHT)), 0x86);
    served.files.write("users", &user("bob", &[]));
    served.reload(&text).unwrap();
    assert_eq!(served.knock(&by(V5, "a", "bob", RIGHT)), 0);
}

#[test]
fn rules_that_broke_leave_the_old_ones_in_force_and_no_start() {
    let mut served = served();
    let mut ann = served.client(V5, "ann", "ann");
    let mut bob = served.client(V5, "bob", "bob");
    for broken in [
        "[[acl]]\nallow = [\"publish\"]\n",
        "[[acl]]\ntopics = [\"#\"]\n",
        "[[acl]]\nallow = [\"publish\"]\ntopics = []\n",
        "[[acl]]\nallow = [\"publish\"]\ntopics = [\"a/#/b\"]\n",
        "[[acl]]\nallow = [\"publish\"]\ntopics = [\"%x\"]\n",
        "[[acl]]\nallow = [\"everything\"]\ntopics = [\"#\"]\n",
        "[[acl]]\nallow = [\"publish\"]\ntopics = [\"#\"]\nusers = [\"\"]\n",
        "[[acl]]\nallow = [\"publish\"]\ntopics = [\"#\"]\nclients = [\"a*b\"]\n",
        "[[acl]]\nallow = [\"publish\"]\ntopics = [\"#\"]\nuser = [\"ann\"]\n",
    ] {
        let text = [BY_PASSWORD, broken, DOORS].concat();
        served.reload(&text).unwrap_err();
        assert!(Files::new().read(&text).is_err(), "{broken}");
        assert_eq!(ann.say(QOS_1, "closed/x", ""), 0x10, "{broken}");
        assert_eq!(bob.say(QOS_1, "closed/x", ""), 0x87, "{broken}");
    }
    // Rules that are gone allow nothing while there are users.
    served.reload(&[BY_PASSWORD, DOORS].concat()).unwrap();
    assert_eq!(ann.say(QOS_1, "closed/x", ""), 0x87);
    assert_eq!(bob.subscribe_to(None, &[Subscription::new("#", QOS_1)]), [0x87]);
}

#[test]
fn keys_that_broke_leave_the_old_ones_in_force() {
    let auth = "[auth]\nchain = [\"jwt\"]\n[auth_jwt]\nkeys = \"{dir}/keys\"\n";
    let text = [auth, FREE, DOORS].concat();
    let files = Files::new();
    files.write("keys", &crate::kit::token::keys());
    let mut served = Served::among(files, &text);
    let token =
        crate::kit::token::signed(&serde_json::json!({"sub": "ann", "exp": crate::kit::token::in_s(60)}));
    for broken in ["", "{}", "{\"keys\": [{\"kty\": \"oct\", \"alg\": \"none\", \"k\": \"\"}]}"] {
        served.files.write("keys", broken);
        if served.reload(&text).is_ok() {
            // A set that is empty is understood, and nobody has a key of it.
            assert_eq!(served.knock(&by(V5, "a", "ann", &token)), 0x86, "{broken:?}");
            served.files.write("keys", &crate::kit::token::keys());
            served.reload(&text).unwrap();
        }
        assert_eq!(served.knock(&by(V5, "a", "ann", &token)), 0, "{broken:?}");
    }
}

#[test]
fn who_may_stay_stays_while_reloads_come_one_after_the_other() {
    let mut served = served();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..4 {
            let topic = format!("open/{number}");
            let mut ann = served.client(V5, &format!("ann {number}"), "ann");
            let mut bob = served.client(V5, &format!("bob {number}"), "bob");
            bob.subscribe(QOS_1, &topic);
            let stop = &stop;
            threads.push(scope.spawn(move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    // What is allowed before and after is allowed in between.
                    assert_eq!(ann.say(QOS_1, &topic, "x"), 0);
                    bob.take();
                    sent += 1;
                }
                sent
            }));
        }
        for _ in 0..5 {
            revoke(&mut served);
            served.reload(&[BY_PASSWORD, &acl(BEFORE), DOORS].concat()).unwrap();
            assert_eq!(served.knock(&by(V5, "newcomer", "bob", RIGHT)), 0);
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().unwrap() > 10);
        }
    });
}
