//! The memory of the whole process stays near its budget, whatever comes, and the broker goes on serving.
//!
//! A budget is the process's, so these brokers are processes of their own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::{Connect, Packet, PacketType, Version};

use crate::kit::{Client, Got, Out, V5, V311, lasting, within, workers};

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 24 * MIB;

/// What the process may have beyond its budget and what it has when it starts (the program itself, mostly): gaps between
/// what is allocated, a read of each publisher, and what comes between two looks.
const SLACK: u64 = BUDGET / 4;

/// A broker with a small budget that keeps nothing on a disk.
struct Process {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    /// RSS at its start, bytes.
    least: u64,
    /// The most since, bytes.
    peak: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Process {
    fn start(more: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("noctule-memory-{}-{}", std::process::id(), more.len()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("noctule.toml");
        let (workers, data) = (workers(), directory.join("data"));
        let text = format!(
            "[server]\nworkers = {workers}\ndata_dir = {data:?}\nmemory = {BUDGET}\n[store]\ndurability = \"never\"\n\
             [log]\nformat = \"json\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{more}"
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_noctule"))
            .args(["run", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended instead:\n{seen}"));
            seen += &line;
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if value["message"] == "listening" {
                break value["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let _ = std::fs::remove_dir_all(&directory);
        let (log, peak, ended) = (Arc::new(Mutex::new(seen)), Arc::new(AtomicU64::new(0)), Arc::default());
        let heard = Arc::clone(&log);
        std::thread::spawn(move || lines.for_each(|line| heard.lock().unwrap().push_str(&(line + "\n"))));
        let (seen, over, pid) = (Arc::clone(&peak), Arc::clone(&ended), child.id());
        std::thread::spawn(move || {
            while !AtomicBool::load(&over, Relaxed) {
                seen.fetch_max(rss(pid), Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let least = rss(pid);
        Self { child, address, log, least, peak, ended }
    }

    fn client(&self, connect: &Connect<'_>) -> Client {
        let (client, answer) = self.ask(connect);
        assert!(matches!(&answer, Got::ConnAck(welcome) if welcome.reason == 0), "{answer:?}");
        client
    }

    fn ask(&self, connect: &Connect<'_>) -> (Client, Got) {
        let mut client = Client::new(self.address, connect.version);
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        client.connect(connect);
        let answer = client.next();
        (client, answer)
    }

    fn fresh(&self, version: Version, client_id: &str) -> Client {
        self.client(&Connect::new(version, client_id))
    }

    fn says(&self, words: &str) -> bool {
        self.log.lock().unwrap().contains(words)
    }

    #[track_caller]
    fn is_within_budget(&self) {
        let peak = self.peak.load(Relaxed);
        let most = self.least + BUDGET + SLACK;
        assert!(peak > self.least + BUDGET * 3 / 4, "it was never near: {peak}");
        assert!(peak < most, "{} KiB, allowed {} KiB", peak >> 10, most >> 10);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rss(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
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
    let broker = Process::start("");
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
        assert!(broker.says(words), "{words}");
    }
    broker.is_within_budget();
    // Whoever is there is served as ever.
    let begun = Instant::now();
    for number in 0..20 {
        well_behaved.say(QOS_1, "quiet", &number.to_string());
    }
    let expected: Vec<_> = (0..20).map(|number: u32| number.to_string()).collect();
    assert_eq!(well_behaved.texts(20), expected);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Who was away comes and takes what waits for him, and so all is well again.
    for topic in &topics {
        let mut back = broker.client(&lasting(V5, topic));
        let kept = drain(&mut back);
        assert!(kept > 100, "{kept} of {topic}");
    }
    within("the end of it", || broker.says("memory is free again").then_some(()));
    let mut fresh = broker.fresh(V5, "fresh");
    fresh.subscribe(QOS_0, "quiet");
    well_behaved.say(QOS_1, "quiet", "back to normal");
    assert_eq!(fresh.take().text(), "back to normal");
}

#[test]
fn clients_that_do_not_read_lose_qos_0_before_anybody_waits() {
    let broker = Process::start("[limits]\nmax_queued_bytes = \"64MiB\"\nmax_queued_messages = 1000000\n");
    let lagging: Vec<_> = (0..4)
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
        if number % 100 == 0 {
            well_behaved.say(QOS_0, "quiet", "still there?");
            well_behaved.take();
        }
    }
    publisher.ping();
    assert!(broker.says("memory is short"));
    assert!(broker.says("memory_short"), "none is dropped unsaid");
    assert!(!broker.says("memory is used up"), "nobody has to wait for those who do not read");
    broker.is_within_budget();
    drop(lagging);
    within("the end of it", || broker.says("memory is free again").then_some(()));
}

#[test]
fn publishers_wait_for_readers_that_are_only_slow_and_lose_nothing() {
    let broker = Process::start("[limits]\nmax_queued_bytes = \"64MiB\"\nmax_queued_messages = 1000000\n");
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
    within("pressure", || broker.says("memory is used up").then_some(()));
    let begun = Instant::now();
    for number in 0..total {
        let got = slow.take();
        assert_eq!(got.payload.len(), 1_024, "message {number}");
    }
    assert_eq!(sender.join().unwrap(), 0);
    assert!(!broker.says("memory stays used up"), "{:?}", begun.elapsed());
    assert!(!broker.says("memory_short"), "nothing was lost");
    broker.is_within_budget();
}

#[test]
fn new_clients_are_refused_when_even_the_reserve_is_gone() {
    let broker = Process::start("");
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
    broker.is_within_budget();
    drop(open);
    within("the end of it", || {
        matches!(broker.ask(&Connect::new(V5, "later")).1, Got::ConnAck(welcome) if welcome.reason == 0)
            .then_some(())
    });
}
