//! Full queues under load: who waits loses nothing, whatever is all or nothing is nothing, and nobody blocks himself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use noctule::config::Period;
use noctule_core::id::Qos;
use noctule_stomp::Command;

use crate::kit::{MQTT5, Served, Stomp};
use crate::mqtt::{WAIT, within};
use crate::queues::browse;

/// How long a look takes whether there is anything.
const GLANCE: Duration = Duration::from_millis(300);

/// A broker whose queues hold so many messages, and whose senders wait so long.
fn small(max_messages: u32, refuse_timeout: Period) -> Served {
    Served::with(|config| {
        config.queues.max_messages = max_messages;
        config.delivery.refuse_timeout = refuse_timeout;
    })
}

/// Fills a queue until a publisher is told so on every worker. How many messages that took: another worker's publisher
/// learns of it a moment later.
fn fill(served: &Served, queue: &str) -> usize {
    let mut publisher = served.mqtt(MQTT5, &format!("fills {queue}"));
    let topic = format!("$queue/{queue}");
    (0..500).take_while(|_| publisher.say(Qos::AtLeastOnce, &topic, "filling") == 0).count()
}

/// A sender whose message to `destination` waits.
fn waiter(served: &Served, destination: &str, body: &str) -> Stomp {
    let mut sender = served.stomp();
    sender.send(Command::Send, &[("destination", destination), ("receipt", "waits")], body.as_bytes());
    assert!(sender.message_within(GLANCE).is_none(), "it is full");
    sender
}

#[test]
fn senders_wait_in_turn_and_lose_nothing() {
    const SENDERS: usize = 8;
    const EACH: usize = 60;
    let served = small(20, Period::from_secs(60));
    let sent = AtomicUsize::new(0);
    let mut taken: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut most_waiting = 0;
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (served, sent) = (&served, &sent);
            scope.spawn(move || {
                let mut client = served.stomp();
                for number in 0..EACH {
                    client.say("/queue/busy", &format!("{sender} {number}"));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                client.bye();
            });
        }
        // Nobody consumes: they all come to wait, and each has one message under way at most.
        let begun = Instant::now();
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, sent.load(Ordering::Relaxed)) != sent.load(Ordering::Relaxed)
            || before < 20
        {
            assert!(begun.elapsed() < WAIT, "{before} are taken");
            std::thread::sleep(GLANCE);
        }
        most_waiting = before;
        let mut consumer = served.stomp();
        consumer.subscribe_with("s", "/queue/busy", "client-individual", &[("prefetch-count", "1")]);
        for _ in 0..SENDERS * EACH {
            let message = consumer.take();
            let (sender, number) = message.text().split_once(' ').unwrap();
            taken.entry(sender.parse().unwrap()).or_default().push(number.parse().unwrap());
        }
        consumer.is_quiet();
    });
    assert!((20..=20 + SENDERS).contains(&most_waiting), "{most_waiting} were taken into a queue of 20");
    let all: Vec<_> = (0..EACH).collect();
    assert_eq!(taken.len(), SENDERS);
    for (sender, numbers) in taken {
        assert_eq!(numbers, all, "of sender {sender}");
    }
}

#[test]
fn nobody_waits_much_longer_than_the_others() {
    // Who is not run by a busy machine does not wait in line either; who is passed over is so each time.
    let is_even = |counts: &[usize]| counts.iter().min().unwrap() * 2 >= *counts.iter().max().unwrap();
    let mut shown = Vec::new();
    let is_fair =
        (0..4).map(|_| shares()).inspect(|counts| shown.push(*counts)).any(|counts| is_even(&counts));
    assert!(is_fair, "{shown:?}");
}

const SENDERS: usize = 6;

/// How many messages of each sender get into a full queue.
fn shares() -> [usize; SENDERS] {
    const TAKEN: usize = 240;
    let served = small(4, Period::from_secs(60));
    fill(&served, "fair");
    let done = AtomicUsize::new(0);
    let mut counts = [0_usize; SENDERS];
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (served, done) = (&served, &done);
            scope.spawn(move || {
                let mut client = served.stomp();
                while done.load(Ordering::Acquire) == 0 {
                    client.send(
                        Command::Send,
                        &[("destination", "/queue/fair"), ("receipt", "r")],
                        sender.to_string().as_bytes(),
                    );
                    client.receipt("r");
                }
            });
        }
        std::thread::sleep(GLANCE);
        let mut consumer = served.stomp();
        consumer.subscribe_with("s", "/queue/fair", "client-individual", &[("prefetch-count", "1")]);
        let mut count = 0;
        while count < TAKEN {
            let message = consumer.take();
            if let Ok(sender) = message.text().parse::<usize>() {
                counts[sender] += 1;
                count += 1;
            }
        }
        done.store(1, Ordering::Release);
        // Whoever waits still is let go.
        while consumer.message_within(GLANCE).map(|message| consumer.ack(&message)).is_some() {}
    });
    counts
}

