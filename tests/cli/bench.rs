//! `noctule bench` as a user runs it: small loads through a broker in this process, whose counts must be right, and
//! through one that loses, doubles and swaps messages on purpose, which must be told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use noctule::broker::Broker;
use noctule::config::{Config, Listener, Protocol};
use serde_json::{Value, json};

use crate::admin::Served;
use crate::process::data_dir::DataDir;
use crate::process::ports::free_port;
use crate::process::{Ended, TestBroker, noctule, script};

/// A broker of this process that listens for both protocols.
struct Both {
    broker: Option<Broker>,
    mqtt: String,
    stomp: String,
    _data: DataDir,
}

impl Both {
    fn start() -> Self {
        let data = DataDir::in_memory();
        let listen = |protocol| {
            let address: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
            Listener { protocol, address: address.into(), ..Listener::default() }
        };
        let listener = vec![listen(Protocol::Mqtt), listen(Protocol::Stomp)];
        let mut config = Config { listener, ..Config::default() };
        config.server.data_dir = data.path().to_owned();
        if let Ok(workers) = std::env::var("NOCTULE_TEST_WORKERS") {
            config.server.workers = workers.parse().unwrap();
        }
        let broker = Broker::start(&config).unwrap();
        let ports: Vec<String> =
            broker.tcp_addresses().iter().map(|address| address.port().to_string()).collect();
        Self { broker: Some(broker), mqtt: ports[0].clone(), stomp: ports[1].clone(), _data: data }
    }

    fn bench(&self, scenario: &str, arguments: &[&str]) -> Ended {
        let place = ["bench", scenario, "-p", &self.mqtt, "--stomp-port", &self.stomp];
        noctule(&[&place, arguments].concat()).end()
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let _ = self.broker.take().unwrap().stop();
    }
}

