//! `noctule passwd` as a user runs it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use noctule::auth::DecoyKey;
use noctule::auth::password::{Proof, Users, Work};

use super::process::data_dir::DataDir;
use super::process::{Ended, PATIENCE, noctule};

/// A folder that goes with the test.
struct Folder(DataDir);

impl Folder {
    fn new() -> Self {
        let folder = DataDir::in_memory();
        fs::create_dir(folder.path()).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
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
    let folder = Folder::new();
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
    let folder = Folder::new();
    let file = folder.file("users");
    let ended = passwd(&[&file, "alice", "--password-stdin"], "grün\n");
    assert!(ended.err.contains("alice can't use SCRAM-SHA-256"), "{}", ended.err);
    ended.succeeds();
    assert!(matches!(proof(&file, "alice", "grün"), Proof::Right(_)));
    assert!(!fs::read_to_string(&file).unwrap().contains("SCRAM"));
}

#[test]
fn what_mosquitto_passwd_made_is_taken_over() {
    let folder = Folder::new();
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
    let folder = Folder::new();
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
    let folder = Folder::new();
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

/// A terminal on which alice's password is asked for. script(1) makes it, which comes with every Debian.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    shown: Vec<u8>,
}

impl Terminal {
    fn start(file: &str) -> Self {
        let command = format!("{} passwd {file} alice; echo code $?", env!("CARGO_BIN_EXE_noctule"));
        let mut script = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { script, keys, screen, shown: Vec::new() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits until more is shown; whether there is.
    fn look(&mut self) -> bool {
        match self.screen.recv_timeout(PATIENCE) {
            Ok(bytes) => self.shown.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:?}", self.text()),
        }
        true
    }

    /// Types these keys when that is asked. What is typed before is shown, and then thrown away.
    #[track_caller]
    fn answer(&mut self, prompt: &str, keys: &str) {
        while !self.text().contains(prompt) {
            assert!(self.look(), "{prompt:?} is never asked: {:?}", self.text());
        }
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// All that was shown until the end.
    fn end(mut self) -> String {
        while self.look() {}
        self.text()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn the_terminal_is_asked_twice_and_shows_nothing() {
    let folder = Folder::new();
    let file = folder.file("users");
    let on_terminal = |first: &str, second: Option<&str>| {
        let mut terminal = Terminal::start(&file);
        terminal.answer("Password of alice: ", first);
        if let Some(second) = second {
            terminal.answer("The same again: ", second);
        }
        terminal.end()
    };
    let said = on_terminal("wonderland\n", Some("wonderland\n"));
    assert!(said.contains("Password of alice: ") && said.contains("The same again: "), "{said}");
    assert!(said.contains("alice added") && said.contains("code 0"), "{said}");
    assert!(!said.contains("wonder"), "{said}");
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)));
    let differ = on_terminal("looking\n", Some("glass\n"));
    assert!(differ.contains("the two passwords differ") && differ.contains("code 1"), "{differ}");
    let stopped = on_terminal("look\x03", None);
    assert!(stopped.contains("nothing was changed") && stopped.contains("code 1"), "{stopped}");
    assert!(matches!(proof(&file, "alice", "wonderland"), Proof::Right(_)), "as it was");
}
