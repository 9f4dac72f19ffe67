//! The memory of the whole process stays near its budget, whatever comes, and the broker goes on serving.
//!
//! A budget is the process's, so these brokers are processes of their own.

use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet, PacketType};

use crate::kit::{Client, Got, Out, Process, V5, V311, lasting, within};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 24 * MIB;

/// What the process may have beyond its budget and what it has when it starts (the program itself, mostly): gaps between
/// what is allocated, a read of each publisher, and what comes between two looks.
const SLACK: u64 = BUDGET / 4;

/// A broker with a small budget.
fn start(more: &str) -> Process {
    Process::start(&format!("memory = {BUDGET}"), more)
}

#[track_caller]
fn is_within_budget(broker: &Process) {
    let (peak, most) = (broker.peak(), broker.least + BUDGET + SLACK);
    assert!(peak > broker.least + BUDGET * 3 / 4, "it was never near: {peak}");
    assert!(peak < most, "{} KiB, allowed {} KiB", peak >> 10, most >> 10);
}

/// The log comes a moment after what it tells of.
#[track_caller]
fn is_said(broker: &Process, words: &str) {
    within(words, || broker.says(words).then_some(()));
}

/// Sends 1 KiB messages at QoS 1 round the topics until `bytes` are acknowledged; which were not taken.
fn flood(publisher: &mut Client, topics: &[String], bytes: usize) -> usize {
    let payload = vec![b'x'; 1_024];
    let (mut refused, mut under_way) = (0, 0);
    let mut answer = |publisher: &mut Client| {
        let reason = publisher.until(|got| match got {
            Got::PubAck(_, reason) => Some(*reason),
            _ => None,
        });
        refused += usize::from(reason >= 0x80);
    };
    for number in 0..bytes / payload.len() {
        publisher.put(&Out { payload: &payload, ..Out::new(QOS_1, &topics[number % topics.len()], "") });
        under_way += 1;
        if under_way == 64 {
            answer(publisher);
            under_way -= 1;
        }
    }
    for _ in 0..under_way {
        answer(publisher);
    }
    refused
}

/// Takes everything that waits for a client; how much it was.
fn drain(client: &mut Client) -> usize {
    let mut taken = 0;
    loop {
        // Behind the last message that it may be sent comes the answer; more may come when those are acknowledged.
        client.send(&Packet::PingReq);
        let mut ids = Vec::new();
        loop {
            match client.next() {
                Got::Publish(got) => ids.push(got.packet_id),
                Got::Pong => break,
                other => panic!("{other:?}"),
            }
        }
        for &id in &ids {
            client.ack(PacketType::PubAck, id);
        }
        if ids.is_empty() {
            return taken;
        }
        taken += ids.len();
    }
}

#[test]
fn a_flood_for_clients_that_are_away_ends_at_the_budget_and_nobody_is_locked_out() {
    let broker = start("");
    let topics: Vec<_> = (0..12).map(|number| format!("away/{number}")).collect();
    for topic in &topics {
        let mut away = broker.client(&lasting(V5, topic));
        away.subscribe(QOS_1, topic);
        away.bye();
    }
    let mut well_behaved = broker.fresh(V311, "well-behaved");
    well_behaved.subscribe(QOS_1, "quiet");
    let mut publisher = broker.fresh(V5, "publisher");
    // Twice what fits; each queue alone is below its own limit.
    let begun = Instant::now();
    assert_eq!(flood(&mut publisher, &topics, 48 << 20), 0);
    assert!(begun.elapsed() >= Duration::from_secs(4), "publishers wait first: {:?}", begun.elapsed());
    for words in ["memory is short", "memory is used up", "memory stays used up", "memory_short"] {
        is_said(&broker, words);
    }
    is_within_budget(&broker);
    // Whoever is there is served as ever.
    let begun = Instant::now();
    for number in 0..20 {
        well_behaved.say(QOS_1, "quiet", &number.to_string());
    }
    let expected: Vec<_> = (0..20).map(|number: u32| number.to_string()).collect();
    assert_eq!(well_behaved.texts(20), expected);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // Who was away comes and takes what waits for him, and so all is well again.
    for topic in &topics {
        let mut back = broker.client(&lasting(V5, topic));
        let kept = drain(&mut back);
        assert!(kept > 100, "{kept} of {topic}");
    }
    is_said(&broker, "memory is free again");
    let mut fresh = broker.fresh(V5, "fresh");
    fresh.subscribe(QOS_0, "quiet");
    well_behaved.say(QOS_1, "quiet", "back to normal");
    assert_eq!(fresh.take().text(), "back to normal");
}

