//! Another configuration while clients are connected: listeners come and go, certificates change, mistakes change
//! nothing.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::Duration;

use noctule_core::id::Qos;
use rustls::pki_types::CertificateDer;

use crate::kit::{
    Got, Mqtt, Pki, Served, Stomp, TLS_VERSIONS, TlsWire, V5, V311, Wire, offer, plain, rest, tls_over, unix,
    web_over, within,
};

const STORE: &str = "[store]\ndurability = \"never\"\n";

/// A listener on a port that the system chooses; the address is what a reload knows it by.
fn listener(address: &str, more: &str) -> String {
    format!("[[listener]]\naddress = \"{address}\"\n{more}\n")
}

/// Waits until nobody listens there.
#[track_caller]
fn is_let_go(address: std::net::SocketAddr) {
    within("nobody listens there", || TcpStream::connect(address).is_err().then_some(()));
}

#[test]
fn listeners_come_and_go_and_the_others_stay() {
    let pki = Pki::new();
    let stays = listener("127.0.0.1:0", "");
    let goes = [
        listener("127.0.0.2:0", ""),
        listener("127.0.0.3:0", "protocol = \"stomp\""),
        listener("127.0.0.4:0", "protocol = \"auto\"\ntls = \"plant\"\nwebsocket = \"/\""),
    ]
    .concat();
    let comes = listener("127.0.0.5:0", "protocol = \"auto\"\ntls = \"plant\"\nwebsocket = \"/\"");
    let plant = pki.plant("");
    let mut served = Served::start(&format!("{STORE}{plant}{stays}{goes}"));
    let client = pki.connector(TLS_VERSIONS[1], None);
    let gone: Vec<_> = (0..4).map(|place| served.address(place)).collect();
    let mut same = Mqtt::connect(served.plain(0), V5, "same");
    same.subscribe(Qos::AtLeastOnce, "same");
    // Connections of every kind to those that go; some clients have moved to another worker.
    let secure = || Box::new(served.tls(3, &client)) as Box<dyn Wire>;
    let web = |wire| Box::new(web_over(wire, "/", &[]).unwrap()) as Box<dyn Wire>;
    let wires = || [served.plain(1), served.plain(3), secure(), web(served.plain(3)), web(secure())];
    let mut new: Vec<_> = (0..4)
        .flat_map(|round| {
            wires().into_iter().enumerate().map(move |(at, wire)| (format!("new-{round}-{at}"), wire))
        })
        .map(|(id, wire)| Mqtt::connect(wire, V5, &id))
        .collect();
    let mut old: Vec<_> = wires()
        .into_iter()
        .enumerate()
        .map(|(at, wire)| Mqtt::connect(wire, V311, &format!("old-{at}")))
        .collect();
    let mut stomps: Vec<_> =
        [served.plain(2), secure(), web(secure())].into_iter().map(Stomp::connect).collect();
    let mut handshaking = served.plain(3);
    offer(&mut *handshaking, &[22, 3, 1]);

    let changes = served.reload(&format!("{STORE}{plant}{stays}{comes}")).unwrap();
    assert_eq!(changes.len(), 4, "{changes:?}");
    for client in &mut new {
        client.is_refused(0x98);
    }
    old.iter_mut().for_each(Mqtt::is_closed);
    stomps.iter_mut().for_each(Stomp::is_refused);
    assert_eq!(rest(&mut *handshaking), b"");
    gone[1..].iter().copied().for_each(is_let_go);

    assert_eq!(served.listeners(), 2);
    assert_eq!(served.address(0), gone[0], "the socket that was there");
    same.publish(Qos::AtLeastOnce, "same", b"still here");
    assert_eq!(same.take().text(), "still here");
    Mqtt::connect(served.plain(0), V5, "another").bye();
    Stomp::connect(web(Box::new(served.tls(1, &client)))).bye();
    // And back again: no place is taken twice.
    served.reload(&format!("{STORE}{plant}{comes}{goes}")).unwrap();
    same.is_refused(0x98);
    Mqtt::connect(served.tls(0, &client), V5, "moved in the file").bye();
    for place in [1, 3] {
        Mqtt::connect(served.plain(place), V5, "back").bye();
    }
    Stomp::connect(served.plain(2)).bye();
}