#[test]
fn of_a_transaction_for_a_full_queue_nothing_happens() {
    let served = small(5, Period::from_secs(60));
    let accepted = fill(&served, "full");
    let mut listener = served.stomp();
    listener.subscribe("t", "/topic/told", "auto");
    let mut client = served.stomp();
    client.say("/queue/work", "task");
    client.subscribe("s", "/queue/work", "client-individual");
    let task = client.message();
    client.transaction(Command::Begin, "t");
    for destination in ["/topic/told", "/queue/elsewhere", "/queue/full"] {
        client.say_with(destination, &[("transaction", "t")], "committed");
    }
    client.ack_in(&task, &[("transaction", "t")]);
    client.send(Command::Commit, &[("transaction", "t"), ("receipt", "c")], b"");
    let error = client.refused();
    assert_eq!(error.header("receipt-id"), "c");
    for part in ["full", "transaction", "max_messages", "consume"] {
        assert!(error.text().contains(part), "{part} in {error:?}");
    }
    listener.is_quiet();
    assert_eq!(browse(&served, "/queue/elsewhere"), [""; 0]);
    assert_eq!(browse(&served, "/queue/full").len(), accepted);
    let mut again = served.stomp();
    again.subscribe("s", "/queue/work", "client-individual");
    assert_eq!(again.take().text(), "task");
}

#[test]
fn who_consumes_from_a_full_queue_may_send_to_it_and_drains_it() {
    let served = small(5, Period::from_secs(60));
    let accepted = fill(&served, "own");
    // Others press in as well.
    let waiting = ["one", "two"].map(|body| waiter(&served, "/queue/own", body));
    let mut client = served.stomp();
    client.subscribe_with("s", "/queue/own", "client-individual", &[("prefetch-count", "1")]);
    // What is handed on goes to the end of the queue before the old one is consumed.
    let mut bodies = Vec::new();
    for _ in 0..accepted {
        let message = client.message();
        client.say("/queue/own", &format!("again {}", message.text()));
        client.ack(&message);
        bodies.push(message.text().to_owned());
    }
    while let Some(message) = client.message_within(GLANCE) {
        client.ack(&message);
        bodies.push(message.text().to_owned());
    }
    bodies.sort();
    let of = |body: &str| bodies.iter().filter(|known| *known == body).count();
    let filling = of("filling") + of("again filling") + of("again again filling");
    assert_eq!((of("one"), of("two")), (1, 1), "{bodies:?}");
    assert!(filling >= accepted && bodies.len() >= 2 * accepted, "{bodies:?}");
    for mut sender in waiting {
        sender.receipt("waits");
    }
    assert_eq!(browse(&served, "/queue/own"), [""; 0]);
}

#[test]
fn two_that_send_to_each_others_full_queue_are_told_in_the_end() {
    let served = small(2, Period::from_secs(1));
    let (mut left, mut right) = (served.stomp(), served.stomp());
    left.subscribe_with("s", "/queue/left", "client-individual", &[("prefetch-count", "1")]);
    right.subscribe_with("s", "/queue/right", "client-individual", &[("prefetch-count", "1")]);
    let before = [fill(&served, "left"), fill(&served, "right")];
    for (client, other) in [(&mut left, "/queue/right"), (&mut right, "/queue/left")] {
        client.send(Command::Send, &[("destination", other), ("receipt", "r")], b"crosswise");
    }
    let begun = Instant::now();
    let error = left.refused();
    assert!(error.text().contains("refuse_timeout") && begun.elapsed() < WAIT, "{error:?}");
    // What the one had is back, and so is what the other had if it was refused as well.
    drop(right);
    for (queue, count) in ["/queue/left", "/queue/right"].into_iter().zip(before) {
        let all = || {
            let waiting = browse(&served, queue);
            (waiting.iter().filter(|body| *body == "filling").count() == count).then_some(())
        };
        within(queue, all);
    }
}

#[test]
fn a_sender_that_goes_while_it_waits_leaves_nothing_behind() {
    let served = small(5, Period::from_secs(1));
    let accepted = fill(&served, "left");
    for _ in 0..10 {
        waiter(&served, "/queue/left", "gone").cut();
    }
    // The last of them is given up.
    std::thread::sleep(Duration::from_millis(1_500));
    let mut consumer = served.stomp();
    consumer.subscribe("s", "/queue/left", "client-individual");
    for _ in 0..accepted {
        assert_eq!(consumer.take().text(), "filling");
    }
    consumer.is_quiet();
    // Nobody stands in line any more: whoever can't wait is taken.
    let mut publisher = served.mqtt(MQTT5, "publisher");
    assert_eq!(publisher.say(Qos::AtLeastOnce, "$queue/left", "next"), 0);
    let mut sender = served.stomp();
    sender.transaction(Command::Begin, "t");
    sender.say_with("/queue/left", &[("transaction", "t")], "last");
    sender.transaction(Command::Commit, "t");
    assert_eq!([consumer.take().text(), consumer.take().text()], ["next", "last"]);
}
