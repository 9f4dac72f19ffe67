//! Directories that are fine, and every kind that is not. What needs another user's directory runs as root only, and
//! says so otherwise.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::*;

/// An empty directory that goes with the test.
pub(in super::super) struct Scratch(PathBuf);

impl Scratch {
    pub(in super::super) fn new(name: &str) -> Self {
        let name = format!("noctule-store-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A process of an earlier run may have had our number and been killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.0
    }

    pub(in super::super) fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[track_caller]
fn refused(path: &Path) -> String {
    Directory::open(path).unwrap_err().to_string()
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test} needs root, so nothing was tested");
    }
    root
}

#[test]
fn a_missing_directory_is_made_for_its_owner_alone() {
    let scratch = Scratch::new("made");
    let directory = Directory::open(&scratch.data()).unwrap();
    directory.store_file().unwrap().write_all(b"x").unwrap();
    assert_eq!(mode(&scratch.data()), 0o700);
    assert_eq!(mode(&scratch.data().join(STORE)), 0o600);
    assert_eq!(mode(&scratch.data().join(LOCK)), 0o600);
    drop(directory);
    let directory = Directory::open(&scratch.data()).unwrap();
    let mut content = String::new();
    directory.store_file().unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "x", "the same file again");
}

#[test]
fn only_the_last_part_of_a_path_is_made() {
    let scratch = Scratch::new("parent");
    let said = refused(&scratch.path().join("no/such"));
    assert!(said.contains("/no to create ") && said.contains("create it first"), "{said}");
}

#[test]
fn a_second_instance_is_told_who_has_it() {
    let scratch = Scratch::new("second");
    let first = Directory::open(&scratch.data()).unwrap();
    let said = refused(&scratch.data());
    let expected = format!("another noctule (process {}) uses ", std::process::id());
    assert!(said.starts_with(&expected), "{said}");
    drop(first);
    Directory::open(&scratch.data()).unwrap();
}

#[test]
fn other_peoples_things_are_left_alone() {
    let scratch = Scratch::new("foreign");
    fs::write(scratch.path().join("holiday.jpg"), "").unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let said = refused(scratch.path());
    let mode = fs::metadata(scratch.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o1777, "it is not ours to change");
    assert!(said.contains("holds \"holiday.jpg\" and nothing of noctule"), "{said}");
    assert!(!scratch.path().join(LOCK).exists(), "nothing is left behind");
    // A store from a backup, without a lock file.
    fs::write(scratch.path().join(STORE), "").unwrap();
    Directory::open(scratch.path()).unwrap();
}

#[test]
fn the_root_of_a_file_system_counts_as_empty() {
    let scratch = Scratch::new("ext4");
    fs::create_dir(scratch.path().join(LOST_AND_FOUND)).unwrap();
    Directory::open(scratch.path()).unwrap();
}

#[test]
fn links_are_not_followed() {
    let scratch = Scratch::new("links");
    let (real, link) = (scratch.data(), scratch.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    for path in [link.clone(), link.join(""), link.join(".")] {
        let said = refused(&path);
        assert!(said.contains("is a symbolic link"), "{}: {said}", path.display());
    }
    let elsewhere = scratch.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, real.join(STORE)).unwrap();
    let directory = Directory::open(&real).unwrap();
    let said = directory.store_file().unwrap_err().to_string();
    assert!(said.contains("noctule.redb is not a plain file with one name"), "{said}");
    fs::remove_file(real.join(STORE)).unwrap();
    fs::hard_link(&elsewhere, real.join(STORE)).unwrap();
    let said = directory.store_file().unwrap_err().to_string();
    assert!(said.contains("noctule.redb is not a plain file with one name"), "{said}");
    drop(directory);
    fs::remove_file(real.join(LOCK)).unwrap();
    symlink(&elsewhere, real.join(LOCK)).unwrap();
    assert!(refused(&real).contains("noctule.lock is not a plain file"));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
}

#[test]
fn something_else_at_the_path_is_named() {
    let scratch = Scratch::new("file");
    fs::write(scratch.data(), "").unwrap();
    assert!(refused(&scratch.data()).contains("is not a directory"));
}

