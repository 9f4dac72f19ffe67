//! Command lines of `noctule stomp`, right and wrong.

use super::*;
use noctule_stomp::Version;

fn stomp(line: &str) -> StompCommand {
    match command(line) {
        Command::Stomp(args) => args.command,
        other => panic!("{line}: {other:?}"),
    }
}

fn send(line: &str) -> StompSendArgs {
    match stomp(&format!("noctule stomp send {line}")) {
        StompCommand::Send(args) => *args,
        StompCommand::Subscribe(other) => panic!("{line}: {other:?}"),
    }
}

fn listen(line: &str) -> StompSubscribeArgs {
    match stomp(&format!("noctule stomp subscribe {line}")) {
        StompCommand::Subscribe(args) => *args,
        StompCommand::Send(other) => panic!("{line}: {other:?}"),
    }
}

#[test]
fn sending_takes_everything() {
    let args = send(
        "/queue/a -m hi -H k:a:b -H k: --header x:y --persistent --content-type text/plain --repeat 3 --transaction \
         --host gw -p 5 --vhost /shop -i me -u anna -P x --heart-beat 500ms -V 1.1",
    );
    assert_eq!(
        (args.destination.as_str(), args.payload(), args.repeat),
        ("/queue/a", Payload::Text("hi"), 3)
    );
    let headers: Vec<_> = args.headers.iter().map(|h| (h.name.as_str(), h.value.as_str())).collect();
    assert_eq!(headers, [("k", "a:b"), ("k", ""), ("x", "y")]);
    assert!(args.persistent && args.transaction && !args.no_receipt);
    assert_eq!(args.content_type.as_deref(), Some("text/plain"));
    let connect = &args.connect;
    assert_eq!((connect.place(), connect.vhost.as_str()), (("gw", 5), "/shop"));
    assert_eq!((connect.login(), connect.version()), (Some("anna"), Some(Version::V11)));
    assert_eq!(connect.heart_beat, Period::from_millis(500));
}

#[test]
fn receipts_are_asked_for_unless_said_otherwise() {
    for (flags, expected) in
        [("", false), ("--receipt", false), ("--no-receipt", true), ("--no-receipt --receipt", false)]
    {
        assert_eq!(send(&format!("a -m x {flags}")).no_receipt, expected, "{flags}");
    }
}

#[test]
fn the_destination_may_stand_anywhere() {
    assert_eq!(send("-m hi /queue/a").destination, "/queue/a");
    assert_eq!(listen("-v /queue/a -n 1").destination, "/queue/a");
    refused("noctule stomp send -m hi", "<DESTINATION>");
    let error = Cli::read(["noctule", "stomp", "send", "", "-m", "x"]).unwrap_err().to_string();
    assert!(error.contains("write a destination such as /queue/NAME or /topic/NAME"), "{error}");
}

#[test]
fn subscribing_takes_everything() {
    let args = listen(
        "/topic/a --ack client-individual --prefetch 7 --selector a=1 --durable d -i me -H k:v -n 3 -W 500ms --json",
    );
    assert_eq!((args.ack(), args.prefetch), (Ack::ClientIndividual, Some(7)));
    assert_eq!((args.selector.as_deref(), args.durable.as_deref()), (Some("a=1"), Some("d")));
    assert_eq!((args.count, args.timeout), (Some(3), Some(Period::from_millis(500))));
    assert_eq!(args.format(), StompFormat::Json);
    assert_eq!(listen("/topic/a -n 3").ack(), Ack::Client, "what is not printed goes back");
    assert_eq!(listen("/queue/a --browse").ack(), Ack::Auto);
    assert_eq!(listen("/queue/a --browse --ack client").ack(), Ack::Client);
}

#[test]
fn a_format_is_said_once() {
    for (flags, expected) in [
        ("", StompFormat::Body),
        ("-v", StompFormat::Destination),
        ("--verbose", StompFormat::Destination),
        ("--format destination", StompFormat::Destination),
        ("--format headers", StompFormat::Headers),
        ("--json", StompFormat::Json),
    ] {
        assert_eq!(listen(&format!("a {flags}")).format(), expected, "{flags}");
    }
    for flags in ["-v --json", "-v --format json", "--json --format body"] {
        refused(&format!("noctule stomp subscribe a {flags}"), "cannot be used with");
    }
}

