//! One normative statement of STOMP each, named after it, with the version and the section that it stands in; at the
//! end what a client can do wrong, each with the words that it is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod world;

use noctule_core::policy::Limits;
use noctule_core::refusal::Kind;
use noctule_stomp::{Command, Dialect, Token, Version};
use world::{Got, World};

/// A client of 1.2 and its world.
fn one() -> (World, usize) {
    of(Version::V12)
}

fn of(version: Version) -> (World, usize) {
    let mut world = World::new();
    let client = world.connect(version);
    (world, client)
}

/// Receives `count` messages on a subscription of this mode; their frames.
fn receive(world: &mut World, client: usize, subscription: &str, ack: &str, count: usize) -> Vec<Got> {
    let topic = format!("/topic/{subscription}");
    world.frame(client, &format!("SUBSCRIBE\nid:{subscription}\ndestination:{topic}\nack:{ack}"));
    let got: Vec<_> = (0..count)
        .map(|number| {
            world.send(client, &format!("SEND\ndestination:{topic}\npersistent:true\n\n{number}\0"));
            world.take_one(client)
        })
        .collect();
    assert_eq!(got.len(), count);
    got
}

/// The packet identifiers and the verdict of a settlement.
fn settled(asked: &str) -> (usize, &str) {
    let ids = asked.split("packet_ids: [").nth(1).unwrap_or_else(|| panic!("no settlement: {asked}"));
    let (ids, rest) = ids.split_once(']').unwrap();
    let verdict = rest.split("verdict: ").nth(1).unwrap();
    (ids.split(", ").count(), &verdict[..6])
}

/// What the client is told of a frame that asks for receipt `r`, after which the connection is closed.
#[track_caller]
fn refused(world: &mut World, client: usize, frame: &str, words: &[&str]) -> String {
    world.send(client, frame);
    let error = world.error(client);
    assert_eq!(error.get("receipt-id"), Some("r"), "{frame}: {error:?}");
    for word in words {
        assert!(error.text().contains(word), "{frame}: {word} is not in {:?}", error.text());
    }
    error.text().to_owned()
}

mod connecting {
    use super::*;

    /// 1.2, "Connecting": "servers MUST also handle the STOMP command in the same manner as the CONNECT frame".
    #[test]
    fn stomp_is_connect() {
        let mut world = World::new();
        let client = world.open();
        world.send(client, "STOMP\naccept-version:1.2\nhost:x\n\n\0");
        let connected = world.take_one(client);
        assert_eq!((connected.command, connected.header("version")), (Command::Connected, "1.2"));
    }

    /// 1.2, "Protocol Negotiation": "respond back with the highest version of the protocol" that both know.
    #[test]
    fn the_highest_common_version_is_spoken() {
        for (accept, version) in
            [("1.0,1.1,1.2", "1.2"), ("1.1,1.0", "1.1"), ("1.0", "1.0"), ("1.0,1.1,2.0", "1.1")]
        {
            let mut world = World::new();
            let client = world.open();
            world.send(client, &format!("CONNECT\naccept-version:{accept}\nhost:x\n\n\0"));
            assert_eq!(world.take_one(client).header("version"), version, "{accept}");
        }
    }

    /// 1.1 and 1.2, "Protocol Negotiation": a missing `accept-version` means 1.0.
    #[test]
    fn without_accept_version_it_is_1_0() {
        let mut world = World::new();
        let client = world.open();
        world.send(client, "CONNECT\n\n\0");
        assert_eq!(world.take_one(client).header("version"), "1.0");
        assert_eq!(world.server(client).version(), Some(Version::V10));
    }

    /// 1.2, "Protocol Negotiation": without a common version "the server MUST respond with an ERROR frame", with the
    /// versions that it supports, and then close.
    #[test]
    fn no_common_version_is_an_error_with_those_that_are_spoken() {
        let mut world = World::new();
        let client = world.open();
        world.send(client, "CONNECT\naccept-version:9.9\nhost:x\n\n\0");
        let error = world.error(client);
        assert_eq!(error.header("version"), "1.2,1.1,1.0");
        assert!(
            error.text().contains("\"9.9\"") && error.text().contains("offer 1.0, 1.1 or 1.2"),
            "{error:?}"
        );
        assert_eq!(world.closed(client), Some(Kind::UnsupportedVersion));
    }

    /// 1.2, "CONNECTED Frame": `version` must, `session`, `server` and `heart-beat` may be there; ours always are.
    #[test]
    fn connected_says_version_session_server_and_heart_beat() {
        let mut world = World::new();
        let (one, two) = (world.open(), world.open());
        world.authenticate_as(one, "ann");
        world.send(one, "CONNECT\naccept-version:1.2\nhost:nowhere\nlogin:ann\npasscode:p\n\n\0");
        world.send(two, "CONNECT\n\n\0");
        let (first, second) = (world.take_one(one), world.take_one(two));
        for connected in [&first, &second] {
            assert!(connected.header("server").starts_with("noctule/"));
            assert_eq!(connected.header("heart-beat"), "1000,10000");
        }
        assert_ne!(first.header("session"), second.header("session"));
        assert_eq!(first.header("session"), world.server(one).session());
        assert_eq!((first.get("user-name"), second.get("user-name")), (Some("ann"), None));
    }

    /// 1.2, "Connecting": the `host` is a MUST; a missing or unknown one selects the default here.
    #[test]
    fn any_host_will_do() {
        for host in ["", "host:\n", "host:unknown\n"] {
            let mut world = World::new();
            let client = world.open();
            world.send(client, &format!("CONNECT\naccept-version:1.2\n{host}\n\0"));
            assert_eq!(world.take_one(client).command, Command::Connected, "{host}");
        }
    }

