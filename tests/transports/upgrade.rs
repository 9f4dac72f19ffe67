//! The HTTP in front of WebSocket: who may connect, what is answered to the others, and requests without end.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kit::{
    Dripping, Mqtt, Pki, Served, TLS_VERSIONS, TRANSPORT, V5, Wire, connect_bytes, counted, more_than, offer,
    plain, rest, told, web_over,
};

fn serve(more: &str) -> Served {
    Served::start(&format!(
        "[[listener]]
        address = \"127.0.0.1:0\"
        websocket = \"/mqtt\"
        origins = [\"https://hmi.plant.example\", \"http://127.0.0.1:8080\"]
        {more}"
    ))
}

/// A request; each of `changes` takes the place of the header of that name, or of none.
fn request(target: &str, changes: &[(&str, &str)]) -> String {
    let mut headers = vec![
        ("Host", "plant:9001"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for &(name, value) in changes {
        headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("{target} HTTP/1.1\r\n{}\r\n", lines.collect::<String>())
}

/// The head of the answer.
#[track_caller]
fn answer(wire: &mut dyn Wire) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        wire.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The status, words that say how to mend it, the end, and the same words in the log.
#[track_caller]
fn is_rejected(mut wire: Box<dyn Wire>, request: &str, status: &str, words: &str) -> String {
    let before = counted(TRANSPORT);
    let peer = wire.local();
    offer(&mut wire, request.as_bytes());
    let answer = String::from_utf8(rest(&mut wire)).unwrap();
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.contains(words), "{answer}");
    told(peer, words);
    more_than(TRANSPORT, before);
    answer
}

#[test]
fn who_may_not_connect_is_told_why() {
    let served = serve("");
    let ask = |request: &str, status, words| is_rejected(served.plain(0), request, status, words);
    ask(&request("GET /other", &[]), "404", "connect to /mqtt");
    ask(&request("GET /mqtt/", &[]), "404", "connect to /mqtt");
    ask(&request("GET mqtt", &[]), "400", "begin it with /");
    ask(&request("POST /mqtt", &[]), "405", "send GET");
    ask(&request("GET /mqtt", &[("Upgrade", "")]), "426", "this is a WebSocket endpoint");
    ask(&request("GET /mqtt", &[("Connection", "close")]), "426", "this is a WebSocket endpoint");
    let old = ask(&request("GET /mqtt", &[("Sec-WebSocket-Version", "8")]), "426", "only 13 is spoken");
    assert!(old.contains("Sec-WebSocket-Version: 13\r\n"));
    ask(&request("GET /mqtt", &[("Sec-WebSocket-Key", "short")]), "400", "16 random bytes");
    ask(&request("GET /mqtt", &[("Host", "")]), "400", "no Host header");
    ask(&request("GET /mqtt", &[("Content-Length", "5")]), "400", "has a body");
    ask(&request("GET /mqtt", &[("Transfer-Encoding", "chunked")]), "400", "has a body");
    let long = "x".repeat(9_000);
    ask(&request("GET /mqtt", &[("Cookie", &long)]), "431", "");
    // Plain MQTT is no HTTP.
    let mut wire = served.plain(0);
    offer(&mut *wire, &connect_bytes(V5, "plain"));
    rest(&mut *wire);
    told(wire.local(), "no WebSocket:");
}

#[test]
fn origins_are_those_of_the_list_and_this_machine_s() {
    let served = serve("");
    for (origin, host) in [
        ("https://hmi.plant.example", "plant:9001"),
        ("http://127.0.0.1:8080", "plant:9001"),
        // The page came from where it connects to.
        ("http://127.0.0.1:9001", "127.0.0.1:9001"),
        ("http://[::1]:9001", "[::1]:9001"),
        ("http://localhost:9001", "localhost:9001"),
        // No browser: no origin.
        ("", "plant:9001"),
    ] {
        let mut wire = served.plain(0);
        offer(&mut *wire, request("GET /mqtt", &[("Origin", origin), ("Host", host)]).as_bytes());
        assert!(answer(&mut *wire).starts_with("HTTP/1.1 101 "), "{origin} {host}");
    }
    for (origin, host) in [
        ("https://evil.example", "plant:9001"),
        ("http://hmi.plant.example", "plant:9001"),
        ("https://hmi.plant.example.evil.example", "plant:9001"),
        ("null", "plant:9001"),
        // DNS rebinding: a name of the page's own choice.
        ("http://evil.example:9001", "evil.example:9001"),
        ("http://127.0.0.1:9002", "127.0.0.1:9001"),
    ] {
        let request = request("GET /mqtt", &[("Origin", origin), ("Host", host)]);
        is_rejected(served.plain(0), &request, "403", "add it to origins");
    }
}

#[test]
fn with_tls_the_same_host_is_welcome_and_with_a_star_everybody_is() {
    let pki = Pki::new();
    let served = Served::start(&format!(
        "{}
        [[listener]]
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        websocket = \"/\"
        [[listener]]
        address = \"127.0.0.1:0\"
        websocket = \"/\"
        origins = [\"*\"]",
        pki.plant("")
    ));
    let client = pki.connector(TLS_VERSIONS[1], None);
    let secure = || Box::new(served.tls(0, &client)) as Box<dyn Wire>;
    let headers = [("Origin", "https://plant.example"), ("Host", "plant.example")];
    Mqtt::connect(web_over(secure(), "/", &headers).unwrap(), V5, "same host").bye();
    let stranger = [("Origin", "https://evil.example"), ("Host", "plant.example")];
    let (status, words) = web_over(secure(), "/", &stranger).err().unwrap();
    assert_eq!(status, 403, "{words}");
    Mqtt::connect(web_over(served.plain(1), "/", &stranger).unwrap(), V5, "everybody").bye();
}

#[test]
fn the_subprotocol_is_the_one_that_the_client_likes_best_of_ours() {
    let served = serve(
        "[[listener]]
        protocol = \"stomp\"
        address = \"127.0.0.1:0\"
        websocket = \"/\"",
    );
    for (place, offered, chosen) in [
        (0, "mqtt", Some("mqtt")),
        (0, "mqttv3.1, mqtt", Some("mqttv3.1")),
        (0, "soap, mqtt", Some("mqtt")),
        (0, "soap", None),
        (0, "v12.stomp", None),
        (0, "MQTT", None),
        (1, "v10.stomp, v11.stomp, v12.stomp", Some("v10.stomp")),
        (1, "mqtt", None),
    ] {
        let path = ["GET /mqtt", "GET /"][place];
        let mut wire = served.plain(place);
        offer(&mut *wire, request(path, &[("Sec-WebSocket-Protocol", offered)]).as_bytes());
        let answer = answer(&mut *wire).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        let line = answer.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(line, chosen, "{offered}");
        assert!(!answer.contains("extensions"), "compression is not offered");
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_with_its_first_frame() {
    let served = serve("");
    let dripping = Box::new(Dripping(plain(served.address(0))));
    Mqtt::connect(web_over(dripping, "/mqtt", &[]).unwrap(), V5, "drips").bye();
    let mut wire = served.plain(0);
    let mut bytes = bytes::BytesMut::from(request("GET /mqtt?token=1", &[]).as_bytes());
    let role = noctule_websocket::Role::Client { mask: noctule_websocket::Mask([9, 8, 7, 6]) };
    let kind = noctule_websocket::Kind::Binary;
    noctule_websocket::encode(role, kind, &connect_bytes(V5, "at once"), &mut bytes);
    wire.write_all(&bytes).unwrap();
    assert!(answer(&mut *wire).starts_with("HTTP/1.1 101 "));
    let mut head = [0; 3];
    wire.read_exact(&mut head).unwrap();
    assert_eq!((head[0], head[2]), (0x82, 0x20), "CONNACK");
}

/// One answer each connection; what is behind the first request is never looked at.
#[test]
fn a_flood_of_requests_is_answered_once() {
    let served = serve("");
    let mut wire = served.plain(0);
    let flood = request("GET /other", &[]).repeat(1_000);
    offer(&mut *wire, flood.as_bytes());
    let answers = String::from_utf8(rest(&mut *wire)).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1, "{answers}");
    // A head without end, however it is cut.
    let mut wire = served.plain(0);
    offer(&mut *wire, b"GET /mqtt HTTP/1.1\r\n");
    for number in 0..1_000 {
        offer(&mut *wire, format!("X-{number}: {number}\r\n").as_bytes());
    }
    let answer = String::from_utf8(rest(&mut *wire)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn connect_timeout_ends_requests_that_do_not_end() {
    let served = serve("[limits]\nconnect_timeout = \"1s\"");
    let started = Instant::now();
    let mut silent = served.plain(0);
    let mut upgraded = web_over(served.plain(0), "/mqtt", &[]).unwrap();
    let mut drips = served.plain(0);
    offer(&mut *drips, b"GET /mqtt HTTP/1.1\r\nX: ");
    // A deadline that began anew with every byte would never pass; no limit of a head is reached in that time.
    let long = Duration::from_secs(20);
    while started.elapsed() < long && drips.write_all(b"y").is_ok() {
        sleep(Duration::from_millis(50));
    }
    assert!(started.elapsed() >= Duration::from_millis(900));
    assert!(started.elapsed() < long, "{:?}", started.elapsed());
    for wire in [&mut *drips, &mut *silent, &mut upgraded] {
        rest(wire);
        told(wire.local(), "connect");
    }
    assert!(upgraded.closed.is_some(), "WebSocket has its Close frame");
}
