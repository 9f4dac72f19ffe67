//! Receipts in the order of their frames, heart-beats, and the end of a connection.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use noctule::config::Period;
use noctule_core::id::Qos;
use noctule_mqtt::Connect;
use noctule_stomp::Command;

use crate::kit::{MQTT5, Served, Stomp, V10, V11, V12};

/// Command, headers and body of a frame to be sent.
type Frame<'a> = (Command, Vec<(&'a str, &'a str)>, &'a [u8]);

#[test]
fn receipts_come_in_the_order_of_their_frames_whatever_each_had_to_wait_for() {
    let served = Served::start();
    let mut client = served.stomp();
    client.subscribe("s", "/queue/receipts", "client");
    let stored = |receipt| -> Vec<(&str, &str)> {
        vec![("destination", "/topic/receipts"), ("persistent", "true"), ("receipt", receipt)]
    };
    let frames: [Frame<'_>; 9] = [
        (Command::Send, stored("1"), b"stored"),
        (Command::Begin, vec![("transaction", "t"), ("receipt", "2")], b""),
        (Command::Send, vec![("destination", "/topic/receipts"), ("receipt", "3")], b"not stored"),
        (
            Command::Send,
            vec![("destination", "/queue/receipts"), ("transaction", "t"), ("receipt", "4")],
            b"enlisted",
        ),
        (Command::Subscribe, vec![("id", "r"), ("destination", "/queue/receipts 2"), ("receipt", "5")], b""),
        (Command::Commit, vec![("transaction", "t"), ("receipt", "6")], b""),
        (Command::Send, vec![("destination", "/queue/receipts 3"), ("receipt", "7")], b"queued"),
        (Command::Unsubscribe, vec![("id", "r"), ("receipt", "8")], b""),
        (Command::Send, stored("9"), b"stored"),
    ];
    let bytes: Vec<u8> =
        frames.iter().flat_map(|(command, headers, body)| client.encoded(*command, headers, body)).collect();
    client.raw(&bytes);
    for number in 1..=9 {
        client.receipt(&number.to_string());
    }
    // What was committed has come in the meantime, or does now.
    assert_eq!(client.take().text(), "enlisted");
}

/// The queue's home may be another worker, whose answer comes when the subscription is over.
#[test]
fn a_subscribe_has_its_receipt_although_unsubscribe_follows_at_once() {
    let served = Served::start();
    for number in 0..16 {
        let mut client = served.stomp();
        let destination = format!("/queue/at once {number}");
        let own = [("id", "s"), ("destination", destination.as_str()), ("receipt", "1")];
        let mut bytes = client.encoded(Command::Subscribe, &own, b"");
        bytes.extend(client.encoded(Command::Unsubscribe, &[("id", "s"), ("receipt", "2")], b""));
        client.raw(&bytes);
        client.receipt("1");
        client.receipt("2");
        client.is_quiet();
    }
}

