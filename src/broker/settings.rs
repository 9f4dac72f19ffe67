//! From the configuration to what the engines and the protocol machines understand.

use std::sync::Arc;
use std::time::Duration;

use noctule_core::acl::Rules;
use noctule_core::id::{Now, Qos};
use noctule_core::policy::{self, DurabilityRules, Policy, QueueDefaults};
use noctule_core::retained::RetainedLimits;
use noctule_core::topic::{TopicFilter, TopicLimits};
use noctule_mqtt::server::{AuthMethods, ServerLimits, Surroundings};
use noctule_stomp::server::{self as stomp, ServerLimits as StompLimits};
use noctule_stomp::{Dialect, FrameLimits};

use super::admission::Door;
use super::worker::Rates;
use crate::auth::Authenticator;
use crate::config::{self, Anonymous, Config};
use crate::net::{Spoken, Wiring};
use crate::{auth, store, tls};

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
    /// Who is asked who somebody is, if anybody is.
    pub(super) authenticator: Option<Arc<Authenticator>>,
    /// Ways of enhanced authentication.
    pub(super) methods: Arc<AuthMethods>,
    /// Listeners, each at the place that connections know it by; none where there is none any more.
    listeners: Vec<Option<Arc<ListenerSettings>>>,
}

/// What holds for the connections of one listener.
#[derive(Debug)]
pub(super) struct ListenerSettings {
    /// What lies between its sockets and its protocol.
    pub(super) wiring: Arc<Wiring>,
    /// What is spoken, if it is one protocol only.
    pub(super) protocol: Option<Spoken>,
    /// How STOMP's clients write.
    pub(super) dialect: Dialect,
    /// Who may connect without credentials.
    pub(super) anonymous: Anonymous,
    /// How the others prove who they are, in this order.
    pub(super) methods: Arc<[auth::Method]>,
    /// What is said of durability.
    pub(super) durability: Option<policy::Durability>,
    /// How many may come in.
    pub(super) door: Door,
    /// What each may send in a second.
    pub(super) rates: Rates,
}

impl Settings {
    /// `listeners` are those of `config` as they were opened.
    pub(super) fn new(
        config: &Config,
        methods: Arc<AuthMethods>,
        authenticator: Option<Arc<Authenticator>>,
        listeners: Vec<Option<Arc<ListenerSettings>>>,
    ) -> Self {
        let limits = &config.limits;
        Self {
            policy: Arc::new(Policy {
                epoch: 0,
                limits: core_limits(config),
                durability: durability_rules(config),
                // Reading the configuration has found them right.
                rules: config.rules().unwrap_or_else(|_| Some(Rules::default())).map(Arc::new),
            }),
            mqtt: ServerLimits {
                max_packet_size: bytes_u32(limits.max_packet_size),
                max_connect_size: bytes_u32(limits.max_connect_size).min(bytes_u32(limits.max_packet_size)),
                topic_alias_max: limits.topic_alias_max,
                max_user_properties: usize::from(limits.max_user_properties),
            },
            stomp: stomp_limits(config),
            authenticator,
            methods,
            listeners,
        }
    }

    /// The same by another configuration: its policy is a later one.
    pub(super) fn changed(
        &self,
        config: &Config,
        authenticator: Option<Arc<Authenticator>>,
        listeners: Vec<Option<Arc<ListenerSettings>>>,
    ) -> Self {
        let mut changed = Self::new(config, Arc::clone(&self.methods), authenticator, listeners);
        let epoch = self.policy.epoch + 1;
        changed.policy = Arc::new(Policy { epoch, ..(*changed.policy).clone() });
        changed
    }

    /// What holds for a listener's connections; `None` if it is there no more.
    pub(super) fn listener(&self, listener: u16) -> Option<&Arc<ListenerSettings>> {
        self.listeners.get(usize::from(listener))?.as_ref()
    }

