//! `noctule certs` as a user runs it: exit codes, and that what it prints to be pasted can be pasted.

use crate::process::{data_dir::DataDir, file, noctule};

#[test]
fn certificates_are_made_once_and_the_configuration_that_is_printed_can_be_read() {
    let directory = DataDir::in_memory();
    let path = directory.path().to_str().unwrap();
    let printed =
        noctule(&["certs", "--dir", path, "--name", "gateway.local", "--client", "Press 7"]).end().succeeds();
    assert!(printed.contains("gateway.local") && printed.contains("127.0.0.1"), "{printed}");
    let from = printed.find("[[listener]]").unwrap();
    let to = printed.find("\nTo try it:").unwrap();
    let config: toml::Table = printed[from..to].parse().unwrap_or_else(|error| panic!("{error}\n{printed}"));
    let tls = &config["tls"][0];
    assert_eq!(config["listener"][0]["tls"], tls["name"]);
    let own = &tls["certificates"][0];
    for file in [&own["chain"], &own["key"], &tls["client_ca"]] {
        assert!(std::fs::exists(file.as_str().unwrap()).unwrap(), "{file}");
    }
    let file = file("certs-config", &printed.as_bytes()[from..to]);
    noctule(&["check", file.path()]).end().succeeds();
    let command = printed.lines().find(|line| line.starts_with("mosquitto_sub")).unwrap();
    assert!(
        command.contains(&format!("--cert '{path}/client-Press 7.pem' --key '{path}/client-Press 7.key'")),
        "{command}"
    );

    let again = noctule(&["certs", "--dir", path, "--client", "Press 7"]).end();
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(
        again.err.ends_with("client-Press 7.pem is there already; --force replaces it\n"),
        "{}",
        again.err
    );
    let printed = noctule(&["certs", "--dir", path, "--client", "other"]).end().succeeds();
    assert!(printed.contains("kept ") && !printed.contains("[[tls]]"), "{printed}");
}

#[test]
fn names_that_cannot_be_names_are_a_wrong_command_line() {
    for arguments in [
        &["--client", "a/b"][..],
        &["--client", ""],
        &["--name", "a b"],
        &["--days", "0"],
        &["--days", "36501"],
        &["stray"],
    ] {
        let ended = noctule(&[&["certs", "--dir", "does-not-exist/x"], arguments].concat()).end();
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.err);
    }
}