fn lines(ended: Ended) -> Vec<Value> {
    ended.succeeds().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn run(ended: Ended) -> Value {
    let mut lines = lines(ended);
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

/// What nothing is missing of.
#[track_caller]
fn assert_whole(phase: &Value, messages: u64) {
    for (name, value) in [
        ("expected", json!(messages)),
        ("delivered", json!(messages)),
        ("lost", json!(0)),
        ("duplicated", json!(0)),
        ("not_sent", json!(0)),
    ] {
        assert_eq!(phase[name], value, "{name} of {phase}");
    }
}

const SHORT: [&str; 5] = ["--json", "--seconds", "400ms", "--warm-up", "100ms"];

#[test]
fn at_a_fixed_rate_every_message_of_the_schedule_is_counted_once() {
    let broker = Both::start();
    for (version, qos) in [("5", "0"), ("3.1.1", "1"), ("5", "1"), ("3.1", "2"), ("5", "2")] {
        let load = ["-V", version, "-q", qos, "-c", "3", "--topics", "2", "--rate", "500"];
        let run = run(broker.bench("one-to-one", &[&load[..], &SHORT].concat()));
        let phase = &run["phases"][0];
        // 500 a second for 0.4 seconds.
        assert_whole(phase, 200);
        assert_eq!((&phase["sent"], &phase["misordered"]), (&json!(200), &json!(0)), "{run}");
        let latency = &phase["latency_us"];
        let [p50, p99, most] = ["p50", "p99", "max"].map(|name| latency[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= most * 1.001, "{run}");
        assert_eq!((&run["qos"], &run["publishers"]), (&json!(qos.parse::<u8>().unwrap()), &json!(3)));
    }
}

#[test]
fn every_load_arrives_whole() {
    let broker = Both::start();
    for (scenario, counts, fan) in [
        ("fan-in", ["--publishers", "7", "--subscribers", "1"], 1),
        ("fan-out", ["--publishers", "1", "--subscribers", "5"], 5),
        ("one-to-one", ["--publishers", "2", "--subscribers", "5"], 0),
        ("one-to-one", ["--publishers", "5", "--subscribers", "2"], 1),
        ("latency", ["--clients", "3", "--size", "24"], 1),
        ("stomp-topic", ["--clients", "3", "--size", "1000"], 1),
        ("stomp-queue", ["--publishers", "2", "--subscribers", "4"], 1),
        ("stomp-queue", ["--publishers", "4", "--subscribers", "2"], 1),
        ("cross", ["--clients", "3", "--topics", "2"], 1),
    ] {
        for rate in ["500", "max"] {
            // In these two the port is STOMP's, for it is the only one that is spoken to.
            let port = if scenario.starts_with("stomp") { &broker.stomp } else { &broker.mqtt };
            let place = ["bench", scenario, "-p", port, "--stomp-port", &broker.stomp, "--rate", rate];
            let run = run(noctule(&[&place, &counts[..], &SHORT].concat()).end());
            let phase = &run["phases"][0];
            let sent = phase["sent"].as_u64().unwrap();
            let expected = phase["expected"].as_u64().unwrap();
            assert_whole(phase, expected);
            assert!(sent > 0 && (rate == "max" || sent == 200), "{scenario} {rate}: {run}");
            match fan {
                // Three of five have the first publisher, who has the odd messages.
                0 => assert!(sent * 2 < expected && expected < sent * 3, "{scenario} {rate}: {run}"),
                fan => assert_eq!(expected, sent * fan, "{scenario} {rate}: {run}"),
            }
            let no_order = scenario == "stomp-queue";
            assert_eq!(
                phase["misordered"],
                if no_order { Value::Null } else { json!(0) },
                "{scenario} {rate}"
            );
            assert_eq!(
                (&run["disconnected"], &run["trouble"]),
                (&json!(0), &Value::Null),
                "{scenario} {rate}"
            );
        }
    }
}

#[test]
fn what_was_kept_is_fetched_and_nothing_is_left_behind() {
    let broker = Both::start();
    for (scenario, fan, phases) in [("retained", 3, ["set", "replay"]), ("offline", 1, ["in", "out"])] {
        for version in ["3.1.1", "5"] {
            let load = ["--json", "-V", version, "-n", "300", "--publishers", "3", "--subscribers", "3"];
            let run = run(broker.bench(scenario, &load));
            for (phase, (name, messages)) in
                run["phases"].as_array().unwrap().iter().zip(phases.into_iter().zip([300, 300 * fan]))
            {
                assert_eq!(phase["name"], json!(name));
                assert_whole(phase, messages);
            }
            assert_eq!(
                (run["phases"].as_array().unwrap().len(), &run["trouble"]),
                (2, &Value::Null),
                "{run}"
            );
            let left = noctule(&["sub", "-p", &broker.mqtt, "-t", "noctule-bench/#", "-W", "200ms"]).end();
            assert_eq!((left.code, left.out.as_str()), (3, ""), "{scenario}");
        }
    }
}

#[test]
fn visits_are_counted() {
    let broker = Both::start();
    for rate in ["100", "max"] {
        let run = run(broker.bench("connect", &[&["-c", "4", "--rate", rate], &SHORT[..]].concat()));
        let phase = &run["phases"][0];
        let sent = phase["sent"].as_u64().unwrap();
        assert_whole(phase, sent);
        assert!(sent > 0 && (rate == "max" || sent == 40), "{run}");
    }
}

#[test]
fn the_broker_is_found_by_its_port_and_its_memory_told() {
    // In a process of its own: what the children of this one cost goes with those of other tests that end meanwhile.
    let broker = Served::start();
    let port = broker.mqtt.port().to_string();
    let bench = |more: &[&str]| {
        // At full speed: the CPU's clock ticks in tens of milliseconds.
        let load = ["bench", "one-to-one", "-p", &port, "-c", "2", "--rate", "max"];
        run(noctule(&[&load[..], &SHORT, more].concat()).end())
    };
    let pid = broker.id();
    for found in [bench(&[]), bench(&["--pid", &pid.to_string()])] {
        assert_eq!(found["broker_pid"], json!(pid));
        let phase = &found["phases"][0];
        assert!(phase["rss_bytes"].as_u64().unwrap() > 1_000_000, "{found}");
        assert!(phase["cpu_us"].is_f64(), "{found}");
    }
}

#[test]
fn brokers_take_turns_and_stand_side_by_side() {
    let brokers = [TestBroker::start(), TestBroker::start()];
    let [one, other] = brokers.each_ref().map(|broker| format!(":{}", broker.port()));
    let other = format!("other={other}");
    let load = ["bench", "one-to-one", "-c", "2", "--rate", "200", "--rounds", "2"];
    let against = ["--against", &one, "--against", &other];
    let runs = lines(noctule(&[&load[..], &against, &SHORT].concat()).end());
    let order: Vec<_> = runs.iter().map(|run| (run["broker"].clone(), run["round"].clone())).collect();
    assert_eq!(
        order,
        [(&*one, 1), ("other", 1), ("other", 2), (&*one, 2)].map(|(name, round)| (json!(name), json!(round)))
    );
    for run in &runs {
        assert_whole(&run["phases"][0], 80);
    }
    let text = noctule(&[&load[..], &against, &SHORT[1..]].concat()).end().succeeds();
    let table: Vec<&str> = text.lines().rev().take(2).collect();
    assert!(table[0].trim_start().starts_with("other ") && table[1].contains("(1.00)"), "{text}");
}

#[test]
fn an_interrupt_ends_it_with_what_was_measured() {
    let broker = TestBroker::start();
    let load = ["bench", "one-to-one", "-p", &broker.port(), "-c", "2", "--rate", "200"];
    let watcher = broker.sub(&["-t", "noctule-bench/#", "-C", "20"]);
    let began = Instant::now();
    let running = noctule(&[&load[..], &["--json", "--seconds", "1h", "--warm-up", "0"]].concat());
    watcher.end();
    running.signal("INT");
    let run = run(running.end());
    let phase = &run["phases"][0];
    assert_eq!(run["interrupted"], json!(true));
    let expected = phase["expected"].as_u64().unwrap();
    assert!(expected >= 20, "{run}");
    assert_whole(phase, expected);
    // As many as were due in the time that it says it has measured.
    let (seconds, sent) = (phase["seconds"].as_f64().unwrap(), phase["sent"].as_f64().unwrap());
    assert!(seconds <= began.elapsed().as_secs_f64() && (sent - 200.0 * seconds).abs() <= 1.0, "{run}");
}

#[test]
fn what_a_broker_loses_doubles_and_swaps_is_told() {
    let port = careless_broker();
    let load = ["bench", "one-to-one", "-p", &port, "-V", "3.1.1", "-c", "1", "--rate", "500"];
    let span = ["--seconds", "400ms", "--warm-up", "0"];
    let run = run(noctule(&[&load[..], &span, &["--json"]].concat()).end());
    let phase = &run["phases"][0];
    for (name, count) in [
        ("sent", 200),
        ("expected", 200),
        ("delivered", 180),
        ("lost", 20),
        ("duplicated", 20),
        ("misordered", 20),
    ] {
        assert_eq!(phase[name], json!(count), "{name} of {run}");
    }
    let text = noctule(&[&load[..], &span].concat()).end().succeeds();
    assert!(text.contains("LOST     20 of 200 (10.00 %); 20 came twice, 20 out of order"), "{text}");
}

#[test]
fn windows_open_again_after_what_was_lost() {
    let port = careless_broker();
    let load = ["bench", "one-to-one", "-p", &port, "-V", "3.1.1", "-c", "1", "--window", "2"];
    let run = run(noctule(&[&load[..], &["--json", "--seconds", "5s", "--warm-up", "0"]].concat()).end());
    let phase = &run["phases"][0];
    assert!(phase["stalls"].as_u64().unwrap() >= 1 && phase["lost"].as_u64().unwrap() > 1, "{run}");
}

#[test]
fn what_cannot_be_measured_says_why() {
    let nobody = free_port().to_string();
    let refused = noctule(&["bench", "one-to-one", "-p", &nobody]).end();
    assert_eq!(refused.code, 1);
    let words = format!("connection refused at 127.0.0.1:{nobody}: is the broker running? start one with");
    assert!(refused.err.contains(&words), "{}", refused.err);

    for (arguments, said) in [
        (&["bench", "one-to-on"][..], "a similar value exists: 'one-to-one'"),
        (&["bench", "fan-in", "--size", "23"], "24..="),
        (&["bench", "fan-in", "--rate", "0"], "1 to 10000000, or max"),
        (&["bench", "fan-in", "--seconds", "2h"], "3600s at most"),
        (&["bench", "offline", "-q", "0"], "use --qos 1 or 2"),
        (&["bench", "fan-in", "--against", "gateway"], "write [NAME=]HOST:PORT"),
        (&["bench", "fan-in", "-i", "me"], "--client-id cannot be said here"),
    ] {
        let ended = noctule(arguments).end();
        assert_eq!(ended.code, 2, "{arguments:?}");
        assert!(ended.err.contains(said), "{arguments:?}: {}", ended.err);
    }
    let poor = script("ulimit -n 60; exec \"$0\" \"$@\"", &["bench", "one-to-one", "-c", "50"]).end();
    assert_eq!(poor.code, 1);
    assert!(poor.err.contains("raise `ulimit -n`"), "{}", poor.err);
}

#[test]
fn the_scenarios_are_listed() {
    let list = noctule(&["bench", "list"]).end().succeeds();
    assert_eq!(list, noctule(&["bench", "--list"]).end().succeeds());
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(
        names,
        [
            "one-to-one",
            "fan-in",
            "fan-out",
            "latency",
            "connect",
            "retained",
            "offline",
            "stomp-topic",
            "stomp-queue",
            "cross"
        ]
    );
}

/// A broker for QoS 0 in MQTT 3.1.1 and one subscriber. Of ten messages it loses the fourth, doubles the sixth, and
/// sends the eighth after the ninth. It ends with the test.
fn careless_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let subscriber = Arc::new(Mutex::new(None));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let subscriber = Arc::clone(&subscriber);
            std::thread::spawn(move || serve(stream, &subscriber));
        }
    });
    port
}

fn serve(mut stream: TcpStream, subscriber: &Mutex<Option<TcpStream>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut count, mut held) = (0, Vec::new());
    loop {
        let packet = packet(&mut stream)?;
        match packet[0] >> 4 {
            1 => stream.write_all(b"\x20\x02\0\0").ok()?,
            8 => {
                *subscriber.lock().unwrap() = Some(stream.try_clone().ok()?);
                stream.write_all(&[0x90, 3, packet[2], packet[3], 0]).ok()?;
            }
            3 => {
                let passed = match count % 10 {
                    3 => Vec::new(),
                    5 => [packet.clone(), packet].concat(),
                    7 => {
                        held = packet;
                        Vec::new()
                    }
                    8 => [packet, std::mem::take(&mut held)].concat(),
                    _ => packet,
                };
                count += 1;
                subscriber.lock().unwrap().as_mut()?.write_all(&passed).ok()?;
            }
            _ => return None,
        }
    }
}

/// One packet; its remaining length is one byte.
fn packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet).ok()?;
    assert!(packet[1] < 128);
    packet.resize(2 + usize::from(packet[1]), 0);
    stream.read_exact(&mut packet[2..]).ok()?;
    Some(packet)
}
