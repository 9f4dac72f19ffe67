//! Killed between RECEIPT and delivery: every message that has a receipt comes after the restart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use noctule_stomp::Command;

use super::{Arena, connected, seeds};
use crate::rng::Rng;

const QUEUE: &str = "/queue/receipts";

/// What the clients have seen of one run.
#[derive(Debug, Default)]
struct Seen {
    /// Messages whose SEND was written, all below this number.
    sent: u32,
    /// Those whose receipt was read.
    receipted: BTreeSet<u32>,
    /// Those that a consumer got before the kill.
    delivered: BTreeSet<u32>,
    /// Those whose ACK had a receipt.
    acked: BTreeSet<u32>,
    /// Those that were written to be acknowledged.
    acking: BTreeSet<u32>,
}

/// SENDs bursts with receipts, each burst when the one before is answered, until the connection ends.
fn send(address: SocketAddr, receipts: &AtomicU32, seed: u64, seen: &Mutex<Seen>) {
    let (mut client, mut rng) = (connected(address, &[]), Rng::new(seed));
    loop {
        let first = seen.lock().unwrap().sent;
        let end = first + 1 + rng.below(60) as u32;
        let mut bytes = Vec::new();
        for number in first..end {
            let text = number.to_string();
            let headers = [("destination", QUEUE), ("receipt", text.as_str())];
            bytes.extend(client.encoded(Command::Send, &headers, text.as_bytes()));
        }
        seen.lock().unwrap().sent = end;
        client.raw_or_closed(&bytes);
        for number in first..end {
            let Some(Some(frame)) = client.read() else { return };
            assert_eq!((frame.command, frame.header("receipt-id")), (Command::Receipt, &*number.to_string()));
            seen.lock().unwrap().receipted.insert(number);
            receipts.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Takes what comes and acknowledges one in `part` with a receipt; none if `part` is 0. Ends with the connection.
fn consume(address: SocketAddr, part: u32, seen: &Mutex<Seen>) {
    let mut client = connected(address, &[]);
    client.subscribe_with("s", QUEUE, "client-individual", &[("prefetch-count", "0")]);
    // What came with the subscription's receipt is read first.
    loop {
        let frame = match client.kept() {
            Some(frame) => frame,
            None => match client.read() {
                Some(Some(frame)) => frame,
                _ => return,
            },
        };
        if frame.command == Command::Receipt {
            seen.lock().unwrap().acked.insert(frame.header("receipt-id").parse().unwrap());
            continue;
        }
        let number: u32 = frame.text().parse().unwrap();
        let mut seen = seen.lock().unwrap();
        assert!(seen.delivered.insert(number), "{number} came twice before the kill");
        if part > 0 && number.is_multiple_of(part) {
            seen.acking.insert(number);
            drop(seen);
            let headers = [("id", frame.header("ack")), ("receipt", frame.text())];
            let bytes = client.encoded(Command::Ack, &headers, b"");
            client.raw_or_closed(&bytes);
        }
    }
}

/// Every broken promise. `came` is what the queue had after the restart, with `redelivered`.
fn judge(seen: &Seen, came: &[(u32, bool)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut times: BTreeMap<u32, u32> = BTreeMap::new();
    for (number, _) in came {
        *times.entry(*number).or_default() += 1;
    }
    for number in &seen.receipted {
        // An ACK on its way may have been taken or not.
        if !times.contains_key(number) && !seen.acking.contains(number) {
            wrong.push(format!("lost: {number} had its receipt"));
        }
    }
    for (number, times) in &times {
        if *times > 1 {
            wrong.push(format!("twice: {number} came {times} times"));
        }
        if seen.acked.contains(number) {
            wrong.push(format!("again: {number} was acknowledged, with a receipt"));
        }
        if *number >= seen.sent {
            wrong.push(format!("unsent: {number}"));
        }
    }
    if !came.is_sorted_by_key(|(number, _)| *number) {
        wrong.push("disorder: one sender's messages came out of order".to_owned());
    }
    wrong
}

/// One run: load, a kill, a restart; what was seen, and what came then.
fn run(name: &str, seed: u64, store: &str, consumer: Option<u32>) -> (Vec<String>, Seen, Vec<(u32, bool)>) {
    let mut arena = Arena::new(name, seed, store);
    let seen = Mutex::new(Seen::default());
    let sending = |address: SocketAddr, receipts: &AtomicU32| send(address, receipts, seed, &seen);
    let consuming = |address: SocketAddr, _: &AtomicU32| consume(address, consumer.unwrap_or(0), &seen);
    match consumer {
        None => arena.kill_under(&[&sending]),
        Some(_) => arena.kill_under(&[&sending, &consuming]),
    }
    arena.start();
    let came: Vec<(u32, bool)> = arena
        .drain(QUEUE)
        .iter()
        .map(|message| (message.text().parse().unwrap(), message.get("redelivered") == Some("true")))
        .collect();
    let seen = seen.into_inner().unwrap();
    let wrong = judge(&seen, &came);
    println!(
        "{name}: {} sent, {} receipts, {} delivered before, {} acknowledged; {} came after, {} as redelivered",
        seen.sent,
        seen.receipted.len(),
        seen.delivered.len(),
        seen.acked.len(),
        came.len(),
        came.iter().filter(|(_, redelivered)| *redelivered).count()
    );
    (wrong, seen, came)
}

#[test]
fn what_has_a_receipt_comes_after_a_kill_though_nobody_had_consumed() {
    for seed in seeds() {
        let (wrong, seen, _) = run("receipts-alone", seed, "", None);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        assert!(!seen.receipted.is_empty());
    }
}

#[test]
fn what_was_delivered_and_not_acknowledged_comes_again_after_a_kill() {
    let mut delivered = 0;
    for seed in seeds() {
        let (wrong, seen, came) = run("receipts-held", seed, "", Some(0));
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        let there: BTreeSet<u32> = came.iter().map(|(number, _)| *number).collect();
        let missing: Vec<_> =
            seen.delivered.difference(&there).filter(|number| seen.receipted.contains(number)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
        delivered += seen.delivered.len();
    }
    assert!(delivered > 0, "no round had anything delivered before its kill");
}

#[test]
fn what_was_acknowledged_with_a_receipt_does_not_come_again() {
    let mut acked = 0;
    for seed in seeds() {
        let (wrong, seen, _) = run("receipts-acked", seed, "", Some(2));
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        acked += seen.acked.len();
    }
    assert!(acked > 0, "no round had anything acknowledged before its kill");
}

/// The judge is no yes-man: a broker that gives receipts before it stores is found out.
#[test]
fn an_early_receipt_is_found_out() {
    let first = crate::seed();
    let found = (0..8).any(|attempt| {
        let (wrong, ..) = run("receipts-early", first.wrapping_add(attempt), crate::EARLY, None);
        wrong.iter().any(|line| line.starts_with("lost: "))
    });
    assert!(found, "8 kills from seed {first} on lost nothing that had an early receipt");
}

#[test]
fn the_judge_sees_each_kind_of_fault() {
    let seen = Seen {
        sent: 4,
        receipted: [0, 1, 2].into(),
        delivered: [0].into(),
        acked: [0].into(),
        acking: [0].into(),
    };
    let judged = |came: &[(u32, bool)]| judge(&seen, came).join("; ");
    assert_eq!(judged(&[(1, false), (2, false), (3, false)]), "", "3 may have come or not");
    assert!(judged(&[(2, false)]).starts_with("lost: 1"));
    assert!(judged(&[(0, true), (1, false), (2, false)]).starts_with("again: 0"));
    assert!(judged(&[(1, false), (1, false), (2, false)]).starts_with("twice: 1"));
    assert!(judged(&[(2, false), (1, false)]).starts_with("disorder"));
    assert!(judged(&[(1, false), (2, false), (9, false)]).starts_with("unsent: 9"));
}
