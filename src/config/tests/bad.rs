//! Bad files: what is said about each, word for word.

use super::complaints;

/// One line in, one complaint out.
#[track_caller]
pub(super) fn says(text: &str, expected: &str) {
    assert_eq!(complaints(text), [expected], "about {text:?}");
}

#[test]
fn unknown_keys_get_the_nearest_known_one() {
    says("[limits]\nmax_inflght = 5\n", "2:1: limits.max_inflght: unknown key; did you mean max_inflight?");
    says("[server]\n  worker = 2\n", "2:3: server.worker: unknown key; did you mean workers?");
    says("server.worker = 2\n", "1:8: server.worker: unknown key; did you mean workers?");
    says("server = { worker = 2 }\n", "1:12: server.worker: unknown key; did you mean workers?");
    says(
        "[[listener]]\nport = 1883\n",
        "2:1: listener.port: unknown key; [[listener]] knows protocol, address, tls, websocket, \
         origins, proxy_from, dialect, anonymous, auth, durability, max_connections, connect_rate, message_rate, byte_rate",
    );
    says("[log]\nfile = \"x\"\n", "2:1: log.file: unknown key; [log] knows format, level");
}

#[test]
fn a_key_in_the_wrong_section_is_shown_the_right_one() {
    says("[server]\nmax_inflight = 5\n", "2:1: server.max_inflight: unknown key; it belongs under [limits]");
    says(
        "max_inflight = 5\n",
        "1:1: max_inflight: unknown section; the key max_inflight belongs under [limits]",
    );
    says(
        "address = \"127.0.0.1:1\"\n",
        "1:1: address: unknown section; the key address belongs under [[listener]]",
    );
}

#[test]
fn unknown_sections_get_the_nearest_known_one() {
    says("[limts]\nmax_inflight = 5\n", "1:2: limts: unknown section; did you mean [limits]?");
    says("[[listner]]\n", "1:3: listner: unknown section; did you mean [[listener]]?");
    says(
        "[kitchen]\n",
        "1:2: kitchen: unknown section; there are [server], [store], [[durability]], [limits], [delivery], \
         [queues], [stomp], [auth], [auth_jwt], [auth_http], [[acl]], [[tls]], [admin], [log], [[listener]]",
    );
}

#[test]
fn counts_are_kept_to_their_range() {
    for bad in ["0", "-1", "65536", "99999999999", "1.5", "\"many\"", "true", "[]"] {
        says(
            &format!("[limits]\nmax_inflight = {bad}\n"),
            &format!("2:16: limits.max_inflight: {bad} is not a whole number from 1 to 65535 (default 256)"),
        );
    }
    for good in ["1", "65535"] {
        assert_eq!(complaints(&format!("[limits]\nmax_inflight = {good}\n")), [""; 0]);
    }
    says(
        "[server]\nworkers = 65\n",
        "2:11: server.workers: 65 is not a whole number from 1 to 64 (default 1)",
    );
    says("[server]\nworkers = 0\n", "2:11: server.workers: 0 is not a whole number from 1 to 64 (default 1)");
}

#[test]
fn sizes_are_kept_to_their_range() {
    for bad in
        ["0", "-1", "1023", "\"1023B\"", "\"257MiB\"", "268435457", "\"64KB\"", "\"\"", "9223372036854775807"]
    {
        says(
            &format!("[limits]\nmax_packet_size = {bad}\n"),
            &format!(
                "2:19: limits.max_packet_size: {bad} is not a size from 1KiB to 256MiB such as 65536, \"64KiB\" or \
                 \"1MiB\" (default \"1MiB\")"
            ),
        );
    }
    for good in ["1024", "\"1KiB\"", "\"256MiB\"", "268435456"] {
        let text = format!(
            "[limits]\nmax_queued_bytes = \"1GiB\"\nmax_packet_size = {good}\n[queues]\nmax_bytes = \"1GiB\"\n"
        );
        assert_eq!(complaints(&text), [""; 0]);
    }
}

#[test]
fn durations_are_kept_to_their_range_and_name_their_unit() {
    for bad in
        ["10", "\"10\"", "\"0s\"", "\"999ms\"", "\"301s\"", "\"-1s\"", "\"1 week\"", "10.5", "1979-05-27"]
    {
        says(
            &format!("[limits]\nconnect_timeout = {bad}\n"),
            &format!(
                "2:19: limits.connect_timeout: {bad} is not a duration from 1s to 5m such as \"5ms\", \"10s\", \
                 \"2m\", \"1h\" or \"7d\" (default \"10s\")"
            ),
        );
    }
    for good in ["\"1s\"", "\"5m\"", "\"1000ms\""] {
        assert_eq!(complaints(&format!("[limits]\nconnect_timeout = {good}\n")), [""; 0]);
    }
}

