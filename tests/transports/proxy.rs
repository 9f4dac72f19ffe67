//! PROXY headers (THREATS 15): whom they name counts everywhere, and nobody but a known proxy may send one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use noctule_mqtt::Connect;

use crate::kit::{
    Mqtt, Pki, Served, TLS_VERSIONS, TRANSPORT, V5, V311, WAIT, Wire, connect_bytes, counted, more_than,
    offer, rest, said, told, web_over, within,
};

/// From where the proxy connects; tests themselves are strangers.
const PROXY: [u8; 4] = [127, 0, 0, 2];

const FROM: &str = "10.1.2.3:51234";

fn serve(pki: &Pki, more: &str) -> Served {
    Served::start(&format!(
        "{}
        [store]
        durability = \"never\"
        [[listener]]
        address = \"127.0.0.1:0\"
        proxy_from = [\"127.0.0.2\"]
        anonymous = true
        [[listener]]
        address = \"127.0.0.1:0\"
        proxy_from = [\"127.0.0.2\"]
        anonymous = \"loopback\"
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"
        proxy_from = [\"127.0.0.2\"]
        anonymous = true
        tls = \"plant\"
        websocket = \"/\"
        {more}",
        pki.plant("")
    ))
}

const OPEN: usize = 0;
const LOOPBACK: usize = 1;
const LAYERS: usize = 2;

/// A connection of the proxy.
#[track_caller]
fn from_proxy(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((PROXY, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn version_1(from: &str) -> Vec<u8> {
    let from: SocketAddr = from.parse().unwrap();
    let (family, to) = if from.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "fd00::1") };
    format!("PROXY {family} {} {to} {} 1883\r\n", from.ip(), from.port()).into_bytes()
}

fn version_2(from: &str) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match from.parse().unwrap() {
        SocketAddr::V4(from) => {
            header.extend([0x11, 0, 12]);
            header.extend(from.ip().octets());
            header.extend([10, 0, 0, 1]);
            header.extend(from.port().to_be_bytes());
        }
        SocketAddr::V6(from) => {
            header.extend([0x21, 0, 36]);
            header.extend(from.ip().octets());
            header.extend([0; 16]);
            header.extend(from.port().to_be_bytes());
        }
    }
    header.extend([7, 0x5B]);
    header
}

/// LOCAL: the proxy asks for itself.
const HEALTH_CHECK: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A connection through the proxy, for somebody.
#[track_caller]
fn through(served: &Served, place: usize, header: &[u8]) -> Box<dyn Wire> {
    let mut stream = from_proxy(served.address(place));
    stream.write_all(header).unwrap();
    Box::new(stream)
}

#[test]
fn whom_the_header_names_is_who_the_log_names() {
    let served = serve(&Pki::new(), "");
    for (header, from) in [
        (version_1("10.1.2.3:51001"), "10.1.2.3:51001"),
        (version_2("10.1.2.3:51002"), "10.1.2.3:51002"),
        (version_1("[fd00::7]:51003"), "[fd00::7]:51003"),
        (version_2("[fd00::7]:51004"), "[fd00::7]:51004"),
    ] {
        Mqtt::connect(through(&served, OPEN, &header), V5, "named").bye();
        let mut wire = through(&served, OPEN, &header);
        offer(&mut *wire, &[0xC0, 0]);
        rest(&mut *wire);
        told(from.parse().unwrap(), "connection refused");
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let served = serve(&Pki::new(), "");
    for header in [version_1(FROM), version_2(FROM)] {
        let stream = from_proxy(served.address(OPEN));
        let mut wire = crate::kit::Dripping(stream);
        wire.write_all(&header).unwrap();
        Mqtt::connect(wire, V5, "drips").bye();
    }
}

#[test]
fn anonymous_loopback_is_not_for_those_behind_a_proxy_of_this_machine() {
    let served = serve(&Pki::new(), "");
    for header in [version_1(FROM), version_2(FROM)] {
        let mut mqtt = Mqtt::new(through(&served, LOOPBACK, &header), V5);
        assert_eq!(mqtt.ask(&Connect::new(V5, "outside")).reason, 0x87);
        mqtt.is_closed();
    }
    // Nor for those of whom it says nothing: its own address is not where they are.
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let unspecified = [&b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"[..]].concat();
    for header in [unknown, unspecified, HEALTH_CHECK.to_vec()] {
        let mut mqtt = Mqtt::new(through(&served, LOOPBACK, &header), V5);
        assert_eq!(mqtt.ask(&Connect::new(V5, "somebody")).reason, 0x87, "{header:?}");
        mqtt.is_closed();
        Mqtt::connect(through(&served, OPEN, &header), V5, "somebody").bye();
    }
    // Who it says is of this machine is.
    Mqtt::connect(through(&served, LOOPBACK, &version_1("127.0.0.9:5")), V5, "inside").bye();
    // Without the proxy as well.
    Mqtt::connect(served.plain(LOOPBACK), V5, "inside").bye();
}

#[test]
fn connections_are_counted_where_they_come_from() {
    let served = serve(&Pki::new(), "[limits]\nmax_connections_per_address = 2");
    let connect = |from: &str, id: &str| Mqtt::connect(through(&served, OPEN, &version_2(from)), V5, id);
    let first = connect("10.1.2.3:1", "first");
    let _second = connect("10.1.2.3:2", "second");
    // The proxy's own address is free: these two count there no more.
    let _others = [connect("10.1.2.4:1", "other"), connect("10.1.2.4:2", "others")];
    let turned_away = "noctule_connections_turned_away_total{limits.max_connections_per_address}";
    let before = counted(turned_away);
    let mut third = through(&served, OPEN, &version_2("10.1.2.3:3"));
    offer(&mut *third, &connect_bytes(V5, "third"));
    assert_eq!(rest(&mut *third), b"");
    more_than(turned_away, before);
    told("10.1.2.3:3".parse().unwrap(), "connection turned away");
    // A place that is free again.
    first.bye();
    within("the place is given back", || {
        let mut wire = through(&served, OPEN, &version_2("10.1.2.3:4"));
        offer(&mut *wire, &connect_bytes(V311, "fourth"));
        let mut answer = [0; 4];
        wire.read_exact(&mut answer).is_ok().then_some(())
    });
}

/// Clients that never finish a handshake must not take the proxy's places from everybody else.
#[test]
fn handshakes_are_counted_where_they_come_from() {
    let pki = Pki::new();
    let served = serve(&pki, "[limits]\nmax_connections_per_address = 1");
    let comes = |from: &str| {
        let mut wire = through(&served, LAYERS, &version_2(from));
        offer(&mut *wire, &[22, 3, 1]);
        wire
    };
    let idle = comes("10.6.6.6:1000");
    // Others come in, as soon as the header has been read: until then it is the proxy who has come.
    let others = within("others come in", || {
        let mut wire = through(&served, LAYERS, &version_2("10.7.7.7:1"));
        offer(&mut *wire, &connect_bytes(V311, "others"));
        let mut answer = [0; 4];
        wire.read_exact(&mut answer).is_ok().then_some(wire)
    });
    // And more of the same do not.
    let mut second = comes("10.6.6.6:1001");
    assert_eq!(rest(&mut *second), b"");
    told("10.6.6.6:1001".parse().unwrap(), "connection turned away");
    drop((idle, others));
}

#[test]
fn a_proxy_without_a_header_is_refused() {
    let served = serve(&Pki::new(), "");
    let too_long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
    for bytes in [
        &connect_bytes(V5, "bare")[..],
        b"PROXY TCP4 1.2.3.4\r\n",
        &too_long,
        b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
    ] {
        let before = counted(TRANSPORT);
        let mut wire = through(&served, OPEN, bytes);
        assert_eq!(rest(&mut *wire), b"");
        told(wire.local(), "PROXY header");
        more_than(TRANSPORT, before);
    }
}

#[test]
fn a_stranger_s_header_is_a_bad_first_packet() {
    let served = serve(&Pki::new(), "");
    for header in [version_1(FROM), version_2(FROM)] {
        for place in [OPEN, LOOPBACK, LAYERS] {
            let mut wire = served.plain(place);
            offer(&mut *wire, &header);
            offer(&mut *wire, &connect_bytes(V5, "stranger"));
            assert_eq!(rest(&mut *wire), b"");
            // Under its own name.
            told(wire.local(), "connection refused");
        }
    }
    assert!(said(&["peer=10.1.2.3:51234", "stranger"]).is_empty());
}

#[test]
fn everything_comes_behind_a_header() {
    let pki = Pki::new();
    let served = serve(&pki, "");
    let client = pki.connector(TLS_VERSIONS[1], None);
    let bare = || through(&served, LAYERS, &version_2(FROM));
    let secure = || Box::new(crate::kit::tls_over(bare(), &client)) as Box<dyn Wire>;
    let web = |wire| Box::new(web_over(wire, "/", &[]).unwrap()) as Box<dyn Wire>;
    for wire in [bare(), secure(), web(bare()), web(secure())] {
        let mut mqtt = Mqtt::connect(wire, V5, "behind");
        mqtt.subscribe(Qos::AtLeastOnce, "behind");
        mqtt.publish(Qos::AtLeastOnce, "behind", b"all");
        assert_eq!(mqtt.take().text(), "all");
        // A refusal names the client, not the proxy.
        mqtt.raw(&connect_bytes(V5, "behind"));
        mqtt.is_refused(0x82);
    }
    within("four refusals", || {
        (said(&[&format!("peer={FROM} "), "protocol_error"]).len() >= 4).then_some(())
    });
    // So does the failure of a handshake.
    let mut wire = through(&served, LAYERS, &version_2("10.1.2.3:51777"));
    offer(&mut *wire, &[22, 3, 1, 0, 5, 1, 2, 3, 4, 5]);
    rest(&mut *wire);
    told("10.1.2.3:51777".parse().unwrap(), "TLS: client broke TLS");
}

#[test]
fn connect_timeout_ends_headers_that_do_not_end() {
    let served = serve(&Pki::new(), "[limits]\nconnect_timeout = \"1s\"");
    let started = Instant::now();
    let mut wires = [
        through(&served, OPEN, b""),
        through(&served, OPEN, b"PROXY TCP4 1"),
        through(&served, OPEN, &version_1(FROM)),
    ];
    for wire in &mut wires {
        assert_eq!(rest(&mut **wire), b"");
        assert!(started.elapsed() >= Duration::from_millis(900));
    }
    assert!(started.elapsed() < WAIT);
}
