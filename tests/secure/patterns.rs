//! Names and client ids that mean something in topics, topics that begin with `$` (CVE-2017-7650), and patterns that are
//! bombs.

use bytes::BytesMut;
use noctule_mqtt::{Packet, Subscribe, Subscription, Subscriptions, UserProperties};
use noctule_stomp::Command;
use serde_json::json;

use crate::kit::service::Service;
use crate::kit::token::{in_s, keys, signed};
use crate::kit::{DOORS, FREE, Files, QOS_0, QOS_1, RIGHT, Served, V5, VERSIONS, by};
use crate::mqtt::{Got, Out};

const ACL: &str = r##"
[[acl]]
deny = ["publish", "subscribe"]
topics = ["private/%c/locked"]

[[acl]]
allow = ["publish", "subscribe"]
topics = ["dev/%c/#", "users/%u/#", "private/%c/#"]
"##;

const ODD: [&str; 9] = ["+", "#", "a/b", "/", "+/+", "#/", "a+", "a#", "$SYS"];

#[test]
fn a_client_id_with_a_wildcard_widens_nothing() {
    let served = Served::ruled(ACL);
    for client_id in ODD {
        let mut ann = served.client(V5, client_id, "ann");
        for topic in ["dev/a/x", "dev/b/x", "dev/a/b/x", "dev//x", "dev/$SYS/x"] {
            assert_eq!(ann.say(QOS_1, topic, ""), 0x87, "{client_id:?} to {topic}");
        }
        for filter in ["dev/#", "dev/+/x", "dev/a/#", "dev/b/x", "#"] {
            let granted = ann.subscribe_to(None, &[Subscription::new(filter, QOS_1)]);
            // `#` holds what is users/ann/#.
            assert_eq!(granted, [if filter == "#" { 1 } else { 0x87 }], "{client_id:?} to {filter}");
        }
        // What denies it denies still, and everything that it could mean.
        for topic in ["private/a/locked", "private/b/locked", "private/a/x"] {
            assert_eq!(ann.say(QOS_1, topic, ""), 0x87, "{client_id:?} to {topic}");
        }
        assert!(ann.say(QOS_1, "users/ann/x", "") < 0x80, "the other rule holds");
        // Her `#` must not match what is published next, on whichever worker.
        ann.bye();
    }
    let mut plain = served.client(V5, "plain", "ann");
    assert_eq!(plain.say(QOS_1, "dev/plain/x", ""), 0x10);
    assert_eq!(plain.say(QOS_1, "dev/other/x", ""), 0x87);
    assert_eq!(plain.say(QOS_1, "private/plain/x", ""), 0x10);
    assert_eq!(plain.say(QOS_1, "private/plain/locked", ""), 0x87);
}

/// What a client id that is a wildcard may subscribe to, live: nothing of its neighbour's.
#[test]
fn nothing_of_a_neighbour_comes_by_a_wildcard_client_id() {
    let served = Served::ruled(ACL);
    let mut neighbour = served.client(V5, "neighbour", "bob");
    for client_id in ["+", "#"] {
        let mut ann = served.client(V5, client_id, "ann");
        ann.subscribe(QOS_1, "#");
        neighbour.say(QOS_1, "dev/neighbour/x", "not for ann");
        let mut own = served.client(V5, "own", "ann");
        ann.has_nothing_but(&mut own, "users/ann/x");
    }
    for client_id in ["+", "#"] {
        let mut stomp = served.stomp_with("ann", &[("client-id", client_id)]);
        stomp.send(Command::Send, &[("destination", "/topic/dev/neighbour/x"), ("receipt", "1")], b"");
        stomp.refused();
    }
}