    /// 1.2, "Value Encoding": CONNECT is not escaped, "to remain backward compatible"; STOMP is.
    #[test]
    fn credentials_are_raw_on_connect_and_escaped_on_stomp() {
        for (command, passcode, read) in [
            ("CONNECT", "a\\cb", r#"Some("ann") Some("a\\cb") or Some((Some("ann"), Some("a:b")))"#),
            ("STOMP", "a\\cb", r#"Some("ann") Some("a:b") or Some((Some("ann"), Some("a\\cb")))"#),
            ("CONNECT", "plain:text", r#"Some("ann") Some("plain:text") or None"#),
            ("CONNECT", "a\\xb", r#"Some("ann") Some("a\\xb") or None"#),
        ] {
            let mut world = World::new();
            let client = world.open();
            world.send(
                client,
                &format!("{command}\naccept-version:1.2\nlogin:ann\npasscode:{passcode}\n\n\0"),
            );
            assert_eq!(world.credentials, read, "{command} {passcode}");
        }
        let mut world = World::new();
        world.connect(Version::V12);
        assert_eq!(world.credentials, "None None or None", "no login is no empty login");
        world.connect_with(Version::V10, "login: ann\npasscode: p\n");
        assert_eq!(world.credentials, r#"Some(" ann") Some(" p") or Some((Some("ann"), Some("p")))"#);
    }

    /// 1.2, "Heart-beating": what either side sends is the larger of what it can and what the other wants, and nothing
    /// if one of them is 0.
    #[test]
    fn heart_beats_are_agreed_on_for_each_direction() {
        for (header, expected_ms, sent_ms) in [
            ("", 0, 0),
            ("heart-beat:0,0\n", 0, 0),
            ("heart-beat:5000,0\n", 10_000, 0),
            ("heart-beat:20000,0\n", 20_000, 0),
            ("heart-beat:0,500\n", 0, 1_000),
            ("heart-beat:0,4000\n", 0, 4_000),
            ("heart-beat:99999999999,1\n", u32::MAX, 1_000),
        ] {
            let mut world = World::new();
            world.connect_with(Version::V12, header);
            let beats = format!("Beats {{ expected_ms: {expected_ms}, sent_ms: {sent_ms}, idle_ms: 0 }}");
            assert!(world.last_asked().contains(&beats), "{header}: {beats} in {}", world.last_asked());
        }
        let mut world = World::new();
        world.limits.heart_beat_ms = (0, 0);
        world.connect_with(Version::V12, "heart-beat:1000,1000\n");
        assert!(world.last_asked().contains("expected_ms: 0, sent_ms: 0"), "{}", world.last_asked());
    }

    /// A client of 1.0 has no heart-beats; it is given up after a stated silence instead.
    #[test]
    fn a_1_0_client_has_an_idle_limit() {
        let mut world = World::new();
        world.limits.idle_timeout_ms = 7;
        world.connect(Version::V10);
        assert!(world.last_asked().contains("idle_ms: 7"), "{}", world.last_asked());
    }

    /// 1.2, "Heart-beating": any data counts as a sign of life, an EOL between frames too.
    #[test]
    fn an_eol_keeps_a_client_alive_and_silence_ends_it() {
        let mut world = World::new();
        let client = world.connect_with(Version::V12, "heart-beat:10000,0\n");
        for _ in 0..10 {
            world.pass(15_000);
            world.send(client, "\n");
        }
        assert_eq!(world.closed(client), None);
        world.pass(30_000);
        assert_eq!(world.error(client).header("message"), "heart-beat timeout");
    }

    /// 1.2, "Heart-beating": "the server MUST" send within the interval that was agreed on.
    #[test]
    fn a_silent_server_sends_eols() {
        let mut world = World::new();
        let client = world.connect_with(Version::V12, "heart-beat:0,2000\n");
        let mut beats = 0;
        for _ in 0..20 {
            world.pass(500);
            beats += world.take_bytes(client).iter().filter(|byte| **byte == b'\n').count();
        }
        assert!((5..=10).contains(&beats), "{beats} in ten seconds");
    }

    /// 1.2, "Connecting": the first frame is CONNECT or STOMP.
    #[test]
    fn another_first_frame_is_an_error() {
        let mut world = World::new();
        let client = world.open();
        refused(
            &mut world,
            client,
            "SEND\ndestination:/queue/a\nreceipt:r\n\n\0",
            &["first frame is SEND", "begin with CONNECT or STOMP"],
        );
        assert_eq!(world.closed(client), Some(Kind::FirstPacketNotConnect));
    }

    #[test]
    fn a_second_connect_is_an_error() {
        let (mut world, client) = one();
        world.send(client, "CONNECT\naccept-version:1.2\nhost:x\nreceipt:r\n\n\0");
        let error = world.error(client);
        assert!(error.text().contains("a second CONNECT"), "{error:?}");
        assert_eq!(error.get("receipt-id"), None, "CONNECT cannot ask for a receipt");
    }

    #[test]
    fn a_heart_beat_that_is_none_is_an_error() {
        for bad in ["a,b", "5", "1,2,3", "-1,0", ""] {
            let mut world = World::new();
            let client = world.open();
            world.send(client, &format!("CONNECT\naccept-version:1.2\nheart-beat:{bad}\n\n\0"));
            let error = world.error(client);
            let words = format!("heart-beat has the value {bad:?}; write two numbers");
            assert!(error.text().contains(&words), "{error:?}");
        }
    }
}

mod subscribing {
    use super::*;

    /// 1.1 and 1.2, "SUBSCRIBE id Header": it "MUST" be there.
    #[test]
    fn an_id_is_required_from_1_1() {
        for version in [Version::V11, Version::V12] {
            let (mut world, client) = of(version);
            let frame = "SUBSCRIBE\ndestination:/topic/a\nreceipt:r\n\n\0";
            refused(&mut world, client, frame, &["SUBSCRIBE has no id header", "name the subscription"]);
        }
        let (mut world, client) = of(Version::V10);
        assert_eq!(
            world.frame(client, "SUBSCRIBE\ndestination:/topic/a\nreceipt:1")[0].command,
            Command::Receipt
        );
    }

    /// 1.2, "SUBSCRIBE id Header": "different subscriptions MUST use different subscription identifiers".
    #[test]
    fn an_id_that_is_in_use_is_an_error_and_one_that_was_is_not() {
        let (mut world, client) = one();
        world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/a");
        world.frame(client, "UNSUBSCRIBE\nid:1");
        world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/a");
        let frame = "SUBSCRIBE\nid:1\ndestination:/topic/b\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["subscription \"1\" is there already", "use another id"]);
    }

    /// 1.2, "SUBSCRIBE": `destination` is a MUST.
    #[test]
    fn a_destination_is_required() {
        let (mut world, client) = one();
        let frame = "SUBSCRIBE\nid:1\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["SUBSCRIBE has no destination header", "/topic/NAME"]);
    }

    /// 1.2, "SUBSCRIBE ack Header": auto, client and client-individual; auto by default.
    #[test]
    fn another_ack_mode_is_an_error() {
        let (mut world, client) = one();
        let frame = "SUBSCRIBE\nid:1\ndestination:/topic/a\nack:foo\nreceipt:r\n\n\0";
        refused(
            &mut world,
            client,
            frame,
            &["header ack has the value \"foo\"", "auto, client or client-individual"],
        );
    }

    /// 1.2, "UNSUBSCRIBE": by the `id` of an existing subscription.
    #[test]
    fn an_unknown_subscription_cannot_be_unsubscribed() {
        let (mut world, client) = one();
        world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/a");
        assert_eq!(world.frame(client, "UNSUBSCRIBE\nid:1\nreceipt:1")[0].receipt(), "1");
        let frame = "UNSUBSCRIBE\nid:1\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["subscription \"1\" is not there", "once"]);
        let (mut world, client) = one();
        let frame = "UNSUBSCRIBE\ndestination:/topic/a\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["UNSUBSCRIBE has no id header"]);
    }

    /// 1.0, "UNSUBSCRIBE": by the destination, or by the `id` if there is one.
    #[test]
    fn in_1_0_a_subscription_may_be_named_by_its_destination() {
        let (mut world, client) = of(Version::V10);
        world.frame(client, "SUBSCRIBE\ndestination: /topic/a");
        world.send(client, "SEND\ndestination:/topic/a\n\nx\0");
        let message = world.take_one(client);
        assert_eq!(message.get("subscription"), None, "nobody has named it");
        world.frame(client, "UNSUBSCRIBE\ndestination:/topic/a");
        world.send(client, "SEND\ndestination:/topic/a\n\nx\0");
        assert_eq!(world.take(client), []);
        world.frame(client, "SUBSCRIBE\ndestination:/topic/a\nid:7");
        world.send(client, "SEND\ndestination:/topic/a\n\nx\0");
        assert_eq!(world.take_one(client).header("subscription"), "7");
        world.frame(client, "UNSUBSCRIBE\nid:7\nreceipt:1");
        assert_eq!(world.closed(client), None);
    }

    /// 1.0, "UNSUBSCRIBE": "either a destination header or an id header", whatever SUBSCRIBE had.
    #[test]
    fn in_1_0_a_destination_names_a_subscription_that_has_an_id_if_it_is_the_only_one() {
        let (mut world, client) = of(Version::V10);
        world.frame(client, "SUBSCRIBE\ndestination:/topic/a\nid:7");
        let receipt = world.frame(client, "UNSUBSCRIBE\ndestination: /topic/a\nreceipt:1");
        assert_eq!(receipt.first().map(Got::receipt), Some("1"), "{receipt:?}");
        assert!(world.last_asked().contains("Cancel { consumer: ConsumerId(1)"), "{}", world.last_asked());
        for lines in ["id:7\ndestination:/topic/a", "destination:/topic/a", "id:8\ndestination:/topic/b"] {
            world.frame(client, &format!("SUBSCRIBE\n{lines}"));
        }
        world.frame(client, "UNSUBSCRIBE\ndestination:/topic/a");
        assert!(
            world.last_asked().contains("ConsumerId(3)"),
            "the one without an id: {}",
            world.last_asked()
        );
        world.frame(client, "SUBSCRIBE\nid:9\ndestination:/topic/a");
        let frame = "UNSUBSCRIBE\ndestination:/topic/a\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["\"/topic/a\" has several", "by the id"]);
        // Later versions have an id, always.
        let (mut world, client) = of(Version::V11);
        world.frame(client, "SUBSCRIBE\ndestination:/topic/a\nid:7");
        let frame = "UNSUBSCRIBE\ndestination:/topic/a\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["no id header"]);
    }

    /// 1.2, "MESSAGE": `destination`, `message-id` and `subscription` are a MUST, and `ack` where one is expected.
    #[test]
    fn a_message_has_what_it_must() {
        for version in Version::ALL {
            let (mut world, client) = of(version);
            let message = receive(&mut world, client, "s", "client", 1).remove(0);
            assert_eq!(message.header("destination"), "/topic/s");
            assert_eq!(message.header("subscription"), "s");
            let id = message.header("message-id");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@_-".contains(&byte)), "{id}");
            let ack = message.get("ack");
            assert_eq!(ack, (version == Version::V12).then_some(id), "{version}: ack and message-id are one");
        }
    }

    /// 1.2, "MESSAGE": `message-id` is unique, also among connections.
    #[test]
    fn message_ids_are_unique() {
        let mut world = World::new();
        let clients = [world.connect(Version::V12), world.connect(Version::V12)];
        let mut ids = Vec::new();
        for client in clients {
            world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/a");
            world.frame(client, "SUBSCRIBE\nid:2\ndestination:/topic/a");
        }
        for _ in 0..3 {
            world.send(clients[0], "SEND\ndestination:/topic/a\n\nx\0");
        }
        for client in clients {
            ids.extend(world.take(client).iter().map(|message| message.header("message-id").to_owned()));
        }
        assert_eq!(ids.len(), 12);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 12);
    }
}

