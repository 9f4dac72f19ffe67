//! Command lines, right and wrong.

mod stomp;

use std::fs;

use super::*;
use crate::config::{Anonymous, Config, Level, Listener, LogFormat, Period, Protocol};
use noctule_core::id::Qos;

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split_whitespace().map(str::to_owned))
}

fn command(line: &str) -> Command {
    read(line).unwrap_or_else(|error| panic!("{line}: {error}")).into_command()
}

fn publish(line: &str) -> PubArgs {
    match command(line) {
        Command::Pub(args) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

fn subscribe(line: &str) -> SubArgs {
    match command(line) {
        Command::Sub(args) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

fn run(line: &str) -> RunArgs {
    match command(line) {
        Command::Run(args) => args,
        other => panic!("{line}: {other:?}"),
    }
}

/// That `line` is refused and that the reason contains `reason`.
#[track_caller]
fn refused(line: &str, reason: &str) {
    let error = read(line).expect_err(line);
    assert_eq!(error.exit_code(), i32::from(Exit::Usage as u8), "{line}");
    let text = error.to_string();
    assert!(text.contains(reason), "{line}: {text}");
}

#[test]
fn the_definitions_are_consistent() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn nothing_means_run_with_the_defaults() {
    assert_eq!(run("noctule").configuration().unwrap(), Config::default());
    assert_eq!(run("noctule run").configuration().unwrap(), Config::default());
    assert_eq!(run("noctule --workers 2").workers, Some(2));
}

#[test]
fn flags_stand_above_the_configuration() {
    let line = "noctule run --mqtt 0.0.0.0:2883 --anonymous --data d --workers 2 --log-format json -vv";
    let config = run(line).configuration().unwrap();
    assert_eq!(config.listener.len(), 1);
    assert_eq!(config.listener[0].address, "0.0.0.0:2883".parse().unwrap());
    assert_eq!(config.listener[0].anonymous, Anonymous::Everybody);
    assert_eq!(config.server.data_dir.to_str(), Some("d"));
    assert_eq!(config.server.workers, 2);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Json, Level::Trace));
    assert_eq!(config.faults(), []);
    assert_eq!(run("noctule -v").configuration().unwrap().log.level, Level::Debug);
}

#[test]
fn an_open_address_on_the_command_line_is_opted_into_too() {
    for flag in ["--mqtt", "--stomp"] {
        let open = |rest: &str| run(&format!("noctule {flag} 0.0.0.0:1883 {rest}")).configuration();
        assert_eq!(
            open("").unwrap_err().to_string(),
            format!(
                "{flag} 0.0.0.0:1883: other machines can reach it, and no authentication is configured that would let \
                 them in; add --anonymous if everybody who can reach it may publish and subscribe"
            )
        );
        assert_eq!(open("--anonymous").unwrap().listener[0].anonymous, Anonymous::Everybody);
        assert!(run(&format!("noctule {flag} [::1]:1883")).configuration().is_ok());
        for address in ["localhost:1883", "1883", ":1883", "127.0.0.1"] {
            refused(
                &format!("noctule {flag} {address}"),
                "write an address and a port such as 127.0.0.1:1883, 0.0.0.0:1883 or [::1]:61613",
            );
        }
    }
    refused("noctule --anonymous", "--mqtt");
    // One that is open on purpose does not open the other by accident.
    let error = run("noctule --mqtt 127.0.0.1:1 --stomp 0.0.0.0:2").configuration().unwrap_err().to_string();
    assert!(error.starts_with("--stomp 0.0.0.0:2: other machines can reach it"), "{error}");
}

#[test]
fn the_flags_replace_the_configured_listeners() {
    let served = |line: &str| {
        let config = run(line).configuration().unwrap();
        assert_eq!(config.faults(), []);
        let one = |one: &Listener| (one.protocol, one.address.to_string(), one.anonymous);
        config.listener.iter().map(one).collect::<Vec<_>>()
    };
    let (mqtt, stomp) = ("127.0.0.1:2".to_owned(), "127.0.0.1:3".to_owned());
    let all = Anonymous::Everybody;
    assert_eq!(served("noctule --mqtt 127.0.0.1:2"), [(Protocol::Mqtt, mqtt.clone(), Anonymous::Loopback)]);
    assert_eq!(
        served("noctule --stomp 127.0.0.1:3"),
        [(Protocol::Stomp, stomp.clone(), Anonymous::Loopback)]
    );
    assert_eq!(
        served("noctule run --stomp 127.0.0.1:3 --mqtt 127.0.0.1:2 --anonymous"),
        [(Protocol::Mqtt, mqtt, all), (Protocol::Stomp, stomp, all)]
    );
    assert_eq!(served("noctule").len(), 2);
}

#[test]
fn the_flags_name_two_addresses() {
    let error = |line: &str| run(line).configuration().unwrap_err().to_string();
    assert_eq!(
        error("noctule --mqtt 127.0.0.1:5 --stomp 127.0.0.1:5"),
        "--stomp 127.0.0.1:5: --mqtt 127.0.0.1:5 takes that address; give each its own port, such as 1883 and 61613"
    );
    let error = error("noctule --mqtt 0.0.0.0:5 --stomp 127.0.0.1:5 --anonymous");
    assert!(error.starts_with("--stomp 127.0.0.1:5: --mqtt 0.0.0.0:5 takes that address"), "{error}");
    assert!(run("noctule --mqtt 127.0.0.1:0 --stomp 127.0.0.1:0").configuration().is_ok());
}

#[test]
fn workers_have_the_range_of_the_file() {
    for (workers, right) in [(0, false), (1, true), (64, true), (65, false)] {
        assert_eq!(read(&format!("noctule run --workers {workers}")).is_ok(), right, "{workers}");
        assert_eq!(Config::parse(&format!("[server]\nworkers = {workers}"), "f").is_ok(), right, "{workers}");
    }
}

#[test]
fn a_payload_is_named_in_exactly_one_way() {
    assert_eq!(publish("noctule pub -t a -m hi").payload(), Payload::Text("hi"));
    assert_eq!(publish("noctule pub -t a -m -1.5").payload(), Payload::Text("-1.5"));
    assert_eq!(publish("noctule pub -t a -n").payload(), Payload::Text(""));
    assert_eq!(publish("noctule pub -t a -l").payload(), Payload::Lines);
    assert_eq!(publish("noctule pub -t a -f -").payload(), Payload::Input);
    assert_eq!(publish("noctule pub -t a -f x").payload(), Payload::File("x".as_ref()));
    refused("noctule pub -t a", "--message <TEXT>");
    refused("noctule pub -t a -n -l", "cannot be used with");
    refused("noctule pub -m hi", "--topic");
}

#[test]
fn publishing_takes_every_property() {
    let args = publish(
        "noctule pub -t a -m hi -q 2 -r -i me -u anna -P x -k 5s --content-type text/plain --payload-format utf8 \
         --response-topic r --correlation-data 7 --expiry 1h --user-property a=b=c --user-property a= \
         --session-expiry 1d --will-topic w --will-message bye --will-qos 1 --will-retain --will-delay 3s",
    );
    assert_eq!(args.qos, Qos::ExactlyOnce);
    assert!(args.retain && args.connect.will.will_retain);
    assert_eq!(args.expiry, Some(Period::from_secs(3_600)));
    assert_eq!(args.connect.keep_alive, Period::from_secs(5));
    assert_eq!(args.connect.will.will_qos, Some(Qos::AtLeastOnce));
    let pairs: Vec<_> = args.user_properties.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
    assert_eq!(pairs, [("a", "b=c"), ("a", "")]);
}

#[test]
fn the_broker_is_named_by_flags_or_by_url() {
    let place = |line: &str| {
        let args = publish(line);
        let (host, port) = args.connect.place();
        (host.to_owned(), port)
    };
    assert_eq!(place("noctule pub -t a -n"), ("127.0.0.1".to_owned(), 1_883));
    assert_eq!(place("noctule pub -t a -n -H gw -p 2"), ("gw".to_owned(), 2));
    assert_eq!(place("noctule pub -t a -n --url mqtt://gw:2"), ("gw".to_owned(), 2));
    assert_eq!(publish("noctule pub -t a -n --url mqtt://anna@gw").connect.user_name(), Some("anna"));
    assert_eq!(publish("noctule pub -t a -n --url mqtt://anna@gw -u eve").connect.user_name(), Some("eve"));
    refused("noctule pub -t a -n --url mqtt://gw -H other", "cannot be used with");
    refused("noctule pub -t a -n --url gw:1883", "write mqtt://host:port");
    refused("noctule pub -t a -n -p 0", "0 is not in 1..");
}

#[test]
fn values_are_checked_when_they_are_read() {
    refused("noctule pub -t a/# -n", "# is a wildcard; one publishes to one topic");
    refused("noctule pub -t a -n -q 3", "QoS is 0, 1 or 2");
    refused("noctule pub -t a -n -k 60x", "is not a duration such as");
    refused("noctule pub -t a -n -k 65536", "at most 65535s");
    refused("noctule sub -t a -W 99999999999999999999", "is not a duration such as");
    refused("noctule sub -t $share/g", "write $share/GROUP/FILTER");
    refused("noctule pub -t a -n -k 65536s", "at most 65535s");
    refused("noctule pub -t a -n -k 1500ms", "whole seconds");
    refused("noctule pub -t a -n --expiry 49711d", "at most 4294967295s");
    refused("noctule pub -t a -n --user-property x", "write name=value");
    refused("noctule pub -t a -n --will-message bye", "--will-topic");
    refused("noctule pub -t a -n -V 4", "3.1.1");
    refused("noctule sub -t a#", "# stands alone in the last level");
    refused("noctule sub -t a -C 0", "0 is not in 1..");
    refused("noctule sub -t a --subscription-id 268435456", "is not in 1..=268435455");
    refused("noctule sub -t a --json -v", "cannot be used with");
    refused("noctule sub -t a --keep-session", "--client-id");
    refused("noctule sub", "--topic");
}

#[test]
fn a_bare_number_counts_seconds_on_the_command_line() {
    let args = publish("noctule pub -t a -n -k 60 --expiry 5");
    assert_eq!(args.connect.keep_alive, Period::from_secs(60));
    assert_eq!(args.expiry, Some(Period::from_secs(5)));
    assert_eq!(subscribe("noctule sub -t a -W 1").timeout, Some(Period::from_secs(1)));
}

#[test]
fn versions_have_the_names_of_other_clients_too() {
    for (name, version) in
        [("mqttv31", MqttVersion::V31), ("mqttv311", MqttVersion::V311), ("mqttv5", MqttVersion::V5)]
    {
        assert_eq!(publish(&format!("noctule pub -t a -n -V {name}")).connect.protocol, version);
    }
}

#[test]
fn the_file_to_check_needs_no_flag() {
    for line in ["noctule check f", "noctule check -c f", "noctule check --config=f"] {
        match command(line) {
            Command::Check(args) => assert_eq!(args.file().to_str(), Some("f"), "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    refused("noctule check", "FILE");
    refused("noctule check f -c f", "cannot be used with");
}

#[test]
fn what_a_version_cannot_say_is_refused_not_dropped() {
    refused(
        "noctule pub -t a -n -V 3.1.1 --expiry 1s --will-topic w --will-delay 1s",
        "--will-delay, --expiry can be said in MQTT 5 only; use --protocol 5",
    );
    refused("noctule sub -t a -V 3.1 --no-local", "--no-local can be said in MQTT 5 only");
    refused("noctule sub -t $share/g/a --no-local", "not possible on the shared subscription $share/g/a");
    assert_eq!(publish("noctule pub -t a -n -V 3.1.1").connect.protocol, MqttVersion::V311);
}

#[test]
fn the_user_comes_from_the_flag_or_the_url() {
    let user = |line: &str| publish(line).connect.user_name().map(str::to_owned);
    assert_eq!(user("noctule pub -t a -n"), None);
    assert_eq!(user("noctule pub -t a -n -u anna").as_deref(), Some("anna"));
    assert_eq!(user("noctule pub -t a -n --url mqtt://bert@b").as_deref(), Some("bert"));
    assert_eq!(user("noctule pub -t a -n -u anna --url mqtt://bert@b").as_deref(), Some("anna"));
}

#[test]
fn subscribing_takes_several_filters() {
    let args = subscribe(
        "noctule sub -t a/# -t +/b -q 1 -v -C 3 -W 500ms --no-local --retain-as-published --retain-handling new \
         --subscription-id 7 --no-retained --no-clean -i me",
    );
    assert_eq!(args.topics, ["a/#", "+/b"]);
    assert_eq!((args.count, args.timeout), (Some(3), Some(Period::from_millis(500))));
    assert_eq!(args.retain_handling, Some(RetainHandling::New));
    assert!(args.keep_session && args.no_retained && args.no_local && args.retain_as_published);
}

#[test]
fn help_is_h_everywhere() {
    for line in [
        "noctule -h",
        "noctule run -h",
        "noctule check -h",
        "noctule init -h",
        "noctule pub -h",
        "noctule sub -h",
        "noctule stomp -h",
        "noctule stomp send -h",
        "noctule stomp subscribe -h",
    ] {
        let shown = read(line).expect_err(line);
        assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
        assert_eq!(shown.exit_code(), 0);
    }
    for command in ["", "run", "init", "pub", "sub", "stomp send", "stomp subscribe"] {
        let help = read(&format!("noctule {command} -h")).unwrap_err().to_string();
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}: {help}");
    }
    let help = read("noctule run -h").unwrap_err().to_string();
    assert!(help.contains("with only one of them, only that protocol is served"), "{help}");
}

/// Runs `noctule check` over `text` and gives the exit code and both outputs, without the file's name.
fn check(text: Option<&str>) -> (Exit, String, String) {
    let file = std::env::temp_dir().join(format!("noctule-check-{}-{:p}.toml", std::process::id(), &text));
    if let Some(text) = text {
        fs::write(&file, text).unwrap();
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let Command::Check(args) = command(&format!("noctule check {}", file.display())) else { unreachable!() };
    let exit = args.run(&mut out, &mut err).unwrap();
    if text.is_some() {
        fs::remove_file(&file).unwrap();
    }
    let name = file.display().to_string();
    let plain = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&name, "FILE");
    (exit, plain(out), plain(err))
}

#[test]
fn check_tells_what_would_run() {
    let (exit, out, err) = check(Some(
        "[[listener]]\naddress = \"0.0.0.0:29173\"\nanonymous = true\n\
         [[listener]]\nprotocol = \"stomp\"\naddress = \"127.0.0.1:29174\"\ndialect = \"rabbitmq\"\n",
    ));
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert_eq!(
        out,
        "FILE: ok\n  mqtt on 0.0.0.0:29173 for everybody who can reach it, without credentials\n  stomp as RabbitMQ speaks \
         it on 127.0.0.1:29174 for programs on this machine only, without credentials\n  1 worker; the store in data, \
         durability always, up to 1GiB\n  looked after at data/admin.sock and 127.0.0.1:9883\n  up to 10000 connections (2500 per address), packets of 1MiB, sessions of 7d\n  \
         10000 messages and 8MiB may wait per client, then drop-oldest\n  up to 10000 queues of 10000 messages and 8MiB \
         each, dead letters after 16 deliveries\n"
    );
}

#[test]
fn check_tells_everything_that_is_wrong() {
    let (exit, out, err) = check(Some("[limits]\nmax_inflght = 1\nmax_inflight = 0\n"));
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert_eq!(
        err,
        "FILE:2:1: limits.max_inflght: unknown key; did you mean max_inflight?\nFILE:3:16: limits.max_inflight: 0 is \
         not a whole number from 1 to 65535 (default 256)\n"
    );
    let (exit, out, err) = check(None);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.starts_with("FILE: cannot be read: "), "{err}");
}
