//! The mapping's tables, row by row and both ways: destinations, fields, and the words of other brokers' clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::BytesMut;
use noctule_core::consumer::Verdict;
use noctule_core::id::{Now, Qos};
use noctule_core::message::{Field, Fields};
use noctule_core::topic::TopicLimits;
use noctule_stomp::{
    Command, Dialect, Direction, Frame, FrameLimits, FrameWriter, Framer, Grammar, Purpose, Reading, Retain,
    Sending, Split, Token, Version, write_fields,
};
use proptest::prelude::*;

const LIMITS: TopicLimits = TopicLimits { max_bytes: 1024, max_levels: 64 };
const NOW: Now = Now { mono_ms: 5_000, wall_ms: 1_700_000_000_000 };

fn token() -> Token {
    Token::new([7; 16])
}

fn to_core(dialect: Dialect, destination: &str, purpose: Purpose) -> Result<String, String> {
    let grammar = Grammar { dialect, token: &token(), limits: &LIMITS };
    let topic = grammar.to_core(destination, purpose);
    topic.map(std::borrow::Cow::into_owned).map_err(|error| error.to_string())
}

fn from_core(dialect: Dialect, topic: &str) -> String {
    let mut out = String::new();
    Grammar { dialect, token: &token(), limits: &LIMITS }.write_destination(topic, &mut out);
    out
}

fn reply_to(dialect: Dialect, topic: &str) -> String {
    let mut out = String::new();
    Grammar { dialect, token: &token(), limits: &LIMITS }.write_reply_to(topic, &mut out);
    out
}

/// Destination, topic of the core, and the destination that comes back if it is another.
#[test]
fn addresses_row_by_row() {
    let own = format!("$reply/{}/box", token().as_str());
    for (destination, topic, back) in [
        ("/topic/a/b", "a/b", None),
        ("/topic/a", "a", None),
        ("/topic//a/", "/a/", None),
        ("/topic/ä b", "ä b", None),
        ("/topic/a.b*c>d", "a.b*c>d", None),
        ("/topic/$SYS/uptime", "$SYS/uptime", None),
        ("/topic/$queue/n", "$queue/n", Some("/queue/n")),
        ("/queue/orders", "$queue/orders", None),
        ("/queue/DLQ.orders", "$queue/DLQ.orders", None),
        ("/queue/a.b*c", "$queue/a.b*c", None),
        ("/queue/a/b", "$queue/a/b", None),
        ("/amq/queue/orders", "$queue/orders", Some("/queue/orders")),
        ("orders", "$queue/orders", Some("/queue/orders")),
        ("a/b", "$queue/a/b", Some("/queue/a/b")),
        ("/exchange/amq.topic/a/b", "a/b", Some("/topic/a/b")),
        ("/exchange/amq.direct/k", "$amq/direct/k", None),
        ("/exchange/amq.direct/k.l/m", "$amq/direct/k.l/m", None),
        ("/exchange/amq.fanout", "$amq/fanout", None),
        ("/exchange/amq.fanout/any", "$amq/fanout", Some("/exchange/amq.fanout")),
        ("/exchange/amq.headers", "$amq/headers", None),
        ("/temp-queue/box", &own, None),
        ("/temp-topic/box", &own, Some("/temp-queue/box")),
        ("/reply-queue/opaque/x", "$reply/opaque/x", None),
        ("/reply-queue/opaque", "$reply/opaque", None),
        ("/remote-temp-queue/opaque/x", "$reply/opaque/x", Some("/reply-queue/opaque/x")),
    ] {
        assert_eq!(
            to_core(Dialect::Native, destination, Purpose::Send).as_deref(),
            Ok(topic),
            "{destination}"
        );
        assert_eq!(from_core(Dialect::Native, topic), back.unwrap_or(destination), "{topic}");
    }
    assert_eq!(from_core(Dialect::Native, "$stream/s"), "/stream/s");
    assert_eq!(from_core(Dialect::Native, "$queue"), "/topic/$queue", "no queue: it has no name");
}