mod acknowledging {
    use super::*;

    /// 1.2, "SUBSCRIBE ack Header": in `client` mode an ACK is cumulative, and of its subscription only.
    #[test]
    fn client_is_cumulative_within_its_subscription() {
        let (mut world, client) = one();
        let a = receive(&mut world, client, "a", "client", 3);
        let b = receive(&mut world, client, "b", "client", 2);
        world.frame(client, &format!("ACK\nid:{}", a[1].header("ack")));
        assert_eq!(settled(world.last_asked()), (2, "Accept"));
        world.frame(client, &format!("ACK\nid:{}", a[2].header("ack")));
        assert_eq!(settled(world.last_asked()), (1, "Accept"));
        world.frame(client, &format!("ACK\nid:{}", b[1].header("ack")));
        assert_eq!(settled(world.last_asked()), (2, "Accept"), "the other subscription's were left alone");
        assert_eq!(world.server(client).stray_acks(), 0);
    }

    /// 1.2, "NACK": it applies to one message, or to all before it as well, as ACK does.
    #[test]
    fn nack_is_cumulative_where_ack_is() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client", 3);
        world.frame(client, &format!("NACK\nid:{}", got[2].header("ack")));
        assert_eq!(settled(world.last_asked()), (3, "Requeu"));
        let got = receive(&mut world, client, "b", "client-individual", 3);
        world.frame(client, &format!("NACK\nid:{}", got[2].header("ack")));
        assert_eq!(settled(world.last_asked()), (1, "Requeu"));
    }

    /// 1.2, "SUBSCRIBE ack Header": in `client-individual` mode each message is acknowledged by itself.
    #[test]
    fn client_individual_is_one_at_a_time_in_any_order() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client-individual", 3);
        for place in [2, 0, 1] {
            world.frame(client, &format!("ACK\nid:{}", got[place].header("ack")));
            assert_eq!(settled(world.last_asked()), (1, "Accept"));
        }
        assert_eq!(world.server(client).stray_acks(), 0);
    }

    /// 1.2, "SUBSCRIBE ack Header": in `auto` mode the client need not, and its ACK is ignored; its receipt is not.
    #[test]
    fn an_ack_on_auto_is_ignored() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "auto", 1);
        let receipt = world.frame(client, &format!("ACK\nid:{}\nreceipt:1", got[0].header("message-id")));
        assert_eq!(receipt[0].receipt(), "1");
        world.frame(client, &format!("NACK\nid:{}", got[0].header("message-id")));
        assert!(world.asked.iter().all(|asked| !asked.contains("Settle")), "{:?}", world.asked);
        assert_eq!((world.closed(client), world.server(client).stray_acks()), (None, 0));
    }

    /// 1.0 acknowledges by `message-id`; 1.1 by `message-id` and `subscription`; 1.2 by `id` ("ACK" in each). Clients
    /// mix them up, and all are understood in every version.
    #[test]
    fn every_version_may_name_a_delivery_in_every_way() {
        for version in Version::ALL {
            for form in [
                "message-id:ID",
                "message-id:ID\nsubscription:a",
                "id:ID",
                "ack:ID",
                "id:other\nmessage-id:ID",
            ] {
                let (mut world, client) = of(version);
                let got = receive(&mut world, client, "a", "client-individual", 1);
                let form = form.replace("ID", got[0].header("message-id"));
                world.frame(client, &format!("ACK\n{form}"));
                assert_eq!(world.closed(client), None, "{version} {form}: {:?}", world.take(client));
                assert_eq!(settled(world.last_asked()), (1, "Accept"), "{version} {form}");
            }
        }
    }

    /// 1.1, "ACK": `subscription` is the one that the message came by.
    #[test]
    fn a_subscription_that_is_not_the_messages_is_an_error() {
        let (mut world, client) = of(Version::V11);
        let got = receive(&mut world, client, "a", "client", 1);
        let id = got[0].header("message-id");
        let frame = format!("ACK\nsubscription:b\nmessage-id:{id}\nreceipt:r\n\n\0");
        refused(&mut world, client, &frame, &["subscription of ACK, \"b\"", "\"a\"", "send back both"]);
    }

    /// RULES: an ACK for a delivery that was issued but has been settled is ignored and counted.
    #[test]
    fn an_ack_of_what_is_settled_is_ignored_and_counted() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client", 2);
        let ack = format!("ACK\nid:{}", got[1].header("ack"));
        world.frame(client, &ack);
        world.frame(client, &ack);
        let receipt = world.frame(client, &format!("ACK\nid:{}\nreceipt:1", got[0].header("ack")));
        assert_eq!(receipt[0].receipt(), "1");
        world.frame(client, "UNSUBSCRIBE\nid:a");
        world.frame(client, &ack);
        assert_eq!((world.closed(client), world.server(client).stray_acks()), (None, 3));
        let settles = world.asked.iter().filter(|asked| asked.contains("Settle")).count();
        assert_eq!(settles, 1);
    }

    #[test]
    fn an_ack_of_an_id_that_was_never_issued_is_an_error() {
        for make in [
            |id: &str| id.replacen("1-1", "1-2", 1),
            |id: &str| id.replacen("1-1", "2-1", 1),
            |id: &str| id.replacen("1-1", "1-01", 1),
            |id: &str| id.replace('@', ""),
            |_: &str| "nonsense".into(),
            |id: &str| format!("{}x", &id[..id.len() - 1]),
        ] {
            let (mut world, client) = one();
            let got = receive(&mut world, client, "a", "client", 1);
            let id = make(got[0].header("ack"));
            let frame = format!("ACK\nid:{id}\nreceipt:r\n\n\0");
            let session = world.server(client).session()[..Token::LEN - 1].to_owned();
            let told = refused(
                &mut world,
                client,
                &frame,
                &["header id of ACK", &id[..3], "names no message", "send back"],
            );
            assert!(!told.contains(&session), "the log is no place for it: {told}");
        }
    }

    #[test]
    fn an_ack_of_another_connections_delivery_is_an_error() {
        let mut world = World::new();
        let (one, two) = (world.connect(Version::V12), world.connect(Version::V12));
        let theirs = receive(&mut world, one, "a", "client", 1).remove(0);
        receive(&mut world, two, "b", "client", 1);
        let frame = format!("ACK\nid:{}\nreceipt:r\n\n\0", theirs.header("ack"));
        let session = world.server(one).session().to_owned();
        let told = refused(&mut world, two, &frame, &["\"1-1@…\"", "names no message of this connection"]);
        assert!(!told.contains(&session), "the log is no place for it: {told}");
    }

    /// 1.2, "ACK": `id` is a MUST; 1.1 and 1.0: `message-id`.
    #[test]
    fn an_ack_that_names_nothing_is_an_error() {
        for (version, words) in
            [(Version::V10, "no message-id"), (Version::V11, "no message-id"), (Version::V12, "no id")]
        {
            let (mut world, client) = of(version);
            refused(&mut world, client, "ACK\nreceipt:r\n\n\0", &[words, "send back what the MESSAGE has"]);
        }
    }

    /// PROTOCOLS, "Acknowledgement": deliveries stay acknowledgeable after UNSUBSCRIBE.
    #[test]
    fn what_was_delivered_is_acknowledged_after_unsubscribe() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client", 2);
        world.frame(client, "UNSUBSCRIBE\nid:a");
        world.frame(client, "SUBSCRIBE\nid:a\ndestination:/topic/other\nack:client");
        world.frame(client, &format!("ACK\nid:{}\nsubscription:a", got[0].header("ack")));
        assert_eq!(settled(world.last_asked()), (1, "Accept"));
        world.frame(client, &format!("ACK\nid:{}", got[1].header("ack")));
        assert_eq!(settled(world.last_asked()), (1, "Accept"));
        assert!(world.last_asked().contains("ConsumerId(1)"));
    }

    /// 1.1, "NACK": new in that version.
    #[test]
    fn nack_is_unknown_in_1_0() {
        let (mut world, client) = of(Version::V10);
        let got = receive(&mut world, client, "a", "client", 1);
        let frame = format!("NACK\nmessage-id:{}\nreceipt:r\n\n\0", got[0].header("message-id"));
        refused(&mut world, client, &frame, &["command \"NACK\" is unknown in STOMP 1.0", "accept-version"]);
        let (mut world, client) = of(Version::V11);
        let got = receive(&mut world, client, "a", "client", 1);
        world.frame(client, &format!("NACK\nmessage-id:{}\nsubscription:a", got[0].header("message-id")));
        assert_eq!(settled(world.last_asked()), (1, "Requeu"));
    }
}

