//! What comes over a wire: bytes in any portions, damaged, foreign, endless.

use bytes::BytesMut;
use rustls::{AlertDescription, Error};

use super::kit::{BOTH, Pair, TLS13, World};
use crate::tls::{ClientCertificates, MAX_HANDSHAKE_BYTES, MAX_RECORD_BYTES, TlsEnd};

/// A world that asks for certificates, so that encrypted handshake messages come from the client too.
fn world() -> World {
    let mut world = World::new();
    world.settings.client_certificates = ClientCertificates::Required;
    world.settings.client_ca = Some(world.files.write("ca.pem", world.authority.pem()));
    world
}

#[test]
fn it_is_the_same_in_whatever_portions_it_comes() {
    let world = world();
    let issued = world.authority.below("between").client("press");
    let acceptor = world.acceptor();
    for version in BOTH {
        for portion in [1, 2, 3, 5, 7, 64, 1_000] {
            let mut client = world.client(&[version], Some(&issued));
            // Small records, so that handshake messages come in pieces too.
            client.max_fragment_size = Some(64);
            let mut pair = Pair::new(&acceptor, &client);
            let mut said = false;
            loop {
                pair.pump();
                let sent = std::mem::take(&mut pair.wire);
                if sent.is_empty() {
                    if said {
                        break;
                    }
                    assert!(!pair.session.is_handshaking());
                    pair.client.writer();
                    std::io::Write::write_all(&mut pair.client.writer(), &[b'x'; 1_000]).unwrap();
                    said = true;
                }
                for bytes in sent.chunks(portion) {
                    pair.wire.extend_from_slice(bytes);
                    pair.take().unwrap_or_else(|end| panic!("{version:?} by {portion}: {end}"));
                }
                assert!(pair.wire.is_empty(), "{} bytes are left", pair.wire.len());
                pair.hear().unwrap();
            }
            assert_eq!(pair.plain, [b'x'; 1_000], "{version:?} by {portion}");
            assert_eq!(pair.session.peer().unwrap().name.as_ref(), "press");
        }
    }
}

#[test]
fn a_message_cut_at_every_byte_arrives() {
    let world = World::new();
    for version in BOTH {
        let mut pair = world.established(&[version]);
        pair.says(b"first");
        pair.says(b"second");
        let length = pair.wire.len();
        pair.take().unwrap();
        for cut in 0..=length {
            pair.plain.clear();
            pair.says(b"first");
            pair.says(b"second");
            let rest = pair.wire.split_off(cut);
            let opened = pair.take().unwrap();
            assert!(opened.consumed <= cut && pair.wire.len() < MAX_RECORD_BYTES);
            pair.wire.extend_from_slice(&rest);
            pair.take().unwrap();
            assert_eq!((&pair.plain[..], pair.wire.len()), (&b"firstsecond"[..], 0), "{version:?} at {cut}");
        }
    }
}

#[test]
fn a_bit_changed_anywhere_in_a_record_is_noticed() {
    let world = World::new();
    let acceptor = world.acceptor();
    for version in BOTH {
        let client = world.client(&[version], None);
        let length = {
            let mut pair = Pair::new(&acceptor, &client).established();
            pair.says(b"measure");
            pair.wire.len()
        };
        for at in 0..length {
            let mut pair = Pair::new(&acceptor, &client).established();
            pair.says(b"measure");
            // In the length it would announce more than has come, for which one waits.
            pair.wire[at] ^= if at == 3 { 0x80 } else { 0x01 };
            let taken = pair.take();
            // TLS 1.3 reads neither type nor version from a header: both are the same in every record.
            if version == TLS13 && at < 3 && taken.is_ok() {
                assert_eq!(pair.plain, b"measure");
                continue;
            }
            assert_eq!(pair.plain, b"", "{version:?} at {at}");
            if at == 4 && taken.is_ok() {
                continue;
            }
            let end = taken.unwrap_err();
            assert!(["damaged", "protocol"].contains(&end.label()), "{version:?} at {at}: {end}");
            assert!(matches!(pair.hear(), Err(Error::AlertReceived(_))), "{version:?} at {at}: {end}");
            assert_eq!(pair.take(), Err(TlsEnd::Over));
            assert_eq!(pair.session.seal(b"x", &mut pair.out), Err(TlsEnd::Over));
        }
    }
}

#[test]
fn records_replayed_or_out_of_order_are_noticed() {
    let world = World::new();
    for version in BOTH {
        let mut pair = world.established(&[version]);
        pair.says(b"once");
        let copy = pair.wire.clone();
        pair.take().unwrap();
        pair.wire = copy;
        assert_eq!(pair.take(), Err(TlsEnd::Damaged));
        assert_eq!(pair.plain, b"once");
    }
}

