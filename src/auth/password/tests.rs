//! The password file: every malformed line refuses it whole, mosquitto's hashes hold, strangers take as much work.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::auth::scratch::Scratch;

/// Made by `mosquitto_passwd -b` 2.0.11 of Debian 12.
const MOSQUITTO_7: &str = "$7$101$cS5QuGOiWzDYni81$kKXDVyapaEWVq2MOCqgDkUrvc9/8kWa0eGClrrZlNUKyeRU5vCuL4CKbIev3SuA3uCfgXh7MiRaFNanUjl2N+g==";
const MOSQUITTO_7_UMLAUTS: &str = "$7$101$doHyIQ4i89C2GmR4$jx/EL9elvJrzCDI5Qra1ITERjHDfxh3Bs2uNB0YiaLuOj9/TREjOIX5HF4C6e5Nri6G6bR2Wu6WyZjXr4l+9YA==";
/// The same with `-H sha512`.
const MOSQUITTO_6: &str = "$6$GaRW2rk1s52LJjLj$oYPlx3wFiCj6tG3xvmiXUA3D6Y4KQbG+yG1lVsSVdiJ3WG0Mm6jb1w9d1+aZHPQU7ldImLTqYDg4TpxuHFoS6A==";
/// The reference implementation's own test: argon2id, 2 passes, 256 KiB, "password", "somesalt".
const REFERENCE: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn users(text: &str) -> Users {
    try_users(text).unwrap()
}

fn try_users(text: &str) -> Result<Users, LoadError> {
    Users::parse(Path::new("users"), text.as_bytes(), &DecoyKey::random().unwrap())
}

fn hash(password: &str) -> Hash {
    Hash::with(password.as_bytes(), 64, 1).unwrap()
}

fn verifies(hash: &str, password: &str) -> bool {
    Hash::parse(hash).unwrap().verify(password.as_bytes(), &mut Work::default())
}

#[test]
fn hashes_made_elsewhere_hold() {
    for (text, password) in [
        (MOSQUITTO_7, "wonderland"),
        (MOSQUITTO_7_UMLAUTS, "päss wörd"),
        (MOSQUITTO_6, "secret"),
        (REFERENCE, "password"),
    ] {
        assert!(verifies(text, password), "{text}");
        for wrong in ["", "Wonderland", "password ", "secre"] {
            assert!(!verifies(text, wrong), "{text} {wrong}");
        }
        assert_eq!(Hash::parse(text).unwrap().to_string(), text);
    }
    assert!(!verifies("!", ""));
    assert!(!verifies("!", "!"));
}