#[test]
fn what_others_may_write_to_is_taken_from_them() {
    let scratch = Scratch::new("writable");
    fs::create_dir(scratch.data()).unwrap();
    fs::set_permissions(scratch.data(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(scratch.data().join(STORE), "").unwrap();
    fs::set_permissions(scratch.data().join(STORE), fs::Permissions::from_mode(0o644)).unwrap();
    let directory = Directory::open(&scratch.data()).unwrap();
    assert_eq!(mode(&scratch.data()), 0o700);
    directory.store_file().unwrap();
    assert_eq!(mode(&scratch.data().join(STORE)), 0o600, "nor may they read it");
}

#[test]
fn another_users_directory_or_file_is_refused() {
    if !is_root("another_users_directory_or_file_is_refused") {
        return;
    }
    let scratch = Scratch::new("owner");
    fs::create_dir(scratch.data()).unwrap();
    chown(scratch.data(), Some(12345), None).unwrap();
    let said = refused(&scratch.data());
    assert!(said.contains("belongs to user 12345, and noctule runs as user 0"), "{said}");
    chown(scratch.data(), Some(0), None).unwrap();
    fs::write(scratch.data().join(STORE), "").unwrap();
    chown(scratch.data().join(STORE), Some(12345), None).unwrap();
    let directory = Directory::open(&scratch.data()).unwrap();
    let said = directory.store_file().unwrap_err().to_string();
    assert!(said.contains("noctule.redb belongs to user 12345"), "{said}");
}

#[test]
fn a_directory_that_was_moved_or_exchanged_is_noticed() {
    let scratch = Scratch::new("moved");
    let directory = Directory::open(&scratch.data()).unwrap();
    let file = directory.store_file().unwrap();
    assert!(directory.is_in_place() && directory.has_store(&file));
    let away = scratch.path().join("away");
    fs::rename(scratch.data(), &away).unwrap();
    assert!(!directory.is_in_place());
    fs::create_dir(scratch.data()).unwrap();
    assert!(!directory.is_in_place(), "another one of the same name");
    fs::remove_dir(scratch.data()).unwrap();
    fs::rename(&away, scratch.data()).unwrap();
    assert!(directory.is_in_place());
    fs::remove_file(scratch.data().join(LOCK)).unwrap();
    assert!(!directory.is_in_place(), "a second instance would not see us");
    fs::rename(scratch.data().join(STORE), scratch.data().join("other")).unwrap();
    assert!(!directory.has_store(&file));
}

#[test]
fn a_deleted_file_gets_its_name_back_but_takes_nobody_elses() {
    let scratch = Scratch::new("deleted");
    let directory = Directory::open(&scratch.data()).unwrap();
    let mut file = directory.store_file().unwrap();
    file.write_all(b"what it held").unwrap();
    fs::remove_file(scratch.data().join(STORE)).unwrap();
    fs::write(scratch.path().join("elsewhere"), "theirs").unwrap();
    fs::hard_link(scratch.path().join("elsewhere"), scratch.data().join(COPY)).unwrap();
    let copy = directory.give_name_back(&file).unwrap();
    assert_eq!(fs::read_to_string(scratch.path().join("elsewhere")).unwrap(), "theirs");
    assert!(directory.has_store(&copy) && !directory.has_store(&file));
    assert_eq!(fs::read_to_string(scratch.data().join(STORE)).unwrap(), "what it held");
    assert_eq!(mode(&scratch.data().join(STORE)), 0o600);
    let said = directory.give_name_back(&file).unwrap_err().to_string();
    assert!(said.contains("is not the store file that noctule had opened"), "{said}");
}

#[test]
fn damaged_files_are_set_aside_under_names_of_their_own() {
    let scratch = Scratch::new("aside");
    let directory = Directory::open(&scratch.data()).unwrap();
    let now = UNIX_EPOCH + std::time::Duration::from_secs(1_795_228_145);
    let mut names = Vec::new();
    for content in ["one", "two", "three"] {
        directory.store_file().unwrap().write_all(content.as_bytes()).unwrap();
        let to = directory.set_aside(now).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), content);
        names.push(to.file_name().unwrap().to_string_lossy().into_owned());
    }
    let name = "noctule.redb.damaged-1795228145";
    assert_eq!(names, [name.to_owned(), format!("{name}-2"), format!("{name}-3")]);
    assert!(!scratch.data().join(STORE).exists());
}