#[test]
fn filters_keep_their_wildcards_and_groups_are_shares() {
    for filter in ["+", "#", "a/+/b", "a/#", "$SYS/#"] {
        let topic = to_core(Dialect::Native, &format!("/topic/{filter}"), Purpose::Subscribe);
        assert_eq!(topic.as_deref(), Ok(filter));
    }
    assert_eq!(to_core(Dialect::Rabbitmq, "/topic/a.*.#", Purpose::Subscribe).as_deref(), Ok("a/+/#"));
    assert_eq!(to_core(Dialect::Activemq, "/topic/a.*.>", Purpose::Subscribe).as_deref(), Ok("a/+/#"));
    let (mine, grammar) = (token(), |token| Grammar { dialect: Dialect::Native, token, limits: &LIMITS });
    assert_eq!(grammar(&mine).to_share("/topic/a/#", "g").as_deref(), Ok("$share/g/a/#"));
    for (destination, group, words) in [
        ("/topic/a", "", "x-queue-name \"\" is no name for a group"),
        ("/topic/a", "g/h", "leave out '/'"),
        ("/topic/a", "g+", "leave out '/'"),
        ("/queue/a", "g", "x-queue-name goes with /topic/ destinations, not with \"/queue/a\""),
    ] {
        let error = grammar(&mine).to_share(destination, group).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_answers_to_a_temporary_queue_find_it_from_anywhere() {
    let own = format!("$reply/{}/box", token().as_str());
    assert_eq!(to_core(Dialect::Native, "/temp-queue/box", Purpose::ReplyTo).as_ref(), Ok(&own));
    let told = format!("/reply-queue/{}/box", token().as_str());
    assert_eq!(reply_to(Dialect::Native, &own), told, "everybody is told the same");
    let other = Token::new([9; 16]);
    let elsewhere = Grammar { dialect: Dialect::Activemq, token: &other, limits: &LIMITS };
    assert_eq!(elsewhere.to_core(&told, Purpose::Send).unwrap(), own);
    assert_eq!(from_core(Dialect::Native, &own), "/temp-queue/box");
    let mut seen = String::new();
    elsewhere.write_destination(&own, &mut seen);
    assert_eq!(seen, told, "it is nobody else's temporary queue");
}

#[test]
fn what_is_anothers_is_sent_to_and_never_read() {
    let own = token();
    let own = own.as_str();
    for mine in [format!("/reply-queue/{own}/x"), format!("/topic/$reply/{own}/x"), "/temp-queue/x".into()] {
        let topic = to_core(Dialect::Native, &mine, Purpose::Subscribe).unwrap();
        assert_eq!(topic, format!("$reply/{own}/x"));
    }
    for theirs in [
        "/reply-queue/theirs/x",
        "/remote-temp-queue/theirs",
        "/topic/$reply/theirs/x",
        "/topic/$reply/#",
        "/topic/$reply/+/x",
        "/topic/$share/g/$reply/theirs/x",
        "/exchange/amq.topic/$reply/theirs",
        &format!("/topic/$reply/{own}"),
        &format!("/topic/$reply/{own}x/y"),
    ] {
        let error = to_core(Dialect::Native, theirs, Purpose::Subscribe).unwrap_err();
        assert!(error.contains("is private") && error.contains("/temp-queue/"), "{theirs}: {error}");
    }
    let swapped = to_core(Dialect::Activemq, "/topic/$reply.>", Purpose::Subscribe).unwrap_err();
    assert!(swapped.contains("is private"), "{swapped}");
    for (wild, words) in [
        (format!("/topic/$reply/{own}/#"), "has the wildcard '#'"),
        ("/topic/$queue/#".into(), "without '+' and '#'"),
        ("/topic/$queue/+".into(), "without '+' and '#'"),
    ] {
        let error = to_core(Dialect::Native, &wild, Purpose::Subscribe).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

/// Each says which destination it is and what to write instead.
#[test]
fn destinations_that_are_none() {
    for (destination, words) in [
        ("", "\"\" has no name"),
        ("/", "\"/\" is unknown"),
        ("/queue", "\"/queue\" has no name"),
        ("/queue/", "\"/queue/\" has no name; write it behind the prefix, as in /queue/orders"),
        ("/topic/", "\"/topic/\" has no name"),
        ("/temp-queue/", "\"/temp-queue/\" has no name"),
        ("/topic/$queue/", "has no name"),
        ("/amq/other/x", "\"/amq/other/x\" is unknown"),
        ("/dsub/x", "\"/dsub/x\" is unknown; write /topic/NAME, /queue/NAME"),
        (
            "/exchange/mine/k",
            "\"/exchange/mine/k\" names no exchange that is here; use amq.topic, amq.direct",
        ),
        ("/exchange/amq.topic", "has no routing key; write it behind the exchange"),
        ("/exchange/amq.direct/", "has no routing key"),
        ("/stream/s", "is a stream, and streams are not served yet"),
        ("/topic/$stream/s", "is a stream, and streams are not served yet"),
        ("/topic/a/+", "of SEND has the wildcard '+'; name one topic"),
        ("/topic/#", "of SEND has the wildcard '#'"),
        ("/queue/a+", "\"/queue/a+\" has the wildcard '+'"),
        ("a/#", "\"a/#\" has the wildcard '#'"),
        ("/temp-queue/#", "has the wildcard '#'"),
        ("/exchange/amq.direct/+", "has the wildcard '+'"),
        ("/queue/a\0b", "U+0000"),
        ("/topic/a\0b", "\"/topic/a\\0b\" is not valid"),
    ] {
        let error = to_core(Dialect::Native, destination, Purpose::Send).unwrap_err();
        assert!(error.contains(words), "{destination:?}: {error}");
        assert!(error.contains("destination"), "{error}");
    }
    let error = to_core(Dialect::Native, "/topic/a/#/b", Purpose::Subscribe).unwrap_err();
    assert!(error.contains("\"/topic/a/#/b\" is not valid") && error.contains("last level"), "{error}");
    let long = format!("/topic/{}", "x".repeat(1025));
    assert!(to_core(Dialect::Native, &long, Purpose::Send).unwrap_err().contains("at most 1024 are allowed"));
    assert!(to_core(Dialect::Native, &long[..7 + 1024], Purpose::Send).is_ok());
    for (dialect, destination, wildcard) in [
        (Dialect::Rabbitmq, "/topic/a.*", "'*'"),
        (Dialect::Rabbitmq, "/topic/a.#", "'#'"),
        (Dialect::Activemq, "/topic/a.>", "'>'"),
        (Dialect::Activemq, "/queue/a.>", "'>'"),
        (Dialect::Activemq, "/queue/*", "'*'"),
    ] {
        let error = to_core(dialect, destination, Purpose::Send).unwrap_err();
        assert!(error.contains(wildcard), "{dialect:?}: {error}");
    }
}

#[test]
fn dialects_swap_letters_of_topics_and_leave_queues_alone() {
    for (dialect, written, core) in [
        (Dialect::Native, "a.b/c*+>#", "a.b/c*+>#"),
        (Dialect::Rabbitmq, "a.b/c*+>#", "a/b.c+*>#"),
        (Dialect::Activemq, "a.b/c*+>#", "a/b.c+*#>"),
    ] {
        assert_eq!(dialect.swap(written), core, "{dialect:?}");
        assert_eq!(dialect.swap(core), written, "{dialect:?}");
    }
    for dialect in [Dialect::Rabbitmq, Dialect::Activemq] {
        assert_eq!(to_core(dialect, "/topic/a.b", Purpose::Send).as_deref(), Ok("a/b"));
        assert_eq!(to_core(dialect, "/exchange/amq.topic/a.b", Purpose::Send).as_deref(), Ok("a/b"));
        assert_eq!(from_core(dialect, "a/b.c"), "/topic/a.b/c");
        assert_eq!(reply_to(dialect, "a/b"), "/topic/a.b");
        assert_eq!(to_core(dialect, "/queue/DLQ.a", Purpose::Send).as_deref(), Ok("$queue/DLQ.a"));
        assert_eq!(from_core(dialect, "$queue/DLQ.a"), "/queue/DLQ.a");
        assert_eq!(from_core(dialect, "$amq/direct/a.b"), "/exchange/amq.direct/a.b");
    }
}

#[test]
fn dialects_have_a_server_a_meaning_of_nack_and_a_unit_of_time() {
    assert_eq!(Dialect::default(), Dialect::Native);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(Dialect::Native.server(), format!("noctule/{version}"));
    assert!(Dialect::Rabbitmq.server().starts_with("RabbitMQ/3."));
    assert!(Dialect::Activemq.server().starts_with("ActiveMQ/5."));
    assert!(Dialect::ALL.iter().all(|dialect| dialect.server().ends_with(&format!("noctule/{version}"))));
    assert_eq!(Dialect::ALL.map(Dialect::nack), [Verdict::Requeue, Verdict::Requeue, Verdict::Reject]);
    assert_eq!(Dialect::ALL.map(Dialect::timestamp_unit_ms), [1, 1000, 1]);
    assert_eq!(Dialect::ALL.map(Dialect::as_str), ["native", "rabbitmq", "activemq"]);
}

proptest! {
    #[test]
    fn no_name_is_mangled_on_its_way_there_and_back(name in any::<String>()) {
        for dialect in Dialect::ALL {
            let core = dialect.swap(&name);
            prop_assert_eq!(dialect.swap(&core), name.as_str());
        }
    }

    #[test]
    fn every_destination_that_is_taken_means_the_same_when_it_comes_back(
        prefix in prop::sample::select(vec!["", "/topic/", "/queue/", "/exchange/amq.direct/", "/temp-queue/",
            "/reply-queue/", "/exchange/", "/", "/topic/$queue/", "/topic/$reply/"]),
        name in "[a-c./*+>#$ é]{0,6}",
    ) {
        for dialect in Dialect::ALL {
            if let Ok(topic) = to_core(dialect, &format!("{prefix}{name}"), Purpose::Send) {
                let back = from_core(dialect, &topic);
                prop_assert_eq!(to_core(dialect, &back, Purpose::Send), Ok(topic));
            }
        }
    }

    #[test]
    fn every_topic_has_a_destination_that_leads_to_it(topic in "[a-c./*>$ é]{1,8}") {
        prop_assume!(!topic.starts_with("$"));
        for dialect in Dialect::ALL {
            let back = to_core(dialect, &from_core(dialect, &topic), Purpose::Subscribe);
            // In a dialect some topic's letters are its wildcards: that one can be seen but not named.
            if !dialect.swap(&topic).contains(['*', '>', '+', '#']) {
                prop_assert_eq!(back.as_deref(), Ok(topic.as_str()));
            }
        }
    }
}

/// A SEND's head as the machine reads it, and its fields.
fn read(
    dialect: Dialect,
    version: Version,
    head: &str,
    body: &[u8],
) -> Result<(Sending<'static>, Vec<String>), String> {
    let bytes = [b"SEND\n", head.as_bytes(), b"\n", body, b"\0"].concat();
    let bytes: &'static [u8] = bytes.leak();
    let reading = Reading { version: Some(version), direction: Direction::ToServer };
    let Ok(Split::Frame(frame)) = Framer::new().split(bytes, reading, &FrameLimits::default()) else {
        panic!("no frame: {head}")
    };
    let frame: Frame<'static> = frame;
    let token = token();
    let grammar = Grammar { dialect, token: &token, limits: &LIMITS };
    let mut fields = vec![1, 2, 3];
    let sending = Sending::read(frame.headers, frame.body, version, &grammar, NOW, &mut fields);
    let sending = sending.map_err(|error| error.to_string())?;
    let fields = Fields::from_validated([&fields, &[], &[]]);
    Ok((sending, fields.iter().map(words).collect()))
}

fn words(field: Field<'_>) -> String {
    match field {
        Field::PayloadFormat(format) => format!("format={format}"),
        Field::ContentType(text) => format!("type={text}"),
        Field::ResponseTopic(text) => format!("response={text}"),
        Field::CorrelationData(data) => format!("correlation={data:?}"),
        Field::UserProperty(name, value) => format!("{name}={value}"),
    }
}

#[track_caller]
fn sent(head: &str) -> Sending<'static> {
    read(Dialect::Native, Version::V12, head, b"").unwrap().0
}

#[track_caller]
fn fields(head: &str, body: &[u8]) -> Vec<String> {
    read(Dialect::Native, Version::V12, head, body).unwrap().1
}

#[track_caller]
fn refused(head: &str, words: &[&str]) {
    let error = read(Dialect::Native, Version::V12, head, b"").unwrap_err();
    assert!(words.iter().all(|word| error.contains(word)), "{head:?}: {error}");
}

/// The headers of a MESSAGE for these fields.
fn written(dialect: Dialect, version: Version, fields: &[u8]) -> Vec<String> {
    let (mut out, token, mut text) = (BytesMut::new(), token(), String::from("left over"));
    let grammar = Grammar { dialect, token: &token, limits: &LIMITS };
    let mut frame = FrameWriter::new(&mut out, version, Command::Message);
    write_fields(Fields::from_validated([fields, &[], &[]]), version, &grammar, &mut text, &mut frame);
    frame.finish(b"");
    let out = String::from_utf8(out.to_vec()).unwrap();
    let head = out.strip_prefix("MESSAGE\n").unwrap().strip_suffix("content-length:0\n\n\0").unwrap();
    head.lines().map(str::to_owned).collect()
}

fn property(name: &str, value: &str) -> Vec<u8> {
    let counted = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    [vec![0x26], counted(name), counted(value)].concat()
}

fn with_tag(tag: u8, value: &[u8]) -> Vec<u8> {
    [&[tag][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

#[test]
fn content_type_and_payload_format() {
    for (head, body, expected) in [
        ("content-type:text/plain\n", &b"hi"[..], &["format=1", "type=text/plain"][..]),
        ("content-type:text/plain\n", b"\xFF", &["type=text/plain"]),
        ("content-type:application/json\n", b"{}", &["format=1", "type=application/json"]),
        ("content-type:a/b;charset=utf-8\n", b"x", &["format=1", "type=a/b;charset=utf-8"]),
        ("content-type:application/octet-stream\n", b"x", &["type=application/octet-stream"]),
        ("content-type:a\ncontent-type:b\n", b"", &["type=a"]),
        ("", b"x", &[]),
    ] {
        assert_eq!(fields(head, body), expected, "{head}");
    }
    let property = [&[1, 1][..], &with_tag(3, b"text/plain")].concat();
    assert_eq!(written(Dialect::Native, Version::V12, &property), ["content-type:text/plain"]);
}

#[test]
fn reply_to_is_translated_both_ways() {
    assert_eq!(fields("reply-to:/topic/a/b\n", b""), ["response=a/b"]);
    assert_eq!(fields("reply-to:/queue/q\n", b""), ["response=$queue/q"]);
    let own = format!("response=$reply/{}/x", token().as_str());
    assert_eq!(fields("reply-to:/temp-queue/x\n", b""), [own]);
    assert_eq!(written(Dialect::Native, Version::V12, &with_tag(8, b"a/b")), ["reply-to:/topic/a/b"]);
    assert_eq!(written(Dialect::Activemq, Version::V12, &with_tag(8, b"a/b")), ["reply-to:/topic/a.b"]);
    assert_eq!(
        written(Dialect::Native, Version::V12, &with_tag(8, b"$reply/me")),
        ["reply-to:/reply-queue/me"]
    );
    refused("reply-to:/topic/#\n", &["header reply-to", "\"/topic/#\"", "wildcard '#'"]);
    refused("reply-to:/nowhere/x\n", &["header reply-to", "\"/nowhere/x\""]);
}

#[test]
fn correlation_id_as_text_and_as_bytes() {
    assert_eq!(fields("correlation-id:abc\n", b""), ["correlation=[97, 98, 99]"]);
    for head in [
        "correlation-id:_wA\ncorrelation-encoding:base64\n",
        "correlation-encoding:base64\ncorrelation-id:/wA=\n",
    ] {
        assert_eq!(fields(head, b""), ["correlation=[255, 0]"], "{head}");
    }
    refused(
        "correlation-id:?\ncorrelation-encoding:base64\n",
        &["header correlation-id", "\"?\"", "Base64", "leave correlation-encoding out"],
    );
    refused("correlation-id:x\ncorrelation-encoding:hex\n", &["correlation-encoding", "\"hex\"", "base64"]);
    for (version, data, expected) in [
        (Version::V12, &b"abc"[..], &["correlation-id:abc"][..]),
        (Version::V12, b"a\nb", &["correlation-id:a\\nb"]),
        (Version::V10, b"a\nb", &["correlation-id:YQpi", "correlation-encoding:base64"]),
        (Version::V12, b"\xFF\x00", &["correlation-id:_wA", "correlation-encoding:base64"]),
        (Version::V12, b"a\0", &["correlation-id:YQA", "correlation-encoding:base64"]),
    ] {
        assert_eq!(written(Dialect::Native, version, &with_tag(9, data)), expected);
    }
}

#[test]
fn expires_and_expiration_become_what_is_left() {
    for (head, left_ms) in [
        ("", None),
        ("expires:1700000001500\n", Some(1_500)),
        ("expires:1699999999999\n", Some(0)),
        ("expires:0\n", None),
        ("expiration:250\n", Some(250)),
        ("expiration:0\n", Some(0)),
        ("expiration:250\nexpires:0\n", None),
        ("expires:0\nexpiration:250\n", None),
        ("expiration:250\nexpires:1700000000001\n", Some(1)),
        ("expires:1700000000001\nexpiration:250\n", Some(1)),
        ("expires:1700000000001\nexpires:1700000000002\n", Some(1)),
        ("expiration:1\nexpiration:2\n", Some(1)),
    ] {
        assert_eq!(sent(head).expires_in_ms, left_ms, "{head}");
        assert_eq!(fields(head, b""), [""; 0], "made anew for each MESSAGE: {head}");
    }
    for dialect in Dialect::ALL {
        let never = read(dialect, Version::V12, "expires:0\n", b"").unwrap().0;
        assert_eq!(never.expires_in_ms, None, "as JMS has it, {dialect:?}");
    }
    for bad in ["-1", "", "1.5", "soon", "+5", "18446744073709551616"] {
        refused(&format!("expires:{bad}\n"), &["header expires", &format!("{bad:?}"), "a number from 0"]);
        refused(
            &format!("expiration:{bad}\n"),
            &["header expiration", &format!("{bad:?}"), "a number from 0"],
        );
    }
}

#[test]
fn persistent_and_qos_become_the_guarantee() {
    for (head, qos) in [
        ("", None),
        ("persistent:true\n", Some(Qos::AtLeastOnce)),
        ("persistent:True\n", Some(Qos::AtLeastOnce)),
        ("persistent:false\n", Some(Qos::AtMostOnce)),
        ("persistent:true\npersistent:false\n", Some(Qos::AtLeastOnce)),
        ("qos:0\n", Some(Qos::AtMostOnce)),
        ("qos:1\n", Some(Qos::AtLeastOnce)),
        ("qos:2\n", Some(Qos::ExactlyOnce)),
        ("qos:2\npersistent:false\n", Some(Qos::ExactlyOnce)),
        ("persistent:false\nqos:2\nqos:0\n", Some(Qos::ExactlyOnce)),
    ] {
        assert_eq!(sent(head).qos, qos, "{head}");
        assert_eq!(fields(head, b""), [""; 0], "{head}");
    }
    refused("persistent:maybe\n", &["header persistent", "\"maybe\"", "true or false"]);
    refused("qos:7\n", &["header qos", "\"7\"", "0, 1 or 2"]);
}

#[test]
fn retain_sets_and_removes() {
    for (head, retain) in [
        ("", Retain::No),
        ("retain:true\n", Retain::Set),
        ("retain:set\n", Retain::Set),
        ("retain:remove\n", Retain::Remove),
        ("retain:false\n", Retain::No),
        ("ActiveMQ.Retain:true\n", Retain::Set),
        ("ActiveMQ.Retain:TRUE\n", Retain::Set),
        ("ActiveMQ.Retain:false\n", Retain::No),
        ("retain:set\nActiveMQ.Retain:false\n", Retain::Set),
    ] {
        assert_eq!(sent(head).retain, retain, "{head}");
        assert_eq!(fields(head, b""), [""; 0], "{head}");
    }
    refused("retain:maybe\n", &["header retain", "\"maybe\"", "true, set, remove or false"]);
    refused("ActiveMQ.Retain:1\n", &["header ActiveMQ.Retain", "\"1\""]);
}

#[test]
fn a_delay_is_kept_as_a_deadline_too() {
    assert_eq!(
        fields("AMQ_SCHEDULED_DELAY:1500\nx-deliver-at:9\n", b""),
        ["AMQ_SCHEDULED_DELAY=1500", "x-deliver-at=1700000001500"],
        "ours wins, wherever it stands"
    );
    assert_eq!(
        fields("x-deliver-at:9\nAMQ_SCHEDULED_DELAY:0\n", b""),
        ["AMQ_SCHEDULED_DELAY=0", "x-deliver-at=1700000000000"]
    );
    assert_eq!(fields("x-deliver-at:9\n", b""), [""; 0], "it is ours to say");
    refused("AMQ_SCHEDULED_DELAY:-1\n", &["header AMQ_SCHEDULED_DELAY", "\"-1\""]);
}

#[test]
fn all_else_is_kept_in_order_with_duplicates() {
    let head =
        "priority:4\ntype:t\ntimestamp:1700000000123\nJMSXGroupID:g\nb:1\na:2\nb:3\nc\\cd:e\\nf\nempty:\n";
    let kept = [
        "priority=4",
        "type=t",
        "timestamp=1700000000123",
        "JMSXGroupID=g",
        "b=1",
        "a=2",
        "b=3",
        "c:d=e\nf",
        "empty=",
    ];
    assert_eq!(fields(head, b""), kept);
    let properties =
        [property("b", "1"), property("a", "2"), property("b", "3"), property("c:d", "e\nf")].concat();
    assert_eq!(written(Dialect::Native, Version::V12, &properties), ["b:1", "a:2", "b:3", "c\\cd:e\\nf"]);
    assert_eq!(
        written(Dialect::Native, Version::V10, &properties),
        ["b:1", "a:2", "b:3", "c d:e f"],
        "1.0 has no escapes: a space stands for what it cannot write"
    );
}

/// MQTT 5 allows a user property without a name; a header must have one (1.2, "Augmented BNF").
#[test]
fn a_property_without_a_name_is_left_out() {
    let properties = [property("a", "1"), property("", "nameless"), property("b", "2")].concat();
    for version in Version::ALL {
        assert_eq!(written(Dialect::Native, version, &properties), ["a:1", "b:2"]);
    }
}

#[test]
fn timestamps_have_the_dialects_unit() {
    let rabbit = |head: &str| read(Dialect::Rabbitmq, Version::V12, head, b"").unwrap().1;
    assert_eq!(rabbit("timestamp:1700000000\n"), ["timestamp=1700000000000"]);
    assert_eq!(rabbit("timestamp:noon\n"), ["timestamp=noon"]);
    assert_eq!(
        written(Dialect::Rabbitmq, Version::V12, &property("timestamp", "1700000000999")),
        ["timestamp:1700000000"]
    );
    assert_eq!(written(Dialect::Rabbitmq, Version::V12, &property("timestamp", "noon")), ["timestamp:noon"]);
    assert_eq!(written(Dialect::Native, Version::V12, &property("timestamp", "5")), ["timestamp:5"]);
}

/// Names that only the broker writes on a MESSAGE, or that mean something to one connection only.
const OURS: [&str; 18] = [
    "receipt",
    "transaction",
    "message-id",
    "ack",
    "subscription",
    "id",
    "content-length",
    "destination",
    "redelivered",
    "selector",
    "retained",
    "x-delivery-count",
    "x-msg-id",
    "x-death-hops",
    "x-deliver-at",
    "expires",
    "expiration",
    "browser",
];

#[test]
fn what_is_never_forwarded_is_neither_kept_nor_written() {
    for name in OURS {
        let head = match name {
            "content-length" => "content-length:0\n".to_owned(),
            name => format!("{name}:1\n"),
        };
        assert_eq!(fields(&format!("a:1\n{head}b:2\n"), b""), ["a=1", "b=2"], "{name}");
        let forged = [property(name, "forged"), property("a", "1")].concat();
        assert_eq!(written(Dialect::Native, Version::V12, &forged), ["a:1"], "{name} of an MQTT client");
    }
    for name in ["content-type", "reply-to", "correlation-id", "correlation-encoding", "persistent"] {
        let forged = property(name, "forged");
        assert_eq!(written(Dialect::Native, Version::V12, &forged), [""; 0], "{name} of an MQTT client");
    }
}

/// What the broker says of a dead letter: a publisher cannot, and its reader is told in words that lead back.
#[test]
fn what_a_dead_letter_says_of_its_death_is_the_brokers() {
    assert_eq!(fields("original-destination:/queue/a\nx-first-death-reason:expired\nb:1\n", b""), ["b=1"]);
    for (dialect, topic, shown) in [
        (Dialect::Native, "$queue/a", "/queue/a"),
        (Dialect::Native, "a/b", "/topic/a/b"),
        (Dialect::Rabbitmq, "a/b", "/topic/a.b"),
        (Dialect::Activemq, "$queue/a.b", "/queue/a.b"),
        (Dialect::Activemq, "$reply/me/x", "/reply-queue/me/x"),
    ] {
        let told = [
            property("original-destination", topic),
            property("x-first-death-reason", "rejected"),
            property("x-death-hops", "1"),
        ];
        assert_eq!(
            written(dialect, Version::V12, &told.concat()),
            [&format!("original-destination:{shown}"), "x-first-death-reason:rejected"]
        );
    }
}

#[test]
fn the_first_of_what_concerns_the_frame_counts() {
    let sending = sent(
        "destination:/queue/a\ndestination:/queue/b\nreceipt:1\nreceipt:2\ntransaction:t\ntransaction:u\n",
    );
    assert_eq!(sending.destination.as_deref(), Some("/queue/a"));
    assert_eq!(sending.receipt.as_deref(), Some("1"));
    assert_eq!(sending.transaction.as_deref(), Some("t"));
}

/// 1.0, "SEND" and its other examples write a space behind the colon; 1.2 keeps it ("Value Encoding").
#[test]
fn spaces_around_a_value_mean_nothing_in_1_0_only() {
    let head = "destination: /queue/a \npersistent: true\nx: y\n";
    let (sending, fields) = read(Dialect::Native, Version::V10, head, b"").unwrap();
    assert_eq!((sending.destination.as_deref(), sending.qos), (Some("/queue/a"), Some(Qos::AtLeastOnce)));
    assert_eq!(fields, ["x= y"], "what the applications agreed on is theirs");
    refused("persistent: true\n", &["header persistent", "\" true\""]);
    assert_eq!(sent("destination: /queue/a\n").destination.as_deref(), Some(" /queue/a"));
}

#[test]
fn names_and_values_beyond_what_a_message_can_hold_are_refused() {
    let bytes = format!("SEND\nlong:{}\n\n\0", "x".repeat(65_536));
    let reading = Reading { version: Some(Version::V12), direction: Direction::ToServer };
    let limits = FrameLimits { max_header_line: 100_000, ..FrameLimits::default() };
    let Ok(Split::Frame(frame)) = Framer::new().split(bytes.as_bytes(), reading, &limits) else { panic!() };
    let (token, mut fields) = (token(), Vec::new());
    let grammar = Grammar { dialect: Dialect::Native, token: &token, limits: &LIMITS };
    let error = Sending::read(frame.headers, b"", Version::V12, &grammar, NOW, &mut fields).unwrap_err();
    assert!(error.to_string().contains("header \"long\" has 65536 bytes"), "{error}");
}

#[test]
fn tokens_are_22_letters_that_fit_a_topic_and_differ() {
    let all: Vec<_> = (0..=255u8).map(|byte| Token::new([byte; 16])).collect();
    for (place, token) in all.iter().enumerate() {
        let text = token.as_str();
        assert_eq!(text.len(), Token::LEN);
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
            "{text}"
        );
        assert!(all[..place].iter().all(|other| other != token), "{text}");
    }
    for bit in 0..128 {
        let token = Token::new((1u128 << bit).to_be_bytes());
        assert_ne!(token, Token::new([0; 16]), "bit {bit} counts");
    }
}