#[test]
fn words_are_listed() {
    says(
        "[delivery]\noverflow = \"drop\"\n",
        "2:12: delivery.overflow: \"drop\" is not \"drop-oldest\", \"drop-newest\", \"refuse\" or \"disconnect\" \
         (default \"drop-oldest\")",
    );
    says(
        "[delivery]\nshare_strategy = 1\n",
        "2:18: delivery.share_strategy: 1 is not \"round-robin\", \"least-inflight\" or \"sticky\" \
         (default \"round-robin\")",
    );
    says(
        "[log]\nformat = \"JSON\"\n",
        "2:10: log.format: \"JSON\" is not \"auto\", \"human\", \"journal\" or \"json\" (default \"auto\")",
    );
    says(
        "[log]\nlevel = \"verbose\"\n",
        "2:9: log.level: \"verbose\" is not \"error\", \"warn\", \"info\", \"debug\" or \"trace\" (default \"info\")",
    );
    says(
        "[[listener]]\nprotocol = \"http\"\n",
        "2:12: listener.protocol: \"http\" is not \"mqtt\", \"stomp\" or \"auto\" (default \"mqtt\")",
    );
    says(
        "[[listener]]\nprotocol = \"stomp\"\ndialect = \"artemis\"\n",
        "3:11: listener.dialect: \"artemis\" is not \"native\", \"rabbitmq\" or \"activemq\" (default \"native\")",
    );
    says(
        "[queues]\ndead_letter_prefix = 1\n",
        "2:22: queues.dead_letter_prefix: 1 is not the beginning of a name such as \"DLQ.\" or \"dead/\" (default \
         \"DLQ.\")",
    );
    says(
        "[[listener]]\nanonymous = \"yes\"\n",
        "2:13: listener.anonymous: \"yes\" is not true, false or \"loopback\" (default \"loopback\")",
    );
    says(
        "[server]\ndata_dir = 3\n",
        "2:12: server.data_dir: 3 is not a directory such as \"data\" or \"/var/lib/noctule\" (default \"data\")",
    );
}

#[test]
fn addresses_name_a_port() {
    for bad in ["\"localhost:1883\"", "\"127.0.0.1\"", "\"1883\"", "1883", "\"::1:99999\"", "\"\""] {
        says(
            &format!("[[listener]]\naddress = {bad}\n"),
            &format!(
                "2:11: listener.address: {bad} is not an address and port such as \"127.0.0.1:1883\", \
                 \"0.0.0.0:1883\" or \"[::1]:61613\", a Unix socket such as \"unix:/run/noctule/mqtt.sock\", or \"systemd:NAME\" for one that systemd has opened (default \"127.0.0.1:1883\", for \"stomp\" \"127.0.0.1:61613\")"
            ),
        );
    }
}

#[test]
fn sections_have_their_brackets() {
    says("limits = 3\n", "1:10: limits: 3 is not a section; write [limits] on a line of its own");
    says(
        "[listener]\naddress = \"127.0.0.1:1\"\n",
        "1:1: listener: write [[listener]], in two brackets, once for each",
    );
    says("listener = true\n", "1:12: listener: write [[listener]], in two brackets, once for each");
    says(
        "[[server]]\nworkers = 1\n",
        "1:1: server: [[server]] is not a section; write [server] on a line of its own",
    );
}

#[test]
fn what_is_not_toml_is_placed() {
    says("[limits\n", "1:8: not valid TOML: unclosed table, expected `]`");
    says("[limits]\nmax_inflight 5\n", "2:14: not valid TOML: key with no value, expected `=`");
    says("[limits]\nmax_inflight = 5\nmax_inflight = 6\n", "3:1: not valid TOML: duplicate key");
    says("[server]\n[server]\n", "2:2: not valid TOML: duplicate key");
    says(
        "[limits]\nmax_packet_size = 64KiB\n",
        "2:19: not valid TOML: string values must be quoted, expected literal string",
    );
}

