//! What an operator may do over HTTP besides looking: logging in, listening in, moving messages; and the page that does it.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::admin::Served;
use super::process::data_dir::DataDir;
use super::process::{PATIENCE, noctule};

/// A page's WebSocket.
struct Page(WebSocket<TcpStream>);

impl Page {
    fn open(served: &Served) -> Self {
        let stream = TcpStream::connect(served.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("ws://{}/api/v1/live", served.admin).into_client_request().unwrap();
        Self(tungstenite::client(request, stream).unwrap().0)
    }

    fn say(&mut self, what: &Value) {
        self.0.send(Message::text(what.to_string())).unwrap();
    }

    fn hears(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

#[test]
fn a_page_hears_what_is_published_and_publishes() {
    let served = Served::start();
    let mut page = Page::open(&served);
    page.say(&json!({ "subscribe": "a/#" }));
    assert_eq!(page.hears(), json!({ "subscribed": "a/#" }));
    served.publish(&["-t", "b", "-m", "not this"]);
    served.publish(&["-t", "a/b", "-m", "21.5", "-q", "1"]);
    let mut heard = page.hears();
    assert!(heard["message"].as_object_mut().unwrap().remove("client_id").is_some(), "{heard}");
    let expected =
        json!({ "topic": "a/b", "qos": 1, "retain": false, "size": 4, "text": "21.5", "truncated": false });
    assert_eq!(heard["message"], expected, "{heard}");
    page.say(&json!({ "publish": { "topic": "a/c", "text": "own", "retain": true } }));
    let mut both = [page.hears(), page.hears()];
    both.sort_by_key(|told| told.get("message").is_some());
    assert_eq!(both[0], json!({ "published": true }));
    assert_eq!((&both[1]["message"]["topic"], &both[1]["message"]["text"]), (&"a/c".into(), &"own".into()));
    assert_eq!(served.json("/api/v1/retained/a/c")["text"], "own");
    page.say(&json!({ "probe": 7 }));
    let probed = page.hears();
    assert_eq!(probed["probe"], 7);
    assert!(probed["us"].as_u64().unwrap() < 5_000_000, "{probed}");
    page.say(&json!({ "unsubscribe": "a/#" }));
    assert_eq!(page.hears(), json!({ "unsubscribed": "a/#" }));
    served.publish(&["-t", "a/b", "-m", "unheard"]);
    page.say(&json!({ "subscribe": "a/+/#/b" }));
    assert!(page.hears()["problem"].as_str().unwrap().contains("filter"));
    page.say(&json!({ "publish": { "topic": "a/+" } }));
    assert!(page.hears()["problem"].as_str().unwrap().contains("topic"));
    // What is no JSON ends it.
    page.0.send(Message::text("{]")).unwrap();
    assert!(matches!(page.0.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1008));
}

#[test]
fn pages_are_bounded_and_a_foreign_one_is_refused() {
    let served = Served::start();
    let pages: Vec<_> = (0..8).map(|_| Page::open(&served)).collect();
    let head = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let ask = |more: &str| {
        let request = format!("GET /api/v1/live HTTP/1.1\r\n{}{head}{more}\r\n", served.host());
        served.say(request.as_bytes()).0
    };
    assert_eq!(ask("connection: close\r\n"), 503);
    assert_eq!(ask("origin: http://evil.example\r\n"), 403);
    drop(pages);
}

#[test]
fn dead_letters_go_back_into_their_queue() {
    let served = Served::start();
    for number in 0..3 {
        served.publish(&["-t", "$queue/DLQ.jobs", "-m", &number.to_string(), "-q", "1"]);
    }
    assert_eq!(served.ctl(&["move", "DLQ.jobs", "jobs"]).succeeds(), "3 messages moved\n");
    let waiting = |queue: &str| served.json(&format!("/api/v1/queues/{queue}/messages"))["items"].clone();
    assert_eq!(waiting("DLQ.jobs"), json!([]));
    let texts: Vec<_> = waiting("jobs").as_array().unwrap().iter().map(|kept| kept["text"].clone()).collect();
    assert_eq!(texts, ["0", "1", "2"]);
    let peeked = served.ctl(&["peek", "jobs", "-n", "2"]).succeeds();
    assert_eq!(peeked.lines().count(), 3, "{peeked}");
    assert_eq!(served.ctl(&["purge", "jobs"]).succeeds(), "3 messages dropped\n");
    assert_eq!(waiting("jobs"), json!([]));
    let own = served.ctl(&["move", "jobs", "jobs"]);
    assert!(own.code == 1 && own.err.contains("already"), "{}", own.err);
    assert_eq!(served.ctl(&["purge", "nothing"]).code, 1);
}

#[test]
fn retained_messages_are_shown_and_taken_back() {
    let served = Served::start();
    for (topic, payload) in [("a/1", "one"), ("a/2", "two"), ("b", "three")] {
        served.publish(&["-t", topic, "-m", payload, "-r"]);
    }
    assert_eq!(served.ctl(&["get", "a/2"]).succeeds(), "two");
    let listed = served.ctl(&["retained", "a/#"]).succeeds();
    assert!(listed.contains("a/1") && listed.contains("two") && !listed.contains("three"), "{listed}");
    assert_eq!(served.ctl(&["forget", "a/#"]).succeeds(), "2 messages forgotten\n");
    assert_eq!(served.ctl(&["get", "a/2"]).code, 1);
    assert_eq!(served.ctl(&["get", "b"]).succeeds(), "three");
    let top = served.ctl(&["top", "-n", "1"]).succeeds();
    assert!(top.contains("messages in") && top.contains("clients"), "{top}");
}

#[test]
fn the_broker_tells_of_itself_under_sys_to_whoever_asks() {
    let served = Served::start();
    // The second is told everything as well, at once, though nothing has changed.
    for name in ["first", "second"] {
        let mut client = served.subscriber(name, "$SYS/broker/version");
        assert_eq!(client.line(), concat!("noctule version ", env!("CARGO_PKG_VERSION")));
    }
    let port = served.mqtt.port().to_string();
    let mut client = noctule(&["sub", "-p", &port, "-v", "-t", "$SYS/#"]);
    let mut missing = BTreeSet::from([
        "clients/connected",
        "publish/messages/received",
        "load/publish/sent/5min",
        "uptime",
    ]);
    let begun = Instant::now();
    while !missing.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{missing:?}");
        let line = client.line();
        let (topic, value) = line.split_once(' ').unwrap();
        let name = topic.strip_prefix("$SYS/broker/").unwrap();
        // Those before it were killed, and are counted until their worker has seen that.
        if name != "clients/connected" || value == "1" {
            missing.remove(name);
        }
    }
    // It is not kept: what was true then is no answer later.
    let kept = served.json("/api/v1/retained?filter=%24SYS/%23");
    assert_eq!(kept["items"], json!([]));
}

#[test]
fn a_full_door_and_reply_addresses_are_told_as_they_are() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let path = folder.path().join("noctule.toml").to_str().unwrap().to_owned();
    let config = "[limits]\nmax_connections = 1\n[admin]\nlisten = [\"127.0.0.1:0\"]\n\
        [[listener]]\nprotocol = \"auto\"\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(&path, config).unwrap();
    let served = Served::start_with(DataDir::in_memory(), &["-c", &path]);
    assert_eq!(served.get("/readyz").0, 200);
    let port = served.mqtt.port().to_string();
    let mut client = noctule(&["stomp", "subscribe", "-p", &port, "-i", "till", "/temp-queue/answers"]);
    client.says("subscribed");
    let (status, body) = served.get("/readyz");
    assert_eq!((status, body.contains("limits.max_connections")), (503, true), "{body}");
    let status = served.ctl(&["status"]);
    assert_eq!((status.code, status.out.contains("limits.max_connections")), (1, true), "{}", status.out);
    // Who knew where it expects its answers could send some.
    let told = served.get("/api/v1/clients/till/subscriptions").1;
    assert!(told.contains("$reply/…/answers"), "{told}");
    for place in ["/api/v1/trace?filter=%24reply/%23", "/api/v1/retained?filter=%24reply/%23"] {
        assert_eq!(served.get(place).0, 400, "{place}");
    }
    assert_eq!(served.json("/api/v1/clients/till")["subscriptions"], 1);
    assert_eq!(served.ctl(&["disconnect", "till"]).succeeds(), "");
    client.says("an operator has disconnected the client");
}

#[test]
fn where_clients_log_in_so_do_operators() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (user, password) in [("ann", "wonderland"), ("bob", "builder-of-things")] {
        let mut running = noctule(&["passwd", &file("users"), user, "--password-stdin"]);
        running.write(format!("{password}\n").as_bytes());
        running.end().succeeds();
    }
    let config = format!(
        "[auth]\nchain = [\"password\"]\npassword_file = {:?}\n[admin]\nlisten = [\"127.0.0.1:0\"]\nusers = [\"ann\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nanonymous = false\n",
        file("users")
    );
    std::fs::write(file("noctule.toml"), config).unwrap();
    let path = file("noctule.toml");
    let served = Served::start_with(DataDir::in_memory(), &["-c", &path]);
    let host = served.host();
    let ask = |method: &str, place: &str, more: &str, body: &str| {
        served.ask(method, place, &format!("{host}content-type: application/json\r\n{more}"), body)
    };
    assert_eq!(ask("GET", "/api/v1/clients", "", "").0, 401);
    assert_eq!(ask("GET", "/", "", "").0, 200);
    assert_eq!(ask("GET", "/metrics", "", "").0, 200);
    let whoami =
        |more: &str| serde_json::from_str::<Value>(&ask("GET", "/api/v1/session", more, "").1).unwrap();
    assert_eq!(whoami(""), json!({ "user": null, "required": true }));
    // ann:wonderland, bob:builder-of-things, ann:wrong.
    let basic = |word: &str| ask("GET", "/api/v1/clients", &format!("authorization: Basic {word}\r\n"), "").0;
    assert_eq!(basic("YW5uOndvbmRlcmxhbmQ="), 200);
    assert_eq!(basic("Ym9iOmJ1aWxkZXItb2YtdGhpbmdz"), 401);
    assert_eq!(basic("YW5uOndyb25n"), 401);
    assert_eq!(basic("nonsense"), 400);
    let login = |user: &str, password: &str| {
        let body = json!({ "user": user, "password": password }).to_string();
        let head = format!("{host}content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        served.say_all(
            format!("POST /api/v1/session HTTP/1.1\r\nconnection: close\r\n{head}\r\n{body}").as_bytes(),
        )
    };
    let answer = login("ann", "wonderland");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).unwrap();
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Strict"), "{line}");
    let cookie = line["set-cookie: ".len()..].split(';').next().unwrap();
    let own = format!("cookie: {cookie}\r\n");
    assert_eq!(ask("GET", "/api/v1/clients", &own, "").0, 200);
    assert_eq!(whoami(&own), json!({ "user": "ann", "required": true }));
    assert_eq!(ask("DELETE", "/api/v1/session", &own, "").0, 204);
    assert_eq!(ask("GET", "/api/v1/clients", &own, "").0, 401);
    assert!(login("bob", "builder-of-things").starts_with("HTTP/1.1 401"));
    // A token in the page's place: the answer holds no password, and who guesses has to wait.
    let refused = login("ann", "wonderlamd");
    assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("wonderlamd"), "{refused}");
    let guesses: Vec<_> =
        (0..8).map(|guess| login("ann", &format!("guess {guess}"))[9..12].to_owned()).collect();
    assert!(guesses.contains(&"429".to_owned()), "{guesses:?}");
    // The Unix socket is another matter.
    served.ctl(&["clients"]).succeeds();
}