mod transactions {
    use super::*;

    /// 1.2, "BEGIN" and "COMMIT": what is sent in a transaction "will be processed atomically" at COMMIT.
    #[test]
    fn nothing_happens_before_commit_and_all_of_it_then() {
        let (mut world, client) = one();
        let listener = world.connect(Version::V12);
        world.frame(listener, "SUBSCRIBE\nid:1\ndestination:/topic/t");
        let got = receive(&mut world, client, "a", "client", 2);
        world.frame(client, "BEGIN\ntransaction:x");
        world.send(client, "SEND\ndestination:/topic/t\ntransaction:x\nk:v\n\none\0");
        world.send(client, "SEND\ndestination:/topic/t\ntransaction:x\n\ntwo\0");
        world.frame(client, &format!("ACK\nid:{}\ntransaction:x", got[1].header("ack")));
        assert_eq!(world.take(listener), []);
        let asked = world.asked.len();
        assert_eq!(world.frame(client, "COMMIT\ntransaction:x\nreceipt:c")[0].receipt(), "c");
        assert_eq!(world.asked.len(), asked + 1, "one request: {:?}", &world.asked[asked..]);
        assert_eq!(settled(world.last_asked()), (2, "Accept"));
        let got = world.take(listener);
        let bodies: Vec<_> = got.iter().map(Got::text).collect();
        assert_eq!(bodies, ["one", "two"]);
        assert_eq!((got[0].header("k"), got[0].header("persistent")), ("v", "true"), "committed is stored");
    }

