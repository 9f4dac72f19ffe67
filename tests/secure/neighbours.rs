//! Who guesses has to wait, his neighbours don't; and nobody waits for somebody else's password.

use std::time::{Duration, Instant};

use crate::kit::scram::{METHOD, Scram};
use crate::kit::service::Service;
use crate::kit::{BY_PASSWORD, DOORS, FREE, Files, QOS_0, RIGHT, Served, V5, V311, by, user};
use crate::mqtt::{Got, within};

const STRICT: &str = "max_failures = 2\nbackoff = \"60s\"\nmax_backoff = \"60s\"\n";

#[test]
fn who_fails_too_often_waits_and_his_neighbours_do_not() {
    let served = Served::with(&[BY_PASSWORD, STRICT, FREE, DOORS].concat());
    // Two are free, and the third begins the wait.
    for _ in 0..3 {
        assert_eq!(served.knock(&by(V5, "guesser", "ann", "wrong")), 0x86);
    }
    assert_eq!(served.knock(&by(V5, "guesser", "ann", RIGHT)), 0x89, "not even with the right one");
    assert_eq!(served.knock(&by(V311, "guesser", "ann", RIGHT)), 0x88);
    assert_eq!(served.knock(&by(V5, "neighbour", "bob", RIGHT)), 0);
    assert_eq!(
        served.stomp_knock(&[("login", "eve"), ("passcode", RIGHT)]).command,
        noctule_stomp::Command::Connected
    );
}

#[test]
fn the_wait_ends() {
    let short = "max_failures = 1\nbackoff = \"3s\"\n";
    let served = Served::with(&[BY_PASSWORD, short, FREE, DOORS].concat());
    for _ in 0..2 {
        assert_eq!(served.knock(&by(V5, "a", "ann", "wrong")), 0x86);
    }
    assert_eq!(served.knock(&by(V5, "a", "ann", RIGHT)), 0x89);
    within("ann is let in again", || (served.knock(&by(V5, "a", "ann", RIGHT)) == 0).then_some(()));
}