#[test]
fn other_protocols_are_named_and_get_no_answer() {
    let world = World::new();
    let acceptor = world.acceptor();
    for (wire, why) in [
        (&b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"[..], "plain MQTT on a TLS port"),
        (b"CONNECT\naccept-version:1.2\n\n\0", "plain STOMP on a TLS port"),
        (b"GET / HTTP/1.1\r\n\r\n", "plain HTTP on a TLS port"),
    ] {
        // Whole, and byte by byte.
        for portion in [wire.len(), 1] {
            let mut session = acceptor.session().unwrap();
            let (mut plain, mut out, mut come) = (Vec::new(), BytesMut::new(), Vec::new());
            let end = wire.chunks(portion).find_map(|bytes| {
                come.extend_from_slice(bytes);
                session.open(&mut come, &mut plain, &mut out).err()
            });
            let end = end.unwrap();
            assert!(end.to_string().starts_with(why) && end.label() == "plain", "{end}");
            assert!(plain.is_empty() && out.is_empty());
        }
    }
}

#[test]
fn garbage_ends_the_connection_and_never_panics() {
    let world = world();
    let acceptor = world.acceptor();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut hello = Pair::new(&acceptor, &world.client);
    hello.pump();
    for round in 0..3_000 {
        let mut wire = hello.wire.clone();
        for _ in 0..=random() % 8 {
            let at = usize::try_from(random()).unwrap() % wire.len();
            match random() % 3 {
                0 => wire[at] = random() as u8,
                1 => wire.truncate(at.max(1)),
                _ => wire.insert(at, random() as u8),
            }
        }
        let mut session = acceptor.session().unwrap();
        let (mut plain, mut out) = (Vec::new(), BytesMut::new());
        let taken = session.open(&mut wire, &mut plain, &mut out);
        assert!(plain.is_empty());
        if taken.is_err() {
            assert_eq!(session.open(&mut wire, &mut plain, &mut out), Err(TlsEnd::Over), "round {round}");
        }
        session.close(&mut out);
    }
}

#[test]
fn a_header_that_announces_too_much_is_refused_at_once() {
    let world = World::new();
    let acceptor = world.acceptor();
    let mut session = acceptor.session().unwrap();
    let (mut plain, mut out) = (Vec::new(), BytesMut::new());
    let end = session.open(&mut [22, 3, 1, 0xff, 0xff], &mut plain, &mut out).unwrap_err();
    assert_eq!(end.to_string(), "client broke TLS: a record header announces more than a record may hold");
    for version in BOTH {
        let mut pair = world.established(&[version]);
        pair.wire.extend_from_slice(&[23, 3, 3, 0xff, 0xff]);
        assert_eq!(pair.take().unwrap_err().label(), "protocol");
        assert!(matches!(pair.hear(), Err(Error::AlertReceived(AlertDescription::DecodeError))));
        // The longest that is allowed is waited for.
        let mut pair = world.established(&[version]);
        let longest = u16::try_from(MAX_RECORD_BYTES - 6).unwrap().to_be_bytes();
        pair.wire.extend_from_slice(&[23, 3, 3, longest[0], longest[1]]);
        pair.wire.resize(MAX_RECORD_BYTES - 2, 0);
        assert_eq!(pair.take().unwrap().consumed, 0);
        pair.wire.push(0);
        assert!(pair.take().is_err());
    }
}

/// A ClientHello that is said to have 60,000 bytes, in records of 1,000.
fn endless() -> Vec<u8> {
    let mut message = vec![1, 0, 0xea, 0x60, 3, 3];
    message.resize(60_000, 0);
    let records = message.chunks(1_000).map(|body| {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, length[0], length[1]], body].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[test]
fn an_endless_handshake_message_is_not_waited_for() {
    let world = World::new();
    let mut session = world.acceptor().session().unwrap();
    let (mut plain, mut out, mut wire) = (Vec::new(), BytesMut::new(), Vec::new());
    for record in endless().chunks(1_005) {
        wire.extend_from_slice(record);
        match session.open(&mut wire, &mut plain, &mut out) {
            Ok(opened) => assert_eq!(opened.consumed, 0),
            Err(end) => {
                assert!(matches!(end, TlsEnd::TooLong(_)), "{end}");
                assert!((MAX_HANDSHAKE_BYTES..MAX_HANDSHAKE_BYTES + 1_100).contains(&wire.len()));
                return;
            }
        }
    }
    panic!("{} bytes were waited for", wire.len());
}

#[test]
fn key_updates_and_empty_records_are_bounded() {
    let world = World::new();
    let acceptor = world.acceptor();
    // 32 in a row without a word between them is what rustls allows.
    let mut pair = Pair::new(&acceptor, &world.client(&[TLS13], None)).established();
    for _ in 0..32 {
        pair.client.refresh_traffic_keys().unwrap();
    }
    pair.pump();
    pair.take().unwrap();
    pair.says(b"still here");
    pair.take().unwrap();
    assert_eq!(pair.plain, b"still here");
    pair.session.seal(b"so are we", &mut pair.out).unwrap();
    assert_eq!(pair.hear().unwrap(), b"so are we");
    for _ in 0..33 {
        pair.client.refresh_traffic_keys().unwrap();
    }
    pair.pump();
    let end = pair.take().unwrap_err();
    assert!(
        ["too many key updates without data", "without content"]
            .iter()
            .any(|why| end.to_string().contains(why)),
        "{end}"
    );

    // With a byte between them: rustls allows it for ever, and so do we, because there is as much of the one as of the
    // other.
    let mut pair = Pair::new(&acceptor, &world.client(&[TLS13], None)).established();
    for _ in 0..500 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.says(b"x");
        pair.take().unwrap();
        pair.out.clear();
    }
    // Two for each byte: not for ever.
    let refused = (0..500).find_map(|round| {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.refresh_traffic_keys().unwrap();
        pair.says(b"x");
        pair.take().err().map(|end| (round, end))
    });
    let (round, end) = refused.expect("a flood is not noticed");
    assert!(matches!(end, TlsEnd::Flood(_)) && (60..70).contains(&round), "{round}: {end}");
}
