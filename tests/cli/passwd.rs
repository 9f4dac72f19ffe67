//! `noctule passwd` as a user runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use noctule::auth::DecoyKey;
use noctule::auth::password::{Proof, Users, Work};

use super::process::{Ended, noctule};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("noctule-passwd-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn passwd(arguments: &[&str], input: &str) -> Ended {
    let mut running = noctule(&[&["passwd"], arguments].concat());
    if !input.is_empty() {
        running.write(input.as_bytes());
    }
    running.end()
}

fn proof(file: &str, user: &str, password: &str) -> Proof {
    let users = Users::load(Path::new(file), &DecoyKey::random().unwrap()).unwrap();
    users.check(user, password.as_bytes(), &mut Work::default())
}

#[test]
fn a_user_is_added_changed_and_deleted() {
    let folder = Folder::new("life");
    let file = folder.file("users");
    let set = |user: &str, more: &[&str], password: &str| {
        passwd(&[&[&file, user, "--password-stdin"], more].concat(), password)
    };
    assert_eq!(
        set("alice", &["--groups", "ops,night"], "wonderland\n").succeeds(),
        format!("{file}: alice added\n")
    );
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("alice:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    assert!(text.contains(":ops,night:SCRAM-SHA-256$15000:"), "{text}");
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)));

    set("bob", &["--no-scram"], "b").succeeds();
    assert_eq!(set("alice", &[], "looking glass\r\n").succeeds(), format!("{file}: alice changed\n"));
    assert_eq!(proof(&file, "alice", "wonderland"), Proof::Wrong);
    let Proof::Right(grant) = proof(&file, "alice", "looking glass") else { panic!() };
    assert_eq!(grant.groups, ["ops".into(), "night".into()], "kept");
    set("alice", &["--groups", ""], "looking glass").succeeds();
    let Proof::Right(grant) = proof(&file, "alice", "looking glass") else { panic!() };
    assert_eq!(grant.groups, []);
    assert!(!fs::read_to_string(&file).unwrap().lines().nth(1).unwrap().contains("SCRAM"), "bob has none");

    assert_eq!(passwd(&[&file, "alice", "--delete"], "").succeeds(), format!("{file}: alice deleted\n"));
    assert_eq!(proof(&file, "alice", "looking glass"), Proof::Stranger);
    let again = passwd(&[&file, "alice", "--delete"], "");
    assert_eq!(again.code, 1);
    assert!(again.err.contains("no user \"alice\""), "{}", again.err);
}

#[test]
fn a_password_that_scram_cannot_carry_is_kept_without_it_and_that_is_said() {
    let folder = Folder::new("umlauts");
    let file = folder.file("users");
    let ended = passwd(&[&file, "alice", "--password-stdin"], "grün\n");
    assert!(ended.err.contains("alice can't use SCRAM-SHA-256"), "{}", ended.err);
    ended.succeeds();
    assert!(matches!(proof(&file, "alice", "grün"), Proof::Right(_)));
    assert!(!fs::read_to_string(&file).unwrap().contains("SCRAM"));
}

#[test]
fn what_mosquitto_passwd_made_is_taken_over() {
    let folder = Folder::new("import");
    let (from, file) = (folder.file("mosquitto"), folder.file("users"));
    let theirs = "alice:$7$101$cS5QuGOiWzDYni81$kKXDVyapaEWVq2MOCqgDkUrvc9/8kWa0eGClrrZlNUKyeRU5vCuL4CKbIev3SuA3uCfgXh7MiRaFNanUjl2N+g==\n";
    fs::write(&from, theirs).unwrap();
    let ended = passwd(&[&file, "--import", &from], "");
    assert!(ended.err.contains("1 of the hashes are weaker than ours"), "{}", ended.err);
    assert_eq!(ended.succeeds(), format!("{file}: 1 user of {from} added\n"));
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)));

    let again = passwd(&[&file, "--import", &from], "");
    assert_eq!(again.code, 1);
    assert!(again.err.contains("user \"alice\" of"), "{}", again.err);
    fs::write(&from, "carol:plain\n").unwrap();
    let wrong = passwd(&[&file, "--import", &from], "");
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("mosquitto:1: user \"carol\": a hash begins with $"), "{}", wrong.err);
    assert!(!wrong.err.contains("plain\n"), "{}", wrong.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs, "as it was");
}

#[test]
fn what_debians_tool_makes_now_holds_too() {
    let folder = Folder::new("debian");
    let file = folder.file("users");
    let made = Command::new("mosquitto_passwd").args(["-c", "-b", &file, "alice", "wonderland"]).output();
    // It comes with the broker's package, which .ci/run installs; without it there is nothing to compare with.
    let Ok(made) = made else { return };
    assert!(made.status.success(), "{made:?}");
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)));
    assert_eq!(proof(&file, "alice", "wonderlan"), Proof::Wrong);
}

#[test]
fn wrong_command_lines_and_files_change_nothing() {
    let folder = Folder::new("wrong");
    let file = folder.file("users");
    for (arguments, code, said) in [
        (&[file.as_str()][..], 2, "<USER>"),
        (&[&file, "a/b", "--password-stdin"], 2, "'/'"),
        (&[&file, "", "--password-stdin"], 2, "empty"),
        (&[&file, "a:b", "--password-stdin"], 2, "':'"),
        (&[&file, "a", "--groups", "x,,y"], 2, "group \"\""),
        (&[&file, "a", "--delete", "--groups", "x"], 2, "cannot be used"),
        (&[&file, "a", "--import", "b"], 2, "cannot be used"),
        (&[&file, "a", "--password-stdin"], 1, "the password is empty"),
        (&["/nowhere/users", "a", "--password-stdin"], 1, "the password is empty"),
        (&[&file, "--import", "/nowhere/users"], 1, "No such file"),
    ] {
        let ended = passwd(arguments, "");
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(said), "{arguments:?}: {}", ended.err);
        assert!(!Path::new(&file).exists(), "{arguments:?}");
    }
    let lost = passwd(&["/nowhere/users", "a", "--password-stdin"], "x");
    assert!(lost.code == 1 && lost.err.contains("/nowhere/users: can't be written"), "{}", lost.err);
    fs::write(&file, "alice:plain\n").unwrap();
    let ended = passwd(&[&file, "bob", "--password-stdin"], "x");
    assert!(ended.code == 1 && ended.err.contains("users:1: user \"alice\""), "{}", ended.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "alice:plain\n");
}

#[test]
fn the_terminal_is_asked_twice_and_shows_nothing() {
    let folder = Folder::new("terminal");
    let file = folder.file("users");
    // script(1) gives it a terminal; it comes with every Debian.
    let on_terminal = |keys: &str| {
        let command = format!("{} passwd {file} alice; echo code $?", env!("CARGO_BIN_EXE_noctule"));
        let line = format!("(sleep 1; printf '{keys}'; sleep 2) | script -qec '{command}' /dev/null");
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = on_terminal("wonderland\\nwonderland\\n");
    assert!(said.contains("Password of alice: ") && said.contains("The same again: "), "{said}");
    assert!(said.contains("alice added") && said.contains("code 0"), "{said}");
    assert!(!said.contains("wonder"), "{said}");
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)));
    let differ = on_terminal("looking\\nglass\\n");
    assert!(differ.contains("the two passwords differ") && differ.contains("code 1"), "{differ}");
    let stopped = on_terminal("look\\003");
    assert!(stopped.contains("nothing was changed") && stopped.contains("code 1"), "{stopped}");
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)), "as it was");
}
