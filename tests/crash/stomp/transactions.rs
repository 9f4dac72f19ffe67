//! COMMIT torn by a kill: of each transaction everything is there or nothing, and all of it if its receipt came.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use noctule_stomp::Command;

use super::{Arena, connected, seeds};
use crate::rng::Rng;

/// Where a transaction's message is acknowledged, and where it sends to.
const INPUT: &str = "/queue/input";
const OUTPUTS: [&str; 3] = ["/queue/output a", "/queue/output b", "/queue/output c"];

/// Messages that wait to be worked on: never fewer than a round gets through.
const WORK: u32 = 900;

/// What the worker has seen.
#[derive(Debug, Default)]
struct Seen {
    /// SENDs of each transaction whose COMMIT was written.
    begun: BTreeMap<u32, u32>,
    /// Those whose COMMIT has its receipt.
    committed: BTreeSet<u32>,
}

/// Takes one message after the other, and for each sends some and acknowledges it, in one transaction.
fn work(address: SocketAddr, receipts: &AtomicU32, seed: u64, seen: &Mutex<Seen>) {
    let (mut client, mut rng) = (connected(address, &[]), Rng::new(seed));
    client.subscribe_with("in", INPUT, "client-individual", &[("prefetch-count", "0")]);
    loop {
        // Some at once, so that kills find several under way.
        let mut bytes = Vec::new();
        let mut asked = Vec::new();
        for _ in 0..=rng.below(8) {
            let Some(frame) = client.kept().or_else(|| client.read().flatten()) else { return };
            assert_eq!(frame.command, Command::Message);
            // Some so large that a commit of the store could fall into them, if they were not one.
            let count = if rng.once_in(3) { 200 + rng.below(400) } else { 1 + rng.below(9) } as u32;
            let number = frame.text().to_owned();
            let transaction = ("transaction", number.as_str());
            bytes.extend(client.encoded(Command::Begin, &[transaction], b""));
            for place in 0..count {
                let destination = ("destination", OUTPUTS[rng.below(3) as usize]);
                let body = format!("{number} {place}");
                bytes.extend(client.encoded(Command::Send, &[destination, transaction], body.as_bytes()));
            }
            bytes.extend(client.encoded(Command::Ack, &[("id", frame.header("ack")), transaction], b""));
            bytes.extend(client.encoded(Command::Commit, &[transaction, ("receipt", &number)], b""));
            let number = number.parse().unwrap();
            seen.lock().unwrap().begun.insert(number, count);
            asked.push(number);
        }
        client.raw_or_closed(&bytes);
        for number in asked {
            let frame = loop {
                let Some(Some(frame)) = client.read() else { return };
                if frame.command == Command::Receipt {
                    break frame;
                }
                client.keep(frame);
            };
            assert_eq!(frame.header("receipt-id"), number.to_string());
            seen.lock().unwrap().committed.insert(number);
            receipts.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Every broken promise. `sends` is what the outputs had after the restart, `left` what the input had.
fn judge(seen: &Seen, sends: &[(u32, u32)], left: &[u32]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut there: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (number, place) in sends {
        if !there.entry(*number).or_default().insert(*place) {
            wrong.push(format!("twice: {number} {place}"));
        }
        if !seen.begun.contains_key(number) {
            wrong.push(format!("unsent: {number} {place}"));
        }
    }
    let mut waits = BTreeSet::new();
    for number in left {
        if !waits.insert(*number) {
            wrong.push(format!("twice: input {number}"));
        }
    }
    for (number, count) in &seen.begun {
        let came = there.get(number).map_or(0, |places| places.len() as u32);
        if came != 0 && came != *count {
            wrong.push(format!("torn: {came} of {count} messages of {number}"));
        }
        if came == 0 && seen.committed.contains(number) {
            wrong.push(format!("lost: {number} had the receipt of its COMMIT"));
        }
        // Its message is worked on exactly if what came of it is there.
        if waits.contains(number) == (came > 0) {
            let (sent, input) = (came > 0, waits.contains(number));
            wrong.push(format!("torn: {number} is sent: {sent}, still to be worked on: {input}"));
        }
    }
    for number in (0..WORK).filter(|number| !seen.begun.contains_key(number) && !waits.contains(number)) {
        wrong.push(format!("lost: input {number}, which nobody acknowledged"));
    }
    wrong
}

/// One run: work, a kill, a restart. How many transactions were under way without a receipt, and how many of those
/// turned out to be there.
fn run(name: &str, seed: u64, store: &str) -> (Vec<String>, usize, usize) {
    let mut arena = Arena::new(name, seed, store);
    let mut filler = arena.client();
    let bytes: Vec<u8> = (0..WORK)
        .flat_map(|number| {
            filler.encoded(Command::Send, &[("destination", INPUT)], number.to_string().as_bytes())
        })
        .collect();
    filler.raw(&bytes);
    filler.is_quiet();
    filler.cut();
    let seen = Mutex::new(Seen::default());
    arena.kill_under(&[&|address, receipts| work(address, receipts, seed, &seen)]);
    arena.start();
    let mut sends = Vec::new();
    for output in OUTPUTS {
        let numbers = |message: &super::Frame| {
            let (number, place) = message.text().split_once(' ').unwrap();
            (number.parse::<u32>().unwrap(), place.parse::<u32>().unwrap())
        };
        let came: Vec<_> = arena.drain(output).iter().map(numbers).collect();
        assert!(came.is_sorted(), "seed {seed}: {output} has one sender's messages out of order");
        sends.extend(came);
    }
    let left: Vec<u32> = arena.drain(INPUT).iter().map(|message| message.text().parse().unwrap()).collect();
    let seen = seen.into_inner().unwrap();
    let there: BTreeSet<u32> = sends.iter().map(|(number, _)| *number).collect();
    let open: Vec<_> = seen.begun.keys().filter(|number| !seen.committed.contains(number)).collect();
    let late = open.iter().filter(|number| there.contains(number)).count();
    println!(
        "{name}: {} transactions, {} committed; of {} without a receipt {late} are there",
        seen.begun.len(),
        seen.committed.len(),
        open.len()
    );
    (judge(&seen, &sends, &left), open.len(), late)
}

#[test]
fn a_transaction_is_there_as_a_whole_or_not_at_all() {
    let mut open = 0;
    // Twice the rounds: what matters happens in the moment of a commit.
    for seed in seeds().chain(seeds().map(|seed| seed ^ 0x5EED)) {
        let (wrong, under_way, _) = run("transactions", seed, "");
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
        open += under_way;
    }
    assert!(open > 0, "no kill found a transaction under way");
}

#[test]
fn the_judge_sees_each_kind_of_tear() {
    let seen = Seen { begun: [(0, 2), (1, 1)].into(), committed: [0].into() };
    let rest = |worked: &[u32]| (0..WORK).filter(|number| !worked.contains(number)).collect::<Vec<_>>();
    let judged = |sends: &[(u32, u32)], left: &[u32]| judge(&seen, sends, left).join("; ");
    assert_eq!(judged(&[(0, 0), (0, 1)], &rest(&[0])), "", "1 may be there or not");
    assert_eq!(judged(&[(0, 0), (0, 1), (1, 0)], &rest(&[0, 1])), "");
    assert!(judged(&[(0, 0)], &rest(&[0])).starts_with("torn: 1 of 2"));
    assert!(judged(&[], &rest(&[])).starts_with("lost: 0"));
    assert!(judged(&[(0, 0), (0, 1)], &rest(&[])).starts_with("torn: 0 is sent: true"));
    assert!(judged(&[(0, 0), (0, 1)], &rest(&[0, 1])).starts_with("torn: 1 is sent: false"));
    assert!(judged(&[(0, 0), (0, 1), (0, 1)], &rest(&[0])).starts_with("twice: 0 1"));
    assert!(judged(&[(0, 0), (0, 1)], &rest(&[0, 7])).starts_with("lost: input 7"));
}