#[test]
fn clients_that_do_not_read_lose_qos_0_before_anybody_waits() {
    let broker = start("[limits]\nmax_queued_bytes = \"64MiB\"\nmax_queued_messages = 1000000\n");
    let mut lagging: Vec<_> = (0..4)
        .map(|number| {
            let mut client = broker.fresh(V5, &format!("lagging {number}"));
            client.subscribe(QOS_0, &format!("slow/{number}"));
            client
        })
        .collect();
    let mut well_behaved = broker.fresh(V5, "well-behaved");
    well_behaved.subscribe(QOS_0, "quiet");
    let mut publisher = broker.fresh(V5, "publisher");
    let payload = vec![b'x'; 16 << 10];
    for number in 0..6_000 {
        let topic = format!("slow/{}", number % 4);
        publisher.put(&Out { payload: &payload, ..Out::new(QOS_0, &topic, "") });
        if number % 50 == 49 {
            // What is on its way to a worker that this machine does not run is no queue that can give way. The second
            // answer comes when all is on its way; who is heard after that has a worker that has taken all.
            publisher.ping();
            publisher.ping();
            for client in &mut lagging {
                client.put(&Out::new(QOS_0, "quiet", "I lag"));
            }
            for _ in &lagging {
                assert_eq!(well_behaved.take().text(), "I lag");
            }
            well_behaved.say(QOS_0, "quiet", "still there?");
            assert_eq!(well_behaved.take().text(), "still there?");
        }
    }
    publisher.ping();
    is_said(&broker, "memory is short");
    // None is dropped unsaid.
    is_said(&broker, "memory_short");
    is_within_budget(&broker);
    drop(lagging);
    is_said(&broker, "memory is free again");
    assert!(!broker.says("memory is used up"), "nobody has to wait for those who do not read");
}

#[test]
fn publishers_wait_for_readers_that_are_only_slow_and_lose_nothing() {
    let broker = start("[limits]\nmax_queued_bytes = \"64MiB\"\nmax_queued_messages = 1000000\n");
    let mut slow = broker.fresh(V5, "slow");
    slow.subscribe(QOS_1, "slow");
    let publisher = broker.fresh(V5, "publisher");
    let total = 36 << 10;
    let sender = std::thread::spawn(move || {
        let mut publisher = publisher;
        let refused = flood(&mut publisher, &["slow".to_owned()], total << 10);
        publisher.send(&Packet::PingReq);
        refused
    });
    is_said(&broker, "memory is used up");
    let begun = Instant::now();
    for number in 0..total {
        let got = slow.take();
        assert_eq!(got.payload.len(), 1_024, "message {number}");
    }
    assert_eq!(sender.join().unwrap(), 0);
    assert!(!broker.says("memory stays used up"), "{:?}", begun.elapsed());
    assert!(!broker.says("memory_short"), "nothing was lost");
    is_within_budget(&broker);
}

#[test]
fn new_clients_are_refused_when_even_the_reserve_is_gone() {
    let broker = start("");
    let (mut known, _) = broker.ask(&lasting(V5, "known"));
    known.subscribe(QOS_1, "mine");
    known.bye();
    // What nobody can be made to give back: wills, up to the size of a CONNECT each.
    let will = vec![b'w'; 60_000];
    let mut open = Vec::new();
    let refused = (0..800).find_map(|number| {
        let name = format!("greedy {number}");
        let mut connect = Connect::new(V5, &name);
        connect.will = Some(noctule_mqtt::Will::new("will", &will));
        let (client, answer) = broker.ask(&connect);
        open.push(client);
        match answer {
            Got::ConnAck(welcome) => Some(welcome.reason).filter(|reason| *reason != 0),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(refused, Some(0x89), "after {}", open.len());
    broker.client(&lasting(V5, "known")).ping();
    is_within_budget(&broker);
    drop(open);
    within("the end of it", || {
        matches!(broker.ask(&Connect::new(V5, "later")).1, Got::ConnAck(welcome) if welcome.reason == 0)
            .then_some(())
    });
}
