//! Somebody else's client id: neither his session nor his connection is to be had for it.

use noctule_mqtt::{Connect, Will};

use crate::kit::{
    BAD_CREDENTIALS, BY_PASSWORD, DOORS, FREE, NOT_AUTHORIZED, QOS_1, RIGHT, Served, V5, VERSIONS, by,
    lasting, with_will,
};
use crate::mqtt::Got;

#[test]
fn a_session_is_its_users_alone() {
    let served = Served::start();
    for version in VERSIONS {
        let (mut ann, _) = served.resume(version, "press", "ann");
        ann.subscribe(QOS_1, "orders");
        // While she is there, and while she is not.
        for is_there in [true, false] {
            if !is_there {
                ann.ping();
                ann.stream.shutdown(std::net::Shutdown::Both).unwrap();
                let mut sender = served.client(V5, "sender", "eve");
                sender.say(QOS_1, "orders", "for ann");
            }
            for clean in [true, false] {
                let mut bob = by(version, "press", "bob", RIGHT);
                bob.clean_start = clean;
                assert_eq!(served.knock(&bob), NOT_AUTHORIZED, "there: {is_there}, clean: {clean}");
            }
            if is_there {
                ann.ping();
            }
        }
        let (mut ann, present) = served.resume(version, "press", "ann");
        assert!(present);
        assert_eq!(ann.take().text(), "for ann");
        ann.bye();
        served.client(version, "press", "ann").bye();
    }
}

#[test]
fn a_session_is_not_taken_over_before_somebody_has_proved_himself() {
    let served = Served::start();
    for version in VERSIONS {
        let mut connect = with_will(by(version, "press", "ann", RIGHT), Will::new("wills", b"gone"));
        connect = lasting(connect);
        let mut ann = served.welcome(&connect).0;
        let mut watcher = served.client(V5, "watcher", "bob");
        watcher.subscribe(QOS_1, "wills");
        for (user, password) in [("ann", "wrong"), ("", ""), ("nobody", RIGHT)] {
            let code = served.knock(&lasting(by(version, "press", user, password)));
            assert_eq!(code, BAD_CREDENTIALS);
            ann.ping();
        }
        assert_eq!(served.knock(&lasting(Connect::new(version, "press"))), NOT_AUTHORIZED);
        ann.ping();
        // A right one does take it over.
        let (_new, present) = served.resume(version, "press", "ann");
        assert!(present);
        assert_eq!(ann.next(), if version.is_v5() { Got::Bye(0x8E) } else { Got::Closed });
        watcher.ping();
    }
}

/// Nobody is no user: without a name one does not get at a user's session, nor a user at nobody's.
#[test]
fn a_session_of_nobody_is_nobodys() {
    let doors = DOORS.replace("anonymous = false", "anonymous = true");
    let served = Served::with(&[BY_PASSWORD, FREE, &doors].concat());
    let mut ann = served.resume(V5, "press", "ann").0;
    assert_eq!(served.knock(&lasting(Connect::new(V5, "press"))), 0x87);
    ann.ping();
    let mut guest = served.welcome(&lasting(Connect::new(V5, "guest"))).0;
    assert_eq!(served.knock(&lasting(by(V5, "guest", "ann", RIGHT))), 0x87);
    guest.ping();
}

/// A durable subscription belongs to the user that made it.
#[test]
fn a_durable_subscription_is_its_users_alone() {
    let served = Served::start();
    let durable = [("activemq.subscriptionName", "orders")];
    let mut ann = served.stomp_with("ann", &[("client-id", "office")]);
    ann.subscribe_with("d", "/topic/orders", "client-individual", &durable);
    ann.bye();
    let mut sender = served.client(V5, "sender", "eve");
    sender.say(QOS_1, "orders", "for ann");
    let mut bob = served.stomp_with("bob", &[("client-id", "office")]);
    let headers = [("id", "d"), ("destination", "/topic/orders"), ("ack", "client-individual")];
    bob.send(
        noctule_stomp::Command::Subscribe,
        &[&headers[..], &durable[..], &[("receipt", "1")]].concat(),
        b"",
    );
    let answer = bob.next();
    assert_ne!(answer.command, noctule_stomp::Command::Message, "{answer:?}");
    let mut ann = served.stomp_with("ann", &[("client-id", "office")]);
    ann.subscribe_with("d", "/topic/orders", "client-individual", &durable);
    assert_eq!(ann.take().text(), "for ann");
}
