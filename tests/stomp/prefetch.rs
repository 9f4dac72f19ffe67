//! What is out with a consumer: how much, how it is acknowledged, and when it comes back.

use std::time::{Duration, Instant};

use crate::kit::{Served, Stomp, V10, V11};
use crate::queues::browse;

fn fill(served: &Served, destination: &str, count: usize) {
    let mut sender = served.stomp();
    for number in 1..=count {
        sender.say(destination, &number.to_string());
    }
}

/// How long nothing comes is how long one must wait to see that nothing does.
const NOTHING: Duration = Duration::from_millis(150);

#[test]
fn no_more_is_out_than_was_asked_for() {
    let served = Served::start();
    for (queue, header, ack) in
        [("p1", "prefetch-count", "client-individual"), ("p2", "activemq.prefetchSize", "client")]
    {
        let destination = format!("/queue/{queue}");
        fill(&served, &destination, 6);
        let mut client = served.stomp();
        client.subscribe_with("s", &destination, ack, &[(header, "2")]);
        let got = [client.message(), client.message()];
        assert_eq!((got[0].text(), got[1].text()), ("1", "2"));
        assert!(client.message_within(NOTHING).is_none());
        client.ack(&got[0]);
        let third = client.message();
        assert_eq!(third.text(), "3");
        assert!(client.message_within(NOTHING).is_none());
        // The others are anybody's.
        let mut other = served.stomp();
        other.subscribe("s", &destination, "auto");
        assert_eq!(other.texts(3), ["4", "5", "6"]);
    }
}

#[test]
fn prefetch_holds_on_topics_too() {
    let served = Served::start();
    let mut client = served.stomp();
    client.subscribe_with("s", "/topic/paced", "client", &[("prefetch-count", "2")]);
    let mut sender = served.stomp();
    for number in 1..=5 {
        sender.say_with("/topic/paced", &[("persistent", "true")], &number.to_string());
    }
    let got = [client.message(), client.message()];
    assert!(client.message_within(NOTHING).is_none());
    client.ack(&got[1]);
    assert_eq!(client.texts(2), ["3", "4"]);
    assert!(client.message_within(NOTHING).is_none());
}

#[test]
fn a_cumulative_ack_covers_what_came_before_in_its_subscription() {
    let served = Served::start();
    for version in [V10, V11, crate::kit::V12] {
        let (one, two) = (format!("/queue/one {version}"), format!("/queue/two {version}"));
        fill(&served, &one, 5);
        fill(&served, &two, 2);
        let mut client = served.stomp_with(version, &[]);
        client.subscribe("1", &one, "client");
        let of_one: Vec<_> = (0..5).map(|_| client.message()).collect();
        client.subscribe("2", &two, "client");
        let of_two: Vec<_> = (0..2).map(|_| client.message()).collect();
        client.ack(&of_one[2]);
        client.ack(&of_two[0]);
        client.cut();
        let mut next = served.stomp();
        for (id, destination, left) in [("1", &one, &["4", "5"][..]), ("2", &two, &["2"])] {
            next.subscribe(id, destination, "client");
            for text in left {
                let again = next.take();
                assert_eq!((again.text(), again.header("redelivered")), (*text, "true"), "{version}");
            }
        }
        next.is_quiet();
    }
}

#[test]
fn individual_acks_cover_one_each_in_any_order() {
    let served = Served::start();
    fill(&served, "/queue/any", 5);
    let mut client = served.stomp();
    client.subscribe("s", "/queue/any", "client-individual");
    let got: Vec<_> = (0..5).map(|_| client.message()).collect();
    for place in [4, 1, 3] {
        client.ack(&got[place]);
    }
    // Acknowledged twice is once.
    client.ack(&got[4]);
    client.cut();
    let mut next = served.stomp();
    next.subscribe("s", "/queue/any", "client");
    assert_eq!([next.take().body, next.take().body], [b"1", b"3"]);
    next.is_quiet();
}

#[test]
fn whatever_ends_a_consumer_gives_back_in_order_what_it_held() {
    let served = Served::start();
    type End = fn(Stomp);
    let ends: [(&str, End); 3] = [
        ("cut", Stomp::cut),
        ("bye", Stomp::bye),
        ("mistake", |mut client| {
            client.raw(b"NONSENSE\n\n\0");
            client.refused();
        }),
    ];
    for (how, end) in ends {
        let destination = format!("/queue/{how}");
        fill(&served, &destination, 4);
        let mut first = served.stomp();
        first.subscribe_with("s", &destination, "client", &[("prefetch-count", "3")]);
        let held: Vec<_> = (0..3).map(|_| first.message()).collect();
        assert!(held.iter().all(|message| message.get("redelivered").is_none()));
        end(first);
        let mut second = served.stomp();
        crate::mqtt::within("all of them wait", || (browse(&served, &destination).len() == 4).then_some(()));
        second.subscribe("s", &destination, "client");
        for text in ["1", "2", "3", "4"] {
            let message = second.take();
            let again = (text != "4").then_some("true");
            assert_eq!((message.text(), message.get("redelivered")), (text, again), "{how}");
        }
    }
}

#[test]
fn what_unsubscribe_leaves_open_can_still_be_acknowledged() {
    let served = Served::start();
    fill(&served, "/queue/open", 3);
    let mut client = served.stomp();
    client.subscribe_with("s", "/queue/open", "client-individual", &[("prefetch-count", "2")]);
    let got = [client.message(), client.message()];
    client.unsubscribe("s");
    client.ack(&got[1]);
    client.bye();
    let mut next = served.stomp();
    next.subscribe("s", "/queue/open", "client");
    assert_eq!([next.take().body, next.take().body], [b"1", b"3"]);
}

#[test]
fn a_message_that_is_held_too_long_goes_to_another_and_a_late_ack_is_ignored() {
    let served = Served::start();
    // It holds for the others as well, who get all they do done in this time.
    let deadline = [("x-consumer-timeout", "4000"), ("prefetch-count", "1")];
    let mut slow = served.stomp();
    slow.subscribe_with("s", "/queue/slow", "client-individual", &deadline);
    let mut sender = served.stomp();
    let begun = Instant::now();
    sender.say("/queue/slow", "one");
    let held = slow.message();
    let mut other = served.stomp();
    other.subscribe_with("s", "/queue/slow", "client-individual", &[("prefetch-count", "5")]);
    let again = other.message();
    assert!(begun.elapsed() >= Duration::from_millis(3_950), "{:?}", begun.elapsed());
    assert_eq!((again.text(), again.header("redelivered")), ("one", "true"));
    assert_eq!(again.header("x-delivery-count"), "1");
    // It is the other's now: this ACK is late, is answered, and takes nothing away.
    slow.ack(&held);
    slow.is_quiet();
    slow.unsubscribe("s");
    other.cut();
    let mut third = served.stomp();
    third.subscribe("s", "/queue/slow", "client");
    let last = third.take();
    assert_eq!((last.text(), last.header("x-delivery-count")), ("one", "2"));
    assert_eq!(browse(&served, "/queue/slow"), [""; 0]);
}
