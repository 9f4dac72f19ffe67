//! Handshakes are dear, and many come at once when a network comes back: the others' messages go on between them. And
//! who sends much at once is read in pieces, whatever lies between.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use noctule_core::id::Qos;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::kit::{Got, Mqtt, Pki, Served, TLS_VERSIONS, V5, Wire, plain, workers};

const HANDSHAKES: usize = 300;

/// Most handshakes that one round trip may see answered. Without a limit it is nearly all; with it a handful for each turn
/// of the worker's loop, of which a client that is kept waiting by this machine may miss a few.
const MOST_BETWEEN: usize = HANDSHAKES / 3;

fn hello(client: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::clone(client), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// How many handshakes were answered between two round trips, from the first to the last; `None` if nearly all were before
/// the first, so that nothing was to be seen.
fn answered_between(served: &Served, client: &Arc<ClientConfig>) -> Option<Vec<usize>> {
    let mut talks = Mqtt::connect(served.plain(1), V5, "talks");
    let mut sockets: Vec<(TcpStream, bool)> =
        (0..HANDSHAKES).map(|_| (plain(served.address(0)), false)).collect();
    talks.ping();
    let hellos: Vec<_> = sockets.iter().map(|_| hello(client)).collect();
    for ((socket, _), hello) in sockets.iter_mut().zip(&hellos) {
        socket.write_all(hello).unwrap();
        socket.set_nonblocking(true).unwrap();
    }
    let mut newly_answered = || {
        let waiting = sockets.iter_mut().filter(|(_, answered)| !answered);
        let answered = waiting.filter_map(|(socket, answered)| {
            *answered = matches!(socket.peek(&mut [0]), Ok(1));
            answered.then_some(())
        });
        answered.count()
    };
    let mut all = newly_answered();
    if all > HANDSHAKES / 4 {
        return None;
    }
    let mut between = Vec::new();
    while all < HANDSHAKES {
        talks.publish(Qos::AtLeastOnce, "on/and/on", b"x");
        let new = newly_answered();
        between.push(new);
        all += new;
    }
    talks.bye();
    Some(between)
}

#[test]
fn a_conversation_goes_on_between_three_hundred_handshakes() {
    let pki = Pki::new();
    let served = Served::start(&format!(
        "{}
        [store]
        durability = \"never\"
        [[listener]]
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        [[listener]]
        address = \"127.0.0.1:0\"",
        pki.plant("")
    ));
    for tls in TLS_VERSIONS {
        let client = pki.connector(tls, None);
        // This machine may be busy with other tests for a moment.
        let attempts = (0..5).filter_map(|_| answered_between(&served, &client));
        let best = attempts.min_by_key(|between| between.iter().max().copied());
        let between = best.expect("the handshakes were all done before anything could be seen");
        let most = between.iter().max().copied().unwrap_or(0);
        assert!(
            most <= MOST_BETWEEN,
            "{} workers, {:?}: a round trip has waited for {most} handshakes: {between:?}",
            workers(),
            tls.version
        );
    }
}

/// More than one turn takes, and than a rate of as many lets pass at once.
const BURST: usize = 1_500;

/// Sends a burst and its good-bye in one write; every message of it is answered.
fn is_answered_wholly(wire: Box<dyn Wire>, client_id: &str) {
    let mut client = Mqtt::connect(wire, V5, client_id);
    let mut burst = Vec::new();
    let ids: Vec<u16> = (0..BURST)
        .map(|_| {
            let (bytes, id) = client.publish_bytes(Qos::AtLeastOnce, "burst", b"x");
            burst.extend_from_slice(&bytes);
            id
        })
        .collect();
    client.raw(&burst);
    for id in ids {
        let got = client.until(|got| match got {
            Got::PubAck(id, _) => Some(*id),
            _ => None,
        });
        assert_eq!(got, id);
    }
    client.ping();
    client.bye();
}

#[test]
fn a_burst_is_taken_in_pieces_and_wholly_through_every_layer() {
    let pki = Pki::new();
    for limits in ["", "message_rate = 1000", "byte_rate = \"8KiB\""] {
        let served = Served::start(&format!(
            "{}
            [store]
            durability = \"never\"
            [limits]
            {limits}
            [[listener]]
            address = \"127.0.0.1:0\"
            [[listener]]
            address = \"127.0.0.1:0\"
            tls = \"plant\"
            [[listener]]
            address = \"127.0.0.1:0\"
            websocket = \"/mqtt\"",
            pki.plant("")
        ));
        is_answered_wholly(served.plain(0), "plain");
        for tls in TLS_VERSIONS {
            let client = pki.connector(tls, None);
            is_answered_wholly(Box::new(served.tls(1, &client)), &format!("{:?}", tls.version));
        }
        is_answered_wholly(Box::new(served.web(2, "/mqtt", "mqtt")), "web");
        served.stop();
    }
}