/// A service may accept any name that it likes; one with a wildcard is nobody's.
#[test]
fn a_user_name_with_a_wildcard_is_nobody() {
    let service = Service::new(|_| Some((204, String::new())));
    let auth = format!(
        "[auth]\nchain = [\"http\"]\nmax_failures = 1000\n[auth_http]\nurl = \"{}\"\n",
        service.url()
    );
    let served = Served::with(&[&auth, ACL, DOORS].concat());
    for user in ["+", "#", "a/b", "a+", "+/#", "a\u{7f}", " a"] {
        assert_ne!(served.knock(&by(V5, "a", user, RIGHT)), 0, "{user:?}");
        let frame = served.stomp_knock(&[("login", user), ("passcode", RIGHT)]);
        // In 1.2 nothing is trimmed.
        assert_eq!(frame.command, Command::Error, "{user:?}");
    }
    // `$SYS` has no wildcard; as a level of its own it is not put into a topic.
    let mut system = served.client(V5, "system", "$SYS");
    assert_eq!(system.say(QOS_1, "users/$SYS/x", ""), 0x87);
    let mut percent = served.client(V5, "percent", "%c");
    assert_eq!(percent.say(QOS_1, "users/percent/x", ""), 0x87, "what was put in is not put in again");
    assert_eq!(percent.say(QOS_1, "users/%c/x", ""), 0x10);
}

#[test]
fn wildcards_do_not_reach_what_begins_with_a_dollar() {
    let acl = r##"
[[acl]]
allow = ["publish", "subscribe", "retain", "manage"]
topics = ["#", "+/+", "+/broker/#"]
"##;
    let served = Served::ruled(acl);
    let mut ann = served.client(V5, "ann", "ann");
    for topic in ["$SYS/broker/x", "$app/x", "$queue/q"] {
        assert_eq!(ann.say(QOS_1, topic, ""), 0x87, "{topic}");
    }
    for filter in ["$SYS/#", "$SYS/broker/uptime", "$app/#", "$queue/q", "$share/g/$SYS/#"] {
        let granted = ann.subscribe_to(None, &[Subscription::new(filter, QOS_1)]);
        assert_eq!(granted, [0x87], "{filter}");
    }
    // And who may subscribe to everything does not get it by `#`.
    let named = r##"
[[acl]]
allow = ["publish", "subscribe", "manage"]
topics = ["#", "$app/#", "$SYS/#"]
"##;
    let served = Served::ruled(named);
    let mut ann = served.client(V5, "ann", "ann");
    ann.subscribe(QOS_1, "#");
    ann.subscribe(QOS_1, "+/x");
    let mut bob = served.client(V5, "bob", "bob");
    assert_eq!(bob.say(QOS_1, "$app/x", ""), 0x10, "nobody gets it [MQTT-4.7.2-1]");
    for topic in ["$SYS/x", "$SYS"] {
        assert_eq!(bob.say(QOS_1, topic, ""), 0x87, "{topic} is the broker's own, whatever a rule says");
    }
    ann.subscribe(QOS_1, "$app/#");
    bob.say(QOS_1, "$app/x", "by name");
    assert_eq!(ann.take().text(), "by name");
}