    /// 1.2, "ABORT": what was sent and acknowledged in it is undone.
    #[test]
    fn abort_forgets_what_was_sent_and_gives_acks_back() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client", 2);
        let ack = format!("ACK\nid:{}", got[1].header("ack"));
        world.frame(client, "BEGIN\ntransaction:x");
        world.send(client, "SEND\ndestination:/topic/a\ntransaction:x\n\nno\0");
        world.frame(client, &format!("{ack}\ntransaction:x"));
        world.frame(client, &ack);
        assert_eq!(world.server(client).stray_acks(), 1, "it is the transaction's");
        assert_eq!(world.frame(client, "ABORT\ntransaction:x\nreceipt:1")[0].receipt(), "1");
        world.frame(client, &ack);
        assert_eq!(settled(world.last_asked()), (2, "Accept"));
        assert!(world.asked.iter().all(|asked| !asked.contains("Commit(")), "{:?}", world.asked);
        // The name is free again.
        assert_eq!(world.frame(client, "BEGIN\ntransaction:x\nreceipt:2")[0].receipt(), "2");
    }

    #[test]
    fn a_committed_ack_stays_settled_and_other_transactions_keep_theirs() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client-individual", 3);
        world.frame(client, "BEGIN\ntransaction:x");
        world.frame(client, "BEGIN\ntransaction:y");
        world.frame(client, &format!("ACK\nid:{}\ntransaction:x", got[0].header("ack")));
        world.frame(client, &format!("NACK\nid:{}\ntransaction:y", got[1].header("ack")));
        world.frame(client, "UNSUBSCRIBE\nid:a");
        world.frame(client, "COMMIT\ntransaction:y");
        assert_eq!(settled(world.last_asked()), (1, "Requeu"));
        world.frame(client, "COMMIT\ntransaction:x");
        assert_eq!(settled(world.last_asked()), (1, "Accept"));
        world.frame(client, &format!("ACK\nid:{}", got[0].header("ack")));
        assert_eq!(world.server(client).stray_acks(), 1);
        world.frame(client, &format!("ACK\nid:{}", got[2].header("ack")));
        assert_eq!(settled(world.last_asked()), (1, "Accept"), "still there after all that");
    }

    /// PROTOCOLS, "Acknowledgement": a receipt asked on a frame inside a transaction comes in its turn.
    #[test]
    fn receipts_of_enlisted_frames_do_not_wait_for_commit() {
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client", 1);
        let mut receipt = |frame: &str| {
            world.send(client, &format!("{frame}\0"));
            world.take_one(client).receipt().to_owned()
        };
        assert_eq!(receipt("BEGIN\ntransaction:x\nreceipt:1\n\n"), "1");
        assert_eq!(receipt("SEND\ndestination:/topic/t\ntransaction:x\nreceipt:2\n\nbody"), "2");
        assert_eq!(receipt(&format!("ACK\nid:{}\ntransaction:x\nreceipt:3\n\n", got[0].header("ack"))), "3");
        assert_eq!(receipt("COMMIT\ntransaction:x\nreceipt:4\n\n"), "4");
        assert_eq!(receipt("BEGIN\ntransaction:x\nreceipt:5\n\n"), "5");
        assert_eq!(receipt("COMMIT\ntransaction:x\nreceipt:6\n\n"), "6");
    }

    /// 1.2, "BEGIN": the identifiers of open transactions must differ.
    #[test]
    fn a_transaction_that_is_open_cannot_begin_again() {
        let (mut world, client) = one();
        world.frame(client, "BEGIN\ntransaction:x");
        let frame = "BEGIN\ntransaction:x\nreceipt:r\n\n\0";
        refused(
            &mut world,
            client,
            frame,
            &["transaction \"x\" is open already", "commit or abort it first"],
        );
    }

    #[test]
    fn an_unknown_transaction_is_an_error() {
        for frame in [
            "COMMIT\ntransaction:x\nreceipt:r\n\n\0",
            "ABORT\ntransaction:x\nreceipt:r\n\n\0",
            "SEND\ndestination:/topic/a\ntransaction:x\nreceipt:r\n\n\0",
        ] {
            let (mut world, client) = one();
            refused(&mut world, client, frame, &["transaction \"x\" is not open", "BEGIN"]);
        }
        let (mut world, client) = one();
        let got = receive(&mut world, client, "a", "client", 1);
        let frame = format!("ACK\nid:{}\ntransaction:x\nreceipt:r\n\n\0", got[0].header("ack"));
        refused(&mut world, client, &frame, &["transaction \"x\" is not open"]);
    }

    /// 1.2, "BEGIN", "COMMIT", "ABORT": the `transaction` header is a MUST.
    #[test]
    fn a_transaction_has_a_name() {
        for command in ["BEGIN", "COMMIT", "ABORT"] {
            let (mut world, client) = one();
            let words = format!("{command} has no transaction header");
            refused(
                &mut world,
                client,
                &format!("{command}\nreceipt:r\n\n\0"),
                &[&words, "name the transaction"],
            );
        }
    }

    #[test]
    fn a_thousand_open_transactions_are_too_many() {
        let (mut world, client) = one();
        for number in 0..world.limits.max_transactions {
            world.frame(client, &format!("BEGIN\ntransaction:{number}"));
            assert_eq!(world.closed(client), None, "{number}");
        }
        for number in 16..1000 {
            world.send(client, &format!("BEGIN\ntransaction:{number}\nreceipt:r\n\n\0"));
        }
        let error = world.error(client);
        assert_eq!(error.header("receipt-id"), "r");
        assert!(error.text().contains("\"16\" would be one more than the 16 that may be open"), "{error:?}");
    }

    /// What is not there at all cannot be had by committing something first.
    #[test]
    fn where_there_are_no_transactions_begin_says_so() {
        let (mut world, client) = one();
        world.limits.max_transactions = 0;
        let frame = "BEGIN\ntransaction:x\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["transaction \"x\"", "max_transactions = 0", "without BEGIN"]);
    }

    #[test]
    fn actions_and_bytes_in_transactions_are_bounded() {
        let (mut world, client) = one();
        world.limits.max_transaction_actions = 3;
        world.frame(client, "BEGIN\ntransaction:x");
        world.frame(client, "BEGIN\ntransaction:y");
        let send = "SEND\ndestination:/topic/t\ntransaction:x\n\n.\0";
        world.send(client, &format!("{send}{send}{}", send.replace(":x", ":y")));
        assert_eq!(world.closed(client), None);
        let frame = "SEND\ndestination:/topic/t\ntransaction:x\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["transaction \"x\"", "3 frames", "max_transaction_actions"]);

        let (mut world, client) = one();
        world.limits.max_transaction_bytes = 1_000;
        world.frame(client, "BEGIN\ntransaction:x");
        let large = "b".repeat(400);
        world.send(client, &format!("SEND\ndestination:/topic/t\ntransaction:x\n\n{large}\0"));
        assert_eq!(world.closed(client), None);
        let frame = format!("SEND\ndestination:/topic/t\ntransaction:x\nreceipt:r\n\n{large}\0");
        refused(&mut world, client, &frame, &["1000 bytes", "max_transaction_bytes", "commit more often"]);
        assert_eq!(world.closed(client), Some(Kind::QuotaExceeded));
    }

    /// 1.2, "BEGIN": transactions that are not committed are aborted by DISCONNECT, and by a lost connection.
    #[test]
    fn an_end_without_commit_undoes_everything() {
        for says_goodbye in [true, false] {
            let mut world = World::new();
            let (client, listener) = (world.connect(Version::V12), world.connect(Version::V12));
            world.frame(listener, "SUBSCRIBE\nid:1\ndestination:/topic/t");
            world.frame(client, "BEGIN\ntransaction:x");
            world.send(client, "SEND\ndestination:/topic/t\ntransaction:x\n\nno\0");
            if says_goodbye {
                world.frame(client, "DISCONNECT");
            } else {
                world.lose(client);
            }
            world.pass(1);
            assert_eq!(world.take(listener), []);
        }
    }

    #[test]
    fn what_expires_in_a_transaction_does_so_from_its_send() {
        let (mut world, client) = one();
        world.frame(client, "BEGIN\ntransaction:x");
        world.send(client, "SEND\ndestination:/topic/t\ntransaction:x\nexpiration:5000\n\n\0");
        world.pass(2_000);
        world.frame(client, "COMMIT\ntransaction:x");
        assert!(world.last_asked().contains("expires_in_ms: Some(3000)"), "{}", world.last_asked());
    }
}

