//! `protocol = "auto"`: everything on one port, told apart by its first bytes.

use crate::kit::{
    Dripping, Mqtt, Pki, Served, Stomp, TLS_VERSIONS, TRANSPORT, V5, VERSIONS, Wire, counted, more_than,
    offer, plain, rest, tls_over, told, web_over,
};

const ALL: usize = 0;
const FEW: usize = 1;

fn serve(pki: &Pki) -> Served {
    Served::start(&format!(
        "{}
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        websocket = \"/\"
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"",
        pki.plant("")
    ))
}

/// Every way to the first listener, over sockets that `socket` makes.
fn ways(pki: &Pki, socket: &dyn Fn() -> Box<dyn Wire>) -> Vec<Box<dyn Wire>> {
    let web = |wire| Box::new(web_over(wire, "/", &[]).unwrap()) as Box<dyn Wire>;
    let mut ways = vec![socket(), web(socket())];
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let secure = || Box::new(tls_over(socket(), &client)) as Box<dyn Wire>;
        // The last two with each byte in a record of its own.
        let dripping = || Box::new(Dripping(secure())) as Box<dyn Wire>;
        ways.extend([secure(), web(secure()), dripping(), web(dripping())]);
    }
    ways
}

#[test]
fn everything_is_spoken_on_one_port() {
    let pki = Pki::new();
    let served = serve(&pki);
    for version in VERSIONS {
        for wire in ways(&pki, &|| served.plain(ALL)) {
            let mut mqtt = Mqtt::connect(wire, version, "all");
            mqtt.ping();
            mqtt.bye();
        }
    }
    for wire in ways(&pki, &|| served.plain(ALL)) {
        let mut stomp = Stomp::connect(wire);
        stomp.say("/topic/all", b"x");
        stomp.bye();
    }
    Mqtt::connect(served.plain(FEW), V5, "few").bye();
    Stomp::connect(served.plain(FEW)).bye();
}

#[test]
fn first_bytes_may_come_one_by_one() {
    let pki = Pki::new();
    let served = serve(&pki);
    let dripping = || Box::new(Dripping(plain(served.address(ALL)))) as Box<dyn Wire>;
    for wire in ways(&pki, &dripping) {
        Mqtt::connect(wire, V5, "drips").bye();
    }
    for wire in ways(&pki, &dripping) {
        Stomp::connect(wire).bye();
    }
}

#[test]
fn a_stomp_client_may_begin_with_a_few_ends_of_lines_and_with_its_own_command() {
    let pki = Pki::new();
    let served = serve(&pki);
    let client = pki.connector(TLS_VERSIONS[1], None);
    for secure in [false, true] {
        for begin in ["\n", "\r\n\r\n", &"\n".repeat(60)] {
            for command in ["CONNECT\n", "CONNECT\r\n", "STOMP\n", "STOMP\r\n"] {
                let mut wire: Box<dyn Wire> =
                    if secure { Box::new(served.tls(ALL, &client)) } else { served.plain(ALL) };
                offer(&mut *wire, format!("{begin}{command}accept-version:1.2\nhost:/\n\n\0").as_bytes());
                let mut answer = [0; 9];
                std::io::Read::read_exact(&mut wire, &mut answer).unwrap();
                assert_eq!(&answer, b"CONNECTED");
            }
        }
    }
}

#[test]
fn what_is_unknown_is_refused_as_soon_as_it_shows() {
    let pki = Pki::new();
    let served = serve(&pki);
    let client = pki.connector(TLS_VERSIONS[1], None);
    let few = "neither of MQTT nor of STOMP";
    let lines = "\n".repeat(64);
    let cases: [(usize, &[u8], &str); 9] = [
        (ALL, b"\x20\x02", few),
        (ALL, &[0; 3], few),
        (ALL, b"SEND\n", few),
        (ALL, b"CONNECTED\n", few),
        (ALL, b"\xC0\x00", few),
        (ALL, b"SSH-2.0-OpenSSH_9.6\r\n", few),
        (ALL, lines.as_bytes(), few),
        (FEW, b"GET / HTTP/1.1\r\n", "this listener has no websocket path"),
        (FEW, &[22, 3, 1, 2, 0], "TLS is spoken, and this listener has none"),
    ];
    for (place, bytes, words) in cases {
        for secure in [false, true] {
            if secure && place == FEW {
                continue;
            }
            let mut wire: Box<dyn Wire> =
                if secure { Box::new(served.tls(ALL, &client)) } else { served.plain(place) };
            let before = counted(TRANSPORT);
            offer(&mut *wire, bytes);
            assert_eq!(rest(&mut *wire), b"", "{bytes:02x?}");
            told(wire.local(), words);
            more_than(TRANSPORT, before);
        }
    }
    // TLS in TLS is nobody's.
    let mut wire = served.tls(ALL, &client);
    offer(&mut wire, &[22, 3, 1, 2, 0]);
    assert_eq!(rest(&mut wire), b"");
    told(wire.local(), "connection refused");
}

#[test]
fn connect_timeout_ends_those_who_never_say_what_they_speak() {
    let pki = Pki::new();
    let served = Served::start(&format!(
        "{}
        [limits]
        connect_timeout = \"1s\"
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        websocket = \"/\"",
        pki.plant("")
    ));
    let begun: [&[u8]; 4] = [b"", b"\n", b"CONNEC", b"GE"];
    let mut wires: Vec<_> = begun
        .iter()
        .map(|bytes| {
            let mut wire = served.plain(0);
            offer(&mut *wire, bytes);
            wire
        })
        .collect();
    for wire in &mut wires {
        assert_eq!(rest(&mut **wire), b"");
        told(wire.local(), "connect");
    }
}