/// The certificate that the server shows now.
#[track_caller]
fn shown(wire: &mut TlsWire) -> CertificateDer<'static> {
    while wire.conn.is_handshaking() {
        wire.conn.complete_io(&mut wire.sock).unwrap();
    }
    wire.conn.peer_certificates().unwrap()[0].clone()
}

#[test]
fn certificates_change_under_connections_that_stay() {
    let pki = Pki::new();
    let toml = format!("{STORE}{}{}", pki.plant(""), listener("127.0.0.1:0", "tls = \"plant\""));
    let mut served = Served::start(&toml);
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        let mut before = Mqtt::connect(served.tls(0, &client), V5, "before");
        before.subscribe(Qos::AtLeastOnce, "certificates");
        let old = shown(&mut before.wire);
        // Begun with the old one: it is ended with it.
        let socket = plain(served.address(0));
        let looks = socket.try_clone().unwrap();
        let mut halfway = tls_over(Box::new(socket), &client);
        halfway.conn.write_tls(&mut halfway.sock).unwrap();
        // It has begun when the ServerHello is there, which stays unread.
        assert_eq!(looks.peek(&mut [0]).unwrap(), 1);
        pki.issue("server", "localhost");
        assert_eq!(served.reload(&toml).unwrap(), [], "no key of the file");
        let mut after = within("the new certificate is shown", || {
            let mut wire = served.tls(0, &client);
            (shown(&mut wire) != old).then_some(wire)
        });
        assert!(shown(&mut halfway) == old);
        Mqtt::connect(halfway, V5, "halfway").bye();
        let after_certificate = shown(&mut after);
        let mut after = Mqtt::connect(after, V5, "after");
        after.publish(Qos::AtLeastOnce, "certificates", b"to the old");
        assert_eq!(before.take().text(), "to the old");
        assert!(after_certificate != old);
        before.bye();
        after.bye();
    }
}

#[test]
fn what_a_listener_speaks_below_its_protocol_changes_for_new_connections() {
    let pki = Pki::new();
    let toml = |more: &str| format!("{STORE}{}{}", pki.plant(""), listener("127.0.0.1:0", more));
    let mut served = Served::start(&toml(""));
    let address = served.address(0);
    let mut before = Mqtt::connect(served.plain(0), V5, "before");
    served.reload(&toml("tls = \"plant\"")).unwrap();
    let client = pki.connector(TLS_VERSIONS[1], None);
    within("TLS is spoken", || {
        let mut wire = served.tls(0, &client);
        wire.conn.complete_io(&mut wire.sock).is_ok().then_some(())
    });
    before.ping();
    served.reload(&toml("websocket = \"/here\"")).unwrap();
    within("WebSocket is spoken", || {
        let mut wire = served.plain(0);
        offer(&mut *wire, b"GET /there HTTP/1.1\r\nHost: a\r\n\r\n");
        rest(&mut *wire).starts_with(b"HTTP/1.1 ").then_some(())
    });
    Mqtt::connect(web_over(served.plain(0), "/here", &[]).unwrap(), V5, "web").bye();
    before.ping();
    assert_eq!(served.address(0), address);
    served.reload(&toml("")).unwrap();
    within("neither is", || {
        let mut wire = served.plain(0);
        offer(&mut *wire, &[0xC0, 0]);
        rest(&mut *wire);
        let said =
            crate::kit::said(&[&format!("peer={} ", wire.local()), "CONNECT must be the first packet"]);
        (!said.is_empty()).then_some(())
    });
    before.bye();
}