/// Whoever reads a text in C reads it up to its NUL; so it is in no name, wherever that comes from.
#[test]
fn a_nul_is_in_no_name() {
    let files = Files::new();
    files.write("keys", &keys());
    let auth = "[auth]\nchain = [\"password\", \"jwt\"]\npassword_file = \"{dir}/users\"\nmax_failures = 1000\n\
                [auth_jwt]\nkeys = \"{dir}/keys\"\n";
    let served = Served::among(files, &[auth, FREE, DOORS].concat());
    // `~` stands for it: our own encoder would refuse to write it.
    let with_nul = |mut bytes: Vec<u8>| {
        bytes.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0);
        bytes
    };
    for version in VERSIONS {
        for (client_id, user) in [("press~", "ann"), ("~", "ann"), ("press", "ann~"), ("press", "~ann")] {
            let mut out = BytesMut::new();
            by(version, client_id, user, RIGHT).encode(&mut out).unwrap();
            assert!(out.contains(&b'~'));
            let mut client = served.raw(version);
            client.raw(&with_nul(out.to_vec()));
            match client.next() {
                Got::Closed => continue,
                Got::ConnAck(welcome) => assert_eq!(welcome.reason, 0x81, "{client_id:?} {user:?}"),
                other => panic!("{client_id:?} {user:?}: {other:?}"),
            }
            client.is_closed();
        }
        let mut ann = served.client(version, "press", "ann");
        let publish = ann.encoded(&Packet::Publish(noctule_mqtt::Publish::new("a~b", b"x")));
        ann.raw(&with_nul(publish));
        if version.is_v5() {
            assert_eq!(ann.next(), Got::Bye(0x81));
        }
        ann.is_closed();
    }
    let token = |user: &str| signed(&json!({"sub": user, "exp": in_s(60)}));
    let knock = |user: &str| {
        let token = token(user);
        let mut connect = noctule_mqtt::Connect::new(V5, "bearer");
        connect.password = Some(token.as_bytes());
        served.knock(&connect)
    };
    assert_eq!(knock("ann"), 0);
    for user in ["", "ann\0", "\0", "ann\0admin", "+", "#", "ann/#", "a+b", "\u{202e}nna", " ann"] {
        assert_ne!(knock(user), 0, "{user:?}");
    }
}

/// There are no regular expressions; what comes nearest, LIKE, is the worst that it can be, over the largest document. One
/// message would keep a worker for minutes.
#[test]
fn a_selector_that_is_a_bomb_keeps_nobody_waiting() {
    let served = Served::start();
    let term = format!("JSON('$.a') NOT LIKE '%{}b'", "a".repeat(240));
    let bomb = vec![term; 14].join(" AND ");
    let mut hostile = served.client(V5, "hostile", "eve");
    hostile.send(&Packet::Subscribe(Subscribe {
        packet_id: std::num::NonZeroU16::MIN,
        subscription_id: None,
        user_properties: UserProperties::Given(&[("selector", &bomb)]),
        subscriptions: Subscriptions::Given(&[Subscription::new("bomb", QOS_0)]),
    }));
    assert_eq!(hostile.next(), Got::SubAck(1, vec![0]), "it is a selector");
    let small = "{\"a\":\"aaa\"}";
    hostile.say(QOS_1, "bomb", small);
    assert_eq!(hostile.take().text(), small, "and it works");
    let document = format!("{{\"a\":\"{}\"}}", "a".repeat(1_000_000));
    let mut bystander = served.client(V5, "bystander", "ann");
    for _ in 0..5 {
        hostile.put(&Out::new(QOS_1, "bomb", &document));
        bystander.ping();
    }
    hostile.ping();
}

/// A name of as many levels as there may be, against rules of as many wildcards: each level is compared once.
#[test]
fn rules_of_nothing_but_wildcards_are_no_bomb() {
    let wild = vec!["+"; 63].join("/");
    let rules: String = (0..100)
        .map(|number| format!("[[acl]]\nallow = [\"publish\", \"subscribe\"]\ntopics = [\"{wild}/x{number}\", \"%c/{wild}\"]\n"))
        .collect();
    let served = Served::ruled(&rules);
    let mut ann = served.client(V5, "ann", "ann");
    let mut bystander = served.client(V5, "bystander", "bob");
    for number in 0..100 {
        let name = format!("{}/y{number}", vec!["a"; 63].join("/"));
        assert_eq!(ann.say(QOS_1, &name, ""), 0x87, "{name}");
        let filter = format!("{}/y{number}", vec!["+"; 63].join("/"));
        // What the client id stands in front of is not denied.
        assert_eq!(ann.subscribe_to(None, &[Subscription::new(&filter, QOS_1)]), [1]);
        bystander.ping();
    }
    let last = format!("{}/x99", vec!["a"; 63].join("/"));
    assert_eq!(ann.say(QOS_1, &last, ""), 0x10);
}
