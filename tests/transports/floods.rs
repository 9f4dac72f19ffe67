//! Connections that never become anything, by the hundred and of every kind at once, while somebody works: slow-loris on
//! CONNECT, TLS handshake, HTTP upgrade and PROXY header (CVE-2020-13849), and a thousand half-open ones of one address.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use noctule_core::id::Qos;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::kit::{
    Mqtt, Pki, Served, TLS_13, V5, V311, WAIT, connect_bytes, counted, more_than, plain, within,
};

/// Of each kind.
const MANY: usize = 40;

/// One byte in this time, from each. A deadline that began anew with every byte would never pass.
const DRIP: Duration = Duration::from_millis(100);

/// A socket that sends a little now and then, and what it will send.
struct Drips {
    socket: TcpStream,
    bytes: Box<dyn Iterator<Item = u8> + Send>,
    sent: usize,
}

impl Drips {
    fn new(address: SocketAddr, bytes: impl Iterator<Item = u8> + Send + 'static) -> Self {
        let socket = plain(address);
        socket.set_nonblocking(true).unwrap();
        Self { socket, bytes: Box::new(bytes), sent: 0 }
    }

    /// Whether the broker has ended it.
    fn is_over(&mut self) -> bool {
        match self.socket.read(&mut [0; 1024]) {
            Ok(0) => true,
            // What it is told before the end.
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn drip(&mut self) {
        let byte = self.bytes.next().expect("so long it may not last");
        self.sent += usize::from(self.socket.write(&[byte]).is_ok());
    }
}

/// Tells the one who works that it is over, even if the test fails.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// How many messages somebody has published and got back while `mischief` went on.
fn meanwhile(served: &Served, place: usize, mischief: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let works = scope.spawn(|| {
            let mut client = Mqtt::connect(served.plain(place), V5, "works");
            client.subscribe(Qos::AtLeastOnce, "works");
            let mut trips = 0;
            while !over.load(Relaxed) {
                client.publish(Qos::AtLeastOnce, "works", b"x");
                client.take();
                trips += 1;
            }
            trips
        });
        {
            let _told = Told(&over);
            mischief();
        }
        works.join().expect("who works has noticed")
    })
}

#[test]
fn whoever_drips_is_ended_whatever_it_is_and_nobody_else_notices() {
    let pki = Pki::new();
    let served = Served::start(&format!(
        "{}
        [limits]
        connect_timeout = \"4s\"
        [[listener]]
        address = \"127.0.0.1:0\"
        [[listener]]
        address = \"127.0.0.1:0\"
        tls = \"plant\"
        [[listener]]
        address = \"127.0.0.1:0\"
        websocket = \"/mqtt\"
        [[listener]]
        address = \"127.0.0.1:0\"
        proxy_from = [\"127.0.0.1\"]
        [[listener]]
        protocol = \"stomp\"
        address = \"127.0.0.1:0\"
        [[listener]]
        protocol = \"auto\"
        address = \"127.0.0.1:0\"",
        pki.plant("")
    ));
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(pki.connector(TLS_13, None), name).unwrap().write_tls(&mut hello).unwrap();
    // A CONNECT of 30,000 bytes, of which the client id is most.
    let connect = [0x10, 0xB0, 0xEA, 0x01, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0x75, 0x22];
    let head = || b"GET /mqtt HTTP/1.1\r\n".iter().copied().chain(b"X: yy\r\n".iter().copied().cycle());
    let stomp = || b"CONNECT\n".iter().copied().chain(b"a:b\n".iter().copied().cycle());
    let refusals = "noctule_refusals_total{connect_timeout}";
    let before = counted(refusals);
    let mut all = Vec::new();
    for _ in 0..MANY {
        let long = connect.into_iter().chain(std::iter::repeat(b'x'));
        all.push(Drips::new(served.address(0), long));
        all.push(Drips::new(served.address(1), hello.clone().into_iter()));
        all.push(Drips::new(served.address(2), head()));
        all.push(Drips::new(served.address(3), b"PROXY TCP6 ".iter().copied().chain(b"0:".repeat(40))));
        all.push(Drips::new(served.address(4), stomp()));
        all.push(Drips::new(served.address(5), stomp()));
    }
    let kinds = all.len();
    let mut ended = Vec::new();
    let trips = meanwhile(&served, 0, || {
        let deadline = Instant::now() + WAIT;
        while !all.is_empty() {
            assert!(Instant::now() < deadline, "{} of {kinds} still drip", all.len());
            for drips in &mut all {
                drips.drip();
            }
            std::thread::sleep(DRIP);
            for at in (0..all.len()).rev() {
                if all[at].is_over() {
                    ended.push(all.swap_remove(at).sent);
                }
            }
        }
    });
    assert_eq!(ended.len(), kinds);
    // None was refused for what it had sent: it was the time that was over.
    assert!(ended.iter().all(|sent| *sent > 3), "{ended:?}");
    within("all are counted", || (counted(refusals) >= before + kinds as u64).then_some(()));
    assert!(trips >= 20, "who works has had {trips} messages only");
}

#[test]
fn a_thousand_half_open_connections_of_one_address_keep_no_other_out() {
    const PLACES: usize = 100;
    let served = Served::start(&format!(
        "[limits]
        connect_timeout = \"3s\"
        max_connections = {}
        max_connections_per_address = {PLACES}
        [[listener]]
        address = \"127.0.0.1:0\"",
        PLACES * 2
    ));
    let refusals = "noctule_connections_turned_away_total{limits.max_connections_per_address}";
    let before = counted(refusals);
    // The whole of 127.0.0.0/8 is this machine.
    let elsewhere = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        socket.connect(&served.address(0).into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream
    };
    let half = &connect_bytes(V311, "half")[..7];
    let mut open = Vec::new();
    for number in 0..1_000 {
        let mut socket = plain(served.address(0));
        let _ = socket.write_all(half);
        socket.set_nonblocking(true).unwrap();
        open.push(socket);
        if number % 100 == 99 {
            let mut client = Mqtt::connect(elsewhere(), V5, "elsewhere");
            client.publish(Qos::AtLeastOnce, "a", b"x");
            // Those that no worker has come round to yet look open too.
            within("the others of that address are turned away", || {
                open.retain_mut(
                    |socket| matches!(socket.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock),
                );
                (open.len() <= PLACES).then_some(())
            });
            client.bye();
        }
    }
    more_than(refusals, before);
    // Their places are free again when their time is over.
    within("a place", || {
        let mut socket = plain(served.address(0));
        let _ = socket.write_all(&connect_bytes(V311, "comes late"));
        matches!(socket.read(&mut [0; 4]), Ok(4)).then_some(())
    });
}
