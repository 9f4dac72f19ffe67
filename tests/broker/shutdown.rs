//! The orderly end: wills, a good-bye, what waits, and never longer than the deadline.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, PacketType, Will};

use crate::kit::{Got, Out, Served, V5, VERSIONS};

const QOS_1: Qos = Qos::AtLeastOnce;

/// Three seconds for the slowest client, and a margin for busy cores.
const AT_MOST: Duration = Duration::from_secs(6);

#[test]
fn clients_of_5_0_are_told_0x8b_and_older_ones_are_closed() {
    let served = Served::start();
    let mut clients = VERSIONS.map(|version| served.client(version, &format!("client {version:?}")));
    let ending = std::thread::spawn(move || served.stop());
    for client in &mut clients {
        client.is_refused(0x8B);
    }
    drop(clients);
    ending.join().unwrap();
}

#[test]
fn wills_are_published_before_the_good_bye_whichever_worker_they_come_from() {
    let served = Served::start();
    let mut witnesses: Vec<_> =
        (0..4).map(|number| served.client(V5, &format!("witness {number}"))).collect();
    for witness in &mut witnesses {
        witness.subscribe(QOS_1, "will/+");
    }
    let mut willing = Vec::new();
    for number in 0..12 {
        let (id, topic) = (format!("willing {number}"), format!("will/{number}"));
        let mut connect = Connect::new(V5, &id);
        let mut will = Will::new(&topic, b"the broker ends");
        will.qos = QOS_1;
        connect.will = Some(will);
        willing.push(served.welcome(&connect).0);
    }
    let ending = std::thread::spawn(move || served.stop());
    for witness in &mut witnesses {
        let mut topics = Vec::new();
        loop {
            match witness.next() {
                Got::Publish(will) => topics.push(will.topic),
                Got::Bye(0x8B) => break,
                other => panic!("{other:?}"),
            }
        }
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), 12, "{topics:?}");
    }
    drop((witnesses, willing));
    ending.join().unwrap();
}

#[test]
fn what_waits_is_written_first() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut reader = served.client(V5, "reader");
    reader.subscribe(QOS_1, "last");
    for number in 0..200 {
        publisher.put(&Out::new(QOS_1, "last", &number.to_string()));
    }
    for _ in 0..200 {
        publisher.until(|got| matches!(got, Got::PubAck(..)).then_some(()));
    }
    let ending = std::thread::spawn(move || served.stop());
    let mut texts = Vec::new();
    loop {
        match reader.next() {
            Got::Publish(got) => {
                texts.push(got.text().to_owned());
                // It may be too late for this to be heeded.
                let mut ack = vec![0x40, 2];
                ack.extend_from_slice(&got.packet_id.to_be_bytes());
                reader.raw_or_closed(&ack);
            }
            Got::Bye(0x8B) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, (0..200).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    drop((publisher, reader));
    ending.join().unwrap();
}

#[test]
fn a_slow_reader_gets_all_that_waits_and_then_the_good_bye() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut slow = served.client(V5, "slow");
    socket2::SockRef::from(&slow.stream).set_recv_buffer_size(128 * 1024).unwrap();
    slow.subscribe(Qos::AtMostOnce, "much");
    let payload = vec![b'x'; 100_000];
    // More than the kernel takes for it (4 MB, if it is let), and no more than can be read in the time that is left.
    for _ in 0..50 {
        publisher.publish(&Out { payload: &payload, ..Out::new(QOS_1, "much", "") });
    }
    publisher.bye();
    let ending = std::thread::spawn(move || served.stop());
    std::thread::sleep(Duration::from_millis(100));
    for number in 0..50 {
        match slow.next() {
            Got::Publish(got) => assert_eq!(got.payload.len(), payload.len()),
            other => panic!("instead of message {number} came {other:?}"),
        }
    }
    assert_eq!(slow.next(), Got::Bye(0x8B));
    drop(slow);
    ending.join().unwrap();
}

#[test]
fn a_client_that_never_reads_does_not_hold_up_the_end() {
    let served = Served::start();
    let mut publisher = served.client(V5, "publisher");
    let mut deaf = served.client(V5, "deaf");
    deaf.subscribe(QOS_1, "loud");
    let payload = vec![b'x'; 500_000];
    for _ in 0..16 {
        publisher.publish(&Out { payload: &payload, ..Out::new(QOS_1, "loud", "") });
    }
    let mut half = TcpStream::connect(served.address).unwrap();
    half.write_all(&[0x10]).unwrap();
    let begun = Instant::now();
    served.stop();
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
    drop((deaf, half, publisher));
}

#[test]
fn the_end_is_quick_when_everybody_goes() {
    // A broker that waits for its deadline takes three seconds each time, a busy machine only now and then.
    let mut took = (0..5).map(|_| {
        let served = Served::start();
        let clients: Vec<_> = (0..20).map(|number| served.client(V5, &number.to_string())).collect();
        let begun = Instant::now();
        let readers: Vec<_> = clients
            .into_iter()
            .map(|mut client| std::thread::spawn(move || client.is_sent_away(0x8B)))
            .collect();
        served.stop();
        for reader in readers {
            reader.join().unwrap();
        }
        begun.elapsed()
    });
    assert!(took.any(|took| took < Duration::from_millis(1_500)), "it is slow each time");
}

#[test]
fn nobody_is_served_after_the_end() {
    let served = Served::start();
    let address = served.address;
    let mut client = served.client(V5, "client");
    client.ack(PacketType::PubAck, 1);
    client.bye();
    served.stop();
    assert!(TcpStream::connect(address).is_err());
}
