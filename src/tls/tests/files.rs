//! Files that are missing, mixed up, damaged or not what they seem: what is said of them.

use std::os::unix::fs::PermissionsExt;

use rcgen::date_time_ymd;

use super::kit::{Authority, World, server};
use crate::tls::{Acceptor, ClientCertificates, TlsError};

#[track_caller]
fn says(world: &World, file: &str, words: &[&str]) {
    let error = world.refused();
    assert!(error.starts_with(&world.files.path(file).display().to_string()), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(!error.contains('\n') && error.len() < 400, "{error}");
}

#[test]
fn a_good_set_of_files_gives_no_warning() {
    let world = World::new();
    let acceptor = world.acceptor();
    assert_eq!(acceptor.warnings(), []);
    assert_eq!(acceptor.files().count(), 2);
    assert!(acceptor.expires_s() > crate::tls::now_s());
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_way_to_make_one() {
    let mut world = World::new();
    world.settings.certificates[0].key = world.files.path("none.key");
    says(&world, "none.key", &["a private key can't be read", "noctule certs"]);
    world.settings.certificates[0].chain = world.files.path("none.pem");
    says(&world, "none.pem", &["a certificate can't be read"]);
    world.settings.certificates[0].chain = world.files.path("");
    assert!(world.refused().contains("a directory"), "{}", world.refused());
    world.settings.certificates.clear();
    assert!(matches!(Acceptor::load(&world.settings), Err(TlsError::NoCertificate)));
}

#[test]
fn files_in_the_wrong_place_are_recognised() {
    let mut world = World::new();
    let good = world.settings.certificates[0].clone();
    let swapped = &mut world.settings.certificates[0];
    std::mem::swap(&mut swapped.chain, &mut swapped.key);
    says(
        &world,
        "server.key",
        &["a certificate should be here, and there is only a private key", "mixed up?"],
    );
    world.settings.certificates[0] = good.clone();
    world.settings.certificates[0].key = good.chain.clone();
    says(&world, "server.pem", &["a private key should be here, and there is only a certificate"]);
    world.settings.certificates[0] = good.clone();
    world.settings.client_certificates = ClientCertificates::Required;
    world.settings.client_ca = Some(good.key.clone());
    says(&world, "server.key", &["the certificate of a CA should be here"]);
    world.settings.client_ca = Some(world.files.write("ca.pem", world.authority.pem()));
    world.settings.crl = Some(good.chain);
    says(&world, "server.pem", &["a revocation list should be here, and there is only a certificate"]);
}

#[test]
fn what_is_no_pem_is_described() {
    let mut world = World::new();
    for (content, words) in [
        (&b""[..], &["this is empty"][..]),
        (b"hello", &["something else", "-----BEGIN"]),
        (b"\x30\x82\x01\x00abc", &["in DER", "-inform der"]),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", &["damaged", "the END line of CERTIFICATE is missing"]),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", &["damaged"]),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &["can't be used"]),
        (b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", &["there is only PKCS7"]),
    ] {
        world.settings.certificates[0].chain = world.files.write("bad.pem", content);
        says(&world, "bad.pem", words);
    }
    let huge = vec![b'x'; 4 * 1024 * 1024 + 1];
    world.settings.certificates[0].chain = world.files.write("bad.pem", huge);
    says(&world, "bad.pem", &["more than 4 MiB"]);
}

#[test]
fn a_pipe_does_not_hold_up_the_start() {
    let mut world = World::new();
    let path = world.files.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    world.settings.certificates[0].key = path;
    says(&world, "pipe", &["no plain file"]);
}

#[test]
fn keys_that_cannot_be_used_are_told_from_those_of_others() {
    let mut world = World::new();
    let other = world.authority.server(&["other"]);
    world.settings.certificates[0].key = world.files.write("other.key", &other.key);
    says(&world, "other.key", &["is not that of the first certificate in", "server.pem"]);
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
    ] {
        world.settings.certificates[0].key = world.files.write("locked.key", encrypted);
        says(&world, "locked.key", &["the key is encrypted", "openssl pkey -in"]);
    }
    let odd = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    world.settings.certificates[0].key = world.files.write("odd.key", odd);
    says(&world, "odd.key", &["the key can't be used", "ECDSA P-256"]);
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let mut world = World::new();
    let ca = world.files.write("ca.pem", world.authority.pem());
    world.settings.client_ca = Some(ca.clone());
    assert!(world.refused().starts_with("client_ca is given and client_certificates is \"none\""));
    world.settings.client_ca = None;
    world.settings.crl = Some(ca);
    assert!(world.refused().starts_with("crl is given and client_certificates is \"none\""));
    world.settings.crl = None;
    for mode in [ClientCertificates::Optional, ClientCertificates::Required] {
        world.settings.client_certificates = mode;
        assert!(world.refused().contains("client_ca is missing"), "{}", world.refused());
        // THREATS: an empty file is not a rule that fits everybody.
        world.settings.client_ca = Some(world.files.write("empty.pem", ""));
        says(&world, "empty.pem", &["this is empty"]);
        world.settings.client_ca = None;
    }
    world.settings.client_certificates = ClientCertificates::None;
    for bad in [Vec::new(), vec![b'x'; 256]] {
        world.settings.alpn = vec![bad];
        assert!(world.refused().contains("1 to 255 bytes"));
    }
    world.settings.alpn = vec![vec![b'x'; 255]];
    world.acceptor();
}