#[test]
fn the_broker_is_named_by_flags_or_by_url() {
    let connect = |line: &str| send(&format!("a -m x {line}")).connect;
    assert_eq!(connect("").place(), ("127.0.0.1", 61_613));
    assert_eq!(connect("--url stomp://anna:x@gw").place(), ("gw", 61_613));
    assert_eq!(connect("--url stomp://anna:x@gw:2").login(), Some("anna"));
    assert_eq!(connect("--url stomp://anna:x@gw:2 --login eve").login(), Some("eve"));
    assert_eq!(connect("").version(), None);
    for (version, expected) in [("1.0", Version::V10), ("1.1", Version::V11), ("1.2", Version::V12)] {
        assert_eq!(connect(&format!("-V {version}")).version(), Some(expected));
    }
}

#[test]
fn values_are_checked_when_they_are_read() {
    for (line, reason) in [
        ("send a", "--message <TEXT>"),
        ("send a -m x -l", "cannot be used with"),
        ("send a -l --repeat 2", "cannot be used with"),
        ("send a -m x --repeat 0", "0 is not in 1.."),
        ("send a -m x -H nocolon", "write name:value"),
        ("send a -m x -H :value", "write name:value"),
        ("send a -m x -p 0", "0 is not in 1.."),
        ("send a -m x --url mqtt://gw", "write stomp://host:port"),
        ("send a -m x --url stomp://gw --host b", "cannot be used with"),
        ("send a -m x -P a --passcode-file b", "cannot be used with"),
        ("send a -m x --heart-beat 10x", "is not a duration such as"),
        ("send a -m x --heart-beat 50d", "it can be 4294967295ms at most"),
        ("send a -m x -V 1.3", "1.2"),
        ("subscribe a --ack never", "client-individual"),
        ("subscribe a --prefetch 0", "0 is not in 1.."),
        ("subscribe a -n 0", "0 is not in 1.."),
        ("subscribe a --durable d", "--client-id"),
        ("subscribe a --durable d -i me --browse", "cannot be used with"),
        ("subscribe a --format xml", "destination"),
    ] {
        refused(&format!("noctule stomp {line}"), reason);
    }
}

#[test]
fn headers_that_flags_stand_for_are_refused_with_the_flag() {
    for (line, reason) in [
        (
            "send a -m x -H destination:b",
            "the header destination is not for -H; it is the argument DESTINATION",
        ),
        ("send a -m x -H content-length:1", "the header content-length is not for -H; it is counted"),
        ("send a -m x -H receipt:1", "the header receipt is not for -H; use --receipt or --no-receipt"),
        ("send a -m x -H transaction:1", "the header transaction is not for -H; use --transaction"),
        (
            "send a -m x --content-type b -H content-type:c",
            "the header content-type is not for -H; it is said with --content-type already",
        ),
        (
            "send a -m x --persistent -H persistent:false",
            "the header persistent is not for -H; it is said with --persistent already",
        ),
        ("subscribe a -H id:1", "the header id is not for -H; it is made up, or the name of --durable"),
        ("subscribe a -H ack:auto", "the header ack is not for -H; use --ack"),
        ("subscribe a -H receipt:1", "the header receipt is not for -H; one is always asked for"),
        (
            "subscribe a --prefetch 1 -H prefetch-count:2",
            "the header prefetch-count is not for -H; it is said with --prefetch already",
        ),
        (
            "subscribe a --selector b -H selector:c",
            "the header selector is not for -H; it is said with --selector already",
        ),
        (
            "subscribe a --browse -H browser:true",
            "the header browser is not for -H; it is said with --browse already",
        ),
    ] {
        refused(&format!("noctule stomp {line}"), reason);
        refused(&format!("noctule stomp {line}"), &format!("Usage: noctule stomp {}", &line[..4]));
    }
    assert_eq!(send("a -m x -H content-type:b -H persistent:true").headers.len(), 2);
    assert_eq!(listen("a -H selector:b -H browser:true -H prefetch-count:1").headers.len(), 3);
}