#[test]
fn a_mistake_changes_nothing() {
    let pki = Pki::new();
    let plant = pki.plant("");
    let good = format!("{STORE}{plant}{}", listener("127.0.0.1:0", "tls = \"plant\""));
    let mut served = Served::start(&good);
    let client = pki.connector(TLS_VERSIONS[1], None);
    let mut connected = Mqtt::connect(served.tls(0, &client), V5, "connected");
    let certificate = shown(&mut connected.wire);
    let address = served.address(0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = pki.path("socket");
    let new = listener(&format!("unix:{}", path.display()), "");
    let port = listener(&taken.local_addr().unwrap().to_string(), "");
    let elsewhere = listener("192.0.2.1:1883", "anonymous = true");
    fs::write(pki.path("users-none"), "no user's line\n").unwrap();
    let no_users =
        format!("[auth]\nchain = [\"password\"]\npassword_file = {:?}\n", pki.path("users-missing"));
    let other_ca = format!("client_certificates = \"required\"\nclient_ca = {:?}", pki.path("server.key"));
    // Each has a new listener in front, which must not stay.
    let mistakes = [
        (format!("{STORE}{plant}{new}{port}"), "another program"),
        (format!("{STORE}{plant}{new}{elsewhere}"), "this machine has no such address"),
        (
            format!("{STORE}{plant}{new}{}", listener("systemd:none", "anonymous = true")),
            "systemd has opened no socket",
        ),
        (format!("{STORE}{}{new}", plant.replace("server.pem", "missing.pem")), "missing.pem"),
        (format!("{STORE}{}{new}", plant.replace("server.pem", "ca.pem")), "ca.pem"),
        (format!("{STORE}{}{new}", pki.plant(&other_ca)), "server.key"),
        (format!("{STORE}{plant}{no_users}{new}"), "users-missing"),
    ];
    for (toml, words) in &mistakes {
        let error = served.reload(toml).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(!path.exists(), "{words}: the new listener stayed");
        assert_eq!((served.listeners(), served.address(0)), (1, address));
        connected.ping();
        let mut another = served.tls(0, &client);
        assert!(shown(&mut another) == certificate);
        Mqtt::connect(another, V5, "another").bye();
    }
    // A key that does not go with its certificate.
    let key = fs::read(pki.path("server.key")).unwrap();
    pki.issue("other", "localhost");
    fs::copy(pki.path("other.key"), pki.path("server.key")).unwrap();
    assert!(served.reload(&good).unwrap_err().contains("server.key"));
    Mqtt::connect(served.tls(0, &client), V5, "another").bye();
    fs::write(pki.path("server.key"), key).unwrap();
    // Mended.
    served.reload(&format!("{good}{new}")).unwrap();
    within("the new listener", || path.exists().then_some(()));
    Mqtt::connect(unix(&path), V5, "unix").bye();
    served.reload(&good).unwrap();
    within("it is taken away", || (!path.exists()).then_some(()));
    connected.bye();
}

#[test]
fn an_address_that_the_broker_itself_is_in_the_way_of_is_said_to_be() {
    let all = "anonymous = true";
    let mut served = Served::start(&format!("{STORE}{}", listener("0.0.0.0:0", all)));
    let port = served.address(0).port();
    let error =
        served.reload(&format!("{STORE}{}", listener(&format!("127.0.0.1:{port}"), all))).unwrap_err();
    let words = format!("can't listen on 127.0.0.1:{port}: this broker itself listens on 0.0.0.0:{port}");
    assert!(error.contains(&words) && error.contains("restart"), "{error}");
    Mqtt::connect(served.plain(0), V5, "as before").bye();
}

#[test]
fn certificates_do_not_change_with_a_configuration_that_is_refused() {
    let pki = Pki::new();
    let plant = pki.plant("");
    let good = format!("{STORE}{plant}{}", listener("127.0.0.1:0", "tls = \"plant\""));
    let mut served = Served::start(&good);
    let client = pki.connector(TLS_VERSIONS[1], None);
    let old = shown(&mut served.tls(0, &client));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener(&taken.local_addr().unwrap().to_string(), "");
    let nobody = format!("[auth]\nchain = [\"password\"]\npassword_file = {:?}\n", pki.path("none"));
    pki.issue("server", "localhost");
    for mistake in [format!("{good}{port}"), format!("{nobody}{good}")] {
        served.reload(&mistake).unwrap_err();
        assert!(shown(&mut served.tls(0, &client)) == old, "{mistake}");
    }
    served.reload(&good).unwrap();
    assert!(shown(&mut served.tls(0, &client)) != old);
}

/// Listeners and certificates change all the time; whoever is connected loses no message and no connection.
#[test]
fn nothing_is_lost_under_load() {
    const PAIRS: usize = 4;
    const MESSAGES: u32 = 1_500;
    let pki = Pki::new();
    let stays = [
        listener("127.0.0.1:0", "tls = \"plant\""),
        listener("127.0.0.2:0", ""),
        listener("127.0.0.3:0", "websocket = \"/\""),
    ]
    .concat();
    let toml = |more: &str| format!("{STORE}{}{stays}{more}", pki.plant(""));
    let mut served = Served::start(&toml(""));
    let client = pki.connector(TLS_VERSIONS[1], None);
    let wire = |number: usize, served: &Served| -> Box<dyn Wire> {
        match number % 3 {
            0 => Box::new(served.tls(0, &client)),
            1 => served.plain(1),
            _ => Box::new(web_over(served.plain(2), "/", &[]).unwrap()),
        }
    };
    let pairs: Vec<_> = (0..PAIRS)
        .map(|number| {
            let mut subscriber = Mqtt::connect(wire(number, &served), V5, &format!("reads-{number}"));
            subscriber.subscribe(Qos::AtLeastOnce, &format!("load/{number}"));
            (subscriber, Mqtt::connect(wire(number + 1, &served), V5, &format!("writes-{number}")))
        })
        .collect();
    let done = AtomicBool::new(false);
    let reloads = scope(|scope| {
        let mut threads = Vec::new();
        for (number, (mut subscriber, mut publisher)) in pairs.into_iter().enumerate() {
            threads.push(scope.spawn(move || {
                for at in 0..MESSAGES {
                    publisher.publish(Qos::AtLeastOnce, &format!("load/{number}"), at.to_string().as_bytes());
                }
                publisher.bye();
            }));
            threads.push(scope.spawn(move || {
                for at in 0..MESSAGES {
                    assert_eq!(subscriber.take().text(), at.to_string());
                }
                subscriber.ping();
                subscriber.bye();
            }));
        }
        let reloading = scope.spawn(|| {
            let (coming, mut reloads) = (listener("127.0.0.4:0", ""), 0);
            while !done.load(Relaxed) {
                pki.issue("server", "localhost");
                served.reload(&toml(if reloads % 2 == 0 { &coming } else { "" })).unwrap();
                if reloads % 2 == 0 {
                    // It serves, and goes under whoever is there.
                    let mut comer = Mqtt::new(served.plain(3), V5);
                    offer(&mut comer.wire, &crate::kit::connect_bytes(V5, "comer"));
                }
                reloads += 1;
                sleep(Duration::from_millis(5));
            }
            reloads
        });
        let ended: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Relaxed);
        let reloads = reloading.join().unwrap();
        ended.into_iter().for_each(|ended| ended.unwrap());
        reloads
    });
    assert!(reloads >= 10, "{reloads} reloads only");
}

/// Whoever comes right behind the reload is served, to whichever worker its session belongs.
#[test]
fn a_new_listener_serves_from_its_first_connection_on() {
    let stays = listener("127.0.0.1:0", "");
    let mut served = Served::start(&format!("{STORE}{stays}"));
    for round in 0..20 {
        let comes = listener("127.0.0.2:0", "");
        served.reload(&format!("{STORE}{stays}{comes}")).unwrap();
        for number in 0..8 {
            let id = format!("first-{round}-{number}");
            let mut mqtt = Mqtt::new(served.plain(1), V5);
            offer(&mut mqtt.wire, &crate::kit::connect_bytes(V5, &id));
            match mqtt.next() {
                Got::ConnAck(welcome) => assert_eq!(welcome.reason, 0, "{id}"),
                other => panic!("{id}: {other:?}"),
            }
        }
        served.reload(&format!("{STORE}{stays}")).unwrap();
    }
}