#[test]
fn revocation_lists_are_compared_with_the_cas() {
    let mut world = World::new();
    let (second, stranger) = (Authority::new("second"), Authority::new("stranger"));
    world.settings.client_certificates = ClientCertificates::Required;
    world.settings.client_ca = Some(world.files.write("ca.pem", world.authority.pem() + &second.pem()));
    world.settings.crl = Some(world.files.write("crl.pem", stranger.crl(&[], 4000)));
    says(&world, "crl.pem", &["no revocation list in it is of a CA in", "ca.pem", "CN=stranger"]);
    let lists = stranger.crl(&[], 4000) + &second.crl(&[], 4000);
    world.settings.crl = Some(world.files.write("crl.pem", lists));
    let warnings: Vec<String> = world.acceptor().warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("there is no revocation list of CN=root"), "{warnings:?}");
    let damaged = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    world.settings.crl = Some(world.files.write("crl.pem", damaged));
    says(&world, "crl.pem", &["the revocation list can't be used"]);
}

#[test]
fn what_works_and_should_be_looked_at_is_a_warning() {
    let mut world = World::new();
    let mut expired = server(&["localhost"]);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let mut early = server(&["localhost"]);
    early.not_before = date_time_ymd(4000, 1, 1);
    let mut soon = server(&["localhost"]);
    soon.not_after =
        date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(crate::tls::now_s() + 24 * 3600);
    for (params, words) in [
        (expired, "expired on"),
        (early, "is valid from"),
        (soon, "expires on"),
        (server(&[]), "no subject alternative name"),
    ] {
        world.settings.certificates = vec![world.files.pair("odd", &world.authority.issue(&params))];
        let warnings = world.acceptor().warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].text.contains(words), "{warnings:?}");
        assert_eq!(warnings[0].path, world.files.path("odd.pem"));
    }
    // The chain in the wrong order, behind our certificate.
    let (upper, lower) = (world.authority.below("upper"), Authority::new("lower"));
    let mut issued = upper.server(&["localhost"]);
    issued.chain.push_str(&lower.pem());
    world.settings.certificates = vec![world.files.pair("odd", &issued)];
    let warnings = world.acceptor().warnings();
    assert!(warnings.len() == 1 && warnings[0].text.contains("out of order"), "{warnings:?}");
}

#[test]
fn a_key_that_others_can_read_is_a_warning() {
    let world = World::new();
    let key = &world.settings.certificates[0].key;
    for (mode, warned) in
        [(0o600, false), (0o400, false), (0o640, false), (0o644, true), (0o660, true), (0o602, true)]
    {
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = world.acceptor().warnings();
        assert_eq!(warnings.len(), usize::from(warned), "{mode:o}: {warnings:?}");
        if warned {
            assert!(warnings[0].text.contains(&format!("(mode {mode:04o}); chmod 600 ")), "{warnings:?}");
        }
    }
}
