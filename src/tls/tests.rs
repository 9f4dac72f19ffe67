//! Handshakes and conversations with a client of rustls's, in memory. Files, reloading and damage have rooms of their own.

mod clients;
mod files;
mod forged;
mod kit;
mod reload;
mod wire;

use rcgen::PKCS_ED25519;
use rustls::{AlertDescription, Error, SignatureScheme};

use super::*;
use kit::{Authority, BOTH, Pair, TLS12, TLS13, World, server, trusting, trusting_with};

#[test]
fn both_versions_speak_in_both_directions() {
    let world = World::new();
    for (version, name) in [(TLS12, "1.2"), (TLS13, "1.3")] {
        let mut pair = world.established(&[version]);
        assert_eq!(pair.session.version(), Some(name));
        assert!(pair.session.cipher().unwrap().starts_with("TLS"), "{:?}", pair.session.cipher());
        assert_eq!(pair.session.server_name(), Some("localhost"));
        assert_eq!(pair.session.peer(), None);
        pair.says(b"hello");
        let opened = pair.take().unwrap();
        assert!(opened.established && !opened.closed);
        assert_eq!((&pair.plain[..], pair.wire.len()), (&b"hello"[..], 0));
        pair.out.extend_from_slice(b"");
        pair.session.seal(b"welcome", &mut pair.out).unwrap();
        assert_eq!(pair.hear().unwrap(), b"welcome");
    }
}