#[test]
fn a_wide_open_listener_is_said_to_be_one() {
    for address in ["0.0.0.0:1883", "192.168.1.5:1883", "[::]:1883", "[::ffff:10.0.0.1]:1883"] {
        says(
            &format!("[[listener]]\naddress = \"{address}\"\n"),
            &format!(
                "2:11: listener.address: {address} can be reached from other machines, and no authentication is \
                 configured that would let them in; if everybody who can reach it may publish and subscribe, add \
                 anonymous = true to this [[listener]]; else name users with [auth], which `noctule init` writes, or \
                 listen on 127.0.0.1"
            ),
        );
        assert_eq!(
            complaints(&format!("[[listener]]\naddress = \"{address}\"\nanonymous = true\n")),
            [""; 0]
        );
    }
    for address in ["127.0.0.1:1883", "127.8.8.8:1", "[::1]:1883"] {
        assert_eq!(complaints(&format!("[[listener]]\naddress = \"{address}\"\n")), [""; 0]);
    }
    says(
        "[[listener]]\nanonymous = false\n",
        "2:13: listener.anonymous: false lets nobody connect, because no authentication is configured; write \
         \"loopback\" for programs on this machine or true for everybody",
    );
}

#[test]
fn listeners_do_not_share_an_address() {
    let two = |a: &str, b: &str| {
        complaints(&format!(
            "[[listener]]\naddress = \"{a}\"\nanonymous = true\n\n[[listener]]\naddress = \"{b}\"\nanonymous = true\n"
        ))
    };
    assert_eq!(
        two("127.0.0.1:1883", "127.0.0.1:1883"),
        [
            "6:11: listener.address: 127.0.0.1:1883 is taken by the listener on 127.0.0.1:1883 above; give each its own \
          address or port"
        ]
    );
    assert_eq!(
        two("0.0.0.0:1883", "127.0.0.1:1883"),
        [
            "6:11: listener.address: 127.0.0.1:1883 is taken by the listener on 0.0.0.0:1883 above; give each its own \
          address or port"
        ]
    );
    assert_eq!(two("127.0.0.1:0", "127.0.0.1:0"), [""; 0]);
    says(
        "[[listener]]\naddress = \"0.0.0.0:61613\"\nanonymous = true\n[[listener]]\nprotocol = \"stomp\"\n",
        "4:1: listener.address: 127.0.0.1:61613 is taken by the listener on 0.0.0.0:61613 above; give each its own \
         address or port",
    );
    says(
        "[[listener]]\nprotocol = \"stomp\"\n[[listener]]\nprotocol = \"stomp\"\n",
        "3:1: listener.address: 127.0.0.1:61613 is taken by the listener on 127.0.0.1:61613 above; give each its own \
         address or port",
    );
    // The second has no address of its own, so the place is that of its table.
    says(
        "[[listener]]\n[[listener]]\n",
        "2:1: listener.address: 127.0.0.1:1883 is taken by the listener on 127.0.0.1:1883 above; give each its own address or port",
    );
    says(
        "listener = []\n",
        "1:12: listener: nobody could connect; add a [[listener]], or leave the key out for MQTT on 127.0.0.1:1883 \
         and STOMP on 127.0.0.1:61613",
    );
}

#[test]
fn the_store_s_sizes_and_times_are_kept_to_their_range() {
    for (key, low, high, default) in [
        ("cache", "1MiB", "64MiB", "1MiB"),
        ("reserve", "1MiB", "1GiB", "4MiB"),
        ("min_free", "0B", "1024GiB", "16MiB"),
        ("max_size", "16MiB", "1024GiB", "1GiB"),
        ("commit_window", "0s", "1s", "5ms"),
        ("interval", "10ms", "1h", "1s"),
        ("retained_interval", "0s", "1h", "5s"),
    ] {
        for good in [low, high] {
            assert_eq!(complaints(&format!("[store]\n{key} = \"{good}\"\n")), [""; 0], "{key} = {good}");
        }
        let kind = if high.ends_with('B') { "a size" } else { "a duration" };
        for bad in ["2048GiB", "1048575B", "8ms", "61m"] {
            let said = complaints(&format!("[store]\n{key} = \"{bad}\"\n"));
            if let [said] = &said[..] {
                let start = format!(
                    "2:{}: store.{key}: \"{bad}\" is not {kind} from {low} to {high} such as ",
                    key.len() + 4
                );
                assert!(
                    said.starts_with(&start) && said.ends_with(&format!("(default \"{default}\")")),
                    "{said}"
                );
            } else {
                let right = matches!(
                    (key, bad),
                    ("min_free", "1048575B") | ("commit_window" | "retained_interval", "8ms")
                );
                assert!(right, "{key} = {bad} is accepted");
            }
        }
    }
}