/// A device with an old password fails by SCRAM as it does by password: alone.
#[test]
fn a_failing_scram_user_waits_and_his_neighbours_do_not() {
    let served = Served::with(&[BY_PASSWORD, STRICT, FREE, DOORS].concat());
    let enter = |user: &str, password: &str| {
        let mut scram = Scram::new(user, password, "fyko+d2lbbFgONRv9qkxdawL");
        let first = scram.first();
        let mut connect = noctule_mqtt::Connect::new(V5, user);
        connect.auth_method = Some(METHOD);
        connect.auth_data = Some(first.as_bytes());
        let (mut client, answer) = served.ask(&connect);
        let challenge = match answer {
            Got::Auth(_, _, challenge) => challenge,
            Got::ConnAck(refused) => return refused.reason,
            other => panic!("{other:?}"),
        };
        let last = scram.last(&challenge);
        let auth = noctule_mqtt::Auth::new(
            noctule_mqtt::Reason::CONTINUE_AUTHENTICATION,
            METHOD,
            Some(last.as_bytes()),
        );
        client.send(&noctule_mqtt::Packet::Auth(auth));
        match client.next() {
            Got::ConnAck(welcome) => welcome.reason,
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..3 {
        assert_eq!(enter("ann", "wrong"), 0x87);
    }
    assert_eq!(enter("bob", RIGHT), 0, "bob does not wait");
    assert_eq!(enter("ann", RIGHT), 0x89, "ann waits");
    assert_eq!(served.knock(&by(V5, "a", "ann", RIGHT)), 0x89, "whichever way she comes");
}

/// Exchanges that were begun while there was no wait are no way round it.
#[test]
fn exchanges_that_are_begun_at_once_are_no_more_guesses() {
    let served = Served::with(&[BY_PASSWORD, STRICT, FREE, DOORS].concat());
    let mut begun: Vec<_> = (0..8)
        .map(|number| {
            let password = if number < 7 { "wrong" } else { RIGHT };
            let mut scram = Scram::new("ann", password, "fyko+d2lbbFgONRv9qkxdawL");
            let (first, client_id) = (scram.first(), format!("ann {number}"));
            let mut connect = noctule_mqtt::Connect::new(V5, &client_id);
            connect.auth_method = Some(METHOD);
            connect.auth_data = Some(first.as_bytes());
            let (client, answer) = served.ask(&connect);
            let Got::Auth(0x18, _, challenge) = answer else { panic!("no challenge: {answer:?}") };
            (client, scram.last(&challenge))
        })
        .collect();
    let reasons = begun.iter_mut().map(|(client, last)| {
        client.send(&noctule_mqtt::Packet::Auth(noctule_mqtt::Auth::new(
            noctule_mqtt::Reason::CONTINUE_AUTHENTICATION,
            METHOD,
            Some(last.as_bytes()),
        )));
        match client.next() {
            Got::ConnAck(welcome) => welcome.reason,
            other => panic!("{other:?}"),
        }
    });
    // Two are free, and the third begins the wait, in which a right proof looks like a wrong one.
    assert_eq!(reasons.collect::<Vec<_>>(), [0x87, 0x87, 0x87, 0x89, 0x89, 0x89, 0x89, 0x89]);
}

/// 200 logins at once, each of them hashed: all get in, and the workers serve everybody else meanwhile.
#[test]
fn a_storm_of_logins_holds_up_nobody() {
    let files = Files::new();
    let name = |number: usize| format!("device-{number}");
    let users: String = (0..200).map(|number| user(&name(number), &[])).collect();
    files.write("users", &(users + &user("ann", &[])));
    let limits = "[limits]\nconnect_timeout = \"60s\"\n";
    let hashing = "hash_threads = 2\n";
    let served = Served::among(files, &[BY_PASSWORD, hashing, limits, FREE, DOORS].concat());
    let mut bystander = served.client(V5, "bystander", "ann");
    let mut waiting: Vec<_> = (0..200)
        .map(|number| {
            let name = name(number);
            let mut client = served.raw(V5);
            client.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            client.connect(&by(V5, &name, &name, RIGHT));
            client
        })
        .collect();
    // How long a hash takes here, at the least.
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    let mut trips = 0;
    let mut let_in = 0;
    while let_in < waiting.len() {
        let begun = Instant::now();
        bystander.ping();
        longest = longest.max(begun.elapsed());
        trips += 1;
        let client = &mut waiting[let_in];
        client.stream.set_nonblocking(true).unwrap();
        let has_answer = !matches!(client.stream.peek(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        client.stream.set_nonblocking(false).unwrap();
        if has_answer {
            let answer = client.next();
            assert!(matches!(&answer, Got::ConnAck(welcome) if welcome.reason == 0), "{let_in}: {answer:?}");
            let_in += 1;
        }
    }
    // Had a worker hashed, a round trip would have waited for many of the 200.
    let all = start.elapsed();
    assert!(
        longest < all / 4 || longest < Duration::from_millis(100),
        "{longest:?} of {all:?}, {trips} trips"
    );
    for client in &mut waiting {
        client.ping();
    }
}

/// A service that never answers stands for a verdict that takes its time.
#[test]
fn a_connection_that_leaves_while_it_is_judged_leaves_nothing_behind() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let service = Service::new(move |question| {
        if question["user"] == "slow" {
            let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(5));
        }
        Some((204, String::new()))
    });
    let auth =
        format!("[auth]\nchain = [\"http\"]\n[auth_http]\nurl = \"{}\"\ntimeout = \"5s\"\n", service.url());
    let limits = "[limits]\nmax_connections = 2\n";
    let served = Served::with(&[&auth, limits, FREE, DOORS].concat());
    let mut first = served.client(V5, "same", "quick");
    let mut leaver = served.raw(V5);
    leaver.connect(&by(V5, "same", "slow", RIGHT));
    within("the service is asked", || (service.asked() == 2).then_some(()));
    leaver.cut();
    // Its place is free although its verdict is awaited still.
    within("the place is free", || {
        let mut client = served.raw(V5);
        let mut out = bytes::BytesMut::new();
        by(V5, "next", "quick", RIGHT).encode(&mut out).unwrap();
        client.raw_or_closed(&out);
        matches!(client.next(), Got::ConnAck(welcome) if welcome.reason == 0).then_some(())
    });
    hold.send(()).unwrap();
    // The verdict comes in for nobody: not for the connection that has the place now, nor for the session.
    std::thread::sleep(Duration::from_millis(100));
    first.say(QOS_0, "a", "still here");
    first.ping();
}
