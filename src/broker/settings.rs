//! From the configuration to what the engines and the protocol machines understand.

use std::sync::Arc;
use std::time::Duration;

use noctule_core::id::{Now, Qos};
use noctule_core::policy::{self, DurabilityRules, Policy, QueueDefaults};
use noctule_core::retained::RetainedLimits;
use noctule_core::topic::{TopicFilter, TopicLimits};
use noctule_mqtt::server::{AuthMethods, ServerLimits, Surroundings};
use noctule_stomp::server::{self as stomp, ServerLimits as StompLimits};
use noctule_stomp::{Dialect, FrameLimits};

use crate::config::{self, Anonymous, Config};
use crate::store;

/// Messages of one queue that are kept in memory although the store has them: enough to begin with when a client comes
/// back, little enough for a thousand clients that are away.
const HELD_MESSAGES: usize = 32;

/// The same for a client that is there: a burst is not worth a way to the disk and back.
const HELD_MESSAGES_ONLINE: usize = 1_024;

/// What every worker reads and none changes.
#[derive(Debug)]
pub(super) struct Settings {
    /// Limits and rights for the engines.
    pub(super) policy: Arc<Policy>,
    /// MQTT's own limits.
    pub(super) mqtt: ServerLimits,
    /// STOMP's own limits.
    pub(super) stomp: StompLimits,
    /// Ways of enhanced authentication.
    pub(super) methods: AuthMethods,
    /// What is spoken, per listener.
    speaks: Vec<Speaks>,
    /// Who may connect without credentials, per listener.
    pub(super) anonymous: Vec<Anonymous>,
    /// What a listener says of durability, per listener.
    pub(super) durability: Vec<Option<policy::Durability>>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Mqtt,
    Stomp(Dialect),
}

impl Settings {
    pub(super) fn new(config: &Config, methods: AuthMethods) -> Self {
        let limits = &config.limits;
        Self {
            policy: Arc::new(Policy {
                epoch: 0,
                limits: core_limits(config),
                durability: durability_rules(config),
                rules: None,
            }),
            mqtt: ServerLimits {
                max_packet_size: bytes_u32(limits.max_packet_size),
                max_connect_size: bytes_u32(limits.max_connect_size).min(bytes_u32(limits.max_packet_size)),
                topic_alias_max: limits.topic_alias_max,
                max_user_properties: usize::from(limits.max_user_properties),
            },
            stomp: stomp_limits(config),
            methods,
            speaks: config.listener.iter().map(speaks).collect(),
            anonymous: config.listener.iter().map(|listener| listener.anonymous).collect(),
            durability: config.listener.iter().map(|listener| listener.durability.map(durability)).collect(),
        }
    }

    /// What a listener speaks.
    pub(super) fn speaks(&self, listener: u16) -> Speaks {
        self.speaks.get(usize::from(listener)).copied().unwrap_or(Speaks::Mqtt)
    }

    /// What STOMP's machines need of it.
    pub(super) fn stomp_surroundings(&self, now: Now) -> stomp::Surroundings<'_> {
        stomp::Surroundings { stomp: &self.stomp, core: &self.policy.limits, now }
    }

    /// What MQTT's machines need of it.
    pub(super) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { server: &self.mqtt, core: &self.policy.limits, methods: &self.methods }
    }
}

/// A size that the configuration has bounded below 4 GiB.
fn bytes_u32(size: config::Size) -> u32 {
    u32::try_from(size.as_bytes()).unwrap_or(u32::MAX)
}

/// Seconds for a field of MQTT that ends before the configuration does.
fn seconds_u32(period: config::Period) -> u32 {
    u32::try_from(period.as_secs()).unwrap_or(u32::MAX)
}

pub(super) fn core_limits(config: &Config) -> policy::Limits {
    let limits = &config.limits;
    policy::Limits {
        topic: TopicLimits { max_bytes: limits.max_topic_bytes, max_levels: limits.max_topic_levels },
        connect_timeout_ms: limits.connect_timeout.as_millis(),
        max_sessions: limits.max_sessions as usize,
        max_subscriptions: limits.max_subscriptions,
        max_inflight: limits.max_inflight,
        receive_maximum: limits.receive_maximum,
        max_queued_messages: limits.max_queued_messages as usize,
        max_queued_bytes: limits.max_queued_bytes.as_usize(),
        max_held_messages: if config.is_stored() { HELD_MESSAGES } else { usize::MAX },
        max_held_messages_online: if config.is_stored() { HELD_MESSAGES_ONLINE } else { usize::MAX },
        max_keep_alive_s: u16::try_from(limits.max_keep_alive.as_secs()).unwrap_or(u16::MAX),
        max_session_expiry_s: seconds_u32(limits.max_session_expiry),
        refuse_timeout_ms: config.delivery.refuse_timeout.as_millis(),
        overflow: overflow(config.delivery.overflow),
        share_strategy: match config.delivery.share_strategy {
            config::ShareStrategy::RoundRobin => policy::ShareStrategy::RoundRobin,
            config::ShareStrategy::LeastInflight => policy::ShareStrategy::LeastInflight,
            config::ShareStrategy::Sticky => policy::ShareStrategy::Sticky,
        },
        max_qos: Qos::ExactlyOnce,
        retain_available: limits.max_retained_messages > 0,
        queues: queue_defaults(&config.queues),
    }
}

