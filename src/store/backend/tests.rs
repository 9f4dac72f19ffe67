//! The file's room on the file system that the tests run on. A file system that is really full is in the store's own
//! tests.

use std::fs;
use std::path::PathBuf;

use super::super::directory::tests::Scratch;
use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const LIMITS: Limits = Limits { reserve: MIB, min_free: 0, max_size: 8 * MIB };

fn open(path: &PathBuf, limits: Limits) -> FileBackend {
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    FileBackend(Room::new(file, limits).unwrap())
}

fn held(backend: &FileBackend) -> u64 {
    backend.0.file.metadata().unwrap().blocks() * BLOCK
}

#[test]
fn what_is_written_is_read_and_counted() {
    let scratch = Scratch::new("counted");
    let backend = open(&scratch.data(), LIMITS);
    backend.set_len(16 * KIB).unwrap();
    backend.write(4096, &[7; 100]).unwrap();
    backend.write(4100, &[8; 2]).unwrap();
    backend.sync_data().unwrap();
    let mut read = [0; 102];
    backend.read(4098, &mut read).unwrap();
    assert_eq!((read[1], read[2], read[4], read[99]), (7, 8, 7, 0), "new bytes are zero");
    assert_eq!((backend.0.bytes_written(), backend.0.written_to()), (102, 4196));
    assert_eq!(backend.len().unwrap(), 16 * KIB);
    let beyond = backend.read(16 * KIB - 1, &mut read).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn space_is_held_ahead_of_what_is_written_and_not_of_the_length() {
    let scratch = Scratch::new("ahead");
    let backend = open(&scratch.data(), LIMITS);
    assert!((MIB..2 * MIB).contains(&held(&backend)), "{}", held(&backend));
    backend.set_len(6 * MIB).unwrap();
    assert!(held(&backend) < 2 * MIB, "growing costs nothing before it is used");
    for at in 0..32 {
        backend.write(at * 64 * KIB, &[1; 64 * KIB as usize]).unwrap();
        let ahead = held(&backend) - (at + 1) * 64 * KIB;
        assert!((MIB / 2..=MIB + 64 * KIB).contains(&ahead), "{ahead} bytes are held ahead");
    }
    backend.set_len(MIB).unwrap();
    assert!((2 * MIB..3 * MIB).contains(&held(&backend)), "after a cut as well: {}", held(&backend));
    assert_eq!(backend.len().unwrap(), MIB);
}

#[test]
fn opened_again_it_holds_no_more_than_before() {
    let scratch = Scratch::new("again");
    let mut before = None;
    for _ in 0..3 {
        let backend = open(&scratch.data(), LIMITS);
        backend.set_len(4 * MIB).unwrap();
        backend.write(0, &[1; MIB as usize]).unwrap();
        assert_eq!(*before.get_or_insert(held(&backend)), held(&backend));
        assert_eq!(backend.0.written_to(), MIB);
    }
}

#[test]
fn the_largest_size_is_kept_with_the_reserve_for_what_makes_room() {
    let scratch = Scratch::new("largest");
    let backend = open(&scratch.data(), LIMITS);
    backend.set_len(16 * MIB).unwrap();
    backend.write(8 * MIB - 1, &[1]).unwrap();
    assert_eq!(backend.0.shortage(8 * MIB).unwrap(), Some(Shortage::MaxSize));
    assert_eq!(backend.0.shortage(MIB).unwrap(), None, "there is room inside");
    backend.write(9 * MIB - 1, &[1]).unwrap();
    let error = backend.write(9 * MIB, &[1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("store.max_size"), "{error}");
    backend.set_len(8 * MIB - 1).unwrap();
    assert_eq!(backend.0.shortage(8 * MIB).unwrap(), None);
}

#[test]
fn what_is_to_be_left_free_is_left_free() {
    let scratch = Scratch::new("free");
    let backend = open(&scratch.data(), Limits { min_free: u64::MAX, ..LIMITS });
    assert_eq!(backend.0.shortage(0).unwrap(), Some(Shortage::MinFree));
}

#[test]
fn a_reserve_that_the_file_system_has_no_room_for_is_a_shortage() {
    let scratch = Scratch::new("no-room");
    // More than any file may have, so the file system says no as when it is full.
    let backend = open(&scratch.data(), Limits { reserve: 1 << 62, ..LIMITS });
    backend.set_len(MIB).unwrap();
    backend.write(0, b"still works").unwrap();
    assert_eq!(backend.0.shortage(0).unwrap(), Some(Shortage::Reserve));
}
