//! Who is in when a reload shuts the door behind him: gone at once, and nobody else with him.

use noctule::auth::password::{Entry, Hash};
use noctule_mqtt::{Connect, Subscription};

use crate::kit::{BY_PASSWORD, DOORS, FREE, Files, NOT_AUTHORIZED, QOS_1, Served, V5, VERSIONS, token, user};
use crate::mqtt::Got;
use crate::scram;

fn text() -> String {
    [BY_PASSWORD, FREE, DOORS].concat()
}

/// Somebody by each way that a password opens, and a client of ann's, who stays.
#[track_caller]
fn only_bob_goes(change: impl FnOnce(&Files)) {
    let mut served = Served::start();
    let mut ann = served.client(V5, "ann", "ann");
    let mut stomp_ann = served.stomp("ann");
    let mut bobs: Vec<_> =
        VERSIONS.into_iter().map(|version| served.client(version, &format!("{version:?}"), "bob")).collect();
    bobs.push(scram::enter(&served, "by scram", "bob"));
    let mut stomp = served.stomp("bob");
    // Nothing has changed yet.
    served.reload(&text()).unwrap();
    for bob in &mut bobs {
        bob.ping();
    }
    change(&served.files);
    served.reload(&text()).unwrap();
    for bob in &mut bobs {
        bob.is_refused(NOT_AUTHORIZED);
    }
    assert!(stomp.refused().text().contains("bob"));
    ann.ping();
    stomp_ann.is_quiet();
}

#[test]
fn who_is_taken_out_of_the_password_file_goes() {
    only_bob_goes(|files| files.write("users", &(user("ann", &[]) + &user("eve", &[]))));
}

#[test]
fn whose_password_was_changed_goes() {
    let hash = Hash::of(b"another").unwrap();
    let bob = Entry { user: "bob".to_owned(), hash, groups: Vec::new(), scram: None };
    only_bob_goes(|files| files.write("users", &format!("{}{bob}\n", user("ann", &[]))));
}

#[test]
fn who_has_no_name_goes_where_everybody_must_have_one() {
    let mut served = Served::with(&text().replace("anonymous = false", "anonymous = \"loopback\""));
    let mut nobodies: Vec<_> = VERSIONS
        .into_iter()
        .map(|version| served.welcome(&Connect::new(version, "nobody")).0)
        .take(1)
        .collect();
    nobodies.push(served.welcome(&Connect::new(V5, "nobody either")).0);
    let mut ann = served.client(V5, "ann", "ann");
    let mut stomp = served.stomp_raw();
    stomp.connect(crate::stomp::V12, &[]);
    served.reload(&text()).unwrap();
    for nobody in &mut nobodies {
        nobody.is_refused(NOT_AUTHORIZED);
    }
    assert!(stomp.refused().text().contains("anonymous"));
    ann.ping();
}

#[test]
fn who_came_by_a_way_that_is_closed_goes() {
    let keys = "[auth_jwt]\nkeys = \"{dir}/keys\"\n";
    let files = Files::new();
    files.write("keys", &token::keys());
    let mut served = Served::among(files, &[BY_PASSWORD, keys, FREE, DOORS].concat());
    let mut ann = served.client(V5, "ann", "ann");
    served
        .reload(
            &[BY_PASSWORD, keys, FREE, DOORS].concat().replace("[\"password\"]", "[\"jwt\", \"password\"]"),
        )
        .unwrap();
    ann.ping();
    served.reload(&[BY_PASSWORD, keys, FREE, DOORS].concat().replace("[\"password\"]", "[\"jwt\"]")).unwrap();
    ann.is_refused(NOT_AUTHORIZED);
}

#[test]
fn other_groups_reach_who_stays() {
    let acl = "[[acl]]\ngroups = [\"ops\"]\nallow = [\"publish\", \"subscribe\"]\ntopics = [\"#\"]\n";
    let all = [BY_PASSWORD, acl, DOORS].concat();
    let mut served = Served::with(&all);
    let (mut ann, mut bob) = (served.client(V5, "ann", "ann"), served.client(V5, "bob", "bob"));
    let mut stomp = served.stomp("ann");
    stomp.subscribe("1", "/topic/a", "auto");
    ann.subscribe(QOS_1, "a");
    assert_eq!((ann.say(QOS_1, "b", ""), bob.say(QOS_1, "b", "")), (0x10, NOT_AUTHORIZED));
    served.files.write("users", &(user("ann", &[]) + &user("bob", &["staff", "ops"])));
    served.reload(&all).unwrap();
    assert_eq!((ann.say(QOS_1, "b", ""), bob.say(QOS_1, "b", "")), (NOT_AUTHORIZED, 0x10));
    assert_eq!(ann.subscribe_to(None, &[Subscription::new("a", QOS_1)]), [NOT_AUTHORIZED]);
    // What was subscribed to before comes no more.
    bob.say(QOS_1, "a", "for ops");
    assert_eq!(ann.next_or_pong(), Got::Pong);
    stomp.refused();
}