    /// Whether any client may send no more than so much.
    pub(super) fn is_paced(&self) -> bool {
        self.listeners.iter().flatten().any(|listener| listener.rates.is_bounded())
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

impl ListenerSettings {
    /// Whether clients may prove who they are in that way.
    pub(super) fn asks(&self, method: auth::Method) -> bool {
        self.methods.contains(&method)
    }

    /// As the configuration says; `tls` is what it names.
    pub(super) fn new(
        listener: &config::Listener,
        limits: &config::Limits,
        auth: &config::Auth,
        tls: Option<Arc<tls::Acceptor>>,
    ) -> Self {
        let is_proved = !listener.chain(auth).is_empty() && listener.anonymous == Anonymous::Nobody;
        Self {
            wiring: Arc::new(Wiring::new(listener, tls, is_proved)),
            protocol: Spoken::of(listener.protocol),
            dialect: match listener.dialect {
                config::Dialect::Native => Dialect::Native,
                config::Dialect::Rabbitmq => Dialect::Rabbitmq,
                config::Dialect::Activemq => Dialect::Activemq,
            },
            anonymous: listener.anonymous,
            methods: listener.chain(auth).iter().map(|method| auth_method(*method)).collect(),
            durability: listener.durability.map(durability),
            door: Door::new(listener.max_connections, listener.connect_rate),
            rates: Rates::new(
                listener.message_rate.unwrap_or(limits.message_rate),
                listener.byte_rate.unwrap_or(limits.byte_rate).as_bytes(),
            ),
        }
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

/// Ways in which operators prove who they are: those of clients that a user can write down, or, where only single listeners
/// have any, the password file.
pub(super) fn operators_methods(config: &Config) -> Arc<[auth::Method]> {
    let is_written = |method: &auth::Method| {
        matches!(method, auth::Method::Password | auth::Method::Jwt | auth::Method::Http)
    };
    let mut methods: Vec<_> =
        config.auth.chain.iter().map(|&method| auth_method(method)).filter(is_written).collect();
    if methods.is_empty() && config.auth.password_file.is_some() {
        methods.push(auth::Method::Password);
    }
    methods.into()
}

fn auth_method(configured: config::AuthMethod) -> auth::Method {
    match configured {
        config::AuthMethod::Certificate => auth::Method::Certificate,
        config::AuthMethod::Peer => auth::Method::Peer,
        config::AuthMethod::Password => auth::Method::Password,
        config::AuthMethod::Jwt => auth::Method::Jwt,
        config::AuthMethod::Http => auth::Method::Http,
    }
}

/// The certificates of one `[[tls]]`.
pub(crate) fn tls(configured: &config::Tls) -> tls::Settings {
    tls::Settings {
        certificates: configured
            .certificates
            .iter()
            .map(|one| tls::CertificateFiles { chain: one.chain.clone(), key: one.key.clone() })
            .collect(),
        client_ca: configured.client_ca.as_ref().map(config::File::path),
        client_certificates: match configured.client_certificates {
            config::ClientCertificates::None => tls::ClientCertificates::None,
            config::ClientCertificates::Optional => tls::ClientCertificates::Optional,
            config::ClientCertificates::Required => tls::ClientCertificates::Required,
        },
        crl: configured.crl.as_ref().map(config::File::path),
        identity: match configured.identity {
            config::CertificateName::CommonName => tls::IdentityFrom::Cn,
            config::CertificateName::Dns => tls::IdentityFrom::Dns,
            config::CertificateName::Uri => tls::IdentityFrom::Uri,
            config::CertificateName::Email => tls::IdentityFrom::Email,
            config::CertificateName::Fingerprint => tls::IdentityFrom::Fingerprint,
        },
        min_version: match configured.min_version {
            config::TlsVersion::V12 => tls::MinVersion::Tls12,
            config::TlsVersion::V13 => tls::MinVersion::Tls13,
        },
        alpn: configured.alpn.iter().map(|name| name.as_str().into()).collect(),
        tickets: tls::Tickets::Issued,
    }
}
