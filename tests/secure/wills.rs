//! A will is a message of its client: it takes the same rights, when it is left and when it is published.

use std::time::{Duration, Instant};

use noctule_mqtt::{Connect, Will};

use crate::kit::{
    BAD_CREDENTIALS, BY_PASSWORD, DOORS, NOT_AUTHORIZED, QOS_1, RIGHT, Served, V5, VERSIONS, by, with_will,
};
use crate::mqtt::{counted, within};

const ACL: &str = r##"
[[acl]]
allow = ["subscribe"]
topics = ["#"]

[[acl]]
allow = ["publish"]
topics = ["open/#"]

[[acl]]
allow = ["publish"]
topics = ["slow/#"]
max_qos = 0
"##;

fn will(topic: &str) -> Will<'_> {
    let mut will = Will::new(topic, b"the will");
    will.qos = QOS_1;
    will
}

#[test]
fn a_will_that_may_not_be_published_is_refused_with_its_connect() {
    let served = Served::ruled(ACL);
    let mut watcher = served.client(V5, "watcher", "bob");
    watcher.subscribe(QOS_1, "#");
    for version in VERSIONS {
        let refused = NOT_AUTHORIZED;
        let knock = |will| served.knock(&with_will(by(version, "ann", "ann", RIGHT), will));
        assert_eq!(knock(will("closed/x")), refused);
        let mut retained = will("open/x");
        retained.retain = true;
        assert_eq!(knock(retained), refused, "it has no right to retain");
        assert_eq!(knock(will("slow/x")), refused, "the QoS is too high");
        assert_eq!(knock(will("$SYS/broker/x")), refused);
        assert_eq!(knock(will("$queue/q")), refused);
        let ann = served.welcome(&with_will(by(version, "ann", "ann", RIGHT), will("open/x"))).0;
        ann.cut();
        assert_eq!(watcher.take().text(), "the will");
    }
}

#[test]
fn a_refused_connect_leaves_no_will() {
    let served = Served::ruled(ACL);
    let mut watcher = served.client(V5, "watcher", "bob");
    watcher.subscribe(QOS_1, "#");
    for version in VERSIONS {
        for (user, password) in [("ann", "wrong"), ("nobody", RIGHT)] {
            let code = served.knock(&with_will(by(version, "ann", user, password), will("open/x")));
            assert_eq!(code, BAD_CREDENTIALS);
        }
        let code = served.knock(&with_will(Connect::new(version, "ann"), will("open/x")));
        assert_eq!(code, NOT_AUTHORIZED);
    }
    let mut ann = served.client(V5, "ann", "ann");
    watcher.has_nothing_but(&mut ann, "open/last");
}

#[test]
fn a_will_whose_right_was_taken_away_is_not_published() {
    const DROPPED: &str = "noctule_messages_dropped_total{not_authorized}";
    let mut served = Served::ruled(ACL);
    let mut watcher = served.client(V5, "watcher", "bob");
    watcher.subscribe(QOS_1, "#");
    let at_once = served.welcome(&with_will(by(V5, "at once", "ann", RIGHT), will("open/x"))).0;
    let mut delayed = will("open/x");
    // Long enough for the right to be taken away meanwhile.
    delayed.delay_s = 4;
    let mut connect = with_will(by(V5, "later", "ann", RIGHT), delayed);
    connect.session_expiry_s = Some(60);
    served.welcome(&connect).0.cut();
    let cut = Instant::now();
    // Only bob may publish now.
    let acl = ACL.replace("topics = [\"open/#\"]", "topics = [\"open/#\"]\nusers = [\"bob\"]");
    served.reload(&[BY_PASSWORD, &acl, DOORS].concat()).unwrap();
    let before = counted(DROPPED);
    at_once.cut();
    // A worker tells its counters a while later, and when something happens.
    within("the will is dropped and counted", || {
        watcher.ping();
        (counted(DROPPED) > before).then_some(())
    });
    // The other one's delay.
    std::thread::sleep(Duration::from_secs(5).saturating_sub(cut.elapsed()));
    let mut bob = served.client(V5, "bob", "bob");
    watcher.has_nothing_but(&mut bob, "open/last");
}