#[test]
fn durability_is_one_of_three_words_wherever_it_stands() {
    for (text, place) in [
        ("[store]\ndurability = \"sync\"\n", "2:14: store.durability"),
        ("[[listener]]\ndurability = \"sync\"\n", "2:14: listener.durability"),
        ("[[durability]]\nfilter = \"a\"\nmode = \"sync\"\n", "3:8: durability.mode"),
    ] {
        let default = if place.contains("listener") { "none" } else { "\"always\"" };
        says(
            text,
            &format!("{place}: \"sync\" is not \"always\", \"interval\" or \"never\" (default {default})"),
        );
    }
    says(
        "durability = \"interval\"\n",
        "1:14: durability: write [[durability]], in two brackets, once for each; the key durability for all of them \
         belongs under [store]",
    );
}

#[test]
fn durability_of_topics_names_a_filter() {
    for (filter, said) in [
        ("3", "3 is not a topic filter such as \"alarms/#\" or \"+/state\" (default none)"),
        ("\"\"", "it is missing; write which topics are meant, such as \"alarms/#\""),
        ("\"a/#/b\"", "filter \"a/#/b\" goes on after the '#' at byte 2; '#' must be the last level"),
        (
            "\"$share/g/a\"",
            "\"$share/g/a\" is a subscription; no topic begins with $share, so write what comes after the group",
        ),
    ] {
        says(&format!("[[durability]]\nfilter = {filter}\n"), &format!("2:10: durability.filter: {said}"));
    }
    says(
        "[[durability]]\nmode = \"never\"\n",
        "1:1: durability.filter: it is missing; write which topics are meant, such as \"alarms/#\"",
    );
    let rules = |count: usize| complaints(&"[[durability]]\nfilter = \"a\"\n".repeat(count));
    assert_eq!(rules(64), [""; 0]);
    assert_eq!(
        rules(66),
        [
            "130:10: durability.filter: one [[durability]] too many, at most 64; put topics together with + and #"
        ]
    );
}

#[test]
fn a_queue_has_room_for_a_packet() {
    let wrong = "a packet of max_packet_size = \"16MiB\" would be accepted and then fit no queue of max_queued_bytes = \
                 \"8MiB\"; make max_queued_bytes at least as large";
    let queues = "[queues]\nmax_bytes = \"16MiB\"\n";
    says(
        &format!("[limits]\nmax_packet_size = \"16MiB\"\n{queues}"),
        &format!("2:19: limits.max_packet_size: {wrong}"),
    );
    says(
        &format!("[limits]\nmax_packet_size = \"16MiB\"\nmax_queued_bytes = \"8MiB\"\n{queues}"),
        &format!("3:20: limits.max_queued_bytes: {wrong}"),
    );
    assert_eq!(complaints("[limits]\nmax_packet_size = \"8MiB\"\n"), [""; 0]);
}

#[test]
fn a_queue_has_room_for_whatever_may_be_sent() {
    let wrong = |what: &str, key: &str, room: &str| {
        format!(
            "a {what} of {key} = \"9MiB\" would be accepted and then fit no queue of {room} = \"8MiB\"; make {room} at \
             least as large"
        )
    };
    let packet = "[limits]\nmax_packet_size = \"9MiB\"\nmax_queued_bytes = \"9MiB\"\n";
    says(
        packet,
        &format!("2:19: limits.max_packet_size: {}", wrong("packet", "max_packet_size", "queues.max_bytes")),
    );
    let body = "[stomp]\nmax_body = \"9MiB\"\nmax_transaction_bytes = \"16MiB\"\n";
    assert_eq!(
        complaints(body),
        [
            format!("2:12: stomp.max_body: {}", wrong("body", "max_body", "max_queued_bytes")),
            format!("2:12: stomp.max_body: {}", wrong("body", "max_body", "queues.max_bytes")),
        ]
    );
    says(
        "[queues]\nmax_bytes = \"1023KiB\"\n[limits]\nmax_packet_size = \"2KiB\"\n",
        "2:13: queues.max_bytes: a body of max_body = \"1MiB\" would be accepted and then fit no queue of queues.max_bytes = \
         \"1023KiB\"; make queues.max_bytes at least as large",
    );
    assert_eq!(complaints("[queues]\nmax_bytes = \"1MiB\"\n"), [""; 0]);
    let body = "[stomp]\nmax_body = \"8MiB\"\nmax_transaction_bytes = \"16MiB\"\n";
    assert_eq!(complaints(body), [""; 0]);
}