#[test]
fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
    let served = Served::start();
    let answer =
        served.say_all(format!("GET / HTTP/1.1\r\nconnection: close\r\n{}\r\n", served.host()).as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    let mut bytes = body.len();
    let files: BTreeSet<_> = ["src=\"", "href=\""]
        .into_iter()
        .flat_map(|key| body.split(key).skip(1).filter_map(|rest| rest.split('"').next()))
        .filter(|file| !file.starts_with('#') && !file.starts_with("data:"))
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        let (status, text) = served.get(&format!("/{}", file.trim_start_matches(['.', '/'])));
        assert_eq!(status, 200, "{file}");
        bytes += text.len();
    }
    assert!(bytes < 150_000, "{bytes}");
    assert!(!body.contains("http://") && !body.contains("https://"), "{body}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert_eq!(served.ask("GET", "/", &format!("{}if-none-match: {tag}\r\n", served.host()), "").0, 304);
    assert_eq!(served.ask("POST", "/dashboard.css", &served.host(), "").0, 405);
}

#[test]
fn the_description_is_what_is_served() {
    let served = Served::start();
    served.publish(&["-t", "a", "-m", "x", "-r"]);
    served.publish(&["-t", "$queue/jobs", "-m", "x", "-q", "1"]);
    let _client = served.subscriber("c", "a");
    let described = served.json("/api/v1/openapi.json");
    let known = [("{client_id}", "c"), ("{name}", "jobs"), ("{topic}", "a")];
    for (path, methods) in described["paths"].as_object().unwrap() {
        let place = known.iter().fold(path.clone(), |place, (key, value)| place.replace(key, value));
        let methods = methods.as_object().unwrap();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            // What is not asked for in words is not done.
            let asked = format!("{place}?nonsense=1");
            let harmless =
                if matches!(method, "DELETE" | "POST") && methods.contains_key(&method.to_lowercase()) {
                    continue;
                } else {
                    &asked
                };
            let status = served.ask(method, harmless, &served.host(), "").0;
            let is_there = methods.contains_key(&method.to_lowercase());
            assert_eq!(status != 405, is_there, "{method} {place}: {status}");
            assert_ne!(status, 404, "{method} {place}");
        }
        if let Some(schema) =
            methods.get("get").and_then(|get| get.pointer("/responses/200/content/application~1json/schema"))
        {
            let answer = served.json(&place);
            fits(&answer, schema, &described, path);
        }
    }
}