/// A store in its directory, and a copy beside it that is to take its place.
fn with_copy(scratch: &Scratch) -> Directory {
    let directory = Directory::open(&scratch.data()).unwrap();
    directory.store_file().unwrap().write_all(b"before").unwrap();
    let backup = scratch.path().join("backup");
    fs::write(&backup, "backup").unwrap();
    directory.copy_beside(&File::open(backup).unwrap()).unwrap();
    directory
}

/// What the next start finds in the store, and the files that lie there then.
fn after_restart(scratch: &Scratch) -> (String, Vec<String>) {
    let directory = Directory::open(&scratch.data()).unwrap();
    let mut content = String::new();
    directory.store_file().unwrap().read_to_string(&mut content).unwrap();
    let entries = fs::read_dir(scratch.data()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != LOCK);
    names.sort();
    (content, names)
}

const NOW: SystemTime = UNIX_EPOCH;
const ASIDE: &str = "noctule.redb.before-restore-0";

#[test]
fn a_copy_takes_the_stores_place() {
    let scratch = Scratch::new("exchange");
    let kept = with_copy(&scratch).exchange_for_copy(NOW).unwrap();
    assert_eq!(kept, Some(scratch.data().join(ASIDE)));
    assert_eq!(after_restart(&scratch), ("backup".to_owned(), vec![STORE.to_owned(), ASIDE.to_owned()]));
    assert_eq!(fs::read_to_string(scratch.data().join(ASIDE)).unwrap(), "before");
}

#[test]
fn a_copy_becomes_the_store_where_there_was_none() {
    let scratch = Scratch::new("exchange-none");
    let directory = with_copy(&scratch);
    fs::remove_file(scratch.data().join(STORE)).unwrap();
    assert_eq!(directory.exchange_for_copy(NOW).unwrap(), None);
    drop(directory);
    assert_eq!(after_restart(&scratch), ("backup".to_owned(), vec![STORE.to_owned()]));
}

#[test]
fn an_exchange_that_is_cut_off_leaves_the_store_that_was_there() {
    let scratch = Scratch::new("exchange-cut");
    let directory = with_copy(&scratch);
    directory.keep_as(ASIDE).unwrap();
    // Power goes here: the store has two names, and the copy takes room.
    drop(directory);
    assert_eq!(after_restart(&scratch), ("before".to_owned(), vec![STORE.to_owned()]));
    // A name that somebody else gave it is not ours to take.
    fs::hard_link(scratch.data().join(STORE), scratch.path().join("elsewhere")).unwrap();
    let said = Directory::open(&scratch.data()).unwrap().store_file().unwrap_err().to_string();
    assert!(said.contains("is not a plain file with one name"), "{said}");
}

#[test]
fn an_exchange_that_fails_leaves_everything_as_it_was() {
    let scratch = Scratch::new("exchange-fails");
    let directory = with_copy(&scratch);
    // Without a copy the second step can't be done.
    directory.discard_copy().unwrap();
    directory.exchange_for_copy(NOW).unwrap_err();
    let as_it_was = ("before".to_owned(), vec![STORE.to_owned()]);
    drop(directory);
    assert_eq!(after_restart(&scratch), as_it_was);
    Directory::open(&scratch.data()).unwrap().exchange_by_renaming(ASIDE).unwrap_err();
    assert_eq!(after_restart(&scratch), as_it_was, "nor where there are no hard links");
}

#[test]
fn without_hard_links_the_store_is_renamed() {
    let scratch = Scratch::new("exchange-vfat");
    with_copy(&scratch).exchange_by_renaming(ASIDE).unwrap();
    assert_eq!(after_restart(&scratch), ("backup".to_owned(), vec![STORE.to_owned(), ASIDE.to_owned()]));
    assert_eq!(fs::read_to_string(scratch.data().join(ASIDE)).unwrap(), "before");
}

#[test]
fn a_copy_that_fails_halfway_is_not_left_behind() {
    let scratch = Scratch::new("copy-fails");
    let directory = Directory::open(&scratch.data()).unwrap();
    // It can be opened and not read.
    directory.copy_beside(&File::open(scratch.path()).unwrap()).unwrap_err();
    assert!(!scratch.data().join(COPY).exists());
}
