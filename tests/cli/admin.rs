//! A running broker as who looks after it meets it: metrics, health and the API by HTTP, and `noctule ctl`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::process::data_dir::DataDir;
use super::process::{Ended, Running, noctule};

/// `noctule run` with its own data directory, and the API on a port of the loopback.
pub(super) struct Served {
    broker: Running,
    pub(super) mqtt: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) data: DataDir,
}

impl Served {
    pub(super) fn start() -> Self {
        let data = DataDir::in_memory();
        Self::start_with(data, &["--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
    }

    /// With these arguments, which say where it listens.
    pub(super) fn start_with(data: DataDir, arguments: &[&str]) -> Self {
        let workers = std::env::var("NOCTULE_TEST_WORKERS").unwrap_or_else(|_| "1".to_owned());
        let path = data.path().to_str().unwrap();
        let rest = ["--data", path, "--workers", &workers, "--log-format", "json"];
        let mut broker = noctule(&[&["run"], arguments, &rest[..]].concat());
        let mut address = |words: &str, kind: &str| loop {
            let line: Value = serde_json::from_str(&broker.hears(words)).unwrap();
            let address = line["address"].as_str().unwrap();
            if let (false, Ok(address)) = (kind == "tcp" && address.starts_with("unix"), address.parse()) {
                return address;
            }
        };
        let mqtt = address("\"listening\"", "tcp");
        let admin = address("looked after at", "tcp");
        Self { broker, mqtt, admin, data }
    }

    /// The number of its process.
    pub(super) fn id(&self) -> u32 {
        self.broker.id()
    }

    /// The next line of its log with these words.
    #[track_caller]
    pub(super) fn hears(&mut self, words: &str) -> String {
        self.broker.hears(words)
    }

    /// A request with these header lines, each ending in CR LF; its status and its body.
    pub(super) fn ask(&self, method: &str, place: &str, head: &str, body: &str) -> (u16, String) {
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{method} {place} HTTP/1.1\r\nconnection: close\r\n{head}{length}\r\n{body}");
        let (status, answer) = self.say(request.as_bytes());
        (status, answer)
    }

    pub(super) fn get(&self, place: &str) -> (u16, String) {
        self.ask("GET", place, &self.host(), "")
    }

    pub(super) fn json(&self, place: &str) -> Value {
        let (status, body) = self.get(place);
        assert_eq!(status, 200, "{place}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(super) fn host(&self) -> String {
        format!("host: {}\r\n", self.admin)
    }

    /// Everything that is answered to these bytes.
    pub(super) fn say_all(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) fn say(&self, bytes: &[u8]) -> (u16, String) {
        let answer = self.say_all(bytes);
        let status = answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }

    /// Ends the broker in order, and leaves its directory.
    pub(super) fn stop(mut self) -> DataDir {
        self.broker.signal("TERM");
        let begun = std::time::Instant::now();
        while !self.broker.has_ended() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the broker does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::mem::replace(&mut self.data, DataDir::in_memory())
    }

    pub(super) fn ctl(&self, arguments: &[&str]) -> Ended {
        let data = self.data.path().to_str().unwrap();
        noctule(&[&["ctl", "--data", data], arguments].concat()).end()
    }

    /// `noctule sub` of a client of that name, which is subscribed.
    pub(super) fn subscriber(&self, client_id: &str, topic: &str) -> Running {
        let port = self.mqtt.port().to_string();
        let mut client = noctule(&["sub", "-p", &port, "-i", client_id, "-t", topic]);
        client.says("subscribed to ");
        client
    }

    pub(super) fn publish(&self, arguments: &[&str]) {
        let port = self.mqtt.port().to_string();
        noctule(&[&["pub", "-p", &port], arguments].concat()).end().succeeds();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if !self.broker.has_ended() {
            self.broker.signal("KILL");
        }
    }
}

/// The value of a metric with exactly these labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn a_scrape_counts_what_has_just_passed() {
    let served = Served::start();
    let mut subscriber = served.subscriber("hears", "a");
    for number in 0..3 {
        served.publish(&["-t", "a", "-m", &number.to_string(), "-q", "1"]);
        subscriber.line();
    }
    let (status, text) = served.get("/metrics");
    assert_eq!(status, 200, "{text}");
    assert_eq!(metric(&text, "noctule_messages_in_total{protocol=\"mqtt\",qos=\"1\"}"), Some(3.0), "{text}");
    assert!(text.contains("# HELP noctule_messages_in_total "), "{text}");
    assert!(text.contains("# TYPE noctule_messages_in_total counter"), "{text}");
    let connected: f64 =
        text.lines().filter(|line| line.starts_with("noctule_clients_connected{")).map(last).sum();
    assert_eq!(connected, 1.0, "{text}");
}

fn last(line: &str) -> f64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_healthy_broker_is_alive_and_ready() {
    let served = Served::start();
    assert_eq!(served.get("/healthz"), (200, "{\"status\":\"alive\"}".to_owned()));
    assert_eq!(served.get("/readyz"), (200, "{\"status\":\"ready\"}".to_owned()));
    let about = served.json("/api/v1/broker");
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["problems"], serde_json::json!([]));
}

#[test]
fn clients_are_listed_in_parts_found_by_name_and_disconnected() {
    let served = Served::start();
    let names = ["boiler/1", "boiler/2", "attic ü", "cellar", "door"];
    let clients: Vec<_> = names.iter().map(|name| served.subscriber(name, "a/+")).collect();
    let (mut found, mut place) = (Vec::new(), "/api/v1/clients?limit=2".to_owned());
    loop {
        let list = served.json(&place);
        let items = list["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{list}");
        found.extend(items.iter().map(|client| client["client_id"].as_str().unwrap().to_owned()));
        let Some(next) = list["next"].as_str() else { break };
        place = format!("/api/v1/clients?limit=2&cursor={next}");
    }
    found.sort_unstable();
    let mut all = names.map(str::to_owned).to_vec();
    all.sort_unstable();
    assert_eq!(found, all);
    let boilers = served.json("/api/v1/clients?client_id=boiler&connected=true");
    assert_eq!(boilers["items"].as_array().unwrap().len(), 2);
    let one = served.json("/api/v1/clients/attic%20%C3%BC");
    assert_eq!((&one["connected"], &one["subscriptions"]), (&true.into(), &1.into()), "{one}");
    let subscriptions = served.json("/api/v1/clients/boiler%2F1/subscriptions");
    assert_eq!(subscriptions["items"][0]["filter"], "a/+");
    let away = |name: &str| served.ask("DELETE", &format!("/api/v1/clients/{name}"), &served.host(), "").0;
    assert_eq!(away("cellar"), 204);
    assert_eq!(away("nobody"), 404);
    for (client, name) in clients.into_iter().zip(names) {
        let is_out = name == "cellar";
        if !is_out {
            client.signal("TERM");
        }
        let ended = client.end();
        assert_eq!(ended.err.contains("operator"), is_out, "{name}: {}", ended.err);
    }
}

#[test]
fn what_makes_no_sense_is_answered_with_a_problem_that_says_why() {
    let served = Served::start();
    let cases = [
        ("GET", "/api/v1/clients?limit=0", "", 400, "1 to 1000"),
        ("GET", "/api/v1/clients?limit=1001", "", 400, "1 to 1000"),
        ("GET", "/api/v1/clients?limit=many", "", 400, "limit"),
        ("GET", "/api/v1/clients?cursor=../..", "", 400, "cursor"),
        ("GET", "/api/v1/clients?cursr=0.0", "", 400, "cursr"),
        ("GET", "/api/v1/clients/%FF", "", 400, ""),
        ("GET", "/api/v1/clients/nobody", "", 404, "nobody"),
        ("GET", "/../../etc/passwd", "", 404, ""),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", "", 404, ""),
        ("DELETE", "/metrics", "", 405, "DELETE"),
        ("PUT", "/api/v1/log-level", "{\"level\":\"loud\"}", 422, "loud"),
        ("PUT", "/api/v1/log-level", "{", 400, ""),
    ];
    for (method, place, body, status, words) in cases {
        let head = format!("{}content-type: application/json\r\n", served.host());
        let (found, answer) = served.ask(method, place, &head, body);
        assert_eq!(found, status, "{method} {place}: {answer}");
        assert!(answer.contains(words), "{method} {place}: {answer}");
        if !answer.is_empty() && answer.starts_with('{') {
            let problem: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(
                (&problem["type"], &problem["status"]),
                (&"about:blank".into(), &status.into()),
                "{answer}"
            );
        }
    }
    // A body that has no end, and a head that has none.
    let huge = "x".repeat(70_000);
    let head = format!("{}content-type: application/json\r\n", served.host());
    assert_eq!(served.ask("PUT", "/api/v1/log-level", &head, &huge).0, 413);
    let endless = format!("GET /metrics HTTP/1.1\r\n{}x: {}\r\n\r\n", served.host(), "y".repeat(40_000));
    assert_eq!(served.say(endless.as_bytes()).0, 431);
    assert_eq!(served.get("/healthz").0, 200);
}

#[test]
fn a_page_of_another_site_gets_nothing() {
    let served = Served::start();
    let _client = served.subscriber("victim", "a");
    let host = served.host();
    let place = "/api/v1/clients/victim";
    let foreign = format!("{host}origin: http://evil.example\r\n");
    assert_eq!(served.ask("DELETE", place, &foreign, "").0, 403);
    assert_eq!(served.ask("DELETE", place, "host: evil.example\r\n", "").0, 403);
    assert_eq!(
        served.ask("GET", "/api/v1/clients", &format!("{host}sec-fetch-site: cross-site\r\n"), "").0,
        403
    );
    assert_eq!(served.json(place)["connected"], true);
}

#[test]
fn who_is_slow_or_many_keeps_nobody_else_out_for_long() {
    let served = Served::start();
    let half: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(served.admin).unwrap();
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nho");
            stream
        })
        .collect();
    // The Unix socket has places of its own.
    served.ctl(&["status"]).succeeds();
    // And on the port whoever is slow loses his.
    let begun = std::time::Instant::now();
    while served.get("/healthz").0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody is let in any more");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(half);
}

