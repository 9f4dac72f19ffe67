//! Certificates that are exchanged while sessions go on: by writing, renaming and turning links; whole, half and wrong.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::kit::{Issued, Pair, World};
use crate::tls::{Acceptor, Changed, ClientCertificates, Watch};

/// Which names the certificate has that a new connection gets.
fn serves(world: &World, acceptor: &Acceptor, name: &str) -> bool {
    Pair::asking(acceptor, &world.client, name).shake().is_ok()
}

fn watched() -> (World, Arc<Acceptor>, Watch) {
    let world = World::new();
    let acceptor = Arc::new(world.acceptor());
    let watch = Watch::new(Arc::clone(&acceptor));
    (world, acceptor, watch)
}

fn renewed(world: &World) -> Issued {
    world.authority.server(&["localhost", "renewed"])
}

#[test]
fn new_files_are_for_new_sessions() {
    let world = World::new();
    let acceptor = world.acceptor();
    let mut old = Pair::new(&acceptor, &world.client).established();
    assert_eq!(acceptor.reload().unwrap(), Changed::Nothing);
    assert!(Pair::new(&acceptor, &world.client).established().session.is_resumed());
    world.files.pair("server", &renewed(&world));
    assert!(!serves(&world, &acceptor, "renewed"));
    assert_eq!(acceptor.reload().unwrap(), Changed::Files);
    assert!(serves(&world, &acceptor, "renewed"));
    assert!(!Pair::new(&acceptor, &world.client).established().session.is_resumed());
    old.says(b"still here");
    old.take().unwrap();
    assert_eq!(old.plain, b"still here");
}

#[test]
fn what_is_wrong_is_not_taken() {
    let world = World::new();
    let acceptor = world.acceptor();
    world.files.write("server.key", "");
    assert!(acceptor.reload().unwrap_err().to_string().contains("server.key"));
    assert!(serves(&world, &acceptor, "localhost"));
    std::fs::remove_file(world.files.path("server.pem")).unwrap();
    assert!(acceptor.reload().is_err());
    assert!(serves(&world, &acceptor, "localhost"));
}

#[test]
fn a_revoked_client_does_not_come_back_by_its_ticket() {
    let mut world = World::new();
    world.settings.client_certificates = ClientCertificates::Required;
    world.settings.client_ca = Some(world.files.write("ca.pem", world.authority.pem()));
    world.settings.crl = Some(world.files.write("crl.pem", world.authority.crl(&[], 4000)));
    let acceptor = world.acceptor();
    let mut params = super::kit::client("press");
    params.serial_number = Some(7.into());
    let client = world.client(&super::BOTH, Some(&world.authority.issue(&params)));
    Pair::new(&acceptor, &client).established();
    assert!(Pair::new(&acceptor, &client).established().session.is_resumed());
    world.files.write("crl.pem", world.authority.crl(&[7], 4000));
    assert_eq!(acceptor.reload().unwrap(), Changed::Files);
    let (end, _) = Pair::new(&acceptor, &client).fails();
    assert_eq!(end.to_string(), "client certificate refused: certificate revoked");
}

#[test]
fn files_that_are_written_over_are_seen() {
    let (world, acceptor, mut watch) = watched();
    assert!(watch.poll().is_none());
    let new = renewed(&world);
    std::fs::write(world.files.path("server.pem"), &new.chain).unwrap();
    // Half of it is there: nothing is said, and the old one stays.
    assert!(watch.poll().is_none());
    assert!(serves(&world, &acceptor, "localhost") && !serves(&world, &acceptor, "renewed"));
    std::fs::write(world.files.path("server.key"), &new.key).unwrap();
    assert!(watch.poll().unwrap().is_ok());
    assert!(serves(&world, &acceptor, "renewed"));
    assert!(watch.poll().is_none());
}