#[test]
fn what_is_sealed_is_appended_and_of_any_size() {
    let world = World::new();
    for version in BOTH {
        let mut pair = world.established(&[version]);
        let mut all = Vec::new();
        for length in [0, 1, 16_383, 16_384, 16_385, 100_000] {
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            pair.session.seal(&text, &mut pair.out).unwrap();
            all.extend_from_slice(&text);
        }
        assert!(pair.hear().unwrap() == all);
        // And back, as several records in one read.
        pair.client.set_buffer_limit(None);
        pair.says(&all);
        while !pair.wire.is_empty() {
            assert!(pair.take().unwrap().consumed > 0);
            pair.pump();
        }
        assert!(pair.plain == all);
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake_and_after_the_end() {
    let world = World::new();
    let mut pair = Pair::new(&world.acceptor(), &world.client);
    assert!(pair.session.is_handshaking());
    assert!(matches!(pair.session.seal(b"x", &mut pair.out), Err(TlsEnd::Internal(_))));
    pair.session.close(&mut pair.out);
    assert!(pair.out.is_empty());
    let mut pair = world.established(&BOTH);
    assert!(!pair.session.is_handshaking());
    pair.session.close(&mut pair.out);
    assert_eq!(pair.session.seal(b"x", &mut pair.out), Err(TlsEnd::Over));
    assert_eq!(pair.session.open(&mut [], &mut pair.plain, &mut pair.out), Err(TlsEnd::Over));
}

#[test]
fn each_side_can_say_that_nothing_follows() {
    let world = World::new();
    for version in BOTH {
        let mut pair = world.established(&[version]);
        pair.session.seal(b"last words", &mut pair.out).unwrap();
        pair.session.close(&mut pair.out);
        let out = pair.out.split();
        let mut rest = &out[..];
        pair.client.read_tls(&mut rest).unwrap();
        let state = pair.client.process_new_packets().unwrap();
        assert!(state.peer_has_closed() && state.plaintext_bytes_to_read() == 10);

        let mut pair = world.established(&[version]);
        pair.says(b"last words");
        pair.client.send_close_notify();
        pair.pump();
        pair.wire.extend_from_slice(b"what comes after is ignored");
        let opened = pair.take().unwrap();
        assert!(opened.closed && opened.established);
        assert_eq!((&pair.plain[..], pair.wire.len()), (&b"last words"[..], 0));
        // It has only stopped talking.
        pair.session.seal(b"answer", &mut pair.out).unwrap();
        assert_eq!(pair.hear().unwrap(), b"answer");
        pair.wire.extend_from_slice(b"more");
        assert!(pair.take().unwrap().closed && pair.wire.is_empty());
    }
}

#[test]
fn the_certificate_is_chosen_by_the_name_asked_for() {
    let mut world = World::new();
    for (file, names) in [("plant", &["*.plant.example"][..]), ("hmi", &["hmi.plant.example"])] {
        let pair = world.files.pair(file, &world.authority.server(names));
        world.settings.certificates.push(pair);
    }
    let acceptor = world.acceptor();
    for version in BOTH {
        for name in ["localhost", "press.plant.example", "hmi.plant.example", "HMI.Plant.Example"] {
            // The client checks the name itself.
            let pair = Pair::asking(&acceptor, &world.client(&[version], None), name).established();
            assert_eq!(pair.session.server_name(), Some(name.to_ascii_lowercase().as_str()));
        }
        for name in ["plant.example", "a.b.plant.example", "elsewhere.example"] {
            let (end, _) = Pair::asking(&acceptor, &world.client(&[version], None), name).fails();
            assert_eq!(end.label(), "alert", "{name}: {end}");
        }
    }
}

#[test]
fn a_client_gets_a_certificate_that_it_can_verify() {
    let mut world = World::new();
    let other = world.authority.issue_with(&server(&["localhost"]), &PKCS_ED25519);
    let other = world.files.pair("other", &other);
    world.settings.certificates.push(other);
    let acceptor = world.acceptor();
    for version in BOTH {
        let mut pair = Pair::new(&acceptor, &world.client(&[version], None)).established();
        let first = pair.client.peer_certificates().unwrap()[0].clone();
        let mut provider = rustls::crypto::ring::default_provider();
        let algorithms = &mut provider.signature_verification_algorithms;
        algorithms.mapping = Vec::leak(
            algorithms
                .mapping
                .iter()
                .copied()
                .filter(|(scheme, _)| *scheme == SignatureScheme::ED25519)
                .collect(),
        );
        let client = trusting_with(provider, &world.authority, &[version], None);
        pair = Pair::new(&acceptor, &client).established();
        assert_ne!(pair.client.peer_certificates().unwrap()[0], first);
    }
}

#[test]
fn sessions_are_really_resumed_and_only_with_tickets() {
    let mut world = World::new();
    for (tickets, resumes) in [(Tickets::Issued, true), (Tickets::None, false)] {
        world.settings.tickets = tickets;
        let acceptor = world.acceptor();
        for version in BOTH {
            let client = world.client(&[version], None);
            assert!(!Pair::new(&acceptor, &client).established().session.is_resumed());
            for _ in 0..2 {
                let pair = Pair::new(&acceptor, &client).established();
                assert_eq!(pair.session.is_resumed(), resumes, "{version:?} {tickets:?}");
                assert_eq!(pair.session.server_name(), Some("localhost"));
            }
            // Another listener knows nothing of it.
            assert!(!Pair::new(&world.acceptor(), &client).established().session.is_resumed());
        }
    }
}

#[test]
fn application_protocols_are_agreed_upon_or_refused() {
    let mut world = World::new();
    let offering = |world: &World, protocols: &[&str]| {
        let mut client = world.client(&BOTH, None);
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        client
    };
    let any = offering(&world, &["x"]);
    assert_eq!(Pair::new(&world.acceptor(), &any).established().session.alpn(), None);
    world.settings.alpn = vec![b"mqtt".to_vec(), b"http/1.1".to_vec()];
    let acceptor = world.acceptor();
    let both = offering(&world, &["http/1.1", "mqtt"]);
    assert_eq!(Pair::new(&acceptor, &both).established().session.alpn(), Some(&b"mqtt"[..]));
    assert_eq!(Pair::new(&acceptor, &world.client).established().session.alpn(), None);
    let (end, error) = Pair::new(&acceptor, &offering(&world, &["x"])).fails();
    assert_eq!(end, TlsEnd::Alpn);
    assert_eq!(error, Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
}

#[test]
fn a_version_below_the_lowest_is_named() {
    let mut world = World::new();
    world.settings.min_version = MinVersion::Tls13;
    let acceptor = world.acceptor();
    let (end, error) = Pair::new(&acceptor, &world.client(&[TLS12], None)).fails();
    assert_eq!(
        end.to_string(),
        "client offered only TLS 1.2 and TLS 1.3 is wanted; update the client's TLS library, or set min_version = \"1.2\""
    );
    assert_eq!(error, Some(Error::AlertReceived(AlertDescription::ProtocolVersion)));
    Pair::new(&acceptor, &world.client(&[TLS13], None)).established();

    // A ClientHello without extensions, of versions that no library here can speak.
    world.settings.min_version = MinVersion::Tls12;
    for (minor, name) in [(0, "SSL 3.0"), (1, "TLS 1.0"), (2, "TLS 1.1")] {
        let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, minor];
        hello.extend_from_slice(&[7; 32]);
        hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x13, 1, 0]);
        let mut session = world.acceptor().session().unwrap();
        let (mut plain, mut out) = (Vec::new(), bytes::BytesMut::new());
        let end = session.open(&mut hello, &mut plain, &mut out).unwrap_err();
        assert_eq!(
            end.to_string(),
            format!("client offered only {name} and TLS 1.2 is wanted; update the client's TLS library")
        );
        // A fatal alert.
        assert_eq!((out[0], out[5]), (21, 2));
    }
}

#[test]
fn a_client_that_does_not_trust_us_is_understood() {
    let world = World::new();
    let stranger = Authority::new("stranger");
    for version in BOTH {
        let (end, _) = Pair::new(&world.acceptor(), &trusting(&stranger, &[version], None)).fails();
        assert!(end.to_string().contains("does not trust the CA of our certificate (unknown_ca)"), "{end}");
    }
}

#[test]
#[ignore = "encrypts 2^24 records twice: three minutes"]
fn the_keys_of_tls_1_2_are_used_up_and_those_of_1_3_changed() {
    let world = World::new();
    for version in BOTH {
        let mut pair = world.established(&[version]);
        let mut ended = None;
        for round in 0..(1_u32 << 24) + 10 {
            pair.out.clear();
            if let Err(end) = pair.session.seal(b"x", &mut pair.out) {
                ended = Some((round, end));
                break;
            }
        }
        if version == TLS12 {
            let (round, end) = ended.unwrap();
            assert!(end == TlsEnd::Exhausted && round > (1 << 24) - 10, "{round}: {end}");
            // An alert of two bytes: close_notify.
            assert_eq!((pair.out[0], pair.out.len()), (21, 5 + 8 + 2 + 16));
        } else {
            assert_eq!(ended, None);
        }
    }
}
