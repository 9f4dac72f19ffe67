//! Names and client ids that mean something in topics, and topics that begin with `$` (CVE-2017-7650).

use noctule_mqtt::Subscription;
use noctule_stomp::Command;

use crate::kit::service::Service;
use crate::kit::{DOORS, QOS_1, RIGHT, Served, V5, by};

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
