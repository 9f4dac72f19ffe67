//! Clients that lag on large messages: they are still heard, and get all of it.

use std::time::Duration;

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet};

use crate::kit::{Client, Got, Out, Served, V5};

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
        // A write that takes eight seconds fails the test.
        client.put(&Out { payload: &payload, ..Out::new(QOS_0, "large", "") });
    }
    client.ping();
}