mod receipts {
    use super::*;

    /// 1.2, "Header receipt": "Any client frame other than CONNECT MAY specify a receipt header".
    #[test]
    fn any_frame_but_connect_has_its_receipt_in_order() {
        let (mut world, client) = one();
        world.send(
            client,
            "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:sub\n\n\0\
             SEND\ndestination:/topic/a\nreceipt:send\n\nx\0\
             SEND\ndestination:/topic/b\npersistent:true\nreceipt:stored\n\nx\0\
             BEGIN\ntransaction:t\nreceipt:begin\n\n\0\
             ABORT\ntransaction:t\nreceipt:abort\n\n\0\
             UNSUBSCRIBE\nid:1\nreceipt:unsub\n\n\0\
             DISCONNECT\nreceipt:bye\n\n\0",
        );
        let mut got = world.take(client);
        got.retain(|frame| frame.command != Command::Message);
        assert!(
            got.iter().all(|frame| frame.command == Command::Receipt && frame.body.is_empty()),
            "{got:?}"
        );
        let texts: Vec<_> = got.iter().map(|frame| frame.receipt()).collect();
        assert_eq!(texts, ["sub", "send", "stored", "begin", "abort", "unsub", "bye"]);
        let mut world = World::new();
        let client = world.open();
        world.send(client, "CONNECT\naccept-version:1.2\nhost:x\nreceipt:no\n\n\0");
        assert_eq!(world.take_one(client).get("receipt-id"), None);
    }

