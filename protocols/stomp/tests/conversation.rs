//! Conversations of whole clients with the broker: STOMP with STOMP, STOMP with MQTT, and the extension headers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod world;

use noctule_core::id::Qos;
use noctule_core::policy::Limits;
use noctule_core::refusal::Kind;
use noctule_stomp::{Command, Dialect, Version};
use world::World;

/// A field in MQTT's encoding: its identifier and a counted value.
fn field(id: u8, value: &[u8]) -> Vec<u8> {
    [&[id][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

fn property(name: &str, value: &str) -> Vec<u8> {
    let mut pair = field(0x26, name.as_bytes());
    pair.extend_from_slice(&field(0, value.as_bytes())[1..]);
    pair
}

#[test]
fn a_message_to_a_topic_reaches_who_subscribed() {
    let mut world = World::new();
    let (publisher, subscriber) = (world.connect(Version::V12), world.connect(Version::V12));
    let receipt = world.frame(subscriber, "SUBSCRIBE\nid:s1\ndestination:/topic/a/+\nreceipt:r1");
    assert_eq!(receipt[0].command, Command::Receipt);
    assert_eq!(receipt[0].receipt(), "r1");
    world.send(publisher, "SEND\ndestination:/topic/a/b\nx:1\nx:2\n\nhello\0");
    let message = world.take_one(subscriber);
    assert_eq!(message.command, Command::Message);
    assert_eq!(message.header("subscription"), "s1");
    assert_eq!(message.header("destination"), "/topic/a/b");
    assert_eq!(message.header("content-length"), "5");
    assert_eq!(message.text(), "hello");
    let own: Vec<_> = message.headers.iter().filter(|(name, _)| name == "x").collect();
    assert_eq!(own, [&("x".to_owned(), "1".to_owned()), &("x".to_owned(), "2".to_owned())]);
    assert_eq!(message.get("ack"), None, "nothing is acknowledged on auto");
}

#[test]
fn stomp_and_mqtt_see_each_others_messages_with_their_fields() {
    let mut world = World::new();
    let stomp = world.connect(Version::V12);
    let mqtt = world.mqtt("a/#");
    world.frame(stomp, "SUBSCRIBE\nid:s\ndestination:/topic/a/#");
    world.send(
        stomp,
        "SEND\ndestination:/topic/a/b\ncontent-type:text/plain\nreply-to:/topic/re\ncorrelation-id:c\nk:v\n\
         persistent:true\nexpiration:60000\n\nhi\0",
    );
    let [seen] = &world.mqtt_take(mqtt)[..] else { panic!("not one") };
    assert_eq!((seen.topic.as_str(), seen.body.as_str(), seen.qos), ("a/b", "hi", Qos::AtLeastOnce));
    assert_eq!(
        seen.fields,
        [
            "PayloadFormat(1)",
            "ContentType(\"text/plain\")",
            "ResponseTopic(\"re\")",
            "CorrelationData([99])",
            "UserProperty(\"k\", \"v\")"
        ]
    );
    let own = world.take_one(stomp);
    assert_eq!(own.header("expires"), "1700000060000");
    assert_eq!(own.header("persistent"), "true");
    let fields = [
        field(3, b"text/plain"),
        field(8, b"re"),
        field(9, b"\xFF"),
        property("k", "v"),
        property("ack", "x"),
    ];
    world.mqtt_publish(mqtt, "a/c", &fields.concat(), b"\0\xFF", false);
    let message = world.take_one(stomp);
    assert_eq!(message.body, b"\0\xFF");
    for (name, value) in [
        ("destination", "/topic/a/c"),
        ("content-type", "text/plain"),
        ("reply-to", "/topic/re"),
        ("correlation-id", "_w"),
        ("correlation-encoding", "base64"),
        ("k", "v"),
    ] {
        assert_eq!(message.header(name), value);
    }
    assert_eq!((message.get("ack"), message.get("persistent"), message.get("expires")), (None, None, None));
}

#[test]
fn a_retained_message_is_replayed_and_said_to_be_and_can_be_removed() {
    let mut world = World::new();
    let client = world.connect(Version::V12);
    world.send(client, "SEND\ndestination:/topic/r\nretain:set\n\nkept\0");
    let got = world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/r\nreceipt:first");
    let [receipt, message] = &got[..] else { panic!("{got:#?}") };
    assert_eq!(receipt.command, Command::Receipt, "the receipt precedes the first message");
    assert_eq!((message.text(), message.header("retained")), ("kept", "true"));
    world.send(client, "SEND\ndestination:/topic/r\nretain:remove\n\nwhatever\0");
    assert_eq!(world.take_one(client).body, b"", "whatever the frame's body was");
    assert_eq!(world.frame(client, "SUBSCRIBE\nid:2\ndestination:/topic/r"), []);
}

#[test]
fn a_request_is_answered_through_a_temporary_queue() {
    let mut world = World::new();
    let (asker, server) = (world.connect(Version::V12), world.connect(Version::V11));
    world.frame(server, "SUBSCRIBE\nid:0\ndestination:/topic/questions");
    world.frame(asker, "SUBSCRIBE\nid:answers\ndestination:/temp-queue/box");
    world
        .send(asker, "SEND\ndestination:/topic/questions\nreply-to:/temp-queue/box\ncorrelation-id:7\n\n?\0");
    let question = world.take_one(server);
    let reply_to = question.header("reply-to").to_owned();
    assert_eq!(reply_to, format!("/reply-queue/{}/box", world.server(asker).session()));
    world.send(server, &format!("SEND\ndestination:{reply_to}\ncorrelation-id:7\n\n!\0"));
    let answer = world.take_one(asker);
    assert_eq!((answer.text(), answer.header("correlation-id")), ("!", "7"));
    assert_eq!(answer.header("destination"), "/temp-queue/box");
    world.frame(server, &format!("SUBSCRIBE\nid:1\ndestination:{reply_to}\nreceipt:9"));
    assert_eq!(world.closed(server), Some(Kind::NotAuthorized), "it is not the answerer's to read");
}

#[test]
fn rabbitmqs_clients_need_not_subscribe_to_their_temporary_queue() {
    let mut world = World::of(Dialect::Rabbitmq, Limits::default());
    let asker = world.connect(Version::V12);
    let ask = "SEND\ndestination:/topic/questions\nreply-to:/temp-queue/box\n\n?\0";
    world.send(asker, ask);
    world.send(asker, ask);
    let consumers = world.asked.iter().filter(|asked| asked.contains("Consume(")).count();
    assert_eq!(consumers, 1, "once: {:#?}", world.asked);
    let session = world.server(asker).session().to_owned();
    world.send(asker, &format!("SEND\ndestination:/reply-queue/{session}/box\n\n!\0"));
    let answer = world.take_one(asker);
    assert_eq!((answer.header("subscription"), answer.text()), ("/temp-queue/box", "!"));
}

#[test]
fn dialects_write_topics_their_way_to_their_clients() {
    let mut world = World::of(Dialect::Activemq, Limits::default());
    let client = world.connect(Version::V11);
    let mqtt = world.mqtt("a/b");
    world.frame(client, "SUBSCRIBE\nid:0\ndestination:/topic/a.>");
    world.send(client, "SEND\ndestination:/topic/a.b\n\nx\0");
    assert_eq!(world.mqtt_take(mqtt)[0].topic, "a/b");
    assert_eq!(world.take_one(client).header("destination"), "/topic/a.b");
    world.mqtt_publish(mqtt, "a/b.c", b"", b"x", false);
    assert_eq!(world.take_one(client).header("destination"), "/topic/a.b/c");
}

#[test]
fn what_a_subscribe_says_of_itself_reaches_the_engine() {
    let mut world = World::new();
    world.limits.max_prefetch = 500;
    let client = world.connect(Version::V12);
    for (headers, words) in [
        (
            "",
            &["acknowledges: false", "window: 256", "durable: None", "no_local: false", "browses: false"][..],
        ),
        ("ack:client", &["acknowledges: true"]),
        ("ack:client-individual", &["acknowledges: true"]),
        ("prefetch-count:5", &["window: 5"]),
        ("activemq.prefetchSize:6", &["window: 6"]),
        ("prefetch-count:0", &["window: 500"]),
        ("prefetch-count:501", &["window: 500"]),
        ("no-local:true", &["no_local: true"]),
        ("activemq.noLocal:true", &["no_local: true"]),
        ("exclusive:true\nx-queue-name:alone", &["exclusive: true", "filter: \"$share/alone/t\""]),
        ("x-queue-name:g", &["filter: \"$share/g/t\"", "durable: None"]),
        ("selector:a > 3", &["selector: Some(", "a > 3"]),
        ("selector: ", &["selector: None"]),
        (
            "x-message-ttl:1\nx-expires:2\nx-max-length:3\nx-max-length-bytes:4\nx-max-priority:255\n\
             x-delivery-limit:6\nx-consumer-timeout:7\nauto-delete:true\ndurable:true\nx-overflow:drop-head",
            &[
                "message_ttl_ms: Some(1)",
                "idle_expiry_ms: Some(2)",
                "max_messages: Some(3)",
                "max_bytes: Some(4)",
                "max_priority: Some(9)",
                "max_deliveries: Some(6)",
                "ack_deadline_ms: Some(7)",
                "auto_delete: Some(true)",
                "durable: Some(true)",
                "overflow: Some(DropOldest)",
                // It is gone with its connection, so nothing waits for it.
                "durable: None",
            ],
        ),
        ("x-overflow:reject-publish", &["overflow: Some(Refuse)"]),
        ("x-dead-letter-exchange:\nx-dead-letter-routing-key:dead", &["dead_letter: Some(\"$queue/dead\")"]),
        ("x-dead-letter-routing-key:dead", &["dead_letter: Some(\"$queue/dead\")"]),
        ("x-dead-letter-exchange:", &["dead_letter: Some(\"\")"]),
        ("x-dead-letter-exchange:amq.topic\nx-dead-letter-routing-key:d/e", &["dead_letter: Some(\"d/e\")"]),
        (
            "x-dead-letter-exchange:amq.direct\nx-dead-letter-routing-key:d",
            &["dead_letter: Some(\"$amq/direct/d\")"],
        ),
        ("x-dead-letter-exchange:amq.fanout", &["dead_letter: Some(\"$amq/fanout\")"]),
    ] {
        let lines = format!("SUBSCRIBE\nid:{}\ndestination:/topic/t\n{headers}", headers.len() + 1000);
        world.send(client, &format!("{}\n\n\0", lines.trim_end_matches('\n')));
        let asked = world.asked.last().unwrap();
        for word in words {
            assert!(asked.contains(word), "{headers}: {word} in {asked}");
        }
        // A fresh connection for each: ids may repeat.
        assert_eq!(world.closed(client), None, "{headers}: {:?}", world.take(client));
        world.frame(client, &format!("UNSUBSCRIBE\nid:{}", headers.len() + 1000));
    }
}

#[test]
fn durable_subscriptions_have_names_that_cannot_imitate_each_other() {
    for (user, connect, subscribe, name) in [
        (None, "client-id:c", "id:1\nactivemq.subscriptionName:s", "stomp/-/c/s"),
        (Some("ann"), "client-id:c", "id:1\nactivemq.subscriptionName:s", "stomp/ann/c/s"),
        (Some("-"), "client-id:c", "id:1\nactivemq.subscriptionName:s", "stomp/%2D/c/s"),
        (Some("a/b"), "client-id:c/d", "id:1\nactivemq.subscriptionName:%2F", "stomp/a%2Fb/c%2Fd/%252F"),
        (Some("ann"), "x:y", "id:1\ndurable:true", "stomp/ann/%2Ftopic%2Ft/1"),
        (Some("ann"), "x:y", "id:1\ndurable:true\nauto-delete:false", "stomp/ann/%2Ftopic%2Ft/1"),
        (Some("ann"), "client-id:c", "id:1\ndurable:true", "stomp/ann/%2Ftopic%2Ft/1"),
    ] {
        let mut world = World::new();
        let client = world.open();
        if let Some(user) = user {
            world.authenticate_as(client, user);
        }
        world.send(client, &format!("CONNECT\naccept-version:1.2\nhost:x\n{connect}\n\n\0"));
        world.take_one(client);
        world.frame(client, &format!("SUBSCRIBE\ndestination:/topic/t\nack:client\n{subscribe}"));
        let words = format!("durable: Some({name:?})");
        assert!(world.last_asked().contains(&words), "{words} in {}", world.last_asked());
        let again = subscribe.replace("id:1\n", "");
        world.frame(client, &format!("UNSUBSCRIBE\nid:1\n{again}"));
        assert!(world.last_asked().contains("forgets: true"), "{}", world.last_asked());
        // One that is not there is forgotten by its name.
        world.frame(client, &format!("UNSUBSCRIBE\nid:1\ndestination:/topic/t\n{again}"));
        let words = format!("Forget {{ filter: \"t\", durable: {name:?} }}");
        assert!(world.last_asked().contains(&words), "{words} in {}", world.last_asked());
        assert_eq!(world.closed(client), None);
    }
}

#[test]
fn a_durable_subscription_is_unsubscribed_by_its_name_alone() {
    let mut world = World::new();
    let client = world.connect_with(Version::V12, "client-id:c\n");
    world.frame(client, "SUBSCRIBE\nid:7\ndestination:/topic/t\nactivemq.subscriptionName:s");
    world.frame(client, "UNSUBSCRIBE\ndestination:/topic/t\nactivemq.subscriptionName:s");
    assert!(
        world.last_asked().contains("Cancel { consumer: ConsumerId(1), forgets: true }"),
        "{:?}",
        world.asked
    );
    world.frame(client, "UNSUBSCRIBE\nid:9\ndestination:/topic/t\nactivemq.subscriptionName:other");
    assert!(world.last_asked().contains("Forget"), "{}", world.last_asked());
}

/// As ActiveMQ's clients do (ActiveMQ-CPP, which speaks 1.0; its `id` is the client's).
#[test]
fn a_subscription_name_ends_a_durable_subscription_whatever_its_destination() {
    for version in Version::ALL {
        for id in ["", "id:c\n"] {
            let mut world = World::new();
            let client = world.connect_with(version, "client-id:c\n");
            let unsubscribe = format!("UNSUBSCRIBE\n{id}ack:auto\nactivemq.subscriptionName:s");
            world.frame(client, "SUBSCRIBE\nid:7\ndestination:/topic/t\nactivemq.subscriptionName:s");
            world.frame(client, &unsubscribe);
            let asked = world.last_asked();
            assert!(asked.contains("Cancel { consumer: ConsumerId(1), forgets: true }"), "{asked}");
            world.send(client, &format!("{unsubscribe}\n\n\0"));
            let asked = world.last_asked();
            assert!(asked.contains("Forget { filter: \"\", durable: \"stomp/-/c/s\" }"), "{asked}");
            assert_eq!(world.closed(client), None, "{version}: {:?}", world.take(client));
        }
    }
}

/// A group that stays has no durable name: its own is enough.
#[test]
fn a_group_that_stays_is_ended_by_its_name() {
    let mut world = World::new();
    let client = world.connect(Version::V12);
    world.send(client, "UNSUBSCRIBE\nid:9\ndestination:/topic/t\nx-queue-name:g\ndurable:true\n\n\0");
    let asked = world.last_asked();
    assert!(asked.contains("Forget { filter: \"$share/g/t\", durable: \"\" }"), "{asked}");
}

#[test]
fn a_connection_consumes_once_from_each_durable_subscription() {
    let mut world = World::new();
    let client = world.connect_with(Version::V12, "client-id:c\n");
    world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/t\nactivemq.subscriptionName:s");
    world.frame(client, "UNSUBSCRIBE\nid:1");
    world.frame(client, "SUBSCRIBE\nid:2\ndestination:/topic/t\nactivemq.subscriptionName:s");
    assert_eq!(world.closed(client), None);
    world.send(client, "SUBSCRIBE\nid:3\ndestination:/topic/t\nactivemq.subscriptionName:s\nreceipt:r\n\n\0");
    let asked = world.last_asked();
    assert!(asked.contains("ConsumerId(2)"), "the engine is not asked: {asked}");
    assert_eq!(world.closed(client), Some(Kind::ProtocolError));
    let error = world.error(client);
    assert!(
        error.text().contains("subscription \"2\" consumes from that") && error.header("receipt-id") == "r"
    );
}

/// To ActiveMQ's clients `content-length` makes a message one of bytes, which their applications do not expect.
#[test]
fn to_activemqs_clients_text_comes_without_its_length() {
    for dialect in Dialect::ALL {
        let mut world = World::of(dialect, Limits::default());
        let (sender, client) = (world.connect(Version::V12), world.connect(Version::V11));
        world.frame(client, "SUBSCRIBE\nid:1\ndestination:/topic/t");
        for (head, body, is_text) in [
            ("", &b"text"[..], true),
            ("", "gr\u{fc}n".as_bytes(), true),
            ("", b"", true),
            ("content-type:text/plain\n", b"text", true),
            ("content-type:application/json\n", b"{}", true),
            ("content-type:application/octet-stream\n", b"text", false),
            ("content-type:application/x-protobuf\n", b"text", false),
            ("", b"a\0b", false),
            ("content-type:text/plain\n", b"a\0b", false),
            ("", b"\xFF", false),
        ] {
            let length = format!("content-length:{}\n\n", body.len());
            let frame = [b"SEND\ndestination:/topic/t\n", head.as_bytes(), length.as_bytes(), body, b"\0"];
            world.send_bytes(sender, &frame.concat());
            let message = world.take_one(client);
            assert_eq!(message.body, body, "{dialect:?} {head}");
            let length = (dialect != Dialect::Activemq || !is_text).then(|| body.len().to_string());
            assert_eq!(message.get("content-length"), length.as_deref(), "{dialect:?} {head} {body:?}");
        }
        world.frame(client, "UNSUBSCRIBE\nid:1");
        world.send(client, "SUBSCRIBE\nid:2\ndestination:/queue/q\nbrowser:true\n\n\0");
        let end = world.take_one(client);
        assert_eq!(end.header("browser"), "end");
        assert_eq!(end.get("content-length").is_some(), dialect != Dialect::Activemq, "{end:?}");
    }
}

#[test]
fn to_unsubscribe_without_ending_a_durable_subscription_keeps_it() {
    let mut world = World::new();
    let client = world.connect(Version::V12);
    world.frame(client, "SUBSCRIBE\nid:7\ndestination:/topic/t\ndurable:true");
    world.frame(client, "UNSUBSCRIBE\nid:7");
    assert!(world.last_asked().contains("forgets: false"), "{}", world.last_asked());
    // durable:true of a queue is the queue's.
    world.frame(client, "SUBSCRIBE\nid:q\ndestination:/queue/t\ndurable:true");
    assert!(world.last_asked().contains("durable: None"), "{}", world.last_asked());
    assert!(world.last_asked().contains("durable: Some(true)"), "{}", world.last_asked());
    world.frame(client, "UNSUBSCRIBE\nid:q\ndurable:true");
    assert!(world.last_asked().contains("forgets: false"), "nothing that waits there is lost");
}

#[test]
fn header_bindings_select_by_all_headers_or_any() {
    let mut world = World::new();
    let client = world.connect(Version::V12);
    let subscribe =
        "SUBSCRIBE\ndestination:/exchange/amq.headers\nack:auto\nprefetch-count:3\ncolour:red\nsize:9";
    world.frame(client, &format!("{subscribe}\nid:all"));
    world.frame(client, &format!("{subscribe}\nid:any\nx-match:any"));
    let mut subscribers = |headers: &str| {
        world.send(client, &format!("SEND\ndestination:/exchange/amq.headers\n{headers}\n\0"));
        let got = world.take(client);
        let mut names: Vec<_> = got.iter().map(|message| message.header("subscription").to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(subscribers("colour:red\nsize:9\n"), ["all", "any"]);
    assert_eq!(subscribers("colour:red\nsize:8\n"), ["any"]);
    assert_eq!(subscribers("colour:blue\n"), [""; 0]);
}

#[test]
fn a_selector_and_no_local_leave_messages_out() {
    let mut world = World::new();
    let client = world.connect(Version::V12);
    let other = world.connect(Version::V12);
    world.frame(client, "SUBSCRIBE\nid:s\ndestination:/topic/t\nselector:level > 3");
    world.frame(client, "SUBSCRIBE\nid:n\ndestination:/topic/t\nno-local:true");
    world.send(client, "SEND\ndestination:/topic/t\nlevel:4\n\nown\0");
    assert_eq!(world.take_one(client).header("subscription"), "s");
    world.send(other, "SEND\ndestination:/topic/t\nlevel:3\n\nlow\0");
    assert_eq!(world.take_one(client).header("subscription"), "n");
}

#[test]
fn nack_means_what_the_dialect_or_the_header_says() {
    for (dialect, header, verdict) in [
        (Dialect::Native, "", "Requeue"),
        (Dialect::Rabbitmq, "", "Requeue"),
        (Dialect::Activemq, "", "Reject"),
        (Dialect::Native, "\nrequeue:false", "Reject"),
        (Dialect::Activemq, "\nrequeue:true", "Requeue"),
    ] {
        let mut world = World::of(dialect, Limits::default());
        let client = world.connect(Version::V12);
        world.frame(client, "SUBSCRIBE\nid:s\ndestination:/topic/t\nack:client");
        world.send(client, "SEND\ndestination:/topic/t\npersistent:true\n\nx\0");
        let ack = world.take_one(client).header("ack").to_owned();
        world.frame(client, &format!("NACK\nid:{ack}{header}"));
        let words = format!("verdict: {verdict}");
        assert!(world.last_asked().contains(&words), "{dialect:?}: {words} in {}", world.last_asked());
    }
}

#[test]
fn a_queue_gives_each_message_to_one_consumer_and_again_after_nack() {
    let mut world = World::new();
    let (one, two) = (world.connect(Version::V12), world.connect(Version::V12));
    world.send(one, "SEND\ndestination:/queue/q\nreceipt:stored\n\nwork\0");
    let stored = world.take_one(one);
    assert_eq!((stored.command, stored.receipt()), (Command::Receipt, "stored"));
    world.send(two, "SUBSCRIBE\nid:w\ndestination:/queue/q\nack:client-individual\nreceipt:s\n\n\0");
    let got = world.take(two);
    let [receipt, first] = &got[..] else { panic!("not a receipt and a message: {got:#?}") };
    assert_eq!(receipt.command, Command::Receipt);
    assert_eq!((first.text(), first.header("destination")), ("work", "/queue/q"));
    assert_eq!(first.get("redelivered"), None);
    world.send(two, &format!("NACK\nid:{}\n\n\0", first.header("ack")));
    let again = world.take_one(two);
    assert_eq!(again.text(), "work");
    assert_eq!((again.header("redelivered"), again.header("x-delivery-count")), ("true", "1"));
    assert_ne!(again.header("ack"), first.header("ack"), "every delivery has a name of its own");
    let done = world.frame(two, &format!("ACK\nid:{}\nreceipt:done", again.header("ack")));
    assert_eq!(done[0].receipt(), "done");
}

#[test]
fn a_lost_consumers_messages_go_to_the_next() {
    let mut world = World::new();
    let (one, two) = (world.connect(Version::V12), world.connect(Version::V12));
    world.frame(one, "SUBSCRIBE\nid:w\ndestination:/queue/q\nack:client");
    world.send(two, "SEND\ndestination:/queue/q\n\nwork\0");
    assert_eq!(world.take_one(one).text(), "work");
    world.lose(one);
    let got = world.frame(two, "SUBSCRIBE\nid:w\ndestination:/queue/q\nack:client");
    assert_eq!((got[0].text(), got[0].header("redelivered")), ("work", "true"));
}

#[test]
fn a_browser_sees_everything_takes_nothing_and_is_told_when_it_has_seen_all() {
    let mut world = World::new();
    let client = world.connect(Version::V12);
    world.send(client, "SEND\ndestination:/queue/q\n\none\0SEND\ndestination:/queue/q\n\ntwo\0");
    let got = world.frame(client, "SUBSCRIBE\nid:b\ndestination:/queue/q\nbrowser:true\nack:client");
    let bodies: Vec<_> = got.iter().map(world::Got::text).collect();
    assert_eq!(bodies, ["one", "two", ""]);
    let end = got.last().unwrap();
    assert_eq!((end.header("browser"), end.header("subscription")), ("end", "b"));
    assert_eq!(world.frame(client, "UNSUBSCRIBE\nid:b\nreceipt:gone")[0].receipt(), "gone");
    let taken = world.frame(client, "SUBSCRIBE\nid:c\ndestination:/queue/q");
    assert_eq!(taken.len(), 2, "nothing was taken");
}

#[test]
fn a_durable_subscription_keeps_what_came_meanwhile() {
    let mut world = World::new();
    let subscribe = "SUBSCRIBE\nid:d\ndestination:/topic/t\nack:client\nactivemq.subscriptionName:s";
    let one = world.connect_with(Version::V12, "client-id:c\n");
    world.frame(one, subscribe);
    world.lose(one);
    let other = world.connect(Version::V12);
    world.send(other, "SEND\ndestination:/topic/t\npersistent:true\n\nmeanwhile\0");
    let two = world.connect_with(Version::V12, "client-id:c\n");
    assert_eq!(world.frame(two, subscribe)[0].text(), "meanwhile");
}