#[test]
fn a_transaction_has_room_for_whatever_may_be_sent() {
    let wrong = |body: &str, room: &str| {
        format!(
            "a body of max_body = \"{body}\" could be sent, but in no transaction of max_transaction_bytes = \"{room}\", \
             where its headers count as well; make max_transaction_bytes larger, or allow none with max_transactions = 0"
        )
    };
    says("[stomp]\nmax_body = \"4MiB\"\n", &format!("2:12: stomp.max_body: {}", wrong("4MiB", "4MiB")));
    says(
        "[stomp]\nmax_transaction_bytes = \"1MiB\"\n",
        &format!("2:25: stomp.max_transaction_bytes: {}", wrong("1MiB", "1MiB")),
    );
    assert_eq!(complaints("[stomp]\nmax_body = 4194303\n"), [""; 0]);
    assert_eq!(complaints("[stomp]\nmax_transaction_bytes = 1048577\n"), [""; 0]);
    assert_eq!(complaints("[stomp]\nmax_transactions = 0\nmax_transaction_bytes = \"1KiB\"\n"), [""; 0]);
}

#[test]
fn what_stomp_and_queues_may_have_is_kept_to_its_range() {
    for (section, key, low, high, default) in [
        ("stomp", "max_headers", "8", "1024", "64"),
        ("stomp", "max_transactions", "0", "1024", "16"),
        ("stomp", "max_transaction_actions", "1", "65535", "1000"),
        ("stomp", "prefetch", "1", "1000", "256"),
        ("stomp", "max_prefetch", "256", "65535", "1000"),
        ("queues", "max_queues", "1", "1000000", "10000"),
        ("queues", "max_messages", "1", "10000000", "10000"),
        ("queues", "max_deliveries", "0", "1000000", "16"),
        ("stomp", "max_header_line", "\"256B\"", "\"65535B\"", "\"8KiB\""),
        ("stomp", "max_body", "\"1KiB\"", "\"4095KiB\"", "\"1MiB\""),
        ("stomp", "max_transaction_bytes", "\"1025KiB\"", "\"256MiB\"", "\"4MiB\""),
        ("stomp", "max_receipt_bytes", "\"1KiB\"", "\"256MiB\"", "\"1MiB\""),
        ("queues", "max_bytes", "\"1MiB\"", "\"16GiB\"", "\"8MiB\""),
        ("queues", "ack_deadline", "\"0s\"", "\"30d\"", "\"30m\""),
        ("stomp", "heart_beat", "\"0s\"", "\"1h\"", "\"10s\""),
        ("stomp", "idle_timeout", "\"0s\"", "\"1d\"", "\"1m\""),
    ] {
        let line = |value: &str| format!("[{section}]\n{key} = {value}\n");
        for good in [low, high] {
            assert_eq!(complaints(&line(good)), [""; 0], "{key} = {good}");
        }
        for bad in ["-1", "17179869185", "\"31d\"", "\"17GiB\"", "\"\"", "true"] {
            let said = complaints(&line(bad));
            let start = format!("2:{}: {section}.{key}: {bad} is not a", key.len() + 4);
            assert!(
                matches!(&said[..], [said] if said.starts_with(&start) && said.ends_with(&format!("(default {default})"))),
                "{key} = {bad}: {said:?}"
            );
        }
    }
    says(
        "[stomp]\nmax_header_line = \"64KiB\"\n",
        "2:19: stomp.max_header_line: \"64KiB\" is not a size from 256B to 65535B such as 65536, \"64KiB\" or \"1MiB\" \
         (default \"8KiB\")",
    );
    says(
        "[stomp]\nmax_headers = 7\n",
        "2:15: stomp.max_headers: 7 is not a whole number from 8 to 1024 (default 64)",
    );
}

#[test]
fn a_subscription_may_have_what_it_gets_by_default() {
    let wrong = |prefetch: u16, most: u16| {
        format!(
            "a subscription that does not say would have prefetch = {prefetch}, and none may have more than max_prefetch \
             = {most}; make max_prefetch at least as large"
        )
    };
    says("[stomp]\nprefetch = 1001\n", &format!("2:12: stomp.prefetch: {}", wrong(1001, 1000)));
    says("[stomp]\nmax_prefetch = 255\n", &format!("2:16: stomp.max_prefetch: {}", wrong(256, 255)));
    assert_eq!(complaints("[stomp]\nprefetch = 9\nmax_prefetch = 9\n"), [""; 0]);
}

