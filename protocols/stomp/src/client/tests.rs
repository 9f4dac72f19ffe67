//! The machine beside a server that is written out byte for byte, one statement each.

use super::*;
use crate::framing::FrameLimits;

/// A machine that the server has answered at 0 ms, with what it wrote so far taken away.
fn connected(options: Options, answer: &str) -> Client {
    let mut client = Client::new(options);
    client.connect(0).unwrap();
    assert_eq!(client.handle_frame(0, answer.as_bytes()), Ok(answer.len()));
    assert!(matches!(client.poll_event(), Some(Event::Connected(_))));
    client.output().clear();
    client
}

fn speaking(version: Version) -> Client {
    connected(Options::default(), &format!("CONNECTED\nversion:{version}\n\n\0"))
}

/// What the machine has written since it was last asked.
fn written(client: &mut Client) -> String {
    String::from_utf8(client.output().split().to_vec()).unwrap()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn message(headers: &[(&str, &str)]) -> Message {
    Message {
        headers: headers.iter().map(|(name, value)| pair(name, value)).collect(),
        body: Vec::new().into(),
    }
}

fn hello<'a>() -> Outgoing<'a> {
    Outgoing { destination: "/queue/a", headers: &[], body: b"hi", transaction: None }
}

#[test]
fn connect_says_everything_and_escapes_nothing() {
    let options = Options {
        versions: vec![Version::V12, Version::V11],
        host: "shop".to_owned(),
        login: Some("an:na".to_owned()),
        passcode: Some("a\\b".to_owned()),
        client_id: Some("panel-1".to_owned()),
        heart_beat_ms: (1, 2),
        ..Options::default()
    };
    let mut client = Client::new(options);
    client.connect(0).unwrap();
    assert_eq!(
        written(&mut client),
        "CONNECT\naccept-version:1.1,1.2\nhost:shop\nheart-beat:1,2\nlogin:an:na\npasscode:a\\b\nclient-id:panel-1\n\n\0"
    );
}

#[test]
fn what_connect_cannot_say_is_refused() {
    for passcode in ["a\nb", "a\rb", "a\0b"] {
        let mut client = Client::new(Options { passcode: Some(passcode.to_owned()), ..Options::default() });
        let error = client.connect(0).unwrap_err();
        assert!(matches!(&error, RequestError::NotExpressible { name, .. } if name == "passcode"), "{error}");
        assert_eq!(written(&mut client), "", "nothing is sent in part");
    }
}

/// 1.2, "Protocol Negotiation": a server of 1.0 has no `version` header.
#[test]
fn the_version_is_the_servers_choice_among_ours() {
    for (answer, version) in [
        ("CONNECTED\n\n\0", Version::V10),
        ("CONNECTED\nversion:1.0\n\n\0", Version::V10),
        ("CONNECTED\nversion:1.1\n\n\0", Version::V11),
        ("CONNECTED\r\nversion:1.2\r\n\r\n\0", Version::V12),
    ] {
        assert_eq!(connected(Options::default(), answer).version(), Some(version), "{answer:?}");
    }
    for (answer, said) in [
        ("CONNECTED\nversion:1.1\n\n\0", "CONNECTED chooses 1.1, which was not offered"),
        ("CONNECTED\nversion:2\n\n\0", "CONNECTED has version \"2\", which is none"),
        (
            "CONNECTED\nversion:1.2\nheart-beat:1\n\n\0",
            "CONNECTED has heart-beat \"1\", which is not two numbers",
        ),
    ] {
        let mut client = Client::new(Options { versions: vec![Version::V12], ..Options::default() });
        client.connect(0).unwrap();
        let error = client.handle_frame(0, answer.as_bytes()).unwrap_err();
        assert_eq!(error, ClientError::Violation(said.to_owned()));
        assert!(!client.is_connected());
    }
}

#[test]
fn a_refusal_has_all_that_the_error_says() {
    let mut client = Client::new(Options::default());
    client.connect(0).unwrap();
    let error = b"ERROR\nmessage:no\nversion:1.0,1.1\nreceipt-id:7\ncontent-length:6\n\nbad\nx\n\0";
    let Err(ClientError::Refused(verdict)) = client.handle_frame(0, error) else { panic!("it is refused") };
    let expected = Verdict {
        message: Some("no".to_owned()),
        detail: "bad\nx".to_owned(),
        versions: Some("1.0,1.1".to_owned()),
        receipt: Some(ReceiptId(7)),
    };
    assert_eq!(*verdict, expected);
    assert_eq!(verdict.to_string(), "no: bad\\nx", "a terminal is not commanded");
    assert_eq!(client.next_wake_ms(), None);
}

#[test]
fn an_error_later_on_ends_it_too() {
    let mut client = speaking(Version::V12);
    let error = client.handle_frame(0, b"ERROR\nmessage:a\\c b\n\n\0").unwrap_err();
    assert_eq!(error.to_string(), "the server ended the connection: a: b");
    assert_eq!(client.send(0, &hello(), true), Err(RequestError::NotConnected));
    assert!(client.handle_frame(0, b"RECEIPT\nreceipt-id:1\n\n\0").is_ok(), "what follows is not looked at");
    assert_eq!(client.poll_event(), None);
}

#[test]
fn what_is_no_stomp_is_said_to_be_none() {
    let mut client = Client::new(Options::default());
    client.connect(0).unwrap();
    let error = client.handle_frame(0, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
    assert!(error.to_string().starts_with("the server sent what is no STOMP: a line is longer"), "{error}");
}

#[test]
fn frames_have_their_place() {
    let mut client = Client::new(Options::default());
    client.connect(0).unwrap();
    let early = client.handle_frame(0, b"RECEIPT\nreceipt-id:1\n\n\0").unwrap_err();
    assert_eq!(early, ClientError::Violation("RECEIPT came before CONNECTED".to_owned()));
    let late = speaking(Version::V12).handle_frame(0, b"CONNECTED\nversion:1.2\n\n\0").unwrap_err();
    assert_eq!(late, ClientError::Violation("CONNECTED came after CONNECTED".to_owned()));
}

#[test]
fn frames_of_every_request_look_like_this() {
    let headers = [pair("k", "a:b"), pair("k", "\\")];
    let mut client = speaking(Version::V12);
    let all = Outgoing { headers: &headers, transaction: Some("t"), ..hello() };
    client.begin(0, "t").unwrap();
    assert_eq!(client.send(0, &all, true), Ok(Some(ReceiptId(1))));
    assert_eq!(client.send(0, &hello(), false), Ok(None));
    assert_eq!(client.commit(0, "t"), Ok(ReceiptId(2)));
    client.abort(0, "t").unwrap();
    let subscription =
        Subscription { id: "0", destination: "/queue/a", ack: AckMode::ClientIndividual, headers: &headers };
    assert_eq!(client.subscribe(0, &subscription), Ok(ReceiptId(3)));
    assert_eq!(client.unsubscribe(0, "0", &[pair("durable", "true")]), Ok(ReceiptId(4)));
    assert_eq!(client.disconnect(0), Ok(ReceiptId(5)));
    assert_eq!(
        written(&mut client),
        "BEGIN\ntransaction:t\n\n\0\
         SEND\ndestination:/queue/a\ntransaction:t\nk:a\\cb\nk:\\\\\nreceipt:1\ncontent-length:2\n\nhi\0\
         SEND\ndestination:/queue/a\ncontent-length:2\n\nhi\0\
         COMMIT\ntransaction:t\nreceipt:2\n\n\0\
         ABORT\ntransaction:t\n\n\0\
         SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client-individual\nk:a\\cb\nk:\\\\\nreceipt:3\n\n\0\
         UNSUBSCRIBE\nid:0\ndurable:true\nreceipt:4\n\n\0\
         DISCONNECT\nreceipt:5\n\n\0"
    );
    assert_eq!(client.unanswered(), 5);
    assert_eq!(client.begin(0, "u"), Err(RequestError::NotConnected), "nothing follows DISCONNECT");
}

#[test]
fn what_a_version_cannot_say_is_refused_and_nothing_is_sent() {
    let newline = [pair("k", "a\nb")];
    let colon = [pair("a:b", "")];
    let cannot = |version, headers: &[(String, String)]| {
        let mut client = speaking(version);
        let error = client.send(0, &Outgoing { headers, ..hello() }, true).err();
        assert_eq!(written(&mut client).is_empty(), error.is_some());
        assert_eq!(client.unanswered() == 0, error.is_some());
        error.map(|error| error.to_string())
    };
    for version in [Version::V11, Version::V12] {
        assert_eq!(cannot(version, &newline), None);
        assert_eq!(cannot(version, &colon), None);
    }
    assert_eq!(
        cannot(Version::V10, &newline).as_deref(),
        Some("header \"k\" contains '\\n', which STOMP 1.0 cannot say; leave it out")
    );
    assert_eq!(
        cannot(Version::V10, &colon).as_deref(),
        Some("header \"a:b\" contains ':', which STOMP 1.0 cannot say; leave it out")
    );
    for version in Version::ALL {
        assert!(cannot(version, &[pair("k", "\0")]).is_some());
        assert_eq!(
            cannot(version, &[pair("", "x")]).as_deref(),
            Some("a header has no name; write NAME:VALUE")
        );
    }
}

/// 1.0 "ACK", 1.1 "ACK", 1.2 "ACK": each version names the delivery in its own way.
#[test]
fn a_delivery_is_acknowledged_by_what_its_version_names_it() {
    let whole = message(&[("message-id", "m"), ("subscription", "s"), ("ack", "a")]);
    for (version, expected) in [
        (Version::V10, "ACK\nmessage-id:m\nsubscription:s\ntransaction:t\n\n\0"),
        (Version::V11, "ACK\nmessage-id:m\nsubscription:s\ntransaction:t\n\n\0"),
        (Version::V12, "ACK\nid:a\ntransaction:t\n\n\0"),
    ] {
        let mut client = speaking(version);
        client.ack(0, &whole, Some("t")).unwrap();
        assert_eq!(written(&mut client), expected);
        let nack = client.nack(0, &whole, Some("t"));
        assert_eq!(nack.is_ok(), version > Version::V10);
        assert_eq!(written(&mut client), if nack.is_ok() { format!("N{expected}") } else { String::new() });
    }
    let mut client = speaking(Version::V10);
    client.ack(0, &message(&[("message-id", "m")]), None).unwrap();
    assert_eq!(written(&mut client), "ACK\nmessage-id:m\n\n\0");
    assert_eq!(
        client.nack(0, &whole, None).unwrap_err().to_string(),
        "NACK is not in STOMP 1.0, which was agreed on; it needs 1.1"
    );
    for (version, missing) in
        [(Version::V10, "message-id"), (Version::V11, "subscription"), (Version::V12, "ack")]
    {
        let headers = [("message-id", "m"), ("subscription", "s"), ("ack", "a")];
        let rest: Vec<_> = headers.into_iter().filter(|(name, _)| *name != missing).collect();
        let error = speaking(version).ack(0, &message(&rest), None).unwrap_err();
        assert_eq!(error, RequestError::Unacknowledgeable(missing));
    }
}

#[test]
fn modes_that_1_0_lacks_are_refused_there() {
    let subscription = |ack| Subscription { id: "0", destination: "/queue/a", ack, headers: &[] };
    let mut client = speaking(Version::V10);
    assert!(client.subscribe(0, &subscription(AckMode::Client)).is_ok());
    assert_eq!(
        client.subscribe(0, &subscription(AckMode::ClientIndividual)),
        Err(RequestError::NotInVersion { what: "ack:client-individual", version: Version::V10 })
    );
    assert_eq!(client.unanswered(), 1);
}

#[test]
fn receipts_come_once_and_for_what_was_asked() {
    let mut client = speaking(Version::V12);
    let first = client.send(0, &hello(), true).unwrap().unwrap();
    let second = client.send(0, &hello(), true).unwrap().unwrap();
    let receipt = |id: u64| format!("RECEIPT\nreceipt-id:{id}\n\n\0");
    for id in [second, first] {
        client.handle_frame(0, receipt(id.0).as_bytes()).unwrap();
        assert_eq!(client.poll_event(), Some(Event::Receipt(id)));
    }
    assert_eq!(client.unanswered(), 0);
    for text in ["1", "3", "x", ""] {
        let mut client = speaking(Version::V12);
        let error =
            client.handle_frame(0, format!("RECEIPT\nreceipt-id:{text}\n\n\0").as_bytes()).unwrap_err();
        let said = format!("a RECEIPT came for {text:?}, which nobody asked for");
        assert_eq!(error, ClientError::Violation(said));
    }
}

#[test]
fn another_connection_forgets_what_the_last_one_waited_for_but_not_how_far_it_counted() {
    let mut client = speaking(Version::V12);
    client.send(0, &hello(), true).unwrap();
    client.handle_frame(0, b"MESSAGE\n\nx").unwrap();
    client.connect(5).unwrap();
    assert_eq!((client.unanswered(), client.version(), client.is_connected()), (0, None, false));
    client.handle_frame(6, b"CONNECTED\nversion:1.1\n\n\0").unwrap();
    assert_eq!(client.send(7, &hello(), true), Ok(Some(ReceiptId(2))));
}

#[test]
fn messages_have_their_headers_in_order_and_their_body_as_it_is() {
    let mut client = speaking(Version::V12);
    let bytes =
        b"\n\r\nMESSAGE\ndestination:/queue/a\nk:1\nk:2\\n\nbrowser:end\ncontent-length:3\n\na\0b\0\nREC";
    assert_eq!(client.handle_frame(0, bytes), Ok(3), "EOLs between frames");
    let bytes = &bytes[3..];
    let used = client.handle_frame(0, bytes).unwrap();
    let Some(Event::Message(message)) = client.poll_event() else { panic!("it is one") };
    let names: Vec<&str> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["destination", "k", "k", "browser", "content-length"]);
    assert_eq!(
        (message.header("k"), message.destination(), &message.body[..]),
        (Some("1"), "/queue/a", &b"a\0b"[..])
    );
    assert_eq!(message.headers[2].1, "2\n");
    assert!(message.is_end_of_browse());
    assert_eq!(&bytes[used..], b"\nREC");
    assert_eq!(client.handle_frame(0, &bytes[used..]), Ok(1));
    assert_eq!(client.handle_frame(0, b"REC"), Ok(0), "not whole");
}

#[test]
fn messages_that_come_after_disconnect_are_left_to_the_server() {
    let mut client = speaking(Version::V12);
    let receipt = client.disconnect(0).unwrap();
    client.handle_frame(0, b"MESSAGE\nack:1\n\n\0").unwrap();
    client.handle_frame(0, format!("RECEIPT\nreceipt-id:{}\n\n\0", receipt.0).as_bytes()).unwrap();
    assert_eq!(client.poll_event(), Some(Event::Receipt(receipt)));
    assert_eq!(client.poll_event(), None);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let limits = FrameLimits { max_body: 3, ..FrameLimits::default() };
    let options = Options { limits, ..Options::default() };
    let mut client = connected(options, "CONNECTED\nversion:1.2\n\n\0");
    let error = client.handle_frame(0, b"MESSAGE\ncontent-length:4\n\n").unwrap_err();
    assert!(error.to_string().contains("larger than the limit of 3"), "{error}");
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut client = Client::new(Options { answer_timeout_ms: 50, ..Options::default() });
    client.connect(100).unwrap();
    assert_eq!(client.next_wake_ms(), Some(150));
    assert_eq!(client.handle_timeout(149), Ok(()));
    assert_eq!(client.handle_timeout(150), Err(ClientError::NoAnswer(50)));
    assert_eq!(client.next_wake_ms(), None);
}

/// 1.2, "Heart-beating": the longer of what one side can and the other wants; nothing if either says 0.
#[test]
fn heart_beats_are_what_both_sides_agree_on() {
    for (ours, theirs, expected) in [
        ((100, 200), "300,50", (100, 300)),
        ((100, 200), "150,400", (400, 200)),
        ((0, 200), "300,50", (0, 300)),
        ((100, 0), "300,50", (100, 0)),
        ((100, 200), "0,50", (100, 0)),
        ((100, 200), "300,0", (0, 300)),
    ] {
        let options = Options { heart_beat_ms: ours, ..Options::default() };
        let client = connected(options, &format!("CONNECTED\nversion:1.2\nheart-beat:{theirs}\n\n\0"));
        let agreed = (client.beats.send_ms, client.beats.expect_ms);
        assert_eq!(agreed, expected, "{ours:?} and {theirs}");
    }
    assert_eq!(speaking(Version::V12).next_wake_ms(), None, "a server that says nothing has none");
}

#[test]
fn a_silent_client_beats_before_it_is_missed() {
    let options = Options { heart_beat_ms: (300, 0), ..Options::default() };
    let mut client = connected(options, "CONNECTED\nversion:1.2\nheart-beat:0,300\n\n\0");
    assert_eq!(client.next_wake_ms(), Some(200));
    client.handle_timeout(199).unwrap();
    assert_eq!(written(&mut client), "");
    client.handle_timeout(200).unwrap();
    assert_eq!(written(&mut client), "\n");
    assert_eq!(client.next_wake_ms(), Some(400));
    client.begin(390, "t").unwrap();
    assert_eq!(client.next_wake_ms(), Some(590), "any frame is a sign of life");
    client.handle_timeout(590).unwrap();
    assert_eq!(written(&mut client), "BEGIN\ntransaction:t\n\n\0", "what waits to be written needs no beat");
    client.disconnect(600).unwrap();
    assert_eq!(client.next_wake_ms(), None, "and after DISCONNECT there is nothing to be said");
}

#[test]
fn a_silent_server_is_given_up_after_twice_its_time() {
    let options = Options { heart_beat_ms: (0, 100), ..Options::default() };
    let mut client = connected(options, "CONNECTED\nversion:1.2\nheart-beat:100,0\n\n\0");
    assert_eq!(client.next_wake_ms(), Some(200));
    client.handle_frame(150, b"\n").unwrap();
    assert_eq!(client.next_wake_ms(), Some(350), "any byte counts");
    client.handle_frame(300, b"MESS").unwrap();
    assert_eq!(client.next_wake_ms(), Some(500), "a part of a frame too");
    client.handle_frame(400, b"MESS").unwrap();
    assert_eq!(client.next_wake_ms(), Some(500), "but only once");
    client.handle_frame(420, b"MESSA").unwrap();
    assert_eq!(client.handle_timeout(619), Ok(()));
    assert_eq!(client.handle_timeout(620), Err(ClientError::Silent(200)));
    assert!(!client.is_connected());
}

#[test]
fn passwords_are_not_shown() {
    let options = Options { passcode: Some("s3cret".to_owned()), ..Options::default() };
    assert!(!format!("{:?}", Client::new(options)).contains("s3cret"));
}