    /// 1.2, "RECEIPT": `receipt-id` is the value of the `receipt` header, whatever is in it.
    #[test]
    fn a_receipt_id_is_what_was_asked_for() {
        let (mut world, client) = one();
        let got = world.frame(client, "BEGIN\ntransaction:t\nreceipt:a\\cb\\n\\\\ é");
        assert_eq!(got[0].receipt(), "a:b\n\\ é");
    }

    /// 1.2, "DISCONNECT": clients must not send more after it, and nothing more is read.
    #[test]
    fn nothing_after_disconnect_is_read() {
        let mut world = World::new();
        let (client, listener) = (world.connect(Version::V12), world.connect(Version::V12));
        world.frame(listener, "SUBSCRIBE\nid:1\ndestination:/topic/t");
        world.send(client, "DISCONNECT\nreceipt:bye\n\n\0SEND\ndestination:/topic/t\n\nlate\0 nonsense");
        assert_eq!(world.take_one(client).receipt(), "bye");
        assert!(world.server(client).is_leaving() && !world.server(client).is_connected());
        assert_eq!(world.take(listener), []);
        assert!(world.asked.last().unwrap().contains("Leave"), "{:?}", world.asked);
    }

    #[test]
    fn receipts_that_are_waited_for_are_bounded() {
        let (mut world, client) = one();
        world.limits.max_receipt_bytes = 60;
        world.send(client, "BEGIN\ntransaction:t\nreceipt:short\n\n\0");
        assert_eq!(world.take_one(client).receipt(), "short");
        let long = "r".repeat(61);
        world.send(client, &format!("BEGIN\ntransaction:u\nreceipt:{long}\n\n\0"));
        let error = world.error(client);
        assert_eq!(error.header("receipt-id"), long);
        assert!(error.text().contains("max_receipt_bytes"), "{error:?}");
    }
}

mod mistakes {
    use super::*;

