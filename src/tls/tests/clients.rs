//! Clients with certificates: who is let in, as whom, and what the log says of the others.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, IsCa, KeyPair, SanType, SerialNumber, date_time_ymd,
};
use rustls::{AlertDescription, Error};

use super::kit::{Authority, BOTH, Issued, Pair, TLS12, TLS13, World, client, with_names};
use crate::tls::{ClientCertificates, IdentityFrom, Nameless, TlsEnd, now_s};

fn asking(client_certificates: ClientCertificates) -> World {
    let mut world = World::new();
    world.settings.client_certificates = client_certificates;
    world.settings.client_ca = Some(world.files.write("ca.pem", world.authority.pem()));
    world
}

fn pair(world: &World, version: &'static rustls::SupportedProtocolVersion, issued: Option<&Issued>) -> Pair {
    Pair::new(&world.acceptor(), &world.client(&[version], issued))
}

#[test]
fn each_mode_lets_in_whom_it_should() {
    use ClientCertificates::{None as Nobody, Optional, Required};
    for version in BOTH {
        for mode in [Nobody, Optional, Required] {
            let world = if mode == Nobody { World::new() } else { asking(mode) };
            let stranger = Authority::new("stranger").client("press");
            let own = world.authority.client("press");
            let identity = |pair: Pair| pair.established().session.peer().map(|peer| peer.name.to_string());
            if mode == Required {
                let (end, error) = pair(&world, version, None).fails();
                assert_eq!(end, TlsEnd::NoCertificate);
                let alert = if version == TLS13 {
                    AlertDescription::CertificateRequired
                } else {
                    AlertDescription::HandshakeFailure
                };
                assert!(
                    error == Some(Error::AlertReceived(alert))
                        || error == Some(Error::AlertReceived(AlertDescription::CertificateRequired)),
                    "{error:?}"
                );
            } else {
                assert_eq!(identity(pair(&world, version, None)), None);
            }
            if mode == Nobody {
                assert_eq!(identity(pair(&world, version, Some(&own))), None);
                assert_eq!(identity(pair(&world, version, Some(&stranger))), None);
            } else {
                assert_eq!(identity(pair(&world, version, Some(&own))).as_deref(), Some("press"));
                let (end, error) = pair(&world, version, Some(&stranger)).fails();
                assert!(end.to_string().contains("no CA in client_ca issued it"), "{end}");
                assert!(matches!(error, Some(Error::AlertReceived(_))), "{error:?}");
            }
        }
    }
}

#[test]
fn a_certificate_signed_by_itself_is_refused_in_words() {
    let world = asking(ClientCertificates::Required);
    for (is_ca, why) in
        [(IsCa::Ca(BasicConstraints::Unconstrained), "signed by itself"), (IsCa::NoCa, "no CA in client_ca")]
    {
        let mut params = client("press");
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let issued = Issued { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
        let (end, _) = pair(&world, TLS13, Some(&issued)).fails();
        assert!(end.to_string().contains(why), "{end}");
    }
}

#[test]
fn a_certificate_for_servers_out_of_date_or_not_yet_valid_is_refused() {
    let world = asking(ClientCertificates::Required);
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = client("press");
        change(&mut params);
        world.authority.issue(&params)
    };
    for (issued, why) in [
        (with(|params| params.not_after = date_time_ymd(2021, 1, 1)), "it expired"),
        (with(|params| params.not_before = date_time_ymd(4000, 1, 1)), "it will be valid in"),
        (world.authority.server(&["press"]), "it was not issued for clients"),
    ] {
        for version in BOTH {
            let (end, _) = pair(&world, version, Some(&issued)).fails();
            assert!(end.to_string().contains(why) && end.label() == "certificate", "{end}");
        }
    }
}

