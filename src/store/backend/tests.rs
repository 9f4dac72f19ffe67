//! The file's room on the file system that the tests run on. A file system that is really full is in the store's own
//! tests.

use std::fs;
use std::path::Path;

use super::super::directory::tests::Scratch;
use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const LIMITS: Limits = Limits { reserve: MIB, min_free: 0, max_size: 8 * MIB };

fn file(path: &Path) -> File {
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn open(scratch: &Scratch, limits: Limits) -> FileBackend {
    let reserve = file(&scratch.path().join("reserve"));
    FileBackend(Room::new(file(&scratch.data()), reserve, limits).unwrap())
}

fn held(scratch: &Scratch) -> u64 {
    fs::metadata(scratch.path().join("reserve")).unwrap().blocks() * BLOCK
}

#[test]
fn what_is_written_is_read_and_counted() {
    let scratch = Scratch::new("counted");
    let backend = open(&scratch, LIMITS);
    backend.set_len(16 * KIB).unwrap();
    backend.write(4096, &[7; 100]).unwrap();
    backend.write(4100, &[8; 2]).unwrap();
    backend.sync_data().unwrap();
    let mut read = [0; 102];
    backend.read(4098, &mut read).unwrap();
    assert_eq!((read[1], read[2], read[4], read[99]), (7, 8, 7, 0), "new bytes are zero");
    assert_eq!(backend.0.bytes_written(), 102);
    assert_eq!(backend.len().unwrap(), 16 * KIB);
    let beyond = backend.read(16 * KIB - 1, &mut read).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn the_reserve_is_taken_in_parts_and_made_whole_again() {
    let scratch = Scratch::new("parts");
    let backend = open(&scratch, LIMITS);
    assert_eq!(held(&scratch), MIB);
    let tries = AtomicU64::new(0);
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let third_time = || if tries.fetch_add(1, Relaxed) < 2 { Err(full()) } else { Ok(()) };
    backend.0.with_reserve(third_time).unwrap();
    assert_eq!(held(&scratch), MIB / 2, "two of four parts");
    assert!(backend.0.is_broken_into());
    drop(backend);
    let backend = open(&scratch, LIMITS);
    assert_eq!(held(&scratch), MIB, "there is room, so it is whole");
    tries.store(0, Relaxed);
    let never = || {
        tries.fetch_add(1, Relaxed);
        Err(full())
    };
    assert_eq!(backend.0.with_reserve(never).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((tries.load(Relaxed), held(&scratch)), (1 + PARTS, 0));
    tries.store(0, Relaxed);
    assert!(backend.0.with_reserve(never).is_err());
    assert_eq!(tries.load(Relaxed), 1, "nothing is left");
    assert_eq!(backend.0.shortage(0).unwrap(), None, "a look makes it whole");
    assert_eq!(held(&scratch), MIB);
    let broken = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    assert!(backend.0.with_reserve(broken).is_err());
    assert_eq!(held(&scratch), MIB, "space does not mend that");
}

#[test]
fn the_largest_size_is_kept_with_the_reserve_for_what_makes_room() {
    let scratch = Scratch::new("largest");
    let backend = open(&scratch, LIMITS);
    backend.set_len(64 * MIB).unwrap();
    let block = vec![1; MIB as usize];
    // Scattered over a file with holes, and one of them twice.
    for at in [0, 9, 3, 60, 5, 9, 20, 33] {
        backend.write(at * MIB, &block).unwrap();
    }
    assert_eq!(backend.0.shortage(7 * MIB).unwrap(), None, "seven were used");
    backend.write(40 * MIB, &block).unwrap();
    assert_eq!(backend.0.shortage(7 * MIB).unwrap(), Some(Shortage::MaxSize));
    assert_eq!(backend.0.shortage(MIB).unwrap(), None, "there is room inside");
    backend.write(41 * MIB, &block).unwrap();
    let error = backend.write(42 * MIB, &block).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("store.max_size"), "{error}");
    backend.set_len(40 * MIB).unwrap();
    assert_eq!(backend.0.shortage(7 * MIB).unwrap(), None);
    backend.write(39 * MIB, &block).unwrap();
}

#[test]
fn what_is_to_be_left_free_is_left_free() {
    let scratch = Scratch::new("free");
    let backend = open(&scratch, Limits { min_free: u64::MAX, ..LIMITS });
    assert_eq!(backend.0.shortage(0).unwrap(), Some(Shortage::MinFree));
    // The file of a store that was emptied holds the space that is missing: it is used before more is taken.
    backend.set_len(8 * MIB).unwrap();
    backend.write(0, &vec![1; 6 * MIB as usize]).unwrap();
    assert_eq!(backend.0.shortage(MIB).unwrap(), None);
    assert_eq!(backend.0.shortage(4 * MIB).unwrap(), Some(Shortage::MinFree));
}

#[test]
fn a_reserve_that_the_file_system_has_no_room_for_is_a_shortage() {
    let scratch = Scratch::new("no-room");
    // More than any file may have, so the file system says no as when it is full.
    let backend = open(&scratch, Limits { reserve: 1 << 62, ..LIMITS });
    backend.set_len(MIB).unwrap();
    backend.write(0, b"still works").unwrap();
    assert_eq!(backend.0.shortage(0).unwrap(), Some(Shortage::Reserve));
}
