//! Records that no library sends, encrypted with the keys that a client of rustls's has agreed upon.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{AlertDescription, ConnectionTrafficSecrets, SupportedProtocolVersion};

use super::kit::{Pair, TLS12, TLS13, World, trusting_with};
use crate::tls::{Session, TlsEnd};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// An established session, and the client's pen.
struct Forger {
    session: Session,
    is_13: bool,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    plain: Vec<u8>,
    out: bytes::BytesMut,
}

impl Forger {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let world = World::new();
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| suite.suite().as_str().unwrap().contains("CHACHA20"));
        let mut client = trusting_with(provider, &world.authority, &[version], None);
        client.enable_secret_extraction = true;
        let pair = Pair::new(&world.acceptor(), &client).established();
        let (sequence, secrets) = pair.client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another cipher")
        };
        Self {
            session: pair.session,
            is_13: version == TLS13,
            key: LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).unwrap()),
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
            plain: Vec::new(),
            out: bytes::BytesMut::new(),
        }
    }

    /// One record (RFC 8446 section 5.2, RFC 7905).
    fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        let mut body = content.to_vec();
        let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let (head, aad) = if self.is_13 {
            body.push(kind);
            let [high, low] = length(body.len() + 16);
            (vec![DATA, 3, 3, high, low], vec![DATA, 3, 3, high, low])
        } else {
            let ([high, low], [inner_high, inner_low]) = (length(body.len() + 16), length(body.len()));
            let aad = [&self.sequence.to_be_bytes()[..], &[kind, 3, 3, inner_high, inner_low]].concat();
            (vec![kind, 3, 3, high, low], aad)
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut body).unwrap();
        self.sequence += 1;
        [head, body].concat()
    }

    fn send(&mut self, kind: u8, content: &[u8]) -> Result<usize, TlsEnd> {
        let mut wire = self.record(kind, content);
        self.session.open(&mut wire, &mut self.plain, &mut self.out).map(|opened| opened.consumed)
    }
}

#[test]
fn the_pen_writes_what_a_client_would() {
    for version in [TLS12, TLS13] {
        let mut forger = Forger::new(version);
        forger.send(DATA, b"one").unwrap();
        forger.send(DATA, b"").unwrap();
        forger.send(DATA, b"two").unwrap();
        assert_eq!(forger.plain, b"onetwo");
    }
}

#[test]
fn a_handshake_message_in_pieces_ends_the_session_and_not_the_process() {
    // rustls keeps where the first piece lies, and looks there when it is asked to encrypt: in bytes that are gone.
    for (version, piece) in
        [(TLS13, &KEY_UPDATE[..3]), (TLS13, &KEY_UPDATE[..1]), (TLS12, &[1, 0, 0, 200, 3][..])]
    {
        let mut forger = Forger::new(version);
        let end = forger.send(HANDSHAKE, piece).unwrap_err();
        assert!(end.to_string().contains("in pieces"), "{end}");
        let out = &mut forger.out;
        assert_eq!(forger.session.seal(b"data", out), Err(TlsEnd::Over));
        forger.session.close(out);
        assert_eq!(forger.session.open(&mut [], &mut forger.plain, out), Err(TlsEnd::Over));
    }
}

#[test]
fn key_updates_and_empty_records_in_turn_are_a_flood() {
    // For rustls each begins anew after the other.
    let mut forger = Forger::new(TLS13);
    let mut refused = None;
    for round in 0..200 {
        if let Err(end) = forger.send(DATA, b"") {
            refused = Some((round, end));
            break;
        }
    }
    let (round, end) = refused.unwrap();
    assert!(round == 32 && end.to_string().contains("too many empty records"), "{round}: {end}");

    let mut forger = Forger::new(TLS13);
    // The keys change with the update, and the pen's with them would be another test: a warning does as well.
    let user_canceled = [1, 90];
    let refused = (0..200).find_map(|round| {
        forger.send(ALERT, &user_canceled).and_then(|_| forger.send(DATA, b"")).err().map(|end| (round, end))
    });
    assert!(refused.is_some_and(|(round, _)| round <= 32));

    // What has been useful is set against it, and no more than that.
    let mut forger = Forger::new(TLS12);
    for _ in 0..1_000 {
        forger.send(DATA, b"").unwrap();
        forger.send(DATA, b"x").unwrap();
    }
    let refused = (0..200).find_map(|round| {
        let mut sent = forger.send(DATA, b"");
        for _ in 0..2 {
            sent = sent.and_then(|_| forger.send(DATA, b""));
        }
        sent.and_then(|_| forger.send(DATA, b"x")).err().map(|end| (round, end))
    });
    let (round, end) = refused.unwrap();
    assert!(matches!(end, TlsEnd::Flood(_)) && round == 31, "{round}: {end}");
}

#[test]
fn a_renewed_handshake_is_declined_once_and_then_ends_the_session() {
    let mut forger = Forger::new(TLS12);
    // A ClientHello of TLS 1.2 that offers one cipher suite.
    let mut hello = vec![1, 0, 0, 41, 3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0]);
    forger.send(HANDSHAKE, &hello).unwrap();
    // An encrypted alert of two bytes.
    assert!(forger.out[0] == ALERT && forger.out.len() == 5 + 2 + 16, "{:?}", forger.out);
    forger.send(DATA, b"goes on").unwrap();
    assert_eq!(forger.plain, b"goes on");
    let end = forger.send(HANDSHAKE, &hello).unwrap_err();
    assert!(end.to_string().contains("renegotiation"), "{end}");
}

#[test]
fn alerts_end_the_session_in_words() {
    for version in [TLS12, TLS13] {
        let mut forger = Forger::new(version);
        let end = forger.send(ALERT, &[2, u8::from(AlertDescription::CertificateUnknown)]).unwrap_err();
        assert!(end.to_string().contains("does not like our certificate (certificate_unknown)"), "{end}");
        let mut forger = Forger::new(version);
        let end = forger.send(ALERT, &[2, u8::from(AlertDescription::InternalError)]).unwrap_err();
        assert_eq!(end.to_string(), "client gave up: alert internal_error");
    }
}
