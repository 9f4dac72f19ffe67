//! Clients that lag on large messages: they are still heard, and get all of it. And many of them that lag at once.

use std::time::Duration;

use noctule::config::Config;
use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet};

use crate::kit::{Client, Got, Out, Process, Served, V5, V311};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

/// So that the kernel does not hold for the client what the broker is to hold.
fn with_small_receive_buffer(client: &Client) {
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(32 * 1024).unwrap();
}

#[test]
fn a_client_that_lags_on_large_messages_is_kept_alive_by_its_pings() {
    let served = Served::start();
    let mut connect = Connect::new(V5, "lagging");
    connect.keep_alive_s = 2;
    let (mut lagging, _) = served.welcome(&connect);
    with_small_receive_buffer(&lagging);
    lagging.subscribe(QOS_0, "large");
    let mut publisher = served.client(V5, "publisher");
    let payload = vec![b'x'; 900_000];
    for _ in 0..8 {
        publisher.publish(&Out { payload: &payload, ..Out::new(QOS_1, "large", "") });
    }
    for _ in 0..9 {
        lagging.send(&Packet::PingReq);
        std::thread::sleep(Duration::from_millis(500));
    }
    for _ in 0..9 {
        lagging.until(|got| (*got == Got::Pong).then_some(()));
    }
    for number in 0..8 {
        assert_eq!(lagging.receive().payload.len(), payload.len(), "message {number}");
    }
}

#[test]
fn who_publishes_large_messages_to_its_own_subscription_without_reading_makes_progress() {
    let served = Served::start();
    let mut client = served.client(V5, "talks to itself");
    with_small_receive_buffer(&client);
    client.subscribe(QOS_0, "large");
    let payload = vec![b'x'; 900_000];
    for _ in 0..40 {
        // A write that does not end fails the test.
        client.put(&Out { payload: &payload, ..Out::new(QOS_0, "large", "") });
    }
    client.ping();
}

/// A copy of everything that is retained for each of them would be a hundred times what there is. The broker has a process
/// of its own: what other tests hold meanwhile counts for nothing.
#[test]
fn what_is_retained_is_not_copied_for_a_hundred_that_do_not_read() {
    const READERS: usize = 100;
    const MESSAGES: usize = 8_000;
    const BYTES: usize = 2_000;
    let served = Process::start("", "");
    let mut publisher = served.fresh(V311, "publisher");
    let payload = "r".repeat(BYTES);
    for number in 0..MESSAGES {
        let topic = format!("retained/{}/{number}", number % 10);
        publisher.put(&Out { retain: true, ..Out::new(QOS_0, &topic, &payload) });
    }
    publisher.ping();
    let before = served.resident();
    let mut readers: Vec<_> = (0..READERS)
        .map(|number| {
            let mut reader = served.fresh(V5, &format!("reader {number}"));
            with_small_receive_buffer(&reader);
            let qos = if number % 2 == 0 { QOS_0 } else { QOS_1 };
            reader.subscribe(qos, ["#", "retained/#", "+/+/+"][number % 3]);
            reader
        })
        .collect();
    // Everybody's replay has got as far as it does, and others go on.
    for _ in 0..20 {
        publisher.ping();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(before > (MESSAGES * BYTES) as u64, "what is retained is there");
    let grown = served.resident().saturating_sub(before) as usize;
    let most = READERS * 4 * Config::default().limits.out_buffer.as_bytes() as usize;
    assert!(grown < most && most < READERS * MESSAGES * BYTES / 50, "{grown} bytes more, {most} at most");
    // Those who do read get all of it.
    for reader in &mut readers[..2] {
        for _ in 0..MESSAGES {
            let got = reader.take();
            assert!(got.retain && got.payload.len() == BYTES);
        }
    }
}
