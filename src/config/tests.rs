//! Bad files and exactly what is said about them, the defaults, and `config/noctule.toml` beside them.

mod bad;
mod reference;
mod security;

use super::*;

/// Everything said about `text`, one line each, without the file's name.
fn complaints(text: &str) -> Vec<String> {
    match Config::parse(text, "f") {
        Ok(_) => Vec::new(),
        Err(ConfigError::Wrong { problems }) => {
            problems.iter().map(|problem| problem.to_string().trim_start_matches("f:").to_owned()).collect()
        }
        Err(other) => vec![other.to_string()],
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(Config::parse("", "f").unwrap(), Config::default());
    assert_eq!(Config::parse("[server]\n[limits]\n", "f").unwrap(), Config::default());
}

#[test]
fn the_defaults_are_right_by_their_own_rules() {
    let config = Config::default();
    assert_eq!(config.faults(), []);
    let text = toml::to_string(&config).unwrap();
    assert_eq!(complaints(&text), [""; 0]);
    assert_eq!(Config::parse(&text, "f").unwrap(), config);
}

#[test]
fn every_key_is_read_into_its_place() {
    let text = r#"
        [server]
        workers = 2
        data_dir = "/var/lib/noctule"
        [store]
        durability = "interval"
        commit_window = "0s"
        max_size = "2GiB"
        [[durability]]
        filter = "alarms/#"
        [[durability]]
        filter = "+/noise"
        mode = "never"
        [limits]
        max_packet_size = 65536
        max_connect_size = "1KiB"
        connect_timeout = "3s"
        max_session_expiry = "0s"
        topic_alias_max = 0
        [delivery]
        overflow = "refuse"
        share_strategy = "sticky"
        [queues]
        max_queues = 3
        max_messages = 4
        max_bytes = "2MiB"
        overflow = "drop-newest"
        max_deliveries = 5
        ack_deadline = "1m"
        dead_letter_prefix = "dead/"
        [stomp]
        max_headers = 8
        max_header_line = 256
        max_body = "1KiB"
        max_transactions = 0
        max_transaction_actions = 6
        max_transaction_bytes = "2KiB"
        max_receipt_bytes = "3KiB"
        prefetch = 7
        max_prefetch = 9
        heart_beat = "0s"
        idle_timeout = "1s"
        [log]
        format = "json"
        level = "debug"
        [[listener]]
        address = "0.0.0.0:1883"
        anonymous = true
        [[listener]]
        address = "[::1]:2883"
        durability = "never"
        [[listener]]
        protocol = "stomp"
        dialect = "activemq"
    "#;
    let config = Config::parse(text, "f").unwrap();
    assert_eq!(config.server.workers, 2);
    assert_eq!(config.server.data_dir, PathBuf::from("/var/lib/noctule"));
    assert_eq!(config.store.durability, Durability::Interval);
    assert_eq!(config.store.commit_window, Period::from_millis(0));
    assert_eq!(config.store.max_size, Size::from_mib(2_048));
    assert_eq!(config.store.reserve, Store::default().reserve);
    let rules: Vec<_> = config.durability.iter().map(|rule| (rule.filter.as_str(), rule.mode)).collect();
    assert_eq!(rules, [("alarms/#", Durability::Always), ("+/noise", Durability::Never)]);
    assert_eq!(config.limits.max_packet_size, Size::from_kib(64));
    assert_eq!(config.limits.max_connect_size, Size::from_kib(1));
    assert_eq!(config.limits.connect_timeout, Period::from_secs(3));
    assert_eq!(config.limits.max_session_expiry, Period::from_secs(0));
    assert_eq!(config.limits.topic_alias_max, 0);
    assert_eq!(config.limits.max_inflight, Limits::default().max_inflight);
    assert_eq!(config.delivery.overflow, Overflow::Refuse);
    assert_eq!(config.delivery.share_strategy, ShareStrategy::Sticky);
    assert_eq!(config.log, Log { format: LogFormat::Json, level: Level::Debug });
    assert_eq!(
        config.queues,
        Queues {
            max_queues: 3,
            max_messages: 4,
            max_bytes: Size::from_mib(2),
            overflow: Overflow::DropNewest,
            max_deliveries: 5,
            ack_deadline: Period::from_secs(60),
            dead_letter_prefix: config.queues.dead_letter_prefix.clone(),
        }
    );
    assert_eq!(config.queues.dead_letter_prefix.as_str(), "dead/");
    assert_eq!(
        config.stomp,
        Stomp {
            max_headers: 8,
            max_header_line: Size::from_bytes(256),
            max_body: Size::from_kib(1),
            max_transactions: 0,
            max_transaction_actions: 6,
            max_transaction_bytes: Size::from_kib(2),
            max_receipt_bytes: Size::from_kib(3),
            prefetch: 7,
            max_prefetch: 9,
            heart_beat: Period::from_secs(0),
            idle_timeout: Period::from_secs(1),
        }
    );
    assert_eq!(config.listener.len(), 3);
    assert_eq!(config.listener[0].anonymous, Anonymous::Everybody);
    assert_eq!(config.listener[1].anonymous, Anonymous::Loopback);
    assert_eq!(config.listener[1].address.to_string(), "[::1]:2883");
    let durability = config.listener.iter().map(|listener| listener.durability);
    assert_eq!(durability.collect::<Vec<_>>(), [None, Some(Durability::Never), None]);
    let spoken: Vec<_> = config.listener.iter().map(|one| (one.protocol, one.dialect)).collect();
    assert_eq!(
        spoken,
        [
            (Protocol::Mqtt, Dialect::Native),
            (Protocol::Mqtt, Dialect::Native),
            (Protocol::Stomp, Dialect::Activemq)
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_unreadable() {
    let error = Config::load(Path::new("no/such/noctule.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(error.to_string().starts_with("no/such/noctule.toml: cannot be read: "), "{error}");
}

/// The protocols and addresses that `text` would serve.
fn served(text: &str) -> Vec<(&'static str, String)> {
    let config = Config::parse(text, "f").unwrap();
    config.listener.iter().map(|one| (one.protocol.as_str(), one.address.to_string())).collect()
}

#[test]
fn without_a_listener_both_protocols_are_served_on_the_loopback() {
    let both = [("mqtt", "127.0.0.1:1883".to_owned()), ("stomp", "127.0.0.1:61613".to_owned())];
    assert_eq!(served(""), both);
    assert_eq!(served("[stomp]\nprefetch = 1\n"), both);
    assert_eq!(
        served("[[listener]]\n[[listener]]\nprotocol = \"stomp\"\n"),
        both,
        "the ports do not collide"
    );
}

#[test]
fn a_file_with_listeners_gets_exactly_those_each_on_the_port_of_its_protocol() {
    assert_eq!(served("[[listener]]\n"), [("mqtt", "127.0.0.1:1883".to_owned())]);
    assert_eq!(served("[[listener]]\nprotocol = \"stomp\"\n"), [("stomp", "127.0.0.1:61613".to_owned())]);
    assert_eq!(
        served("[[listener]]\nprotocol = \"stomp\"\naddress = \"[::1]:1883\"\n"),
        [("stomp", "[::1]:1883".to_owned())]
    );
}