#[test]
fn ctl_says_what_the_api_says_and_does_what_it_does() {
    let served = Served::start();
    assert!(served.ctl(&["status"]).succeeds().contains("workers"));
    let client = served.subscriber("attic", "a/#");
    let list = served.ctl(&["clients"]).succeeds();
    let lines: Vec<_> = list.lines().collect();
    assert!(lines[0].starts_with("CLIENT"), "{list}");
    assert!(lines[1].starts_with("attic") && lines[1].contains("MQTT"), "{list}");
    let json: Value = serde_json::from_str(&served.ctl(&["clients", "--json"]).succeeds()).unwrap();
    assert_eq!(json["items"][0]["client_id"], "attic");
    assert!(served.ctl(&["client", "attic"]).succeeds().contains("a/#"));
    let unknown = served.ctl(&["client", "nobody"]);
    assert_eq!((unknown.code, unknown.err.contains("nobody")), (1, true), "{}", unknown.err);
    assert_eq!(served.ctl(&["log-level", "debug"]).succeeds(), "");
    // Without a file there is nothing that could have changed.
    assert_eq!(served.ctl(&["reload"]).succeeds(), "0 changes in force\n");
    assert!(served.ctl(&["metrics"]).succeeds().contains("noctule_clients_connected"));
    served.ctl(&["disconnect", "attic"]).succeeds();
    assert!(client.end().err.contains("operator"));
    let elsewhere = DataDir::in_memory();
    let nobody = noctule(&["ctl", "--data", elsewhere.path().to_str().unwrap(), "status"]).end();
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("is it running"), "{}", nobody.err);
}