/// The identity, or why there is none.
fn known(from: IdentityFrom, params: &CertificateParams) -> Result<String, Nameless> {
    let mut world = asking(ClientCertificates::Required);
    world.settings.identity = from;
    let issued = world.authority.issue(params);
    let mut known = Vec::new();
    for version in BOTH {
        let session = pair(&world, version, Some(&issued)).established().session;
        assert_eq!(session.peer().is_some(), session.nameless().is_none());
        known.push(session.peer().map_or_else(
            || Err(session.nameless().unwrap().clone()),
            |peer| {
                assert_eq!(peer.expires_s, u64::try_from(params.not_after.unix_timestamp()).unwrap());
                Ok(peer.name.to_string())
            },
        ));
    }
    assert_eq!(known[0], known[1]);
    known.remove(0)
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn email(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

#[test]
fn each_identity_is_found() {
    use IdentityFrom::{Cn, Dns, Email, Fingerprint, Uri};
    let all = with_names(vec![
        dns("Press-7.Plant.example"),
        uri("urn:dev:mac:0024befffe804ff1"),
        email("press@plant.example"),
    ]);
    assert_eq!(known(Cn, &all).unwrap(), "cn");
    assert_eq!(known(Dns, &all).unwrap(), "press-7.plant.example");
    assert_eq!(known(Uri, &all).unwrap(), "urn:dev:mac:0024befffe804ff1");
    assert_eq!(known(Email, &all).unwrap(), "press@plant.example");
    let fingerprint = known(Fingerprint, &all).unwrap();
    assert!(fingerprint.len() == 64 && fingerprint.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
    assert_ne!(known(Fingerprint, &all).unwrap(), fingerprint, "each certificate has its own");
    assert_eq!(known(Cn, &client("Größe 7 €")).unwrap(), "Größe 7 €");
}

#[test]
fn a_fingerprint_is_what_openssl_prints() {
    // SHA-256 of three bytes, from the standard (FIPS 180-2, appendix B.1).
    assert_eq!(
        crate::tls::identity::fingerprint(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn what_could_mean_something_else_is_nobody() {
    use IdentityFrom::{Cn, Dns, Email, Uri};
    for (name, why) in [
        ("", "it is empty"),
        ("a/b", "mean something in topics"),
        ("+", "mean something in topics"),
        ("a#", "mean something in topics"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\u{85}b", "control character"),
        (&"x".repeat(257), "more than 256 bytes"),
    ] {
        let error = known(Cn, &client(name)).unwrap_err();
        assert!(matches!(error, Nameless::Unfit { .. }) && error.to_string().contains(why), "{error}");
    }
    assert_eq!(known(Cn, &client(&"x".repeat(256))).unwrap().len(), 256);
    assert!(matches!(
        known(Uri, &with_names(vec![uri("spiffe://plant/press")])),
        Err(Nameless::Unfit { .. })
    ));

    let nobody = with_names(Vec::new());
    for from in [Dns, Uri, Email] {
        assert!(matches!(known(from, &nobody), Err(Nameless::Missing(_))));
    }
    let mut no_cn = client("x");
    no_cn.distinguished_name.remove(DnType::CommonName);
    no_cn.distinguished_name.push(DnType::OrganizationName, "press");
    assert!(matches!(known(Cn, &no_cn), Err(Nameless::Missing(_))));
}

#[test]
fn several_names_are_nobody_and_the_same_twice_is_one() {
    use IdentityFrom::{Cn, Dns};
    let mut two = client("alice");
    let cn = DnType::CustomDnType(vec![2, 5, 4, 3]);
    two.distinguished_name.push(cn.clone(), DnValue::Utf8String("admin".to_owned()));
    let error = known(Cn, &two).unwrap_err();
    assert!(matches!(error, Nameless::Ambiguous { count: 2, .. }), "{error}");
    two.distinguished_name.push(cn, DnValue::Utf8String("alice".to_owned()));
    assert_eq!(known(Cn, &two).unwrap(), "alice");
    assert!(matches!(known(Dns, &with_names(vec![dns("a"), dns("b")])), Err(Nameless::Ambiguous { .. })));
    assert_eq!(known(Dns, &with_names(vec![dns("a"), dns("A")])).unwrap(), "a");
}

fn numbered(authority: &Authority, name: &str, serial: u64) -> Issued {
    let mut params = client(name);
    params.serial_number = Some(SerialNumber::from(serial));
    authority.issue(&params)
}

#[test]
fn what_is_revoked_stays_out() {
    let mut world = asking(ClientCertificates::Optional);
    world.settings.crl = Some(world.files.write("crl.pem", world.authority.crl(&[7], 4000)));
    let (good, bad) = (numbered(&world.authority, "good", 8), numbered(&world.authority, "bad", 7));
    for version in BOTH {
        pair(&world, version, Some(&good)).established();
        pair(&world, version, None).established();
        let (end, error) = pair(&world, version, Some(&bad)).fails();
        assert_eq!(end.to_string(), "client certificate refused: certificate revoked");
        assert_eq!(error, Some(Error::AlertReceived(AlertDescription::CertificateRevoked)));
    }
    assert_eq!(world.acceptor().warnings(), []);
}

#[test]
fn who_cannot_be_looked_up_stays_out() {
    let mut world = asking(ClientCertificates::Required);
    // A list that should have been replaced long ago.
    world.settings.crl = Some(world.files.write("crl.pem", world.authority.crl(&[], 2021)));
    let good = numbered(&world.authority, "good", 8);
    let (end, _) = pair(&world, TLS13, Some(&good)).fails();
    assert!(end.to_string().contains("out of date"), "{end}");
    let warning = world.acceptor().warnings().remove(0).to_string();
    assert!(warning.contains("crl.pem: the revocation list of CN=root is out of date"), "{warning}");

    // A CA below, whose list is missing: then with it.
    let below = world.authority.below("below");
    world.settings.crl = Some(world.files.write("crl.pem", world.authority.crl(&[], 4000)));
    let (good, bad) = (numbered(&below, "good", 8), numbered(&below, "bad", 7));
    let (end, _) = pair(&world, TLS13, Some(&good)).fails();
    assert!(end.to_string().contains("crl has no revocation list of the CA"), "{end}");
    let both = world.authority.crl(&[], 4000) + &below.crl(&[7], 4000);
    world.settings.crl = Some(world.files.write("crl.pem", both));
    pair(&world, TLS13, Some(&good)).established();
    let (end, _) = pair(&world, TLS12, Some(&bad)).fails();
    assert_eq!(end.to_string(), "client certificate refused: certificate revoked");
}

#[test]
fn a_list_with_a_forged_signature_lets_nobody_in() {
    let mut world = asking(ClientCertificates::Required);
    // Of a CA with the same name and another key.
    world.settings.crl = Some(world.files.write("crl.pem", Authority::new("root").crl(&[], 4000)));
    let (end, _) = pair(&world, TLS13, Some(&world.authority.client("press"))).fails();
    assert_eq!(end.label(), "certificate", "{end}");
}

#[test]
fn a_resumed_session_knows_its_peer() {
    let world = asking(ClientCertificates::Required);
    let acceptor = world.acceptor();
    let issued = world.authority.client("press");
    for version in BOTH {
        let client = world.client(&[version], Some(&issued));
        for resumed in [false, true] {
            let session = Pair::new(&acceptor, &client).established().session;
            assert_eq!(session.is_resumed(), resumed, "{version:?}");
            assert_eq!(session.peer().unwrap().name.as_ref(), "press");
        }
    }
}

#[test]
fn a_ticket_does_not_outlive_the_certificate() {
    let world = asking(ClientCertificates::Required);
    let acceptor = world.acceptor();
    // A machine may be so busy that the certificate has expired before the first handshake; then there is another one.
    let begun = (0..5).find_map(|_| {
        let end_s = now_s() + 3;
        let mut params = client("press");
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end_s);
        let client = world.client(&BOTH, Some(&world.authority.issue(&params)));
        let mut pair = Pair::new(&acceptor, &client);
        let shaken = pair.shake();
        if now_s() >= end_s {
            return None;
        }
        let opened = shaken.unwrap_or_else(|end| panic!("{end}"));
        assert!(opened.established && !opened.closed && !pair.client.is_handshaking());
        Some((client, end_s))
    });
    let (client, end_s) = begun.expect("the certificate has expired before its first handshake, each time");
    while now_s() <= end_s {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut pair = Pair::new(&acceptor, &client);
    let end = pair.shake().unwrap_err();
    assert!(pair.session.is_resumed());
    assert!(end.to_string().contains("expired since the session that is resumed"), "{end}");
    assert_eq!(pair.session.peer(), None);
}