#[test]
fn a_file_cut_short_is_waited_for_and_then_complained_of_once() {
    let (world, acceptor, mut watch) = watched();
    let new = renewed(&world);
    std::fs::write(world.files.path("server.pem"), &new.chain[..100]).unwrap();
    assert!(watch.poll().is_none());
    let error = watch.poll().unwrap().unwrap_err().to_string();
    assert!(error.contains("server.pem: the PEM is damaged"), "{error}");
    for _ in 0..3 {
        assert!(watch.poll().is_none());
    }
    // Another mistake is another complaint.
    std::fs::write(world.files.path("server.pem"), &new.chain).unwrap();
    let error = watch.poll().unwrap().unwrap_err().to_string();
    assert!(error.contains("is not that of the first certificate"), "{error}");
    assert!(watch.poll().is_none());
    assert!(serves(&world, &acceptor, "localhost"));
    std::fs::write(world.files.path("server.key"), &new.key).unwrap();
    assert!(watch.poll().unwrap().is_ok());
    assert!(serves(&world, &acceptor, "renewed"));
}

#[test]
fn files_that_are_renamed_into_place_are_seen_even_with_the_same_size_and_time() {
    let (world, acceptor, mut watch) = watched();
    let new = renewed(&world);
    for (name, text) in [("server.key", &new.key), ("server.pem", &new.chain)] {
        let (path, old) = (world.files.write("new", text), world.files.path(name));
        let time = std::fs::metadata(&old).unwrap().modified().unwrap();
        std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
        std::fs::rename(path, old).unwrap();
    }
    assert!(watch.poll().unwrap().is_ok());
    assert!(serves(&world, &acceptor, "renewed"));
}

#[test]
fn links_that_are_turned_are_seen_wherever_they_are() {
    // As certbot has it (live/x.pem leads to archive/x1.pem), and as Kubernetes has it (a directory is the link).
    let mut world = World::new();
    for directory in ["1", "2"] {
        std::fs::create_dir(world.files.path(directory)).unwrap();
    }
    world.files.pair("1/tls", &world.authority.server(&["localhost"]));
    world.files.pair("2/tls", &renewed(&world));
    symlink("1", world.files.path("now")).unwrap();
    for name in ["tls.pem", "tls.key"] {
        symlink(world.files.path("now").join(name), world.files.path(name)).unwrap();
    }
    world.settings.certificates[0].chain = world.files.path("tls.pem");
    world.settings.certificates[0].key = world.files.path("tls.key");
    let acceptor = Arc::new(world.acceptor());
    let mut watch = Watch::new(Arc::clone(&acceptor));
    assert!(watch.poll().is_none() && !serves(&world, &acceptor, "renewed"));
    symlink("2", world.files.path("next")).unwrap();
    std::fs::rename(world.files.path("next"), world.files.path("now")).unwrap();
    assert!(watch.poll().unwrap().is_ok());
    assert!(serves(&world, &acceptor, "renewed"));
}

#[test]
fn a_file_that_is_gone_for_a_moment_is_no_matter() {
    let (world, acceptor, mut watch) = watched();
    let path = world.files.path("server.key");
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(watch.poll().is_none());
    world.files.write("server.key", &text);
    assert!(watch.poll().is_none());
    // For longer, it is told; and so is its return.
    std::fs::remove_file(&path).unwrap();
    assert!(watch.poll().is_none());
    assert!(watch.poll().unwrap().unwrap_err().to_string().contains("can't be read"));
    world.files.write("server.key", &text);
    assert!(watch.poll().unwrap().is_ok());
    assert!(serves(&world, &acceptor, "localhost"));
}

#[test]
fn files_changed_between_loading_and_watching_are_seen() {
    let world = World::new();
    let acceptor = Arc::new(world.acceptor());
    world.files.pair("server", &renewed(&world));
    let mut watch = Watch::new(Arc::clone(&acceptor));
    assert!(watch.poll().unwrap().is_ok());
    assert!(serves(&world, &acceptor, "renewed"));
}
