//! What may not be published: refused where the protocol can say so, dropped where it can't, counted in either case.

use noctule_stomp::Command;

use crate::kit::{QOS_0, QOS_1, QOS_2, Served, V5, V311, VERSIONS};
use crate::mqtt::{Out, counted, within};

const ACL: &str = r##"
[[acl]]
allow = ["subscribe"]
topics = ["#", "$queue/#"]
users = ["bob"]

[[acl]]
allow = ["publish"]
topics = ["open/#", "$queue/open"]

[[acl]]
allow = ["publish"]
topics = ["slow/#"]
max_qos = 1

[[acl]]
allow = ["retain"]
topics = ["open/kept/#"]
"##;

const DROPPED: &str = "noctule_messages_dropped_total{not_authorized}";

#[test]
fn what_may_not_be_published_reaches_nobody() {
    let served = Served::ruled(ACL);
    let mut watcher = served.client(V5, "watcher", "bob");
    watcher.subscribe(QOS_0, "#");
    for version in VERSIONS {
        let mut ann = served.client(version, "ann", "ann");
        let refused = if version.is_v5() { 0x87 } else { 0 };
        for qos in [QOS_0, QOS_1, QOS_2] {
            let before = counted(DROPPED);
            let code = ann.say(qos, "closed/x", "refused");
            assert_eq!(code, if qos == QOS_0 { 0 } else { refused }, "{version:?} at {qos:?}");
            // A worker tells its counters a while later, and when something happens.
            within("the drop is counted", || {
                ann.ping();
                (counted(DROPPED) > before).then_some(())
            });
        }
        watcher.has_nothing_but(&mut ann, "open/x");
        // It costs the client nothing but the message.
        ann.ping();
    }
}

#[test]
fn a_retained_message_takes_two_rights() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    assert_eq!(ann.publish(&Out::retained("open/x", "not kept")), 0x87);
    assert_eq!(ann.publish(&Out::retained("open/kept/x", "kept")), 0x10);
    let mut v3 = served.client(V311, "ann3", "ann");
    v3.publish(&Out::retained("open/y", "not kept"));
    // Nor may one be cleared without.
    assert_eq!(ann.publish(&Out::retained("closed/x", "")), 0x87);
    let mut watcher = served.client(V5, "watcher", "bob");
    watcher.subscribe(QOS_1, "#");
    assert_eq!(watcher.take().text(), "kept");
    watcher.has_nothing_but(&mut ann, "open/x");
}

#[test]
fn a_highest_qos_holds_for_publishers() {
    let served = Served::ruled(ACL);
    let mut ann = served.client(V5, "ann", "ann");
    assert_eq!(ann.say(QOS_1, "slow/x", ""), 0x10);
    assert_eq!(ann.say(QOS_2, "slow/x", ""), 0x87);
    assert_eq!(ann.say(QOS_2, "open/x", ""), 0x10);
}

#[test]
fn stomp_is_told_and_the_message_goes_nowhere() {
    let served = Served::ruled(ACL);
    let mut watcher = served.client(V5, "watcher", "bob");
    watcher.subscribe(QOS_0, "#");
    for destination in ["/topic/closed/x", "/queue/closed", "/topic/$SYS/x"] {
        let mut ann = served.stomp("ann");
        ann.send(Command::Send, &[("destination", destination), ("receipt", "1")], b"refused");
        ann.refused();
    }
    // A transaction is refused as a whole.
    let mut ann = served.stomp("ann");
    ann.transaction(Command::Begin, "t");
    ann.send(Command::Send, &[("destination", "/topic/open/t"), ("transaction", "t")], b"half");
    ann.send(Command::Send, &[("destination", "/topic/closed/t"), ("transaction", "t")], b"refused");
    ann.send(Command::Commit, &[("transaction", "t"), ("receipt", "c")], b"");
    ann.refused();
    let mut ann = served.stomp("ann");
    ann.say("/queue/open", "a message for a queue");
    ann.say("/topic/open/x", "the last");
    assert_eq!(watcher.take().text(), "the last");
}