#[test]
fn queues_are_told_with_what_waits_in_them() {
    let served = Served::start();
    for number in 0..4 {
        served.publish(&["-t", "$queue/jobs", "-m", &number.to_string(), "-q", "1"]);
    }
    let groups = served.json("/api/v1/groups");
    let group = &groups["items"][0];
    assert_eq!(
        (&group["kind"], &group["name"], &group["messages"]),
        (&"queue".into(), &"jobs".into(), &4.into())
    );
    let told = served.ctl(&["queues"]).succeeds();
    assert!(told.lines().nth(1).unwrap().starts_with("queue  jobs"), "{told}");
}

#[test]
fn the_unix_socket_is_the_owners_and_goes_with_the_broker() {
    use std::os::unix::fs::PermissionsExt;
    let served = Served::start();
    let socket = served.data.path().join("admin.sock");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(served.data.path())), (0o660, 0o700));
    served.broker.signal("TERM");
    let begun = std::time::Instant::now();
    while socket.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the socket stays behind");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A script that waits for the word and changes its mind: however soon it comes, the end is in order.
#[test]
fn whoever_hears_that_it_serves_may_end_it_at_once() {
    for _ in 0..20 {
        let data = DataDir::in_memory();
        let path = data.path().to_str().unwrap();
        let mut broker = noctule(&["run", "--mqtt", "127.0.0.1:0", "--data", path, "--log-format", "json"]);
        broker.hears("looked after at");
        broker.signal("TERM");
        let ended = broker.end();
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(!data.path().join("admin.sock").exists());
    }
}