#[test]
fn a_thousand_pipelined_sends_have_a_thousand_receipts_in_order() {
    let served = Served::start();
    for destination in ["/topic/pipelined", "/queue/pipelined"] {
        let mut client = served.stomp();
        let bytes: Vec<u8> = (0..1_000)
            .flat_map(|number: u32| {
                let receipt = number.to_string();
                let headers = [("destination", destination), ("persistent", "true"), ("receipt", &receipt)];
                client.encoded(Command::Send, &headers, receipt.as_bytes())
            })
            .collect();
        client.raw(&bytes);
        for number in 0..1_000 {
            client.receipt(&number.to_string());
        }
        client.bye();
    }
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/pipelined", "auto");
    let texts: Vec<u32> = consumer.texts(1_000).iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(texts, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_subscribes_receipt_precedes_its_first_message() {
    let served = Served::start();
    let mut client = served.stomp();
    client.say_with("/topic/kept", &[("retain", "true"), ("persistent", "true")], "kept");
    client.say("/queue/waits", "waits");
    for (id, destination, text) in [("a", "/topic/kept", "kept"), ("b", "/queue/waits", "waits")] {
        let headers = [("id", id), ("destination", destination), ("receipt", id)];
        client.send(Command::Subscribe, &headers, b"");
        let first = client.next();
        assert_eq!((first.command, first.get("receipt-id")), (Command::Receipt, Some(id)));
        assert_eq!(client.message().text(), text);
    }
}

#[test]
fn disconnect_is_answered_and_then_the_connection_ends() {
    let served = Served::start();
    for version in [V10, V11, V12] {
        let mut client = served.stomp_with(version, &[]);
        let mut last = client.encoded(
            Command::Send,
            &[("destination", "/topic/last"), ("persistent", "true"), ("receipt", "sent")],
            b"last",
        );
        last.extend(client.encoded(Command::Disconnect, &[("receipt", "bye")], b""));
        // Nothing after it is read.
        last.extend(b"NONSENSE\n\n\0");
        client.raw(&last);
        client.receipt("sent");
        client.receipt("bye");
        client.is_closed();
        // Without a receipt it ends all the same.
        let mut client = served.stomp_with(version, &[]);
        client.send(Command::Disconnect, &[], b"");
        client.is_closed();
    }
}

/// What a script does that pipes its frames into `nc -N`: the end comes with the last frame, the answers are waited for.
#[test]
fn who_ends_its_side_first_still_gets_all_its_receipts() {
    let served = Served::start();
    let send = |number: u32, destination: &str| {
        format!("SEND\ndestination:{destination}\npersistent:true\nreceipt:{number}\n\nx\0")
    };
    // How long the broker keeps it when all is answered.
    let kept = |destination: &str, farewell: &str| {
        let mut client = served.raw();
        let sends: String = (0..50).map(|number| send(number, destination)).collect();
        client.raw(format!("CONNECT\naccept-version:1.2\nhost:/\n\n\0{sends}{farewell}").as_bytes());
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.next().command, Command::Connected);
        for number in 0..50 {
            client.receipt(&number.to_string());
        }
        if farewell.contains("bye") {
            client.receipt("bye");
        }
        let answered = Instant::now();
        client.is_closed();
        answered.elapsed()
    };
    for destination in ["/topic/piped", "/queue/piped"] {
        for farewell in ["DISCONNECT\nreceipt:bye\n\n\0", "DISCONNECT\n\n\0", "", "SEND\ndestination:/top"] {
            // Who might still be owed something is kept for five seconds each time; a busy machine is slow now and then.
            let is_let_go = (0..5).any(|_| kept(destination, farewell) < Duration::from_secs(1));
            assert!(is_let_go, "{farewell:?}: nothing more was owed");
        }
    }
}

/// What a consumer that has ended its side did not acknowledge goes to another, and so does what comes while it still
/// waits for a receipt.
#[test]
fn who_ends_its_side_first_gets_no_more_messages() {
    let served = Served::with(|config| config.store.commit_window = Period::from_millis(400));
    // While somebody might still acknowledge, the store waits for that.
    let mut lasting = Connect::new(MQTT5, "lasting");
    lasting.session_expiry_s = Some(600);
    let mut slow = served.mqtt_with(&lasting);
    slow.subscribe(Qos::AtLeastOnce, "slow");
    let mut ended = served.stomp();
    ended.subscribe("s", "/queue/ended", "client");
    let mut sender = served.stomp();
    sender.send(Command::Send, &[("destination", "/queue/ended")], b"first");
    assert_eq!(ended.message().text(), "first");
    let asked = Instant::now();
    ended.send(
        Command::Send,
        &[("destination", "/topic/slow"), ("persistent", "true"), ("receipt", "r")],
        b"x",
    );
    ended.stream.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    sender.send(Command::Send, &[("destination", "/queue/ended")], b"second");
    ended.receipt("r");
    assert!(asked.elapsed() > Duration::from_millis(200), "there was no time in between");
    assert_eq!(ended.kept(), None);
    ended.is_closed();
    let mut other = served.stomp();
    other.subscribe("s", "/queue/ended", "client");
    assert_eq!([other.take(), other.take()].map(|message| message.text().to_owned()), ["first", "second"]);
}

/// An EOL each from either side keeps a silent connection, and its absence ends it.
#[test]
fn heart_beats_go_both_ways_and_silence_ends_the_connection() {
    let served = Served::with(|config| {
        config.stomp.heart_beat = Period::from_secs(1);
    });
    std::thread::scope(|scope| {
        let beating = |stays: bool| {
            // The broker may count from before its answer is read here.
            let begun = Instant::now();
            let mut client = served.raw();
            // Who stays is given five seconds between two signs of life, in case this machine does not run it.
            let own = if stays { "2500,1000" } else { "500,1000" };
            let welcome = client.connect(V12, &[("heart-beat", own)]);
            let (sends, wants) = welcome.header("heart-beat").split_once(',').unwrap();
            assert!(sends.parse::<u64>().unwrap() > 0 && wants == "1000", "{welcome:?}");
            if stays {
                stay(&mut client, begun);
            } else {
                // max(500, 1000), twice.
                let error = client.refused();
                assert!(begun.elapsed() >= Duration::from_millis(1_900), "{:?}", begun.elapsed());
                assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
                assert_eq!(error.header("message"), "heart-beat timeout");
                assert!(error.text().contains("2000") || error.text().contains("heart-beat"), "{error:?}");
            }
        };
        scope.spawn(move || beating(true));
        scope.spawn(move || beating(false));
        // Who asks for none gets none, and may be silent.
        let mut silent = served.stomp();
        scope.spawn(move || {
            assert!(silent.message_within(Duration::from_millis(3_200)).is_none());
            assert_eq!(silent.beats, 0);
            silent.is_quiet();
        });
    });
}

/// Beats for longer than the broker would bear silence; `begun` is when it connected.
fn stay(client: &mut Stomp, begun: Instant) {
    let welcomed = Instant::now();
    while welcomed.elapsed() < Duration::from_millis(6_200) {
        client.raw(b"\n");
        assert!(client.message_within(Duration::from_millis(300)).is_none());
    }
    // One in a second at least, but for those that a busy machine holds up; it may be sent at half of that.
    let most = begun.elapsed().as_millis() as usize / 500 + 3;
    assert!((4..=most).contains(&client.beats), "{} beats, {most} at most", client.beats);
    client.is_quiet();
}

#[test]
fn a_1_0_client_without_a_subscription_has_an_idle_limit() {
    let served = Served::with(|config| {
        config.stomp.idle_timeout = Period::from_secs(1);
    });
    let mut consumer = served.stomp_with(V10, &[]);
    consumer.subscribe("s", "/topic/idle", "auto");
    let mut idle = served.stomp_with(V10, &[]);
    let error = idle.refused();
    assert_eq!(error.header("message"), "heart-beat timeout");
    consumer.is_quiet();
}