#[test]
fn silences_are_none_or_long_enough() {
    for (section, key, column) in
        [("stomp", "heart_beat", 14), ("stomp", "idle_timeout", 16), ("queues", "ack_deadline", 16)]
    {
        says(
            &format!("[{section}]\n{key} = \"999ms\"\n"),
            &format!(
                "2:{column}: {section}.{key}: \"999ms\" is shorter than networks pause by themselves; write \"1s\" or more, \
                 or \"0s\" for none"
            ),
        );
        assert_eq!(complaints(&format!("[{section}]\n{key} = \"1s\"\n")), [""; 0]);
    }
}

#[test]
fn a_dialect_is_for_stomp() {
    for dialect in ["rabbitmq", "activemq"] {
        says(
            &format!("[[listener]]\ndialect = \"{dialect}\"\n"),
            &format!(
                "2:11: listener.dialect: \"{dialect}\" says how STOMP is spoken, and this listener speaks MQTT; leave it \
                 out, or write protocol = \"stomp\""
            ),
        );
        let right = format!("[[listener]]\nprotocol = \"stomp\"\ndialect = \"{dialect}\"\n");
        assert_eq!(complaints(&right), [""; 0]);
    }
}

#[test]
fn a_queue_disconnects_nobody() {
    says(
        "[queues]\noverflow = \"disconnect\"\n",
        "2:12: queues.overflow: \"disconnect\" is for the queue of one client, and this one is everybody's; write \
         \"refuse\", \"drop-oldest\" or \"drop-newest\"",
    );
    for good in ["refuse", "drop-oldest", "drop-newest"] {
        assert_eq!(complaints(&format!("[queues]\noverflow = \"{good}\"\n")), [""; 0]);
    }
}

#[test]
fn dead_letters_have_a_queue_of_their_own() {
    says(
        "[queues]\ndead_letter_prefix = \"\"\n",
        "2:22: queues.dead_letter_prefix: without it a queue's dead letters would go back into that queue; write one \
         such as \"DLQ.\"",
    );
    for bad in ["DLQ.+", "#/", "a\\u0000"] {
        let said = complaints(&format!("[queues]\ndead_letter_prefix = \"{bad}\"\n"));
        let start = "2:22: queues.dead_letter_prefix: no queue can have a name that begins so: ";
        assert!(matches!(&said[..], [said] if said.starts_with(start)), "{bad}: {said:?}");
    }
    assert_eq!(complaints("[queues]\ndead_letter_prefix = \"dead/\"\n"), [""; 0]);
}

#[test]
fn everything_wrong_is_said_in_one_go_and_in_order() {
    let text = "[limits]\nmax_inflight = 0\nmax_inflght = 1\nconnect_timeout = 10\n[server]\nworkers = \"two\"\n\
                [[listener]]\naddress = \"127.0.0.1:1\"\n[[listener]]\naddress = \"here\"\nport = 3\n";
    let starts: Vec<String> =
        complaints(text).iter().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(
        starts,
        [
            "2:16:limits.max_inflight:",
            "3:1:limits.max_inflght:",
            "4:19:limits.connect_timeout:",
            "6:11:server.workers:",
            "10:11:listener.address:",
            "11:1:listener.port:"
        ]
    );
}

#[test]
fn a_flood_of_mistakes_is_cut_short() {
    let mut text = "[limits]\n".to_owned();
    for number in 0..10_000 {
        text.push_str(&format!("zzz_{number} = 1\n"));
    }
    assert_eq!(complaints(&text).len(), 50);
}

#[test]
fn quotes_are_short_and_on_one_line() {
    let long = "é".repeat(500);
    let said = complaints(&format!("[log]\nformat = \"{long}\"\n"));
    assert!(said[0].starts_with("2:10: log.format: \"é") && said[0].contains("é… is not"), "{said:?}");
    let said = complaints("[log]\nformat = \"\"\"\nab\ncd\"\"\"\n");
    assert_eq!(
        said,
        ["2:10: log.format: \"\"\"… is not \"auto\", \"human\", \"journal\" or \"json\" (default \"auto\")"]
    );
}

#[test]
fn any_prefix_of_a_good_file_is_judged_without_a_panic() {
    let whole = include_str!("../../../config/noctule.toml");
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let _ = complaints(&whole[..end]);
    }
}