fn overflow(configured: config::Overflow) -> policy::Overflow {
    match configured {
        config::Overflow::DropOldest => policy::Overflow::DropOldest,
        config::Overflow::DropNewest => policy::Overflow::DropNewest,
        config::Overflow::Refuse => policy::Overflow::Refuse,
        config::Overflow::Disconnect => policy::Overflow::Disconnect,
    }
}

fn queue_defaults(queues: &config::Queues) -> QueueDefaults {
    QueueDefaults {
        max_queues: queues.max_queues as usize,
        max_messages: queues.max_messages as usize,
        max_bytes: queues.max_bytes.as_usize(),
        overflow: overflow(queues.overflow),
        max_deliveries: queues.max_deliveries,
        ack_deadline_ms: queues.ack_deadline.as_millis(),
        dead_letter_prefix: queues.dead_letter_prefix.as_str().into(),
    }
}

fn speaks(listener: &config::Listener) -> Speaks {
    match listener.protocol {
        config::Protocol::Mqtt | config::Protocol::Auto => Speaks::Mqtt,
        config::Protocol::Stomp => Speaks::Stomp(match listener.dialect {
            config::Dialect::Native => Dialect::Native,
            config::Dialect::Rabbitmq => Dialect::Rabbitmq,
            config::Dialect::Activemq => Dialect::Activemq,
        }),
    }
}

/// The limits that are STOMP's own.
fn stomp_limits(config: &Config) -> StompLimits {
    let (limits, stomp) = (&config.limits, &config.stomp);
    let heart_beat_ms = u32::try_from(stomp.heart_beat.as_millis()).unwrap_or(u32::MAX);
    StompLimits {
        frames: FrameLimits {
            max_headers: usize::from(stomp.max_headers),
            max_header_line: stomp.max_header_line.as_usize(),
            max_body: stomp.max_body.as_usize(),
            max_connect: limits.max_connect_size.as_usize(),
        },
        max_transactions: usize::from(stomp.max_transactions),
        max_transaction_actions: usize::from(stomp.max_transaction_actions),
        max_transaction_bytes: stomp.max_transaction_bytes.as_usize(),
        max_receipt_bytes: stomp.max_receipt_bytes.as_usize(),
        max_prefetch: stomp.max_prefetch,
        default_prefetch: stomp.prefetch,
        heart_beat_ms: (heart_beat_ms.min(1_000), heart_beat_ms),
        idle_timeout_ms: u32::try_from(stomp.idle_timeout.as_millis()).unwrap_or(u32::MAX),
    }
}

fn durability(configured: config::Durability) -> policy::Durability {
    match configured {
        config::Durability::Always => policy::Durability::Always,
        config::Durability::Interval => policy::Durability::Interval,
        config::Durability::Never => policy::Durability::Never,
    }
}

/// What the configuration says of durability, its filters checked before.
fn durability_rules(config: &Config) -> DurabilityRules {
    let rule = |rule: &config::DurabilityRule| {
        let filter = TopicFilter::parse(rule.filter.as_str(), &TopicLimits::WIDEST).ok()?;
        Some((filter, durability(rule.mode)))
    };
    DurabilityRules {
        default: durability(config.store.durability),
        filters: config.durability.iter().filter_map(rule).collect(),
    }
}

pub(super) fn store(config: &Config) -> store::Settings {
    let configured = &config.store;
    store::Settings {
        directory: config.server.data_dir.clone(),
        commit_window: Duration::from_millis(configured.commit_window.as_millis()),
        interval: Duration::from_millis(configured.interval.as_millis()),
        retained_interval: Duration::from_millis(configured.retained_interval.as_millis()),
        cache: configured.cache.as_usize(),
        reserve: configured.reserve.as_bytes(),
        min_free: configured.min_free.as_bytes(),
        max_bytes: configured.max_size.as_bytes(),
    }
}

pub(super) fn retained_limits(config: &Config) -> RetainedLimits {
    RetainedLimits {
        max_messages: config.limits.max_retained_messages as usize,
        max_bytes: config.limits.max_retained_bytes.as_usize(),
    }
}
