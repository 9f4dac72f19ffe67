//! How fast clients may come and send: what is above a rate waits, and nothing of it is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use noctule::config::{Config, Listener, Protocol, Size};
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet, Publish};

use crate::kit::{Client, Got, Out, Served, V5, V311, WAIT, workers};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

/// What this machine may take for anything that is not held up. What is held up in these tests takes a minute.
const SOON: Duration = Duration::from_secs(20);

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
    let took = crowd(fast, 60);
    assert!(took < SOON, "sixty at one a second? {took:?}");
    // The second of these two is let in a second after the first.
    let begun = Instant::now();
    crowd(served.address, 1);
    crowd(served.address, 1);
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
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
        // Meanwhile nobody else waits, whose own messages are few; not even for one whose messages take a minute.
        let mut faster = served.client(version, "faster");
        let message = faster.encoded(&Packet::Publish(Publish::new("elsewhere", b"x")));
        faster.raw(&message.repeat(3_000));
        let mut other = served.client(version, "other");
        let asked = Instant::now();
        other.say(QOS_1, "elsewhere", "x");
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
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
    // Held up, they would take a second each time. What a busy machine adds, it does not add each time.
    let mut took = (0..10).map(|number| {
        let mut client = served.client(V5, &format!("client {number}"));
        let begun = Instant::now();
        for _ in 0..50 {
            client.say(QOS_1, "rate", "x");
        }
        begun.elapsed()
    });
    assert!(took.any(|took| took < Duration::from_millis(900)), "a second's worth is held up");
}

#[test]
fn what_is_no_message_costs_nothing() {
    let served = limited(|limits| limits.message_rate = 1);
    let mut client = served.client(V5, "client");
    let begun = Instant::now();
    for number in 0..30 {
        client.ping();
        client.subscribe(QOS_1, &format!("f/{number}"));
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn byte_rate_slows_a_publisher_whose_keep_alive_does_not_end_it_meanwhile() {
    let served = limited(|limits| limits.byte_rate = Size::from_bytes(1_000));
    let mut subscriber = served.client(V5, "subscriber");
    subscriber.subscribe(QOS_0, "rate");
    // What is larger than a second's worth passes at once: this one is a minute's.
    let mut large = served.client(V5, "large");
    let payload = vec![b'x'; 60_000];
    let begun = Instant::now();
    large.put(&Out { payload: &payload, ..Out::new(QOS_1, "rate", "") });
    assert_eq!(subscriber.receive().payload.len(), 60_000);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let mut connect = Connect::new(V5, "publisher");
    connect.keep_alive_s = 1;
    let (mut publisher, _) = served.welcome(&connect);
    let payload = vec![b'x'; 4_000];
    let begun = Instant::now();
    publisher.put(&Out { payload: &payload, ..Out::new(QOS_1, "rate", "") });
    publisher.put(&Out::new(QOS_1, "rate", "behind it"));
    publisher.send(&Packet::PingReq);
    assert_eq!(subscriber.receive().payload.len(), 4_000);
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
    for _ in 0..60 {
        client.say(QOS_1, "rate", "x");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
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

/// What a quiet client's messages have to let pass, on their way to the broker and back, while another sends all it can.
#[derive(Debug)]
struct Trips {
    /// Bytes of load that the other got rid of during one of them.
    median: usize,
    /// The same at the 99th percentile.
    late: usize,
    /// Its bytes from the first to the last.
    load: usize,
    /// How long the middle one took.
    took: Duration,
}

impl Trips {
    fn beside_a_flood() -> Self {
        const COUNT: usize = 300;
        let served = Served::start();
        let mut quiet = served.client(V5, "quiet");
        quiet.subscribe(QOS_0, "quiet");
        let mut reader = served.client(V5, "reader");
        reader.subscribe(QOS_0, "loud");
        let loud = served.client(V5, "loud");
        // What it got rid of is what the broker has read, but for little.
        socket2::SockRef::from(&loud.stream).set_send_buffer_size(64 * 1024).unwrap();
        let bytes =
            loud.encoded(&Packet::Publish(Publish::new("loud", b"twenty bytes of load"))).repeat(1_000);
        let (mut input, mut output) = (reader.stream.try_clone().unwrap(), loud.stream.try_clone().unwrap());
        let sent = Arc::new(AtomicUsize::new(0));
        let sending = Arc::clone(&sent);
        // Both end when their sockets do.
        std::thread::spawn(move || {
            while output.write_all(&bytes).is_ok() {
                sending.fetch_add(bytes.len(), Relaxed);
            }
        });
        std::thread::spawn(move || while input.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
        std::thread::sleep(Duration::from_millis(200));
        let before = sent.load(Relaxed);
        let trips = (0..COUNT).map(|_| {
            let (before, begun) = (sent.load(Relaxed), Instant::now());
            quiet.put(&Out::new(QOS_0, "quiet", "x"));
            quiet.receive();
            let trip = (sent.load(Relaxed) - before, begun.elapsed());
            std::thread::sleep(Duration::from_millis(2));
            trip
        });
        let (mut passed, mut took): (Vec<_>, Vec<_>) = trips.unzip();
        let load = sent.load(Relaxed) - before;
        loud.cut();
        reader.cut();
        passed.sort_unstable();
        took.sort_unstable();
        Self { median: passed[COUNT / 2], late: passed[COUNT * 99 / 100], load, took: took[COUNT / 2] }
    }

    fn are_fair(&self) -> bool {
        /// Sixteen times what the broker reads of one client before it looks at the next. It is counted in load and not in
        /// time, of which this machine takes any amount: it runs the load and other tests as well.
        const MOST: usize = 16 * 4 * 64 * 1024;
        self.load > MOST / 16
            && self.median < MOST
            && self.late < MOST * 5
            && self.took < Duration::from_millis(100)
    }
}

#[test]
fn one_client_at_full_speed_leaves_the_others_their_turn() {
    // Who is not run by a busy machine has to wait at one time or another; who is passed over has to each time.
    let mut shown = Vec::new();
    let is_fair = (0..4).any(|_| {
        let trips = Trips::beside_a_flood();
        let are_fair = trips.are_fair();
        shown.push(trips);
        are_fair
    });
    assert!(is_fair, "{shown:?}");
}
