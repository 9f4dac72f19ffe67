//! How fast clients may come and send: what is above a rate waits, and nothing of it is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use noctule::config::{Config, Listener, Protocol, Size};
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet};

use crate::kit::{Client, Got, Out, Served, V5, V311, WAIT, workers};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

fn limited(change: impl FnOnce(&mut noctule::config::Limits)) -> Served {
    Served::with(|config: &mut Config| change(&mut config.limits))
}

/// Connects so many at once; how long it takes until all are let in.
fn crowd(address: std::net::SocketAddr, count: usize) -> Duration {
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..count)
        .map(|number| {
            let mut client = Client::new(address, V311);
            client.connect(&Connect::new(V311, &format!("crowd {number}")));
            client
        })
        .collect();
    for client in &mut clients {
        assert!(matches!(client.next(), Got::ConnAck(welcome) if welcome.reason == 0));
    }
    begun.elapsed()
}

#[test]
fn connect_rate_has_the_rest_wait_and_turns_nobody_away() {
    let served = limited(|limits| limits.connect_rate = 20);
    // Two at once, as many as come in 100 ms; and each worker may let in one with the last.
    let waits = 14 - 2 - u64::from(workers());
    let took = crowd(served.address, 14);
    assert!(took >= Duration::from_millis(waits * 50 - 20), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_listener_may_have_a_connect_rate_of_its_own() {
    let mut addresses = Vec::new();
    let served = Served::with_addresses(&mut addresses, |config| {
        config.limits.connect_rate = 1;
        let mut own = Listener { connect_rate: Some(1_000), ..Listener::on_loopback(Protocol::Mqtt) };
        own.address.set_port(0);
        config.listener.push(own);
    });
    let &fast = addresses.last().unwrap();
    crowd(served.address, 1);
    let took = crowd(fast, 10);
    assert!(took < Duration::from_millis(900), "ten at one a second? {took:?}");
    let took = crowd(served.address, 1);
    assert!(took > Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_listener_may_have_a_most_of_connections_of_its_own() {
    let served = Served::with(|config| config.listener[0].max_connections = Some(2));
    let _first = served.client(V311, "first");
    let _second = served.client(V311, "second");
    let mut third = served.raw(V311);
    third.is_closed();
}

#[test]
fn message_rate_slows_a_publisher_and_loses_nothing() {
    for version in [V311, V5] {
        let served = limited(|limits| limits.message_rate = 50);
        let mut subscriber = served.client(version, "subscriber");
        subscriber.subscribe(QOS_1, "rate");
        let mut publisher = served.client(version, "publisher");
        let begun = Instant::now();
        for number in 0..125 {
            publisher.put(&Out::new(QOS_1, "rate", &number.to_string()));
        }
        publisher.send(&Packet::PingReq);
        // Meanwhile nobody else waits, whose own messages are few.
        let mut other = served.client(version, "other");
        let asked = Instant::now();
        other.say(QOS_1, "elsewhere", "x");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        let expected: Vec<_> = (0..125).map(|number: u32| number.to_string()).collect();
        assert_eq!(subscriber.texts(125), expected, "none lost, none overtaken");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(1_450), "75 at 50 a second, behind 50 at once, in {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        publisher.until(|got| (*got == Got::Pong).then_some(()));
    }
}

#[test]
fn messages_within_the_rate_are_not_held_up() {
    let served = limited(|limits| limits.message_rate = 50);
    let mut client = served.client(V5, "client");
    let begun = Instant::now();
    for _ in 0..50 {
        client.say(QOS_1, "rate", "x");
    }
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[test]
fn what_is_no_message_costs_nothing() {
    let served = limited(|limits| limits.message_rate = 1);
    let mut client = served.client(V5, "client");
    let begun = Instant::now();
    for number in 0..20 {
        client.ping();
        client.subscribe(QOS_1, &format!("f/{number}"));
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn byte_rate_slows_a_publisher_whose_keep_alive_does_not_end_it_meanwhile() {
    let served = limited(|limits| limits.byte_rate = Size::from_bytes(1_000));
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_0, "rate");
    let mut connect = Connect::new(V5, "publisher");
    connect.keep_alive_s = 1;
    let (mut publisher, _) = served.welcome(&connect);
    let payload = vec![b'x'; 4_000];
    let begun = Instant::now();
    publisher.put(&Out { payload: &payload, ..Out::new(QOS_1, "rate", "") });
    publisher.put(&Out::new(QOS_1, "rate", "behind it"));
    publisher.send(&Packet::PingReq);
    assert_eq!(subscriber.receive().payload.len(), 4_000);
    assert!(begun.elapsed() < Duration::from_secs(1), "what is larger than a second's worth passes at once");
    assert_eq!(subscriber.receive().text(), "behind it");
    // Three seconds without being read: twice what the keep alive allows.
    assert!(begun.elapsed() >= Duration::from_millis(2_950), "{:?}", begun.elapsed());
    publisher.until(|got| (*got == Got::Pong).then_some(()));
}

#[test]
fn a_listeners_rates_stand_above_those_of_all() {
    let served = Served::with(|config| {
        config.limits.message_rate = 1;
        config.listener[0].message_rate = Some(0);
    });
    let mut client = served.client(V5, "client");
    let begun = Instant::now();
    for _ in 0..10 {
        client.say(QOS_1, "rate", "x");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_stomp_client_is_slowed_as_well() {
    let mut addresses = Vec::new();
    let served = Served::with_addresses(&mut addresses, |config| config.limits.message_rate = 10);
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_1, "rate");
    let mut stomp = TcpStream::connect(addresses[1]).unwrap();
    stomp.set_read_timeout(Some(WAIT)).unwrap();
    let mut frames = "CONNECT\naccept-version:1.2\nhost:x\n\n\0".to_owned();
    for number in 0..30 {
        frames += &format!("SEND\ndestination:/topic/rate\nreceipt:{number}\n\n{number}\0");
    }
    frames += "DISCONNECT\nreceipt:bye\n\n\0";
    let begun = Instant::now();
    stomp.write_all(frames.as_bytes()).unwrap();
    let expected: Vec<_> = (0..30).map(|number: u32| number.to_string()).collect();
    assert_eq!(subscriber.texts(30), expected);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_900), "20 at 10 a second, behind 10 at once, in {took:?}");
    let mut answers = String::new();
    stomp.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("RECEIPT").count(), 31, "{answers}");
}

/// The median and the 99th percentile of so many round trips.
fn round_trips(client: &mut Client, count: usize) -> (Duration, Duration) {
    let mut took: Vec<_> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            client.put(&Out::new(QOS_0, "quiet", "x"));
            client.receive();
            let took = begun.elapsed();
            std::thread::sleep(Duration::from_millis(2));
            took
        })
        .collect();
    took.sort();
    (took[count / 2], took[count * 99 / 100])
}

#[test]
fn one_client_at_full_speed_leaves_the_others_their_turn() {
    /// How much longer a round trip may take, and what the machine may add that runs the load and other tests as well.
    const RATIO: u32 = 50;
    const BUSY: Duration = Duration::from_millis(20);
    let served = Served::start();
    let mut quiet = served.client(V5, "quiet");
    quiet.subscribe(QOS_0, "quiet");
    let (alone, _) = round_trips(&mut quiet, 100);
    let mut reader = served.client(V5, "reader");
    reader.subscribe(QOS_0, "loud");
    let loud = served.client(V5, "loud");
    let bytes = loud
        .encoded(&Packet::Publish(noctule_mqtt::Publish::new("loud", b"twenty bytes of load")))
        .repeat(1_000);
    let (mut input, mut output) = (reader.stream.try_clone().unwrap(), loud.stream.try_clone().unwrap());
    // Both end when their sockets do.
    std::thread::spawn(move || while output.write_all(&bytes).is_ok() {});
    std::thread::spawn(move || while input.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
    std::thread::sleep(Duration::from_millis(200));
    let (median, late) = round_trips(&mut quiet, 300);
    loud.cut();
    reader.cut();
    assert!(median < alone * RATIO + BUSY, "{median:?}, alone {alone:?}");
    assert!(late < (alone * RATIO + BUSY) * 5, "{late:?}, alone {alone:?}");
}