#[test]
fn bodies_are_taken_and_answered_as_they_are_described() {
    let served = Served::start();
    served.publish(&["-t", "$queue/jobs", "-m", "x", "-q", "1"]);
    served.publish(&["-t", "kept", "-m", "x", "-r"]);
    let _client = served.subscriber("c", "a");
    let described = served.json("/api/v1/openapi.json");
    let sample = json!({ "to": "other", "topic": "described", "text": "x", "base64": "eA==", "qos": 1, "retain": true,
                         "user": "ann", "password": "x", "level": "info" });
    let head = format!("{}content-type: application/json\r\n", served.host());
    let (mut asked, mut with_bodies) = (0, 0);
    for (path, methods) in described["paths"].as_object().unwrap() {
        let place = path.replace("{client_id}", "c").replace("{name}", "jobs")
            + if path.ends_with("/retained") { "?filter=kept" } else { "" };
        for (method, about) in methods.as_object().unwrap().iter().filter(|(method, _)| *method != "get") {
            let ask = |body: &Value| {
                let body = if body.is_null() { String::new() } else { body.to_string() };
                served.ask(&method.to_uppercase(), &place, &head, &body)
            };
            let answers = |(status, answer): (u16, String), what: &Value| {
                // Nobody has to log in here, and so nobody can.
                let is_done = path != "/api/v1/session" || method == "delete";
                let kind = if is_done { status.to_string() } else { "default".to_owned() };
                let response = &about["responses"][&kind];
                assert!(response.is_object(), "{method} {place} {what}: {status} {answer}");
                match response["content"].as_object().and_then(|content| content.values().next()) {
                    Some(kind) => {
                        fits(&serde_json::from_str(&answer).unwrap(), &kind["schema"], &described, path);
                    }
                    None => assert_eq!(answer, "", "{method} {place} {what}"),
                }
            };
            asked += 1;
            let schema = &about["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                answers(ask(&Value::Null), &Value::Null);
                continue;
            }
            with_bodies += 1;
            let required: Vec<_> =
                schema["required"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
            let properties = schema["properties"].as_object().unwrap();
            let least: Value = required.iter().map(|key| ((*key).to_owned(), sample[key].clone())).collect();
            for key in properties.keys() {
                let mut body = least.clone();
                body[key] = sample[key].clone();
                answers(ask(&body), &body);
                body[key] = json!({});
                assert!(matches!(ask(&body).0, 400 | 422), "{method} {place} {body}");
            }
            for key in required {
                let mut body = least.clone();
                body.as_object_mut().unwrap().remove(key);
                assert_eq!(ask(&body).0, 422, "{method} {place} without {key}");
            }
            // Whoever asks for more is told what there is.
            let mut body = least.clone();
            body["nonsense"] = 1.into();
            let (status, answer) = ask(&body);
            let problem: Value = serde_json::from_str(&answer).unwrap();
            fits(&problem, &json!({ "$ref": "#/components/schemas/Problem" }), &described, path);
            let known = problem["detail"].as_str().unwrap().split_once("expected").unwrap().1;
            let known: BTreeSet<_> = known.split('`').skip(1).step_by(2).collect();
            assert_eq!(
                (status, known),
                (422, properties.keys().map(String::as_str).collect()),
                "{method} {place}"
            );
        }
    }
    assert!(asked >= 9 && with_bodies >= 4, "{asked} {with_bodies}");
}

/// Whether a value has what its schema asks for, and nothing that the schema does not know.
fn fits(value: &Value, schema: &Value, described: &Value, place: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => described.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    if let Some(items) = schema.get("items") {
        for item in value.as_array().unwrap_or_else(|| panic!("{place}: {value} is no list")) {
            fits(item, items, described, place);
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let object = value.as_object().unwrap_or_else(|| panic!("{place}: {value} is no object"));
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(required.as_str().unwrap()), "{place}: no {required} in {value}");
    }
    for (key, value) in object {
        let property = properties.get(key).unwrap_or_else(|| panic!("{place}: {key} is not described"));
        let kinds: Vec<_> = match &property["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(kinds.is_empty() || kinds.contains(&found), "{place}: {key} is {found}, not {kinds:?}");
        fits(value, property, described, place);
    }
}

#[test]
fn a_backup_is_taken_while_the_broker_serves_and_put_back() {
    let served = Served::start();
    for number in 0..50 {
        let topic = format!("kept/{number}");
        served.publish(&["-t", &topic, "-m", &number.to_string(), "-r", "-q", "1"]);
        if number == 30 {
            served.publish(&["-t", "$queue/jobs", "-m", "job", "-q", "1"]);
        }
    }
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let told = served.ctl(&["backup", &file("copy.redb")]).succeeds();
    assert!(told.contains("bytes"), "{told}");
    let again = served.ctl(&["backup", &file("copy.redb")]);
    assert!(again.code == 1 && again.err.contains("copy.redb"), "{}", again.err);
    let restore = |copy: &str, data: &str| noctule(&["restore", copy, "--data", data]).end();
    // Nobody's store is exchanged under him.
    let own = served.data.path().to_str().unwrap().to_owned();
    let refused = restore(&file("copy.redb"), &own);
    assert!(refused.code == 1 && refused.err.contains("another noctule"), "{}", refused.err);
    served.ctl(&["forget", "#"]).succeeds();
    let data = served.stop();
    let told = restore(&file("copy.redb"), &own).succeeds();
    assert!(told.contains("1 messages that wait, 50 retained") && told.contains("before-restore"), "{told}");
    // What is no store changes nothing.
    std::fs::write(file("nonsense"), b"no store").unwrap();
    let refused = restore(&file("nonsense"), &own);
    assert!(refused.code == 1 && refused.err.contains("everything is as it was"), "{}", refused.err);
    let served = Served::start_with(data, &["--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert_eq!(served.ctl(&["get", "kept/30"]).succeeds(), "30");
    assert_eq!(served.json("/api/v1/queues/jobs/messages")["items"][0]["text"], "job");
}

#[test]
fn what_a_queue_has_no_room_for_is_not_moved_there() {
    let folder = DataDir::in_memory();
    std::fs::create_dir(folder.path()).unwrap();
    let path = folder.path().join("noctule.toml").to_str().unwrap().to_owned();
    let config = "[queues]\nmax_messages = 3\n[admin]\nlisten = [\"127.0.0.1:0\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(&path, config).unwrap();
    let served = Served::start_with(DataDir::in_memory(), &["-c", &path]);
    let send =
        |queue: &str, text: &str| served.publish(&["-t", &format!("$queue/{queue}"), "-m", text, "-q", "1"]);
    // A queue of dead letters would let the oldest give way.
    send("DLQ.jobs", "older");
    for text in ["1", "2", "3"] {
        send("jobs", text);
    }
    let texts = |queue: &str| {
        let list = served.json(&format!("/api/v1/queues/{queue}/messages"));
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kept| kept["text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(served.ctl(&["move", "jobs", "DLQ.jobs"]).succeeds(), "2 messages moved, 1 left\n");
    assert_eq!(texts("DLQ.jobs"), ["older", "1", "2"]);
    assert_eq!(texts("jobs"), ["3"]);
    assert_eq!(served.ctl(&["move", "jobs", "DLQ.jobs"]).succeeds(), "0 messages moved, 1 left\n");
    assert_eq!(served.ctl(&["purge", "DLQ.jobs"]).succeeds(), "3 messages dropped\n");
    // Whichever workers they live on: the question of how much room there is comes after what was sent before.
    for (number, text) in (0..40).flat_map(|number| ["1", "2", "3", "4"].map(|text| (number, text))) {
        let queue = if text == "4" { "parked" } else { "from" };
        send(&format!("{queue}.{number}"), text);
    }
    for number in 0..40 {
        let (from, to) = (format!("from.{number}"), format!("parked.{number}"));
        assert_eq!(served.ctl(&["move", &from, &to]).succeeds(), "2 messages moved, 1 left\n");
        assert_eq!(
            (texts(&from), texts(&to)),
            (vec!["3".to_owned()], ["4", "1", "2"].map(str::to_owned).to_vec())
        );
    }
}
