//! A service that is asked over HTTP: its word is final, and without a word nobody comes in.

use std::sync::{Arc, Mutex};

use noctule_stomp::Command;

use crate::kit::ports::free_port;
use crate::kit::service::Service;
use crate::kit::{DOORS, QOS_1, Served, V5, V311, by};
use crate::mqtt::{Got, within};

const ACL: &str = r#"
[[acl]]
allow = ["publish"]
topics = ["users/%u/#"]
"#;

/// A broker that asks it, and is patient: the answers of a busy machine are answers too.
fn served(service: &Service, more: &str) -> Served {
    waiting_for(service, "10s", more)
}

/// The same that waits for so long for an answer.
fn waiting_for(service: &Service, timeout: &str, more: &str) -> Served {
    let auth = format!(
        "[auth]\nchain = [\"http\"]\nmax_failures = 1000\n[auth_http]\nurl = \"{}\"\ntimeout = \"{timeout}\"\n{more}",
        service.url()
    );
    Served::with(&[&auth, ACL, DOORS].concat())
}

#[test]
fn yes_no_and_nothing_that_is_understood() {
    let service = Service::new(|question| {
        let (yes, no) = (200, 403);
        Some(match question["user"].as_str().unwrap_or_default() {
            "yes" => (204, String::new()),
            "renamed" => (yes, r#"{"allow": true, "user": "other"}"#.to_owned()),
            "wild" => (yes, r##"{"allow": true, "user": "#"}"##.to_owned()),
            "no" => (no, String::new()),
            "false" => (yes, r#"{"allow": false}"#.to_owned()),
            "nonsense" => (yes, "yes".to_owned()),
            "unknown" => (yes, r#"{"allow": true, "except": "publish"}"#.to_owned()),
            "broken" => (500, String::new()),
            "moved" => (302, String::new()),
            _ => return None,
        })
    });
    let (served, hasty) = (served(&service, ""), waiting_for(&service, "500ms", ""));
    for (user, v5, v3, command) in [
        ("yes", 0, 0, Command::Connected),
        ("no", 0x87, 0x87, Command::Error),
        ("false", 0x86, 0x86, Command::Error),
        ("nonsense", 0x88, 0x88, Command::Error),
        ("unknown", 0x88, 0x88, Command::Error),
        ("broken", 0x88, 0x88, Command::Error),
        ("moved", 0x88, 0x88, Command::Error),
        ("hangs", 0x88, 0x88, Command::Error),
    ] {
        // No answer has to be waited for until there is none; any other may take its time.
        let served = if user == "hangs" { &hasty } else { &served };
        assert_eq!(served.knock(&by(V5, "a", user, "p")), v5, "{user}");
        assert_eq!(served.knock(&by(V311, "a", user, "p")), v3, "{user}");
        assert_eq!(served.stomp_knock(&[("login", user), ("passcode", "p")]).command, command, "{user}");
    }
    assert_ne!(served.knock(&by(V5, "a", "wild", "p")), 0, "a name that is a wildcard is nobody's");
    let mut renamed = served.client(V5, "a", "renamed");
    assert_eq!(renamed.say(QOS_1, "users/other/x", ""), 0x10);
    assert_eq!(renamed.say(QOS_1, "users/renamed/x", ""), 0x87);
}

#[test]
fn nobody_listens() {
    let service = Service::new(|_| None);
    let auth =
        format!("[auth]\nchain = [\"http\"]\n[auth_http]\nurl = \"http://127.0.0.1:{}/\"\n", free_port());
    let served = Served::with(&[&auth, ACL, DOORS].concat());
    assert_eq!(served.knock(&by(V5, "a", "ann", "p")), 0x88);
    assert_eq!(service.asked(), 0);
}

#[test]
fn an_answer_is_remembered_for_the_same_question_only() {
    let service =
        Service::new(|question| Some((if question["password"] == "p" { 204 } else { 403 }, String::new())));
    let served = served(&service, "");
    for _ in 0..3 {
        assert_eq!(served.knock(&by(V5, "a", "ann", "p")), 0);
    }
    assert_eq!(service.asked(), 1);
    assert_eq!(served.knock(&by(V5, "a", "ann", "wrong")), 0x87);
    assert_eq!(service.asked(), 2, "another password is another question");
    assert_eq!(served.knock(&by(V5, "a", "ann", "wrong")), 0x87);
    assert_eq!(service.asked(), 2);
    assert_eq!(served.knock(&by(V5, "b", "ann", "p")), 0);
    assert_eq!(service.asked(), 3, "another client is another question");
}

#[test]
fn without_a_cache_it_is_asked_each_time() {
    let service = Service::new(|_| Some((204, String::new())));
    let served = served(&service, "cache = \"0s\"\ndenial_cache = \"0s\"\n");
    for asked in 1..=3 {
        assert_eq!(served.knock(&by(V5, "a", "ann", "p")), 0);
        assert_eq!(service.asked(), asked);
    }
}

/// A service that hangs holds up who is asked about, and no worker.
#[test]
fn a_service_that_hangs_holds_up_nobody_else() {
    let door = Arc::new(Mutex::new(()));
    let service = {
        let door = Arc::clone(&door);
        Service::new(move |question| {
            if question["user"] != "quick" {
                drop(door.lock());
            }
            Some((204, String::new()))
        })
    };
    let served = served(&service, "");
    let mut quick = served.client(V5, "quick", "quick");
    let closed = door.lock().unwrap();
    let mut hanging: Vec<_> = (0..4)
        .map(|number| {
            let mut client = served.raw(V5);
            client.connect(&by(V5, &format!("hangs {number}"), "hangs", "p"));
            client
        })
        .collect();
    within("all of them are asked about", || (service.asked() == 5).then_some(()));
    for _ in 0..50 {
        quick.ping();
    }
    // Had the broker given one of them up by now, it would not be let in any more.
    drop(closed);
    for client in &mut hanging {
        assert!(matches!(client.next(), Got::ConnAck(welcome) if welcome.reason == 0));
    }
}
