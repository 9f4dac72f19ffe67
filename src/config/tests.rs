//! Bad files and exactly what is said about them, the defaults, and `config/noctule.toml` beside them.

mod bad;
mod reference;

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
        [log]
        format = "json"
        level = "debug"
        [[listener]]
        address = "0.0.0.0:1883"
        anonymous = true
        [[listener]]
        address = "[::1]:2883"
        durability = "never"
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
    assert_eq!(config.listener.len(), 2);
    assert_eq!(config.listener[0].anonymous, Anonymous::Everybody);
    assert_eq!(config.listener[1].anonymous, Anonymous::Loopback);
    assert_eq!(config.listener[1].address.port(), 2_883);
    let durability = config.listener.iter().map(|listener| listener.durability);
    assert_eq!(durability.collect::<Vec<_>>(), [None, Some(Durability::Never)]);
}

#[test]
fn a_file_that_is_not_there_is_unreadable() {
    let error = Config::load(Path::new("no/such/noctule.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert!(error.to_string().starts_with("no/such/noctule.toml: cannot be read: "), "{error}");
}