#[test]
fn a_new_hash_has_owasps_parameters_and_a_salt_of_its_own() {
    let (one, two) = (Hash::of(b"wonderland").unwrap(), Hash::of(b"wonderland").unwrap());
    assert!(one.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
    assert_ne!(one, two);
    assert_eq!(one.strength(), Strength::Good);
    let mut work = Work::default();
    assert!(Hash::parse(&one.to_string()).unwrap().verify(b"wonderland", &mut work));
    assert_eq!(work.argon2, 2 * 19_456);
    assert!(!two.verify(b"wonderlan", &mut work));
}

#[test]
fn a_hash_that_is_not_understood_is_refused_without_being_shown() {
    let cut = MOSQUITTO_7.trim_end_matches('=');
    let many_rounds = MOSQUITTO_7.replace("$101$", "$10000001$");
    let no_rounds = MOSQUITTO_7.replace("$101$", "$0$");
    let greedy = REFERENCE.replace("m=256", "m=4194304");
    let short = REFERENCE.replace("m=256", "m=7");
    let swapped = REFERENCE.replace("m=256,t=2", "t=2,m=256");
    let plus = REFERENCE.replace("t=2", "t=+2");
    let trailing = format!("{REFERENCE}$");
    for (text, part) in [
        ("", "the hash is empty"),
        ("wonderland", "is this a plain password?"),
        ("x$7$1$a$b", "is this a plain password?"),
        ("$1$abcdefgh$hash", "a hash of kind \"1\""),
        ("$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekC", "kind \"argon2i\""),
        ("$2b$12$abcdefghijklmnopqrstuv", "kind \"2b\""),
        ("$7$101$abc", "was the line cut off?"),
        (cut, "not base64"),
        (&MOSQUITTO_7[..60], "the hash has 27 bytes, it should have 64;"),
        (&many_rounds, "1 to 10000000"),
        (&no_rounds, "0 rounds"),
        ("$6$cS5QuGOicS5QuGOi$c2hvcnQ=", "it should have 64;"),
        ("$6$$c2hvcnQ=", "the salt has 0 bytes"),
        (&greedy, "m from 8 times p to 262144"),
        (&short, "m=7"),
        (&swapped, "write m=KIB,t=PASSES,p=LANES"),
        (&plus, "t=+2"),
        (&trailing, "was the line cut off?"),
        (&REFERENCE.replace("v=19", "v=16"), "v=16"),
        (&REFERENCE[..49], "hash has"),
    ] {
        let problem = Hash::parse(text).unwrap_err();
        assert!(problem.contains(part), "{text}: {problem}");
        assert!(!problem.contains("kKXDVyapaEWV") && !problem.contains("c29tZXNhbHQ"), "{problem}");
    }
    assert!(!problem_of_debug(REFERENCE).contains("nf65"));
}

fn problem_of_debug(text: &str) -> String {
    format!("{:?}", Hash::parse(text).unwrap())
}

#[test]
fn one_wrong_line_refuses_the_file_with_its_place() {
    let good = format!("alice:{}", hash("a"));
    assert_eq!(users(&format!("# users\n\n{good}\r\nbob:!:ops\n")).len(), 2);
    for (line, part) in [
        (good.as_str(), "users:3: user \"alice\" is in line 2 already"),
        ("bob", "users:3: user \"bob\" has no hash"),
        ("bob:", "users:3: user \"bob\": the hash is empty"),
        ("bob::ops", "users:3: user \"bob\": the hash is empty"),
        ("bob:wonderland", "is this a plain password?"),
        (":!", "users:3: user \"\": the name is empty"),
        (" bob:!", "begins or ends with a blank"),
        ("b+b:!", "holds '+'"),
        ("b/b:!", "holds '/'"),
        ("bob#:!", "holds '#'"),
        ("b\0b:!", "control character"),
        ("bob:!:ops,", "group \"\": the name is empty"),
        ("bob:!:ops,ops", "group \"ops\" is named twice"),
        ("bob:!: ops", "begins or ends with a blank"),
        ("bob:!:SCRAM-SHA-256$4096:a$b:c", "groups come before SCRAM"),
        ("bob:!::SCRAM-SHA-256$4096:a$b:c", "a SCRAM verifier is"),
        ("bob:!::x", "a SCRAM verifier is"),
        ("   ", "begins or ends with a blank"),
    ] {
        let error = try_users(&format!("# users\n{good}\n{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with("users:3: ") && error.contains(part), "{line}: {error}");
    }
    let error = Users::parse(Path::new("users"), b"a:!\n\xff:!\n", &DecoyKey::random().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "users:2: not UTF-8; save the file as UTF-8");
    let many = (0..65).map(|n| format!("g{n}")).collect::<Vec<_>>().join(",");
    assert!(try_users(&format!("a:!:{many}")).unwrap_err().to_string().contains("65 groups, 64 at most"));
}

#[test]
fn an_entry_reads_back_as_it_is_written() {
    let scram = Verifier::of("wonderland").unwrap();
    for (groups, scram) in [
        (vec![], None),
        (vec!["ops".to_owned()], None),
        (vec![], Some(scram.clone())),
        (vec!["ops".to_owned(), "night shift".to_owned()], Some(scram)),
    ] {
        let entry = Entry { user: "alice".to_owned(), hash: hash("x"), groups, scram };
        assert_eq!(Entry::parse(&entry.to_string()).unwrap().unwrap(), entry);
    }
}

#[test]
fn a_right_password_is_granted_with_its_groups_and_a_wrong_one_is_not() {
    let users = users(&format!("alice:{}:ops,night\nbob:{MOSQUITTO_6}\npanel:!:hmi\n", hash("wonderland")));
    let mut work = Work::default();
    let Proof::Right(grant) = users.check("alice", b"wonderland", &mut work) else { panic!() };
    assert_eq!((&*grant.user, grant.groups), ("alice", vec!["ops".into(), "night".into()]));
    assert_eq!(users.check("alice", b"secret", &mut work), Proof::Wrong);
    assert_eq!(users.check("bob", b"wonderland", &mut work), Proof::Wrong);
    assert!(matches!(users.check("bob", b"secret", &mut work), Proof::Right(_)));
    for password in ["", "!", "wonderland"] {
        assert_eq!(users.check("panel", password.as_bytes(), &mut work), Proof::Wrong, "{password}");
    }
    assert_eq!(users.check("eve", b"wonderland", &mut work), Proof::Stranger);
    assert_eq!(users.check("", b"", &mut work), Proof::Stranger);
    assert_eq!(users.check("Alice", b"wonderland", &mut work), Proof::Stranger);
    assert_eq!(users.grant("panel").unwrap().groups, ["hmi".into()]);
    assert_eq!(users.grant("eve"), None);
}

#[test]
fn an_empty_password_is_none_even_if_somebody_hashed_it() {
    let users = users(&format!("alice:{}\n", hash("")));
    let mut work = Work::default();
    assert_eq!(users.check("alice", b"", &mut work), Proof::Wrong);
    assert_eq!(work.argon2, 64, "as long as any other");
    assert_eq!(users.remembered("alice", b""), None);
}

#[test]
fn nobody_is_told_by_the_time_whether_a_name_exists() {
    let one_kind = users(&format!("alice:{}\nbob:{}\npanel:!\n", hash("a"), hash("b")));
    let work_of = |users: &Users, user: &str, password: &[u8]| {
        let mut work = Work::default();
        if users.check(user, password, &mut work) == Proof::Stranger {
            users.spend(user, password, &mut work);
        }
        work
    };
    let known = work_of(&one_kind, "alice", b"wrong");
    assert_eq!(known, Work { argon2: 64, ..Work::default() });
    assert_eq!(work_of(&one_kind, "alice", b"a"), known, "right or wrong");
    for name in ["eve", "panel", "", "mallory"] {
        assert_eq!(work_of(&one_kind, name, b"wrong"), known, "{name}");
    }
    // Nobody at all: as much as a new user would take.
    assert_eq!(work_of(&users("# none\n"), "eve", b"x").argon2, 2 * 19_456);
    // Several kinds: a stranger is as one of them, and always as the same.
    let kinds = users(&format!("alice:{}\nbob:{MOSQUITTO_7}\ncarol:{MOSQUITTO_6}\n", hash("a")));
    let mut seen = Vec::new();
    for number in 0..64 {
        let name = format!("eve{number}");
        let work = work_of(&kinds, &name, b"x");
        assert_eq!(work_of(&kinds, &name, b"y"), work);
        assert!(["alice", "bob", "carol"].iter().any(|user| work_of(&kinds, user, b"x") == work));
        if !seen.contains(&work) {
            seen.push(work);
        }
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_strangers_lucky_guess_of_somebodys_password_lets_nobody_in() {
    let users = users(&format!("alice:{}\n", hash("a")));
    let mut work = Work::default();
    assert_eq!(users.check("eve", b"a", &mut work), Proof::Stranger);
    users.spend("eve", b"a", &mut work);
    assert_eq!(users.remembered("eve", b"a"), None);
    assert_eq!(users.remembered("alice", b"a"), None, "not even remembered");
}

#[test]
fn only_what_was_right_is_remembered_and_only_by_this_file() {
    let text = format!("alice:{}:ops\nbob:{}\n", hash("a"), hash("b"));
    let file = users(&text);
    let mut work = Work::default();
    assert_eq!(file.remembered("alice", b"a"), None, "never seen");
    let Proof::Right(first) = file.check("alice", b"a", &mut work) else { panic!() };
    assert_eq!(file.check("bob", b"x", &mut work), Proof::Wrong);
    assert_eq!(file.remembered("alice", b"a"), Some(first));
    for (user, password) in
        [("alice", "b"), ("alice", ""), ("bob", "a"), ("bob", "x"), ("alicea", ""), ("eve", "a")]
    {
        assert_eq!(file.remembered(user, password.as_bytes()), None, "{user} {password}");
    }
    assert_eq!(users(&text).remembered("alice", b"a"), None, "loaded anew");
}

#[test]
fn weak_hashes_and_open_files_are_warned_of() {
    let room = Scratch::new();
    let decoy = DecoyKey::random().unwrap();
    let good = format!("alice:{}\n", dummy());
    let path = room.file("users", &good);
    assert_eq!(Users::load(&path, &decoy).unwrap().warnings(), [""; 0]);
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    for (bits, part) in [(0o644, "chmod o-r"), (0o660, "chmod g-w")] {
        mode(bits);
        let warnings = Users::load(&path, &decoy).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{warnings:?}");
    }
    mode(0o602);
    assert!(matches!(Users::load(&path, &decoy), Err(LoadError::Permissions { .. })));
    mode(0o600);
    fs::write(&path, format!("{good}bob:{MOSQUITTO_7}\ncarol:{MOSQUITTO_6}\n")).unwrap();
    let warnings = Users::load(&path, &decoy).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("\"bob\" and 1 others is weak"), "{warnings:?}");
    assert!(matches!(Users::load(&room.path("none"), &decoy), Err(LoadError::Unreadable { .. })));
}

#[test]
fn a_stranger_is_told_the_iterations_that_most_users_have() {
    let verifier = |iterations: u32| Verifier::with("x", b"12345678", iterations.try_into().unwrap());
    let (few, many) = (verifier(4_096), verifier(5_000));
    let users = users(&format!("a:!::{few}\nb:!::{many}\nc:!::{few}\nd:!\n"));
    assert_eq!(users.decoy_verifier("eve").iterations(), 4_096);
    assert_eq!(users.decoy_verifier("eve"), users.decoy_verifier("eve"));
    assert_ne!(users.decoy_verifier("eve"), users.decoy_verifier("d"));
    assert_eq!(users.verifier("a"), Some(&few));
    assert_eq!(users.verifier("d"), None);
}

#[test]
fn an_edit_keeps_what_it_does_not_change() {
    let room = Scratch::new();
    let path = room.file("users", format!("# staff\nalice:{}:ops\n\nbob:!\n", hash("a")));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = room.path("link");
    symlink(&path, &link).unwrap();
    let mut editor = PasswordFileEditor::open(&link).unwrap();
    assert_eq!(editor.find("alice").unwrap().groups, ["ops"]);
    assert_eq!(editor.find("eve"), None);
    let entry =
        |user: &str| Entry { user: user.to_owned(), hash: Hash::Nothing, groups: vec![], scram: None };
    editor.put(&entry("alice"));
    editor.put(&entry("carol"));
    assert!(editor.remove("bob"));
    assert!(!editor.remove("bob"));
    editor.save().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "# staff\nalice:!\n\ncarol:!\n");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert!(link.is_symlink(), "the link stays one");
    assert_eq!(fs::read_dir(room.path("")).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn a_new_file_is_its_owners_alone() {
    let room = Scratch::new();
    let path = room.path("users");
    PasswordFileEditor::open(&path).unwrap().save().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_wrong_is_not_rewritten() {
    let room = Scratch::new();
    let path = room.file("users", "alice:secret\n");
    assert!(PasswordFileEditor::open(&path).unwrap_err().to_string().contains("users:1: "));
    assert_eq!(fs::read_to_string(&path).unwrap(), "alice:secret\n");
    let lost = room.path("lost");
    symlink(room.path("nowhere"), &lost).unwrap();
    assert!(PasswordFileEditor::open(&lost).unwrap_err().to_string().contains("not there"));
}

#[test]
fn two_editors_wait_for_each_other() {
    let room = Scratch::new();
    let path = room.path("users");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let mut editor = PasswordFileEditor::open(path).unwrap();
                let user = format!("user{number}");
                editor.put(&Entry { user, hash: Hash::Nothing, groups: vec![], scram: None });
                editor.save().unwrap();
            });
        }
    });
    assert_eq!(read_entries(&path).unwrap().len(), 8);
}