    /// 1.2, "ERROR": a `message` header "with a short description", the body may have more, `receipt-id` of the frame at
    /// fault, and the connection is closed.
    #[test]
    fn every_one_is_told_what_was_wrong_and_how_to_mend_it() {
        for (frame, words) in [
            // Framing.
            (
                "SEND\ndestination:/topic/a\nreceipt:r\ncontent-length:2\n\nabc\0",
                &["not followed by NUL", "count the bytes"][..],
            ),
            (
                "SEND\ndestination:/topic/a\nreceipt:r\ncontent-length:x\n\n\0",
                &["content-length \"x\"", "decimal digits"],
            ),
            ("PUBLISH\nreceipt:r\n\n\0", &["command \"PUBLISH\" is unknown", "in capitals"]),
            ("MESSAGE\nreceipt:r\n\n\0", &["MESSAGE is sent by a server only"]),
            ("SEND\nreceipt:r\ndestination:/topic/\\x\n\n\0", &["escape \"\\\\x\"", "write \\n, \\r, \\c"]),
            (
                "BEGIN\nreceipt:r\ntransaction:t\n\nbody\0",
                &["BEGIN has a body", "only SEND, MESSAGE and ERROR may"],
            ),
            (
                "SEND\nreceipt:r\ndestination:/topic/a\nnonsense\n\n\0",
                &["\"nonsense\", has no colon", "name:value"],
            ),
            // Destinations.
            ("SEND\nreceipt:r\n\nx\0", &["SEND has no destination header", "say where to"]),
            (
                "SEND\nreceipt:r\ndestination:/topic/a/#\n\nx\0",
                &["\"/topic/a/#\"", "wildcard '#'", "name one topic"],
            ),
            ("SEND\nreceipt:r\ndestination:/nowhere/a\n\nx\0", &["\"/nowhere/a\" is unknown", "/queue/NAME"]),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a/#/b\n\n\0",
                &["\"/topic/a/#/b\"", "last level"],
            ),
            ("SUBSCRIBE\nreceipt:r\nid:1\ndestination:/stream/s\n\n\0", &["streams are not served yet"]),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/reply-queue/x\n\n\0",
                &["private", "/temp-queue/NAME of your own"],
            ),
            // Values.
            (
                "SEND\nreceipt:r\ndestination:/topic/a\nqos:7\n\n\0",
                &["header qos has the value \"7\"", "0, 1 or 2"],
            ),
            (
                "SEND\nreceipt:r\ndestination:/topic/a\nretain:maybe\n\n\0",
                &["retain", "\"maybe\"", "set, remove"],
            ),
            (
                "SEND\nreceipt:r\ndestination:/topic/a\npersistent:maybe\n\n\0",
                &["persistent", "\"maybe\"", "true or false"],
            ),
            (
                "SEND\nreceipt:r\ndestination:/topic/a\nexpiration:soon\n\n\0",
                &["expiration", "\"soon\"", "a number"],
            ),
            ("SEND\nreceipt:r\ndestination:/topic/a\nexpires:-1\n\n\0", &["expires", "\"-1\"", "a number"]),
            (
                "SEND\nreceipt:r\ndestination:/topic/a\nreply-to:/topic/+\n\n\0",
                &["header reply-to", "\"/topic/+\""],
            ),
            // Subscriptions.
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nselector:a ==\n\n\0",
                &["header selector", "column", "="],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nselector:(a = 1\n\n\0",
                &["header selector", "column"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nprefetch-count:x\n\n\0",
                &["prefetch-count", "\"x\"", "a number"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nactivemq.prefetchSize:-1\n\n\0",
                &["activemq.prefetchSize", "\"-1\""],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nno-local:1\n\n\0",
                &["no-local", "\"1\"", "true or false"],
            ),
            ("SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nexclusive:?\n\n\0", &["exclusive", "\"?\""]),
            ("SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nbrowser:true\n\n\0", &["can't be browsed"]),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-max-priority:256\n\n\0",
                &["x-max-priority", "\"256\""],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-message-ttl:1s\n\n\0",
                &["x-message-ttl", "\"1s\""],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-overflow:spill\n\n\0",
                &["x-overflow", "\"spill\"", "drop-head"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-dead-letter-exchange:mine\n\n\0",
                &["\"mine\"", "amq.topic"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-dead-letter-exchange:amq.topic\n\n\0",
                &["x-dead-letter-routing-key"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-dead-letter-routing-key:+\n\n\0",
                &["x-dead-letter-routing-key", "wildcard '+'"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nx-queue-name:a/b\n\n\0",
                &["x-queue-name \"a/b\""],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/topic/a\nactivemq.subscriptionName:s\n\n\0",
                &["activemq.subscriptionName \"s\" needs a client-id", "with CONNECT"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/queue/a\nactivemq.subscriptionName:s\n\n\0",
                &["goes with /topic/"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/exchange/amq.headers\nx-match:some\n\n\0",
                &["x-match", "\"some\"", "all or any"],
            ),
            (
                "SUBSCRIBE\nreceipt:r\nid:1\ndestination:/exchange/amq.headers\nselector:a\n\n\0",
                &["selector does not go with"],
            ),
            ("UNSUBSCRIBE\nreceipt:r\nid:1\ndurable:maybe\n\n\0", &["durable", "\"maybe\""]),
            (
                "UNSUBSCRIBE\nreceipt:r\nid:1\ndurable:true\n\n\0",
                &["no destination header", "known by destination and id"],
            ),
            (
                "UNSUBSCRIBE\nreceipt:r\nid:1\ndurable:true\ndestination:/queue/a\n\n\0",
                &["no durable subscription to \"/queue/a\""],
            ),
            ("NACK\nreceipt:r\nid:1\nrequeue:maybe\n\n\0", &["requeue", "\"maybe\"", "true or false"]),
        ] {
            let (mut world, client) = one();
            refused(&mut world, client, frame, words);
        }
    }

    /// 1.0, "SUBSCRIBE": without an `id` there is nothing by which a durable subscription is found again.
    #[test]
    fn a_durable_subscription_needs_an_id_in_1_0_too() {
        let (mut world, client) = of(Version::V10);
        let frame = "SUBSCRIBE\nreceipt:r\ndestination:/topic/a\ndurable:true\n\n\0";
        refused(&mut world, client, frame, &["SUBSCRIBE has no id header", "always the same"]);
    }

    #[test]
    fn too_many_headers_and_too_long_ones() {
        let (mut world, client) = one();
        let many: String = (0..64).map(|number| format!("h{number}:v\n")).collect();
        let frame = format!("SEND\nreceipt:r\n{many}\n\0");
        refused(&mut world, client, &frame, &["more than 64 headers", "send fewer"]);
        let (mut world, client) = one();
        let frame = format!("SEND\nreceipt:r\nlong:{}\n\n\0", "x".repeat(8 << 10));
        refused(&mut world, client, &frame, &["\"long\"", "longer than 8192 bytes", "in the body"]);
        assert_eq!(world.closed(client), Some(Kind::PacketTooLarge));
    }

    /// A frame whose NUL never comes is refused when its body is over the limit, not kept for ever.
    #[test]
    fn no_nul() {
        let (mut world, client) = one();
        world.limits.frames.max_body = 1_000;
        world.send(client, "SEND\nreceipt:r\ndestination:/topic/a\n\n");
        for _ in 0..10 {
            world.send(client, &"x".repeat(100));
            assert_eq!(world.closed(client), None);
        }
        refused(&mut world, client, "x", &["body of SEND", "limit of 1000"]);
    }

    #[test]
    fn a_first_frame_without_end() {
        let mut world = World::new();
        let client = world.open();
        world.limits.frames.max_connect = 200;
        world.send(client, &format!("CONNECT\n{}", "h:v\n".repeat(60)));
        assert!(world.error(client).text().contains("larger than the limit of 200 bytes"));
    }

    #[test]
    fn what_is_no_stomp_at_all() {
        let mut world = World::new();
        let client = world.open();
        world.send(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let error = world.error(client);
        assert_eq!(error.header("message"), "malformed frame");
    }

    #[test]
    fn subscriptions_are_bounded_with_those_that_are_not_acknowledged() {
        let mut world = World::of(Dialect::Native, Limits { max_subscriptions: 2, ..Limits::default() });
        let client = world.connect(Version::V12);
        receive(&mut world, client, "a", "client", 1);
        world.frame(client, "UNSUBSCRIBE\nid:a");
        world.frame(client, "SUBSCRIBE\nid:b\ndestination:/topic/b");
        let frame = "SUBSCRIBE\nid:c\ndestination:/topic/c\nreceipt:r\n\n\0";
        refused(&mut world, client, frame, &["2 subscriptions already", "max_subscriptions"]);
        let mut world = World::of(Dialect::Native, Limits { max_subscriptions: 2, ..Limits::default() });
        let client = world.connect(Version::V12);
        for id in 0..100 {
            world.frame(client, &format!("SUBSCRIBE\nid:{id}\ndestination:/topic/b"));
            world.frame(client, &format!("UNSUBSCRIBE\nid:{id}"));
        }
        assert_eq!(world.closed(client), None, "what has ended does not count");
    }

    /// What the engine refuses is told with the receipt of its frame, though others have been asked for since.
    #[test]
    fn the_engines_refusal_has_the_receipt_of_its_frame() {
        let (mut world, client) = one();
        world.send(client, "SEND\ndestination:/topic/$SYS/x\nreceipt:r\n\nx\0");
        let error = world.error(client);
        assert_eq!(error.header("receipt-id"), "r");
        assert_eq!(
            (error.header("message"), world.closed(client)),
            ("not authorized", Some(Kind::NotAuthorized))
        );
        assert!(error.text().contains("$SYS/x"), "{error:?}");
    }
}
